"""A task that the journal knows, with what the answer to its create told of it."""

from collections.abc import Callable

import attrs

from ..dialects import Reply
from ..models import VideoTask
from .ledger import Ledger

ReadCreate = Callable[[Reply], VideoTask]
"""A dialect's `read_create`."""
TOLD = ("model", "mode", "created_at", "request_id")


def recalled(ledger: Ledger, key: str, task: VideoTask, read: ReadCreate) -> VideoTask:
    """The task, its gaps filled from the answer as it is kept; as it is if that is not kept or cannot be read."""
    answers = [record for record in ledger.records(key) if record.body and record.task_id == task.task_id]
    if not answers:
        return task
    headers = {"x-request-id": answers[-1].request_id} if answers[-1].request_id else {}
    try:
        told = read(Reply(status=answers[-1].status or 200, headers=headers, body=answers[-1].body or b""))
        gaps = {name: getattr(told, name) for name in TOLD if getattr(task, name) is None}
    except Exception:  # it was written down before anybody knew whether it can be read
        return task
    return attrs.evolve(task, **gaps)
