"""Finding the task of a create whose answer was lost, where that can be done."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import anyio

from ..dialects import Dialect, Reply
from ..dialects.dialect import WORDS_READ
from ..dialects.wire import dig
from ..dialects.words import BAD_ID_WORDS
from ..errors import AuthenticationError, DecodeError, NotFoundError, OmniError
from ..exchange import Exchange
from ..identity import idempotency_key_of
from ..journal.seam import SAME_ID, TAKEN
from ..lifetime import Waits, is_cancelled
from ..models import TaskStatus, VideoTask

if TYPE_CHECKING:
    from ..journal import Entry, LedgerJournal

T = TypeVar("T")
logger = logging.getLogger("omni_async")

FOUND = "found by looking it up"

TRIES = (0.0, 1.0, 2.0)
"""Seconds before each try to find it by its idempotency key: the gateway may not show it at once."""
NAMED_TRIES = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each try to see a task that a refusal names: for a minute a new one may be unknown (FAULTS row 42)."""
TIME, NAMED_TIME = 60.0, 120.0
"""Seconds for all tries of either kind: a closing client waits for this, as for a create's answer."""


async def find_lost(exchange: Exchange, *, candidate: str | None, name: str | None) -> str | None:
    """The task id of a lost create, or None; whoever cancels every task that he finds does not wait for it.

    Args:
        exchange: What look-ups go through.
        candidate: An id seen in pieces of the answer: believed after one query that tells of a task.
        name: The create's idempotency key, if the gateway knows such: it finds the task too, by its id.
    """
    with contextlib.suppress(asyncio.CancelledError), anyio.move_on_after(0.0 if is_cancelled() else TIME):
        if candidate is not None and await _id_of(exchange, candidate) is not None:
            return candidate
        for delay in TRIES if name is not None else ():
            await anyio.sleep(delay)
            if (task_id := await _id_of(exchange, str(name), by_name=True)) is not None:
                return task_id
    return None


async def recover(
    exchange: Exchange, journal: "LedgerJournal[Any]", entry: "Entry", *, owner: str | None = None
) -> "Entry | None":
    """Look up the task of an uncertain row, and enter it there; gives the row then, or None if no task is known.

    Args:
        exchange: What look-ups go through.
        journal: Where the row is.
        entry: The row.
        owner: Who follows the task from now on; None for whoever has the row.

    Raises:
        JournalError: It cannot be entered; of kind "conflict" if it is another row's, or the row was settled meanwhile.
    """
    candidate = None if entry.detail in (SAME_ID, TAKEN) else entry.candidate  # the other row may have a new task now
    task_id = await find_lost(exchange, candidate=candidate, name=_sent_name(exchange.dialect, entry))
    if task_id is None:
        return None
    found: Entry = await journal.run(lambda ledger: ledger.found(entry.key, FOUND, task_id, owner=owner))
    return found


def _sent_name(dialect: Dialect, entry: "Entry") -> str | None:
    """What the gateway knows a row's create by: made of the row, unless the caller gave a name of his own (`extra`)."""
    from ..journal import request_of  # what only a journal's file needs

    made = idempotency_key_of(dialect, entry.key, entry.fingerprint, round=entry.round)
    field = dialect.abilities.idempotency_field or ""
    try:
        request = request_of(entry) if made else None
        given = (dialect.create(request, idempotency_key=made).body or {}).get(field) if request else None
    except Exception:  # a damaged row, or a caller's own dialect: the task may be found all the same
        return made
    return given if isinstance(given, str) else made


async def is_unknown(exchange: Exchange, candidate: str, *, key_refused: bool) -> bool:
    """Whether the gateway says for a minute that there is no such task; a refused key made none either.

    False also where it cannot be told, and where somebody cancels every task that he finds.

    Args:
        exchange: What look-ups go through.
        candidate: An id that a refused create's answer names.
        key_refused: Whether the create was refused for its key: else that a look is proves nothing.
    """
    if is_cancelled():
        return False
    with contextlib.suppress(asyncio.CancelledError), anyio.move_on_after(NAMED_TIME):
        for delay in NAMED_TRIES:
            await anyio.sleep(delay)
            if not await _is_denied(exchange, candidate, key_refused=key_refused):
                return False
        return True
    return False


async def _is_denied(exchange: Exchange, candidate: str, *, key_refused: bool) -> bool:
    """Whether a look says that there is no such task: by status or code, as words alone can be anybody's.

    That an id is none of the gateway's proves nothing: its task can have another.
    """
    try:
        await _seen(exchange, candidate, lambda reply: _has_state(exchange.dialect, reply))
    except NotFoundError as error:
        told = error.status_code == 404 or error.code is not None
        return told and not re.search(BAD_ID_WORDS, error.message[:WORDS_READ])
    except AuthenticationError:
        return key_refused
    return False


def _has_state(dialect: Dialect, reply: Reply) -> bool:
    """That an answer tells the state of a task, whose ever and however odd: such a one says of none that it is not."""
    try:
        dialect.read_query(reply)
    except DecodeError:
        if not any(isinstance(dig(reply.document, *at, "status"), str) for at in ((), ("data",))):
            raise
    return True


async def _id_of(exchange: Exchange, asked: str, *, by_name: bool = False) -> str | None:
    """The id of the task that goes by this id or name; None if there is none or that cannot be told."""
    dialect = exchange.dialect
    try:
        return await _seen(
            exchange, asked, lambda reply: _told_id(dialect, dialect.read_query(reply), asked, by_name=by_name)
        )
    except (NotFoundError, AuthenticationError):
        return None


def _told_id(dialect: Dialect, task: VideoTask, asked: str, *, by_name: bool) -> str | None:
    """The id of a task that an answer tells of; None if it may tell of the question, such as a bare "failed".

    Under a name it must have an id of its own. Else the id that was asked for will do, or a known word for a task that
    has not failed.
    """
    if by_name and not task.task_id:
        return None
    if task.task_id and (task.task_id != asked if by_name else task.task_id == asked):
        return task.task_id
    word = task.raw_status.strip()
    failed = task.status in (TaskStatus.FAILED, TaskStatus.CANCELED)
    return None if failed or not word or dialect.status(word) is None else task.task_id or asked


async def _seen(exchange: Exchange, name: str, read: Callable[[Reply], T]) -> T | None:
    """What the gateway shows under a name; None where that cannot be told. Raises where it denies it."""
    try:
        return await exchange.ask(exchange.dialect.query(name), read, waits=Waits())  # a closing client waits for it
    except (NotFoundError, AuthenticationError):
        raise
    except OmniError as error:
        logger.info("could not look up a create whose answer was lost: %s", type(error).__name__)  # its words can quote
    except Exception:  # of a caller's own dialect
        logger.exception("an unexpected error while a lost create was looked up")
    return None
