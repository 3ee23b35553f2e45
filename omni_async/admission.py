"""Whom to let go, and what each ending teaches: plain synchronous state over Window, Pace and Slots.

A refusal adjusts exactly one controller (`controllers.attribute`). Polls get four of five free places, creates one,
when both wait: running work drains, and neither starves.
"""

import itertools
import math
import random
from collections import deque

from .controllers import LADDER, Controller, Evidence, attribute
from .pace import Pace
from .policies import Limits
from .retry import backoff
from .slots import Slots
from .tickets import CREATE, LONGEST_PAUSE, POLL, TRANSFER, Decision, Kind, Ticket, Trial
from .window import Window

__all__ = ["POLL", "Admission", "Decision", "Kind", "Ticket"]

WINK, BLINK = 0.03, 0.1
"""First pause after a refused poll, in seconds: the short one where the refusal tells nothing new. It doubles while the
pause's only request is refused too."""
LONGEST_OUTAGE, RAREST, LASTING = 20.0, 60.0, 9
"""The same after failures: full speed is back within half a minute of an outage's end. And after so many in vain, where
so few requests were sent before that an outage of LONG seconds would cost more than PART of them."""
LONG, PART = 600.0, 0.1
DEAR_CREATES = 0.2
"""Seconds of pause from which a refused create is dear: any of those above."""
OUTAGE = 5
"""Failures in a row, of whatever request, from which everything pauses."""
DOUBT = 10.0
"""Seconds in which cuts of the pace that were no help are taken back if it turns out to be the window."""
POLLS_PER_CREATE = 4
START, CREATES_START = 40.0, 10.0
"""Untested requests and creates per second: accounts allow few, and each in flight beyond that is a refusal."""


