"""Where a batch stands, in numbers: rows by state, speed, the time that is left, pauses and their causes.

It reads counters only, so it costs the same for ten rows and for a million. Shows nothing.
"""

import enum
import math
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import attrs

from ..batch import Outage, Progress
from ..breaker import LIMIT, PAUSE
from ..events import Downloaded, Event, Retried, Submitted, Throttled
from ..journal import State
from ..models import Stats
from ..wording import counted
from .board import pause_text
from .exits import in_options

WINDOW = 180.0
"""Seconds over which speed is measured: the last minutes."""
SAMPLE = 1.0
"""Seconds between two samples at least."""
ENOUGH = 3.0
"""Seconds of run before a speed is worth telling."""
TROUBLE = 60.0
"""Seconds for which a create that did not get through is told of, unless one gets through."""
REASONS = {"NotSentError": "the gateway cannot be reached", "GatewayError": "the gateway fails"}
BREAKER = f"{LIMIT} creates in a row ended uncertain: none is sent for {PAUSE:.0f} s"


class Stand(enum.StrEnum):
    """Where a row stands, in a person's words."""

    WAITING = "waiting"
    LATER = "for later"
    """Not sent in this run: a bound leaves it."""
    RUNNING = "at the gateway"
    STORING = "being stored"
    DONE = "done"
    FAILED = "failed"
    REJECTED = "rejected"
    UNCERTAIN = "uncertain"
    EXPIRED = "expired"


OF_STATE: Mapping[State, Stand] = {
    State.PLANNED: Stand.WAITING,
    State.SUBMITTING: Stand.RUNNING,
    State.SUBMITTED: Stand.RUNNING,
    State.SUCCEEDED: Stand.STORING,
    State.DONE: Stand.DONE,
    State.FAILED: Stand.FAILED,
    State.CANCELED: Stand.FAILED,
    State.REJECTED: Stand.REJECTED,
    State.UNCERTAIN: Stand.UNCERTAIN,
    State.EXPIRED: Stand.EXPIRED,
}
OPEN = (Stand.WAITING, Stand.LATER, Stand.RUNNING, Stand.STORING)


@attrs.frozen(kw_only=True)
class Look:
    """A batch as it stands at one moment.

    Args:
        rows: How many stand where.
        rate: Videos finished a minute; None before anything can be said.
        left: Seconds until all is done, at the speed of the last minutes; None where nobody can tell.
        speed: Bytes stored a second; None if nothing was.
        causes: Why less is sent or fetched than could be: by a name that stays the same while the words change.
        account: What is known of the account's limits, a few words each.
        elapsed: Seconds since the run began.
    """

    rows: Mapping[Stand, int]
    rate: float | None = None
    left: float | None = None
    speed: float | None = None
    causes: Mapping[str, str] = attrs.field(factory=dict)
    account: tuple[str, ...] = ()
    elapsed: float = 0.0

    @property
    def total(self) -> int:
        """All rows."""
        return sum(self.rows.values())


class _Sample(NamedTuple):
    at: float
    done: int
    ended: int
    stored: int


