"""Requests per second of one account, found out. Plain arithmetic: times are passed in.

Untested, the pace doubles while it is used. A refusal sets it just below what the account was seen to allow
(`estimate.py`); there it stays for a while, and then climbs, gently at first, until the next refusal or until the limit
is far above. An account that counts by the minute is told apart (`minutes.py`).
"""

import math

from .bracket import DOUBLES, Observation
from .estimate import Estimate
from .minutes import MINUTE, Minutes
from .trail import Trail

DOUBLING, MOST_DOUBLED = 0.6, 20.0
"""Seconds of use in which an untested pace doubles; and how often in one step, which may be an hour of a slow one."""
GENTLE, CLIMB = 0.01, 9.0
"""A climb's first growth per second, so that a refusal comes close to the limit; seconds in which it doubles."""
SLOWER = 0.6
"""A climb goes so much slower where its refusal costs a pause."""
FEW, MOST_EQUAL = 5.0, 4.0
"""Requests per second below which all that takes longer in proportion; up to so many times their own pace do the slow
climb as if it were that."""
HOLD, RARE, MOST_RARE = 10.0, 110.0, 40.0
"""A tested pace holds so many seconds, or as long as so many requests take: their refusal is the price of a climb. No
longer than so many seconds, unless it is not worth refusals to learn soon of more."""
LONGEST_HOLD = 600.0
CATCHING_UP, GROWN = 2, 1.6
"""Requests that go at once after a pause, to catch up with the pace; and how many times faster an account has become of
which it is not known any more that it refuses them."""
PER_DELAY = 5.0
"""Refusals that come late have missed what else was sent too fast by then: a pace holds so many times as long."""
PER_PAUSE, SOON = 60.0, 28.0
"""A pause costs throughput: a pace holds at least so many times as long as the last one; or so many times where it is
worth a pause to learn soon that more is allowed. With the climb and the pause there is one in 30 times its length then.
"""
BRISK, NEAR = 20.0, 1.25
"""Requests per second from which a refusal is one of many; how far above a tested pace nothing unforeseen is met."""
BLIND = 1.0
"""Seconds of requests in flight from which a refusal tells of long ago: a steep climb would have gone far too far."""
PARTLY, WHOLLY = 0.5, 0.9
"""Part of a pace that is used, from which it proves something."""
DEAR = 0.5
"""A refusal that keeps everything waiting for so many seconds is dear."""
SECONDS_TELL, ONE_GAP = 1.5, 1.5
"""Requests per second below which what happens in a second tells nothing; so many times the distance between two of
them without any is no more than one too soon."""
SLACK = 0.01
"""Seconds a pace may catch up: event loops wake late."""
SLOWEST = 0.02
"""Requests per second that are always tried, unless the caller knows of fewer."""
STRAIN, FORGOTTEN = 2.5, 0.9
"""Failures of a busy gateway, lately, from which the pace is to blame; what is left of one after one more request got
through. One in twenty comes whatever the pace is."""
ONE_SECOND = 1.1
"""Seconds after a pause until what went in the last one tells how fast it goes."""
DOUBTED = 1.2
"""How many times the level is gone at for a minute, to learn whether it is all that is let in in one. Less would be let
in by many that count so, since the level is somewhat below what they allow."""
STEP = 0.1
"""Seconds between two looks at how much of the pace is used."""


