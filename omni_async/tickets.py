"""What waits and goes: tickets, the experiment that a refused create begins, and what a refusal led to. Pure."""

import enum
import math
import random
from typing import Any

import attrs

from .controllers import LADDER, Controller, Evidence
from .pace import Pace
from .pauses import LONGEST_PAUSE, longest_pause
from .retry import backoff
from .slots import Slots

MANY, SHORT_TRIAL = 4.0, 0.3
"""Creates per second from which the first pause after a refused one is this short, if a limit of them is all that was
found so far: a second would be too dear. A fixed window, which refuses towards its end, is over by then."""
FEW_RUN, ALIKE = 20, 3
"""Where creates are counted by the minute, up to so many running may by chance be as many as at the refusal before; and
for how many refusals in a row they may not."""


QUICK, SLOW = 40.0, 60.0
"""Seconds that creates take to be answered, lately, up to which one more goes, and from which fewer do: half of their
timeout."""
IN_LINE, LEAST = 12.0, 4.0
"""Creates in flight at first, and those that always may be."""


class Kind(enum.StrEnum):
    """What wants to go."""

    POLL = "poll"
    """Any free call to the gateway."""
    CREATE = "create"
    TRANSFER = "transfer"
    """A file up or down; it takes minutes and mostly goes to another host, so only its number is limited."""


POLL, CREATE, TRANSFER = Kind.POLL, Kind.CREATE, Kind.TRANSFER


class Ticket:
    """Leave to send one request, or a place in the queue for it; given back by exactly one of the endings.

    Args:
        kind: What wants to go.
        now: When it goes.
        in_flight: Requests in flight then, itself included; 0 while it waits.
    """

    __slots__ = ("about", "in_flight", "key", "kind", "owner", "sent_at", "waiter")

    def __init__(self, kind: Kind, now: float = 0.0, in_flight: int = 0) -> None:
        self.kind = kind
        self.sent_at = now
        self.in_flight = in_flight
        self.key = ""  # of its slot, for a create
        self.waiter: Any = None  # of the async door, to wake its owner
        self.owner: Any = None  # the task that waits
        self.about: str | None = None  # the id, for a look

    @property
    def granted(self) -> bool:
        """Whether it may be sent."""
        return self.in_flight > 0


class Line:
    """Creates in flight. A gateway that refuses none may let them wait in line instead; one too many in it outlasts its
    timeout, is paid for, and nobody learns its id. So fewer go where answers take ever longer.
    """

    __slots__ = ("_count", "_cut_at", "_most", "_takes")

    def __init__(self) -> None:
        self._count, self._most = 0, IN_LINE
        self._takes, self._cut_at = 0.0, -math.inf

    @property
    def full(self) -> bool:
        """Whether the next one waits for an answer."""
        return self._count >= self._most

    def goes(self) -> None:
        """A create goes."""
        self._count += 1

    def ended(self) -> None:
        """It is over, whatever came of it."""
        self._count -= 1

    def answered(self, sent: float, now: float) -> None:
        """One that was sent then was accepted now, or given up."""
        self._takes += (now - sent - self._takes) / (3.0 if self._takes else 1.0)
        if self._takes > SLOW:
            if sent >= self._cut_at:  # else of the same flight
                self._most, self._cut_at = max(self._most * max((SLOW / self._takes) ** 2, 0.5), LEAST), now
        elif self._takes < QUICK and 2 * self._count >= self._most:
            self._most += 1.0


@attrs.define
class Trial:
    """The experiment that a refused create begins: back off, try one create, see."""

    count: int
    """Tasks of ours running at the refusal."""
    began: float
    count_before: int
    """The same at the experiment before."""
    alike_before: int = 0
    """Experiments in a row before it with about as many running as at the one before each."""
    refusals: int = 0
    finished: int = 0
    """Tasks of ours seen finished since its last refusal."""
    in_vain: int = 0
    """Those before that, after which a create was refused all the same."""
    polls_refused: bool = False
    ticket: Ticket | None = None
    """Its create in flight."""
    named: bool = False
    """Whether the gateway's words name the rate: then nothing else is to be found out."""

    @property
    def no_number(self) -> bool:
        """Whether creates were refused while clearly fewer tasks ran than before."""
        return self.in_vain > 1 + self.count // 10

    @property
    def alike(self) -> int:
        """Experiments in a row, this one included, with about as many running as at the one before."""
        return self.alike_before + 1 if abs(self.count - self.count_before) <= 1 else 0

    def counts(self, *, known: bool, rare: bool) -> bool:
        """Whether it is the number running that was refused, now that a finish has let a create in.

        Args:
            known: Whether a number was found before.
            rare: Whether the account counts creates by the minute.
        """
        enough = ALIKE if rare and self.count <= FEW_RUN else 1
        return self.alike >= enough and (self.refusals > 1 or not known)

    def pause(self, pace: Pace, now: float, rng: random.Random, *, wait: float | None, number: bool) -> float:
        """Seconds until its create tries again.

        Args:
            pace: Of creates.
            now: When it was refused.
            rng: Source of jitter.
            wait: What the refusal asked for, if it did.
            number: Whether the number of running tasks is known.
        """
        most = longest_pause(now - self.began)
        if wait is not None:  # told too soon again and again, it grows
            vain = self.refusals - LADDER
            return wait if vain <= 0 else max(wait, backoff(vain, rng, cap=most))
        many = pace.known and not number and pace.rate >= MANY
        own = backoff(self.refusals - 1, rng, first=SHORT_TRIAL if many else 1.0, cap=most)
        # Before a pace is known, a second refusal would prove nothing.
        return max(own, min(1.1 / pace.rate, LONGEST_PAUSE)) if pace.known else own

    def evidence(self, slots: Slots, now: float, named: Controller | None) -> Evidence:
        """What its last refusal tells, with the limit that its words named."""
        return Evidence(
            create=True,
            named=named,
            slots_known=slots.known,
            at_cap=slots.cap is not None and slots.running >= slots.sure,
            trials=self.refusals,
            seconds=now - self.began,
            finished=self.finished,
            polls_refused=self.polls_refused,
            running=slots.running,
        )


@attrs.frozen
class Decision:
    """What a refusal led to: who was adjusted, the pause in seconds, and whether a lone create should give up."""

    cause: Controller
    pause: float
    hopeless: bool = False
