"""What a gateway's dialect has to answer.

Four methods are required: `create`, `query`, `read_create` and `read_query`; every other has a default. To speak to
another gateway, subclass `Dialect`, and pass an instance: `OmniClient(gateway=Mine())`.
Everything here is plain functions of plain data: no I/O, no clock.
"""

import abc
import enum
import re
from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from ..errors import DecodeError, Fault, invalid_argument
from ..fields import check_prompt
from ..models import Balance, TaskStatus, VideoRequest, VideoTask
from .wire import Call, CallKind, Glance, Reply, code_text, dig, ident, percent, text


class RefusalKind(enum.StrEnum):
    """What a gateway's refusal is about."""

    AUTH = "authentication"
    QUOTA = "quota"
    BAD_REQUEST = "bad request"
    MODERATION = "moderation"
    NOT_FOUND = "not found"
    RATE = "rate"
    TRANSIENT = "transient"


class Cause(enum.StrEnum):
    """Which of the account's limits a rate refusal named, where it named one."""

    REQUESTS = "requests per second"
    CONCURRENCY = "concurrency"


@attrs.frozen
class Refusal:
    """A gateway's own word that it did not do it."""

    kind: RefusalKind
    code: str | None = None
    message: str = attrs.field(default="", repr=False)
    cause: Cause | None = None


@attrs.frozen(kw_only=True)
class RefusalRule:
    """One row of a refusal table: all conditions that are given must hold.

    Args:
        kind: What such a refusal is about.
        codes: Codes or error types, compared as text.
        statuses: HTTP statuses.
        not_statuses: HTTP statuses it does not hold for.
        words: Pattern searched in the message, compiled or as text.
        first: Only the first, most telling code counts: for rows after which a paid create is sent again.
    """

    kind: RefusalKind
    codes: frozenset[str] | None = None
    statuses: frozenset[int] | None = None
    not_statuses: frozenset[int] = frozenset()
    words: str | re.Pattern[str] | None = None
    first: bool = False

    def matches(self, status: int, codes: tuple[str, ...], message: str) -> bool:
        """Whether a refusal with this HTTP status, these codes and this message is one of this row."""
        return (
            (self.codes is None or not self.codes.isdisjoint(codes[:1] if self.first else codes))
            and (self.statuses is None or status in self.statuses)
            and status not in self.not_statuses
            and (self.words is None or re.search(self.words, message) is not None)
        )


@attrs.frozen(kw_only=True)
class Abilities:
    """What a gateway can do and how often it likes to be asked. Times in seconds.

    Args:
        idempotency_field: Body field that makes a repeated create give the existing task and that finds it in a
            query; None if there is none.
        url_lifetime: How long a result URL works.
        first_look: When to look at a new task first.
        min_interval: The shortest advised interval between looks.
        max_interval: The longest advised interval between looks.
        prompt_apart: Whether `check` and `create` treat every valid prompt alike, and `create` places it in the body as
            it is: then rows of a batch that differ by their prompt alone are checked together.
    """

    idempotency_field: str | None = None
    url_lifetime: float = 86400.0
    first_look: float = 5.0
    min_interval: float = 5.0
    max_interval: float = 15.0
    prompt_apart: bool = False


@attrs.frozen(kw_only=True)
class UploadRules:
    """What a gateway takes as an upload: endings without the dot in lower case, and bytes at most."""

    path: str
    part: str
    endings: frozenset[str]
    max_bytes: int


@attrs.frozen
class Checked:
    """What checking a request found: `faults` refuse it, `warnings` are told."""

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


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
    "failed": TaskStatus.FAILED,
    "failure": TaskStatus.FAILED,
    "error": TaskStatus.FAILED,
    "canceled": TaskStatus.CANCELED,
    "cancelled": TaskStatus.CANCELED,
}

CLEAN_REFUSALS = frozenset({400, 401, 402, 403, 404, 405, 411, 413, 414, 415, 421, 422, 431})
"""HTTP statuses that say by themselves that nothing was accepted."""
TOLD_BY_WORDS = CLEAN_REFUSALS | {200, 429}
"""HTTP statuses with which a message alone is believed; with a 5xx or a timeout it could be about anything."""

