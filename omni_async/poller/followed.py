"""One followed id: what is known of it, who waits, and what its failed looks come to. Plain state, kept small."""

import copy
import math
from typing import Any, Protocol

import attrs

from ..dialects import Glance
from ..errors import DecodeError, NotFoundError, OmniError, RejectedError
from ..exchange import is_by_a_firewall, is_too_busy, is_unauthorized
from ..models import VideoRequest, VideoTask
from ..schedule import Course, Mark

NOT_FOUND_GRACE = 60.0
"""Seconds in which a gateway may not know a task yet that it has just accepted."""
CONFIRMATIONS = 3
"""How often a definite bad answer must come in a row before it is believed."""
SELDOM = 8.0
"""Intervals between two looks that come early for a deadline: of waits of seconds each would have its own."""


class Waiter(Protocol):
    """Somebody interested in an id."""

    deadline: float
    """Loop time at which the interest ends; infinite for none."""
    every: bool
    """Whether it is told of each change; else of the finished task alone."""

    def changed(self, task: VideoTask) -> None:
        """Status or progress is new; called with the finished task too."""

    def failed(self, task_id: str, error: OmniError) -> None:
        """The id cannot be followed."""


class Trouble:
    """Looks that gave no status, one after the other."""

    __slots__ = ("bad_answers", "failures", "last", "missing_since", "unseen")

    def __init__(self) -> None:
        self.failures = self.bad_answers = self.unseen = 0
        self.missing_since: float | None = None
        self.last: OmniError | None = None

    def confirmed(self, error: OmniError, now: float) -> bool:
        """Count one more; True if by now it is definite that the id cannot be followed."""
        self.last = error.with_traceback(None)  # its frames hold the answer
        self.bad_answers = self.bad_answers + 1 if _definite(error) else 0
        if isinstance(error, NotFoundError):
            self.missing_since = now if self.missing_since is None else self.missing_since
            return now - self.missing_since >= NOT_FOUND_GRACE
        return self.bad_answers >= CONFIRMATIONS

    def strikes(self, error: OmniError) -> int:
        """How many told nothing, the last one too; 0 if that was put off, or of a task not known: that is told soon."""
        if is_too_busy(error) or isinstance(error, NotFoundError):
            return 0
        self.unseen += 1
        return self.unseen


def _definite(error: OmniError) -> bool:
    """Whether the gateway said something about this id that time will hardly change."""
    if is_by_a_firewall(error):
        return False
    refused = isinstance(error, RejectedError) or is_unauthorized(error)
    return refused or (isinstance(error, DecodeError) and error.terminal)


