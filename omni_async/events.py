"""What the library reports to `on_event`: small frozen facts, never a prompt, a key or a URL.

The library prints nothing. Logging, progress bars and telemetry are consumers of these.
"""

from collections.abc import Mapping
from typing import Any

import attrs

from .models import TaskStatus


@attrs.frozen(kw_only=True)
class Event:
    """Common to all events: which gateway, and whose request."""

    gateway: str
    custom_id: str | None = None
    metadata: Mapping[str, Any] = attrs.field(factory=dict, repr=False, hash=False)


@attrs.frozen(kw_only=True)
class Submitted(Event):
    """A create was accepted; `seconds` is what the POST took."""

    task_id: str
    model: str | None = None
    request_id: str | None = None
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Polled(Event):
    """One look at a task; `seconds` is what the GET took."""

    task_id: str
    status: TaskStatus
    raw_status: str = ""
    progress: int | None = None
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Finished(Event):
    """A task came to its end; `seconds` is how long it was followed here."""

    task_id: str
    status: TaskStatus
    error_code: str | None = None
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Throttled(Event):
    """The gateway refused for now.

    `kind` is what was refused (`create`, `poll`), `cause` the one controller that was adjusted (`window`, `pace`,
    `slots`) or `trial` while an experiment decides, `pause` the seconds nothing of the kind is sent.
    """

    kind: str
    cause: str
    pause: float
    window: int
    pace: float | None
    slots: int | None


@attrs.frozen(kw_only=True)
class Retried(Event):
    """Something is sent again after `delay` seconds; `reason` is a few words."""

    kind: str
    reason: str
    attempt: int
    delay: float
    task_id: str | None = None


@attrs.frozen(kw_only=True)
class Downloaded(Event):
    """A video is on disk; `size` in bytes."""

    task_id: str | None
    path: str
    size: int
    seconds: float = 0.0


@attrs.frozen(kw_only=True)
class Uncertain(Event):
    """A create may have been charged and has no task id; `reason` is a few words."""

    reason: str
    candidate: str | None = None
    request_id: str | None = None
