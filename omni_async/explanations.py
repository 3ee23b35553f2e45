"""What gateways say and what to do about it, in English and Chinese: tables, and nothing is guessed.

Only what the gateways' documents, their public clients' reports and the emulator know is explained; any other text is
passed on as it is. No explanation quotes more of a gateway's text than its numbers.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple


class Both(NamedTuple):
    """One sentence in both languages."""

    en: str
    zh: str

    def told(self, language: str) -> str:
        """It in Chinese for `zh` and what begins with it, such as `zh_CN.UTF-8`; else in English."""
        return self.zh if language.lower().startswith("zh") else self.en


WRONG_ROUTE = Both(
    "a chat route was called instead of the task route; check the base URL (seed's FAQ: 'invalid apitype: -1', and "
    "token counts in the bill of a failed task, mean the same)",
    "接口走错了：调用了 chat 接口而不是任务接口，请检查 base URL"
    "（“invalid apitype: -1”或失败任务的账单中出现 token 统计，都是这个原因）",
)

SAYINGS: tuple[tuple[str, Both], ...] = (
    # Where two begin at the same place, the upper one counts. `\1` is the number that the text names.
    (r"invalid[\s_]+api[\s_]?type(:? ?-1)?", WRONG_ROUTE),
    (
        r"(?:API )?Key ?缺失、错误或已过期",
        Both("the API key is missing, wrong or expired", "API Key 缺失、错误或已过期"),
    ),
    (r"(?:API )?Key ?(?:已过期|过期)", Both("the API key has expired", "API Key 已过期")),
    (r"(?:API )?Key ?(?:无效|错误)|invalid_api_key", Both("the API key is not valid", "API Key 无效")),
    (r"authentication_error", Both("the API key is missing or not valid", "API Key 缺失或无效")),
    (r"permission_denied", Both("the API key is not allowed to do this", "API Key 没有此权限")),
    (r"请充值(?:后重试)?", Both("top up, then try again", "请充值后重试")),
    (
        r"余额不足|balance.{0,20}(?:too low|not enough)|insufficient[ _]balance",
        Both("the balance is too low", "余额不足"),
    ),
    (
        r"额度不足|积分不足|配额不足|点数不足|额度已用[完尽]|insufficient[ _](?:user[ _])?quota|quota (?:is )?used up",
        Both("the quota or credit is used up", "额度、积分或配额不足"),
    ),
    (
        r"(?:提示词)?违反内容政策|content[ _]policy[ _]violation|violates the content policy",
        Both("the content policy is violated", "违反内容政策"),
    ),
    (
        r"(?:内容)?审核(?:未|不)通过|PROVIDER_MODERATION_ERROR|moderation_error|content_filter",
        Both("the content did not pass moderation", "内容审核未通过"),
    ),
    (r"内容违规|违规内容|内容敏感|(?:包含|含有)敏感(?:词|内容)", Both("the content is not allowed", "内容违规或敏感")),
    (
        r"(?:请求|操作)?过于频繁|操作频繁|请求过多|(?:访问|请求|调用|操作|提交)?频率(?:过高|过快)|被?限流"
        r"|too.?frequent|rate_limit_(?:exceeded|error)",
        Both("requests come too often", "请求过于频繁"),
    ),
    (r"每秒请求数(?:超限|(?:已)?达到?上限)", Both("too many requests a second", "每秒请求数超限")),
    (
        r"每秒创建任务数(?:超限|(?:已)?达到?上限)",
        Both("too many tasks created a second", "每秒创建的任务数超限"),
    ),
    (
        r"并发请求数?(?:超限|(?:已)?达到?上限|超过上限|过多)",
        Both("too many requests at the same time", "并发请求数超限"),
    ),
    (
        r"(?:进行中的|并发)任务数?(?:超限|(?:已)?达到?上限|超过上限|过多)|too many (?:concurrent|running) tasks",
        Both("too many tasks are running", "进行中的任务数已达上限"),
    ),
    (
        r"request rate, concurrency,? or current quota hits [a-z ]{1,20}limit(?:ing)?",
        Both("the request rate, the running tasks or the quota has hit a limit", "请求频率、并发任务数或额度已达上限"),
    ),
    (r"任务(?:不存在|未找到)|task_not_(?:found|exist)|no such task", Both("there is no such task", "任务不存在")),
    (r"系统繁忙", Both("the system is busy", "系统繁忙")),
    (r"服务器(?:内部)?错误|internal[ _](?:server[ _])?error|server error", Both("server error", "服务器内部错误")),
    (r"请?稍后(?:再试|重试)|try(?: again)? later", Both("try again later", "请稍后再试")),
    (r"invalid_request_error", Both("invalid parameters", "参数错误")),
    (r"参数错误", Both("invalid parameters", "参数错误")),
    (
        r"duration 与 video_urls 不可以?同时传入",
        Both("duration and video_urls cannot be given together", "duration 与 video_urls 不可同时传入"),
    ),
    (r"duration 仅支持 ([\d, ]*\d)", Both(r"duration takes only \1", r"duration 仅支持 \1")),
    (
        r"generation_type=frame 只能传 (\d+) 张图片",
        Both(r"generation_type=frame takes exactly \1 image", r"generation_type=frame 只能传 \1 张图片"),
    ),
    (
        r"generation_type=reference 只能传 (\d+) 张或 (\d+) 张图片",
        Both(r"generation_type=reference takes \1 or \2 images", r"generation_type=reference 只能传 \1 张或 \2 张图片"),
    ),
    (r"video_urls 最多支持 (\d+) 个视频", Both(r"video_urls takes at most \1 video", r"video_urls 最多支持 \1 个视频")),
    (
        r"omni-10s 最多支持 (\d+) 个参考素材",
        Both(r"omni-10s takes at most \1 references", r"omni-10s 最多支持 \1 个参考素材"),
    ),
    (r"收到 (\d+) [个张]", Both(r"\1 came", r"收到 \1 个")),
    (r"prompt 不能为空", Both("the prompt is missing", "prompt 不能为空")),
    (r"aspect_ratio 格式错误", Both("aspect_ratio is malformed", "aspect_ratio 格式错误")),
    (r"不支持的文件类型", Both("a file of this type is not taken", "不支持的文件类型")),
    (r"文件大小超过 (\d+) ?MB 限制", Both(r"the file is larger than \1 MB", r"文件大小超过 \1 MB 限制")),
    (r"Read timed out", Both("the provider did not answer the gateway in time", "网关等待上游响应超时")),
    (r"s3 upload failed", Both("the provider could not fetch an input", "上游无法获取输入素材")),
)

PROBLEMS: tuple[tuple[str, str], ...] = (
    # What our own checks say of a request's field, whole, and its Chinese.
    (r"required text", "必填，须为文本"),
    (r"(.+) is not possible with (\S+)", r"\2 不支持 \1"),
    (r"(\d+) images are not possible with (\S+)", r"\2 不支持 \1 张图片"),
    (r"(\d+) images; frame takes exactly 1, the first frame", r"收到 \1 张图片：frame 只能传 1 张，即首帧"),
    (r"(\d+) references, (\S+) takes at most (\d+)", r"共 \1 个参考素材：\2 最多支持 \3 个"),
    (r"(\d+) videos, at most 1 is possible", r"收到 \1 个视频：最多 1 个"),
    (r"(.+) goes with certain aspect ratios only", r"\1 只能搭配部分画面比例"),
    (r"must be absent when video_urls is given \(seed\)", "不可与 video_urls 同时传入"),
    (r"(.+) does not go with the images and videos given", r"\1 与所给的图片、视频不相配"),
    (r"(.+) is not known", r"没有 \1 这个值"),
    (r"(.+) is not a whole number of seconds", r"\1 不是整数秒"),
    (r"(.+) is not text", r"\1 不是文本"),
    (r"(.+) is not width:height", r"\1 不是“宽:高”"),
    (
        r"no such field; did you mean ('\w+')\? With .*",
        r"没有这个字段；是否应为 \1？首帧用 generation_type='frame'",
    ),
    (r"no such field; did you mean (.+)\?", r"没有这个字段；是否应为 \1？"),
    (r"no such field; put what .*", "没有这个字段；新网关的新字段请放入 extra"),
    (r"no such field; not offered: no gateway takes a last frame", "没有这个字段；没有网关支持尾帧"),
    (r"no such field; one request makes one video.*", "没有这个字段；一次请求只生成一个视频，多个请用 generate_many"),
    (r"no such field; (\S+) gives each change of status and progress", r"没有这个字段；状态与进度的变化请用 \1"),
    (r"no such field; (extra=.*), where the gateway calls back (.*)", r"没有这个字段；支持回调的网关\2请用 \1"),
    (r"no such field; (\S+) stores the video, and so does (\S+)", r"没有这个字段；保存视频请用 \1 或 \2"),
    (r"no such field; (\S+) says when to look", r"没有这个字段；查询间隔请用 \1"),
    (r"given twice", "重复给出"),
    (r"(.+) is not a URL or path; .*", r"\1 不是 URL 或文件路径：内存中的内容请先用 client.upload 取得 URL"),
    (r"(.+) is not a path", r"\1 不是路径"),
    (r"is blank; give a URL or path|is not a list of URLs or paths", "须为 URL 或文件路径"),
    (r"is a local path; (from_dict.*), for data of your own", r"是本机路径：自己的数据请用 \1"),
    (r"is blank; .*", "为空：请去掉，或填写文本"),
    (r"is not a mapping", "须为键值对象"),
    (r"cannot be written as JSON", "无法写成 JSON"),
    (r"is a field of its own; set it there", "有专门的字段：请在那里填写"),
    (r"base64 is not taken; upload the file or give its URL", "不支持 base64：请上传文件或给出 URL"),
    (r"(.+) is not a file", r"\1 不是文件"),
    (r"(.+) is empty", r"\1 是空文件"),
    (r"(.+) has an ending this gateway does not take", r"网关不支持 \1 的扩展名"),
    (r"(.+) has (\d+) bytes; at most (\d+) are taken", r"\1 有 \2 字节：最多 \3 字节"),
)
FAULTS = 10
"""How many faults an explanation names at most: a sheet can have thousands."""

MODERATION = Both(
    "the content was refused; change the prompt or references, never resend it unchanged",
    "内容被拒绝：请修改提示词或参考素材，不要原样重发",
)

UNSEEN = Both(
    "nobody could look at it, so nobody knows whether it still runs; mend what the message names, then wait again:"
    " it is not lost",
    "一直未能查到任务状态，不知道是否仍在进行；请先解决原始信息中的问题，再继续等待：任务没有丢失",
)

STILL: dict[str, Both] = {
    # What a download has to wait for.
    "running": Both(
        "its task has not ended, so there is no video yet: wait for it, then download",
        "任务尚未结束，还没有视频：请先等待，再下载",
    ),
    "storing": Both(
        "another download is storing this file just now: wait for that one, or choose another name",
        "该文件正由另一个下载写入：请等它完成，或换一个文件名",
    ),
}

UNSET = Both(
    "it was never sent, and sending it again cannot help: mend what the message names first",
    "请求没有发出，重发也没有用：请先解决原始信息中的问题",
)

STEPS: dict[str, Both] = {
    # What to do about an error, by its class; what is not here does as its parent. The English of refusals is the
    # seed's error table and FAQ, said to the person who meets them.
    "OmniError": Both("see the message", "请看原始信息"),
    "InvalidRequestError": Both(
        "this call sent nothing: mend every fault named", "本次调用没有发出请求：请按所列各项修改"
    ),
    "NotSentError": Both("it was never sent: safe to send again", "请求没有发出：可以放心重发"),
    "AnswerLostError": Both("it was sent and the answer was lost: look again", "请求已发出但没有收到回答：请重新查询"),
    "TransportError": Both("no usable answer came: try again", "没有收到可用的回答：请重试"),
    "SubmissionUncertainError": Both(
        "it may have been charged and is never sent again by itself: look into the gateway's bill, then settle it",
        "可能已经扣费，不会自动重发：请先查看网关账单，再用 settle 处理",
    ),
    "AuthenticationError": Both(
        "check the API key: its Bearer format, scope and expiry; rotate it if it keeps failing",
        "请检查 API Key：Bearer 格式、权限范围和有效期；若仍失败请更换",
    ),
    "QuotaError": Both(
        "the account's balance or quota is used up: top it up, then submit again",
        "账户余额或额度已用完：请充值后重新提交",
    ),
    "RejectedError": Both(
        "mend the request before sending it again; sending it unchanged cannot help",
        "请先修改请求再发送；原样重发没有用",
    ),
    "NotFoundError": Both(
        "the gateway does not know it; check the id, the gateway and the base URL",
        "网关查不到：请检查任务 ID、网关和 base URL",
    ),
    "RateLimitError": Both(
        "request rate, concurrency (running tasks) or quota has hit a limit: wait, then lower the submission pressure",
        "请求频率、并发任务数或额度已达上限：请等待后再提交，并降低提交速度",
    ),
    "GatewayError": Both(
        "the gateway failed on its side; keep the request id and ask its support if it goes on",
        "网关自身出错：请保留 request id，若持续出现请联系网关客服",
    ),
    "ApiError": Both("the gateway refused; see its words", "网关拒绝了请求：请看其原文"),
    "DecodeError": Both(
        "the answer is in no known shape; query the task again, and report it if it goes on",
        "回答的格式无法识别：请重新查询该任务，若持续出现请反馈",
    ),
    "TaskFailedError": Both("a new attempt is a new payment", "任务失败：重新提交会再次付费"),
    "WaitTimeoutError": Both("it still runs and is not lost: wait again", "任务仍在进行，没有丢失：请继续等待"),
    "DownloadError": Both(
        "it is paid for and not stored: download again, it costs nothing",
        "视频已付费但没有保存：请重新下载，不会再次扣费",
    ),
    "UnsafeURLError": Both(
        "the link leads where a download must not go: allow_hosts takes origins you trust",
        "下载地址不安全：确认可信后可用 allow_hosts 放行",
    ),
    "ResultExpiredError": Both("the link has expired and cannot be renewed", "下载地址已过期，无法重新获取"),
    "TargetExistsError": Both("choose another name, or overwrite=True", "文件已存在：请换名或使用 overwrite=True"),
    "JournalError": Both("the journal cannot be used; its text says why", "日志文件无法使用：原因见原始信息"),
    "WebhookError": Both("answer it with 400 and do nothing", "请以 400 回应，不做任何处理"),
}

_READ = 1000
"""Letters of a text that are looked at."""


def meaning(said: str, language: str = "en", *, foreign: bool = False) -> str:
    """What the known phrases of a gateway's text say, in their order; empty if none is known.

    Args:
        said: The text.
        language: `en` or `zh`.
        foreign: Only what is written in Chinese there.
    """
    return "; ".join(dict.fromkeys(_phrases(said[:_READ], language, foreign))) if said else ""


def _phrases(said: str, language: str, foreign: bool) -> Iterator[str]:
    found = [
        (match.start(), row, match, both)
        for row, (words, both) in enumerate(SAYINGS)
        for match in re.finditer(words, said, re.IGNORECASE)
        if not foreign or _is_chinese(match[0])
    ]
    end = 0
    for start, _, match, both in sorted(found, key=lambda hit: hit[:2]):
        if start >= end:
            end = match.end()
            yield match.expand(both.told(language))


def _is_chinese(text: str) -> bool:
    return any("\u3400" <= letter <= "\u9fff" for letter in text)


def problems(faults: Sequence[tuple[str, str, tuple[Any, ...]]], language: str) -> str:
    """The faults of a request: each field, what is wrong with it, and what would do; the first of them if many.

    Args:
        faults: As `InvalidRequestError` has them.
        language: `en` or `zh`; a problem that has no Chinese is told in English.
    """
    told = [Both(_fault(*fault), _fault_zh(*fault)).told(language) for fault in faults[:FAULTS]]
    if (more := len(faults) - FAULTS) > 0:
        told.append(Both(f"and {more} more", f"还有 {more} 项").told(language))
    return Both("; ", "；").told(language).join(told)


def _fault(field: str, problem: str, allowed: tuple[Any, ...]) -> str:
    return f"{field}: {problem}" + (f" (allowed: {', '.join(map(str, allowed))})" if allowed else "")


def _fault_zh(field: str, problem: str, allowed: tuple[Any, ...]) -> str:
    found = next(((match, zh) for words, zh in PROBLEMS if (match := re.fullmatch(words, problem, re.DOTALL))), None)
    told, place = found[0].expand(found[1]) if found else problem, re.sub(r"\Aline (\d+): ", r"第 \1 行 ", field)
    return f"{place}：{told}" + (f"（可选：{'、'.join(map(str, allowed))}）" if allowed else "")


def explanation(told: str, step: Both, language: str) -> str:
    """What is known of it, if anything, and what to do next."""
    dash = Both(" — ", "——").told(language)
    return f"{told}{dash}{step.told(language)}" if told else step.told(language)


def glossed(said: str) -> str:
    """A gateway's text as it is, followed by the English of what is known of its Chinese."""
    english = f" ({told})" if (told := meaning(said, foreign=True)) else ""
    return said if english in said else said + english


def chat_was_called(said: str, document: Any = None) -> bool:
    """Whether a text, or the token counts in an answer, tell that a chat route was called (seed's FAQ)."""
    counts = {"prompt_tokens", "input_tokens", "completion_tokens", "output_tokens", "total_tokens"}
    answer = document if isinstance(document, dict) else {}
    data = answer.get("data")
    places = (answer.get("usage"), data.get("usage") if isinstance(data, dict) else None)
    counted = any(isinstance(usage, dict) and usage.get(name) is not None for usage in places for name in counts)
    return counted or re.search(r"invalid[\s_]+api[\s_]?type", said, re.IGNORECASE) is not None
