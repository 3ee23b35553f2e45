"""What a create's answer means: the total table, cell by cell, and that nothing can make it raise."""

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from omni_async import errors
from omni_async.dialects import (
    Cause,
    Meaning,
    Refusal,
    RefusalKind,
    Reply,
    error_of,
    judge_create,
    refusal_of,
    scrubbed,
    unreadable,
    wire,
)
from omni_async.dialects.dialect import CLEAN_REFUSALS, SENT_AGAIN, WORDS_READ, named_cause
from omni_async.dialects.ids import candidate_id
from omni_async.dialects.verdict import ADVICE
from omni_async.explanations import WRONG_ROUTE
from omni_async.models import VideoTask

from .answers import ALL, FLAT, GUIDE, JIMMY, meaning, named, reply

# -- the table, status by status

BY_STATUS = {
    **dict.fromkeys(CLEAN_REFUSALS, RefusalKind.BAD_REQUEST),
    401: RefusalKind.AUTH,
    402: RefusalKind.QUOTA,
    403: RefusalKind.AUTH,
    404: RefusalKind.NOT_FOUND,
    429: RefusalKind.RATE,
}
STATUSES = [100, 101, 200, 201, 202, 204, 206, 301, 302, 303, 304, 307, 308, *range(400, 452), 499]
STATUSES += [500, 501, 502, 503, 504, 520, 521, 522, 523, 524, 599]
NOT_ITS_WORD = {
    "empty": b"",
    "html": b"<html><body>too many requests</body></html>",
    "null": b"null",
    "list": b"[]",
    "number": b"20000",
    "text": b'"rate_limit_exceeded"',
    "empty object": b"{}",
    "cut": b'{"code": "-1", "msg": "server er',
    "error as text": b'{"error": "internal_error"}',
    "error without code": b'{"error": {"message": "internal_error"}}',
    "error with null code": b'{"error": {"code": null, "type": "", "message": "m"}}',
    "float code": b'{"code": -1.0, "msg": "too frequent", "error": {"code": 1.0}}',
    "true code": b'{"code": true, "msg": "too frequent", "error": {"code": true}}',
    "word code": b'{"code": "-1e0", "msg": "too frequent"}',
}


@pytest.mark.parametrize("body", NOT_ITS_WORD.values(), ids=NOT_ITS_WORD)
@pytest.mark.parametrize("dialect", ALL, ids=named)
def test_without_the_gateways_own_word_the_status_alone_decides(dialect, body):
    """Rows 3-5: a body that is not a well-formed refusal counts for nothing: 429 is rate, clean 4xx refuse."""
    for status in STATUSES:
        assert meaning(dialect, status, body=body) == BY_STATUS.get(status, Meaning.UNCERTAIN), status


@pytest.mark.parametrize("dialect", ALL, ids=named)
def test_an_id_wins_over_every_status_and_code(dialect):
    """Row 1: an id where the dialect knows it is SUBMITTED, whatever else is said: the money may be spent."""
    documents = [
        {"task_id": "t", "status": "queued"},
        {"data": {"task_id": "t"}},
        {"code": "20002", "msg": "bad", "data": {"task_id": "t"}},
        {"code": -1, "data": {"task_id": "t"}},
        {"error": {"code": "internal_error", "message": "m"}, "task_id": "t"},
    ]
    for status in STATUSES:
        for document in documents:
            verdict = judge_create(dialect, reply(status, document))
            assert (verdict.meaning, verdict.task_id) == (Meaning.SUBMITTED, "t")


@pytest.mark.parametrize("value", [None, "", " ", 5, 5.0, True, [], {}, ["t"], "\ud800", ".", ".."])
@pytest.mark.parametrize("dialect", ALL, ids=named)
def test_what_is_no_sound_text_is_no_id(dialect, value):
    """Row 9: an id that is missing, null, empty or no text leaves the create uncertain."""
    for document in ({"code": "20000", "msg": "ok", "data": {"task_id": value}}, {"task_id": value, "id": value}):
        assert meaning(dialect, 200, document) is Meaning.UNCERTAIN


