"""Exit codes, and errors as lines for a person."""

from collections.abc import Iterable
from pathlib import Path

from ..errors import (
    AuthenticationError,
    InvalidRequestError,
    OmniError,
    SubmissionUncertainError,
    TargetExistsError,
    WaitTimeoutError,
)

DONE, FAILED, USAGE, UNCERTAIN, STOPPED = 0, 1, 2, 3, 4
WORST_FIRST = (UNCERTAIN, STOPPED, FAILED, USAGE, DONE)
CONFIRM_ABOVE = 100
"""Videos that are paid without asking first, on a terminal."""
EVIDENCE_BYTES = 500

OPTIONS = {
    "prompt": "PROMPT",
    "image_urls": "--image",
    "images": "--image",
    "video_urls": "--video",
    "path": "FILE",
    "task_id": "ID",
}
"""What a field of a request is called on the command line, where that is not its own name."""


class UsageError(Exception):
    """The command cannot be carried out as it was given; one line that says what to do instead."""


def code_of(error: BaseException) -> int:
    """The exit code an error stands for."""
    if isinstance(error, SubmissionUncertainError):
        return UNCERTAIN
    if isinstance(error, InvalidRequestError | UsageError):
        return USAGE
    if isinstance(error, AuthenticationError) and error.status_code is None:
        return USAGE  # no key, or none that can be sent
    if isinstance(error, TargetExistsError) and not error.may_have_charged:
        return USAGE
    return FAILED


def worst(codes: Iterable[int]) -> int:
    """The one code for several: uncertain before failed."""
    return min(codes, key=WORST_FIRST.index, default=DONE)


def lines_of(error: BaseException) -> list[str]:
    """An error as lines: what happened and the next step; faults and evidence below it."""
    if isinstance(error, InvalidRequestError) and error.faults:
        head = str(error.args[0]).partition("\n")[0] if "\n" in str(error.args[0]) else "nothing was sent:"
        return [f"error: {head}", *(f"  {_fault_line(fault)}" for fault in error.faults)]
    if isinstance(error, SubmissionUncertainError):
        return [f"error: {error}", *_evidence(error)]
    if isinstance(error, OSError) and not isinstance(error, OmniError):
        return [f"error: {error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}"]
    if isinstance(error, WaitTimeoutError):
        return [f"error: task {error.task_id} is still running after {error.waited:.1f} s: no failure, and not lost"]
    if isinstance(error, OmniError | UsageError):
        return [f"error: {error}".replace("overwrite=True", "--overwrite")]
    return [f"error: {type(error).__name__} at {_place(error)}: this is a bug in omni-async, please report it"]


def _place(error: BaseException) -> str:
    """File and line an unexpected error came from; its message is left out, since it could hold a prompt."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown place"


def _fault_line(fault: object) -> str:
    field, colon, rest = str(fault).partition(":")
    name, bracket, place = field.partition("[")
    option = OPTIONS.get(name) or "--" + name.replace("_", "-")
    return f"{option}{bracket}{place}{colon}{rest}"


def _evidence(error: SubmissionUncertainError) -> list[str]:
    """What is known of a create that may have been charged, as far as a screen can hold it."""
    body = error.evidence.get("body") or b""
    told = {
        "status": error.evidence.get("status"),
        "candidate id": error.evidence.get("candidate"),
        "body": body[:EVIDENCE_BYTES].decode("utf-8", "replace").strip() or None,
    }
    return [f"  {name}: {value}" for name, value in told.items() if value is not None]
