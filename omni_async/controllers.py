"""The three small controllers of the limiter, and who is to blame for a refusal. Plain arithmetic: times are passed in.

*Pace* is requests per second, *Window* requests in flight, *Slots* tasks running at the gateway. What an account allows
is nowhere documented, so each starts carefully, grows while it is used, and is cut by a refusal that is its fault.
"""

import enum
import math

import attrs

DOUBLING = 1.0
"""Seconds of use in which an untested pace doubles."""
CUT_TESTED, CUT_UNTESTED, CUT_AGAIN = 0.97, 0.85, 0.55
AGAIN = 1.5
"""A refusal so many seconds after sending went on means that the last cut was not enough."""
RECOVERY = 5.0
SLACK = 0.01
"""Seconds a pace may catch up: event loops wake late."""
PROBE = 0.9
"""How many task times apart the number of running tasks is tried beyond what is known."""
GIVE_UP = 1800.0
"""Seconds after which a task nobody saw finish no longer counts as running (docs: give up after about 30 min)."""


class Controller(enum.StrEnum):
    """Who adjusts to a refusal."""

    PACE = "pace"
    WINDOW = "window"
    SLOTS = "slots"
    TRIAL = "trial"
    """Nobody yet: it is settled by experiment."""


@attrs.frozen(kw_only=True)
class Evidence:
    """What is known when a request was refused for now.

    Args:
        create: Whether it was a create.
        named: The limit that the gateway's words name, if they do.
        in_flight: Requests in flight when it was sent, itself included.
        safe_in_flight: The most in flight that lately got through.
        slots_known: Whether the number of tasks the account runs has been found before.
        at_cap: Whether as many run as were running when a create was refused before.
        trials: Refusals of this experiment so far, this one included.
        finished: Tasks of ours seen finished since it began.
        polls_refused: Whether polls were refused since it began.
        running: Our tasks running.
    """

    create: bool
    named: Controller | None = None
    in_flight: int = 1
    safe_in_flight: int = 1
    slots_known: bool = False
    at_cap: bool = False
    trials: int = 1
    finished: int = 0
    polls_refused: bool = False
    running: int = 0


LADDER = 4
"""Refusals of one create, 1, 2 and 4 s apart, after which it is no matter of pace (seed: 1/2/4 s)."""
SHORT_LADDER = 2
"""The same once the account's number of running tasks is known."""


def attribute(evidence: Evidence) -> Controller:
    """The one controller that a refusal adjusts.

    A refused query is the pace, or the window if more were in flight than lately got through. A refused create is
    ambiguous: it stays on trial until the ladder is through, and is then a matter of slots if tasks of ours run, none
    finished and polls get through. `TRIAL` after the ladder means that nothing was found to blame.
    """
    if not evidence.create:
        if evidence.named in (Controller.PACE, Controller.WINDOW):
            return evidence.named
        return Controller.WINDOW if evidence.in_flight > evidence.safe_in_flight else Controller.PACE
    if evidence.named is Controller.PACE:
        return Controller.PACE
    if not evidence.running:
        return Controller.TRIAL
    if evidence.at_cap or evidence.named in (Controller.SLOTS, Controller.WINDOW):
        return Controller.SLOTS
    rungs = SHORT_LADDER if evidence.slots_known else LADDER
    through = evidence.trials >= rungs and not evidence.polls_refused and not evidence.finished
    return Controller.SLOTS if through else Controller.TRIAL


