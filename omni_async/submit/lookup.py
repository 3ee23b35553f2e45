"""Finding the task of a create whose answer was lost, where that can be done."""

import asyncio
import contextlib
import logging

import anyio

from ..errors import AuthenticationError, NotFoundError, OmniError
from ..exchange import Exchange
from ..lifetime import is_cancelled
from ..models import VideoTask

logger = logging.getLogger("omni_async")

TRIES = (0.0, 1.0, 2.0)
"""Seconds before each try to find it by its idempotency key: the gateway may not show it at once."""
GRACE = (0.0, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0)
"""Seconds before each try to see a task that a refusal names: for a minute a new one may be unknown (FAULTS row 42)."""
TIME = 60.0
"""Seconds for all of it: a closing client waits for this."""


async def find_lost(exchange: Exchange, *, candidate: str | None, name: str | None) -> str | None:
    """The task id of a lost create, or None; whoever cancels every task that he finds does not wait for it.

    Args:
        exchange: What look-ups go through.
        candidate: An id seen in pieces of the answer: believed after one successful query.
        name: The create's idempotency key, if the gateway knows such: it finds the task too.
    """
    with contextlib.suppress(asyncio.CancelledError), anyio.move_on_after(0.0 if is_cancelled() else TIME):
        if candidate is not None and await _id_of(exchange, candidate):
            return candidate
        for delay in TRIES if name is not None else ():
            await anyio.sleep(delay)
            if (task_id := await _id_of(exchange, str(name))) is not None:
                return task_id
    return None


async def is_unknown(exchange: Exchange, candidate: str) -> bool:
    """Whether the gateway says for a minute that there is no such task; a refused key made none either.

    False also where it cannot be told, and where somebody cancels every task that he finds.

    Args:
        exchange: What look-ups go through.
        candidate: An id that a refused create's answer names.
    """
    if is_cancelled():
        return False
    with contextlib.suppress(asyncio.CancelledError), anyio.move_on_after(2 * TIME):
        for delay in GRACE:
            await anyio.sleep(delay)
            if not await _is_denied(exchange, candidate):
                return False
        return True
    return False


async def _is_denied(exchange: Exchange, candidate: str) -> bool:
    try:
        await _seen(exchange, candidate)
    except (NotFoundError, AuthenticationError):
        return True
    return False


async def _id_of(exchange: Exchange, name: str) -> str | None:
    """The id of the task that goes by this name; None if there is none or that cannot be told."""
    try:
        task = await _seen(exchange, name)
    except (NotFoundError, AuthenticationError):
        return None
    return None if task is None else task.task_id or name


async def _seen(exchange: Exchange, name: str) -> VideoTask | None:
    """What the gateway shows under a name; None where that cannot be told. Raises where it denies it."""
    try:
        return await exchange.ask(exchange.dialect.query(name), exchange.dialect.read_query)
    except (NotFoundError, AuthenticationError):
        raise
    except OmniError as error:
        logger.info("could not look up a create whose answer was lost: %s", type(error).__name__)  # its words can quote
    except Exception:  # of a caller's own dialect
        logger.exception("an unexpected error while a lost create was looked up")
    return None
