"""Each kind of event."""

from pathlib import Path
from typing import Literal

import attrs

from ..models import TaskStatus
from .event import Event


@attrs.frozen(kw_only=True)
class Submitted(Event):
    """A create was accepted and is written down; `seconds` is what the POST took (0.0 where it was found by looking).

    It is told in a copy of the submitting caller's context (`contextvars`), as `Uncertain` is.
    """

    task_id: str
    model: str | None = None
    request_id: str | None = None
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Polled(Event):
    """One look at a task, which told its status; `seconds` is what the GET took."""

    task_id: str
    status: TaskStatus
    raw_status: str = ""
    progress: int | None = None
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Finished(Event):
    """A task came to its end, once and after its last `Polled`; `seconds` is how long it was followed here.

    `lag` is the seconds between its end and its being seen, by the gateway's own times and as exact as they are; None
    if it does not tell them, or its submit was not seen here.
    """

    task_id: str
    status: TaskStatus
    error_code: str | None = None
    seconds: float = 0.0
    lag: float | None = None


@attrs.frozen(kw_only=True)
class Throttled(Event):
    """The gateway refused for now.

    `kind` is what was refused (`query` is any free call but the poller's looks), `cause` the one controller that was
    adjusted, or `trial` while an experiment decides, `pause` the seconds nothing of the kind is sent.
    """

    kind: Literal["create", "poll", "query"] = attrs.field(converter=str)
    cause: Literal["window", "pace", "slots", "trial"] = attrs.field(converter=str)
    pause: float
    window: int
    pace: float | None
    slots: int | None


@attrs.frozen(kw_only=True)
class Retried(Event):
    """Something is sent again after `delay` seconds; `reason` is a few words.

    `kind` is `create`, `poll` for a look at a followed task, or what else was called: `query`, `upload`, `balance`.
    """

    kind: str
    reason: str
    attempt: int
    delay: float
    task_id: str | None = None


@attrs.frozen(kw_only=True)
class Downloaded(Event):
    """A video is on disk under its name; `size` in bytes, `seconds` with asking for a fresh URL, if that was due."""

    task_id: str | None
    path: Path
    size: int
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Uncertain(Event):
    """A create may have been charged and has no task id; `reason` is a few words, `seconds` what the POST took."""

    reason: str
    candidate: str | None = None
    request_id: str | None = None
    seconds: float = 0.0
