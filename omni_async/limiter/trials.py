"""Creates of one account: their pace, how many tasks run, and the experiment that tells which a refusal was for. Pure.

A refused create is ambiguous. It is tried again, one at a time; what lets it in, a task that finished or the time that
passed, is what it was refused for.
"""

import itertools
import math
import random

import attrs

from ..policies import Limits
from ..retry import backoff
from .chance import MOST_CREATES, Chance, Excess
from .controllers import LADDER, Controller, Evidence, attribute
from .line import Line
from .pace import Pace
from .pauses import LONGEST_PAUSE, longest_pause
from .slots import Slots
from .stretches import Stretches
from .tickets import CREATE, Decision, Ticket

START = 10.0
"""Untested creates per second: accounts allow few, and each in flight beyond that is a refusal."""
DEAR = 0.2
"""Seconds of pause from which a refused create is dear: any of those here."""
SEEN_LATE = 0.15
"""Part of an experiment's time, after its end, in which a finish that is seen may have been before."""
MANY, SHORT_TRIAL = 4.0, 0.3
"""Creates per second from which the first pause after a refused one is this short, if a limit of them is all that was
found so far: a second would be too dear. A fixed window, which refuses towards its end, is over by then."""
SPREAD = 0.5
"""Part of a task time in which more are let go than may run, if a pause tells as little of a number as of a pace."""
FEW_RUN, ALIKE = 20, 3
"""Where creates are counted by the minute, up to so many running may by chance be as many as at the refusal before; and
for how many refusals in a row they may not."""


@attrs.define(eq=False, repr=False)
class Trial:
    """The experiment that a refused create begins: back off, try one create, see."""

    count: int
    """Tasks of ours running at the refusal."""
    began: float
    count_before: int
    """The same at the experiment before."""
    alike_before: int = 0
    """Experiments in a row before it with about as many running as at the one before each."""
    refusals: int = 0
    finished: int = 0
    """Tasks of ours seen finished since its last refusal."""
    in_vain: int = 0
    """Those before that, after which a create was refused all the same."""
    polls_refused: bool = False
    ticket: Ticket | None = None
    """Its create in flight."""
    named: bool = False
    """Whether the gateway's words name the rate: then nothing else is to be found out."""

    @property
    def no_number(self) -> bool:
        """Whether creates were refused while clearly fewer tasks ran than before."""
        return self.in_vain > 1 + self.count // 10

    @property
    def alike(self) -> int:
        """Experiments in a row, this one included, with about as many running as at the one before."""
        return self.alike_before + 1 if abs(self.count - self.count_before) <= 1 else 0

    def counts(self, *, known: bool, rare: bool) -> bool:
        """Whether it is the number running that was refused, now that a finish has let a create in.

        Args:
            known: Whether a number was found before.
            rare: Whether the account counts creates by the minute.
        """
        enough = ALIKE if rare and self.count <= FEW_RUN else 1
        return self.alike >= enough and (self.refusals > 1 or not known)

    def pause(
        self, pace: Pace, now: float, rng: random.Random, *, wait: float | None, number: bool, by_chance: int
    ) -> float:
        """Seconds until its create tries again.

        Args:
            pace: Of creates.
            now: When it was refused.
            rng: Source of jitter.
            wait: What the refusal asked for, if it did.
            number: Whether the number of running tasks is known.
            by_chance: So many refusals in a row are too many for chance.
        """
        most = longest_pause(now - self.began)
        if wait is not None:  # told too soon again and again, it grows
            vain = self.refusals - LADDER
            return wait if vain <= 0 else max(wait, backoff(vain, rng, cap=most))
        many = pace.known and not number and pace.rate >= MANY
        own = backoff(max(self.refusals - by_chance, 0), rng, first=SHORT_TRIAL if many else 1.0, cap=most)
        # Before a pace is known, a second refusal would prove nothing.
        return max(own, min(1.1 / pace.rate, LONGEST_PAUSE)) if pace.known else own

    def evidence(self, slots: Slots, now: float, named: Controller | None, *, by_chance: bool) -> Evidence:
        """What its last refusal tells, with the limit that its words named, and whether it may have come by chance."""
        return Evidence(
            create=True,
            named=named,
            slots_known=slots.known,
            at_cap=slots.falling or (slots.cap is not None and slots.running >= slots.sure),
            trials=self.refusals,
            seconds=now - self.began,
            finished=self.finished,
            polls_refused=self.polls_refused,
            running=slots.running,
            by_chance=by_chance,
        )


