"""A refused key: of all the tasks that cannot be looked at for it one is tried, until it is answered.

refused ──▶ waits ──▶ one is tried ──▶ answered: all are followed again
              ▲             │
              └── refused ──┘  another is the next, later
"""

import asyncio
import logging
from collections.abc import Callable

from .models import VideoTask

logger = logging.getLogger("omni_async")

FIRST, LATEST = 60.0, 600.0
"""Seconds before a task is tried, at first and at most: the same key may be good again, with another balance say."""


class Lockout:
    """Tasks whose looks are refused for the key.

    Args:
        follow: Follows a task again.
    """

    def __init__(self, follow: Callable[[VideoTask], None]) -> None:
        self._follow = follow
        self._out: dict[str, VideoTask] = {}
        self._tried: str | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._pause = FIRST

    def refused(self, task: VideoTask) -> None:
        """The gateway refuses the key that asks for this task."""
        self._out[task.task_id] = task
        if self._timer is None and self._tried in (None, task.task_id):
            self._tried, pause, self._pause = None, self._pause, min(2.0 * self._pause, LATEST)
            logger.warning("the key is refused, so tasks cannot be followed; one is tried in %.0f s", pause)
            self._timer = asyncio.get_running_loop().call_later(pause, self._try)

    def _try(self) -> None:
        """The one that was refused first: what is wrong may be about a single task."""
        self._timer, self._tried = None, next(iter(self._out))
        self._follow(self._out.pop(self._tried))

    def answered(self, task_id: str) -> None:
        """The gateway told of this task, or knows none: if it was the one that was tried, the key is good again."""
        if task_id == self._tried:
            self._tried, self._pause = None, FIRST
            tasks, self._out = self._out, {}
            for task in tasks.values():
                self._follow(task)

    def close(self) -> None:
        """Nothing is tried any more."""
        if self._timer is not None:
            self._timer.cancel()
