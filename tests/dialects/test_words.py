"""The words of refusals: which say that the order was taken all the same."""

import pytest

from omni_async.dialects import Meaning, RefusalKind, judge_create
from omni_async.dialects.words import plain_words, says_taken

from .answers import FLAT, JIMMY, meaning, reply

TAKEN = [
    "提交成功，当前任务过多，预计等待10分钟",
    "已加入队列，排队人数过多",
    "Accepted and queued: too many running tasks, it starts when a slot is free",
    "too many running tasks; your request was accepted and is queued",
    "扣费成功，上游超时",
    "upstream accepted, saving failed",
    "task was created but could not be stored",
    "任务已提交，当前并发已达上限，正在排队",
    "task task_01H8XYZ was created but could not be stored",
    "queue full, your task was accepted and will wait",
    "限流排队中",
    "任务已创建，请勿重复提交",
    "您的任务已提交，请求过多",
]
NOT_TAKEN = [
    "Rate limit exceeded, no task was created",
    "请求过于频繁",
    "任务提交过于频繁，请稍后再试",
    "您已提交的任务过多",
    "已创建的任务数达到上限",
    "排队任务过多",
    "排队已满",
    "too many requests queued",
    "the queue is full, the task was not accepted",
    "Your request was not accepted: slow down",
    "任务未提交成功，请稍后重试",
    "maximum number of tasks created",
    "too many tasks are queued",
    "you may try again once your previous task is created",
    "Requests can be submitted 5 times per minute",
    "并发任务数已达上限",
    "正在排队的任务过多",
    "排队中的任务已达上限",
    "服务器繁忙，扣费未成功",
    "Too many requests. Please slow down",
    "queue is full",
    "创建失败，请求过多",
    "a task is queued only then",
]


@pytest.mark.parametrize("words", TAKEN)
def test_words_that_say_an_order_was_taken(words):
    """Row 13: sent again it could be paid again, whatever is said beside that."""
    assert says_taken(words)
    for dialect, status, document in (
        (JIMMY, 200, {"code": "-1", "msg": words}),
        (JIMMY, 429, {"code": "429", "msg": words}),
        (FLAT, 500, {"error": {"code": "internal_error", "message": words}}),
        (FLAT, 429, {"error": {"code": "rate_limit_exceeded", "message": words}}),
    ):
        assert judge_create(dialect, reply(status, document)).meaning is Meaning.UNCERTAIN


@pytest.mark.parametrize("words", NOT_TAKEN)
def test_words_that_deny_it_or_speak_of_other_orders(words):
    """Row 16: such a refusal is one, and the order waits for its turn."""
    assert not says_taken(words)
    assert meaning(FLAT, 429, {"error": {"code": "rate_limit_exceeded", "message": words}}) is RefusalKind.RATE


@pytest.mark.parametrize("code", [0, "0", 200, "201"])
def test_a_code_that_elsewhere_means_success_is_no_refusal_for_now(code):
    """Row 13: what is said beside it may be about the order's own queue; a 429 refuses whatever it says."""
    refusal = {"code": code, "msg": "当前任务过多", "data": None}
    assert meaning(JIMMY, 200, refusal) is Meaning.UNCERTAIN
    assert meaning(JIMMY, 429, refusal) is RefusalKind.RATE


@pytest.mark.parametrize(
    ("code", "words", "kind"),
    [
        ("20002", "余额不足，请充值", RefusalKind.QUOTA),
        ("20001", "余额不足", RefusalKind.QUOTA),
        ("20002", "请求过于频繁", RefusalKind.RATE),
        ("20002", "并发任务数已达上限", RefusalKind.RATE),
        ("20002", "任务时长超限", RefusalKind.BAD_REQUEST),
        ("20002", "too many images", RefusalKind.BAD_REQUEST),
        ("20002", "invalid prompt: 'slow down the car'", RefusalKind.BAD_REQUEST),
    ],
)
def test_what_is_said_beside_a_documented_code_can_say_more(code, words, kind):
    """Rows 15 and 16: the balance and the rate are told by words alone at this gateway."""
    for status in (200, 400):
        assert meaning(JIMMY, status, {"code": code, "msg": words}) is kind


def test_a_429_for_want_of_money_is_no_rate():
    """Row 15: no pause helps. A quota can be one of requests a minute, so that word alone says nothing there."""
    for words in ("余额不足", "Account balance not enough", "insufficient balance"):
        assert meaning(FLAT, 429, {"error": {"code": "1102", "message": words}}) is RefusalKind.QUOTA
    over = {"error": {"code": "1302", "message": "quota exceeded for requests per minute"}}
    assert meaning(FLAT, 429, over) is RefusalKind.RATE


def test_only_an_object_with_a_4xx_or_5xx_is_read_as_a_refusal_in_other_words():
    """What else comes may be anything, such as a page or an order's own description."""
    assert plain_words(reply(400, {"message": "no"})) == plain_words(reply(502, {"errors": [{"msg": "no"}]})) == "no"
    assert [plain_words(reply(status, {"message": "no"})) for status in (200, 302, 399)] == ["", "", ""]
    assert [plain_words(reply(502, document)) for document in (["no"], "no", 7)] == ["", "", ""]
