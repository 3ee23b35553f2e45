"""Where creates are written down before and after they are sent: the seam that `submit` sees.

Five async calls, and nothing of how they are kept. Without a journal a create is still sent at most once, but an id
that has not reached the caller does not survive a crash.
"""

import logging
from collections.abc import Awaitable, Sequence
from typing import Any, Protocol, TypeVar

import attrs

from .errors import JournalError, OmniError
from .models import VideoTask

T = TypeVar("T")
logger = logging.getLogger("omni_async")


@attrs.frozen(kw_only=True)
class Intent:
    """A create that is about to be sent.

    Args:
        key: Unique name of the row: the caller's `custom_id`, or one made for it.
        fingerprint: Hash of gateway, model and inputs.
        gateway: Name of the gateway.
        custom_id: The caller's own id.
    """

    key: str
    fingerprint: str
    gateway: str
    custom_id: str | None = None


@attrs.frozen(kw_only=True)
class Answer:
    """What came back for a create, as kept: before it is decoded strictly.

    Args:
        status: HTTP status; None if no answer came.
        request_id: The gateway's id of the request.
        body: At most 64 KiB, without the key.
        task_id: The best guess at the task id.
    """

    status: int | None = None
    request_id: str | None = None
    body: bytes = attrs.field(default=b"", repr=False)
    task_id: str | None = None


class Journal(Protocol):
    """What a journal answers. States are the words of the ledger: PLANNED, SUBMITTED, REJECTED, UNCERTAIN, …"""

    async def intend(self, intent: Intent) -> VideoTask | None:
        """Make the intent durable before the first byte is sent; gives the task if this id was submitted before.

        Raises:
            JournalError: It cannot be written, or the id is known with other inputs. Nothing may be sent then.
        """
        ...

    async def answered(self, intent: Intent, answer: Answer) -> None:
        """Make the answer durable before it is decoded."""
        ...

    async def settle(self, intent: Intent, state: str, detail: str = "") -> None:
        """Record what the create came to."""
        ...

    async def claim(self) -> Sequence[Any]:
        """Take over rows whose owner is gone."""
        ...

    async def pending(self) -> Sequence[VideoTask]:
        """Tasks that were submitted and not seen finished."""
        ...


class NoJournal:
    """Keeps nothing."""

    async def intend(self, intent: Intent) -> VideoTask | None:
        """Nothing is known."""
        return None

    async def answered(self, intent: Intent, answer: Answer) -> None:
        """Forgotten."""

    async def settle(self, intent: Intent, state: str, detail: str = "") -> None:
        """Forgotten."""

    async def claim(self) -> Sequence[Any]:
        """Nothing to take over."""
        return ()

    async def pending(self) -> Sequence[VideoTask]:
        """Nothing is known."""
        return ()


class Book:
    """A journal as `submit` writes into it: whatever it raises is ours, and once a create was sent it is told loudly.

    Args:
        journal: Where it is written.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def intend(self, intent: Intent) -> VideoTask | None:
        """As the journal; nothing was sent if it fails."""
        return await _written(self._journal.intend(intent), sent=False)

    async def answered(self, intent: Intent, answer: Answer) -> None:
        """As the journal."""
        await _written(self._journal.answered(intent, answer), task_id=answer.task_id)

    async def settle(self, intent: Intent, state: str, detail: str = "", *, task_id: str | None = None) -> None:
        """As the journal; `task_id` is what would be lost."""
        await _written(self._journal.settle(intent, state, detail), task_id=task_id)


async def _written(writing: Awaitable[T], *, task_id: str | None = None, sent: bool = True) -> T:
    failure: OmniError
    try:
        return await writing
    except OmniError as error:
        failure = error.about(task_id=task_id)
    except Exception as error:
        then = "after the create was sent: note its task id" if sent else "before anything was sent"
        failure = JournalError(
            f"the journal failed {then} ({type(error).__name__})", task_id=task_id, may_have_charged=sent
        )
    if sent:
        logger.critical("a create was sent and could not be written down; its task id is %s", task_id or "not known")
    raise failure
