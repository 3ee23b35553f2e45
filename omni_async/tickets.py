"""What waits and goes: tickets, the experiment that a refused create begins, and what a refusal led to. Pure."""

import enum
from typing import Any

import attrs

from .controllers import Controller, Evidence
from .slots import Slots


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


@attrs.define
class Trial:
    """The experiment that a refused create begins: back off, try one create, see."""

    count: int
    """Tasks of ours running at the refusal."""
    began: float
    count_before: int
    """The same at the experiment before."""
    refusals: int = 0
    finished: int = 0
    """Tasks of ours seen finished since its last refusal."""
    in_vain: int = 0
    """Those before that, after which a create was refused all the same."""
    polls_refused: bool = False
    ticket: Ticket | None = None
    """Its create in flight."""

    @property
    def no_number(self) -> bool:
        """Whether creates were refused while clearly fewer tasks ran than before."""
        return self.in_vain > 1 + self.count // 10

    @property
    def same_count(self) -> bool:
        """Whether about as many ran at the experiment before."""
        return abs(self.count - self.count_before) <= 1

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