class Tally:
    """What the views of a batch show.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.read: int | None = None
        self._progress: Callable[[], Progress] | None = None
        self._stats: Callable[[], Stats] | None = None
        self._began = clock()
        self._unsent = self._to_pay = 0
        self._stored = 0
        self._pause, self._pause_ends = ("", ""), -math.inf
        self._trouble, self._trouble_ends = ("", ""), -math.inf
        self._samples: deque[_Sample] = deque()

    def reading(self, count: int) -> None:
        """So many rows of the sheet have been read."""
        self.read = count

    def planned(self) -> None:
        """The sheet is through, and nothing runs yet."""
        self.read = None

    def begin(self, progress: Callable[[], Progress], stats: Callable[[], Stats], *, unsent: int, to_pay: int) -> None:
        """The run begins.

        Args:
            progress: Tells where it stands.
            stats: Tells what is known of the account's limits.
            unsent: Rows that were not sent yet.
            to_pay: How many of them will be sent at most.
        """
        self.read, self._began = None, self.clock()
        self._progress, self._stats = progress, stats
        self._unsent, self._to_pay = unsent, to_pay

    @property
    def running(self) -> bool:
        """Whether the run has begun, and its rows are counted."""
        return self._progress is not None and bool(self._progress().states)

    def on_event(self, event: Event) -> None:
        """Take an event of the library."""
        if isinstance(event, Downloaded):
            self._stored += event.size
        elif isinstance(event, Submitted):
            self._trouble_ends = -math.inf
        elif isinstance(event, Retried) and event.kind == "create":
            words = f"creates do not get through ({REASONS.get(event.reason, event.reason)}): they are tried again"
            self._trouble, self._trouble_ends = (f"retried {event.reason}", words), self.clock() + TROUBLE
        elif isinstance(event, Throttled) and event.pause > 0:
            self._pause = (f"{event.kind} {event.cause}", pause_text(event))
            self._pause_ends = max(self._pause_ends, self.clock() + event.pause)

    def look(self) -> Look:
        """How it stands now."""
        now = self.clock()
        if self._progress is None:
            return Look(rows={}, elapsed=now - self._began)
        progress = self._progress()
        rows = dict.fromkeys(Stand, 0)
        for state, count in progress.states.items():
            rows[OF_STATE[state]] += count
        self._put_off(rows, closed=progress.closed)
        self._sample(now, rows)
        rate = self._over(lambda sample: sample.done, now)
        speed = self._over(lambda sample: sample.stored, now)
        return Look(
            rows=rows,
            rate=None if rate is None else rate * 60.0,
            left=self._left(now, rows),
            speed=speed or None,
            causes=dict(self._causes(progress, now)),
            account=tuple(_account(self._stats())) if self._stats is not None else (),
            elapsed=now - self._began,
        )

    def _sample(self, now: float, rows: Mapping[Stand, int]) -> None:
        samples = self._samples
        if samples and now - samples[-1].at < SAMPLE:
            return
        ended = sum(count for stand, count in rows.items() if stand not in OPEN)
        samples.append(_Sample(now, rows[Stand.DONE], ended, self._stored))
        while samples[0].at < now - WINDOW:
            samples.popleft()

    def _over(self, of: Callable[[_Sample], int], now: float) -> float | None:
        """How much came a second, over the last minutes; None before anything did."""
        oldest, newest = self._samples[0], self._samples[-1]
        if now - self._began < ENOUGH or newest.at == oldest.at:
            return None
        return (of(newest) - of(oldest)) / (newest.at - oldest.at)

    def _put_off(self, rows: dict[Stand, int], *, closed: bool) -> None:
        """Tell what waits to be sent from what a bound leaves unsent."""
        unsent = rows[Stand.WAITING]
        sent = self._unsent - unsent
        rows[Stand.WAITING] = 0 if closed else min(unsent, max(self._to_pay - sent, 0))
        rows[Stand.LATER] = unsent - rows[Stand.WAITING]

    def _left(self, now: float, rows: Mapping[Stand, int]) -> float | None:
        """Seconds for what is under way and for what will still be sent."""
        rate = self._over(lambda sample: sample.ended, now)
        return (rows[Stand.WAITING] + rows[Stand.RUNNING] + rows[Stand.STORING]) / rate if rate else None

    def _causes(self, progress: Progress, now: float) -> Iterator[tuple[str, str]]:
        head = "no more is sent" if progress.closed else "sending is paused"
        for reason in progress.reasons:
            yield re.sub(r"[\d.,]+", "#", reason), f"{head}: {in_options(reason)}"
        if progress.breaker_open:
            yield "breaker", BREAKER
        if progress.outage is not None:
            yield "outage", _outage_text(progress.outage)
        if now < self._pause_ends:
            yield self._pause
        if now < self._trouble_ends:
            yield self._trouble


def _outage_text(outage: Outage) -> str:
    """Videos that are paid for and cannot be fetched, and for how long that is tried."""
    videos = counted(outage.videos, "video")
    return f"{videos} cannot be fetched ({outage.reason}): tried again, for {span_text(outage.left)} at most"


def _account(stats: Stats) -> Iterator[str]:
    """What is known of the account's limits."""
    if stats.slots is not None:
        yield f"{stats.running:,} of {stats.slots:,} tasks"
    for pace, noun in ((stats.create_pace, "creates"), (stats.pace, "requests")):
        if pace is not None:
            yield f"{pace:.3g} {noun}/s" if pace >= 1.0 else f"{pace * 60:.3g} {noun}/min"


def span_text(seconds: float) -> str:
    """A time to come, as exactly as it can be known: `12 min`, `5 h 48 min`, `3 days`."""
    minutes = math.ceil(seconds / 60)
    if minutes <= 1:
        return "a minute"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours < 48 else f"{hours / 24:.0f} days"