# The patterns are narrow on purpose: a rate refusal sends the paid create again, so "too many images", "task data
# too large" or "concurrent task timed out" must not look like one. They are texts: `re` compiles each with its first
# search and keeps it, and most clients meet few refusals.
MODERATION_WORDS = (
    r"(?i)moderation|content.?polic|safety|(?<!case[ -])(?<!in)sensitive|prohibited.?content|content.{0,20}prohibited"
    r"|内容违规|违规内容|(?<!大小写)敏感|审核未通过|内容审核|安全策略"
)
RATE_WORDS = (
    r"(?i)too.?frequent|too.?many.{0,20}(request|call|task|job)|(?<!gene)rate.?limit|throttl|slow down"
    r"|过于频繁|操作频繁|请求频率|限流|请求过多|请求次数.{0,4}(超|上限|过多)"
    r"|任务(过多|太多)|排队.{0,6}(过多|太多|已满)|队列已?满|queue.{0,4}full"
    r"|(?<!采样)(?<!帧)频率.{0,2}(限制|过高|过快)|(?<!比特)速率.{0,2}(限制|过高|过快)"
)
_CAPACITY = r"concurren|(running|active|in.?progress).{0,3}tasks?|并发|进行中的任务|任务数(?!据)"
_REACHED = r"limit|exceed|max|too many|reached|上限|超(?!时)|达到|限制|过多"
CONCURRENCY_WORDS = f"(?is)({_CAPACITY}).*({_REACHED})|({_REACHED}).*({_CAPACITY})"
REQUESTS_WORDS = r"(?i)per.?(second|minute)|\b(qps|rpm|rps)\b|每秒|每分钟|请求频率"
_EITHER_WORDS = (  # the seed's own refusal names rate, concurrency and quota in one breath
    r"(?i)concurren\w*.{0,3}requests?|并发请求|rate,? .{0,5}concurrency|concurrency,? .{0,5}rate"
)
NO_TASK_WORDS = (
    r"(?i)no such task|(?<![a-z])task(.?id)?[\W_]{0,3}([\w-]{1,64}\W{1,3})?(was |is |does ?)?(not|n't).?(found|exist)"
    r"|任务[^,，。;；]{0,80}(不存在|未找到)"
)
QUOTA_WORDS = (
    r"(?i)insufficient.?(balance|quota|credit|fund|user.?quota)|balance.{0,20}(too low|not enough)"
    r"|quota.{0,20}(used up|exhaust|exceeded)|exceeded.{0,20}quota"
    r"|余额不足|额度不足|积分不足|配额不足|点数不足|额度已用"
)


WORDS_READ = 1000
"""How much of a message is searched: an endless one must not hold up the event loop."""


