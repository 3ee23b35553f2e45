"""How fast creates went, over stretches of any length. Plain arithmetic: times are passed in.

Accounts count creates by the second or by the minute, so no one stretch of time tells whether few go. They do where, of
any number of them, the last took clearly longer than as many did before: then no limit refuses one.
"""

import math
from collections import deque

SLOWER = 2.5
"""How many times as long the last ones must have taken. A limit that halves makes it two."""
YOUNG, HARDLY_SLOWER = 180.0, 1.6
"""Seconds in which a minute's limit has not shown itself over and over yet; until then, how many times as long more
than half of all must have taken."""
LEAST = 8
"""Creates let in from which it can be told."""
FEWER_RUN = 0.8
"""Part of the most that ran when one was let in, at which no number of running tasks refuses the next."""
KEPT = 4097
"""Creates remembered: more than those in a minute."""


class Stretches:
    """What is remembered of them."""

    __slots__ = ("_fastest", "_let_in", "_most_ran", "_sent")

    def __init__(self) -> None:
        self._sent: deque[float] = deque(maxlen=KEPT)
        self._let_in: deque[float] = deque(maxlen=KEPT)
        self._fastest: dict[int, float] = {}  # seconds in which so many were let in; for powers of two
        self._most_ran = 0

    def sent(self, now: float) -> None:
        """One goes."""
        self._sent.append(now)

    def let_in(self, now: float, running: int) -> None:
        """One was let in, while so many others ran."""
        self._most_ran = max(self._most_ran, running)
        times, fastest, count = self._let_in, self._fastest, 2
        times.append(now)
        known = len(times)
        while count < known:
            took = now - times[-1 - count]
            if took < fastest.get(count, math.inf):
                fastest[count] = took
            count *= 2

    def few(self, sent: float, running: int) -> bool:
        """Whether so few went until one that was sent then, and run, that no limit refuses it."""
        known = len(self._let_in)
        if known < LEAST or running > FEWER_RUN * self._most_ran:
            return False
        last = next((place for place in range(1, len(self._sent) + 1) if self._sent[-place] <= sent), 1)
        young = sent - self._let_in[0] < YOUNG
        return all(
            sent - self._sent[-last - count] >= took * (SLOWER if 2 * count <= known else HARDLY_SLOWER)
            for count, took in self._fastest.items()
            if (young or 2 * count <= known) and last + count <= len(self._sent)
        )

    @property
    def usual(self) -> float:
        """Creates per second that were let in at best over a long stretch, half of all at most; 0 if there was none."""
        count = max((count for count in self._fastest if 2 * count <= len(self._let_in)), default=0)
        return count / max(self._fastest[count], 1e-3) if count else 0.0
