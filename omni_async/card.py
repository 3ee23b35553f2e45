"""A task as a notebook shows it: what its `repr` tells, as a small table.

Notebooks are saved and shared with what they show: no URL is in it, since it can be signed, and no words of the
gateway, since they can quote a prompt; what is known of these is told in our own. Nothing in it is ever run as HTML.
"""

from collections.abc import Iterator
from datetime import datetime
from html import escape
from typing import Any

from .explanations import meaning


def card_of(task: Any) -> str:
    """The HTML of a task."""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _rows(task) if value)
    return f"<table><caption>{escape(task.status.value)}</caption>{rows}</table>"


def _rows(task: Any) -> Iterator[tuple[str, str]]:
    """Names and values, empty where nothing is known."""
    running = task.progress is not None and not task.status.finished
    yield "task", task.task_id
    yield "custom_id", task.custom_id or ""
    yield "gateway", " · ".join(word for word in (task.gateway, task.model, task.mode) if word)
    yield "progress", f"{task.progress} %" if running else ""
    yield "created", _time(task.created_at)
    yield "took", _seconds(task.created_at, task.completed_at)
    yield "can be downloaded until", _time(task.expires_at) if task.video_url else ""
    yield "why", meaning(f"{task.error_code or ''} {task.error_message or ''}")


def _time(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S %Z}" if time is not None else ""


def _seconds(start: datetime | None, end: datetime | None) -> str:
    return f"{(end - start).total_seconds():.0f} s" if start is not None and end is not None else ""
