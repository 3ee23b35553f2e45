"""Tasks without timers: where a task stands is worked out from the time whenever somebody asks."""

import hashlib
import hmac
import math
import secrets
from collections.abc import Iterable
from random import Random

import attrs

from .clock import Clock
from .scenario import Scenario

DAY = 86_400.0
URL_SECONDS = {"jimmy": 3 * DAY, "gemini_omni": DAY, "toapis": DAY}  # docs

QUEUED, RUNNING, COMPLETED, FAILED, CANCELED = "queued", "running", "completed", "failed", "canceled"


@attrs.frozen(kw_only=True)
class Order:
    """A create that passed its gateway's checks. `seconds` is the video's length."""

    gateway: str
    model: str
    prompt: str
    seconds: int
    resolution: str
    ratio: str
    mode: str | None = None
    business_id: str | None = None
    callback_url: str | None = None


@attrs.define(eq=False)
class Task:
    """An accepted create; times are seconds since the emulator started, `expires` that of its URL."""

    task_id: str
    order: Order
    created: float
    starts: float
    ends: float
    outcome: str = COMPLETED
    error: tuple[str, str] | None = None
    expires: float = -math.inf
    generation: int = 0


@attrs.frozen
class Look:
    """Where a task stands now. `word` replaces the status on the wire, `progress` None leaves it out."""

    status: str
    progress: int | None
    url: str | None = None
    expires: float | None = None
    error: tuple[str, str] | None = None
    completed: float | None = None
    word: str | None = None


class TaskBook:
    """All tasks, by id and by client_business_id."""

    def __init__(self, seed: int, clock: Clock) -> None:
        self._clock = clock
        self._tasks: dict[str, Task] = {}
        self._by_business_id: dict[str, Task] = {}
        self._random = Random(seed)
        self._secret = secrets.token_bytes(32)

    def find(self, task_id: str, gateways: Iterable[str]) -> Task | None:
        """The task of this id, or client_business_id on toapis, if it is one of these gateways'."""
        task = self._tasks.get(task_id)
        if task is None and "toapis" in gateways:
            task = self._by_business_id.get(task_id)
        return task if task is not None and task.order.gateway in gateways else None

    def replayed(self, order: Order) -> Task | None:
        """The task an earlier create with the same client_business_id made."""
        return None if order.business_id is None else self._by_business_id.get(order.business_id)

    def draft(self, order: Order, now: float, scenario: Scenario) -> Task:
        """A task with its run time drawn, not yet in the book."""
        spread = math.exp(self._random.gauss(0.0, 1.0) * scenario.task_sigma)
        seconds = scenario.task_seconds * scenario.time_scale * spread
        queued = min(scenario.queue_seconds * scenario.time_scale, seconds / 2)
        # Random on purpose, seed or not: a journal may outlive the emulator and must not meet an id twice.
        return Task("task_" + secrets.token_hex(10), order, now, now + queued, now + seconds)

    def accept(self, task: Task) -> None:
        """Enter a drafted task."""
        self._tasks[task.task_id] = task
        if task.order.business_id is not None:
            self._by_business_id[task.order.business_id] = task

    def look(self, task: Task, now: float, scenario: Scenario) -> Look:
        """Where the task stands at `now`."""
        if now < task.starts:
            return Look(QUEUED, _shown(scenario, 0))
        if now < task.ends:
            return Look(RUNNING, _shown(scenario, _share(task, now)))
        if task.outcome != COMPLETED:
            return Look(task.outcome, _shown(scenario, 0), error=task.error, completed=task.ends)
        url = self._url(task, now, scenario)
        return Look(COMPLETED, _shown(scenario, 100), url, task.expires, completed=task.ends)

    def may_fetch(self, task: Task, expires: str, signature: str) -> bool:
        """Whether this is a URL given out for the task's video, still valid and not replaced."""
        if not hmac.compare_digest(self._sign(task, expires).encode(), signature.encode("utf-8", "replace")):
            return False
        return self._clock.wall(self._clock.now()) < float(expires)

    def _url(self, task: Task, now: float, scenario: Scenario) -> str:
        life = scenario.url_seconds
        life = URL_SECONDS[task.order.gateway] if life is None else life
        if task.expires == -math.inf or (scenario.renew_urls and now >= task.expires):
            task.expires = now + life
        expires = f"{self._clock.wall(task.expires):.3f}"
        return f"/files/{task.task_id}.mp4?expires={expires}&signature={self._sign(task, expires)}"

    def _sign(self, task: Task, expires: str) -> str:
        text = f"{task.task_id} {expires} {task.generation}"
        return hmac.new(self._secret, text.encode("utf-8", "replace"), hashlib.sha256).hexdigest()


def _share(task: Task, now: float) -> int:
    """Progress while running: 1 to 99, in proportion to the time (docs). A task without end creeps."""
    if task.ends == math.inf:
        return min(99, 1 + int(now - task.starts))
    return min(99, 1 + int(99 * (now - task.starts) / (task.ends - task.starts)))


def _shown(scenario: Scenario, progress: int) -> int | None:
    if scenario.progress is False:
        return None
    return min(progress, 30) if scenario.progress == "stuck" and progress < 100 else progress
