"""Where a task's id is seen in an answer that could not be read as one, and what in a refusal may be a task."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_async.dialects import Meaning, RefusalKind, judge_create
from omni_async.dialects.dialect import SENT_AGAIN
from omni_async.dialects.ids import candidate_id

from .answers import ALL, FLAT, GUIDE, JIMMY, meaning, named, reply


@pytest.mark.parametrize(
    ("body", "candidate"),
    [
        (b'{"data":{"task_id":"task_7","st', "task_7"),
        (b'{"id":"req-1","data":{"task_id" : "task_7"', "task_7"),
        (b'{"id":"video_1","sta', "video_1"),
        (b'  [{"task_id":"task_7"}', "task_7"),
        (b'{"data":{"task_id":"task_', None),
        (b'{"data":{"task_id":"a b"}', None),
        (b'{"data":{"task_id":""}', None),
        (b'{"data":{"task_id":' + b"1" * 5000 + b"}", None),
        (b'{"x":NaN1,"task_id":"t.-_:~9"', "t.-_:~9"),
        (b'{"deep":{"task_id":"task_7"}}', "task_7"),
        (b'<script>{"task_id":"task_7"}</script>', None),
        (b'{"padding":"' + b"x" * 70_000 + b'","task_id":"task_7"', None),
        (b'{"id":"c-1","choices":[]}', None),
        (b'{"data":{"task_id":17},"deep":{"id":"x"}}', "17"),
        (b'{"data":{"task_id":17', None),
        (b'{"data":{"task_id":0}}', None),
        (b'{"data":{"task_id":1.5}}', None),
        (b'{"user":{"id":17}}', None),
        (b'{"data":{"id":17}}', "17"),
        (b'{"data":{"taskID":"t1"}}', "t1"),
        (b'{"data":"{\\"task_id\\":\\"t1\\"}"}', "t1"),
        (b'{"data":"t1"}', "t1"),
        (b'{"data":"queued"}', None),
        (b'{"data":"t1 is made"}', None),
        (b'{"result":1400193}', "1400193"),
        (b'{"result":true}', None),
        (b'{"result":0}', None),
        (b'{"result":1' + b"0" * 20 + b"}", None),
        (b'Warning: x\n{"data":{"task_id":"t1"}}', "t1"),
        (b'callback({"data":{"task_id":"t1"}})', "t1"),
        (b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk"}', None),
        (b"", None),
    ],
)
def test_an_id_seen_in_a_broken_body_is_only_a_candidate(body, candidate):
    """Row 7: an id that stands whole in the first 64 KiB of JSON is a candidate, still to be confirmed by a query."""
    for dialect in ALL:
        verdict = judge_create(dialect, reply(200, body=body, complete=False))
        if verdict.meaning is Meaning.SUBMITTED:
            continue
        assert verdict.candidate == candidate
        assert candidate_id(reply(200, body=body)) == candidate


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (b'{"code":"-1","msg":"server error","data":{"id":"t-1"}}', {JIMMY: "t-1"}),
        (b'{"code":-1,"data":{"taskId":"t-1"}}', {JIMMY: "t-1"}),
        (b'{"code":-1,"id":"req-1","requestId":"r"}', {JIMMY: None}),
        (b'{"error":{"code":"internal_error","message":"m","task_id":"t-1"}}', {GUIDE: "t-1", FLAT: "t-1"}),
        (b'{"error":{"code":"internal_error","message":"m"},"task":{"id":"t-1"}}', {GUIDE: "t-1", FLAT: "t-1"}),
        (b'{"error":{"code":"internal_error","message":"m","id":"e-1"}}', {GUIDE: None, FLAT: None}),
    ],
)
def test_a_task_that_a_refusal_names_is_a_candidate(body, named):
    """What is sent again could be paid again; an `id` that may be the request's names no task."""
    for dialect, candidate in named.items():
        for status in (200, 502, 500) if dialect is JIMMY else (500,):
            verdict = judge_create(dialect, reply(status, body=body))
            assert (verdict.meaning, verdict.candidate) == (Meaning.REFUSED, candidate)
            assert verdict.refusal.kind is RefusalKind.TRANSIENT


