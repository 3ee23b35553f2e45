"""What ended, and why: found wherever a gateway tells it, and never in an answer about something else."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omni_async.dialects import GATEWAYS, Dialect, RefusalKind, Reply, dialect_named, refused_look
from omni_async.errors import DecodeError
from omni_async.models import TaskStatus

V, COVER = "https://video.example/v.mp4", "https://video.example/cover.jpg?sig=1"
WORDS = "PROVIDER_MODERATION_ERROR: sensitive"
DIALECTS = [dialect_named(name) for name in GATEWAYS]

every_gateway = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)


def reply(document) -> Reply:
    """An answer with this document."""
    return Reply(status=200, body=json.dumps(document).encode(), url="https://api.example/x")


def told(dialect: Dialect, **task) -> Reply:
    """An answer about a task in the dialect's own form."""
    return reply({"code": 20000, "msg": "ok", "data": task} if dialect.name == "jimmy" else task)


def queried(dialect, **fields):
    """What a dialect reads in an answer that names its task."""
    return dialect.read_query(told(dialect, task_id="t-1", **fields))


@every_gateway
def test_a_task_is_read_alike_from_every_gateway(dialect):
    """What it was asked for and how far it is; `mode` too, where a gateway that has no such field tells it."""
    found = queried(dialect, status="processing", model="m", mode="video-edit", progress=7)
    assert (found.task_id, found.gateway, found.status) == ("t-1", dialect.name, TaskStatus.RUNNING)
    assert (found.model, found.mode, found.progress) == ("m", "video-edit", 7)


# -- words


@every_gateway
@pytest.mark.parametrize("word", ["SUCCESS", "Succeed", "complete", "finished", "done", "已完成", "成功"])
def test_words_of_success_bring_the_video(dialect, word):
    """As gateways of this kind spell it."""
    task = queried(dialect, status=word, result={"video_url": V})
    assert (task.status, task.video_url) == (TaskStatus.SUCCEEDED, V)


@every_gateway
@pytest.mark.parametrize("word", ["fail", "FAILURE", "失败"])
def test_words_of_failure_bring_the_reason(dialect, word):
    """As gateways of this kind spell it."""
    task = queried(dialect, status=word, error_message=WORDS)
    assert (task.status, task.error_message) == (TaskStatus.FAILED, WORDS)


@every_gateway
@pytest.mark.parametrize("word", ["timeout", "expired", "rejected", "generated"])
def test_a_word_that_nobody_knows_is_success_only_with_all_of_it_there(dialect, word):
    """A usable URL and a progress of 100; else it runs still, and nothing of a reason is read."""
    done = {"status": word, "progress": "100%", "result": {"video_url": V}}
    assert (queried(dialect, **done).status, queried(dialect, **done).video_url) == (TaskStatus.SUCCEEDED, V)
    for other in ({"progress": 99}, {"progress": None}, {"result": None}, {"result": {"video_url": COVER}}):
        assert queried(dialect, **{**done, **other}).status is TaskStatus.RUNNING
    unread = queried(dialect, status=word, progress=100, fail_reason="https://docs.example/why", error_message=WORDS)
    assert (unread.status, unread.error_message) == (TaskStatus.RUNNING, None)


# -- links


@every_gateway
@pytest.mark.parametrize(
    "fields",
    [
        {"url": COVER, "result": {"url": V}},
        {"output": [COVER, V]},
        {"data": [{"url": COVER}, {"url": V}]},
        {"result": {"url": "https://video.example/x?f=1", "video_url": V}},
        {"result": {"image_url": "https://video.example/x", "last_frame_url": "https://video.example/y"}, "output": V},
        {"cover_url": "https://video.example/x", "video_url": V},
    ],
    ids=json.dumps,
)
def test_a_picture_beside_the_video_is_not_taken_for_it(dialect, fields):
    """Neither by its key nor by its ending."""
    assert queried(dialect, status="completed", **fields).video_url == V


@every_gateway
@pytest.mark.parametrize("fields", [{"output": "see your mail"}, {"fail_reason": "none"}, {"fail_reason": "/v.mp4"}])
def test_where_other_text_can_stand_only_a_whole_url_is_one(dialect, fields):
    """Words must not become a path of the gateway."""
    with pytest.raises(DecodeError, match="without a URL"):
        queried(dialect, status="completed", **fields)


@every_gateway
def test_a_status_of_the_task_wins_over_that_of_the_answer(dialect):
    """`success` of an envelope is not that of the task in it (seen: JSend, new-api)."""
    inner = {"task_id": "t-1", "status": "processing", "progress": 10}
    task = dialect.read_query(reply({"status": "success", "data": inner}))
    assert (task.task_id, task.status, task.progress) == ("t-1", TaskStatus.RUNNING, 10)
    done = {"task_id": "t-1", "status": "SUCCESS", "data": {"url": V, "status": "processing"}}
    assert dialect_named("toapis").read_query(reply({"code": "success", "data": done})).video_url == V
    assert dialect.glance(reply({"status": "pending", "data": {**inner, "status": "completed"}})) is None


