"""What a client remembers of the tasks under way: their prompts, and by what ids the answers about them go."""

from collections.abc import Awaitable, Callable
from typing import Any

from .bounded import Bounded
from .dialects.wire import leaves
from .models import TaskStatus, VideoTask

REMEMBERED = 10_000
"""Prompts and ids remembered, the oldest forgotten first: as many as tasks may be outstanding."""
BELIEVED = 3
"""Answers in a row that say that a task failed, and do not name it, until they are believed."""
_ASK = f"ask again, it is believed when it is told {BELIEVED} times in a row"
DEPTH = 20
"""How deep in an answer the id that was asked for is looked for."""


class Prompts:
    """What the tasks under way were asked with: a gateway may quote it in words that an error shows."""

    def __init__(self) -> None:
        self._of: Bounded[str, str] = Bounded(REMEMBERED)

    def remember(self, task_id: str, prompt: str) -> None:
        """A task was made of this prompt."""
        self._of[task_id] = prompt

    def of(self, task_id: str | None) -> tuple[str, ...]:
        """The prompt of a task, if it is known."""
        known = self._of.get(task_id or "")
        return () if known is None else (known,)

    def forget(self, task_id: str) -> None:
        """The task has its video: nothing is left to be said of it."""
        self._of.pop(task_id, None)


class Namesakes:
    """Tells an answer about another task, as a cache or a gateway mixes them up (seen), from one by another id.

    That another id is named says nothing by itself: some gateways have an id of another form in their answers, or that
    of the request, and some take a caller's own name for a task (toapis, docs). But no two tasks of ours are the same,
    and a failure, which may have another video paid for, has to be told in several answers in a row if they do not name
    the task: without any id, what failed may be the look.

    Args:
        holds: Whether a task is one of ours that runs.
    """

    def __init__(self, holds: Callable[[str], bool]) -> None:
        self._holds = holds
        self.kept: Callable[[str], Awaitable[bool]] | None = None
        """Whether a task is one of those that the journal has, also of earlier runs and other clients."""
        self._named: Bounded[str, None] = Bounded(REMEMBERED)  # ids that the answers about them named
        self._doubted: Bounded[str, int] = Bounded(REMEMBERED)

    def doubt(self, task_id: str, task: VideoTask, document: Any) -> str | None:
        """Why what a query for `task_id` was answered with may not be about that task; None if it is."""
        failed = task.status in (TaskStatus.FAILED, TaskStatus.CANCELED)
        if not failed:
            self.runs(task_id)
        if task.task_id == task_id:
            self._named[task_id] = None
            return None
        if not self._known(task_id) or _is_in(document, task_id):
            return None
        if self._known(task.task_id):
            return mixed_up(task.task_id)
        if failed and self._doubts(task_id) < BELIEVED:
            told = f"task {task.task_id} failed" if task.task_id else "something failed"
            return f"the answer says that {told}, and does not name this task: {_ASK}"
        return None

    def names_another(self, task_id: str, task: VideoTask, document: Any) -> bool:
        """Whether an answer about a task of ours names another id in place of its own."""
        named = task.task_id
        return bool(named) and named != task_id and self._known(task_id) and not _is_in(document, task_id)

    def _doubts(self, task_id: str) -> int:
        """How often in a row it was said to have failed."""
        doubts = self._doubted[task_id] = self._doubted.get(task_id, 0) + 1
        return doubts

    def _known(self, task_id: str) -> bool:
        return self._holds(task_id) or task_id in self._named

    def runs(self, task_id: str) -> None:
        """A look says that the task has not failed: what was told before was not so."""
        if self._doubted:
            self._doubted.pop(task_id, None)


def mixed_up(named: str) -> str:
    """What is said of an answer about another task."""
    return f"the answer is about task {named}: it may have been mixed up, ask again"


def _is_in(document: Any, task_id: str) -> bool:
    """Whether an answer has the id anywhere in it."""
    return any(str(value) == task_id for _, value in leaves(document, DEPTH))
