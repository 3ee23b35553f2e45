"""What gateways say, explained in English and Chinese; what nobody knows is passed on as it is."""

import json
import re
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omni_async import Fault, InvalidRequestError, OmniClient, errors
from omni_async.cli.exits import language, lines_of
from omni_async.dialects import Jimmy, Reply, ToApis, error_of, refusal_of
from omni_async.dialects.verdict import judge_create
from omni_async.emulator.jimmy import Jimmy as Emulated
from omni_async.errors import OmniError, QuotaError, RejectedError, SubmissionUncertainError
from omni_async.explanations import SAYINGS, STEPS, STILL, chat_was_called, glossed, meaning, problems
from omni_async.models import TaskStatus, VideoTask
from omni_async.poller.waiting import failure_of

CHINESE = re.compile(r"[\u3400-\u9fff]")
VARIABLES = ("OMNI_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, OmniError)]
SAMPLES = Path(__file__).parent / "samples"


def sampled_words():
    """Every Chinese text that a recorded answer holds."""
    for path in sorted(SAMPLES.glob("*/*/answer.json")):
        try:
            document = json.loads(path.read_text("utf-8"))
        except ValueError:
            continue
        said = document.get("msg") if isinstance(document, dict) else None
        if isinstance(said, str) and CHINESE.search(said):
            yield said


@pytest.mark.parametrize(
    ("said", "english", "chinese"),
    [
        # the contract's own words
        ("请求过于频繁", "requests come too often", "请求过于频繁"),
        ("Requests too frequent", "requests come too often", "请求过于频繁"),
        ("PROVIDER_MODERATION_ERROR: x", "the content did not pass moderation", "内容审核未通过"),
        ("Read timed out", "the provider did not answer the gateway in time", "网关等待上游响应超时"),
        ("s3 upload failed", "the provider could not fetch an input", "上游无法获取输入素材"),
        ("invalid_request_error", "invalid parameters", "参数错误"),
        ("authentication_error", "the API key is missing or not valid", "API Key 缺失或无效"),
        ("rate_limit_exceeded", "requests come too often", "请求过于频繁"),
        ("internal_error", "server error", "服务器内部错误"),
        (
            "Request rate, concurrency, or current quota hits upstream rate limiting.",
            "the request rate, the running tasks or the quota has hit a limit",
            "请求频率、并发任务数或额度已达上限",
        ),
        ("insufficient_quota", "the quota or credit is used up", "额度、积分或配额不足"),
        ("task_not_found", "there is no such task", "任务不存在"),
        ("content_policy_violation", "the content policy is violated", "违反内容政策"),
        # what its public clients have seen, in the dialects' patterns
        ("余额不足，请充值后重试", "the balance is too low; top up, then try again", "余额不足; 请充值后重试"),
        ("积分不足", "the quota or credit is used up", "额度、积分或配额不足"),
        ("内容审核未通过", "the content did not pass moderation", "内容审核未通过"),
        ("API Key 已过期", "the API key has expired", "API Key 已过期"),
        ("任务不存在", "there is no such task", "任务不存在"),
        ("系统繁忙", "the system is busy", "系统繁忙"),
        (
            "请求过于频繁，请稍后再试：进行中的任务数超限",
            "requests come too often; try again later; too many tasks are running",
            "请求过于频繁; 请稍后再试; 进行中的任务数已达上限",
        ),
        (
            "参数错误: generation_type=frame 只能传 1 张图片，收到 2 张",
            "invalid parameters; generation_type=frame takes exactly 1 image; 2 came",
            "参数错误; generation_type=frame 只能传 1 张图片; 收到 2 个",
        ),
    ],
)
def test_what_gateways_say_is_explained_in_both_languages(said, english, chinese):
    """Codes, words and whole sentences, in the order in which they stand, with the numbers they name."""
    assert meaning(said) == english
    assert meaning(said, "zh") == chinese


@pytest.mark.parametrize("said", sorted(set(sampled_words()) | set(Emulated.limit_words.values())))
def test_each_chinese_text_we_know_of_has_its_english(said):
    """Every Chinese message of the recorded answers and of the emulator's limits is glossed, wholly in English."""
    told = meaning(said, foreign=True)
    assert told
    assert not CHINESE.search(told)
    assert glossed(said) == f"{said} ({told})"


@pytest.mark.parametrize(
    "said", ["并发任务超时", "任务数据超过限制", "内容审核已通过", "敏感度设置", "钱包空了", "", "it broke"]
)
def test_what_is_not_known_is_not_guessed(said):
    """Near misses and unknown words, Chinese or English, are passed on as they are."""
    assert meaning(said) == meaning(said, "zh") == ""
    assert glossed(said) == said


def test_an_english_text_gets_no_english_beside_it():
    """Only what is Chinese is glossed, and once."""
    assert glossed("Read timed out") == "Read timed out"
    once = glossed("余额不足")
    assert once == glossed(once) == "余额不足 (the balance is too low)"
    assert glossed("Read timed out，余额不足").endswith("(the balance is too low)")


@given(
    st.lists(st.sampled_from(["余额不足", "too frequent", "\\1", "\\g<0>", "收到 7 张", "sk-canary", "\ud800"])).map(
        " ".join
    )
)
def test_no_text_breaks_it_or_comes_through_it(said):
    """Whatever stands in a text, what is said of it is the tables' words and its numbers."""
    for tongue in ("en", "zh"):
        assert "canary" not in meaning(said, tongue)
        assert "\\" not in meaning(said, tongue)
    assert glossed(said).startswith(said)


@pytest.mark.parametrize(
    "said", ["余额不足" * 300_000, "任务 " * 300_000, "收到 " + "7" * 1_000_000, "API Key " * 200_000]
)
def test_an_endless_text_takes_no_time(said):
    """Only its beginning is looked at."""
    assert len(meaning(said)) < 2000


def test_the_tables_are_whole():
    """Every saying has both languages, no Chinese in the English, and its pattern compiles; so has every step."""
    for words, both in SAYINGS:
        re.compile(words)
        assert not CHINESE.search(both.en)
        assert CHINESE.search(both.zh)
    assert STEPS.keys() <= {kind.__name__ for kind in KINDS}
    steps = [*STEPS.values(), *STILL.values()]
    assert all(not CHINESE.search(step.en) and CHINESE.search(step.zh) for step in steps)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_each_error_explains_itself_in_both_languages(kind):
    """Every class says what to do next, in English unless Chinese is asked for by any of its names."""
    error = kind("m")
    assert not CHINESE.search(error.explain())
    assert error.explain() == error.explain("en") == error.explain("fr")
    assert CHINESE.search(error.explain("zh"))
    assert error.explain("zh") == error.explain("zh_CN.UTF-8") == error.explain("ZH-Hant")


def answered(dialect, status, document):
    """A refusal's error."""
    reply = Reply(status=status, body=json.dumps(document, ensure_ascii=False).encode())
    return error_of(refusal_of(dialect, reply), reply, gateway=dialect.name)


def test_a_refusal_in_chinese_says_in_english_what_it_means():
    """The gateway's words stay; the message adds their English and the next step, `explain` tells it in Chinese."""
    error = answered(Jimmy(), 200, {"code": "20099", "msg": "余额不足", "data": None})
    assert isinstance(error, QuotaError)
    assert error.message == "余额不足"
    assert "余额不足 (the balance is too low) — the account's balance or quota is used up: top it up" in str(error)
    assert error.explain("zh") == "余额不足——账户余额或额度已用完：请充值后重新提交"
    assert error.explain().startswith("the balance is too low — ")


def test_a_refusal_for_its_content_is_never_to_be_sent_unchanged():
    """Moderation has its own next step, whichever gateway says it."""
    for error in (
        answered(Jimmy(), 200, {"code": "20002", "msg": "内容审核未通过"}),
        answered(ToApis(), 422, {"error": {"code": "content_policy_violation", "message": "m"}}),
    ):
        assert isinstance(error, RejectedError)
        assert error.moderated
        assert "never resend it unchanged" in error.explain()
        assert "不要原样重发" in error.explain("zh")


def test_unknown_words_are_passed_on_with_the_kinds_next_step():
    """A message nobody knows stays as it is."""
    error = answered(Jimmy(), 401, {"code": "20001", "msg": "钱包钥匙丢了"})
    assert "钱包钥匙丢了 — check the API key" in str(error)
    assert error.explain("zh").startswith("请检查 API Key")


def test_an_uncertain_create_tells_a_known_text_in_our_words():
    """An unknown code stays uncertain; what its text says is told, not quoted."""
    body = json.dumps({"code": "50001", "msg": "系统繁忙 CANARY"}).encode()
    assert judge_create(Jimmy(), Reply(status=200, body=body)).reason == (
        "HTTP 200 with the unknown code 50001: the system is busy"
    )


def failed(**told):
    """The error of a task that failed."""
    task = VideoTask(task_id="t", status=TaskStatus.FAILED, gateway="jimmy", **told)
    return failure_of(task, moderated=Jimmy().moderated)


def test_a_failed_task_is_explained():
    """Its words with their English; what to do; in Chinese, too; and the wrong route, told by its token counts."""
    error = failed(error_message="内容审核未通过")
    assert "内容审核未通过 (the content did not pass moderation) — change the prompt" in str(error)
    assert (
        failed(error_message="s3 upload failed").explain("zh") == "上游无法获取输入素材——任务失败：重新提交会再次付费"
    )
    assert "chat 接口" in failed(error_message="x", raw={"usage": {"total_tokens": 3}}).explain("zh")
    assert "chat 接口" in failed(error_message="invalid apitype: -1").explain("zh")


def test_the_seeds_faq_is_told():
    """`invalid apitype: -1`, and token counts in a failed task's answer, mean that a chat route was called."""
    assert chat_was_called("invalid apitype: -1")
    assert chat_was_called("Invalid API type")
    assert chat_was_called("failed", {"usage": {"total_tokens": 9}})
    assert chat_was_called("failed", {"data": {"usage": {"input_tokens": 9}}})
    assert not chat_was_called("failed", {"data": {"usage": None}})
    assert not chat_was_called("invalid request")


@pytest.mark.parametrize("where", ["usage", "data"])
@pytest.mark.parametrize(
    "name", ["prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens"]
)
def test_counted_tokens_tell_of_a_chat_route(name, where):
    """By any of their names, at the top or under `data`; an empty account tells nothing."""
    usage = {name: 3}
    assert chat_was_called("", {"usage": usage} if where == "usage" else {"data": {"usage": usage}})
    assert not chat_was_called("", {"usage": {"other": 3}})
    assert not chat_was_called("", {"data": {"usage": {}}})


def refused(dialect="jimmy", **fields):
    """The error of a request that is refused before it is sent."""
    client = OmniClient(dialect, api_key="k")
    with pytest.raises(InvalidRequestError) as caught:
        client.check({"prompt": "p", **fields})
    return caught.value


def test_the_faults_of_a_request_are_named():
    """Who shows the explanation alone shows what to mend: each field, what is wrong with it, and what would do."""
    error = refused(duration=7, resolution="8k", image_urls=["https://a/a", "https://a/b"])
    assert error.explain() == (
        "duration: 7 is not possible with Gemini-Omini (allowed: 4, 6, 8, 10); "
        "resolution: '8k' is not possible with Gemini-Omini (allowed: 720p, 1080p, 4k); "
        "image_urls: 2 images are not possible with Gemini-Omini (allowed: 0, 1, 3) — "
        "this call sent nothing: mend every fault named"
    )
    assert error.explain("zh") == (
        "duration：Gemini-Omini 不支持 7（可选：4、6、8、10）；"
        "resolution：Gemini-Omini 不支持 '8k'（可选：720p、1080p、4k）；"
        "image_urls：Gemini-Omini 不支持 2 张图片（可选：0、1、3）——"
        "本次调用没有发出请求：请按所列各项修改"
    )


@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": " ", "duration": "6", "model": "x", "orientation": "up", "generation_type": "film"},
        {"duration": 99, "resolution": "8k", "aspect_ratio": "wide", "mode": "text-to-video", "image_urls": ["a"] * 9},
        {"generation_type": "frame", "images": ["a", ""], "video_urls": ["v", "v"], "extra": {"prompt": "x", "s": {1}}},
        {"model": "omni-10s", "image_urls": ["a"] * 8, "duration": 6, "video_urls": ["v"], "metadata": 1},
        {"promt": "x", "colour": 1},
        {"custom_id": " ", "model": 5, "image_urls": [b"png"]},
        {"image_urls": ["data:image/png;base64,AAAA"]},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_each_fault_of_a_request_has_its_chinese(gateway, fields):
    """Whatever our own checks say of a field; names and values stay as they are."""
    with suppress(ValueError):
        OmniClient(gateway, api_key="k").check({"prompt": "p", **fields})
        return  # this gateway takes it
    for fault in refused(gateway, **fields).faults:
        assert CHINESE.search(problems([fault], "zh")), fault


def test_of_very_many_faults_the_first_are_named():
    """A sheet can have thousands; what has no Chinese is told as it is, and each line by its number."""
    faults = tuple(Fault(f"line {number}: x", "odd") for number in range(12))
    assert problems(faults, "zh").startswith("第 0 行 x：odd；第 1 行 x：odd；")
    assert problems(faults, "zh").endswith("第 9 行 x：odd；还有 2 项")
    assert problems(faults, "en").endswith("line 9: x: odd; and 2 more")


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh_CN.UTF-8"),
        ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C.UTF-8"}, "C.UTF-8"),
        ({"LANG": "C", "LC_MESSAGES": "zh_TW"}, "zh_TW"),
        ({"LC_ALL": "zh_CN", "OMNI_LANG": "en"}, "en"),
    ],
)
def test_the_command_line_speaks_the_users_language(given, chosen, monkeypatch):
    """`OMNI_LANG` before `LC_ALL`, `LC_MESSAGES` and `LANG`."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert language() == chosen


def test_who_reads_chinese_gets_a_line_in_chinese(monkeypatch):
    """Below the error stands its explanation; a usage error, which is not a gateway's, stays as it is."""
    monkeypatch.setenv("OMNI_LANG", "zh")
    assert lines_of(SubmissionUncertainError("m"))[-1].startswith("  说明：可能已经扣费")
    assert lines_of(OSError(2, "gone")) == ["error: gone"]
    monkeypatch.setenv("OMNI_LANG", "en")
    assert lines_of(QuotaError("m")) == ["error: m"]
