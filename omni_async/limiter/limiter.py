"""The limiter's door: wait for leave to send, and tell how it ended. What is decided stands in `admission`.

Several clients may share one limiter, given that they run on one event loop.
"""

import asyncio
import math
import random
import weakref
from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from ..arguments import check_kinds
from ..bounded import Bounded
from ..errors import OmniError, RateLimitError
from ..policies import Limits
from .admission import Admission, Decision, Kind, Ticket
from .controllers import Controller

GRAIN = 0.005
"""Seconds between two wakings by the clock at least: what the pace lets go in between goes in one turn of the loop.

Half of what a pace catches up (`pace.SLACK`), so that it stays exact in the mean and nobody goes sooner.
"""

MOST_LEFT = 10_000
"""Tasks remembered whose client has closed: as many as may be outstanding."""

UNSENT = "nothing was sent: "
"""How the error begins of whoever was given no leave in time; one that was refused before did send."""


class Load(NamedTuple):
    """Where a limiter stands. Rates per second, `paused_for` in seconds; None is not known."""

    in_flight: int
    window: int
    running: int
    slots: int | None
    pace: float | None
    create_pace: float | None
    waiting_creates: int
    waiting_polls: int
    paused_for: float


class Limiter:
    """Limits of one account, shared by whoever is given it.

    Args:
        limits: What is known of them; the rest is found out.
        rng: Source of jitter.

    Raises:
        InvalidRequestError: One of them is of another kind.
    """

    def __init__(self, limits: Limits | None = None, *, rng: random.Random | None = None) -> None:
        check_kinds(limits=(limits, Limits), rng=(rng, random.Random))
        self.limits = limits or Limits()
        self._state = Admission(self.limits, rng or random.Random())
        self._timer: asyncio.Handle | None = None
        self._rests_until = -math.inf
        self._timer_at = math.inf  # not `when()`: what uvloop gives for a moment that is near has none
        self._loop: asyncio.AbstractEventLoop | None = None
        self._bound_at = -math.inf  # what was sent before is of a loop that is gone
        self._now: Callable[[], float] = lambda: 0.0
        self._on_starved: dict[weakref.WeakMethod[Callable[[], None]], None] = {}
        self._starving = False
        self._left: Bounded[str, tuple[Hashable, Any]] = Bounded(MOST_LEFT)

    def gives_up(self, *, create: float) -> None:
        """Creates are given up after so many seconds; of several clients' the least counts."""
        self._state.trials.line.gives_up(create)

    def try_acquire(self, kind: Kind) -> Ticket | None:
        """Leave to send one request, if nobody of that kind waits and it may go now.

        Args:
            kind: What it is.
        """
        if asyncio.get_running_loop() is not self._loop:
            self._bind()
        return self._state.try_take(kind, self._now())

    async def acquire(self, kind: Kind, *, max_wait: float | None = None) -> Ticket:
        """Wait for leave to send one request.

        Args:
            kind: What it is.
            max_wait: Seconds to wait at most; None for as long as it takes.

        Raises:
            RateLimitError: `max_wait` is over, or surely will be; nothing was sent. With an estimated `retry_after`.
        """
        ticket = self.try_acquire(kind)
        if ticket is not None:
            return ticket
        ticket = Ticket(kind)
        self._state.queues[kind][ticket] = None
        self._pump()
        if ticket.granted:
            return ticket
        ticket.waiter = asyncio.get_running_loop().create_future()
        try:
            if max_wait is not None and self._state.not_before(kind) - self._now() > max_wait:
                raise self._too_long(kind)
            if max_wait is None:
                await ticket.waiter
            else:
                async with asyncio.timeout(max_wait):
                    await ticket.waiter
        except TimeoutError:
            if not ticket.granted:
                error = self._too_long(kind)
                self._give_back(ticket)
                raise error from None
        except BaseException:
            self._give_back(ticket)
            raise
        return ticket

    def _bind(self) -> None:
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        if self._loop is not None and not self._loop.is_closed():
            raise OmniError("this limiter belongs to another event loop; make one per loop", may_have_charged=False)
        if self._loop is not None:
            self._state.abandoned()
            self._bound_at = loop.time()
        self._loop, self._now, self._timer = loop, loop.time, None  # the timer was of a loop that is gone

    def _give_back(self, ticket: Ticket) -> None:
        """Its owner is gone: out of the queue, or unused if leave had just been given."""
        if ticket.granted:
            self.unused(ticket)
            return
        self._state.queues[ticket.kind].pop(ticket, None)  # of a loop that is gone it is not there
        self._starving = self._state.starving()

    def _too_long(self, kind: Kind) -> RateLimitError:
        estimate = self.estimate(kind)
        why = "all task slots are taken" if self._state.slots.full() else "the gateway's limits ask for a pause"
        why = "the gateway gives no usable answers" if self._state.out else why
        return RateLimitError(  # no figure: what is left of the caller's max_wait is none that he knows
            f"{UNSENT}{why}, and max_wait is too short for that; try again in about {max(estimate, 1):.0f} s",
            retry_after=estimate,
            may_have_charged=False,
        )

    def estimate(self, kind: Kind = Kind.CREATE) -> float:
        """Seconds until the next of a kind can go, as far as can be told."""
        now, state = self._now(), self._state
        if kind is Kind.CREATE and state.slots.full():
            return max(min(state.ready_at(kind, now) - now, state.slots.run_time), 1.0)
        return max(state.ready_at(kind, now) - now, 0.0)

    # --- endings ---------------------------------------------------------------------------------------------

    def passed(self, ticket: Ticket) -> None:
        """The gateway did what was asked, or refused for a reason of the request's own."""
        state = self._state
        state.passed(ticket, self._now())
        if state.polls or state.queries or state.creates or state.transfers:
            self._ended()

    def accepted(self, ticket: Ticket, task_id: str) -> None:
        """A create was accepted: its slot goes to the task."""
        self._state.accepted(ticket, task_id, self._now())
        self._ended()

    def declined(self, ticket: Ticket) -> None:
        """A create was refused for a reason of its own: no task runs."""
        self._state.slots.free(ticket.key, self._now())
        self.passed(ticket)

    def refused(self, ticket: Ticket, *, wait: float | None = None, named: Controller | None = None) -> Decision:
        """The gateway refused for now; `wait` is what it asked for, in seconds, `named` the limit it named."""
        decision = self._state.refused(ticket, self._now(), wait=wait, named=named)
        self._pump()
        return decision

    def failed(
        self,
        ticket: Ticket,
        *,
        timeout: bool = False,
        sent: bool = True,
        busy: bool = False,
        wait: float | None = None,
    ) -> None:
        """No usable answer came.

        A create that was `sent` may run: it keeps its slot for the usual run time. A look that was not says nothing of
        the gateway but that it cannot be reached.

        With `busy` the gateway said that it is too busy, and asked to wait for so many seconds, if it did.
        """
        if ticket.sent_at < self._bound_at:
            return
        now = self._now()
        if sent:
            self._state.slots.shorten(ticket.key, now)
        else:
            self._state.slots.free(ticket.key, now)
        self._state.failed(ticket, now, timeout=timeout, sent=sent, busy=busy, wait=wait)
        self._pump()

    def adopt(self, ticket: Ticket, task_id: str) -> None:
        """A create whose answer was lost, or read as a refusal, did make a task after all: it holds a slot."""
        slots = self._state.slots
        slots.rename(ticket.key, task_id)
        if not slots.holds(task_id):
            slots.occupy(task_id, self._now())

    def occupy(self, task_id: str) -> None:
        """A task that was submitted before runs: it holds a slot like any other."""
        self._bind()
        self._state.slots.occupy(task_id, self._now())

    def unused(self, ticket: Ticket) -> None:
        """Nothing was sent after all."""
        if ticket.sent_at >= self._bound_at:
            self._state.unused(ticket, self._now())
            self._pump()

    def finished(self, task_id: str, *, seen: bool = True) -> None:
        """A task was seen finished, or (`seen=False`) had ended before or is not known: a slot it held is free."""
        self._left.pop(task_id, None)
        if self._state.finished(task_id, self._now(), seen=seen):
            self._pump()

    def leave(self, place: Hashable, tasks: Mapping[str, Any]) -> None:
        """A client closes whose tasks run on: their slots must not be lost to the others.

        Args:
            place: Where they run.
            tasks: By id, what is to be known of each by whoever looks at it.
        """
        for task_id, task in tasks.items():
            self._left[task_id] = (place, task)
        if self.starving:
            self._tell_starved()

    def take_over(self, place: Hashable) -> list[Any]:
        """What closed clients have left running at a place; nobody else gets it."""
        mine = [task_id for task_id, (where, _) in self._left.items() if where == place]
        left = {task_id: self._left.pop(task_id)[1] for task_id in mine}
        return [task for task_id, task in left.items() if self.holds(task_id)]

    # --- looking in --------------------------------------------------------------------------------------------

    def load(self) -> Load:
        """Where it stands now."""
        now, state = self._now(), self._state
        caps = [cap for cap in (state.slots.cap, state.slots.ceiling) if cap is not None]
        paces = [p.rate if p.known or p.ceiling else None for p in (state.pace, state.trials.pace)]
        return Load(
            in_flight=state.in_flight,
            window=state.window.size,
            running=state.slots.running,
            slots=min(caps, default=None),
            pace=paces[0],
            create_pace=paces[1],
            waiting_creates=len(state.creates),
            waiting_polls=len(state.polls) + len(state.queries),
            paused_for=max(state.pause_until - now, state.trials.pause_until - now, 0.0),
        )

    def holds(self, task_id: str) -> bool:
        """Whether the task is one that holds a slot here."""
        return self._state.slots.holds(task_id)

    @property
    def out(self) -> bool:
        """Whether the gateway gives no usable answers at all."""
        return self._state.out

    @property
    def busy(self) -> bool:
        """Whether a create would have to wait for leave."""
        state = self._state
        return bool(state.creates) or state.in_flight >= state.window.size or self.estimate() > 0

    @property
    def starving(self) -> bool:
        """Whether a create waits for a task to finish."""
        return bool(self._state.creates) and self._state.starving()  # asked at each look

    @property
    def run_time(self) -> float:
        """Seconds that a task takes, as seen, or a guess."""
        return self._state.slots.run_time

    def on_starved(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener`, a method, whenever a create waits for a task to finish; gives back how to stop that.

        It is held weakly: clients that share this limiter come and go, and one that was never used is not ended either.
        """
        heard = weakref.WeakMethod(listener, lambda gone: self._on_starved.pop(gone, None))
        self._on_starved[heard] = None
        return lambda: self._on_starved.pop(heard, None)

    def _pump(self) -> None:
        """Let go whom `admit` names, and wake up again when time alone lets others go."""
        state, now = self._state, self._now()
        if not state.idle:
            for ticket in state.admit(now):
                if ticket.waiter is not None and not ticket.waiter.done():
                    ticket.waiter.set_result(None)
            self._rests_until = now + GRAIN
            self._wake_at(state.next_time(now))
        starving, before = state.starving(), self._starving
        self._starving = starving
        if starving and not before:
            self._tell_starved()

    def _tell_starved(self) -> None:
        for heard in tuple(self._on_starved):
            if (listener := heard()) is not None:
                listener()

    def _wake_at(self, when: float | None) -> None:
        """Pump again then, or before: a timer that is due earlier is left alone, since it will look again."""
        if when is None or self._loop is None:
            return
        when = max(when, self._rests_until)
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer_at, self._timer = when, self._loop.call_at(when, self._woken)

    def _woken(self) -> None:
        self._timer = None
        self._pump()

    def _ended(self) -> None:
        """A request got through: who waited for its place goes now, who waits for the pace as soon as that wakes."""
        state = self._state
        wakes_soon = self._timer is not None and self._timer_at <= self._now() + GRAIN
        if not wakes_soon or state.in_flight >= state.window.size - 1:
            self._pump()

    def __repr__(self) -> str:
        state = self._state
        return f"<Limiter {state.window!r} {state.pace!r} {state.slots!r}>"
