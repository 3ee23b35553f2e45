"""The work of a batch: rows out of the journal into creates, finished tasks into files, as long as that is wise."""

import asyncio
import heapq
import itertools
import logging
import math
from collections import Counter, deque

import anyio
import attrs

from ..breaker import Breaker
from ..errors import (
    AuthenticationError,
    GatewayError,
    JournalError,
    NotSentError,
    OmniError,
    QuotaError,
    RateLimitError,
)
from ..exchange import is_unauthorized
from ..generate import PATIENCE
from ..journal.entries import Entry, request_of
from ..journal.ledger import Ledger
from ..journal.states import UNPAID, State
from .gate import Backlog, Gate
from .plan import Prices
from .results import Results, settled
from .storing import Store, full, lasting, missing

logger = logging.getLogger("omni_async")

OUTSTANDING = 10_000
CHUNK = 500
"""Rows read from the journal at a time."""
SUBMITTERS, STORERS = 64, 8
TRIES = 3
"""How often a row's create or download is tried again in one run, after the client's own tries."""
FIRST_OUTAGE, OUTAGE = 60.0, 900.0
"""Seconds without any answer after which no more is sent: if there never was one, and if there was."""
PAUSE, LONGEST_PAUSE = 2.0, 30.0
DISK = 10.0
"""Seconds between two tries while the disk is full."""
GLANCE = 1.0


@attrs.frozen(kw_only=True)
class Bounds:
    """Where the user wants it to stop.

    Args:
        limit: Videos to pay at most in this run.
        prices: What they cost.
        max_cost: What they may cost together.
        concurrency: Tasks running at the gateway at most.
        stop_after: Rows that may fail before no more is sent.
        timeout: Seconds to wait for a task at most.
    """

    limit: int | None = None
    prices: Prices | None = None
    max_cost: float | None = None
    concurrency: int | None = None
    stop_after: int | None = None
    timeout: float | None = None