U = Meaning.UNCERTAIN
K = RefusalKind
JIMMY_CODES = [
    # code, message, meaning at HTTP 200, at 400, at 429, at 500
    ("20001", "expired", K.AUTH, K.AUTH, K.AUTH, K.AUTH),
    ("20002", "too many images", K.BAD_REQUEST, K.BAD_REQUEST, K.BAD_REQUEST, K.BAD_REQUEST),
    ("20002", "内容审核未通过", K.MODERATION, K.MODERATION, K.MODERATION, K.MODERATION),
    ("20002", "task task_9 not found", U, K.NOT_FOUND, U, U),
    ("-1", "server error", K.TRANSIENT, K.TRANSIENT, K.RATE, K.TRANSIENT),
    ("-1", None, K.TRANSIENT, K.TRANSIENT, K.RATE, K.TRANSIENT),
    ("-1", "请求过于频繁，请稍后再试", K.RATE, K.RATE, K.RATE, K.TRANSIENT),
    ("-1", "PROVIDER_MODERATION_ERROR", K.MODERATION, K.MODERATION, K.MODERATION, K.TRANSIENT),
    ("50001", "Too Many Requests", K.RATE, K.RATE, K.RATE, U),
    ("50001", "访问频率过高", K.RATE, K.RATE, K.RATE, U),
    ("50001", "触发接口速率限制", K.RATE, K.RATE, K.RATE, U),
    ("50001", "每分钟请求次数超过限制", K.RATE, K.RATE, K.RATE, U),
    ("50001", "音频采样频率过高", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "比特速率过高", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "参考视频帧速率限制为60", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "reference video frame rate limit is 60 fps", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "video bitrate limit exceeded", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "Reference video bit rate limit", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "sample-rate limit 48 kHz", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "API rate limit reached", K.RATE, K.RATE, K.RATE, U),
    ("50001", "request rate_limit exceeded", K.RATE, K.RATE, K.RATE, U),
    ("50001", "too many images", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "余额不足", K.QUOTA, K.QUOTA, K.QUOTA, U),
    ("50001", "Insufficient balance", K.QUOTA, K.QUOTA, K.QUOTA, U),
    ("50001", "You exceeded your current quota", K.QUOTA, K.QUOTA, K.QUOTA, U),
    ("50001", "并发任务超过上限", K.RATE, K.RATE, K.RATE, U),
    ("50001", "并发任务超时", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "任务数据超过限制", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "could not generate: limit", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", "系统繁忙", U, K.BAD_REQUEST, K.RATE, U),
    ("50001", None, U, K.BAD_REQUEST, K.RATE, U),
    ("0", "ok", U, K.BAD_REQUEST, K.RATE, U),
    ("20000", "ok", U, K.BAD_REQUEST, K.RATE, U),
]


@pytest.mark.parametrize(("code", "message", "at200", "at400", "at429", "at500"), JIMMY_CODES)
@pytest.mark.parametrize("kind", [str, int])
def test_jimmys_codes_and_messages(kind, code, message, at200, at400, at429, at500):
    """Row 2 for jimmy: its codes as text and as number, and where it has no code, its message, but not with a 5xx."""
    document = {"code": kind(code), "data": None} | ({} if message is None else {"msg": message})
    assert [meaning(JIMMY, status, document) for status in (200, 400, 429, 500)] == [at200, at400, at429, at500]


FLAT_NAMES = [
    # error, meaning at 200, 400, 429, 500, 503
    ({"code": "invalid_request_error"}, K.BAD_REQUEST, K.BAD_REQUEST, K.RATE, U, U),
    ({"code": "authentication_error"}, K.AUTH, K.BAD_REQUEST, K.RATE, U, U),
    ({"code": "rate_limit_exceeded"}, K.RATE, K.BAD_REQUEST, K.RATE, U, U),
    ({"code": "insufficient_quota"}, K.QUOTA, K.QUOTA, K.QUOTA, K.QUOTA, K.QUOTA),
    ({"code": "content_policy_violation"}, K.MODERATION, K.MODERATION, K.MODERATION, K.MODERATION, K.MODERATION),
    ({"code": "internal_error"}, K.TRANSIENT, K.BAD_REQUEST, K.RATE, K.TRANSIENT, U),
    ({"type": "internal_error"}, K.TRANSIENT, K.BAD_REQUEST, K.RATE, K.TRANSIENT, U),
    ({"code": 500, "type": "internal_error"}, K.TRANSIENT, K.BAD_REQUEST, K.RATE, K.TRANSIENT, U),
    ({"code": "upstream_lost", "type": "internal_error"}, U, K.BAD_REQUEST, K.RATE, U, U),
    ({"code": "task_not_found"}, U, K.NOT_FOUND, U, U, U),
    ({"code": "new", "message": "Too many requests"}, K.RATE, K.BAD_REQUEST, K.RATE, U, U),
    ({"code": "new", "message": "too many running tasks"}, K.RATE, K.BAD_REQUEST, K.RATE, U, U),
    ({"code": "new", "message": "too many images"}, U, K.BAD_REQUEST, K.RATE, U, U),
    ({"code": "new"}, U, K.BAD_REQUEST, K.RATE, U, U),
    ({"code": 1302}, U, K.BAD_REQUEST, K.RATE, U, U),
]


@pytest.mark.parametrize(("error", "at200", "at400", "at429", "at500", "at503"), FLAT_NAMES)
@pytest.mark.parametrize("dialect", [GUIDE, FLAT], ids=named)
def test_the_guides_names(dialect, error, at200, at400, at429, at500, at503):
    """Row 2 for the guide: HTTP status first, name second; internal_error with 200 and 500 only, as its own code."""
    found = [meaning(dialect, status, {"error": error}) for status in (200, 400, 429, 500, 503)]
    assert found == [at200, at400, at429, at500, at503]


@pytest.mark.parametrize(
    ("status", "name", "kind"),
    [
        (400, "invalid_request_error", K.BAD_REQUEST),
        (401, "authentication_error", K.AUTH),
        (429, "rate_limit_exceeded", K.RATE),
        (500, "internal_error", K.TRANSIENT),
        (402, "insufficient_quota", K.QUOTA),
        (403, "permission_denied", K.AUTH),
        (403, "rate_limit_exceeded", K.RATE),
        (404, "task_not_found", K.NOT_FOUND),
        (413, "payload_too_large", K.BAD_REQUEST),
        (422, "content_policy_violation", K.MODERATION),
    ],
)
def test_the_seeds_error_table(status, name, kind):
    """Each line of the seed's error table, and of the reference pages', is its kind; 403 for the rate is no bad key."""
    for dialect in (GUIDE, FLAT):
        assert meaning(dialect, status, {"error": {"code": name, "message": "m", "type": "t"}}) == kind


def test_the_code_shown_is_the_code_and_not_the_type():
    """Of code and type the code is reported, unless it is only a number beside a word."""

    def code(**error):
        return refusal_of(FLAT, reply(400, {"error": error})).code

    assert code(code="model_missing", type="api_error") == "model_missing"
    assert code(code=400, type="invalid_request_error") == "invalid_request_error"
    assert code(code=400) == "400"
    assert code(code="x" * 500) == "x" * 100
    assert code(message="m") is None


# -- words in no form of the gateway's own

PLAIN = {
    "error text": ({"error": "it went wrong"}, "it went wrong"),
    "error without a code": ({"error": {"message": "it went wrong", "code": None, "type": ""}}, "it went wrong"),
    "message": ({"message": "it went wrong", "statusCode": 400}, "it went wrong"),
    "msg": ({"msg": "it went wrong"}, "it went wrong"),
    "detail": ({"detail": "it went wrong"}, "it went wrong"),
    "list of details": ({"detail": [{"loc": ["body"], "msg": "it went wrong"}, {"msg": "b"}]}, "it went wrong"),
    "errors": ({"errors": [{"message": "it went wrong"}]}, "it went wrong"),
    "error and message": ({"error": "Bad Request", "message": "it went wrong"}, "Bad Request: it went wrong"),
    "word code": ({"code": "odd_thing", "message": "it went wrong", "data": None}, "odd_thing: it went wrong"),
    "word code alone": ({"code": "odd_thing"}, "odd_thing"),
    "twice the same": ({"error": "it went wrong", "message": "it went wrong"}, "it went wrong"),
    "deep": ({"error": {"error": {"error": {"error": "too deep"}}}}, ""),
    "nothing": ({"success": False, "error": [], "message": 5}, ""),
}


@pytest.mark.parametrize("form", PLAIN)
def test_a_refusal_by_status_keeps_its_words_in_whatever_form(form):
    """Row 4: the code is None, and what was said is shown; so it is with a 5xx that no look can use."""
    document, said = PLAIN[form]
    for dialect in ALL:
        for status in (400, 403, 422, 429):
            refusal = refusal_of(dialect, reply(status, document))
            assert (refusal.kind, refusal.code, refusal.message) == (BY_STATUS[status], None, said)
            assert said in str(error_of(refusal, reply(status, document)))
        assert said in unreadable(reply(502, document), dialect.refused(reply(502, document))).message


@pytest.mark.parametrize(
    ("status", "document", "jimmy", "others"),
    [
        (403, {"msg": "余额不足"}, K.QUOTA, K.QUOTA),
        (403, {"code": "insufficient_user_quota", "message": "no", "data": None}, K.QUOTA, K.QUOTA),
        (403, {"error": {"message": "user quota is not enough", "type": "", "code": None}}, K.AUTH, K.QUOTA),
        (402, {"detail": "nothing left"}, K.QUOTA, K.QUOTA),
        (400, {"error": {"message": "blocked by safety moderation"}}, K.MODERATION, K.MODERATION),
        (400, {"detail": "content policy violated"}, K.MODERATION, K.MODERATION),
        (422, {"code": "content_policy_violation"}, K.MODERATION, K.MODERATION),
        (401, {"message": "this key was disabled for safety: insufficient balance"}, K.AUTH, K.AUTH),
        (404, {"message": "no such task"}, K.NOT_FOUND, K.NOT_FOUND),
        (500, {"message": "insufficient balance"}, U, U),
        (200, {"message": "insufficient balance"}, U, U),
        (429, {"message": "insufficient balance"}, K.RATE, K.RATE),
    ],
)
def test_plain_words_tell_what_a_status_refuses_for(status, document, jimmy, others):
    """Row 4: only where the status itself refuses, and never against a 401."""
    assert [meaning(dialect, status, document) for dialect in ALL] == [jimmy, others, others]


def test_a_403_for_want_of_quota_is_no_bad_key():
    """As new-api says it, in its error object."""
    no_quota = {"message": "预扣费额度失败, 用户剩余额度: ＄0.1", "type": "new_api_error"}
    for code in ("pre_consume_token_quota_failed", "new_word"):
        assert meaning(FLAT, 403, {"error": {**no_quota, "code": code}}) is K.QUOTA
        assert meaning(FLAT, 500, {"error": {**no_quota, "code": code}}) is U
    assert meaning(FLAT, 401, {"error": {**no_quota, "code": "new_word"}}) is K.AUTH
    assert meaning(FLAT, 403, {"error": {"code": "rate_limit_exceeded", "message": "quota exceeded"}}) is K.RATE


def test_an_uncertain_answer_is_explained_by_its_plain_words():
    """In our words, since the gateway's own can quote a prompt."""
    verdict = judge_create(FLAT, reply(500, {"message": "系统繁忙: a cat in rain"}))
    assert verdict.reason == "HTTP 500 without a task id: the system is busy"


# -- causes


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("请求过于频繁，请稍后再试", None),
        ("请求过于频繁，请稍后再试：每秒请求数超限", Cause.REQUESTS),
        ("请求过于频繁，请稍后再试：每秒创建任务数超限", Cause.REQUESTS),
        ("请求过于频繁，请稍后再试：并发请求数超限", None),
        ("请求过于频繁，请稍后再试：进行中的任务数超限", Cause.CONCURRENCY),
        ("Rate limit reached: requests per second.", Cause.REQUESTS),
        ("Rate limit reached: concurrent requests.", None),
        ("Rate limit reached: running tasks.", Cause.CONCURRENCY),
        ("You have reached the limit of 5 active tasks", Cause.CONCURRENCY),
        ("concurrency limit exceeded", Cause.CONCURRENCY),
        ("60 RPM exceeded", Cause.REQUESTS),
        ("concurrent task timed out", None),
        ("", None),
    ],
)
def test_a_rate_refusal_names_its_cause_or_does_not(message, cause):
    """Only what names one limit is a cause; "concurrent requests" can be either and is left to the experiment."""
    assert named_cause(message) is cause
    assert refusal_of(FLAT, reply(429, {"error": {"code": "rate_limit_exceeded", "message": message}})).cause is cause
    assert refusal_of(JIMMY, reply(429, {"code": 429, "msg": message})).cause is cause