class Dialect(abc.ABC):
    """How one gateway is spoken to. Subclass it for a gateway of your own.

    Only `create`, `query`, `read_create` and `read_query` have no default.
    """

    name: str = "custom"
    base_url: str = ""
    key_variable: ClassVar[str] = "OMNI_API_KEY"
    base_url_variable: ClassVar[str] = "OMNI_BASE_URL"
    abilities: Abilities = Abilities()
    uploads: UploadRules | None = None
    refusals: tuple[RefusalRule, ...] = ()
    status_words: Mapping[str, TaskStatus] = STATUS_WORDS

    def check(self, request: VideoRequest) -> Checked:
        """Everything that is wrong with a request, before any I/O."""
        return Checked(tuple(check_prompt(request.prompt)))

    @abc.abstractmethod
    def create(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Call:
        """The paid call that makes a video. `idempotency_key` is given only if `abilities` names its field."""

    @abc.abstractmethod
    def query(self, task_id: str) -> Call:
        """The free call that looks at a task."""

    @abc.abstractmethod
    def read_create(self, reply: Reply) -> VideoTask:
        """The task in a create's answer; DecodeError if it is not in the expected shape."""

    @abc.abstractmethod
    def read_query(self, reply: Reply) -> VideoTask:
        """The task in a query's answer; DecodeError if it is not in the expected shape, or succeeded without a URL."""

    def glance(self, reply: Reply) -> Glance | None:
        """What a query's answer says of a task that surely runs; None leaves any other answer to `read_query`.

        It must agree with `read_query`, and only spares it: most looks find a task that runs, and need no `VideoTask`.
        """
        return None

    def running(self, body: Any) -> Glance | None:
        """A glance at the object that tells of a task, if its `status` is a known word for one that runs."""
        word = body.get("status") if isinstance(body, dict) else None
        if not isinstance(word, str):
            return None
        status = self.status(word)
        if status is None or status.finished:
            return None
        return Glance(status, word, percent(body.get("progress")))

    def find_task_id(self, document: Any) -> str | None:
        """The task id where this gateway puts it, whatever else the document says; None if it is not there."""
        if is_chat(document):
            return ident(dig(document, "task_id"))
        places = (("data", "task_id"), ("data", 0, "task_id"), ("task_id",), ("data", "id"), ("data", 0, "id"), ("id",))
        return next((found for place in places if (found := ident(dig(document, *place)))), None)

    def refused(self, reply: Reply) -> tuple[tuple[str, ...], str] | None:
        """The codes and the message of a well-formed refusal in the gateway's own words; None if it is none.

        The most telling code stands first: a word before a number, the code before the type.
        """
        error = dig(reply.document, "error")
        if not isinstance(error, dict):
            return None
        codes = [code for key in ("code", "type") if (code := code_text(error.get(key)))]
        codes.sort(key=lambda code: code.removeprefix("-").isdigit())
        return (tuple(codes), text(error.get("message")) or "") if codes else None

    def classify(self, reply: Reply) -> Refusal | None:
        """What a refusal is about, by this gateway's refusal table; None if the table does not know it."""
        refused = self.refused(reply)
        if refused is None:
            return None
        codes, message = refused[0], refused[1][:WORDS_READ]
        rule = next((rule for rule in self.refusals if rule.matches(reply.status, codes, message)), None)
        if rule is None:
            return None
        cause = named_cause(message) if rule.kind is RefusalKind.RATE else None
        return Refusal(rule.kind, next(iter(codes), None), message, cause)

    def status(self, word: str) -> TaskStatus | None:
        """The status a word stands for, or None for a word nobody knows: such a task is still running."""
        words = self.status_words
        return words.get(word) or words.get(word.strip().lower())

    def auth(self, key: str) -> Mapping[str, str]:
        """The headers that carry the key."""
        return {"Authorization": f"Bearer {key}"}

    def upload(self) -> Call:
        """The call that uploads a file, by `uploads`; InvalidRequestError if the gateway takes none."""
        if self.uploads is None:
            raise invalid_argument(Fault("image_urls", f"gateway {self.name} takes no uploads; give URLs"))
        return Call(kind=CallKind.UPLOAD, method="POST", path=self.uploads.path, part=self.uploads.part)

    def read_upload(self, reply: Reply) -> str:
        """The public URL in an upload's answer."""
        raise DecodeError(f"gateway {self.name} takes no uploads")

    def balance(self, scope: str = "account") -> Call:
        """The call that asks what is left, of the `account` or of the `key`; InvalidRequestError if there is none."""
        raise invalid_argument(Fault("balance", f"gateway {self.name} tells no {scope} balance"))

    def read_balance(self, reply: Reply) -> Balance:
        """The balance in that answer."""
        raise DecodeError(f"gateway {self.name} tells no balance")

    def moderated(self, code: str | None, message: str | None) -> bool:
        """Whether a task or request was refused for its content."""
        return re.search(MODERATION_WORDS, f"{code or ''} {message or ''}"[:WORDS_READ]) is not None


def named_cause(message: str) -> Cause | None:
    """Which limit a rate refusal names, if it names one. "Concurrent requests" can be either: that is no name."""
    if re.search(REQUESTS_WORDS, message):
        return Cause.REQUESTS
    told = re.search(CONCURRENCY_WORDS, message) and not re.search(_EITHER_WORDS, message)
    return Cause.CONCURRENCY if told else None


def is_chat(document: Any) -> bool:
    """Whether an answer has the shape of a chat answer (seed's FAQ): then its `id` is no task's."""
    return (
        dig(document, "choices") is not None
        or dig(document, "object") in ("chat.completion", "chat.completion.chunk")
        or (dig(document, "usage", "prompt_tokens") is not None and dig(document, "status") is None)
    )