class Pace:
    """Requests per second: smooth, no initial burst.

    Args:
        ceiling: Requests per second never to be exceeded; None if not known.
        start: The untested pace.
        dear: Seconds of pause from which a refusal is dear, and the limit is shut in by tests.
        doubts: Whether it is worth refusals to learn that an account does not count by the minute after all, or soon
            that it allows more.
    """

    __slots__ = (
        "_above",
        "_bare",
        "_before",
        "_blind",
        "_dear",
        "_doubts",
        "_estimate",
        "_gap",
        "_gone_before",
        "_gone_cut",
        "_hold",
        "_known_since",
        "_level",
        "_minutes",
        "_pause",
        "_refused_at",
        "_refused_with",
        "_resumed_at",
        "_slower",
        "_step_at",
        "_stepped_at",
        "_strain",
        "_strained_with",
        "_taken",
        "_used",
        "ceiling",
        "got_through",
        "next_at",
        "rate",
        "trail",
    )

    def __init__(
        self, ceiling: float | None = None, *, start: float = 20.0, dear: float = DEAR, doubts: bool = True
    ) -> None:
        self.ceiling, self._dear, self._doubts = ceiling, dear, doubts
        self.next_at = -math.inf
        """When the next request may go."""
        self.got_through = 0
        """Requests that got through; counted by whoever sends them."""
        self._refused_with = 0  # how many had got through at the last refusal
        self._strain, self._strained_with = 0.0, 0  # failures lately, and how many had got through at the last
        self._level: float | None = None  # where the last refusal set it; None while nothing was refused
        self._hold = self._used = 0.0
        self._above = 0.0  # seconds of it in which clearly more than the level went
        self._pause, self._blind = 0.0, False  # seconds of the last refusal; whether many were in flight
        self._bare = 0.0  # the pace at which what followed right after a pause was refused: nothing is saved up there
        self._refused_at = self._resumed_at = self._known_since = -math.inf
        self._stepped_at = self._step_at = -math.inf
        self._taken, self._slower = 0, 1.0
        self.trail = Trail()
        self._gone_before = self._gone_cut = 0.0  # how many had gone before the last one refused, and at its refusal
        self._estimate, self._minutes = Estimate(), Minutes(doubts=doubts)
        self._before: tuple[float | None, float, float] | None = None  # level, hold and rate before the last cuts
        self.set(ceiling or start)

    @property
    def known(self) -> bool:
        """Whether a refusal ever told something about the limit."""
        return self._level is not None

    @property
    def in_vain(self) -> bool:
        """Whether nothing got through since the last refusal."""
        return self.known and self.got_through == self._refused_with

    @property
    def rare(self) -> bool:
        """Whether the limit was seen to count for longer than some seconds."""
        return self._minutes.drought > 0.0

    @property
    def settled(self) -> bool:
        """Whether a refusal now would tell nothing new: of many requests, close to a pace that was tested for long."""
        if self._level is None or self.rate >= NEAR * self._level:
            return False
        if self.rate < BRISK and self.got_through - self._refused_with < BRISK:
            return False
        return self._used > self._hold or self._hold >= HOLD

    def _soon(self, level: float) -> bool:
        """Whether a refusal costs a pause, however far a climb went, and is worth it: more is tried soon."""
        worth = self._doubts and self._pause >= self._dear and level >= SECONDS_TELL
        return worth and not (self._blind or self._minutes.drought)

    def set(self, rate: float) -> None:
        """Go at so many requests per second, at most the ceiling."""
        most = self.ceiling or 1e6
        self.rate = min(max(rate, SLOWEST), most)
        self._gap = 1.0 / self.rate

    def take(self, now: float) -> None:
        """One request goes."""
        if now >= self._step_at:
            self._step(now)
        self._taken += 1
        trail = self.trail
        trail.gone += 1
        trail.gone_at = now
        late = now - SLACK
        self.next_at = (late if late > self.next_at else self.next_at) + self._gap  # noqa: FURB136 - per request; max() costs more

    def _step(self, now: float) -> None:
        """Grow by what was used since the last step; what is less than half used proves nothing.

        A steep climb has to be used whole: it would run to twice the demand, and let a burst of it be refused.
        """
        elapsed = now - self._stepped_at
        steep = self._level is not None and self._used > self._hold and self._soon(self._level)
        if self._taken >= (WHOLLY if steep else PARTLY) * elapsed * self.rate and elapsed > 0.0:
            self._used += elapsed
            if self._level is not None and self._used > self._hold and self._estimate.bracket.testing:
                self._tested(self._level)
            if self._minutes.suspected and self.rate >= DOUBTED * (self._level or math.inf):
                self._doubted(elapsed)
            self.set(self._grown(elapsed))
        self.trail.step(now, self.got_through, self.rate)
        self._minutes.goes_on(now, self.got_through)
        self._stepped_at, self._taken = now, 0
        self._step_at = now + max(STEP, 2.0 * self._gap)

    def _doubted(self, elapsed: float) -> None:
        """More went unrefused than is let in by the minute, if the level is that: for a whole minute, it is not."""
        self._above += elapsed
        if self._above > MINUTE:
            self._minutes.refuted()
            self._level, self._used, self._hold, self._slower = self.rate, 0.0, HOLD, 1.0

    def _tested(self, level: float) -> None:
        """The level went unrefused for as long as a test takes."""
        self._level = self._estimate.bracket.passed(level)
        self._hold, self._used = self._lasting(self._level), 0.0

    def _grown(self, elapsed: float) -> float:
        if self._level is None:
            return self.rate * math.pow(2.0, min(elapsed / DOUBLING, MOST_DOUBLED))
        # A young estimate is no good one; and where few requests go, a second tells little.
        few = min(max(FEW / self._level, 1.0), 3.0)
        climbed = max(self._used - self._hold, 0.0) / few
        if self._soon(self._level):
            return self._level * math.pow(2.0, min(climbed / DOUBLES, MOST_DOUBLED))
        climbed *= min(self._slower, self._level) / min(max(self._hold / HOLD, 0.3), 1.0)
        # At first as much for the slow as for the fast: so do several at one account come to equal parts.
        linear = max(self._level, min(FEW, MOST_EQUAL * self._level))
        grown = self._level * (1.0 + (climbed / CLIMB) ** 4) + GENTLE * linear * climbed
        doubting = self._minutes.suspected and self._used > self._hold
        return max(grown, DOUBTED * self._level) if doubting else grown

    def per_second(self, now: float) -> float:
        """How many got through in the last second."""
        return self.trail.per_second(now, self.got_through, grain=STEP)

    def cut(self, now: float, resumes: float, *, sent: float | None = None, in_flight: int = 0) -> bool:
        """A refusal of a request sent at this pace; True if it comes so soon that the last cut was no help.

        Args:
            now: Time of the refusal.
            resumes: When sending goes on.
            sent: When the request went.
            in_flight: Requests in flight at the refusal: nobody knows yet whether they were let in.
        """
        sent = now if sent is None else sent
        through = self.got_through - self._refused_with
        if self._level is not None and not through:
            self.prolong(resumes)
            return False
        before = (self._level, self._hold, self.rate)
        self._pause, self._blind = resumes - now, in_flight > BLIND * self.rate
        gone = self.trail.gone_by(sent)
        seen = self._observed(now, sent)
        allowed = self.rate if self._unused(through, sent) else self._allowed(seen, now)
        level = max(allowed, SLOWEST)
        if self._level is not None and gone - self._gone_cut <= CATCHING_UP + 1:
            self._bare = level
        if not self._estimate.again:
            self._before = before
        if self._level is None or not 0.8 <= level / self._level <= 1.25:
            self._known_since = sent
        self._hold = self._holding(level, now, sent)
        self._slower = self._minutes.slower(SLOWER if self._pause >= self._dear else 1.0)
        self._level, self._used, self._above = level, 0.0, 0.0
        resumes = max(resumes, now + 1.0 / level)  # a bucket has nothing before
        self.next_at = max(self.next_at, resumes)
        self._refused_at, self._resumed_at, self._refused_with = sent, resumes, self.got_through
        self._gone_before, self._gone_cut = gone, self.trail.gone
        self._stepped_at, self._taken, self._step_at = resumes, 0, resumes + max(STEP, 2.0 / level)
        self.set(level)
        return self._estimate.again > 0

    def going(self, now: float, sent: float) -> float:
        """Requests per second before one that was sent then is refused now; infinite where a second tells nothing."""
        if self.rare:
            return math.inf
        through = self.per_second(now)
        return through if sent - self._resumed_at > ONE_SECOND else max(through, self.rate)

    def strained(self) -> bool:
        """The gateway was too busy for one: whether that is so often that the pace is to blame."""
        through = self.got_through - self._strained_with
        self._strain = self._strain * math.pow(FORGOTTEN, through) + 1.0
        self._strained_with = self.got_through
        return self._strain >= STRAIN

    def _unused(self, through: float, sent: float) -> bool:
        """Going far below the pace for long, a refusal says nothing of it; and nothing would let it grow back."""
        quiet = sent - self._refused_at
        return self._level is not None and quiet > LONGEST_HOLD and 4.0 * through < self.rate * quiet

    def _observed(self, now: float, sent: float) -> Observation:
        """What went before the refused request was sent: so it tells the same however late the answers come."""
        used = max(sent - self._resumed_at, 1e-3)
        pace, held = self._pace_at(sent), max(self._used - (now - sent), 0.0)
        return Observation(
            pace=pace,
            level=self._level,
            climbing=held > self._hold,
            mean=(self._pace_at(sent - 1.0) + pace) / 2.0,
            passed=(self.trail.rate(sent - 2.0) or (0.0,))[0],
            counted=self.trail.let_in(sent - 1.0, sent),
            through=self.trail.let_in(self._refused_at, sent, gone=self._gone_before),
            used=used,
            whole=max(sent - self._refused_at, used),
            dear=self._pause >= self._dear,
            held=held,
            blind=self._blind,
        )

    def _allowed(self, seen: Observation, now: float) -> float:
        self._minutes.refused(now, self.got_through)
        if self._minutes.drought or seen.pace < SECONDS_TELL:
            self._estimate.bracket.forget()
            return self._minutes.allows(seen.pace, seen.used, passed=seen.passed if seen.climbing else None)
        return self._estimate.level(seen)

    def _pace_at(self, when: float) -> float:
        """The pace then, or as soon as there was one after the last refusal."""
        known = self.trail.rate(when)
        if known is not None and (self._level is None or known[1] >= self._resumed_at):
            return known[0]
        return self._level or self.rate

    def _holding(self, level: float, now: float, sent: float) -> float:
        """As long as an estimate is young it is tested soon, then ever more rarely; tests take a time of their own."""
        lasting = self._lasting(level)
        young = max(3.0 * (sent - self._known_since), 1.0, 8.0 * self._pause)
        if self._minutes.drought:
            lasting = lasting if self._doubts else min(lasting, young)
            return min(max(lasting, self._minutes.drought), LONGEST_HOLD)
        if not self._estimate.bracket.testing:
            lasting = min(young, lasting)
        return max(lasting, min(PER_DELAY * (now - sent), LONGEST_HOLD))

    def _lasting(self, level: float) -> float:
        """How many seconds a level is used before more is tried."""
        if self._estimate.bracket.testing:
            return self._estimate.bracket.seconds(level)
        rest = (SOON if self._soon(level) else PER_PAUSE) * self._pause
        rare = min(RARE / level, MOST_RARE if self._doubts else LONGEST_HOLD)
        return min(max(HOLD, rare, rest), LONGEST_HOLD)

    def prolong(self, resumes: float) -> None:
        """What went first after the pause was refused too: it is the same refusal still, and says nothing new."""
        self._minutes.waits(max(resumes - self._resumed_at, 0.0))
        self._resumed_at = self.next_at = max(self.next_at, resumes)

    def rest(self, resumes: float) -> None:
        """Nothing goes for a while, for somebody else's fault: what is counted begins anew."""
        self.trail.rest()
        self._minutes.forget()
        self._refused_with, self._refused_at = self.got_through, resumes
        self._gone_before = self._gone_cut = self.trail.gone
        self._resumed_at = self.next_at = max(self.next_at, resumes)

    def resumed(self, now: float) -> None:
        """What went first after a pause got through: now the others follow. They catch up, unless that was refused."""
        self._resumed_at = max(self._resumed_at, now)
        if self.rate < GROWN * self._bare:
            self.next_at = max(self.next_at, now)
        level = self._minutes.opens(now, self.got_through)
        if level is not None:
            self._spread(level, now)

    def reopened(self, dry: float, waited: float, now: float) -> None:
        """One got through after so many seconds in which none did, `waited` of them after the last one refused."""
        if dry > ONE_GAP * self._gap:
            self._minutes.waits(dry - waited)
            self._minutes.waits(waited)
            self.resumed(now)

    def _spread(self, level: float, now: float) -> None:
        """The account counts for longer: what it lets in goes evenly from now on."""
        self._estimate.bracket.forget()
        self.set(level)
        self._level, self._used, self._above, self._known_since = self.rate, 0.0, 0.0, now
        self._hold, self._slower = min(self._minutes.drought, LONGEST_HOLD), self._minutes.slower()
        self.next_at = max(self.next_at, now + self._gap)

    def spaced(self, sent: float, seconds: float = 0.0) -> None:
        """The next goes no sooner after the one sent then than this pace allows: a small window counts both."""
        self.next_at = max(self.next_at, sent + max(self._gap, seconds))

    def restore(self, rate: float) -> None:
        """Its last cuts were for what nobody is to blame for: it goes on at so many per second, if that is more."""
        self._level, self._used = max(rate, self._level or 0.0), 0.0
        self.set(self._level)

    def undo(self) -> None:
        """The last cuts were somebody else's fault."""
        if self._before is not None:
            self._level, self._hold, rate = self._before
            self._used = 0.0
            self.set(rate)
            self._before = None

    def __repr__(self) -> str:
        return f"<Pace {self.rate:.3g} requests/s{'' if self.known else ', no limit met'}>"
