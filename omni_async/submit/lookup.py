"""Finding the task of a create whose answer was lost, where that can be done."""

import asyncio
import contextlib
import logging

import anyio

from ..errors import AuthenticationError, NotFoundError, OmniError
from ..exchange import Exchange
from ..lifetime import is_cancelled

logger = logging.getLogger("omni_async")

TRIES = (0.0, 1.0, 2.0)
"""Seconds before each try to find it by its idempotency key: the gateway may not show it at once."""
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
    """Whether the gateway itself says, and goes on saying, that there is no such task; a refused key made none either.

    Args:
        exchange: What look-ups go through.
        candidate: An id that a refused create's answer names.
    """
    with contextlib.suppress(asyncio.CancelledError), anyio.move_on_after(0.0 if is_cancelled() else TIME):
        for delay in TRIES:
            await anyio.sleep(delay)
            try:
                await exchange.ask(exchange.dialect.query(candidate), exchange.dialect.read_query)
            except (NotFoundError, AuthenticationError):
                continue
            except OmniError:
                pass
            return False
        return True
    return False


async def _id_of(exchange: Exchange, name: str) -> str | None:
    """The id of the task that goes by this name; None if there is none or that cannot be told."""
    try:
        return (await exchange.ask(exchange.dialect.query(name), exchange.dialect.read_query)).task_id or name
    except NotFoundError:
        return None
    except OmniError as error:
        logger.info("could not look up a create whose answer was lost: %s", type(error).__name__)  # its words can quote
        return None
