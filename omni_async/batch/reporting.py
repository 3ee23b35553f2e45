"""A batch's report while it runs: rewritten off the event loop, and only as often as it costs next to nothing."""

import asyncio
import json
import logging
import time
from typing import Any

import anyio
import anyio.to_thread

from ..errors import OmniError
from ..events import Event, OnEvent
from ..journal import SqliteJournal
from ..lifetime import to_the_end
from ..report import Report, Traffic
from ..report.writing import TRAFFIC
from .folder import Folder

logger = logging.getLogger("omni_async")

PERIOD = 5.0
"""Seconds between two looks at whether there is news for the page, at least."""
REST = 20.0
"""How many times as long as the last writing worked nothing is written: its thread shares the interpreter's lock with
the event loop, and so takes a twentieth of it at most, however many rows there are."""


class Reporting:
    """Writes the report of one run. What goes wrong here is logged and costs the batch nothing.

    Args:
        folder: Of the batch.
        on_event: The caller's own, called after the event is counted.
    """

    def __init__(self, folder: Folder, on_event: OnEvent | None) -> None:
        self._report = Report(folder.journal, folder.report)
        self._on_event = on_event
        self._traffic = Traffic()
        self._complained = False

    def on_event(self, event: Event) -> None:
        """Count an event, and hand it on."""
        self._traffic(event)
        if self._on_event is not None:
            self._on_event(event)

    async def keep(self) -> None:
        """Keep the page up to date until this is cancelled."""
        pause = PERIOD
        while True:
            await anyio.sleep(pause)
            pause = max(PERIOD, REST * await self._written(self._traffic.document()))

    async def _written(self, traffic: dict[str, Any]) -> float:
        """Write the page if there is news; gives the seconds of work. Cancelled, it ends soon, without a page."""
        work = asyncio.ensure_future(anyio.to_thread.run_sync(self._write, traffic))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._report.stop()
            await to_the_end(work)
            raise

    def _write(self, traffic: dict[str, Any]) -> float:
        began = time.thread_time()
        try:
            self._report.write_changed(traffic)
        except Exception as error:  # whatever is the matter with a page, videos are being paid for
            self._complain(error)
        return time.thread_time() - began

    async def finish(self, journal: SqliteJournal, run: int | None) -> None:
        """Write the page as it stays.

        Args:
            journal: Is told what the run sent, for reports that are written later.
            run: The number of the run; None if it was never begun.
        """
        self._report.go_on()
        traffic = self._traffic.document() if run is not None else None
        try:
            if run is not None:
                note = json.dumps({"run": run, **(traffic or {})})
                await journal.run(lambda ledger: ledger.write_note(TRAFFIC, note))
            await anyio.to_thread.run_sync(lambda: self._report.write(running=False, traffic=traffic))
        except Exception as error:  # the results are written already, and the batch has ended
            self._complain(error)

    def close(self) -> None:
        """Let go of the journal."""
        self._report.close()

    def _complain(self, error: Exception) -> None:
        """Say once that there is no page; nothing of a row stands in it."""
        if not self._complained:
            self._complained = True
            told = error if isinstance(error, OmniError) else (getattr(error, "strerror", None) or type(error).__name__)
            logger.warning("the report cannot be written, the batch goes on: %s", told)
