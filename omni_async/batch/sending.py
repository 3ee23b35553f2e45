"""Rows out of the journal into creates, within the user's bounds, as long as that is wise."""

import asyncio
from collections import deque

import anyio
import attrs

from ..arguments import check_kinds, check_seconds
from ..breaker import Shutout
from ..errors import (
    AuthenticationError,
    GatewayError,
    JournalError,
    NotSentError,
    OmniError,
    RateLimitError,
    invalid_argument,
)
from ..filed import PATIENCE
from ..generate import Studio
from ..journal import SqliteJournal
from ..journal.anew import SheetLedger
from ..journal.entries import Entry, request_of, sent_again
from ..journal.states import UNPAID, State
from ..many import OUTSTANDING
from ..models import VideoTask
from ..policies import positive
from .gate import Leave, NotAdmittedError
from .plan import Prices
from .standing import Standing

CHUNK = 500
"""Rows read from the journal at a time."""
TRIES = 3
"""How often a row's create is tried in one run although the gateway says that it fails; the client has tries, too."""
LEFT = 5
"""Rows in a row that may be left so before no more is sent."""
FIRST_OUTAGE, OUTAGE = 60.0, 900.0
"""Seconds in which nothing can be sent before no more is tried: if the gateway never answered, and if it did."""
PAUSE, LONGEST_PAUSE = 2.0, 30.0
GAP = 180.0
"""Seconds between two failures that count for an outage at most: a machine that slept for hours has tried nothing."""
GRAIN = 1e-9
"""What sums of prices may be off by."""
DOWN = "outage"


@attrs.frozen(kw_only=True)
class Bounds:
    """Where the user wants it to stop.

    Args:
        limit: Videos to pay at most in this run.
        prices: What they cost.
        max_cost: What they may cost together.
        concurrency: Tasks running at the gateway at most.
        stop_after_failures: Rows that may fail before no more is sent.
        timeout: Seconds to wait for a task at most.

    Raises:
        InvalidRequestError: One of them is of another kind, or no number that can be a bound.
    """

    limit: int | None = attrs.field(default=None, validator=positive(whole=True, or_zero=True))
    prices: Prices | None = None
    max_cost: float | None = attrs.field(default=None, validator=positive(or_zero=True))
    concurrency: int | None = attrs.field(default=None, validator=positive(whole=True))
    stop_after_failures: int | None = attrs.field(default=None, validator=positive(whole=True))
    timeout: float | None = None

    def __attrs_post_init__(self) -> None:
        check_kinds(prices=(self.prices, Prices))
        if faults := tuple(check_seconds(least=0, timeout=self.timeout)):
            raise invalid_argument(*faults)


