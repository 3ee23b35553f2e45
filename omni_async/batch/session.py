"""A batch from its sheet to its results: enter, plan, run, and an end that loses nothing however it comes."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

import anyio
import attrs

from ..client import OmniClient
from ..dialects import Dialect
from ..errors import Fault, JournalError, OmniError, invalid_argument
from ..journal import SqliteJournal
from ..journal.anew import SheetLedger
from ..journal.fallback import fallback_of
from ..journal.shown import paid_kinds
from ..journal.states import State
from ..lifetime import to_the_end
from ..making import BatchOptions
from ..models import Balance
from ..policies import Limits
from ..settings import dialect_of
from .entering import Entered, Entering, SheetOptions, Source
from .fetching import Outage
from .folder import folder_of
from .plan import Plan, Prices
from .planning import ForeignError, Once, no_progress, opened, planned
from .reporting import Reporting
from .results import STATUS, Results, count_not_stored, stands, uncertain_elsewhere
from .running import Run
from .sending import Bounds
from .storing import Store

logger = logging.getLogger("omni_async")

BALANCE = 10.0
"""Seconds to wait for the balance at most: it is only told."""


@attrs.frozen(kw_only=True)
class Summary:
    """What a batch came to.

    Args:
        folder: Where its results are.
        states: How many rows of the sheet stand where.
        stopped: Why no more was sent, if rows are left.
        not_stored: Videos that could not be stored in this run.
        uncertain_elsewhere: Ids of rows that may have been paid and are no longer in the sheet: settle them, too.
        noted: Files with answers to creates that the journal could not take, for want of space say. Their rows are
            counted as what these tell; the next run enters them.
        put_off: Rows that were to be paid again and were not, by the option that asks for it (`redo_edited`,
            `retry_failed`): they stand as they stood, and are counted as that.
        paid_kinds: How many videos were paid for in all runs of the batch, by kind.
        prices: What they cost, if that was told.
        seconds: What the run took.
    """

    folder: Path
    states: Mapping[State, int]
    stopped: str | None = None
    not_stored: int = 0
    uncertain_elsewhere: tuple[str, ...] = ()
    noted: tuple[Path, ...] = ()
    put_off: Mapping[str, int] = attrs.field(factory=dict)
    paid_kinds: Mapping[str, int] = attrs.field(factory=dict)
    prices: Prices | None = None
    seconds: float = 0.0

    def count(self, *states: State) -> int:
        """Rows in any of these states."""
        return sum(self.states.get(state, 0) for state in states)

    @property
    def done(self) -> int:
        """Videos on disk."""
        return self.count(State.DONE)

    @property
    def failed(self) -> int:
        """Rows whose video was not made, without a question about money."""
        return self.count(State.FAILED, State.CANCELED, State.REJECTED, State.EXPIRED)

    @property
    def uncertain(self) -> int:
        """Rows that may have been paid and wait to be settled, also those that are no longer in the sheet."""
        return self.count(State.UNCERTAIN, State.SUBMITTING) + len(self.uncertain_elsewhere)

    @property
    def unsent(self) -> int:
        """Rows that were not sent."""
        return self.count(State.PLANNED)

    @property
    def under_way(self) -> int:
        """Tasks that still run at the gateway, and videos that wait to be stored."""
        return self.count(State.SUBMITTED, State.SUCCEEDED) - self.not_stored

    @property
    def paid(self) -> int:
        """Creates that were accepted, in all runs of the batch and not in this one alone.

        Failed tasks are counted (whether the gateway gives the money back, its bill tells), those that were paid for
        again, and rows that are no longer in the sheet. Not counted are `uncertain` creates, nor those that were
        settled without a task id: the bill may have more.
        """
        return sum(self.paid_kinds.values())

    @property
    def cost(self) -> float | None:
        """What `paid` videos cost by the prices given to this run; None without prices, or if a kind has none."""
        return self.prices.together(self.paid_kinds) if self.prices else None

    @property
    def ok(self) -> bool:
        """Whether every row has its video, and those that were to be paid again a new one."""
        return not (self.failed or self.not_stored or self.uncertain or self.unsent or self.under_way or self.put_off)


@attrs.frozen(kw_only=True)
class Progress:
    """Where a batch stands just now.

    Args:
        states: How many rows of the sheet stand where.
        began: What was settled before this run began.
        reasons: Why no create is sent, if none is.
        closed: Whether none will be sent any more in this run.
        breaker_open: Whether too many creates in a row ended uncertain.
        outage: Videos that cannot be fetched for now, if there are any.
    """

    states: Mapping[State, int]
    began: int
    reasons: tuple[str, ...]
    closed: bool
    breaker_open: bool
    outage: Outage | None = None


class Batch:
    """A batch; works as `async with`. `plan` first, then `run`.

    Args:
        source: A file (JSONL, CSV, `.xlsx`), `-` for stdin, a binary stream, an iterable of requests, or None for the
            rows that the folder has.
        out: The folder; by default the file's name without its ending.
        gateway: As for `OmniClient`.
        sheet_options: How the sheet is to be taken.
        bounds: Where to stop.
        limits: Of the account; `bounds.concurrency` wins over its `max_running_tasks`.
        options: Further keywords of `OmniClient`.

    Raises:
        InvalidRequestError: No folder was named and none follows from the source, or inputs are not to be kept.
        AuthenticationError: There is no key.
    """

    def __init__(
        self,
        source: Source | None = None,
        *,
        out: str | os.PathLike[str] | None = None,
        gateway: str | Dialect = "jimmy",
        sheet_options: SheetOptions | None = None,
        bounds: Bounds | None = None,
        limits: Limits | None = None,
        **options: Unpack[BatchOptions],
    ) -> None:
        if options.get("keep_requests") is False:
            raise invalid_argument(
                Fault("keep_requests", "a batch sends its rows from its journal: their inputs are kept")
            )
        self.folder = folder_of(source, out)
        self.sheet_options, self.bounds = sheet_options or SheetOptions(), bounds or Bounds()
        self.dialect = dialect_of(gateway)
        self._source = opened(source)
        self.journal = SqliteJournal(
            self.folder.journal,
            gateway=self.dialect.name,
            exclusive=True,
            notify=options.get("on_finished") is not None,
        )
        limits = limits or Limits()
        if self.bounds.concurrency is not None:
            limits = attrs.evolve(limits, max_running_tasks=self.bounds.concurrency)
        self._reporting = Reporting(self.folder, options.get("on_event"))
        options["on_event"] = self._reporting.on_event
        self.client = OmniClient(
            self.dialect,
            journal=self.journal,
            limits=limits,
            strict=self.sheet_options.strict,
            **options,
        )
        self._results = Results(self.folder)
        self._store = Store(self.folder, self.client.studio, self.journal)
        self._run = Run(self._store, self._results, self.bounds, self._reporting.keep)
        follower = self.client.studio.followed()
        follower.recorded, follower.lost = self._run.finished, self._run.lost
        self._entered: Entered | None = None
        self._stop = threading.Event()
        self.ended: Summary | None = None
        self._began = time.monotonic()

    async def __aenter__(self) -> Self:
        self.folder.make()
        try:
            await self.client.__aenter__()
        except BaseException:
            await self.client.aclose()
            raise
        return self

    async def plan(self, *, progress: Callable[[int], None] | None = None, balance: bool = True) -> Plan:
        """Check the sheet and enter it into the journal; sends nothing that is paid.

        Args:
            progress: Called with the rows read so far.
            balance: Whether the account's balance is asked.

        Returns:
            What `run` will do and pay.

        Raises:
            InvalidRequestError: Faults, each with its line; nothing was entered.
        """
        await self.client.studio.followed().take_over()  # what a crash left is counted as what it is
        loop = asyncio.get_running_loop()
        tell = progress or no_progress
        entering = Entering(
            dialect=self.dialect,
            folder=self.folder,
            options=self.sheet_options,
            progress=lambda count: loop.call_soon_threadsafe(tell, count),
            stop=self._stop,
        )
        try:
            entered = await self.journal.run(Once(entering, self._source))
        except asyncio.CancelledError:
            self._stop.set()
            raise
        except ForeignError as failure:
            raise failure.error from None
        self._entered = entered
        left = await self._balance() if balance else None
        return planned(entered, self.bounds, self.dialect, balance=left)

    async def _balance(self) -> Balance | None:
        with anyio.move_on_after(BALANCE):
            try:
                return await self.client.balance()
            except OmniError as error:
                logger.info("the balance could not be asked: %s", error)
        return None

    async def run(self) -> Summary:
        """Send, follow and store until nothing is left to be done, or nothing more may be.

        Cancelled, it stops admitting; leaving `async with` then waits for the creates in flight.

        Raises:
            OmniError: `plan` was not called.
        """
        if self._entered is None:
            raise OmniError("call plan() before run(): it tells what will be paid", may_have_charged=False)
        if self._run.begun:
            raise OmniError("a Batch runs once: make another to go on", may_have_charged=False)
        await self._store.check()
        await self._rewrite(set(STATUS) - {State.SUCCEEDED})  # what is not stored yet gets its line in this run
        await self._run.go()
        await self.client.studio.drain()
        return await self.summary()

    async def summary(self) -> Summary:
        """What it came to so far.

        Raises:
            JournalError: It cannot be read any more. What is noted elsewhere of creates in flight is named.
        """
        try:
            found = await self.journal.run(self._ends)
        except JournalError as error:
            raise self._with_notes(error) from None
        summary = attrs.evolve(found, seconds=time.monotonic() - self._began)
        unsent = summary.unsent + sum(summary.put_off.values())
        return attrs.evolve(summary, stopped=self._run.stopped(unsent, summary.under_way + summary.not_stored))

    def _with_notes(self, error: JournalError) -> JournalError:
        """The error of a journal that has gone, with where to find what it could not take."""
        if not self.journal.noted:
            return error
        files, beside = " and ".join(map(str, self.journal.noted)), fallback_of(self.journal.path).name
        told = (
            f"{error.args[0]}. What came back for creates in flight is noted in {files}: keep it. Put the journal back"
            f" where it was; or, if its folder was moved, move that file into the folder, as {beside}. Then run again"
        )
        return JournalError(told, kind="noted", may_have_charged=True)

    def _ends(self, ledger: SheetLedger) -> Summary:
        states, noted = stands(ledger, self.journal.path)
        return Summary(
            folder=self.folder.path,
            states=states,
            not_stored=count_not_stored(ledger),
            uncertain_elsewhere=uncertain_elsewhere(ledger, self.journal.path),
            noted=noted,
            put_off=ledger.put_off(),
            paid_kinds=paid_kinds(ledger, self.journal.path),
            prices=self.bounds.prices,
        )

    def progress(self) -> Progress:
        """Where it stands just now."""
        states = self._entered.staged.states if self._entered is not None else {}
        return Progress(
            states=+self._run.standing.states if self._run.begun else states,
            began=sum(count for state, count in states.items() if state is not State.PLANNED),
            reasons=self._run.reasons,
            closed=self._run.closed,
            breaker_open=self._run.sender.breaker.open,
            outage=self._run.fetcher.outage,
        )

    async def _rewrite(self, states: Iterable[State] = STATUS) -> None:
        """Both result files, anew from the journal; a disk that refuses them loses nothing."""
        try:
            await self.journal.run(lambda ledger: self._results.rewrite(ledger.entries(states), ledger.columns))
        except OmniError as error:
            logger.warning("the results could not be written, the journal has them: %s", error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        await to_the_end(ending := asyncio.ensure_future(self._end()))
        ending.result()

    async def _end(self) -> None:
        try:
            await self.client.studio.drain()
            await self.client.studio.unfollow()  # what ends now is seen by the next run: the results are complete
            if self._entered is not None:
                await self._rewrite()
                await self._reporting.finish(self.journal, self._run.standing.run if self._run.begun else None)
                self.ended = await self.summary()
        finally:
            self._results.close()
            self._reporting.close()
            await self.client.aclose()
