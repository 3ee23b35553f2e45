"""The ground truth of a run: what was charged, asked, refused, and how many tasks ran when."""

import heapq
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import attrs

REMEMBERED_REQUESTS = 500


@attrs.frozen
class Charge:
    """One accepted create. `seconds` is the length billed, `at` seconds since the emulator started."""

    task_id: str
    gateway: str
    model: str
    seconds: int
    at: float
    price: float
    resolution: str
    prompt: str
    business_id: str | None = None


class SeenRequest(NamedTuple):
    """A request as it arrived; `headers` without Authorization, `json` None where there was none."""

    method: str
    path: str
    headers: dict[str, str]
    json: Any


@attrs.frozen
class Delivery:
    """One try to deliver a webhook: its HTTP status, or why there was none."""

    event_id: str
    task_id: str
    url: str
    outcome: int | str
    at: float


class RunningTasks:
    """How many tasks are unfinished, and were at any moment: ends count at their true times, without a timer."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._ends: list[float] = []
        self._timeline: list[tuple[float, int]] = [(0.0, 0)]
        self._count = 0

    def add(self, ends: float) -> None:
        """Count one more from now until `ends` (seconds since the start; inf: for good)."""
        self._change(self._catch_up(), 1)
        heapq.heappush(self._ends, ends)

    @property
    def count(self) -> int:
        """Tasks unfinished now."""
        self._catch_up()
        return self._count

    @property
    def timeline(self) -> list[tuple[float, int]]:
        """(seconds since the start, number running from then on), in order of time."""
        self._catch_up()
        return list(self._timeline)

    def mean(self, start: float = 0.0, end: float | None = None) -> float:
        """The mean number running between two moments, `end` being now unless given."""
        now = self._catch_up()
        end = now if end is None else end
        total = 0.0
        following = [*(at for at, _ in self._timeline[1:]), max(end, now)]
        for (at, count), until in zip(self._timeline, following, strict=True):
            total += count * max(0.0, min(until, end) - max(at, start))
        return total / (end - start) if end > start else 0.0

    def _catch_up(self) -> float:
        now = self._now()
        while self._ends and self._ends[0] <= now:
            self._change(heapq.heappop(self._ends), -1)
        return now

    def _change(self, at: float, by: int) -> None:
        self._count += by
        self._timeline.append((max(at, self._timeline[-1][0]), self._count))


class Ledger:
    """What the emulator saw and charged. Times are seconds since it started.

    `requests` and `refused` count by kind (create, query, file, upload, balance), refused being 429s and rate
    limits hidden in a 200; `refused_by` counts by the limit that refused; `per_task` the queries of each task;
    `keys_at_files` the downloads that carried an Authorization header, which no client should send.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._running = RunningTasks(now)
        self.charges: list[Charge] = []
        self.requests: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.refused_by: Counter[str] = Counter()
        self.per_task: Counter[str] = Counter()
        self.last_requests: deque[SeenRequest] = deque(maxlen=REMEMBERED_REQUESTS)
        self.webhooks: list[Delivery] = []
        self.spent = 0.0
        self.keys_at_files = 0
        self.peak_connections = 0
        self.peak_in_flight = 0

    def __repr__(self) -> str:
        tasks = f"{len(self.charges)} charged, {self._running.count} running"
        return f"<Ledger {tasks}, {self.requests.total()} requests, {self.refused.total()} refused>"

    @property
    def running(self) -> list[tuple[float, int]]:
        """(seconds since the start, tasks unfinished from then on), in order of time."""
        return self._running.timeline

    @property
    def running_now(self) -> int:
        """Tasks unfinished now."""
        return self._running.count

    def mean_running(self, start: float = 0.0, end: float | None = None) -> float:
        """The mean number of unfinished tasks from `start` to `end` (now unless given)."""
        return self._running.mean(start, end)

    def charge(self, charge: Charge, ends: float) -> None:
        """Write down an accepted create whose task runs until `ends`."""
        self.charges.append(charge)
        self.spent += charge.price
        self._running.add(ends)

    def refuse(self, kind: str, limit: str) -> None:
        """Write down that `limit` refused a request."""
        self.refused[kind] += 1
        self.refused_by[limit] += 1

    def as_dict(self) -> dict[str, Any]:
        """All of it but the requests themselves, as plain JSON data."""
        return {
            "charges": [attrs.asdict(charge) for charge in self.charges],
            "spent": self.spent,
            "requests": dict(self.requests),
            "refused": dict(self.refused),
            "refused_by": dict(self.refused_by),
            "per_task": dict(self.per_task),
            "running": [list(point) for point in self.running],
            "running_now": self.running_now,
            "webhooks": [attrs.asdict(delivery) for delivery in self.webhooks],
            "keys_at_files": self.keys_at_files,
            "peak_connections": self.peak_connections,
            "peak_in_flight": self.peak_in_flight,
        }