class Sender:
    """Sends the rows of one run.

    Args:
        standing: Of the run.
        studio: Pays.
        journal: Has the rows.
        bounds: Where to stop.
    """

    def __init__(self, standing: Standing, studio: Studio, journal: SqliteJournal, bounds: Bounds) -> None:
        self._standing, self._studio, self._journal, self._bounds = standing, studio, journal, bounds
        self._gate = standing.gate
        self.breaker = Leave(self._gate, despite=DOWN)
        self._shutout = Shutout()
        self.paid, self.spent = 0, 0.0
        self.enough: str | None = None
        """The bound that was reached."""
        self.left: str | None = None
        """Why the last of the rows that could not be sent was not."""
        self._rows: deque[Entry] = deque()
        self._place = 0
        self._sending = 0
        self._reading = asyncio.Lock()
        self._prober: Entry | None = None
        self._failed_at: float | None = None
        self._outage = 0.0
        self._failures = self._given_up = 0

    async def work(self) -> None:
        """Send row after row, until there is none or none may be sent any more.

        Raises:
            JournalError: It cannot be written down what is sent.
        """
        while (entry := await self._next()) is not None:
            try:
                await self._send(entry)
            finally:
                self._sending -= 1
                if self._prober is entry:
                    self._prober = None
                    self._gate.release(DOWN)
                self._gate.notify()

    # --- the next row ------------------------------------------------------------------------------------------

    async def _next(self) -> Entry | None:
        """The next row to be sent, when there is room for it; None if there is none within the user's bounds."""
        async with self._reading:
            while await self._gate.opened():
                if not self._rows:
                    self._rows.extend(await self._journal.run(self._chunk))
                if not self._rows:
                    return None
                entry = self._rows[0]
                reached = self._reached(entry)
                if reached is not None and not self._sending:
                    self.enough = reached
                    return None
                if reached is None and len(self._standing.open) + self._sending < OUTSTANDING:
                    self.paid, self.spent = self.paid + 1, self.spent + self._price(entry)
                    self._sending += 1
                    return self._rows.popleft()
                await self._gate.changed()  # a refused row gives back what it took, an ended task makes room
        return None

    def _reached(self, entry: Entry) -> str | None:
        bounds = self._bounds
        if bounds.limit is not None and self.paid >= bounds.limit:
            return f"limit={bounds.limit} is reached"
        if bounds.max_cost is not None and self.spent + self._price(entry) > bounds.max_cost + GRAIN:
            return f"max_cost={bounds.max_cost:g} is reached"
        return None

    def _price(self, entry: Entry) -> float:
        prices = self._bounds.prices
        return (prices.of(entry.kind or "") or 0.0) if prices is not None else 0.0

    def _chunk(self, ledger: SheetLedger) -> list[Entry]:
        rows = ledger.planned(self._standing.run, self._place, CHUNK)
        self._place = rows[-1][0] if rows else self._place
        return [entry for _, entry in rows]

    # --- one row -----------------------------------------------------------------------------------------------

    async def _send(self, entry: Entry) -> None:
        """Send one row; what comes of it stands in the journal before it counts here."""
        request, tries = request_of(entry), 0
        if request is None:
            raise JournalError(f"the inputs of row {entry.key!r} are not in the journal", may_have_charged=False)
        while True:
            try:
                task = await self._studio.submit(
                    request, patience=PATIENCE, breaker=self.breaker, planned=entry.fingerprint
                )
            except JournalError:
                raise
            except OmniError as error:
                tries += 1
                if isinstance(error, NotSentError | GatewayError | RateLimitError) and await self._outlasts(
                    error, entry, tries
                ):
                    continue
                await self._refused(entry, error)
            else:
                self._accepted(entry, task)
            return

    def _accepted(self, entry: Entry, task: VideoTask) -> None:
        self._answered()
        self._shutout.accepted()
        self._standing.moved(attrs.evolve(entry, state=State.SUBMITTED), State.PLANNED)
        self._standing.began(task.task_id)

    def _answered(self) -> None:
        """The gateway answers: what was wrong is over."""
        self._standing.heard = True
        self._failed_at, self._outage, self._failures, self._given_up = None, 0.0, 0, 0

    async def _refused(self, entry: Entry, error: OmniError) -> None:
        """A row's create did not become a task."""
        why = str(error.args[0])
        if self._shutout.is_for_all(error):
            what = "the key is refused" if isinstance(error, AuthenticationError) else "the balance or quota is used up"
            self._gate.close(f"{what}: {why}")
        if self._gate.closed is not None and type(error) in (OmniError, NotAdmittedError):
            why = ""  # it waited when that came
        now = await self._journal.run(lambda ledger: ledger.noted(entry.key, why) if why else ledger.entry(entry.key))
        left = now is None or now.state is State.PLANNED or now.round < entry.round  # it stands as it stood
        if now is None or left or now.state in UNPAID:
            self.paid, self.spent = self.paid - 1, self.spent - self._price(entry)
        if now is None or left:
            self.left = why or self.left
            return
        if not isinstance(error, NotSentError | GatewayError):
            self._answered()
        if not sent_again(now):
            self._standing.moved(now, State.PLANNED)
            self._standing.settled(now)

    # --- trouble -----------------------------------------------------------------------------------------------

    async def _outlasts(self, error: OmniError, entry: Entry, tries: int) -> bool:
        """After a create that surely was not accepted: wait, and say whether to try again.

        While nothing can be sent, one row tries and the others wait for it.
        """
        now = anyio.current_time()
        self._outage += 0.0 if self._failed_at is None else min(now - self._failed_at, GAP)
        self._failed_at, self._failures = now, self._failures + 1
        if self._is_hopeless(error, tries, self._outage):
            return False
        pause = min(max(PAUSE, self._outage / 4), LONGEST_PAUSE)
        if isinstance(error, GatewayError) and not self._given_up and self._failures <= TRIES:
            await anyio.sleep(pause)  # it may be this row's own trouble
            return self._gate.closed is None
        if self._prober not in (None, entry):
            return await self._gate.opened()
        self._prober = entry
        self._gate.hold(DOWN, f"no create gets through ({type(error).__name__}), trying again")
        with anyio.move_on_after(pause):
            await self._gate.shut.wait()
        return self._gate.closed is None

    def _is_hopeless(self, error: OmniError, tries: int, seconds: float) -> bool:
        """Whether to try no more with this row; and with all, if that is clear."""
        if isinstance(error, GatewayError):
            if tries < TRIES:
                return False
            self._given_up += 1
            over = self._given_up >= LEFT
        else:
            longest = OUTAGE if self._standing.heard else FIRST_OUTAGE
            over = isinstance(error, RateLimitError) or getattr(error, "configuration", False) or seconds > longest
            if not over:
                return False
        if over:
            self._gate.close(f"nothing can be sent: {error.args[0]}")
        return True
