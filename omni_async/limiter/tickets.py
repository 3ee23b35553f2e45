"""What waits and goes: tickets, and what a refusal led to. Pure."""

import enum
from typing import Any, NamedTuple

from .controllers import Controller


class Kind(enum.StrEnum):
    """What wants to go."""

    POLL = "poll"
    """A look of the poller's."""
    QUERY = "query"
    """Any other free call to the gateway; somebody waits for its answer."""
    CREATE = "create"
    TRANSFER = "transfer"
    """A file up or down; it takes minutes and mostly goes to another host, so only its number is limited."""


POLL, QUERY, CREATE, TRANSFER = Kind.POLL, Kind.QUERY, Kind.CREATE, Kind.TRANSFER


class Ticket:
    """Leave to send one request, or a place in the queue for it; given back by exactly one of the endings.

    Args:
        kind: What wants to go.
        now: When it goes.
        in_flight: Requests in flight then, itself included; 0 while it waits.
    """

    __slots__ = ("about", "in_flight", "key", "kind", "sent_at", "waiter")

    def __init__(self, kind: Kind, now: float = 0.0, in_flight: int = 0) -> None:
        self.kind = kind
        self.sent_at = now
        self.in_flight = in_flight
        self.key = ""  # of its slot, for a create
        self.waiter: Any = None  # of the async door, to wake its owner
        self.about: str | None = None  # the id, for a look

    @property
    def granted(self) -> bool:
        """Whether it may be sent."""
        return self.in_flight > 0


class Decision(NamedTuple):
    """What a refusal led to: who was adjusted, the pause in seconds, and whether a lone create should give up."""

    cause: Controller
    pause: float
    hopeless: bool = False