@pytest.mark.parametrize(("begins_at", "read"), [(0, True), (WORDS_READ, False)])
def test_an_endless_message_is_searched_at_its_beginning_only(begins_at, read):
    """A message of megabytes does not hold up the event loop: what stands far inside says nothing."""
    before = "x " * (begins_at // 2)
    rate, cause, moderation = "too many requests. ", "60 RPM exceeded. ", "content policy violation. "
    assert (meaning(JIMMY, 200, {"code": 1, "msg": before + rate}) is RefusalKind.RATE) is read
    for dialect, answer in (
        (JIMMY, reply(429, {"code": 429, "msg": before + cause})),
        (FLAT, reply(429, {"error": {"code": "rate_limit_exceeded", "message": before + cause}})),
    ):
        assert (refusal_of(dialect, answer).cause is Cause.REQUESTS) is read
    assert JIMMY.moderated(None, before + moderation) is read


# -- reasons


def test_jimmys_words_are_believed_in_an_error_object_and_its_numbers_are_not():
    """A proxy before the gateway refuses so; a -1 there is not the gateway's own word that it failed."""
    said = {"code": "rate_limit_exceeded", "message": "slow down"}
    assert meaning(JIMMY, 200, {"error": said}) is RefusalKind.RATE
    assert meaning(JIMMY, 200, {"error": {"code": "-1", "message": "slow down"}}) is Meaning.UNCERTAIN
    assert meaning(JIMMY, 500, {"error": {"code": "internal_error", "message": "m"}}) is Meaning.UNCERTAIN


@pytest.mark.parametrize(
    "message", ["当前任务过多，请稍后", "排队人数过多", "排队已满", "队列已满", "the queue is full"]
)
def test_a_full_queue_is_a_refusal_for_now(message):
    """Whatever code goes with it: waiting helps, and three tries do not."""
    for code in ("-1", "20010"):
        assert meaning(JIMMY, 200, {"code": code, "msg": message}) is RefusalKind.RATE


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (reply(200, body=b'{"co', complete=False), "HTTP 200, and the body broke off"),
        (reply(520, body=b"<html>"), "HTTP 520, and the body is not JSON"),
        (reply(200, {"msg": "ok"}), "HTTP 200 without a task id"),
        (reply(301, body=b"", headers={"location": "https://u:p@a.example/x?sig=1"}), "a redirect to a.example, which"),
        (reply(302, body=b"", headers={"location": "/login?sig=1"}), "a redirect to its own host, which"),
        (reply(302, body=b"", headers={"location": "https://[sig"}), "a redirect to its own host, which"),
        (reply(200, {"error": {"code": "new"}, "code": 7}), "HTTP 200 with the unknown code "),
        (reply(200, {"choices": []}), WRONG_ROUTE.en),
        (reply(200, {"usage": {"prompt_tokens": 3}}), WRONG_ROUTE.en),
        (
            reply(
                500, {"error": {"code": "x", "message": "invalid apitype: -1"}, "code": 7, "msg": "invalid apitype: -1"}
            ),
            WRONG_ROUTE.en,
        ),
    ],
)
def test_an_uncertain_answer_is_explained_without_its_content(answer, reason):
    """The reason says in a few words what came, and shows neither body nor a link's path and query."""
    for dialect in ALL:
        verdict = judge_create(dialect, answer)
        assert verdict.meaning is Meaning.UNCERTAIN
        assert reason in verdict.reason
        assert "sig" not in verdict.reason


