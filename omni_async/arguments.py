"""What the calls of a client are given, checked before anything is sent: tasks and their ids, paths, seconds, kinds."""

import math
import os
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping
from typing import Any

from .dialects.wire import ident
from .errors import Fault, invalid_argument
from .fields import encodable, shown
from .models import VideoTask, without_query

TaskOrId = VideoTask | str
FilePath = str | os.PathLike[str]
OnProgress = Callable[[int, int | None], None]
"""Is called with the bytes so far and the bytes in all, or None where that is not known."""

AS_ROWS = '{} is not taken itself: give its rows, as df.to_dict("records") does'
"""What is said of a table."""
SAME_GATEWAY = frozenset({"gemini_omni", "toapis"})
"""Two shapes of one gateway: each can follow the other's tasks (docs)."""
MANY = (Iterable, AsyncIterable)
"""Kinds of what gives many."""


def id_of(task: TaskOrId) -> str:
    """The task id of what a waiting call was given.

    Raises:
        InvalidRequestError: Neither a task nor a text.
    """
    task_id = task.task_id if isinstance(task, VideoTask) else task
    if not ident(task_id):
        raise invalid_argument(Fault("task_id", "neither a VideoTask nor a task id"), may_have_charged=True)
    return task_id


class Link(str):
    """A URL, or an id, whose repr shows no query: in a traceback with locals it must not show a signature."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(without_query(str(self)))

    @classmethod
    def of(cls, task_or_url: VideoTask | str) -> VideoTask | str:
        """What to download, as frames may hold it.

        Raises:
            InvalidRequestError: Neither a task nor a text.
        """
        if not isinstance(task_or_url, VideoTask | str):
            fault = Fault("task_or_url", f"{shown(task_or_url)} is neither a task nor a URL")
            raise invalid_argument(fault, may_have_charged=True)
        return cls(task_or_url) if isinstance(task_or_url, str) else task_or_url


def path_of(name: str, value: object) -> str:
    """A path as a text; `name` is what the caller knows it by.

    Raises:
        InvalidRequestError: It is not a path, and nothing was sent.
    """
    path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(path, str):
        raise invalid_argument(Fault(name, f"{shown(value)} is not a path"))
    return path


def check_custom_id(value: object) -> None:
    """Refuse what no row of a journal can go by; the one that was meant may have been paid.

    Raises:
        InvalidRequestError: It is none.
    """
    if not (isinstance(value, str) and value and encodable(value)):
        raise invalid_argument(Fault("custom_id", "is not the text of an id"), may_have_charged=True)


def is_foreign(task: VideoTask, gateway: str) -> bool:
    """Whether a task is known to run at another gateway."""
    known = bool(task.gateway and gateway)
    return known and task.gateway != gateway and not {task.gateway, gateway} <= SAME_GATEWAY


def own(task: TaskOrId, gateway: str) -> VideoTask | None:
    """The task that was given, if it was one and not just its id.

    Raises:
        InvalidRequestError: No task id, or a task of another gateway.
    """
    task_id = id_of(task)
    if not isinstance(task, VideoTask):
        return None
    if is_foreign(task, gateway):
        fault = Fault("task", f"it runs at gateway {task.gateway}, and this client speaks to {gateway}")
        raise invalid_argument(fault, task_id=task_id, may_have_charged=True)
    return task


def check_seconds(*, least: float = -math.inf, **given: Any) -> Iterator[Fault]:
    """Faults of what should be seconds or None, by the argument's name; past a create it is too late to find them.

    Args:
        least: Seconds at least: 0 in calls that pay. In those that only wait, where deadlines are computed, a negative
            number means that the time is over.
        given: Value of each.
    """
    for name, seconds in given.items():
        if seconds is None:
            continue
        if not _is_number(seconds):
            yield Fault(name, f"{seconds!r:.40} is not a number of seconds")
        elif seconds < least:
            yield Fault(name, f"{seconds!r:.40} is less than {least:g} seconds")


def _is_number(value: Any) -> bool:
    """Whether it is a real number; of any kind, such as a library's of its own."""
    if not isinstance(value, int | float):
        from numbers import Real

        return isinstance(value, Real) and not math.isnan(value)
    return not isinstance(value, bool) and not math.isnan(value)


def check_iterable(name: str, given: Any, *, kinds: Any = Iterable) -> Iterator[Fault]:
    """A fault if it is one of what there should be many of: a text would be taken letter by letter, and each paid."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, kinds):
        yield Fault(name, f"a single {type(given).__name__}: put it into a list")
    elif is_table(given):
        yield Fault(name, AS_ROWS.format(shown(given)))


def is_table(given: Any) -> bool:
    """Whether it is a table of pandas or its kin, which gives its columns' names as if they were rows."""
    return hasattr(given, "to_dict") and hasattr(given, "columns")


def check_kinds(**given: tuple[Any, type]) -> None:
    """Refuse settings of a wrong kind, by name: later one would fail in the middle of a paid call.

    Args:
        given: Value and kind of each.

    Raises:
        InvalidRequestError: With every fault.
    """
    faults = [
        Fault(name, f"must be {kind.__name__}(…), not {type(value).__name__}")
        for name, (value, kind) in given.items()
        if value is not None and not isinstance(value, kind)
    ]
    if faults:
        raise invalid_argument(*faults)


def refuse_waiting(faults: Iterable[Fault]) -> None:
    """Raise what is wrong with the arguments of a wait; the tasks it is for may have been paid.

    Raises:
        InvalidRequestError: There is a fault.
    """
    if found := tuple(faults):
        raise invalid_argument(*found, may_have_charged=True)
