"""The work of a batch: what was paid before, rows into creates, finished tasks into files, until nothing is left."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import anyio

from ..errors import JournalError, OmniError
from ..exchange import is_unauthorized
from ..generate import Studio
from ..journal.anew import SheetLedger
from ..journal.entries import Entry
from ..journal.states import State
from .fetching import STORERS, Fetcher
from .gate import Gate
from .probing import trouble
from .results import Results, run_states
from .sending import Bounds, Sender
from .standing import Standing
from .storing import Store

logger = logging.getLogger("omni_async")

SUBMITTERS = 64
GLANCE = 1.0
"""Seconds between two looks at what takes too long."""


class Run:
    """One run over the rows of a batch.

    Args:
        store: Stores videos.
        results: Takes a line for each settled row.
        bounds: Where to stop.
        beside: What goes on as long as the run does, and never ends it.
    """

    def __init__(
        self, store: Store, results: Results, bounds: Bounds, beside: Callable[[], Coroutine[Any, Any, None]]
    ) -> None:
        self._studio: Studio = store.studio
        self._journal, self._bounds, self._beside = store.journal, bounds, beside
        self._videos = store.folder.videos
        self.standing = Standing(Gate(), results, bounds.stop_after_failures)
        self.gate = self.standing.gate
        self.sender = Sender(self.standing, store.studio, store.journal, bounds)
        self.fetcher = Fetcher(self.standing, store)
        self.begun = False
        self._early: list[Callable[[], None]] = []
        self._submitters = 0
        self._over = asyncio.Event()
        self._failure: Exception | None = None

    @property
    def closed(self) -> bool:
        """Whether no create will be sent any more."""
        return self.gate.closed is not None or self.sender.enough is not None

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why no create is sent just now; empty if it is."""
        enough = self.sender.enough
        return (enough,) if enough is not None and self.gate.closed is None else self.gate.reasons

    def stopped(self, unsent: int, open_: int) -> str | None:
        """Why no more was sent, or nothing more was done.

        Args:
            unsent: Rows that are left.
            open_: Videos that are not on disk although they are paid for.
        """
        if self.gate.closed is not None and (unsent or open_):
            return self.gate.closed
        left = self.sender.left
        told = self.sender.enough or (f"some rows could not be sent, the last one because: {left}" if left else None)
        return told if unsent else None

    async def go(self) -> None:
        """Run until nothing is left to be done, or nothing more may be.

        Raises:
            Exception: What should not happen did; what is under way has been recorded.
        """
        await self._resume()
        if (refused := await trouble(self._videos)) is not None:
            self.gate.close(refused)
        self._submitters = min(SUBMITTERS, self._bounds.concurrency or SUBMITTERS)
        async with anyio.create_task_group() as group:
            for _ in range(self._submitters):
                group.start_soon(self._guarded, self._submit)
            for _ in range(STORERS):
                group.start_soon(self._guarded, self._fetch)
            group.start_soon(self._glance)
            group.start_soon(self._end_waits)
            group.start_soon(self._beside)
            await self._over.wait()
            group.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _resume(self) -> None:
        """What was paid before: tasks to be waited for, videos to be stored."""

        def left(ledger: SheetLedger) -> tuple[int, dict[State, int], list[Entry], list[Entry]]:
            run = ledger.last_run
            running, stored = (list(ledger.wished([state])) for state in (State.SUBMITTED, State.SUCCEEDED))
            return run, run_states(ledger, wished=True), running, stored

        run, states, running, finished = await self._journal.run(left)
        self.standing.begins(run, states)
        for entry in running:
            if entry.task_id is not None:
                self.standing.open[entry.task_id] = anyio.current_time()
        for entry in finished:
            self.fetcher.enqueue(entry)
        self.begun, early = True, self._early
        for told in early:
            told()

    async def _submit(self) -> None:
        await self.sender.work()
        self._submitters -= 1
        self._check_over()

    async def _fetch(self) -> None:
        while True:
            await self.fetcher.one()
            self._check_over()

    async def _guarded(self, work: Callable[[], Awaitable[None]]) -> None:
        """Whatever ends a part of the work ends the run."""
        try:
            await work()
        except JournalError as error:
            # Nothing may be sent that cannot be written down; what runs at the gateway is safe until the next run.
            self.gate.close(str(error.args[0]))
            self._over.set()
        except Exception as error:
            self._failure = self._failure or error
            self._over.set()

    async def _end_waits(self) -> None:
        """Once the gate is closed, rows that wait for a slot or for the end of a pause wait no longer."""
        await self.gate.shut.wait()
        await self._studio.drain()

    def _check_over(self) -> None:
        if not self._submitters and not self.standing.open and not self.fetcher.busy:
            self._over.set()

    # --- what the follower tells -------------------------------------------------------------------------------

    def finished(self, entry: Entry) -> None:
        """The follower: a task's end is in the journal."""
        if not self.begun:
            # What ended before the rows were counted was counted as it is.
            self._early.append(lambda: self.finished(entry) if entry.task_id in self.standing.open else None)
            return
        self.standing.ended(entry.task_id or "")
        self.standing.heard = True
        self.standing.moved(entry, State.SUBMITTED)
        if entry.state is State.SUCCEEDED:
            self.fetcher.enqueue(entry)
        else:
            self.standing.settled(entry)
        self._check_over()

    def lost(self, task_id: str, error: OmniError) -> None:
        """The follower: a task cannot be followed. It was paid for: the next run looks again."""
        if not self.begun:
            self._early.append(lambda: self.lost(task_id, error))
            return
        self.standing.ended(task_id)
        logger.warning("task %s cannot be followed (%s): the next run looks again", task_id, error)
        if is_unauthorized(error):
            self.gate.close(f"the key is refused: {error.args[0]}")
        self._check_over()

    # --- once a second -----------------------------------------------------------------------------------------

    async def _glance(self) -> None:
        """Tasks that take too long, and videos that wait too long."""
        while True:
            await anyio.sleep(GLANCE)
            self.fetcher.look()
            self._give_up()
            self._check_over()

    def _give_up(self) -> None:
        """Wait no longer for what takes too long; tasks began in order, so the oldest stands first."""
        timeout, now, running = self._bounds.timeout, anyio.current_time(), self.standing.open
        while timeout is not None and running:
            task_id, since = next(iter(running.items()))
            if now - since < timeout:
                return
            logger.warning("no end of task %s was seen in %.0f s: the next run goes on with it", task_id, now - since)
            del running[task_id]
            self.gate.notify()
