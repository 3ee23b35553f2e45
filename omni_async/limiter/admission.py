"""Whom to let go, and what each ending teaches: plain synchronous state over Window, Pace and Slots.

A refusal adjusts exactly one controller (`controllers.attribute`). Polls and queries get four of five free places,
creates one, when both wait: running work drains, and neither starves. A query goes with each poll: its caller does not
stand behind thousands of ids that are followed.
"""

import math
import random
from collections import OrderedDict

from ..policies import Limits
from ..retry import backoff
from .chance import MOST_BUSY, Best, Chance
from .controllers import Controller, Evidence, attribute
from .pace import Pace
from .pauses import BLINK, LONGEST_PAUSE, TOLD_IN_VAIN, Stragglers, blink, outage_pause
from .tickets import CREATE, POLL, QUERY, TRANSFER, Decision, Kind, Ticket
from .trials import Trial, Trials
from .window import Window

__all__ = ["POLL", "Admission", "Decision", "Kind", "Ticket"]

OUTAGE = 5
"""Failures in a row, of whatever request, from which everything pauses."""
DOUBT = 10.0
"""Seconds in which cuts of the pace that were no help are taken back if it turns out to be the window."""
POLLS_PER_CREATE = 4
STUCK = 5.0
"""Seconds in which nothing ends, with all places taken, until one goes beyond them: looks that hang keep no create, and
creates that hang no look."""
START = 40.0
"""Untested requests per second: accounts allow few, and each in flight beyond that is a refusal."""


