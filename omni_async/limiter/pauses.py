"""How long nothing goes after refusals and failures, and what is in flight meanwhile. Pure: times are passed in."""

import math
import random

from ..retry import backoff
from .controllers import Controller

WINK, BLINK, BY_THE_MINUTE = 0.03, 0.1, 1.0
"""First pause after a refused poll, in seconds: the short one where the refusal tells nothing new; and the longest,
where requests are counted by the minute and few go. It doubles while the pause's only request is refused too."""
LONGEST_PAUSE = 15.0
"""Longest pause of our own choice after refusals, in seconds: full speed is back soon after a storm ends."""
ENDLESS, PART = 660.0, 0.1
"""Seconds from which pauses are this part of a storm: it ends only by itself, or never for who goes on knocking, since
a gateway may count what it refuses too."""
BANNED, KNOCKS = 120.0, 32.0
"""Seconds from which requests refused in vain may be a ban that each of them prolongs; and the longest pause from then
on: such bans last half a minute."""
LONG = 600.0
LONGEST_OUTAGE, RAREST, LASTING = 20.0, 60.0, 9
"""The same after failures: full speed is back within half a minute of an outage's end. And after so many in vain, where
so few requests were sent before that an outage of LONG seconds would cost more than PART of them."""
TOLD_IN_VAIN = 12
"""Polls refused in a row, each after the wait that was asked for, from which our own pauses count, too: with one of 5 s
it takes a minute, as where requests are counted by that.
"""
STRAGGLING = 2.0
"""Seconds after a pause from which the one request that tries again waits no more for those sent before it."""


def longest_pause(in_vain: float) -> float:
    """Seconds to pause at most where everything was refused for so long."""
    return LONGEST_PAUSE if in_vain <= ENDLESS else PART * in_vain


def blink(
    cause: Controller, step: int, in_vain: float, rng: random.Random, *, trust: bool, gap: float = BLINK
) -> float:
    """The pause after a refused poll: none if one fewer in flight is all it takes, longer while it goes on.

    Args:
        cause: Who adjusts to it.
        step: Refusals in a row before it.
        in_vain: Seconds since the first of them.
        rng: Source of jitter.
        trust: Whether it tells nothing new.
        gap: Seconds between two requests, where they are counted by the minute.
    """
    if step == 0 and cause is Controller.WINDOW:
        return 0.0
    most = max(longest_pause(in_vain), KNOCKS if in_vain > BANNED else 0.0)
    return WINK if trust else backoff(step, rng, first=min(max(gap, BLINK), BY_THE_MINUTE), cap=most)


def outage_pause(in_vain: int, sent: int, rng: random.Random) -> float:
    """The pause in an outage.

    Args:
        in_vain: Tries since it began.
        sent: Requests that got through before.
        rng: Source of jitter.
    """
    rare = min(max(LONG / max(PART * sent, 1.0), LONGEST_OUTAGE), RAREST)
    return backoff(in_vain, rng, cap=LONGEST_OUTAGE if in_vain < LASTING else rare)


class Stragglers:
    """Requests in flight since before a pause, such as a create that hangs: what tries again waits for few of them."""

    __slots__ = ("_count", "_since")

    def __init__(self) -> None:
        self._count, self._since = 0, -math.inf

    def paused(self, now: float, in_flight: int) -> None:
        """A pause begins."""
        self._count, self._since = in_flight, now

    def ended(self, sent: float) -> None:
        """A request that was sent then is over."""
        if sent <= self._since:
            self._count -= 1

    def room_at(self, resumed: float, in_flight: int) -> float:
        """When one may try again, after a pause until `resumed`; infinite while only an ending can tell.

        Args:
            resumed: When the pause is over.
            in_flight: Requests in flight.
        """
        if not in_flight:
            return resumed
        return resumed + STRAGGLING if in_flight <= self._count else math.inf
