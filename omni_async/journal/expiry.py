"""When a finished task's video is gone for good. Pure.

A refusal alone does not tell that: a server that is down, or a folder that is not mounted, answers 403 or 404 for
videos that are there again in an hour, and what counts as expired may be paid again.
"""

import attrs

from ..models import VideoTask
from .entries import Entry


def url_dies(entry: Entry, lifetime: float) -> float:
    """When a video's URL dies, in seconds since 1970: as the gateway tells, or as its documents do.

    Args:
        entry: The row.
        lifetime: For how many seconds a URL works, by the gateway's documents.
    """
    told = told_end(entry)
    return _ended(entry) + lifetime if told is None else told


def has_expired(entry: Entry, lifetime: float, *, now: float) -> bool:
    """Whether a refusal of a video's URL means that there is no video any more.

    Args:
        entry: The row.
        lifetime: As for `url_dies`.
        now: Seconds since 1970.
    """
    return url_dies(entry, lifetime) <= now


def told_end(entry: Entry) -> float | None:
    """When a video's URL dies, as the gateway tells, in seconds since 1970; None if it tells nothing that can be."""
    if entry.expires_at is None or entry.expires_at <= _begun(entry):
        return None
    return entry.expires_at


def task_to_fetch(entry: Entry) -> VideoTask | None:
    """The row's task, without a time that cannot be, for which its URL would be left untried; None if it has none."""
    task = entry.video_task
    return attrs.evolve(task, expires_at=None) if task is not None and told_end(entry) is None else task


def _begun(entry: Entry) -> float:
    """When a task began, in seconds since 1970, 0 if that is not known: until then its video cannot have expired.

    A gateway that counts from now, not from 1970, would have it expire at once, and be paid again.
    """
    task = entry.video_task
    told = task.created_at.timestamp() if task is not None and task.created_at is not None else None
    return min((at for at in (entry.sent_at, told) if at is not None), default=0.0)  # a replay is older than its order


def _ended(entry: Entry) -> float:
    """When a task ended, in seconds since 1970: by the gateway's own time if that can be true, else when it was seen.

    A run that goes on after days sees an end that was long ago.
    """
    seen, task = entry.finished_at or 0.0, entry.video_task
    told = task.completed_at.timestamp() if task is not None and task.completed_at is not None else seen
    return told if (entry.sent_at or seen) <= told <= seen else seen