class Admission:
    """The state of one account's limits. Times are passed in; `admit` names whom to let go.

    Args:
        limits: What is known of them.
        rng: Source of jitter.
    """

    def __init__(self, limits: Limits, rng: random.Random) -> None:
        self.window = Window(limits.max_connections)
        self.pace = Pace(limits.requests_per_second, start=START)
        self.chance, self._busy, self._best = Chance(), Chance(MOST_BUSY), Best()
        self._creates_through = 0  # of those that the pace has counted
        self.trials = Trials(limits, rng, self.chance)
        self.slots = self.trials.slots
        self.in_flight = 0
        # Ordered dicts: any ticket is taken out of the midst as fast as the first one.
        self.polls, self.queries = OrderedDict[Ticket, None](), OrderedDict[Ticket, None]()
        self.creates, self.transfers = OrderedDict[Ticket, None](), OrderedDict[Ticket, None]()
        self.queues = {POLL: self.polls, QUERY: self.queries, CREATE: self.creates, TRANSFER: self.transfers}
        self._query_went = False
        self.pause_until = -math.inf
        self._transfers = 0
        self._most_transfers = max(limits.max_connections // 4, 1)
        self._turn = 0
        self._pause_step, self._in_vain_since = 0, -math.inf
        self._one_at_a_time = False
        self._stragglers = Stragglers()
        self._cut_at = self._ended_at = -math.inf
        self._in_doubt_until = -math.inf
        self._failures, self._out_since = 0, -math.inf
        self._failed_of: str | None = None
        self._rng = rng

    def try_take(self, kind: Kind, now: float) -> Ticket | None:
        """Leave for one, if nobody of its kind waits and it may go now."""
        if kind is POLL:
            if self.polls or self.queries or not self._poll_may_go(now):
                return None
            if self.creates and self._turn >= POLLS_PER_CREATE and self._create_may_go(now):
                return None
            self.in_flight = in_flight = self.in_flight + 1
            self.pace.take(now)
            return Ticket(POLL, now, in_flight)
        if self.queues[kind] or (kind is CREATE and (self.polls or self.queries)):
            return None
        ticket = Ticket(kind)
        return self._let_go(ticket, now) if self._may_go(kind, now) else None

    def admit(self, now: float) -> list[Ticket]:
        """Everybody who may go now, taken off the queues."""
        granted: list[Ticket] = []
        while (ticket := self._next(now)) is not None:
            granted.append(ticket)
        return granted

    def abandoned(self) -> None:
        """The loop that all this was for has ended: nothing in flight is given back, and nobody waits any more."""
        for queue in self.queues.values():
            queue.clear()
        self.in_flight, self._transfers, self._stragglers = 0, 0, Stragglers()
        self.trials.abandoned()

    @property
    def idle(self) -> bool:
        """Whether nobody waits."""
        return not (self.polls or self.queries or self.creates or self.transfers)

    @property
    def out(self) -> bool:
        """Whether the gateway gives no usable answers at all."""
        return self._failures >= OUTAGE

    def _next(self, now: float) -> Ticket | None:
        polls = bool(self.polls or self.queries) and self._poll_may_go(now)
        creates = bool(self.creates) and self._create_may_go(now)
        if polls and (not creates or self._turn < POLLS_PER_CREATE):
            self._turn += creates
            return self._let_go(self._poll_or_query(), now)
        if creates:
            self._turn = 0
            return self._let_go(_first(self.creates), now)
        if self.transfers and self._transfers < self._most_transfers:
            return self._let_go(_first(self.transfers), now)
        return None

    def _poll_or_query(self) -> Ticket:
        self._query_went = bool(self.queries) and not (self._query_went and self.polls)
        return _first(self.queries if self._query_went else self.polls)

    def _may_go(self, kind: Kind, now: float) -> bool:
        if kind is TRANSFER:
            return self._transfers < self._most_transfers
        return self._create_may_go(now) if kind is CREATE else self._poll_may_go(now)

    def _has_place(self, now: float) -> bool:
        return (
            self.in_flight < self.window.size
            and now >= self.pace.next_at
            and now >= self.pause_until
            and (not self._one_at_a_time or now >= self._stragglers.room_at(self.pause_until, self.in_flight))
        )

    def _poll_may_go(self, now: float) -> bool:
        return self._has_place(now) or (now >= self._stuck_at() and self._creates_hang)

    @property
    def _creates_hang(self) -> bool:
        """Whether creates hold most places: one that hangs does so for minutes, and looks only for seconds."""
        return 2 * len(self.trials.line) > self.in_flight

    def _stuck_at(self) -> float:
        """When one more may go than there are places, as nothing has come or gone for so long."""
        if not self.in_flight == self.window.size < self.window.ceiling:
            return math.inf
        room_at = self._stragglers.room_at(self.pause_until, self.in_flight) if self._one_at_a_time else -math.inf
        return max(self._ended_at, self.pace.next_at, self.pause_until, room_at) + STUCK

    def _create_may_go(self, now: float) -> bool:
        if not self._has_place(now) and now < self._stuck_at():
            return False
        return not self.trials.held_up(now) and self.ready_at(CREATE, now) <= now

    def ready_at(self, kind: Kind, now: float) -> float:
        """When time alone lets the first of a kind go."""
        ready = self.not_before(kind)
        return max(ready, self.slots.ready_at(now)) if kind is CREATE else ready

    def not_before(self, kind: Kind) -> float:
        """The same, whatever finishes meanwhile."""
        ready = max(self.pause_until, self.pace.next_at)
        return max(ready, self.trials.not_before()) if kind is CREATE else ready

    def _let_go(self, ticket: Ticket, now: float) -> Ticket:
        ticket.sent_at, ticket.in_flight = now, 1
        if ticket.kind is TRANSFER:
            self._transfers += 1
            return ticket
        self.in_flight += 1
        ticket.in_flight = self.in_flight
        self.pace.take(now)
        if ticket.kind is CREATE:
            self.trials.go(ticket, now)
        return ticket

    def next_time(self, now: float) -> float | None:
        """When `admit` is worth asking again; None if only an ending can change anything."""
        if self.in_flight >= self.window.size:
            look = bool(self.polls or self.queries) and self._creates_hang
            most = self.ready_at(CREATE, now) if self.creates else math.inf
            stuck_at = max(self._stuck_at(), -math.inf if look else most)
            return stuck_at if now < stuck_at < math.inf else None
        room_at = self._stragglers.room_at(self.pause_until, self.in_flight) if self._one_at_a_time else now
        polls = self.ready_at(POLL, now) if self.polls or self.queries else math.inf
        creates = self.ready_at(CREATE, now) if self.creates else math.inf
        if creates <= now:  # an experiment is under way, or enough are in flight
            creates = math.inf
        time = max(min(polls, creates), room_at)
        return time if now < time < math.inf else None

    def starving(self) -> bool:
        """Whether a create waits for a task to finish, or to learn whether it has to."""
        return bool(self.creates) and self.trials.wait_for_finish

    # --- endings ---------------------------------------------------------------------------------------------

    def _end(self, ticket: Ticket, now: float) -> Trial | None:
        """Take the ticket back; gives the experiment it was sent for, if that is still open."""
        if ticket.kind is TRANSFER:
            self._transfers -= 1
            return None
        self.in_flight -= 1
        self._ended_at = now
        self._stragglers.ended(ticket.sent_at)
        return self.trials.end(ticket)

    def passed(self, ticket: Ticket, now: float) -> None:
        """The gateway did what was asked, or refused for a reason of the request's own."""
        if ticket.kind is not POLL:
            self._end(ticket, now)
            if ticket.kind is TRANSFER:
                return
        else:
            self.in_flight -= 1
            self._ended_at = now
            self._stragglers.ended(ticket.sent_at)
        window, in_flight = self.window, ticket.in_flight
        if in_flight > window.safe:
            window.safe = in_flight
        if in_flight >= window.grows_from:
            window.grow(now)
        self._failures = 0
        if ticket.sent_at >= self._cut_at:  # what was sent before the last refusal proves nothing about what is now
            self.pace.got_through += 1
            self._pause_step = 0
            if self._one_at_a_time:
                self._one_at_a_time = False
                self.pace.resumed(now)

    def accepted(self, ticket: Ticket, task_id: str, now: float) -> None:
        """A create was accepted: its slot goes to the task, and what was on trial is decided."""
        self.slots.rename(ticket.key, task_id)
        trial = self.trials.of(ticket)
        self.trials.line.answered(ticket, now)
        through = self.pace.got_through
        self.passed(ticket, now)
        self._creates_through += self.pace.got_through - through
        self.trials.accepted(ticket, trial, now)

    def refused(
        self, ticket: Ticket, now: float, *, wait: float | None = None, named: Controller | None = None
    ) -> Decision:
        """The gateway refused for now.

        Args:
            ticket: Of the refused request.
            now: Loop time.
            wait: Seconds it asked to wait, if it did.
            named: The limit its words name, if they do.
        """
        trial, self._failures = self._end(ticket, now), 0
        self.pace.trail.lost(ticket.sent_at)
        wait = None if wait is not None and wait < BLINK else wait  # "at once" is no answer to when: own pauses grow
        if ticket.kind is CREATE:
            self.slots.free(ticket.key, now)
            too_many = self.window.tested and ticket.in_flight > self.window.safe
            if named is not None or not too_many or not self.trials.is_news(ticket):
                return self.trials.refused(ticket, trial, now, wait=wait, named=named)
        return self._heed(ticket, now, wait, named, False)

    def _heed(self, ticket: Ticket, now: float, wait: float | None, named: Controller | None, busy: bool) -> Decision:
        if self.trials.trial is not None:
            self.trials.trial.polls_refused = True
        if ticket.sent_at < self._cut_at:  # of the same flight as the last: that was dealt with
            if wait is not None:
                self.pause_until = max(self.pause_until, now + wait)
                self.pace.prolong(now + wait)
            return Decision(Controller.TRIAL, max(self.pause_until - now, 0.0))
        first, safe = wait is None and not (self.pace.known or self.window.tested), self.window.safe
        seen = Evidence(create=False, named=named, in_flight=ticket.in_flight, safe_in_flight=safe, first=first)
        cause = attribute(seen)
        if cause is Controller.PACE and not self._one_at_a_time and self._by_chance(ticket, now, busy):
            return self._passed_over(now, wait or 0.0)
        step, self._pause_step = self._pause_step, self._pause_step + 1
        self._in_vain_since = self._in_vain_since if step else now
        # Told when to go on, or close to what is known, it goes on as before; if that is refused too, one at a time.
        trust = step == 0 and (wait is not None or (cause is Controller.PACE and self.pace.settled))
        gap = 1.0 / self.pace.rate if self.pace.rare else BLINK
        own = blink(cause, step, now - self._in_vain_since, self._rng, trust=trust, gap=gap)
        pause = own if wait is None else wait if step < TOLD_IN_VAIN else max(wait, own)
        if cause is Controller.PACE:
            self._cut_pace(ticket, now, now + pause)
        else:
            if now < self._in_doubt_until:
                self.pace.undo()
            rate = self.pace.per_second(now)
            self.window.refused(ticket.in_flight, now, pause=pause, per_second=rate)
            if pause:
                self.pace.rest(now + pause)
        self._cut_at = now
        self._pause(pause, now, trust=trust)
        return Decision(cause, pause)

    def _by_chance(self, ticket: Ticket, now: float, busy: bool) -> bool:
        through = self.pace.got_through
        looks = through - self._creates_through  # where creates are counted apart, they tell nothing of looks
        few = self._best.few(now, looks, self.pace.going(now, ticket.sent_at), pace=self.pace.rate)
        return (self._busy if busy else self.chance).explains(now, through, few=few)

    def _passed_over(self, now: float, wait: float) -> Decision:
        """It is nobody's fault: nothing but the pause that it asks for."""
        if wait:
            self._cut_at = now
            self.pace.rest(now + wait)
            self._pause(wait, now, trust=True)
        return Decision(Controller.TRIAL, wait)

    def _cut_pace(self, ticket: Ticket, now: float, resumes: float) -> None:
        if self._one_at_a_time:
            self.pace.prolong(resumes)
            return
        self.window.doubt(ticket.in_flight)
        no_help = self.pace.cut(now, resumes, sent=ticket.sent_at, in_flight=self.in_flight)
        if no_help:  # how many may be in flight has to be learned anew
            self.window.safe = 1
            self._in_doubt_until = resumes + DOUBT

    def _pause(self, seconds: float, now: float, *, trust: bool = False) -> None:
        """Nothing goes for a while, and then, unless the pause is trusted, one at a time until one gets through."""
        if seconds > 0:
            self.pause_until = max(self.pause_until, now + seconds)
            self._one_at_a_time = not trust
            self._stragglers.paused(now, self.in_flight)

    def failed(
        self,
        ticket: Ticket,
        now: float,
        *,
        timeout: bool = False,
        sent: bool = True,
        busy: bool = False,
        wait: float | None = None,
    ) -> None:
        """No usable answer came; many of these in a row pause everything, and one request at a time tries again.

        With `busy` the gateway said that it has too much to do, and asked to `wait` so many seconds, if it did. A look
        with more in flight than lately got through may say the same by failing, given that it was `sent`.
        """
        if timeout and ticket.kind is CREATE:
            self.trials.line.answered(ticket, now)
        self._end(ticket, now)
        if ticket.kind is TRANSFER:
            return
        if timeout:
            self.window.timed_out(now)
        create = ticket.kind is CREATE
        pace = self.trials.pace if create else self.pace
        # Some enforce a number at once by closing connections; one of the usual number that fails tells nothing of it.
        beyond = sent and not (create or timeout or ticket.in_flight <= self.window.safe)
        told = wait is not None or (beyond and self.window.trying)
        if (busy or beyond) and not self.out and (pace.strained() or told) and not self._slowed(ticket, now, wait):
            return
        if ticket.sent_at < self._out_since:  # of the same flight as those that told of the outage
            return
        if ticket.about is not None:  # one id that always fails is no outage (FAULTS row 45)
            if ticket.about == self._failed_of:
                return
            self._failed_of = ticket.about
        self._failures += 1
        if self.out:
            self._wait_out(now)

    def _wait_out(self, now: float) -> None:
        """The gateway gives no usable answers: one request tries, ever more rarely."""
        in_vain = self._failures - OUTAGE
        if not in_vain:  # what was slowed for it was slowed in vain
            for slowed in (self.pace, self.trials.pace):
                slowed.undo()
                slowed.rest(now)
        self._out_since = now
        self._pause(outage_pause(in_vain, self.pace.got_through, self._rng), now)

    def _slowed(self, ticket: Ticket, now: float, wait: float | None) -> bool:
        """Go slower for a gateway that is too busy; False if that was done for another of the same flight."""
        if ticket.kind is CREATE:
            return self.trials.slowed(ticket, now, wait or backoff(self._failures, self._rng, cap=LONGEST_PAUSE))
        new = ticket.sent_at >= self._cut_at
        self.pace.trail.lost(ticket.sent_at)
        self._heed(ticket, now, wait, None, True)
        return new

    def unused(self, ticket: Ticket, now: float) -> None:
        """Nothing was sent after all."""
        self._end(ticket, now)
        self.slots.free(ticket.key, now)

    def finished(self, task_id: str, now: float, *, seen: bool = True) -> bool:
        """A task was seen finished (or, with `seen=False`, is not known to the gateway): True if that frees a slot."""
        return self.trials.finished(task_id, now, seen=seen)


def _first(queue: OrderedDict[Ticket, None]) -> Ticket:
    """Taken off a queue."""
    return queue.popitem(last=False)[0]