class Pace:
    """Requests per second: smooth, no initial burst.

    Untested it doubles; refused, it is set by what got through between two refusals (at both the allowance was just
    used up, so that is the allowance itself, however the gateway counts), and creeps up to try again.

    Args:
        ceiling: Requests per second never to be exceeded; None if not known.
        start: The untested pace.
    """

    __slots__ = (
        "_cut_at",
        "_floor",
        "_grown",
        "_last",
        "_next",
        "_passed",
        "_recovery",
        "_refused_at",
        "_top",
        "ceiling",
        "rate",
    )

    def __init__(self, ceiling: float | None = None, *, start: float = 20.0) -> None:
        self.ceiling = ceiling
        self.rate = ceiling or start
        self._next = self._last = self._cut_at = self._refused_at = -math.inf
        self._top: float | None = None  # what is thought to be allowed; None while nothing was refused
        self._floor = self.rate
        self._grown = 0.0
        self._recovery = RECOVERY
        self._passed = 0

    @property
    def known(self) -> bool:
        """Whether a refusal ever told something about the limit."""
        return self._top is not None

    def ready_at(self) -> float:
        """When the next request may go."""
        return self._next

    def take(self, now: float) -> None:
        """One request goes."""
        gap = now - self._last
        if gap * self.rate <= 2.0:  # at least half used: then, and only then, it may grow
            self._grow(gap)
        self._last = now
        self._next = max(self._next, now - SLACK) + 1.0 / self.rate

    def passed(self) -> None:
        """One request got through."""
        self._passed += 1

    def _grow(self, seconds: float) -> None:
        self._grown += seconds
        if self._top is None:
            rate = self.rate * 2.0 ** (seconds / DOUBLING)
        else:
            left = 1.0 - self._grown / self._recovery
            rate = self._top - (self._top - self._floor if left > 0 else 0.1 * self._top) * left**3
        self.rate = min(rate, self.ceiling or 1e6)

    def cut(self, now: float, resumes: float) -> None:
        """A refusal of a request sent at this pace.

        Args:
            now: Time of the refusal.
            resumes: When sending goes on.
        """
        again = now - self._cut_at < AGAIN
        guess = self.rate * (CUT_AGAIN if again else CUT_UNTESTED)
        measured = self._allowance(now)
        self._top = self.rate if measured is None else min(max(measured, self.rate * CUT_AGAIN), self.rate * CUT_TESTED)
        self.rate = self._floor = max(guess if measured is None else self._top * CUT_TESTED, 0.02)
        self._grown, self._passed = 0.0, 0
        # A pause costs throughput: the longer it is, the rarer the limit is tried again.
        self._recovery = min(max(RECOVERY, 8.0 * (resumes - now)), 30.0)
        self._refused_at, self._cut_at = now, resumes
        self._next = max(self._next, resumes)

    def _allowance(self, now: float) -> float | None:
        """What got through per second since the refusal before, if that was long enough to tell.

        A gateway may have saved up allowance during the pause or not: the mean of both readings.
        """
        whole, used = now - self._refused_at, now - self._cut_at
        if self._passed < 4 or used < 2.0 * (whole - used) or not math.isfinite(whole) or used <= 0:
            return None
        return self._passed / math.sqrt(whole * used)

    def __repr__(self) -> str:
        return f"<Pace {self.rate:.3g} requests/s{'' if self.known else ', no limit met'}>"


class Window:
    """Requests in flight: additive increase while at least half used, multiplicative decrease.

    Args:
        ceiling: The most in flight, ever.
    """

    __slots__ = ("_cut_at", "_grow_at", "_size", "_tested", "ceiling", "safe")

    def __init__(self, ceiling: int = 64) -> None:
        self.ceiling = ceiling
        self._size = float(min(ceiling, 16))
        self._tested = False
        self._grow_at = 0.0
        self._cut_at = -math.inf
        self.safe = 1

    @property
    def size(self) -> int:
        """Requests that may be in flight now."""
        return int(self._size)

    def passed(self, in_flight: int, now: float) -> None:
        """A request that was sent with so many in flight got through."""
        if in_flight > self.safe:
            self.safe = in_flight
        if self._size >= self.ceiling or 2 * in_flight < self._size:
            return
        if not self._tested:
            self._size = min(self._size + 1.0, float(self.ceiling))
        elif now >= self._grow_at:
            self._size = min(self._size + 1.0, float(self.ceiling))
            self._grow_at = now + RECOVERY

    def refused(self, in_flight: int, now: float) -> None:
        """A request that was sent with so many in flight was refused: one fewer, or far fewer if that did not help."""
        again = now - self._cut_at < AGAIN
        limit = (in_flight - 1) * (0.75 if again else 1.0)
        self._size = max(min(self._size, limit), 1.0)
        self._settle(now)

    def timed_out(self, now: float) -> None:
        """A request got no answer in time: half."""
        if now - self._cut_at >= AGAIN:
            self._size = max(self._size / 2.0, 1.0)
            self._settle(now)

    def _settle(self, now: float) -> None:
        self._tested = True
        self._cut_at = now
        self._grow_at = now + RECOVERY
        self.safe = min(self.safe, self.size)

    def __repr__(self) -> str:
        return f"<Window {self.size} of {self.ceiling} in flight>"


