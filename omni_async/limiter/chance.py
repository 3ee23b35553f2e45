"""Refusals that come by chance: one request in so many, however few go. Plain arithmetic.

Going slower for those is no help, and never ends: the pace would sink until nothing goes. They show where few go of
what was let in before. Where they are many, what is more than their share is the pace's fault still.
"""

import math

FEW = 0.15
"""Part of what was let in per second before at which no limit refuses, not even one that several share by now."""
SPAN = 2.0
"""Seconds over which at least what is let in is counted."""
REMEMBERED, FADING = 300.0, 1200.0
"""Seconds in which what was let in is forgotten by half, and the share: the gateway may be well again."""
LATELY, DOUBTFUL, SURE = 300.0, 10.0, 1.5
"""Requests over which the share is taken, and how many that were let in are added to them; how many standard deviations
to stay below it, since the first refusals prove little."""
OVERALL, ENOUGH, LESS = 500.0, 100.0, 0.5
"""Requests, fast or slow, over which the part that is refused of them all is taken; from how many on it tells; and the
part of the share below which there is none: what comes whatever goes comes at any pace, so those where few went were of
a limit that was down for a while."""
LEAST, MOST, MOST_CREATES, MOST_BUSY = 0.05, 0.25, 0.6, 0.6
"""Shares that are believed: others at the same limit cost less, and whom more are refused is simply too fast. Creates a
gateway may refuse more of, for want of room to make videos; and one that calls itself busy, all that one of its servers
gets, which is down."""
STORM, SURELY, MOSTLY, REFUTED = 60.0, 40.0, 1.8, 1200.0
"""Requests over which it is seen, from so many on, that of all more are refused than so many times the greatest share:
then a limit was taken for chance, as of one request a second some seconds see none. For so many seconds nothing is
believed then, since as little would prove it again."""
NONE, WHERE_FEW_GO = 0.001, 0.3
"""Share where none is believed: one refusal tells that the pace is to blame. And where few go: there it takes many."""
TOO_MANY, CERTAIN = 0.3, 5.5
"""Share of the requests that a pace clearly too high has refused, and logarithm of how much likelier that must be."""
ONCE_IN = 50.0
"""Refusals in a row that are rarer come not by chance."""


class Excess:
    """Whether more are refused than by chance: a sequential test (CUSUM)."""

    __slots__ = ("_doubt", "_through")

    def __init__(self) -> None:
        self._doubt, self._through = 0.0, 0  # what speaks for the pace; how many had got through at the last refusal

    def found(self, through: int, usual: float, *, refused: int = 1) -> bool:
        """Whether it takes a pace that is too high to explain a refusal.

        Args:
            through: Requests that ever got through.
            usual: Part of them that is refused by chance.
            refused: Refusals in a row that it stands for.
        """
        passed, self._through = through - self._through, through
        usual = max(usual, NONE)
        more = max(TOO_MANY, min(2.0 * usual, (1.0 + usual) / 2.0))
        for_pace = self._doubt + passed * math.log((1.0 - more) / (1.0 - usual))
        self._doubt = max(for_pace, 0.0) + refused * math.log(more / usual)
        if self._doubt < CERTAIN:
            return False
        self._doubt = 0.0
        return True


class Best:
    """The most that was let in per second."""

    __slots__ = ("_mark", "_rate", "_seen_at")

    def __init__(self) -> None:
        self._rate = 0.0
        self._mark: tuple[float, int] | None = None  # when counting began, and how many had got through
        self._seen_at = -math.inf

    def few(self, now: float, through: int, going: float, *, pace: float) -> bool:
        """Whether so few go, at a refusal, that no limit refuses one.

        Args:
            now: When.
            through: Requests that ever got through.
            going: How many went per second just before; infinite where that proves nothing.
            pace: How many may go per second: where that is less than one, most seconds see none.
        """
        self._rate *= math.pow(0.5, (now - self._seen_at) / REMEMBERED)
        self._seen_at = now
        few = self._rate > 0.0 and going <= FEW * self._rate and pace <= self._rate
        self._measure(now, through)
        return few

    def _measure(self, now: float, through: int) -> None:
        """From refusal to refusal: at both, whatever a limit saves up was spent."""
        if self._mark is None:
            self._mark = now, through
        since, before = self._mark
        if now - since >= SPAN:
            self._rate = max(self._rate, (through - before) / (now - since))
            self._mark = now, through


class Part:
    """How many of the last so many requests were refused; what is older counts ever less."""

    __slots__ = ("_last", "refused", "sent")

    def __init__(self, last: float) -> None:
        self._last = last
        self.sent = self.refused = 0.0

    def count(self, sent: int) -> None:
        """So many more, the last of which was refused."""
        left = math.exp(-sent / self._last)
        self.sent, self.refused = left * self.sent + sent, left * self.refused + 1.0


class Chance:
    """What is known of them.

    Args:
        most: The greatest share that is believed.
    """

    __slots__ = ("_all", "_excess", "_few", "_most", "_refuted_until", "_seen_at", "_storm", "_through")

    def __init__(self, most: float = MOST) -> None:
        self._most = most
        self._few = Part(LATELY)  # while few went
        self._all, self._storm = Part(OVERALL), Part(STORM)  # whatever went
        self._refuted_until = -math.inf
        self._excess = Excess()
        self._through, self._seen_at = 0, -math.inf  # at the last refusal

    @property
    def share(self) -> float:
        """Part of the requests that is refused by chance."""
        surely = max(self._few.refused - SURE * math.sqrt(self._few.refused), 0.0) / (self._few.sent + DOUBTFUL)
        return surely if LEAST <= surely <= self._most else 0.0

    @property
    def in_a_row(self) -> int:
        """Refusals of one request, one after the other, that are too many for chance."""
        return math.ceil(-math.log(ONCE_IN) / math.log(max(self.share, NONE)))

    def explains(self, now: float, through: int, *, few: bool) -> bool:
        """Whether a refusal is one of them, and tells nothing of the pace.

        Args:
            now: When.
            through: Requests that ever got through.
            few: Whether so few go that no limit refuses one.
        """
        passed, self._through = through - self._through, through
        self._few.refused *= math.pow(0.5, (now - self._seen_at) / FADING)
        self._seen_at = now
        if few:
            self._few.count(passed + 1)
        if self._refuted(passed + 1, now):
            self._few, few = Part(LATELY), False
        return not self._excess.found(through, max(self.share, WHERE_FEW_GO if few else 0.0))

    def _refuted(self, sent: int, now: float) -> bool:
        """Whether of all requests, `sent` more by now, too few or too many are refused for the share."""
        self._all.count(sent)
        self._storm.count(sent)
        if self._storm.sent > SURELY and self._storm.refused > MOSTLY * self._most * self._storm.sent:
            self._refuted_until = now + REFUTED
        rarely = self._all.sent > ENOUGH and self._all.refused < LESS * self.share * self._all.sent
        return rarely or now < self._refuted_until
