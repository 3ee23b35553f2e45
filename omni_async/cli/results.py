"""Tasks and failures as plain JSON data, the same in every command."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from ..errors import InvalidRequestError, NotFoundError, OmniError, SubmissionUncertainError
from ..models import VideoTask
from .board import BoardRow, BoardState
from .exits import in_options, refusal_words
from .output import as_json, out

_SHOWN = ("gateway", "model", "mode", "progress", "created_at", "completed_at", "expires_at", "video_url", "custom_id")


def task_document(task: VideoTask) -> dict[str, Any]:
    """A task as it was last seen; times in ISO 8601, what is not known left out."""
    document: dict[str, Any] = {"task_id": task.task_id, "status": task.status.value}
    for name in _SHOWN:
        value = getattr(task, name)
        if value is not None and value != "":
            document[name] = value.isoformat() if isinstance(value, datetime) else value
    if task.error_message or task.error_code:
        document["error"] = {"message": task.error_message, "code": task.error_code}
    return document


def failure_document(error: OmniError) -> dict[str, Any]:
    """An error; `may_have_charged` is false only where it is proved that nothing was accepted."""
    document: dict[str, Any] = {
        "type": type(error).__name__,
        "message": in_options(str(error)),
        "may_have_charged": error.may_have_charged,
    }
    if isinstance(error, InvalidRequestError):
        document["message"], document["faults"] = refusal_words(error)
    if isinstance(error, SubmissionUncertainError):
        evidence = {name: value for name, value in error.evidence.items() if name != "body"}
        document["evidence"] = evidence
    return document


@contextmanager
def failing(*, json: bool) -> Iterator[None]:
    """An error that ends the command inside is its result, too, where that is to be JSON."""
    try:
        yield
    except OmniError as error:
        if json:
            out(as_json({"error": failure_document(error)}))
        raise


def _status(row: BoardRow, failure: OmniError | None) -> str:
    """Where it stands, for want of a task that tells."""
    if isinstance(failure, NotFoundError):
        return "unknown"
    if row.task_id is None and row.state is not BoardState.UNCERTAIN:
        return "not_submitted"
    return {BoardState.DONE: "succeeded", BoardState.DOWNLOADING: "succeeded"}.get(row.state, row.state.value)


def outcome(row: BoardRow, task: VideoTask | None, failure: OmniError | None) -> dict[str, Any]:
    """What came of one row: the task, the file if there is one, and the error if there is one."""
    known = task or getattr(failure, "task", None)
    if isinstance(known, VideoTask):
        document = task_document(known)
    else:
        document = {"task_id": row.task_id, "status": _status(row, failure), "gateway": row.gateway}
    if row.file is not None:
        document["file"] = row.file
    if row.started is not None and row.ended is not None:
        document["seconds"] = round(row.ended - row.started, 2)
    if failure is not None:
        document["error"] = failure_document(failure)
    return document