class Slots:
    """Tasks running at the gateway, held from submit until they are seen finished.

    Args:
        ceiling: Tasks that may run at most, as far as the caller knows.
    """

    __slots__ = ("_leases", "_probe_at", "_run_time", "_suspected", "cap", "ceiling", "known")

    def __init__(self, ceiling: int | None = None) -> None:
        self.ceiling = ceiling
        self.cap: int | None = None  # at so many a create was refused
        self.known = False  # and that was for their number
        self._leases: dict[str, tuple[float, float]] = {}
        self._run_time: float | None = None
        self._suspected = 0
        self._probe_at = math.inf

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

    def full(self) -> bool:
        """Whether the next create waits for a task to finish."""
        return any(limit is not None and len(self._leases) >= limit for limit in (self.cap, self.ceiling))

    def ready_at(self, now: float) -> float:
        """When the next create may go: now, at the next probe of the cap, or when a lease ends."""
        if not self.full():
            return now
        end = self._first_end(now)
        if end <= now or (self.ceiling is not None and len(self._leases) >= self.ceiling):
            return end
        return max(min(self._probe_at, end), now)

    def _first_end(self, now: float) -> float:
        end = min((end for _, end in self._leases.values()), default=now)
        if end <= now:
            self._leases = {key: lease for key, lease in self._leases.items() if lease[1] > now}
        return end

    def hold(self, key: str, now: float, *, seconds: float = GIVE_UP) -> None:
        """A create goes, and its task runs for at most so long. Beyond the cap it is a probe: the next one waits."""
        if self.cap is not None and len(self._leases) >= self.cap:
            self._probe_at = now + PROBE * self.run_time
        self._leases[key] = (now, now + seconds)

    def rename(self, key: str, task_id: str) -> None:
        """A create was accepted: its slot goes to the task."""
        lease = self._leases.pop(key, None)
        if lease is not None:
            self._leases[task_id] = lease

    def shorten(self, key: str, now: float) -> None:
        """Nobody will ever see this one finish: it keeps its slot for the usual run time."""
        if key in self._leases:
            self._leases[key] = (now, now + 2.0 * self.run_time)

    def free(self, key: str, now: float, *, finished: bool = False) -> bool:
        """A task gives its slot back; True if it held one."""
        lease = self._leases.pop(key, None)
        if lease is not None and finished:
            took = max(now - lease[0], 0.0)
            self._run_time = took if self._run_time is None else 0.8 * self._run_time + 0.2 * took
            self._probe_at = min(self._probe_at, now + PROBE * self.run_time)
        return lease is not None

    def suspect(self, count: int, now: float) -> None:
        """A create was refused at so many and went through after one had finished: look whether more can run."""
        self.cap, self.known, self._probe_at = max(count, 1), False, now
        self._suspected = self.cap

    def refused(self, now: float) -> None:
        """A create was refused because so many run: from now on the next one waits for a finish."""
        self.cap, self.known = max(len(self._leases), 1), True
        self._probe_at = now + PROBE * self.run_time

    def admitted(self, now: float) -> bool:
        """A create got through. Beyond the cap, the cap is one higher and the next one is tried.

        True if a cap that was only suspected has turned out to be none.
        """
        if self.cap is None or len(self._leases) <= self.cap:
            return False
        self.cap, self._probe_at = len(self._leases), now
        if self.known or self.cap <= 1.25 * self._suspected + 1:  # finishes are seen late: the count is no exact one
            return False
        self.cap, self._probe_at = None, math.inf
        return True

    def __repr__(self) -> str:
        limit = self.cap if self.cap is not None else self.ceiling
        return f"<Slots {self.running} of {limit if limit is not None else 'any number'} running>"
