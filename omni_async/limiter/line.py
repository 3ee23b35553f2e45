"""Creates in flight at a gateway that may let them wait in line. Pure: times are passed in."""

import math

from ..policies import Timeouts
from .tickets import Ticket

IN_TIME = 0.5
"""Part of their timeout in which the last one in line is answered."""
AT_FIRST, MORE = 3.0, 2.0
"""Creates in flight before an answer told anything, as a gateway may take a third of the timeout for each; and how many
more with each that is answered in time."""
LATELY = 3.0
"""Answers of which the mean is taken."""


class Line:
    """Creates in flight. A gateway that refuses none may let them wait in line instead; one too many in it outlasts its
    timeout, is paid for, and nobody learns its id.

    The last of so many waits as many times the seconds that one takes (Little's law): those between two answers, or
    those that passed without any, if they are more. So many go that this is well within the timeout.
    """

    __slots__ = ("_answered_at", "_answers", "_each", "_in_time", "_most", "_places", "_since", "_timeout")

    def __init__(self) -> None:
        self._timeout, self._in_time = math.inf, IN_TIME * Timeouts().create
        self._most, self._each = AT_FIRST, 0.0  # seconds that one takes
        self._answers, self._answered_at = 0, -math.inf
        self._since = math.inf  # when the first went after the last answer
        self._places: dict[Ticket, tuple[int, int]] = {}  # of each, and how many were answered before it went

    def __len__(self) -> int:
        return len(self._places)

    def gives_up(self, seconds: float) -> None:
        """A create is given up after so many seconds; of several clients' the least counts."""
        self._timeout = min(self._timeout, seconds)
        self._in_time = IN_TIME * self._timeout

    def full(self, now: float) -> bool:
        """Whether the next one waits for an answer."""
        count = len(self._places)
        return count >= self._most or count * max(self._each, now - self._since) >= self._in_time

    def goes(self, ticket: Ticket, now: float) -> None:
        """A create goes."""
        self._places[ticket] = len(self._places) + 1, self._answers
        self._since = min(self._since, now)

    def ended(self, ticket: Ticket) -> None:
        """It is over, whatever came of it."""
        self._places.pop(ticket, None)

    def answered(self, ticket: Ticket, now: float) -> None:
        """One in flight was accepted now, or given up."""
        if ticket not in self._places:
            return
        place, before = self._places[ticket]
        waited = now - ticket.sent_at
        self._answers += 1
        self._learn(waited, min(now - self._answered_at, waited), place, self._answers - before)
        if waited > self._in_time:
            self._most = min(self._most, max(self._in_time / self._each, 1.0))
        elif 2 * len(self._places) >= self._most:
            self._most += MORE
        self._answered_at, self._since = now, math.inf

    def _learn(self, waited: float, gap: float, place: int, answers: int) -> None:
        """What one takes, of how long one waited, how long since the last answer, and how many came meanwhile."""
        if self._each and answers > place:  # others overtook it: it hung by itself
            return
        took = waited / answers
        took = max(took, (took + gap) / 2.0)  # it came while another was served, and did not wait for all of that
        self._each += (took - self._each) / (LATELY if self._each else 1.0)

    def abandoned(self) -> None:
        """What is in flight is never given back."""
        self._places.clear()
        self._since = math.inf