class Followed:
    """One id: what is known of it, when it is due, and who waits.

    Args:
        task_id: The id.
        started: Loop time of its submit, or of the first interest if that is not known.
        course: The looks at tasks of its kind.
        aged: Whether `started` is the time of its submit.
        origin: The task as it was submitted or asked for: whose it is.

    Attributes:
        due: Loop time of the next look.
        planned: The same by the schedule alone, whatever the deadlines; infinite before anybody was interested.
        unhurried: Loop time until which no look comes early for a deadline.
        looked: Loop time of the last look.
        seen: Age at which it was last seen running.
        glance: What it was last seen as while it ran.
        mark: What the schedule keeps of its progress.
        waiters: Who waits.
        watchers: How many of them want to be told of every change.
        busy: Whether it is being looked at, or waits for a worker.
        noticed: Whether news came that the look under way may have been too early for.
        trouble: Its looks that gave no status, since the last that did.
    """

    __slots__ = (
        *("task_id", "started", "course", "aged", "origin", "due", "planned", "unhurried", "looked", "seen", "glance"),
        *("mark", "waiters", "watchers", "busy", "noticed", "trouble"),
    )

    def __init__(
        self, task_id: str, started: float, course: Course, *, aged: bool = False, origin: VideoTask | None = None
    ) -> None:
        self.task_id, self.started, self.course = task_id, started, course
        self.aged, self.origin = aged, origin
        self.due = self.planned = math.inf
        self.unhurried, self.seen = -math.inf, 0.0
        self.looked: float | None = None
        self.glance: Glance | None = None
        self.mark: Mark = None
        self.waiters: list[Waiter] = []
        self.watchers = 0
        self.busy = self.noticed = False
        self.trouble: Trouble | None = None

    def join(self, waiter: Waiter) -> None:
        """One more waits."""
        self.waiters.append(waiter)
        self.watchers += waiter.every

    def leave(self, waiter: Waiter) -> bool:
        """One waits no more; True if he was the last."""
        try:
            self.waiters.remove(waiter)
        except ValueError:
            return False
        self.watchers -= waiter.every
        return not self.waiters

    def in_time(self, due: float, slack: float, *, lead: float, soonest: float) -> tuple[float, float]:
        """When it is due, and its slack, if the last look before a deadline is to start so many seconds before that."""
        for waiter in self.waiters:
            if due + slack > (last := waiter.deadline - lead) > soonest and last >= min(due, self.unhurried):
                due, slack = min(due, last), 0.0  # once: its own round trip moves this moment a little
        return due, slack

    def begins(self, now: float) -> None:
        """A look at it begins."""
        if now < self.planned:
            last = self.started if self.looked is None else self.looked
            self.unhurried = now + SELDOM * (self.planned - last)
        self.looked, self.noticed = now, False

    def dismissed(self) -> list[Waiter]:
        """Who waited: nobody does any more. An idle worker keeps the id it looked at last, and must not keep them."""
        waiters, self.waiters, self.watchers = self.waiters, [], 0
        return waiters

    def notice(self, now: float) -> bool:
        """Somebody says that it has ended; True if it is to be put on the agenda for now.

        One whose looks fail keeps its pause: news from outside must not make bad answers count faster.
        """
        self.noticed = self.busy
        if self.trouble is not None:
            return False
        self.planned = min(self.planned, now)
        return not self.busy and self.due > now

    def task(self, gateway: str) -> VideoTask | None:
        """The task as it was seen last, in so far as that is kept; None if it was never seen."""
        if self.glance is None:
            return self.origin
        known = self.origin or VideoTask(task_id=self.task_id, gateway=gateway)
        status, word, progress = self.glance
        return attrs.evolve(known, status=status, raw_status=word, progress=progress)

    @property
    def missed(self) -> OmniError | None:
        """Why the last look told nothing; None if it did, or there was none."""
        return self.error(self.trouble.last) if self.trouble and self.trouble.last else None

    def told(self, gateway: str, seen: Glance | VideoTask) -> dict[str, Any]:
        """What all events about a task tell of it."""
        origin = self.origin
        return {
            "gateway": gateway,
            "custom_id": origin.custom_id if origin else None,
            "metadata": origin.metadata if origin else {},
            "task_id": self.task_id,
            "status": seen.status,
        }

    def owned(self, task: VideoTask) -> VideoTask:
        """A task from an answer, with what is the caller's own."""
        origin = self.origin
        if origin is None or (origin.custom_id is None and not origin.metadata):
            return task
        return attrs.evolve(task, custom_id=origin.custom_id, metadata=origin.metadata)

    def error(self, error: OmniError) -> OmniError:
        """The error with the ids of this task; a copy of its own for each who raises it."""
        try:
            own = copy.copy(error)
        except Exception:  # of a caller's own dialect, with arguments of its own
            own = OmniError(str(error.args[0]) if error.args else type(error).__name__)
        own.__cause__ = error.__cause__
        own.may_have_charged = True  # the task was accepted once, as far as anybody knows
        origin = self.origin
        return own.about(
            task_id=self.task_id,
            custom_id=origin.custom_id if origin else None,
            metadata=origin.metadata if origin else None,
        )


def traits_of(task: VideoTask, request: VideoRequest | None) -> tuple[str, ...]:
    """What a task's run time may depend on, from general to special; shorter if nothing is known of its request."""
    if request is None:
        return (task.gateway,) if not task.model else (task.gateway, task.model)
    told = (task.model or request.model, task.mode, request.duration, request.resolution)
    return (task.gateway, *(str(value or "") for value in told))


def run_time_of(task: VideoTask) -> float | None:
    """What the gateway says that a finished task took, in seconds; None if it does not say."""
    if task.created_at is None or task.completed_at is None:
        return None
    return (task.completed_at - task.created_at).total_seconds()
