"""What a gateway's dialect has to answer.

Four methods are required: `create`, `query`, `read_create` and `read_query`; every other has a default. To speak to
another gateway, subclass `Dialect`, and pass an instance: `OmniClient(gateway=Mine())`.
Everything here is plain functions of plain data: no I/O, no clock.
"""

import abc
import enum
import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import attrs

from ..errors import DecodeError, Fault, invalid_argument
from ..fields import check_prompt
from ..models import Balance, TaskStatus, VideoRequest, VideoTask
from .wire import Call, CallKind, Glance, Reply, code_text, dig, ident, percent, text
from .words import CONCURRENCY_WORDS, EITHER_WORDS, MODERATION_WORDS, REQUESTS_WORDS, STATUS_WORDS, plain_words


class RefusalKind(enum.StrEnum):
    """What a gateway's refusal is about."""

    AUTH = "authentication"
    QUOTA = "quota"
    BAD_REQUEST = "bad request"
    MODERATION = "moderation"
    NOT_FOUND = "not found"
    RATE = "rate"
    TRANSIENT = "transient"


SENT_AGAIN = frozenset({RefusalKind.RATE, RefusalKind.TRANSIENT})
"""Refusals for now: a paid create is sent again after them."""


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


CLEAN_REFUSALS = frozenset({400, 401, 402, 403, 404, 405, 411, 413, 414, 415, 421, 422, 431})
"""HTTP statuses that say by themselves that nothing was accepted."""
_TOLD_PLAINLY = CLEAN_REFUSALS - {401}
"""HTTP statuses whose kind words in any form can tell: 401 is about the key, whatever stands beside it."""
TOLD_BY_WORDS = CLEAN_REFUSALS | {200, 429}
"""HTTP statuses with which a message alone is believed; with a 5xx or a timeout it could be about anything."""
WORDS_READ = 1000
"""How much of a message is searched: an endless one must not hold up the event loop."""


