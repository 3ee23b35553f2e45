"""What a contender is asked to do, and what came of it. Imports nothing of the package: floor and peers use it too."""

import asyncio
import math
import os
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

KEY = "benchmark"


@dataclass
class Run:
    """One run of one contender.

    Args:
        port: Where the server is, on loopback.
        tasks: How many tasks.
        interval: Seconds between two looks at a task; None leaves it to the client.
        least: For a client that plans its looks: seconds between two at the least.
        usual: Whether a peer looks as often as it does by itself, whatever `interval` says.
        price: For such a client: seconds of lag that a look is worth; None is its usual.
        connections: Requests in flight at most, for clients that take a bound.
        told: Requests a second the client is told it may send; None lets it find out.
        waiters: For sharing: how many wait for the one task.
        seconds: Median run time of followed tasks, in seconds.
        sigma: Its logarithm's standard deviation.
        seed: Of the run times.
        looks: Followed tasks finish at this look instead of at a time; 0 is by time.
        rate: Followed tasks appear at so many a second; 0 is all at once.
        patience: Seconds after which the run is broken off.
        journal: Whether submits are journalled, where there is a journal.
        creates: What the server does with a create.
        ids: The followed tasks, made by `prepare`.
        lags: Seconds from each task's end at the server to the moment its waiter had it.
        errors: What was raised to the waiters.
    """

    port: int
    tasks: int
    interval: float | None = 1.0
    least: float | None = None
    usual: bool = False
    price: float | None = None
    connections: int = 64
    told: float | None = None
    waiters: int = 1
    seconds: float = 3.0
    sigma: float = 0.4
    seed: int = 1
    looks: int = 0
    rate: float = 0.0
    patience: float = 600.0
    journal: bool = False
    creates: str = "answer"
    ids: list[str] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)

    @property
    def gateway(self) -> str:
        """The server's address."""
        return f"http://127.0.0.1:{self.port}"

    def prepare(self) -> None:
        """Make the followed ids now, so that they are no part of what is measured."""
        times = random.Random(self.seed)
        now = time.monotonic()
        for number in range(self.tasks):
            begin = now + (number / self.rate if self.rate else 0.0)
            end = begin + times.lognormvariate(math.log(self.seconds), self.sigma)
            by_time = f"t-{number}-{begin:.3f}-{end:.3f}"
            self.ids.append(f"l-{number}-{self.looks}" if self.looks else by_time)

    async def arrivals(self) -> AsyncIterator[str]:
        """Each id when it begins."""
        for task_id in self.ids:
            wait = float(task_id.split("-")[2]) - time.monotonic()
            if wait > 0:
                await asyncio.sleep(wait)
            yield task_id

    def finished(self, task_id: str) -> None:
        """The waiter has a finished task."""
        kind, _, *times = task_id.split("-")
        self.lags.append(time.monotonic() - float(times[1]) if kind == "t" else 0.0)

    def failed(self, error: BaseException) -> None:
        """The waiter got an error instead."""
        self.errors[type(error).__name__] += 1


def quantile(values: list[float], share: float) -> float | None:
    """The value below which `share` of them lie."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)] if values else None


def resident() -> float:
    """Bytes of memory this process has now; where that is not told, the most it had so far."""
    try:
        return float(Path("/proc/self/statm").read_text("ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return peak()


def peak() -> float:
    """Bytes of memory this process had at the most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1.0 if sys.platform == "darwin" else 1024.0)