# -- refusals as errors


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        (K.AUTH, errors.AuthenticationError),
        (K.QUOTA, errors.QuotaError),
        (K.BAD_REQUEST, errors.RejectedError),
        (K.MODERATION, errors.RejectedError),
        (K.NOT_FOUND, errors.NotFoundError),
        (K.RATE, errors.RateLimitError),
        (K.TRANSIENT, errors.GatewayError),
    ],
)
def test_each_kind_of_refusal_is_raised_as_its_error(kind, error):
    """A refusal becomes the error by what the caller can do, with advice, status, code, message and request id."""
    answer = reply(400, {}, headers={"x-request-id": "req-1"})
    raised = error_of(Refusal(kind, "c1", "said"), answer, gateway="jimmy", custom_id="row-1", may_have_charged=False)
    assert type(raised) is error
    assert (raised.status_code, raised.code, raised.message, raised.request_id) == (400, "c1", "said", "req-1")
    assert (raised.gateway, raised.custom_id, raised.may_have_charged) == ("jimmy", "row-1", False)
    assert raised.args[0] == f"{kind.value} (HTTP 400, code c1): said — {ADVICE[kind]}"
    assert getattr(raised, "moderated", None) is ({K.MODERATION: True, K.BAD_REQUEST: False}.get(kind))