@pytest.mark.parametrize("dialect", ALL, ids=named)
def test_a_refusal_by_429_that_breaks_off_after_a_task_names_it(dialect):
    """Rate refusals are sent again, too; what is refused for good is not, and needs no candidate."""
    body = b'{"data":{"deep":{"task_id":"t-1"},"st'
    verdict = judge_create(dialect, reply(429, body=body, complete=False))
    assert (verdict.refusal.kind, verdict.candidate) == (RefusalKind.RATE, "t-1")
    assert judge_create(dialect, reply(400, body=body)).candidate is None


@pytest.mark.parametrize("rest", [b'"task_id":null', b'"msg":"m","task_id":[]'])
def test_an_id_is_seen_though_its_name_comes_again(rest):
    """Decoded JSON keeps the last only; a create that may have been paid is looked up all the same."""
    verdict = judge_create(JIMMY, reply(200, body=b'{"code":-1,"data":{"task_id":"t-1",' + rest + b"}}"))
    assert (verdict.meaning, verdict.candidate) == (Meaning.REFUSED, "t-1")


def refused_for_now(dialect, data, *, name="data"):
    """Every way in which a gateway refuses for now, with something under a name that a create's result goes by."""
    if dialect is JIMMY:
        said = [{"code": -1, "msg": "server error"}, {"code": "20010", "msg": "任务过多，请稍后再试"}]
    else:
        said = [{"error": {"code": "internal_error", "message": "m"}}, {"error": {"code": "rate_limit_exceeded"}}]
    return [*(reply(200, {**one, name: data}) for one in said), reply(429, {"code": "queued", name: data})]


SAYS_NOTHING = [
    None,
    "",
    " ",
    {},
    [],
    [None, {}],
    0,
    False,
    {"task_id": None, "status": "", "result": {"video_url": None}},
    {"error_message": "Read timed out", "status": "failed", "progress": 0},
    {"request_id": "req-17", "traceId": 99, "message": "try again in 20 s"},
    {"client_business_id": "omni-17", "custom_id": "row 17", "status": 429},
    {"limit": 10, "remaining": 0, "retry_after": 5, "details": ["too many"]},
    {"tier": "free", "qps": 2, "user_id": 17, "reset": "2026-01-01 00:00:00", "status": "limited"},
    "please wait for 30 s",
    30,
    [{"error": {"code": 17, "type": "busy", "message": "m"}}],
]


@pytest.mark.parametrize("data", SAYS_NOTHING, ids=str)
@pytest.mark.parametrize("dialect", ALL, ids=named)
def test_a_refusal_for_now_may_tell_of_itself(dialect, data):
    """Rows 16, 19b: it is one, whatever it says of itself, of the request and of the account's limits."""
    for answer in refused_for_now(dialect, data):
        verdict = judge_create(dialect, answer)
        assert (verdict.meaning, verdict.candidate) == (Meaning.REFUSED, None)
        assert verdict.refusal.kind in SENT_AGAIN


def test_a_refusal_for_the_key_or_the_balance_stays_one_whatever_it_tells():
    """Rows 14, 15: it stops a batch, and tells of accounts; a task that it names is looked up before the next run."""
    account = {"user": "x", "balance": 0.1}
    assert meaning(JIMMY, 401, {"code": 20001, "msg": "expired", "data": account}) is RefusalKind.AUTH
    assert meaning(JIMMY, 403, {"msg": "余额不足", "data": account}) is RefusalKind.QUOTA
    verdict = judge_create(FLAT, reply(402, {"error": {"code": "insufficient_quota"}, "task_id": 17}))
    assert (verdict.meaning, verdict.candidate) == (Meaning.REFUSED, "17")