class Admission:
    """The state of one account's limits. Times are passed in; `admit` names whom to let go.

    Args:
        limits: What is known of them.
        rng: Source of jitter.
    """

    def __init__(self, limits: Limits, rng: random.Random) -> None:
        self.window = Window(limits.max_connections)
        self.pace = Pace(limits.requests_per_second, start=START)
        self.create_pace = Pace(limits.requests_per_second, start=CREATES_START, dear=DEAR_CREATES)
        self.slots = Slots(limits.max_running_tasks)
        self.trial: Trial | None = None
        self.in_flight = 0
        self.polls, self.creates, self.transfers = deque[Ticket](), deque[Ticket](), deque[Ticket]()
        self.queues = {POLL: self.polls, CREATE: self.creates, TRANSFER: self.transfers}
        self.pause_until = self.creates_pause_until = -math.inf
        self._transfers = 0
        self._most_transfers = max(limits.max_connections // 4, 1)
        self._turn = 0
        self._pause_step = 0
        self._one_at_a_time = False
        self._cut_at = self._create_cut_at = -math.inf
        self._in_doubt_until = -math.inf
        self._failures, self._out_since = 0, -math.inf
        self._failed_of: str | None = None
        self._refused_with = -1
        self._alike = 0  # experiments in a row with about as many running
        self._rng = rng
        self._keys = itertools.count()

    def try_take(self, kind: Kind, now: float) -> Ticket | None:
        """Leave for one, if nobody of its kind waits and it may go now."""
        if kind is POLL:
            if self.polls or not self._poll_may_go(now):
                return None
            if self.creates and self._turn >= POLLS_PER_CREATE and self._create_may_go(now):
                return None
            self.in_flight = in_flight = self.in_flight + 1
            self.pace.take(now)
            return Ticket(POLL, now, in_flight)
        if self.queues[kind] or (kind is CREATE and self.polls):
            return None
        ticket = Ticket(kind)
        return self._let_go(ticket, now) if self._may_go(kind, now) else None

    def admit(self, now: float) -> list[Ticket]:
        """Everybody who may go now, taken off the queues."""
        granted: list[Ticket] = []
        while (ticket := self._next(now)) is not None:
            granted.append(ticket)
        return granted

    def forsaken(self) -> None:
        """The loop that all this was for has ended: nothing in flight is given back, and nobody waits any more."""
        for queue in self.queues.values():
            queue.clear()
        self.in_flight, self._transfers, self.trial = 0, 0, None

    @property
    def idle(self) -> bool:
        """Whether nobody waits."""
        return not (self.polls or self.creates or self.transfers)

    @property
    def out(self) -> bool:
        """Whether the gateway gives no usable answers at all."""
        return self._failures >= OUTAGE

    def _next(self, now: float) -> Ticket | None:
        polls = bool(self.polls) and self._poll_may_go(now)
        creates = bool(self.creates) and self._create_may_go(now)
        if polls and (not creates or self._turn < POLLS_PER_CREATE):
            self._turn += creates
            return self._let_go(self.polls.popleft(), now)
        if creates:
            self._turn = 0
            return self._let_go(self.creates.popleft(), now)
        if self.transfers and self._transfers < self._most_transfers:
            return self._let_go(self.transfers.popleft(), now)
        return None

    def _may_go(self, kind: Kind, now: float) -> bool:
        if kind is TRANSFER:
            return self._transfers < self._most_transfers
        return self._create_may_go(now) if kind is CREATE else self._poll_may_go(now)

    def _poll_may_go(self, now: float) -> bool:
        return (
            self.in_flight < (1 if self._one_at_a_time else self.window.size)
            and now >= self.pace.next_at
            and now >= self.pause_until
        )

    def _create_may_go(self, now: float) -> bool:
        if not self._poll_may_go(now) or (self.trial is not None and self.trial.ticket is not None):
            return False
        return self.ready_at(CREATE, now) <= now

    def ready_at(self, kind: Kind, now: float) -> float:
        """When time alone lets the first of a kind go."""
        ready = self.not_before(kind)
        return max(ready, self.slots.ready_at(now)) if kind is CREATE else ready

    def not_before(self, kind: Kind) -> float:
        """The same, whatever finishes meanwhile."""
        ready = max(self.pause_until, self.pace.next_at)
        return max(ready, self.creates_pause_until, self.create_pace.next_at) if kind is CREATE else ready

    def _let_go(self, ticket: Ticket, now: float) -> Ticket:
        ticket.sent_at, ticket.in_flight = now, 1
        if ticket.kind is TRANSFER:
            self._transfers += 1
            return ticket
        self.in_flight += 1
        ticket.in_flight = self.in_flight
        self.pace.take(now)
        if ticket.kind is CREATE:
            self.create_pace.take(now)
            ticket.key = f"create-{next(self._keys)}"
            self.slots.hold(ticket.key, now)
            if self.trial is not None:
                self.trial.ticket = ticket
        return ticket

    def next_time(self, now: float) -> float | None:
        """When `admit` is worth asking again; None if only an ending can change anything."""
        if self.in_flight >= (1 if self._one_at_a_time else self.window.size):
            return None
        polls = self.ready_at(POLL, now) if self.polls else math.inf
        creates = self.ready_at(CREATE, now) if self.creates else math.inf
        if creates <= now:  # an experiment is under way
            creates = math.inf
        time = min(polls, creates)
        return time if now < time < math.inf else None

    def starving(self) -> bool:
        """Whether a create waits for a task to finish, or to learn whether it has to."""
        return bool(self.creates) and (self.slots.full() or self.trial is not None)

    # --- endings ---------------------------------------------------------------------------------------------

    def _end(self, ticket: Ticket) -> Trial | None:
        """Take the ticket back; gives the experiment it was sent for, if that is still open."""
        if ticket.kind is TRANSFER:
            self._transfers -= 1
            return None
        self.in_flight -= 1
        trial = self.trial
        if trial is None or trial.ticket is not ticket:
            return None
        trial.ticket = None
        return trial

    def passed(self, ticket: Ticket, now: float) -> None:
        """The gateway did what was asked, or refused for a reason of the request's own."""
        if ticket.kind is not POLL:
            self._end(ticket)
            if ticket.kind is TRANSFER:
                return
        else:
            self.in_flight -= 1
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
        trial = self.trial if self.trial is not None and self.trial.ticket is ticket else None
        self.passed(ticket, now)
        if trial is not None:
            self._decided(trial, ticket, now)
        if self.slots.admitted(ticket.key, now, sent=ticket.sent_at):
            self.create_pace.cut(now, now)
        self.create_pace.got_through += 1

    def _decided(self, trial: Trial, ticket: Ticket, now: float) -> None:
        """The experiment's create got through: since a task has finished, or with the time that passed."""
        self.trial, self._alike, pace, known = None, trial.alike, self.create_pace, self.slots.known
        timed = not trial.finished or (trial.no_number and not known)
        if not timed and (trial.counts(known=known, rare=pace.rare) or not pace.known):
            self.slots.suspect(trial.count, now)
            return
        pace.cut(trial.began, trial.began if pace.rare else now)
        if timed and trial.refusals > 1 and not known:
            pace.reopened(now - trial.began, now - self._create_cut_at, now)
        pace.spaced(ticket.sent_at)

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
        trial = self._end(ticket)
        self._failures = 0
        if wait is not None and wait < BLINK:  # "at once" is no answer to when: own pauses grow
            wait = None
        if ticket.kind is CREATE:
            self.slots.free(ticket.key, now)
            return self._create_refused(ticket, trial, now, wait, named)
        return self._poll_refused(ticket, now, wait, named)

    def _poll_refused(self, ticket: Ticket, now: float, wait: float | None, named: Controller | None) -> Decision:
        if self.trial is not None:
            self.trial.polls_refused = True
        if ticket.sent_at < self._cut_at:  # of the same flight as the last: that was dealt with
            if wait is not None:
                self.pause_until = max(self.pause_until, now + wait)
                self.pace.prolong(now + wait)
            return Decision(Controller.TRIAL, max(self.pause_until - now, 0.0))
        evidence = Evidence(create=False, named=named, in_flight=ticket.in_flight, safe_in_flight=self.window.safe)
        cause = attribute(evidence)
        step, self._pause_step = self._pause_step, self._pause_step + 1
        # Told when to go on, or close to what is known, it goes on as before; if that is refused too, one at a time.
        trust = step == 0 and (wait is not None or (cause is Controller.PACE and self.pace.settled))
        pause = wait if wait is not None else self._blink(cause, step, trust=trust)
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

    def _cut_pace(self, ticket: Ticket, now: float, resumes: float) -> None:
        if self._one_at_a_time:
            self.pace.prolong(resumes)
            return
        self.window.doubt(ticket.in_flight)
        no_help = self.pace.cut(now, resumes, sent=ticket.sent_at, ahead=ticket.in_flight - 1)
        if no_help:  # how many may be in flight has to be learned anew
            self.window.safe = 1
            self._in_doubt_until = resumes + DOUBT

    def _pause(self, seconds: float, now: float, *, trust: bool = False) -> None:
        """Nothing goes for a while, and then, unless the pause is trusted, one at a time until one gets through."""
        if seconds > 0:
            self.pause_until = max(self.pause_until, now + seconds)
            self._one_at_a_time = not trust

    def _blink(self, cause: Controller, step: int, *, trust: bool) -> float:
        """The pause after a refused poll: none if one fewer in flight is all it takes, longer while it goes on."""
        if step == 0 and cause is Controller.WINDOW:
            return 0.0
        return WINK if trust else backoff(step, self._rng, first=BLINK, cap=LONGEST_PAUSE)

    def _create_refused(
        self, ticket: Ticket, trial: Trial | None, now: float, wait: float | None, named: Controller | None
    ) -> Decision:
        if trial is None and (self.trial is not None or ticket.sent_at < self._create_cut_at):  # of the same flight
            self._counted_too_many()
            return Decision(Controller.TRIAL, max(self.creates_pause_until - now, 0.0))
        running = self.slots.running
        trial = trial or Trial(running, now, self._refused_with, self._alike)
        trial.refusals += 1
        cause = attribute(trial.evidence(self.slots, now, named))
        finish = wait is None and cause is Controller.SLOTS  # to wait for, not a time
        pause = 0.0 if finish else trial.pause(self.create_pace, self._rng, wait=wait, number=self.slots.known)
        self.creates_pause_until = max(self.creates_pause_until, now + pause)
        self._create_cut_at = now
        self.trial = trial if cause is Controller.TRIAL else None
        self._refused_with = trial.count = min(trial.count, running)
        trial.in_vain, trial.finished = trial.in_vain + trial.finished, 0
        if cause is Controller.SLOTS:
            self.slots.refused(now, pause=pause)
        elif cause is Controller.PACE:
            self.create_pace.cut(now, now + pause)
        hopeless = cause is Controller.TRIAL and not running and trial.refusals >= LADDER
        return Decision(cause, pause, hopeless)

    def _counted_too_many(self) -> None:
        """The flight's first refusal took this create for a running task: it was none."""
        self._refused_with -= 1
        if self.trial is not None:
            self.trial.count = self._refused_with
        elif self.slots.met_at == self._create_cut_at:
            self.slots.miscounted()

    def failed(
        self, ticket: Ticket, now: float, *, timeout: bool = False, busy: bool = False, wait: float | None = None
    ) -> None:
        """No usable answer came; many of these in a row pause everything, and one request at a time tries again.

        With `busy` the gateway said that it has too much to do, and asked to `wait` so many seconds, if it did.
        """
        self._end(ticket)
        if ticket.kind is TRANSFER:
            return
        if timeout:
            self.window.timed_out(now)
        pace = self.create_pace if ticket.kind is CREATE else self.pace
        if busy and not self.out and (pace.strained() or wait is not None) and not self._slowed(ticket, now, wait):
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
            for slowed in (self.pace, self.create_pace):
                slowed.undo()
                slowed.rest(now)
        self._out_since = now
        rare = min(max(LONG / max(PART * self.pace.got_through, 1.0), LONGEST_OUTAGE), RAREST)
        self._pause(backoff(in_vain, self._rng, cap=LONGEST_OUTAGE if in_vain < LASTING else rare), now)

    def _slowed(self, ticket: Ticket, now: float, wait: float | None) -> bool:
        """Go slower for a gateway that is too busy; False if that was done for another of the same flight."""
        if ticket.kind is not CREATE:
            new = ticket.sent_at >= self._cut_at
            self._poll_refused(ticket, now, wait, None)
            return new
        if ticket.sent_at < self._create_cut_at:
            return False
        pause = wait or backoff(self._failures, self._rng, cap=LONGEST_PAUSE)
        self.creates_pause_until = max(self.creates_pause_until, now + pause)
        self._create_cut_at = now
        self.create_pace.cut(now, now + pause, sent=ticket.sent_at, ahead=ticket.in_flight - 1)
        return True

    def unused(self, ticket: Ticket, now: float) -> None:
        """Nothing was sent after all."""
        self._end(ticket)
        self.slots.free(ticket.key, now)

    def finished(self, task_id: str, now: float, *, seen: bool = True) -> bool:
        """A task was seen finished (or, with `seen=False`, is not known to the gateway): True if that frees a slot."""
        freed = self.slots.free(task_id, now, finished=seen)
        if freed and self.trial is not None:
            self.trial.finished += 1
        return freed