class Run:
    """One run over the rows of a batch.

    Args:
        store: Stores videos.
        results: Takes a line for each settled row.
        bounds: Where to stop.
    """

    def __init__(self, store: Store, results: Results, bounds: Bounds) -> None:
        self._store, self._results, self._bounds = store, results, bounds
        self._studio, self._journal = store.studio, store.journal
        self.gate, self.breaker, self._backlog = Gate(), Breaker(), Backlog()
        self.states: Counter[State] = Counter()
        self.paid = self.failures = self.given_up = 0
        self.spent = 0.0
        self._run = 0
        self._rows: deque[Entry] = deque()
        self._place, self._exhausted = 0, False
        self._reading = asyncio.Lock()
        self._open: dict[str, tuple[str, float]] = {}
        self._ended: set[str] = set()  # before it was known here that they had begun
        self._early: list[Entry] | None = []  # ended before this run began
        self._room = asyncio.Semaphore(OUTSTANDING)
        self._waiting: list[tuple[float, int, Entry]] = []
        self._queued: set[str] = set()
        self._order = itertools.count()
        self._arrived = asyncio.Event()
        self._submitters = self._storing = 0
        self._over = asyncio.Event()
        self._answered_at = -math.inf
        self._failure: Exception | None = None

    # --- the whole ---------------------------------------------------------------------------------------------

    async def go(self, run: int, states: Counter[State]) -> None:
        """Run until nothing is left to be done, or nothing more may be.

        Args:
            run: Number of the run whose rows are sent.
            states: How many of its rows stand where.
        """
        self._run, self.states = run, states
        self._began = anyio.current_time()
        await self._resume()
        early, self._early = self._early or [], None
        for entry in early:
            self.finished(entry)
        count = min(SUBMITTERS, self._bounds.concurrency or SUBMITTERS)
        self._submitters = count
        async with anyio.create_task_group() as group:
            for _ in range(count):
                group.start_soon(self._submit_rows)
            for _ in range(STORERS):
                group.start_soon(self._store_videos)
            group.start_soon(self._glance)
            await self._over.wait()
            group.cancel_scope.cancel()
        if self._failure is not None:
            raise self._failure

    async def _resume(self) -> None:
        """What was paid before: tasks to be followed, videos to be stored, files to be checked."""

        def left(ledger: Ledger) -> tuple[list[Entry], list[Entry]]:
            return list(ledger.entries([State.SUBMITTED, State.SUCCEEDED])), list(ledger.entries([State.DONE]))

        unfinished, stored = await self._journal.run(left)
        now = anyio.current_time()
        for entry in unfinished:
            if entry.state is State.SUBMITTED and entry.task_id is not None:
                self._open[entry.task_id] = (entry.key, now)
        gone = await asyncio.to_thread(missing, self._store.folder, stored)
        again = await self._journal.run(
            lambda ledger: [ledger.unstored(entry.key, State.SUCCEEDED, "its file has gone") for entry in gone]
        )
        self.states[State.DONE] -= len(again)
        self.states[State.SUCCEEDED] += len(again)
        for entry in [*(entry for entry in unfinished if entry.state is State.SUCCEEDED), *again]:
            self._enqueue(entry)

    def _check_over(self) -> None:
        if not self._submitters and not self._open and not self._storing:
            self._over.set()

    def _break(self, error: Exception) -> None:
        """What should not happen did: it ends the run, and is raised when what is under way has been recorded."""
        self._failure = self._failure or error
        self._over.set()

    def _moved(self, before: State, after: State) -> None:
        self.states[before] -= 1
        self.states[after] += 1

    # --- rows into creates -------------------------------------------------------------------------------------

    async def _submit_rows(self) -> None:
        try:
            while await self.gate.opened():
                await self._room.acquire()
                entry = await self._next() if await self.gate.opened() else None
                if entry is None:
                    self._room.release()
                    break
                await self._submit(entry)
        except JournalError as error:
            self._journal_failed(error)
        except Exception as error:
            self._break(error)
        self._submitters -= 1
        self._check_over()

    async def _next(self) -> Entry | None:
        """The next row to be sent, within the user's bounds."""
        async with self._reading:
            if not self._rows and not self._exhausted:
                self._rows.extend(await self._journal.run(self._chunk))
                self._exhausted = not self._rows
            if not self._rows:
                return None
            entry = self._rows[0]
            price = self._price(entry)
            if self._bounds.limit is not None and self.paid >= self._bounds.limit:
                self.gate.close(f"--limit {self._bounds.limit} is reached")
                return None
            if self._bounds.max_cost is not None and self.spent + price > self._bounds.max_cost:
                self.gate.close(f"--max-cost {self._bounds.max_cost:g} is reached")
                return None
            self.paid, self.spent = self.paid + 1, self.spent + price
            return self._rows.popleft()

    def _price(self, entry: Entry) -> float:
        prices = self._bounds.prices
        return (prices.of(entry.kind or "") or 0.0) if prices is not None else 0.0

    def _chunk(self, ledger: Ledger) -> list[Entry]:
        rows = ledger.planned(self._run, self._place, CHUNK)
        self._place = rows[-1][0] if rows else self._place
        return [entry for _, entry in rows]

    async def _submit(self, entry: Entry) -> None:
        """Send one row; what comes of it stands in the journal before it counts here."""
        request, tries = request_of(entry), 0
        while request is not None:
            try:
                task = await self._studio.submit(
                    request, patience=PATIENCE, breaker=self.breaker, planned=entry.fingerprint
                )
            except (NotSentError, GatewayError, RateLimitError) as error:
                tries += isinstance(error, GatewayError)
                if tries < TRIES and await self._outlasts(error, entry):
                    continue
                await self._refused(entry, error)
            except JournalError:
                self._room.release()
                raise
            except OmniError as error:
                await self._refused(entry, error)
            else:
                self._answered_at = anyio.current_time()
                self._moved(State.PLANNED, State.SUBMITTED)
                if task.task_id in self._ended:
                    self._ended.discard(task.task_id)
                    self._room.release()
                else:
                    self._open[task.task_id] = (entry.key, anyio.current_time())
            return

    async def _outlasts(self, error: OmniError, entry: Entry) -> bool:
        """Wait a little after a create that surely was not accepted; False if it has been too long."""
        now, answered = anyio.current_time(), max(self._answered_at, self._began)
        longest = OUTAGE if self._answered_at > -math.inf else FIRST_OUTAGE
        hopeless = isinstance(error, RateLimitError) or getattr(error, "configuration", False)
        if hopeless or now - answered > longest:
            self.gate.close(f"nothing can be sent: {error.args[0]}")
            return False
        self.gate.hold("outage", f"no create gets through ({type(error).__name__}), trying again")
        try:
            await anyio.sleep(min(max(PAUSE, (now - answered) / 4), LONGEST_PAUSE))
        finally:
            self.gate.release("outage")
        return self.gate.closed is None

    async def _refused(self, entry: Entry, error: OmniError) -> None:
        """A row's create did not become a task."""
        self._room.release()
        if is_unauthorized(error) or isinstance(error, AuthenticationError):
            self.gate.close(f"the key is refused: {error.args[0]}")
        elif isinstance(error, QuotaError):
            self.gate.close(f"the balance or quota is used up: {error.args[0]}")
        now = await self._journal.run(lambda ledger: ledger.noted(entry.key, str(error.args[0])))
        if now.state in UNPAID:
            self.paid, self.spent = self.paid - 1, self.spent - self._price(entry)
        if now.state is State.PLANNED:
            return
        self._moved(State.PLANNED, now.state)
        self._settled(now)

    def _journal_failed(self, error: JournalError) -> None:
        """Nothing may be sent that cannot be written down; what runs at the gateway is safe until the next run."""
        self.gate.close(str(error.args[0]))
        self._over.set()

    # --- tasks into files --------------------------------------------------------------------------------------

    def finished(self, entry: Entry) -> None:
        """The follower: a task's end is in the journal."""
        if self._early is not None:
            self._early.append(entry)
            return
        if self._open.pop(entry.task_id or "", None) is not None:
            self._room.release()
        else:
            self._ended.add(entry.task_id or "")
        self._answered_at = anyio.current_time()
        self._moved(State.SUBMITTED, entry.state)
        if entry.state is State.SUCCEEDED:
            self._enqueue(entry)
        else:
            self._settled(entry)
        self._check_over()

    def lost(self, task_id: str, error: OmniError) -> None:
        """The follower: a task cannot be followed. It was paid for: the next run looks again."""
        if self._open.pop(task_id, None) is not None:
            self._room.release()
            self.given_up += 1
            if is_unauthorized(error):
                self.gate.close(f"the key is refused: {error.args[0]}")
        self._check_over()

    def _enqueue(self, entry: Entry) -> None:
        if entry.key not in self._queued:
            self._queued.add(entry.key)
            self._storing += 1
            expires = entry.expires_at if entry.expires_at is not None else math.inf
            heapq.heappush(self._waiting, (expires, next(self._order), entry))
            self._arrived.set()

    async def _store_videos(self) -> None:
        try:
            while True:
                while not self._waiting:
                    self._arrived.clear()
                    await self._arrived.wait()
                _, _, entry = heapq.heappop(self._waiting)
                await self._bring(entry)
                self._queued.discard(entry.key)
                self._storing -= 1
                self._check_over()
        except JournalError as error:
            self._journal_failed(error)
        except Exception as error:
            self._break(error)

    async def _bring(self, entry: Entry) -> None:
        """Store one video, in a few tries; while the disk is full, for as long as anything else goes on."""
        tries = 0
        while True:
            try:
                stored = await self._store.store(entry)
            except JournalError:
                raise
            except OmniError as error:
                tries += 1
                if full(error):
                    self.gate.hold("disk", f"the disk is full ({error.args[0]})")
                if lasting(error) or (tries >= TRIES and not (full(error) and self._open)):
                    await self._not_stored(entry, error)
                    return
                await anyio.sleep(DISK if full(error) else PAUSE * 2.0**tries)
            else:
                self.gate.release("disk")
                self._backlog.stored()
                self._moved(State.SUCCEEDED, stored.state)
                self._settled(stored)
                return

    async def _not_stored(self, entry: Entry, error: OmniError) -> None:
        if full(error):
            self.gate.close(str(error.args[0]))
        left = await self._journal.run(
            lambda ledger: ledger.unstored(entry.key, State.SUCCEEDED, f"not stored: {error.args[0]}")
        )
        self._settled(left)

    def _settled(self, entry: Entry) -> None:
        """A row is through: its line, and whether enough have failed."""
        if settled(entry):
            self._results.append(entry)
        if entry.state is not State.DONE:
            self.failures += 1
            if self._bounds.stop_after is not None and self.failures >= self._bounds.stop_after:
                self.gate.close(f"--stop-after-failures {self._bounds.stop_after} is reached")

    async def _glance(self) -> None:
        """Once a second: tasks that take too long, and videos that wait too long."""
        while True:
            await anyio.sleep(GLANCE)
            soonest = self._waiting[0][0] if self._waiting else math.inf
            if self._backlog.too_long(len(self._waiting), None if soonest == math.inf else soonest):
                self.gate.hold(
                    "backlog", f"{len(self._waiting)} videos wait to be fetched, and the first URL dies soon"
                )
            else:
                self.gate.release("backlog")
            self._give_up()
            self._check_over()

    def _give_up(self) -> None:
        """Wait no longer for what takes too long; tasks began in order, so the oldest stands first."""
        timeout, now = self._bounds.timeout, anyio.current_time()
        while timeout is not None and self._open:
            task_id, (_, since) = next(iter(self._open.items()))
            if now - since < timeout:
                return
            logger.warning("task %s is still running after %.0f s: the next run goes on with it", task_id, now - since)
            del self._open[task_id]
            self._room.release()
            self.given_up += 1
