"""Requests per second of one account, found out. Plain arithmetic: times are passed in.

Untested, the pace doubles while it is used. A refusal sets it just below what the account was seen to allow; there it
stays for a while, and then climbs, gently at first, until the next refusal or until the limit is far above.

Gateways count in two ways, and after a refusal it matters which. A *window* (so many in a second) forgets: what was
sent in the last second is the limit. A *bucket* saves up: only what got through between two refusals, at both of which
it was empty, is the limit. So it is taken for a window until sending just below what was refused is refused at once;
then it is a bucket, and whether it still is one is tried more and more rarely.
"""

import math
from collections import deque

DOUBLING = 0.6
"""Seconds of use in which an untested pace doubles."""
GENTLE, CLIMB = 0.01, 9.0
"""A climb's first growth per second, so that a refusal comes close to the limit; seconds in which it doubles."""
FEW = 5.0
"""Requests per second below which all that takes longer in proportion."""
HOLD, RARE, MOST_RARE = 10.0, 110.0, 40.0
"""A tested pace holds so many seconds, or as long as so many requests take: their refusal is the price of a climb."""
LONGEST_HOLD = 600.0
PER_PAUSE = 45.0
"""A pause costs throughput: a pace holds at least so many times as long as the last one."""
BELOW_WINDOW, BELOW_BUCKET, ONE_OF_FEW = 0.989, 0.99, 0.4
AGAIN = 2.1
"""A refusal sooner after sending went on shows that the last cut was not enough; a later one, though the pace has not
climbed, that so little too much is saved up: a second's window would have forgotten it."""
FAR = 1.15
"""A bucket refuses closer than this to what it allows, unless it has saved up for long or was enlarged."""
CHEAP = 40.0
"""Requests per second at which a refusal more costs next to nothing."""
PATIENCE = 80.0
"""Where fewer requests go, whether a bucket still is one is tried the more rarely: each try costs a refusal."""
SLACK = 0.01
"""Seconds a pace may catch up: event loops wake late."""
LONG = 0.5
"""A pause of so many seconds may fill a bucket or not."""
BRISK, NEAR = 20.0, 1.25
SLOWEST = 0.02
"""Requests per second that are always tried, unless the caller knows of fewer."""
STEP = 0.1
"""Seconds between two looks at how much of the pace is used."""


