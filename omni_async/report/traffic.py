"""What a run sends, counted by time: creates, looks, refusals, repeats and pauses, in a bounded number of bins."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from ..events import Event, Polled, Retried, Submitted, Throttled

BINS, FIRST_WIDTH = 120, 2.0
"""Bins at most; the seconds of one at first. When they are full, two become one."""
PAUSES = 200
KINDS: Mapping[type[Event], str] = {
    Submitted: "creates",
    Polled: "looks",
    Throttled: "refused",
    Retried: "repeated",
}


class Traffic:
    """Counts events of one run.

    Args:
        clock: Wall time, in seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._began = clock()
        self._width = FIRST_WIDTH
        self._counts: dict[str, list[int]] = {name: [0] for name in KINDS.values()}
        self._pauses: list[list[float]] = []

    def __call__(self, event: Event) -> None:
        """Count an event."""
        name = KINDS.get(type(event))
        if name is None:
            return
        at = max(self._clock() - self._began, 0.0)
        while at >= self._width * BINS:
            self._fold()
        counts, place = self._counts[name], int(at / self._width)
        counts.extend([0] * (place + 1 - len(counts)))
        counts[place] += 1
        if isinstance(event, Throttled) and event.pause > 0:
            self._pause(at, at + event.pause)

    def _fold(self) -> None:
        self._width *= 2
        for name, counts in self._counts.items():
            self._counts[name] = [sum(counts[place : place + 2]) for place in range(0, len(counts), 2)]

    def _pause(self, begin: float, end: float) -> None:
        """Pauses that touch are one; of too many, the nearest neighbours count as one, too."""
        if self._pauses and begin <= self._pauses[-1][1] + (self._width if len(self._pauses) >= PAUSES else 0.0):
            self._pauses[-1][1] = max(self._pauses[-1][1], end)
        elif len(self._pauses) < PAUSES:
            self._pauses.append([begin, end])

    def document(self) -> dict[str, Any]:
        """What was counted, as plain JSON data; times in seconds since the run began."""
        return {
            "seconds": max(self._clock() - self._began, 0.0),
            "width": self._width,
            "counts": {name: list(counts) for name, counts in self._counts.items()},
            "pauses": [list(pause) for pause in self._pauses],
        }