def test_a_refusal_names_rate_concurrency_and_quota():
    """The seed names three causes of a 429: the advice names them all."""
    assert all(word in ADVICE[K.RATE] for word in ("rate", "concurrency", "quota"))


def test_a_refusal_without_words_still_reads_well():
    """Without code and message the error says its kind and status."""
    raised = error_of(Refusal(K.AUTH), reply(401, body=b""))
    assert str(raised).startswith("authentication (HTTP 401) — check the API key")


def test_no_message_quotes_prompt_key_or_signed_query():
    """A gateway may quote the prompt, the key or a signed link: the error's texts do not."""
    said = "bad key sk-SECRET for 'a cat in neon rain': cannot fetch https://b.example/1.png?X-Sig=SECRET#SECRET now"
    raised = error_of(
        Refusal(K.BAD_REQUEST, "c", said), reply(400, {}), private=("sk-SECRET", "a cat in neon rain", "x")
    )
    assert raised.message == "bad key … for '…': cannot fetch https://b.example/1.png?… now"
    assert "SECRET" not in str(raised) + repr(raised)
    assert len(error_of(Refusal(K.RATE, "c", "x" * 9999), reply(400, {})).message) == 500


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Incorrect API key provided: sk-abc123*** now", "Incorrect API key provided: … now"),
        ("sent Authorization: Bearer abcdef", "sent Authorization: …"),
        ("s3 upload failed: https://b.example/a?X-Sig=1", "s3 upload failed: https://b.example/a?…"),
        ("task sk is risky", "task sk is risky"),
        ("PROVIDER_MODERATION_ERROR: 'cat in rain'", "PROVIDER_MODERATION_ERROR: '…'"),
    ],
)
def test_what_a_gateway_said_is_scrubbed_before_it_is_shown(said, shown):
    """Keys, signed queries and the private texts named are taken out of a gateway's words."""
    assert scrubbed(said, ("cat in rain",)) == shown


