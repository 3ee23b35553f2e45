"""The account's limits, kept by the whole fleet: one row, read and written by the database's clock.

A create or a look takes the next free place in time, by one statement; so the fleet sends evenly, whoever sends. A
refusal anywhere moves the row's `not_before`, and everybody's next place lies behind it.
"""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import attrs

from ..lifetime import loop_time
from ..limiter import Controller, Decision, Kind, Limiter, Ticket
from ..policies import Limits

logger = logging.getLogger("omni_async")

Fetch = Callable[..., Awaitable[list[tuple[Any, ...]]]]
"""Runs one statement and gives its rows."""

SLACK, LATE = 1.05, 0.03
"""Places lie this much further apart than the rate says: what is late by up to 50 ms makes no second too full. What is
later than `LATE` seconds gives its place up."""
LONGEST_LEAD = 0.5
"""Seconds before its place that a create is begun to be written down, at most; twice what that took lately."""
DATABASE_PAUSE, HOUR = 1.0, 3600.0
"""Seconds between two tries while the database is away, and the longest that anything waits."""

LIMITS = (
    "running, submits_per_second, polls_per_second,"
    " extract(epoch FROM greatest(not_before, now()) - now())::float8,"
    " extract(epoch FROM greatest(polls_not_before, now()) - now())::float8"
)
"""What a row of limits says: those of `Allowed`, and for how many seconds no create is sent, and no look."""

_PLACES = {
    Kind.CREATE: ("next_submit", "submits_per_second", "not_before"),
    Kind.POLL: ("next_poll", "polls_per_second", "polls_not_before"),
}


def _reserve(kind: Kind) -> str:
    """Take so many places in time: gives the seconds until the first, and from each to the next."""
    column, rate, pause = _PLACES[kind]
    gap = f"coalesce({SLACK} / nullif({rate}, 0), 0)"
    return (
        f"UPDATE omni_limit SET {column} = greatest({column}, {pause}, clock_timestamp())"  # noqa: S608 - our own names
        f" + make_interval(secs => %s * {gap}) WHERE gateway = %s"
        f" RETURNING extract(epoch FROM {column} - clock_timestamp())::float8, {gap}"
    )


@attrs.frozen(kw_only=True)
class Allowed:
    """What the row allows. Rates per second; None leaves it to each worker to find out.

    Args:
        running: Tasks at the gateway at once.
        submits_per_second: Creates.
        polls_per_second: Looks.
    """

    running: int
    submits_per_second: float | None = None
    polls_per_second: float | None = None


class Budget:
    """This worker's door to the fleet's limits.

    Args:
        gateway: Whose.
        fetch: Runs statements; replaced when the connection is.
    """

    def __init__(self, gateway: str, fetch: Fetch) -> None:
        self.gateway, self.fetch = gateway, fetch
        self.allowed: Allowed | None = None
        self.ended = False
        self._paused = {Kind.CREATE: 0.0, Kind.POLL: 0.0}
        self._waiting: dict[Kind, list[asyncio.Future[float]]] = {Kind.CREATE: [], Kind.POLL: []}
        self._work: set[asyncio.Task[None]] = set()

    async def refresh(self) -> Allowed:
        """Read the row, and how long it pauses what."""
        rows = await self.fetch(f"SELECT {LIMITS} FROM omni_limit WHERE gateway = %s", self.gateway)  # noqa: S608
        running, submits, polls, *pauses = rows[0]
        self.allowed = Allowed(running=running, submits_per_second=submits, polls_per_second=polls)
        for kind, seconds in zip((Kind.CREATE, Kind.POLL), pauses, strict=True):
            self._paused[kind] = loop_time() + seconds
        return self.allowed

    @property
    def even(self) -> bool:
        """Whether creates are sent at so many a second."""
        return self.allowed is not None and self.allowed.submits_per_second is not None

    def governs(self, kind: Kind) -> bool:
        """Whether the row has a word in when something of a kind is sent."""
        if kind in (Kind.POLL, Kind.QUERY):
            limited = self.allowed is not None and self.allowed.polls_per_second is not None
            return limited or self._paused[Kind.POLL] > loop_time()
        return kind is Kind.CREATE

    def paused(self, kind: Kind) -> bool:
        """Whether the fleet pauses."""
        return self._paused[kind] > loop_time()

    async def take(self, kind: Kind, *, lead: float = 0.0) -> float:
        """Wait for the next place in time, but for the last `lead` seconds; gives the place."""
        while True:
            place = await self.place(kind)
            await asyncio.sleep(min(max(place - lead - loop_time(), 0.0), HOUR))
            if not self.paused(kind):  # else a refusal came in between
                return place

    async def place(self, kind: Kind) -> float:
        """The next place in time, by the loop's clock."""
        place: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting[kind].append(place)
        if len(self._waiting[kind]) == 1:
            self._start(self._deal(kind))
        return await place

    async def _deal(self, kind: Kind) -> None:
        """Places for all who wait, by one statement."""
        await asyncio.sleep(0)  # whoever comes in the same turn is dealt with, too
        waiting, self._waiting[kind] = self._waiting[kind], []
        while waiting := [place for place in waiting if not place.done()]:
            try:
                ((after_last, gap),) = await self.fetch(_reserve(kind), len(waiting), self.gateway)
            except Exception as error:  # nothing is sent while the database is away
                logger.info("the fleet's limits cannot be read (%s): waiting", type(error).__name__)
                if self.ended and kind is Kind.CREATE:
                    after_last, gap = math.inf, 0.0
                else:
                    await asyncio.sleep(DATABASE_PAUSE)
                    continue
            first = loop_time() + after_last - len(waiting) * gap
            for number, place in enumerate(waiting):
                if not place.done():
                    place.set_result(first + number * gap)
            return

    def pause(self, kind: Kind, seconds: float) -> None:
        """Let nobody in the fleet send for so long: creates if a create was refused, everything if a look was."""
        kinds = (Kind.CREATE,) if kind is Kind.CREATE else (Kind.CREATE, Kind.POLL)
        for one in kinds:
            self._paused[one] = max(self._paused[one], loop_time() + seconds)
        self._start(self._tell(kinds, seconds))

    async def _tell(self, kinds: tuple[Kind, ...], seconds: float) -> None:
        later = ", ".join(
            f"{_PLACES[kind][2]} = greatest({_PLACES[kind][2]}, clock_timestamp() + make_interval(secs => %s))"
            for kind in kinds
        )
        try:
            await self.fetch(
                f"UPDATE omni_limit SET {later} WHERE gateway = %s RETURNING 1",  # noqa: S608 - our own names
                *(seconds for _ in kinds),
                self.gateway,
            )
        except Exception as error:  # this worker pauses all the same
            logger.info("the fleet could not be told of a pause (%s)", type(error).__name__)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def end(self) -> None:
        """No create begins any more, and none that has begun waits for a database that is away."""
        self.ended = True

    async def aclose(self) -> None:
        """Deal no more."""
        for task in tuple(self._work):
            task.cancel()
        if self._work:
            await asyncio.wait(self._work)


