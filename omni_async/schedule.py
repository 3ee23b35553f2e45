"""When to look at a running task again. Pure, and replaceable: the poller asks nothing else.

The interval grows in proportion to the time already waited, within the dialect's advised range: a task that has run
for long is likely to run for long still.
"""

import random

import attrs

GROWTH = 0.12
"""Part of the time waited so far: a task is found finished at most about this much late."""
EAGER = 0.1
"""Part of a usual run time between looks while a create waits for a task to finish: a slot is idle half as long."""
SHORTEST_EAGER = 0.5
"""Seconds between such looks at least."""
JITTER = 0.1


@attrs.frozen(kw_only=True)
class Schedule:
    """Look times within a range, in seconds.

    Args:
        first: When to look first after the submit.
        shortest: The shortest interval.
        longest: The longest interval.
        fixed: Just this interval instead, without jitter.
        strict: Whether `shortest` is the caller's own word; else it is advice for tasks of minutes, and short ones
            are looked at sooner while a create waits for their slot.
    """

    first: float = 5.0
    shortest: float = 5.0
    longest: float = 15.0
    fixed: float | None = None
    strict: bool = False

    def interval(self, waited: float, rng: random.Random, *, awaited: float | None = None) -> float:
        """Seconds until the next look at a task that has been waited for `waited` seconds.

        Args:
            waited: Seconds since the submit, or since it was first asked about.
            rng: Source of the jitter that keeps thousands of ids from falling due at once.
            awaited: What tasks take, in seconds, if a create waits for this one to finish.
        """
        if self.fixed is not None:
            return self.fixed
        most = max(self.longest / (1.0 + JITTER), self.shortest)
        wanted = self.first if waited <= 0.0 else min(max(waited * GROWTH, self.shortest), most)
        if awaited is not None:
            eager = max(awaited * EAGER, SHORTEST_EAGER if not self.strict else self.shortest)
            wanted = min(wanted, eager if waited > 0.0 else max(awaited / 2.0, eager))
        return wanted * (1.0 + JITTER * rng.random())

    def after_error(self, failures: int, rng: random.Random) -> float:
        """Seconds until an id whose looks fail is looked at again: doubling, up to four times the longest."""
        if self.fixed is not None:
            return self.fixed * 2.0 ** min(failures, 3)
        return min(self.shortest * 2.0 ** min(failures, 20), self.longest * 4.0) * (1.0 + JITTER * rng.random())