# -- reasons


@every_gateway
@pytest.mark.parametrize(
    "fields",
    [
        {name: WORDS}
        for name in "error_message error fail_reason failure_reason error_msg reason detail message msg".split()
    ]
    + [
        {"error": {"message": WORDS}},
        {"error_message": {"message": WORDS}},
        {"error": [{"msg": WORDS}]},
        {"error": None, "error_message": "", "message": WORDS},
        {"result": {"error_message": WORDS}},
        {"result": {"error": {"message": WORDS}}},
    ],
    ids=json.dumps,
)
def test_a_failed_tasks_reason_is_found(dialect, fields):
    """So that one refused for its content is known, and not paid for again."""
    task = queried(dialect, status="failed", **fields)
    assert task.error_message == WORDS
    assert dialect.moderated(task.error_code, task.error_message)
    assert queried(dialect, status="processing", **fields).error_message is None


@every_gateway
def test_a_failed_tasks_code_is_found(dialect):
    """In the object beside the words, which may be missing."""
    failed = queried(dialect, status="failed", error={"code": "content_policy_violation"})
    assert (failed.error_message, failed.error_code) == (None, "content_policy_violation")
    assert queried(dialect, status="failed", error={"code": 1301, "message": "m"}).error_code == "1301"
    assert queried(dialect, status="failed", message="m", error_code="E1").error_code == "E1"


# -- looks that failed


@every_gateway
@pytest.mark.parametrize("word", ["error", "failed", "fail", "canceled"])
def test_a_failure_that_tells_nothing_of_a_task_is_no_failed_task(dialect, word):
    """It can be the request that failed: what it says is definite only if it is said again and again."""
    for answer in (reply({"status": word, "message": "a cat in rain"}), told(dialect, status=word, error="a cat")):
        with pytest.raises(DecodeError, match="something failed, and nothing of a task") as caught:
            dialect.read_query(answer)
        assert caught.value.terminal
        assert "cat" not in str(caught.value)


@every_gateway
@pytest.mark.parametrize(
    "field", [{"task_id": 7}, {"progress": 0}, {"created_at": 1744699200}, {"model": "omni"}, {"video_url": V}]
)
def test_any_field_of_a_task_makes_it_one(dialect, field):
    """As the documents list them."""
    assert dialect.read_query(told(dialect, status="failed", **field)).status is TaskStatus.FAILED


@every_gateway
@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("Too many requests, slow down", RefusalKind.RATE),
        ("并发任务数已达上限", RefusalKind.RATE),
        ("系统繁忙", RefusalKind.TRANSIENT),
        ("server is busy", RefusalKind.TRANSIENT),
        ("generation failed", None),
    ],
)
def test_a_look_that_failed_is_refused_by_its_words(dialect, words, kind):
    """As the table of the dialect has it; a task that failed, or runs, is not a refusal whatever its words."""
    for answer in (reply({"status": "error", "message": words}), told(dialect, status="failed", error=words)):
        refusal = refused_look(dialect, answer)
        assert (refusal and refusal.kind) == kind
    assert refused_look(dialect, told(dialect, task_id="t-1", status="failed", error=words)) is None
    assert refused_look(dialect, told(dialect, status="processing", message=words)) is None
    assert refused_look(dialect, reply(["failed"])) is None


@every_gateway
@pytest.mark.parametrize(
    ("words", "unknown"),
    [
        ("无效的任务ID", True),
        ("无效任务：t-1", True),
        ("任务 id无效", True),
        ("Invalid task_id", True),
        ("task_not_exist", True),
        ("无效的任务类型", False),
        ("任务类型无效", False),
        ("invalid task type", False),
    ],
)
def test_words_of_an_unknown_task_are_told_from_those_of_a_bad_parameter(dialect, words, unknown):
    """The former are waited for after a submit."""
    code = "20002" if dialect.name == "jimmy" else "invalid_request_error"
    answer = {"code": code, "msg": words} if dialect.name == "jimmy" else {"error": {"code": code, "message": words}}
    refusal = dialect.classify(Reply(status=400, body=json.dumps(answer).encode()))
    assert refusal.kind == (RefusalKind.NOT_FOUND if unknown else RefusalKind.BAD_REQUEST)


values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from([V, COVER, "{", '["x"]'])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from("result data output url video_url error message code status".split()), inner),
    ),
    max_leaves=12,
)
words = st.sampled_from(["completed", "failed", "odd", "processing"])


@every_gateway
@settings(max_examples=200)
@given(
    fields=st.dictionaries(st.sampled_from("result data output url error message task_id".split()), values), word=words
)
def test_no_answer_raises_anything_else(dialect, fields, word):
    """Whatever stands where: a task, or a DecodeError."""
    answer = told(dialect, **{**fields, "status": word, "progress": 100})
    refused_look(dialect, answer)
    try:
        task = dialect.read_query(answer)
    except DecodeError:
        return
    assert (task.video_url is not None) == (task.status is TaskStatus.SUCCEEDED)