class FleetLimiter(Limiter):
    """A worker's limiter, whose creates and looks keep the fleet's limits as well.

    Args:
        budget: Of the fleet.
        limits: Of this worker.
    """

    def __init__(self, budget: Budget, limits: Limits) -> None:
        super().__init__(limits)
        self._budget = budget
        self._next = asyncio.Lock()
        self._places: deque[tuple[float, float]] = deque()  # of creates that are being written down, and since when
        self._lead = 0.0

    def try_acquire(self, kind: Kind) -> Ticket | None:
        """See `Limiter.try_acquire`; what the fleet's row has a word in goes through `acquire`."""
        if not self._budget.governs(kind):
            return super().try_acquire(kind)
        if self._loop is not asyncio.get_running_loop():
            self._bind()  # its clock, without which nobody who waits is ever woken
        return None

    async def acquire(self, kind: Kind, *, max_wait: float | None = None) -> Ticket:
        """See `Limiter.acquire`."""
        if kind is Kind.CREATE:
            async with self._next:
                place = await self._budget.take(kind, lead=self._lead)
                ticket = await super().acquire(kind, max_wait=max_wait)
                self._places.append((place, loop_time()))
                return ticket
        if self._budget.governs(kind):
            await self._budget.take(Kind.POLL)
        return await super().acquire(kind, max_wait=max_wait)

    def unused(self, ticket: Ticket) -> None:
        """See `Limiter.unused`."""
        super().unused(ticket)
        if ticket.kind is Kind.CREATE and self._places:
            self._places.popleft()

    async def on_time(self) -> bool:
        """Wait for the place of a create that is written down and about to be sent.

        One whose writing took too long takes another: those that the database has held up would else go together.

        Returns:
            False if the fleet pauses: then it is not to be sent.
        """
        place = self._written()
        while not self._budget.paused(Kind.CREATE):
            if not self._budget.even:
                return True
            if place == math.inf:
                return False
            await asyncio.sleep(max(place - loop_time(), 0.0))
            if loop_time() - place <= LATE and not self._budget.paused(Kind.CREATE):
                return True
            place = await self._budget.place(Kind.CREATE)
        return False

    def _written(self) -> float:
        """The place of the create that is written down next; learns how long that takes."""
        if not self._places:
            return -math.inf
        place, since = self._places.popleft()
        self._lead += 0.2 * (min(2.0 * (loop_time() - since), LONGEST_LEAD) - self._lead)
        return place

    def refused(self, ticket: Ticket, *, wait: float | None = None, named: Controller | None = None) -> Decision:
        """See `Limiter.refused`; the whole fleet pauses."""
        decision = super().refused(ticket, wait=wait, named=named)
        if decision.pause:
            self._budget.pause(ticket.kind, decision.pause)
        return decision
