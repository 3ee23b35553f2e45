"""What a client has learned of its gateway, kept in its journal over restarts: worth less than any row of it."""

import asyncio
import logging
from typing import Any

import anyio

from .journal import LedgerJournal
from .lifetime import background
from .schedule import Schedule

logger = logging.getLogger("omni_async")

MANY = 50
"""Finished tasks after which it is written again."""
APART = 10.0
"""Seconds between two writings at least: where tasks end by the hundred, what they teach is soon the same."""
AT_LATEST = 300.0
"""Seconds after the first finished task that is not in it yet."""
LAST = 1.0
"""Seconds for the last time, when the client closes."""


class Memory:
    """Learns again what an earlier run wrote, and writes what this one learns. Several clients: the last one's stands.

    Args:
        journal: Where it is kept.
        schedule: Learns: gives it as text, and takes the text of an earlier run.
    """

    def __init__(self, journal: LedgerJournal[Any], schedule: Schedule) -> None:
        self._journal, self._schedule = journal, schedule
        self._fresh = 0
        self._some, self._many = asyncio.Event(), asyncio.Event()
        self._keeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, beside whatever else begins: nothing waits for it."""
        if self._keeping is None:
            self._keeping = background(self._keep())

    def finished(self) -> None:
        """A task has ended, and something was learned by it."""
        self._fresh += 1
        self._some.set()
        if self._fresh >= MANY:
            self._many.set()

    async def aclose(self) -> None:
        """Write it for the last time, if there is anything new; not written within a second, it is given up."""
        if self._keeping is None:
            return
        self._keeping.cancel()
        await asyncio.wait({self._keeping})
        with anyio.move_on_after(LAST):
            await self._write()

    async def _keep(self) -> None:
        await self._recall()
        while True:
            await self._some.wait()
            with anyio.move_on_after(AT_LATEST):
                await self._many.wait()
            await self._write()
            await anyio.sleep(APART)

    async def _recall(self) -> None:
        text = await self._journal.recall()
        try:
            if text is not None:
                self._schedule.load(text)
        except Exception:
            logger.info("what an earlier run had learned cannot be used", exc_info=True)

    async def _write(self) -> None:
        """With nothing new nothing is written: an idle client does not undo what a busy one has learned."""
        if not self._fresh:
            return
        self._fresh = 0
        self._some.clear()
        self._many.clear()
        try:
            text = self._schedule.to_json()
        except Exception:
            logger.info("what was learned cannot be put into words", exc_info=True)
        else:
            await self._journal.remember(text)
