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

DOUBLING = 0.5
"""Seconds of use in which an untested pace doubles."""
CLIMB = 8.0
"""Seconds of climbing after which a pace has doubled."""
HOLD, RARE = 10.0, 60.0
"""A tested pace holds so many seconds, or as long as so many requests take: their refusal is the price of a climb."""
LONGEST_HOLD = 600.0
PER_PAUSE = 30.0
"""A pause costs throughput: a pace holds at least so many times as long as the last one."""
BELOW_WINDOW, BELOW_BUCKET = 0.985, 0.995
AGAIN = 2.5
"""A refusal so many seconds after sending went on means that the last cut was not enough."""
MOST_PATIENCE = 16
SLACK = 0.01
"""Seconds a pace may catch up: event loops wake late."""
STEP = 0.1
"""Seconds between two looks at how much of the pace is used."""


class Pace:
    """Requests per second: smooth, no initial burst.

    Args:
        ceiling: Requests per second never to be exceeded; None if not known.
        start: The untested pace.
    """

    __slots__ = (
        "_as_bucket",
        "_gap",
        "_hold",
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
        self._refused_at = self._resumed_at = self._stepped_at = self._step_at = -math.inf
        self._taken = 0
        self._trail: deque[tuple[float, int]] = deque(maxlen=12)
        self._as_bucket, self._patience, self._was_window = 0, 1, False
        self.set(ceiling or start)

    @property
    def known(self) -> bool:
        """Whether a refusal ever told something about the limit."""
        return self._level is not None

    def set(self, rate: float) -> None:
        """Go at so many requests per second, at most the ceiling."""
        self.rate = max(min(rate, self.ceiling or 1e6), 0.02)
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
        self._trail.append((now, self.got_through))
        self._stepped_at, self._taken = now, 0
        self._step_at = now + max(STEP, 2.0 * self._gap)

    def _grown(self, elapsed: float) -> float:
        if self._level is None:
            return self.rate * 2.0 ** (elapsed / DOUBLING)
        climbed = max(self._used - self._hold, 0.0) / CLIMB
        return self._level * (1.0 + climbed * climbed)

    def cut(self, now: float, resumes: float) -> None:
        """A refusal of a request sent at this pace.

        Args:
            now: Time of the refusal.
            resumes: When sending goes on.
        """
        through = self.got_through - self._refused_with
        self.next_at = max(self.next_at, resumes)
        if self._level is not None and not through:  # the same refusal still: nothing was allowed yet
            self._resumed_at = resumes
            return
        level = self._allowed(through, now)
        # As long as an estimate is young it is tested soon, then ever more rarely.
        lasting = max(HOLD, min(RARE / level, RARE), PER_PAUSE * (resumes - now))
        self._hold = min(max(3.0 * (now - self._refused_at), 1.0) if self.known else 1.0, lasting, LONGEST_HOLD)
        self._level, self._used = level, 0.0
        self._refused_at, self._resumed_at, self._refused_with = now, resumes, self.got_through
        self._stepped_at, self._taken, self._step_at = resumes, 0, resumes + max(STEP, 2.0 / level)
        self.set(level)

    def _allowed(self, through: int, now: float) -> float:
        """Where to go on: just below what the account allows, by what is known of it now."""
        last = self._last_second(now)
        if self._level is None:
            return min(max(last, self.rate / 4.0), BELOW_WINDOW * self.rate)
        whole, used = now - self._refused_at, max(now - self._resumed_at, 1e-3)
        if used < AGAIN and through < AGAIN * self.rate:
            self._take_for_bucket()
            # A gateway may have saved up allowance during the pause or not: the mean of both readings.
            measured = (through + 0.5) / math.sqrt(whole * used)
            return min(max(measured, self.rate / 3.0), 0.97 * self.rate)
        if self._as_bucket:
            self._as_bucket -= 1
            self._was_window = False
            return min(BELOW_BUCKET * through / used, self.rate)
        if self._was_window:
            self._patience = 1
        self._was_window = True
        return BELOW_WINDOW * min(self.rate, last + math.sqrt(last) + 1.0)

    def _take_for_bucket(self) -> None:
        if self._was_window:
            self._patience = min(2 * self._patience, MOST_PATIENCE)
        self._as_bucket, self._was_window = self._patience, False

    def _last_second(self, now: float) -> float:
        """How many got through in the last second, or so long as is remembered."""
        for at, count in self._trail:
            if at >= now - 1.0 - STEP:
                return (self.got_through - count) / max(now - at, 1.0)
        return 0.0 if self._trail else float(self.got_through)

    def __repr__(self) -> str:
        return f"<Pace {self.rate:.3g} requests/s{'' if self.known else ', no limit met'}>"
