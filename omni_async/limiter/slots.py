"""Tasks running at one account, and how many may. Plain arithmetic: times are passed in."""

import math

PROBE = 1.03
"""How many task times apart the number of running tasks is tried beyond what is known: a refused try each."""
PER_PAUSE = 40.0
"""Slots that empty during a pause cost throughput: the next try comes after so many times that at the soonest."""
PAUSE_AFTER_LUCK = 0.1
"""Part of a task time between a first try that got through and the second: finishes are seen late."""
AFTER_NOTHING = 0.08
"""Part of a task time after a try that told nothing, since a task was seen finished before its answer came."""
LONG_PAUSE, SOON = 0.02, 0.05
"""Part of a task time from which a pause is long: the try that may cost it comes so soon after the slots were filled,
for tasks of equal length end together."""
GIVE_UP = 1800.0
"""Seconds after which a task nobody saw finish no longer counts as running (docs: give up after about 30 min)."""


class Slots:
    """Tasks running at the gateway, held from submit until they are seen finished.

    Args:
        ceiling: Tasks that may run at most, as far as the caller knows.
    """

    __slots__ = (
        "_falls",
        "_first_end",
        "_leases",
        "_pause",
        "_probe",
        "_probe_at",
        "_run_time",
        "_streak",
        "_suspected",
        "_timely",
        "cap",
        "ceiling",
        "known",
        "met_at",
        "sure",
    )

    def __init__(self, ceiling: int | None = None) -> None:
        self.ceiling = ceiling
        self.cap: int | None = None  # at so many a create was refused
        self.known = False  # and that was for their number
        self.sure = 0  # what it was at the last refusal: more got through only because a finish was not yet seen
        self.met_at = -math.inf  # when that refusal was
        self._leases: dict[str, tuple[float | None, float]] = {}
        self._first_end = math.inf  # no lease ends before this
        self._run_time: float | None = None
        self._suspected = self._streak = 0
        self._falls = 0  # refusals below the cap, one after the other
        self._pause = 0.0  # what the last refusal cost
        self._probe_at = math.inf
        self._probe: str | None = None  # the last that went beyond the cap
        self._timely = False  # whether the next comes soon after the slots were filled

    @property
    def running(self) -> int:
        """Tasks of ours that hold a slot, creates in flight included."""
        return len(self._leases)

    @property
    def run_time(self) -> float:
        """What a task takes, as far as seen: seconds."""
        return self._run_time if self._run_time is not None else 60.0

    def holds(self, key: str) -> bool:
        """Whether the task is one of ours and not yet seen finished."""
        return key in self._leases

    @property
    def falling(self) -> bool:
        """Whether fewer run than could before: the last create was refused for that."""
        return self._falls > 0

    @property
    def refuted_at(self) -> int:
        """So many running tell that what was suspected is no cap; finishes are seen late, so that some more do not."""
        return self._suspected + self._suspected // 4 + 2

    def full(self) -> bool:
        """Whether the next create waits for a task to finish."""
        running = len(self._leases)
        return (self.cap is not None and running >= self.cap) or (self.ceiling is not None and running >= self.ceiling)

    def ready_at(self, now: float) -> float:
        """When the next create may go: now, at the next probe of the cap, or when a lease ends."""
        if not self.full():
            return now
        if now >= self._first_end:
            self._end_leases(now)
            if not self.full():
                return now
        if self.ceiling is not None and len(self._leases) >= self.ceiling:
            return self._first_end
        probe_at = self._probe_at + (self.run_time if self._untimely() else 0.0)
        return max(min(probe_at, self._first_end), now)

    def _untimely(self) -> bool:
        """Whether the next try waits for the slots to be filled, since it may cost a long pause."""
        return not self._timely and self._pause > LONG_PAUSE * self.run_time

    def _end_leases(self, now: float) -> None:
        self._leases = {key: lease for key, lease in self._leases.items() if lease[1] > now}
        self._first_end = min((end for _, end in self._leases.values()), default=math.inf)

    def occupy(self, key: str, now: float) -> None:
        """A task that was submitted before runs: how long it took its end will not tell."""
        self._lease(key, None, now + GIVE_UP)

    def hold(self, key: str, now: float) -> None:
        """A create goes. Beyond the cap it is a probe: the next one waits."""
        if now >= self._first_end:
            self._end_leases(now)
        if self.cap is not None and len(self._leases) >= self.cap:
            self._probe, self._probe_at, self._timely = key, now + self._rest(), False
        self._lease(key, now, now + GIVE_UP)
        if len(self._leases) == self.cap and now >= self._probe_at and self._untimely():
            self._probe_at, self._timely = now + SOON * self.run_time, True

    def _lease(self, key: str, began: float | None, ends: float) -> None:
        self._leases[key] = (began, ends)
        self._first_end = min(self._first_end, ends)

    def rename(self, key: str, task_id: str) -> None:
        """A create was accepted: its slot goes to the task."""
        lease = self._leases.pop(key, None)
        if lease is not None:
            self._leases[task_id] = lease

    def shorten(self, key: str, now: float) -> None:
        """Nobody will ever see this one finish: it keeps its slot for the usual run time."""
        if key in self._leases:
            self._leases[key] = (now, now + 2.0 * self.run_time)
            self._first_end = min(self._first_end, now + 2.0 * self.run_time)

    def free(self, key: str, now: float, *, finished: bool = False) -> bool:
        """A task gives its slot back; True if it held one."""
        lease = self._leases.pop(key, None)
        if lease is not None and finished:
            if lease[0] is not None:
                took = max(now - lease[0], 0.0)
                self._run_time = took if self._run_time is None else 0.8 * self._run_time + 0.2 * took
            self._probe_at = min(self._probe_at, now + self._rest())
        return lease is not None

    def suspect(self, count: int, now: float) -> None:
        """A create was refused at so many and went through after one had finished: look whether more can run."""
        self.cap, self._probe_at = max(count, 1), now
        self._suspected = self.sure = self.cap

    def refused(self, now: float, *, pause: float = 0.0) -> None:
        """A create was refused because so many run: from now on the next one waits for a finish.

        Args:
            now: When.
            pause: Seconds that the refusal keeps all creates waiting.
        """
        running = len(self._leases)
        met = self.cap is None or (running >= self.cap and not self._streak)
        self._falls = self._falls + 1 if self.cap is not None and running < self.cap else 0
        # What got through beyond the cap was luck: a finish not yet seen. A large number comes down by some, one
        # that fell ever faster.
        fall = 0 if met else max(running // 50, self._falls // 2)
        self.cap, self.known = max(running - fall, 1), True
        self.sure = self.cap
        self._streak, self._pause, self.met_at = 0, pause, now
        self._probe_at = now + self._rest()

    def miscounted(self) -> None:
        """One of those that seemed to run when a create was refused was refused itself, later."""
        if self.cap is not None:
            self.cap = self.sure = max(self.cap - 1, 1)

    def _rest(self) -> float:
        """Seconds between two tries."""
        emptied = min(self._pause / (2.0 * max(self.run_time, 0.1)), 1.0)
        return max(PROBE * self.run_time, min(PER_PAUSE * self._pause * emptied, GIVE_UP / 3.0))

    def admitted(self, key: str, now: float, *, sent: float = math.inf) -> bool:
        """A create got through. Beyond the cap, the cap is one higher and the next one is tried.

        Args:
            key: What it was held with.
            now: When.
            sent: When it was sent: what was on its way at a refusal is counted in the cap already.

        Returns:
            Whether a cap that was only suspected has turned out to be none.
        """
        if self._falls and sent >= self.met_at:
            if self._falls > 1:  # it may have come down too far
                self._probe_at = now
            self._falls = 0
        if self.cap is None or len(self._leases) <= self.cap or sent < self.met_at:
            if key == self._probe:
                self._probe_at = now + AFTER_NOTHING * self.run_time
            return False
        self._streak += 1
        more = min(max(self._streak - 2, 0), self.cap // 8)
        self.cap = len(self._leases) + more
        self._probe_at = now if not self.known or self._streak > 1 else now + PAUSE_AFTER_LUCK * self.run_time
        if self.known or self.cap < self.refuted_at:  # finishes are seen late: the count is not exact
            return False
        self.cap, self._probe_at = None, math.inf
        return True

    def __repr__(self) -> str:
        limit = self.cap if self.cap is not None else self.ceiling
        return f"<Slots {self.running} of {limit if limit is not None else 'any number'} running>"
