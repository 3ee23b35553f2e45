"""The gateways' words: for where a task stands, for what a refusal is about, and where in an answer they stand."""

import re
from collections.abc import Mapping
from typing import Any

from ..models import TaskStatus
from .wire import Reply, number_code, text

STATUS_WORDS: Mapping[str, TaskStatus] = {
    # docs (jimmy, toapis) and seen; compared in lower case
    "": TaskStatus.QUEUED,
    "queued": TaskStatus.QUEUED,
    "pending": TaskStatus.QUEUED,
    "submitted": TaskStatus.QUEUED,
    "processing": TaskStatus.RUNNING,
    "in_progress": TaskStatus.RUNNING,
    "running": TaskStatus.RUNNING,
    "completed": TaskStatus.SUCCEEDED,
    "success": TaskStatus.SUCCEEDED,
    "succeeded": TaskStatus.SUCCEEDED,
    "succeed": TaskStatus.SUCCEEDED,
    "complete": TaskStatus.SUCCEEDED,
    "finished": TaskStatus.SUCCEEDED,
    "done": TaskStatus.SUCCEEDED,
    "已完成": TaskStatus.SUCCEEDED,
    "成功": TaskStatus.SUCCEEDED,
    "failed": TaskStatus.FAILED,
    "fail": TaskStatus.FAILED,
    "failure": TaskStatus.FAILED,
    "error": TaskStatus.FAILED,
    "失败": TaskStatus.FAILED,
    "canceled": TaskStatus.CANCELED,
    "cancelled": TaskStatus.CANCELED,
}

# The patterns are narrow on purpose: a rate refusal sends the paid create again, so "too many images", "task data
# too large" or "concurrent task timed out" must not look like one. They are texts: `re` compiles each with its first
# search and keeps it, and most clients meet few refusals.
MODERATION_WORDS = (
    r"(?i)moderation|content.?polic|safety|(?<!case[ -])(?<!in)sensitive|prohibited.?content|content.{0,20}prohibited"
    r"|内容违规|违规内容|(?<!大小写)敏感|审核未通过|内容审核|安全策略"
)
_MEDIA_RATES = ("bit", "frame", "sample", "sampling", "refresh", "data", "playback", "speech")
_NOT_OF_MEDIA = "".join(f"(?<!{word})(?<!{word}[ _-])" for word in _MEDIA_RATES)
RATE_WORDS = (
    rf"(?i)too.?frequent|too.?many.{{0,20}}(request|call|task|job)|(?<!gene){_NOT_OF_MEDIA}rate.?limit|throttl"
    r"|slow down"
    r"|过于频繁|操作频繁|请求频率|限流|请求过多|请求次数.{0,4}(超|上限|过多)"
    r"|任务(过多|太多)|排队.{0,6}(过多|太多|已满)|队列已?满|queue.{0,4}full"
    r"|(?<!采样)(?<!帧)(?<!刷新)频率.{0,2}(限制|过高|过快)|(?<!比特)(?<!采样)(?<!帧)(?<!刷新)速率.{0,2}(限制|过高|过快)"
)
_CAPACITY = r"concurren|(running|active|in.?progress).{0,3}tasks?|并发|进行中的任务|任务数(?!据)"
_REACHED = r"limit|exceed|max|too many|reached|上限|超(?!时)|达到|限制|过多"
CONCURRENCY_WORDS = f"(?is)({_CAPACITY}).*({_REACHED})|({_REACHED}).*({_CAPACITY})"
REQUESTS_WORDS = r"(?i)per.?(second|minute)|\b(qps|rpm|rps)\b|每秒|每分钟|请求频率"
EITHER_WORDS = (  # the seed's own refusal names rate, concurrency and quota in one breath
    r"(?i)concurren\w*.{0,3}requests?|并发请求|rate,? .{0,5}concurrency|concurrency,? .{0,5}rate"
)
BAD_ID_WORDS = r"(?i:invalid.?task.?id|无效的?任务(\s?(id|编号|号)|\W|\Z)|任务\s?(id|编号|号)?无效)"
"""Of an id that is none of this gateway's: what it was read from may have told of a task by another."""
NO_TASK_WORDS = (
    r"(?i)no such task|(?<![a-z])task(.?id)?[\W_]{0,3}([\w-]{1,64}\W{1,3})?(was |is |does ?)?(not|n't).?(found|exist)"
    r"|任务[^,，。;；]{0,80}(不存在|未找到)"
    rf"|{BAD_ID_WORDS}"
)
BALANCE_WORDS = (
    r"(?i)insufficient.?(balance|credit|fund)|balance.{0,20}(too low|not enough)|余额不足|积分不足|金币不足|点数不足"
)
QUOTA_WORDS = (
    rf"{BALANCE_WORDS}|insufficient.?(quota|user.?quota)"
    r"|quota.{0,20}(used up|exhaust|exceeded)|exceeded.{0,20}quota"
    r"|额度不足|配额不足|额度已用"
)
TOO_MUCH_WORDS = (
    r"(?i)too.?many.?requests|rate.?limit.?(exceed|reach)|过于频繁|操作频繁|请求过多|限流"
    r"|(并发|任务数(?!据))[^,，。;；]{0,6}(上限|超限)"
)
"""Of a rate or of running tasks, and never of a parameter: for a code that means a bad one."""

_TAKEN = (
    r"(?i)(提交|创建|下单|扣费|扣款|受理)成功"
    r"|已经?(提交|创建|受理|扣费|扣款|下单|排队|[加进]入.{0,4}队列)|(正在|限流)排队|^排队中"
    r"|\b(is|was|been|and|task|job|order|request|video|generation|upstream)"
    r" (accepted|queued|created|submitted|charged)\b"
)
_NOT_TAKEN = (
    r"(?i)\b(no|not|never|none|nothing|cannot|until|before|once|when|if|only|many|maximum|limit\w*)\b|n't"
    r"|[未没不非勿]|[交建理单队中]的|之前|过多|太多|上限|达到|最多"
)
_CLAUSES = r"[,.;:!?\n，。；：！？、]|\bbut\b"


def says_taken(message: str) -> bool:
    """Whether a refusal's words say that the order was taken all the same: in a clause that neither denies it nor
    counts what else was.
    """
    clauses = re.split(_CLAUSES, message)
    return any(re.search(_TAKEN, clause) and not re.search(_NOT_TAKEN, clause) for clause in clauses)


_HEADS = ("code", "error")
_SAID = ("message", "msg", "error_message", "detail", "details", "errors", "error")
_DEEP = 3
"""How deep in a refusal its words are looked for: `{"errors": [{"message": …}]}`."""


def plain_words(reply: Reply) -> str:
    """What an answer with a 4xx or 5xx says in whatever form, a code that is a word before its message; "" if nothing.

    Such as `{"message": …}`, `{"detail": [{"msg": …}]}`, `{"code": "quota", "message": …}`: other programs than the
    gateway's own refuse so (seen). It is for people, and for words that tell what a refusal by status is about.
    """
    return _words(reply.document, _DEEP) if reply.status >= 400 and isinstance(reply.document, dict) else ""


def _words(value: Any, depth: int) -> str:
    value = value[0] if isinstance(value, list) and value else value
    if not isinstance(value, dict) or not depth:
        return (text(value) or "").strip()
    heads = (_words(found, 0) for name in _HEADS if number_code(found := value.get(name)) is None)
    said = (_words(value.get(name), depth - 1) for name in _SAID)
    return ": ".join(dict.fromkeys(filter(None, (next(filter(None, heads), ""), next(filter(None, said), "")))))