def test_the_advice_on_a_wrong_route_replaces_the_usual_one():
    """`invalid apitype` is explained instead of the kind's usual advice."""
    assert WRONG_ROUTE.en in str(error_of(Refusal(K.BAD_REQUEST, "c", "invalid apitype: -1"), reply(400, {})))


@pytest.mark.parametrize(
    ("headers", "host"),
    [
        ({}, "its own host"),
        ({"location": "/elsewhere?sig=1"}, "its own host"),
        ({"location": "https://[broken"}, "its own host"),
        ({"location": "https://a.example/x?sig=1"}, "a.example"),
        ({"location": f"https://{'a' * 150}/"}, "a" * 100),
    ],
)
def test_a_redirect_is_told_by_its_host(headers, host):
    """Nothing else of where it leads, and not endlessly."""
    reason = judge_create(JIMMY, reply(302, body=b"", headers=headers)).reason
    told = f"HTTP 302, a redirect to {host}, which was not followed: check the base URL"
    assert reason == told
    assert str(unreadable(reply(302, body=b"", headers=headers))) == f"no usable answer ({told})"


@pytest.mark.parametrize(("status", "redirect"), [(299, False), (300, True), (399, True), (451, False), (600, False)])
def test_which_answers_are_redirects(status, redirect):
    """The three hundreds, all of them."""
    assert ("a redirect to" in judge_create(JIMMY, reply(status, {"odd": 1})).reason) is redirect