class Trials:
    """What is known of creates.

    Args:
        limits: What the caller knows.
        rng: Source of jitter.
        chance: What polls have shown of refusals by chance.
    """

    def __init__(self, limits: Limits, rng: random.Random, chance: Chance) -> None:
        self._most, self._rng = limits.requests_per_second, rng
        self._chance, self._own, self._excess = chance, Chance(MOST_CREATES), Excess()
        self._stretches = Stretches()
        self.pace, self.slots, self.line = self._untested(), Slots(limits.max_running_tasks), Line()
        self.trial: Trial | None = None
        self.pause_until = self._cut_at = -math.inf
        self._refused_with = -1
        self._alike = 0  # experiments in a row with about as many running
        self._timed: tuple[Trial, float] | None = None  # the first one that time decided, and when
        self._apart, self._apart_until = 0.0, -math.inf  # seconds between two creates, and until when
        self._keys = itertools.count()

    def _untested(self) -> Pace:
        return Pace(self._most, start=START, dear=DEAR, doubts=False)

    def held_up(self, now: float) -> bool:
        """Whether the next waits for one in flight: that of an experiment, or one of too many that wait in line."""
        return self.line.full(now) or (self.trial is not None and self.trial.ticket is not None)

    @property
    def wait_for_finish(self) -> bool:
        """Whether the next create waits for a task to finish, or to learn whether it has to."""
        return self.slots.full() or self.trial is not None

    def not_before(self) -> float:
        """When the next may go, whatever finishes meanwhile."""
        return max(self.pause_until, self.pace.next_at)

    def go(self, ticket: Ticket, now: float) -> None:
        """A create goes."""
        self.line.goes(ticket, now)
        self.pace.take(now)
        self._stretches.sent(now)
        ticket.key = f"create-{next(self._keys)}"
        self.slots.hold(ticket.key, now)
        if now < self._apart_until:
            self.pace.spaced(now, self._apart)
        if self.trial is not None:
            self.trial.ticket = ticket

    def abandoned(self) -> None:
        """What is in flight is never given back."""
        self.trial = None
        self.line.abandoned()

    def of(self, ticket: Ticket) -> Trial | None:
        """The experiment that a request was sent for, if that is still open."""
        return self.trial if self.trial is not None and self.trial.ticket is ticket else None

    def end(self, ticket: Ticket) -> Trial | None:
        """The answer to a request is here; gives its experiment."""
        if ticket.kind is CREATE:
            self.line.ended(ticket)
        trial = self.of(ticket)
        if trial is not None:
            trial.ticket = None
        return trial

    def accepted(self, ticket: Ticket, trial: Trial | None, now: float) -> None:
        """It was accepted, and its slot has the task's id: what was on trial is decided."""
        if trial is not None:
            self._decided(trial, ticket, now)
        if self.slots.admitted(ticket.key, now, sent=ticket.sent_at):
            self.pace.cut(now, now)
            self._apart_until = -math.inf
        self.pace.got_through += 1
        self._stretches.let_in(now, self.slots.running - 1)

    @property
    def _in_a_row(self) -> int:
        """Refusals of one create, one after the other, that are too many for chance."""
        return max(self._own.in_a_row, self._chance.in_a_row)

    def _decided(self, trial: Trial, ticket: Ticket, now: float) -> None:
        """The experiment's create got through: since a task has finished, or with the time that passed."""
        self.trial, self._alike, pace, known = None, trial.alike, self.pace, self.slots.known
        too_many = self._in_a_row
        if trial.named:
            pace.resumed(now)
            pace.spaced(ticket.sent_at)
            return
        timed = not trial.finished or (trial.no_number and not known) or trial.refusals < too_many
        if not timed and (trial.counts(known=known, rare=pace.rare) or not pace.known):
            self.slots.suspect(trial.count, now)
            if trial.refusals == 1 and 2 * (self.slots.running - 1) <= trial.count:
                self._spread(trial, ticket.sent_at, now)
            return
        if timed and trial.refusals <= max(too_many, 2) and not self._blames_pace(trial.refusals):
            pace.spaced(ticket.sent_at)
            return
        if trial.count and not (trial.finished or trial.in_vain or known or pace.known):
            self._timed = trial, now
        pace.cut(trial.began, trial.began if pace.rare else now)
        if timed and trial.refusals > max(too_many, 1) and not known:
            pace.reopened(now - trial.began, now - self._cut_at, now)
        pace.spaced(ticket.sent_at)

    def _spread(self, trial: Trial, sent: float, now: float) -> None:
        """In one pause most that ran have ended: it may as well be the time. Far apart, more than ran tell that."""
        self._apart = min(SPREAD * self.slots.run_time / self.slots.refuted_at, now - trial.began)
        self._apart_until = now + self.slots.run_time
        self.pace.spaced(sent, self._apart)

    def finished(self, task_id: str, now: float, *, seen: bool) -> bool:
        """A task was seen finished, or is not known to the gateway: True if that frees a slot."""
        freed = self.slots.free(task_id, now, finished=seen)
        if freed and self.trial is not None:
            self.trial.finished += 1
        if freed and seen and self._timed is not None:
            self._doubted(*self._timed, now)
        return freed

    def _doubted(self, trial: Trial, decided: float, now: float) -> None:
        """The first finish that is seen, just after a create got through, is what let it in, and not time."""
        self._timed = None
        if self.trial is None and now - decided <= SEEN_LATE * (decided - trial.began):
            self.pace, self._excess = self._untested(), Excess()
            self.slots.suspect(trial.count, now)

    def is_news(self, ticket: Ticket) -> bool:
        """Whether its refusal is the first of its flight, and nothing is on trial."""
        return self.trial is None and ticket.sent_at >= self._cut_at

    def refused(
        self, ticket: Ticket, trial: Trial | None, now: float, *, wait: float | None, named: Controller | None
    ) -> Decision:
        """It was refused for now, and its slot is free again; see `Admission.refused`."""
        self.pace.trail.lost(ticket.sent_at)
        if trial is None and not self.is_news(ticket):
            self._counted_too_many()
            return Decision(Controller.TRIAL, max(self.pause_until - now, 0.0))
        running = self.slots.running
        self._apart_until = -math.inf
        if named is None and self._by_chance(ticket.sent_at, now) and trial is None:
            self.pause_until = max(self.pause_until, now + (wait or 0.0))
            return Decision(Controller.TRIAL, wait or 0.0)
        trial = trial or Trial(running, now, self._refused_with, self._alike)
        trial.refusals += 1
        too_many, number = self._in_a_row, self.slots.known
        cause = attribute(trial.evidence(self.slots, now, named, by_chance=trial.refusals < too_many))
        finish = wait is None and cause is Controller.SLOTS  # to wait for, not a time
        pause = 0.0
        if not finish:
            pause = trial.pause(self.pace, now, self._rng, wait=wait, number=number, by_chance=too_many)
        self._pause(now, pause)
        trial.named = cause is Controller.PACE
        goes_on = cause is Controller.TRIAL or (trial.named and self.pace.in_vain)
        self.trial = trial if goes_on else None
        self._refused_with = trial.count = min(trial.count, running)
        trial.in_vain, trial.finished = trial.in_vain + trial.finished, 0
        if cause is Controller.SLOTS:
            self.slots.refused(now, pause=pause)
        elif cause is Controller.PACE and self._blames_pace(1):
            self.pace.cut(now, now + pause, sent=ticket.sent_at, in_flight=len(self.line))
        hopeless = cause is Controller.TRIAL and not running and trial.refusals >= LADDER
        return Decision(cause, pause, hopeless)

    def _blames_pace(self, refused: int) -> bool:
        """Whether so many refusals in a row are more than come by chance."""
        share = max(self._own.share, self._chance.share)
        return self._excess.found(self.pace.got_through, share, refused=refused)

    def _by_chance(self, sent: float, now: float) -> bool:
        """Whether a refusal tells nothing of a limit. Once such are known, the pace is what it was before them."""
        slots, known = self.slots, self._own.share
        few = (slots.cap is None or slots.running < slots.sure) and self._stretches.few(sent, slots.running)
        explained = self._own.explains(now, self.pace.got_through, few=few)
        if self._own.share and not known:
            self.pace.restore(self._stretches.usual)
        return explained

    def _pause(self, now: float, seconds: float) -> None:
        self.pause_until, self._cut_at = max(self.pause_until, now + seconds), now

    def _counted_too_many(self) -> None:
        """The flight's first refusal took this create for a running task: it was none."""
        self._refused_with -= 1
        if self.trial is not None:
            self.trial.count = self._refused_with
        elif self.slots.met_at == self._cut_at:
            self.slots.miscounted()

    def slowed(self, ticket: Ticket, now: float, pause: float) -> bool:
        """Go slower for a gateway that is too busy; False if that was done for another of the same flight."""
        if ticket.sent_at < self._cut_at:
            return False
        self._pause(now, pause)
        self.pace.cut(now, now + pause, sent=ticket.sent_at, in_flight=len(self.line))
        return True