def test_a_refusal_for_now_may_say_its_words_twice():
    """As `data` beside its message, unless they say there that something is on its way."""
    assert meaning(JIMMY, 200, {"code": -1, "msg": "系统繁忙", "data": "系统繁忙"}) is RefusalKind.TRANSIENT
    assert meaning(JIMMY, 200, {"code": -1, "msg": "系统繁忙", "data": "已提交"}) is Meaning.UNCERTAIN
    assert meaning(JIMMY, 429, {"code": "queued", "data": "queued"}) is Meaning.UNCERTAIN


TELLS = [10293, "t1", "queued", "已提交", ["t1"], {"video_id": "v_abc"}, {"task_id": 10293}, {"jobId": "seven"}]
TELLS += [{"status": "queued"}, {"id": 5}, {"deep": [[{"x_id": "y"}]]}, {"error": {"task": {"id": 7}}}, {"taskID": 3}]


@pytest.mark.parametrize("data", TELLS, ids=str)
@pytest.mark.parametrize("dialect", ALL, ids=named)
def test_a_refusal_for_now_that_tells_of_more_is_uncertain(dialect, data):
    """Rows 1, 16: a task under a number, a bare text or another name would be paid again."""
    for name in ("data", "result", "task", "output"):
        for answer in refused_for_now(dialect, data, name=name):
            assert judge_create(dialect, answer).meaning is Meaning.UNCERTAIN


@pytest.mark.parametrize("task_id", ["t/17", "ü-17", "t 17", 17, "a" * 300])
@pytest.mark.parametrize("dialect", ALL, ids=named)
def test_a_task_id_of_any_form_anywhere_in_a_refusal_for_now_is_not_paid_again_unasked(dialect, task_id):
    """Escaped by JSON, with a slash, too long: under that name it is a task's, wherever it stands."""
    for answer in refused_for_now(dialect, {"why": {"task-id": task_id}}, name="info"):
        assert judge_create(dialect, answer).meaning is Meaning.UNCERTAIN


@pytest.mark.parametrize("name", ["task_id", "taskID", "taskId", "video_id", "job_id", "data", "result"])
def test_a_number_beside_a_refusal_for_now_is_uncertain(name):
    """At the top of the answer, too; it is looked up where a task's id or nothing else goes by that name."""
    for dialect in ALL:
        for answer in refused_for_now(dialect, 10293, name=name):
            verdict = judge_create(dialect, answer)
            looked_up = None if name in ("video_id", "job_id") else "10293"
            assert (verdict.meaning, verdict.candidate) == (Meaning.UNCERTAIN, looked_up)


@pytest.mark.parametrize("header", ["location", "operation-location"])
@pytest.mark.parametrize("status", [201, 202, 303])
@pytest.mark.parametrize("dialect", ALL, ids=named)
def test_a_location_names_a_task_where_the_gateway_is_asked_about_its_tasks(dialect, status, header):
    """Relative or whole, with a prefix or a query of its own; any other place is none."""
    path = dialect.query("t-1").path
    for link in (path, f"https://gateway.example/prefix{path}?sig=1", f"{path}/"):
        verdict = judge_create(dialect, reply(status, body=b"", headers={header: link}))
        assert (verdict.meaning, verdict.candidate) == (Meaning.UNCERTAIN, "t-1")
    for link in ("/login", "https://[", "/v9/t-1", f"{path}/media", ""):
        assert judge_create(dialect, reply(status, body=b"", headers={header: link})).candidate is None


@settings(max_examples=300, deadline=None)
@given(st.integers(1000, 10**18) | st.from_regex(r"[a-z]{0,5}[0-9]{1,9}", fullmatch=True), st.integers(0, 2))
def test_an_id_that_a_refusal_for_now_carries_is_not_paid_again_unasked(task_id, deep):
    """However deep it stands, and whether as a number or a word."""
    data = task_id
    for _ in range(deep):
        data = [{"job_id": data}]
    for dialect in ALL:
        for answer in refused_for_now(dialect, data):
            verdict = judge_create(dialect, answer)
            assert verdict.meaning is Meaning.UNCERTAIN or verdict.candidate is not None