@pytest.mark.parametrize("status", [429, 400])
def test_a_refusal_by_status_keeps_what_was_said(status):
    """The code and the words of an envelope that no table knows."""
    refusal = refusal_of(JIMMY, reply(status, {"code": "20777", "msg": "half done", "data": None}))
    assert (refusal.code, refusal.message) == ("20777", "half done")
    assert refusal_of(JIMMY, reply(status, body=b"<html>")) == Refusal(refusal.kind)


def test_what_is_too_short_to_be_private_is_shown():
    """Four letters are taken out; three would take half the text along."""
    assert scrubbed("a cat, abcd", ("cat", "abcd")) == "a cat, …"


def test_an_unreadable_answer_names_its_request():
    """To quote to the gateway's support; its kind is told in so many letters."""
    odd = unreadable(reply(502, body=b"abc", headers={"x-request-id": "req-1", "content-type": "x" * 99}))
    assert odd.request_id == "req-1"
    assert str(odd).startswith(f"no usable answer (HTTP 502, 3 bytes of {'x' * 60})")
    assert "of unknown type)" in str(unreadable(reply(502, body=b"")))


def test_an_unreadable_answer_with_a_code_is_explained():
    """The seed's FAQ also holds for a look; other failures keep their words and say whom to ask."""
    answer = reply(500)
    route = unreadable(answer, (("-1",), "invalid apitype: -1"))
    assert (route.code, "a chat route was called" in str(route)) == ("-1", True)
    other = unreadable(answer, (("do_request_failed", "new_api_error"), "系统繁忙"))
    assert str(other).startswith(
        "no usable answer (HTTP 500, code do_request_failed): 系统繁忙 (the system is busy) — "
    )
    assert (other.code, other.message) == ("do_request_failed", "系统繁忙")


def test_an_unreadable_answer_is_an_error_by_its_size_and_type():
    """An answer that is neither result nor refusal is told by status, size and type only."""
    raised = unreadable(reply(502, body=b"<html>", headers={"content-type": "text/html; charset=x"}), gateway="jimmy")
    assert raised.args[0] == "no usable answer (HTTP 502, 6 bytes of text/html)"
    assert (raised.status_code, raised.gateway) == (502, "jimmy")
    assert "unknown type" in str(unreadable(reply(200, body=b"")))


# -- nothing can make them raise

keys = st.sampled_from(["task_id", "id", "code", "msg", "message", "data", "error", "status", "result", "url", "type"])
keys |= st.sampled_from(["progress", "created_at", "video_url", "choices", "usage", "available", "remain_balance"])
words = st.sampled_from(["queued", "completed", "failed", "", "20000", "-1", "20001", "internal_error", "\ud800"])
words |= st.sampled_from(["https://[", "/x.mp4", "https://a.example/?s=1", "9" * 30, "too many requests", "余额不足"])
leaves = st.none() | st.booleans() | st.integers() | st.floats() | words | st.text(max_size=5)
leaves |= st.sampled_from([10**400, -(10**25), 1e300, 20000, -1])
documents = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6), max_leaves=20
)
statuses = st.sampled_from(STATUSES) | st.integers(0, 999)
headers = st.dictionaries(
    st.sampled_from(["location", "content-type", "x-request-id", "retry-after"]), st.text(max_size=9)
)
ODD_BODIES = [
    b"",
    b"\xff\xfe",
    b'{"a":NaN}',
    b'{"data":{"created_at":1e400,"status":"queued"}}',
    b'{"code":' + b"9" * 5000 + b"}",
    b'{"error":{"code":' + b"9" * 400 + b"}}",
    b"[" * 50_000,
    b'{"data":' * 50_000,
    b'{"data":' * 900 + b"1" + b"}" * 900,
    b'{"data":{"task_id":"a","task_id":null,"status":"queued"}}',
    b'{"task_id":"\\ud800","status":"\\udfff","code":"\\ud800","error":{"code":"\\ud800","message":"\\ud800"}}',
    b'{"data":{"available":' + b"9" * 400 + b',"balance":1e999},"remain_balance":' + b"9" * 400 + b"}",
    b'{"status":"completed","url":"https://[","result":{"video_url":"https://["},"data":{"status":"completed","url":"//["}}',
]
bodies = st.binary(max_size=80) | st.sampled_from(ODD_BODIES) | documents.map(lambda value: json.dumps(value).encode())