class Pace:
    """Requests per second: smooth, no initial burst.

    Args:
        ceiling: Requests per second never to be exceeded; None if not known.
        start: The untested pace.
    """

    __slots__ = (
        "_again",
        "_as_bucket",
        "_before",
        "_climbed",
        "_gap",
        "_hold",
        "_known_since",
        "_level",
        "_patience",
        "_refused_at",
        "_refused_with",
        "_resumed_at",
        "_step_at",
        "_stepped_at",
        "_taken",
        "_trail",
        "_used",
        "_was_window",
        "ceiling",
        "got_through",
        "next_at",
        "rate",
    )

    def __init__(self, ceiling: float | None = None, *, start: float = 20.0) -> None:
        self.ceiling = ceiling
        self.next_at = -math.inf
        """When the next request may go."""
        self.got_through = 0
        """Requests that got through; counted by whoever sends them."""
        self._refused_with = 0  # how many had got through at the last refusal
        self._level: float | None = None  # where the last refusal set it; None while nothing was refused
        self._hold = self._used = 0.0
        self._refused_at = self._resumed_at = self._known_since = -math.inf
        self._stepped_at = self._step_at = -math.inf
        self._taken = self._again = 0
        self._climbed: float | None = None  # what got through per second before the last refusal, if that ended a climb
        self._before: tuple[float | None, float, float] | None = None  # level, hold and rate before the last cuts
        self._trail: deque[tuple[float, int, float]] = deque(maxlen=12)
        self._as_bucket, self._patience, self._was_window = 0, 1, False
        self.set(ceiling or start)

    @property
    def known(self) -> bool:
        """Whether a refusal ever told something about the limit."""
        return self._level is not None

    @property
    def climbing(self) -> bool:
        """Whether it is above what was tested, to see whether more is allowed."""
        return self._level is not None and BRISK <= self.rate < NEAR * self._level and (self._used > self._hold or self._hold >= HOLD)

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
        late = now - SLACK
        self.next_at = (late if late > self.next_at else self.next_at) + self._gap  # noqa: FURB136 - per request; max() costs more

    def _step(self, now: float) -> None:
        """Grow by what was used since the last step; what is less than half used proves nothing."""
        elapsed = now - self._stepped_at
        if 2.0 * self._taken >= elapsed * self.rate and elapsed > 0.0:
            self._used += elapsed
            self.set(self._grown(elapsed))
        self._trail.append((now, self.got_through, self.rate))
        self._stepped_at, self._taken = now, 0
        self._step_at = now + max(STEP, 2.0 * self._gap)

    def _grown(self, elapsed: float) -> float:
        if self._level is None:
            return self.rate * math.pow(2.0, elapsed / DOUBLING)
        # A young estimate is no good one; and where few requests go, a second tells little.
        haste = min(max(self._hold / HOLD, 0.3), 1.0) * min(max(FEW / self._level, 1.0), 3.0)
        climbed = max(self._used - self._hold, 0.0) / haste
        # At first as much for the slow as for the fast: so do several at one account come to equal parts.
        return self._level * (1.0 + (climbed / CLIMB) ** 4) + GENTLE * max(self._level, FEW) * climbed

    def per_second(self, now: float) -> float:
        """How many got through in the last second."""
        return self._last_second(now)[0]

    def cut(self, now: float, resumes: float, *, sent: float | None = None, ahead: int = 0) -> bool:
        """A refusal of a request sent at this pace; True if it comes so soon that the last cut was no help.

        Args:
            now: Time of the refusal.
            resumes: When sending goes on.
            sent: When the request went.
            ahead: Requests in flight then: some are not answered yet and were let in before it.
        """
        sent = now if sent is None else sent
        through = self.got_through - self._refused_with
        if self._level is not None and not through:
            self.prolong(resumes)
            return False
        quiet = sent - self._refused_at
        unused = self._level is not None and quiet > LONGEST_HOLD and 4.0 * through < self.rate * quiet
        # Going far below the pace for long, a refusal says nothing of it; and nothing would let it grow back.
        level = max(self.rate if unused else self._allowed(through, now, sent, ahead), SLOWEST)
        # As long as an estimate is young it is tested soon, then ever more rarely.
        lasting = max(HOLD, min(RARE / level, MOST_RARE), PER_PAUSE * (resumes - now))
        if not self._again:
            self._before = (self._level, self._hold, self.rate)
        if self._level is None or not 0.8 <= level / self._level <= 1.25:
            self._known_since = sent
        young = max(3.0 * (sent - self._known_since), 1.0, 8.0 * (resumes - now))
        self._hold = min(young, lasting, LONGEST_HOLD)
        self._level, self._used = level, 0.0
        resumes = max(resumes, now + 1.0 / level)  # a bucket has nothing before
        self.next_at = max(self.next_at, resumes)
        self._refused_at, self._resumed_at, self._refused_with = sent, resumes, self.got_through
        self._stepped_at, self._taken, self._step_at = resumes, 0, resumes + max(STEP, 2.0 / level)
        self.set(level)
        return self._again > 0

    def prolong(self, resumes: float) -> None:
        """What went first after the pause was refused too: it is the same refusal still, and says nothing new."""
        self._resumed_at = self.next_at = max(self.next_at, resumes)

    def rest(self, resumes: float) -> None:
        """Nothing goes for a while, for somebody else's fault: what is counted begins anew."""
        self._trail.clear()
        self._refused_with, self._refused_at = self.got_through, resumes
        self._resumed_at = self.next_at = max(self.next_at, resumes)

    def resumed(self, now: float) -> None:
        """What went first after a pause got through: now the others follow."""
        self._resumed_at = max(self._resumed_at, now)

    def undo(self) -> None:
        """The last cuts were somebody else's fault."""
        if self._before is not None:
            self._level, self._hold, rate = self._before
            self._used = 0.0
            self.set(rate)
            self._before = None

    def _allowed(self, through: float, now: float, sent: float, ahead: int) -> float:
        """Where to go on: just below what the account allows, by what is known of it now."""
        counted, rate = self._last_second(now)
        if self._level is None:
            return min(max(counted + ahead, self.rate / 4.0), self._margin() * self.rate)
        soon = max(AGAIN, 2.5 / self.rate)
        used = max(sent - self._resumed_at, 1e-3)
        whole = max(sent - self._refused_at, used)
        holding = self._used <= self._hold
        self._again = self._again + 1 if used < soon and holding else 0
        if not self._again:
            self._climbed = None if holding else through / used
        if holding:
            through = max(through, min(through + ahead, self.rate * used))
        if used < soon and holding:
            return self._no_help(through / max(used, min(whole, 1.0)), paused=whole - used)
        below = self._margin() * min(rate, counted + max(math.sqrt(counted), 3.0) + 1.0)
        if holding and not self._as_bucket:
            self._take_for_bucket()
            spent = whole if whole - used < LONG else math.sqrt(whole * used)
            return self._between((through - 0.5) / spent, below)
        if self._as_bucket:
            self._as_bucket -= 1
            self._was_window = False
            return self._between(BELOW_BUCKET * (through - 1) / used, below)
        if self._was_window:
            self._patience = 1
        self._was_window = True
        return below

    def _no_help(self, measured: float, *, paused: float) -> float:
        """The last cut was too small; one after the other they grow."""
        if self._again > 1 and self._climbed is not None and FAR * self._climbed < self.rate:
            self._take_for_bucket()  # it was full, and is empty since the climb before
            # In a long pause it was filled by more or less than the climb's mean tells.
            measured = self._climbed if paused < LONG else math.sqrt(self._climbed * measured)
        return min(max(measured, self.rate / 3.0), self.rate) * math.pow(self._margin(), 2 ** min(self._again - 1, 4))

    def _between(self, measured: float, below: float) -> float:
        """For a bucket: what it was seen to allow, and the more above that the cheaper a refusal is."""
        measured = max(measured, self.rate / 3.0)
        part = 0.5 if below > FAR * measured else min(self.rate / CHEAP, 0.5)
        return min(measured * math.pow(below / measured, part), self.rate)

    def _margin(self) -> float:
        """How far below a window's count to stay: of few requests, one more or less is much."""
        return min(BELOW_WINDOW, 1.0 - min(ONE_OF_FEW / self.rate, 0.04))

    def _take_for_bucket(self) -> None:
        if self._was_window:
            most = max(min(PATIENCE / self.rate, 16.0), 1.0)
            self._patience = int(min(2 * self._patience, most))
        self._as_bucket, self._was_window = self._patience, False

    def _last_second(self, now: float) -> tuple[float, float]:
        """How many got through in the last second, and the mean pace in it, or so long as is remembered."""
        for at, count, rate in self._trail:
            if at >= now - 1.0 - STEP:
                return (self.got_through - count) / max(now - at, 1.0), (rate + self.rate) / 2.0
        return 0.0 if self._trail else float(self.got_through), self.rate

    def __repr__(self) -> str:
        return f"<Pace {self.rate:.3g} requests/s{'' if self.known else ', no limit met'}>"
