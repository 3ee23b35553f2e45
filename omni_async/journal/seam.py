"""Where creates are written down before and after they are sent: the seam that `submit` sees.

Three async calls, and nothing of how they are kept. Without a journal a create is still sent at most once, but an id
that has not reached the caller does not survive a crash.
"""

import asyncio
import json
import logging
import operator
from collections.abc import Awaitable, Coroutine, Mapping
from typing import Any, NoReturn, Protocol, TypeVar

import attrs

from ..errors import Fault, JournalError, OmniError, invalid_request
from ..fields import encodable
from ..models import FIELDS, VideoRequest, VideoTask
from .states import UNPAID

T = TypeVar("T")
logger = logging.getLogger("omni_async")

UNWRITTEN = frozenset({"locked", "full", "failed"})
"""Kinds of a journal's failure in which what was to be written is not there."""
SAME_ID, TAKEN = "answered with the task id of another create", "another row has this task id"
"""Why a create is uncertain whose answer names a task that is another's: it never becomes this row's."""


class NotNow(Exception):  # noqa: N818 - no error: somebody else is at it, or there is no room
    """A create may not be sent at the moment.

    Args:
        why: In a few words.
        seconds: When to ask again.
        round: The round the row is in, if it is not the intent's: ask again with it.
        sent: Whether it is on its way: it may be paid already.
    """

    def __init__(
        self,
        why: str,
        seconds: float,
        *,
        round: int | None = None,  # noqa: A002 - the field's name
        sent: bool = False,
    ) -> None:
        super().__init__(why)
        self.why = why
        self.seconds = seconds
        self.round = round
        self.sent = sent


@attrs.frozen(kw_only=True)
class Intent:
    """A create that is about to be sent.

    Args:
        key: Unique name of the row: the caller's `custom_id`, or one made for it.
        fingerprint: Hash of gateway, model and inputs.
        gateway: Name of the gateway.
        custom_id: The caller's own id.
        inputs: The request's fields as JSON text; None keeps none.
        metadata: The caller's own data.
        round: How often a person has had it paid anew.
    """

    key: str
    fingerprint: str
    gateway: str
    custom_id: str | None = None
    inputs: str | None = attrs.field(default=None, repr=False)
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)
    round: int = 0


@attrs.frozen(kw_only=True)
class Answer:
    """What came back for a create, as kept: before it is decoded strictly.

    Args:
        state: What it means: SUBMITTED, UNCERTAIN, REJECTED, or PLANNED for a refusal for now.
        status: HTTP status; None if no answer came.
        request_id: The gateway's id of the request.
        body: At most 64 KiB, without the key.
        task_id: The task's id, if the create was surely accepted.
        candidate: An id that may be the task's.
        detail: Why, in a few words.
        again: Whether a refused create may be sent again unchanged; see `Entry`.
    """

    state: str
    status: int | None = None
    request_id: str | None = None
    body: bytes = attrs.field(default=b"", repr=False)
    task_id: str | None = None
    candidate: str | None = None
    detail: str = ""
    again: int = 0


def write_request(request: VideoRequest) -> str:
    """What was asked, as JSON text; `custom_id` and `metadata` stand in columns of their own."""
    given = zip(_ASKED, _asked_of(request), strict=True)
    return _to_json({name: value for name, value in given if value is not None and value != () and value != {}})


def write_metadata(metadata: Mapping[str, Any]) -> str | None:
    """The caller's own data, as JSON text: what came back as something else after a restart is refused before that.

    Raises:
        InvalidRequestError: An object, a key that is not text, a circle, endless depth: it is not the journal.
    """
    if not metadata:
        return None
    given = dict(metadata)
    try:
        text = json.dumps(given, ensure_ascii=False, allow_nan=False, default=_refuse)
        _check_keys(given)
        return text if encodable(text) else json.dumps(given)  # half a surrogate pair, escaped
    except Exception as error:  # a mapping of the caller's own may raise anything
        what = str(error) if type(error) in (TypeError, ValueError) else type(error).__name__
    raise invalid_request([Fault("metadata", f"the journal keeps plain JSON data: make texts of the rest ({what})")])


