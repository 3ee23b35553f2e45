"""What went lately, and at which pace: what a refusal tells is read by when its request was sent. Plain arithmetic.

By when it is known, far away some tenths of a second later, the pace is another, others have gone at it, and of those
that were let in before it some are not answered yet.
"""

from collections import deque
from typing import NamedTuple

STEPS = 40
"""Steps remembered: a second before the request was sent, and as long as its answer may take."""
MOST_LOST = 1000
"""Refused requests remembered."""
SECOND = 1.0


class _Step(NamedTuple):
    """How many had got through and had gone at some moment, and the pace from then on."""

    at: float
    through: int
    gone: int
    rate: float


class Trail:
    """What is remembered.

    Attributes:
        gone: Requests that went.
        gone_at: When the last one did.
    """

    __slots__ = ("_lost", "_steps", "gone", "gone_at")

    def __init__(self) -> None:
        self.gone, self.gone_at = 0, 0.0
        self._steps: deque[_Step] = deque(maxlen=STEPS)
        self._lost: deque[float] = deque(maxlen=MOST_LOST)  # when those went that were refused

    def step(self, now: float, through: int, rate: float) -> None:
        """So many have got through by now, and this is the pace from now on."""
        self._steps.append(_Step(now, through, self.gone, rate))

    def lost(self, sent: float) -> None:
        """One that was sent then was refused."""
        self._lost.append(sent)

    def rest(self) -> None:
        """Nothing goes for a while: the pace before that tells nothing of the one after it."""
        self._steps.clear()

    def let_in(self, begin: float, end: float, *, gone: float | None = None) -> float:
        """How many that went after `begin` and until `end` were let in, as far as is known.

        Args:
            begin: Time.
            end: Time.
            gone: How many had gone by `begin`, if that is longer ago than what is remembered.
        """
        lost = sum(begin < sent <= end for sent in self._lost)
        return max(self.gone_by(end) - (self.gone_by(begin) if gone is None else gone) - lost, 0.0)

    def gone_by(self, when: float) -> float:
        """How many had gone by then, or by the first moment that is remembered."""
        at, gone = self.gone_at, float(self.gone)
        if when >= at:
            return gone
        for step in reversed(self._steps):
            if step.at <= when:
                return step.gone + (gone - step.gone) * (when - step.at) / max(at - step.at, 1e-9)
            at, gone = step.at, float(step.gone)
        return gone

    def rate(self, when: float) -> tuple[float, float] | None:
        """The pace then, and since when it was that; None if nothing is remembered of then."""
        return next(((step.rate, step.at) for step in reversed(self._steps) if step.at <= when), None)

    def per_second(self, now: float, through: int, *, grain: float) -> float:
        """How many got through in the last second, of `through` in all; steps are `grain` seconds apart."""
        for step in self._steps:
            if step.at >= now - SECOND - grain:
                return (through - step.through) / max(now - step.at, SECOND)
        return 0.0 if self._steps else float(through)
