"""What a user would pick instead of a limiter: a semaphore, with AIMD or without. Pure; stands in for `Admission`."""

import math
from collections import OrderedDict
from collections.abc import Iterator

from omni_async.limiter import Controller, Decision, Kind, Ticket

AFTER_A_CUT = 1.0
"""Seconds in which further refusals are of the same event."""


class Semaphore:
    """So many requests in flight, first come first served; each refused request backs off by itself, as SDKs do.

    Args:
        size: How many.
    """

    def __init__(self, size: float = 64.0) -> None:
        self.queues: dict[Kind, OrderedDict[Ticket, None]] = {kind: OrderedDict() for kind in Kind}
        self.size, self.in_flight = size, 0

    def admit(self, now: float) -> list[Ticket]:
        """Everybody who may go now."""
        return list(self._going(now))

    def _going(self, now: float) -> Iterator[Ticket]:
        for queue in self.queues.values():
            while queue and self.in_flight < int(self.size):
                self.in_flight += 1
                ticket = queue.popitem(last=False)[0]
                ticket.sent_at, ticket.in_flight = now, self.in_flight
                yield ticket

    def next_time(self, now: float) -> float | None:
        """Time alone lets nobody go."""
        return None

    def passed(self, ticket: Ticket, now: float) -> None:
        """A request got through."""
        self.in_flight -= 1

    def accepted(self, ticket: Ticket, task_id: str, now: float) -> None:
        """A create got through."""
        self.passed(ticket, now)

    def refused(self, ticket: Ticket, now: float, *, wait: float | None = None) -> Decision:
        """A request was refused."""
        self.in_flight -= 1
        return Decision(Controller.TRIAL, wait or 0.0)

    def failed(self, ticket: Ticket, now: float) -> None:
        """No usable answer."""
        self.in_flight -= 1

    def finished(self, task_id: str, now: float) -> bool:
        """A task was seen finished."""
        return False


class Aimd(Semaphore):
    """Additive increase and multiplicative decrease of the number in flight, as in TCP; nothing else."""

    def __init__(self) -> None:
        super().__init__(16.0)
        self._cut_at = -math.inf

    def passed(self, ticket: Ticket, now: float) -> None:
        """One more in flight for each round of as many as there are."""
        super().passed(ticket, now)
        self.size = min(self.size + 1.0 / self.size, 64.0)

    def refused(self, ticket: Ticket, now: float, *, wait: float | None = None) -> Decision:
        """Half, once an event."""
        if now - self._cut_at >= AFTER_A_CUT:
            self.size, self._cut_at = max(self.size / 2.0, 1.0), now
        return super().refused(ticket, now, wait=wait)