def _refuse(value: Any) -> NoReturn:
    raise TypeError(f"{type(value).__name__} is not plain data")


def _check_keys(data: Any) -> None:
    """JSON makes text of keys that are numbers, and they would come back as that."""
    if isinstance(data, dict):
        if not all(isinstance(key, str) for key in data):
            raise TypeError("a key is not text")
        data = data.values()
    elif not isinstance(data, list | tuple):
        return
    for value in data:
        _check_keys(value)


_ASKED = tuple(name for name in FIELDS if name not in ("custom_id", "metadata"))
_asked_of = operator.attrgetter(*_ASKED)
_to_json = json.JSONEncoder(ensure_ascii=False, default=dict).encode


class Journal(Protocol):
    """What a journal answers. States are the words of `states.State`."""

    async def intend(self, intent: Intent) -> VideoTask | None:
        """Make the intent durable before the first byte is sent; gives the task if this id was submitted before.

        Raises:
            NotNow: Somebody is sending it just now, or there is no room for one more running task.
            SubmissionUncertainError: It was sent before, and nobody knows what came of it.
            JournalError: It cannot be written, or the id is known with other inputs. Nothing may be sent then.
        """
        ...

    async def answered(self, intent: Intent, answer: Answer) -> str:
        """Make the answer, and what it means, durable before it is decoded strictly.

        One that refuses and names a task all the same comes twice: as SUBMITTING with its candidate, and then as what
        the gateway says of that. Gives the state that was written: UNCERTAIN if the task id is another row's.
        """
        ...

    async def settle(self, intent: Intent, state: str, detail: str = "", *, task_id: str | None = None) -> None:
        """Record what the create came to without an answer, or what was found out about it later."""
        ...


class NoJournal:
    """Keeps nothing."""

    async def intend(self, intent: Intent) -> VideoTask | None:
        """Nothing is known."""
        return None

    async def answered(self, intent: Intent, answer: Answer) -> str:
        """Forgotten."""
        return answer.state

    async def settle(self, intent: Intent, state: str, detail: str = "", *, task_id: str | None = None) -> None:
        """Forgotten."""


class GuardedJournal:
    """A journal as `submit` writes into it: whatever it raises is ours, and once a create was sent it is told loudly.

    Args:
        journal: Where it is written.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.keeps = type(journal) is not NoJournal
        """Whether anything is kept of what is written."""

    def intend(self, intent: Intent) -> Coroutine[Any, Any, VideoTask | None]:
        """As the journal; nothing was sent if it fails."""
        return _written(self._journal.intend(intent), intent.key, sent=False)

    def answered(self, intent: Intent, answer: Answer) -> Coroutine[Any, Any, str]:
        """As the journal."""
        task_id, paid = answer.task_id or answer.candidate, answer.state not in UNPAID
        return _written(self._journal.answered(intent, answer), intent.key, task_id=task_id, paid=paid)

    def settle(
        self, intent: Intent, state: str, detail: str = "", *, task_id: str | None = None
    ) -> Coroutine[Any, Any, None]:
        """As the journal; `task_id` is what would be lost."""
        settling = self._journal.settle(intent, state, detail, task_id=task_id)
        return _written(settling, intent.key, task_id=task_id, paid=state not in UNPAID)


async def _written(
    writing: Awaitable[T], key: str, *, task_id: str | None = None, sent: bool = True, paid: bool = True
) -> T:
    failure: OmniError
    try:
        return await writing
    except NotNow:
        raise
    except asyncio.CancelledError:
        if not (sent and paid):
            raise
        failure = JournalError("the journal was cut short after the create was sent", task_id=task_id)
    except OmniError as error:
        failure = error.about(task_id=task_id)
        if isinstance(error, JournalError) and error.kind in UNWRITTEN:
            error.may_have_charged = sent and paid
    except Exception as error:
        then = "after the create was sent: note its task id" if sent else "before anything was sent"
        failure = JournalError(
            f"the journal failed {then} ({type(error).__name__})", task_id=task_id, may_have_charged=sent and paid
        )
    if sent and paid:
        known = task_id or "not known"
        logger.critical("the create of row %r was sent and could not be written down; its task id is %s", key, known)
    raise failure