class Dialect(abc.ABC):
    """How one gateway is spoken to. Subclass it for a gateway of your own.

    Only `create`, `query`, `read_create` and `read_query` have no default. `dig`, `text`, `instant` and `structure` of
    `omni_async.dialects` read answers of any shape.

    Attributes:
        name: What tasks, errors, events and journals call the gateway; a journal's rows belong to this name.
        base_url: Where it is, unless the client or the environment says otherwise.
        key_variable: Environment variable of the key.
        base_url_variable: Environment variable of the address.
        abilities: What it can do, and how often it likes to be asked.
        uploads: What it takes as an upload; None if it takes none, so that references have to be URLs.
        refusals: What its refusals are about; of the rows that hold the first counts. Where none holds, a status of
            `CLEAN_REFUSALS` or 429 refuses by itself; with any other a create counts as uncertain.
        status_words: What its words for a task's status stand for, in lower case.
    """

    name: str = "custom"
    base_url: str = ""
    key_variable: ClassVar[str] = "OMNI_API_KEY"
    base_url_variable: ClassVar[str] = "OMNI_BASE_URL"
    abilities: Abilities = Abilities()
    uploads: UploadRules | None = None
    refusals: tuple[RefusalRule, ...] = ()
    status_words: Mapping[str, TaskStatus] = STATUS_WORDS

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"

    def check(self, request: VideoRequest) -> Checked:
        """Everything that is wrong with a request, before any I/O.

        Args:
            request: As the caller gave it: its values may be of any type, and local paths stand in it as they are.

        Returns:
            Faults, which refuse it unless the client is not strict, and warnings.
        """
        return Checked(tuple(check_prompt(request.prompt)))

    @abc.abstractmethod
    def create(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Call:
        """The paid call that makes a video.

        It is a function of its arguments: what makes a request the same again is a hash of what it gives.

        Args:
            request: Checked, with a public URL for each reference; before that it is asked with a hash in place of what
                is to be uploaded.
            idempotency_key: For the field that `abilities` names; None if it names none.

        Returns:
            The call, its path relative to the base URL.

        Raises:
            InvalidRequestError: It cannot be said to this gateway.
        """

    @abc.abstractmethod
    def query(self, task_id: str) -> Call:
        """The free call that looks at a task.

        Args:
            task_id: Any text; in a path it has to be percent-encoded.

        Raises:
            InvalidRequestError: It can be no id of this gateway's.
        """

    @abc.abstractmethod
    def read_create(self, reply: Reply) -> VideoTask:
        """The task in a create's answer.

        Args:
            reply: One in which `find_task_id` found an id, so that the create counts as accepted.

        Returns:
            The task; the id that was found stays its id.

        Raises:
            DecodeError: It is not in the expected shape: then the task has its id alone, and the next look tells more.
        """

    @abc.abstractmethod
    def read_query(self, reply: Reply) -> VideoTask:
        """The task in a query's answer.

        Args:
            reply: Of a 2xx status; anything may stand in its `document`.

        Returns:
            The task; a status of which `status` knows nothing counts as running.

        Raises:
            DecodeError: It is not in the expected shape, or the task has succeeded and there is no URL; the latter with
                `terminal=True`.
        """

    def glance(self, reply: Reply) -> Glance | None:
        """What a query's answer says of a task that surely runs; None leaves any other answer to `read_query`.

        It must agree with `read_query`, and only spares it: most looks find a task that runs, and need no `VideoTask`.

        Args:
            reply: Of a 2xx status.
        """
        return None

    def running(self, body: Any) -> Glance | None:
        """A glance at the object that tells of a task, if its `status` is a known word for one that runs.

        Args:
            body: The object, with `status` and `progress`; anything else gives None.
        """
        word = body.get("status") if isinstance(body, dict) else None
        if not isinstance(word, str):
            return None
        status = self.status(word)
        if status is None or status.finished:
            return None
        return Glance(status, word, percent(body.get("progress")))

    def find_task_id(self, document: Any) -> str | None:
        """The task id where this gateway puts it, whatever else the document says; None if it is not there.

        It decides on the money: a create whose answer has one is accepted, any other is refused or uncertain.

        Args:
            document: A create's answer, decoded.
        """
        if chat_shaped(document):
            return ident(dig(document, "task_id"))
        places = (("data", "task_id"), ("data", 0, "task_id"), ("task_id",), ("data", "id"), ("data", 0, "id"), ("id",))
        return next((found for place in places if (found := ident(dig(document, *place)))), None)

    def refused(self, reply: Reply) -> tuple[tuple[str, ...], str] | None:
        """The codes and the message of a well-formed refusal in the gateway's own words; None if it is none.

        The most telling code stands first: a word before a number, the code before the type.

        Args:
            reply: Of any status.
        """
        error = dig(reply.document, "error")
        if not isinstance(error, dict):
            return None
        codes = [code for key in ("code", "type") if (code := code_text(error.get(key)))]
        codes.sort(key=lambda code: code.removeprefix("-").isdigit())
        return (tuple(codes), text(error.get("message")) or "") if codes else None

    def classify(self, reply: Reply) -> Refusal | None:
        """What a refusal is about, by this gateway's refusal table; None if the table does not know it.

        Words in no form of the gateway's own only tell the kind where the status refuses, and never one after which a
        create is sent again.

        Args:
            reply: Of any status.
        """
        refused, rules = self.refused(reply), self.refusals
        if refused is None:
            refused = (), plain_words(reply) if reply.status in _TOLD_PLAINLY else ""
            rules = tuple(rule for rule in rules if rule.words is not None and rule.kind not in SENT_AGAIN)
        return refusal_by(rules, reply.status, *refused)

    def status(self, word: str) -> TaskStatus | None:
        """The status a word stands for, or None for a word nobody knows: such a task is still running.

        Args:
            word: The gateway's own.
        """
        words = self.status_words
        return words.get(word) or words.get(word.strip().lower())

    def auth(self, key: str) -> Mapping[str, str]:
        """The headers that carry the key.

        Args:
            key: As it was given; it must appear nowhere else.
        """
        return {"Authorization": f"Bearer {key}"}

    def upload(self) -> Call:
        """The call that uploads a file, by `uploads`; the file itself becomes its part `part`.

        Raises:
            InvalidRequestError: The gateway takes none.
        """
        if self.uploads is None:
            raise invalid_argument(Fault("image_urls", f"gateway {self.name} takes no uploads; give URLs"))
        return Call(kind=CallKind.UPLOAD, method="POST", path=self.uploads.path, part=self.uploads.part)

    def read_upload(self, reply: Reply) -> str:
        """The public URL in an upload's answer.

        Args:
            reply: Of a 2xx status.

        Raises:
            DecodeError: There is none in it.
        """
        raise DecodeError(f"gateway {self.name} takes no uploads")

    def balance(self, scope: str = "account") -> Call:
        """The call that asks what is left.

        Args:
            scope: Of the `account` or of the `key`.

        Raises:
            InvalidRequestError: There is none.
        """
        raise invalid_argument(Fault("balance", f"gateway {self.name} tells no {scope} balance"))

    def read_balance(self, reply: Reply) -> Balance:
        """The balance in that answer.

        Args:
            reply: Of a 2xx status.

        Raises:
            DecodeError: It is not in the expected shape.
        """
        raise DecodeError(f"gateway {self.name} tells no balance")

    def moderated(self, code: str | None, message: str | None) -> bool:
        """Whether a task or request was refused for its content: sent unchanged, it would be again.

        Args:
            code: The error's code.
            message: The gateway's own words.
        """
        return re.search(MODERATION_WORDS, f"{code or ''} {message or ''}"[:WORDS_READ]) is not None


def refusal_by(rules: Iterable[RefusalRule], status: int, codes: tuple[str, ...], message: str) -> Refusal | None:
    """What a refusal with this HTTP status, these codes and this message is about, by the first of these rules."""
    message = message[:WORDS_READ]
    rule = next((rule for rule in rules if rule.matches(status, codes, message)), None)
    if rule is None:
        return None
    cause = named_cause(message) if rule.kind is RefusalKind.RATE else None
    return Refusal(rule.kind, next(iter(codes), None), message, cause)


def named_cause(message: str) -> Cause | None:
    """Which limit a rate refusal names, if it names one. "Concurrent requests" can be either: that is not a name."""
    if re.search(REQUESTS_WORDS, message):
        return Cause.REQUESTS
    told = re.search(CONCURRENCY_WORDS, message) and not re.search(EITHER_WORDS, message)
    return Cause.CONCURRENCY if told else None


def chat_shaped(document: Any) -> bool:
    """Whether an answer has the shape of a chat answer (seed's FAQ): then its `id` is not a task's."""
    return (
        dig(document, "choices") is not None
        or dig(document, "object") in ("chat.completion", "chat.completion.chunk")
        or (dig(document, "usage", "prompt_tokens") is not None and dig(document, "status") is None)
    )