def survive(answer):
    """Everything that reads an answer: the verdict is one of three, and only DecodeError comes out of the readers."""
    for dialect in ALL:
        verdict = judge_create(dialect, answer)
        assert (verdict.task_id is not None) == (verdict.meaning is Meaning.SUBMITTED)
        assert verdict.refusal is not None or verdict.meaning is not Meaning.REFUSED
        assert bool(verdict.reason) == (verdict.meaning is Meaning.UNCERTAIN)
        refusal = dialect.classify(answer) or refusal_of(dialect, answer)
        for error in (error_of(refusal, answer), unreadable(answer)) if refusal else (unreadable(answer),):
            str(error).encode()
        candidate_id(answer)
        if verdict.task_id:
            dialect.query(verdict.task_id)
        for read in (dialect.read_create, dialect.read_query, dialect.read_upload, dialect.read_balance):
            try:
                found = read(answer)
            except errors.DecodeError as error:
                str(error).encode()
            else:
                repr(found).encode()
                if isinstance(found, VideoTask):
                    json.loads(found.to_json())
                    found.to_json().encode()


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([status for status in STATUSES if status != 429]), documents)
def test_plain_words_never_have_a_create_sent_again(status, document):
    """Whatever is said in no form of the gateway's own, no refusal for now comes of it: 429 is told by itself."""
    for dialect in ALL:
        answer = reply(status, document)
        refusal = refusal_of(dialect, answer)
        if dialect.refused(answer) is None and refusal is not None:
            assert refusal.kind not in SENT_AGAIN


@pytest.mark.parametrize("body", ODD_BODIES, ids=range(len(ODD_BODIES)))
@pytest.mark.parametrize("orjson", [True, False])
def test_json_oddities_are_survived(monkeypatch, orjson, body):
    """NaN, 1e400, 5,000-digit numbers, deep nesting, duplicate keys and half surrogates raise only DecodeErrors."""
    if not orjson:
        monkeypatch.setattr(wire, "_fast_loads", json.loads)
    for status in (200, 400, 429, 500):
        survive(reply(status, body=body))


@settings(max_examples=500, deadline=None)
@given(statuses, bodies, headers, st.booleans())
@example(200, b'{"data":{"task_id":"..","status":"queued"}}', {}, True)
@example(302, b"", {"location": "https://[\ud800"}, True)
def test_no_answer_makes_anything_but_a_decode_error(status, body, head, complete):
    """Whatever comes back, each create has a meaning and each reader gives a value or a DecodeError."""
    survive(Reply(status=status, body=body, headers=head, complete=complete, url="https://gateway.example/v1/x"))


@settings(max_examples=150, deadline=None)
@given(statuses, documents)
def test_both_json_readers_come_to_one_verdict(status, document):
    """With and without orjson a create's answer means the same."""
    body = json.dumps(document).encode()
    fast = wire._fast_loads
    try:
        wire._fast_loads = json.loads
        slow = [judge_create(dialect, reply(status, body=body)) for dialect in ALL]
    finally:
        wire._fast_loads = fast
    assert slow == [judge_create(dialect, reply(status, body=body)) for dialect in ALL]
