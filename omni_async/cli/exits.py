"""Exit codes, and errors as lines for a person."""

import itertools
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import (
    AuthenticationError,
    DownloadError,
    Fault,
    InvalidRequestError,
    OmniError,
    SubmissionUncertainError,
    WaitTimeoutError,
)
from ..wording import counted

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
    "file": "FILE",
    "sheet": "FILE",
    "combinations": "combinations",
}
"""What a field of a request is called on the command line, where that is not its own name."""


_LINE = re.compile(r"line (\d+): ")
"""How the fault of a sheet's row begins."""


_KEYWORD = re.compile(
    r"\b(encoding|limit|max_cost|overwrite|redo_edited|retry_failed|skip_bad|stop_after_failures)="
    r"(?:True\b|'([^']*)'|([\d.e+-]*\d))"
)
"""How the library names an argument that is an option here: `limit=5`, `overwrite=True`."""


def in_options(text: str) -> str:
    """A text of the library's in the words of the command line: `--limit 5`, `--overwrite`."""
    return _KEYWORD.sub(lambda it: " ".join(filter(None, (f"--{it[1].replace('_', '-')}", it[2], it[3]))), text)


class UsageError(Exception):
    """The command cannot be carried out as it was given; one line that says what to do instead."""


def code_of(error: BaseException) -> int:
    """The exit code an error stands for."""
    if isinstance(error, SubmissionUncertainError) or getattr(error, "kind", None) == "noted":
        return UNCERTAIN
    if isinstance(error, InvalidRequestError | UsageError):
        return USAGE
    if isinstance(error, AuthenticationError) and error.status_code is None:
        return USAGE  # no key, or none that can be sent
    if isinstance(error, DownloadError) and not error.may_have_charged:
        return USAGE  # no place for the video, found before paying
    return FAILED


def worst(codes: Iterable[int]) -> int:
    """The one code for several: uncertain before failed."""
    return min(codes, key=WORST_FIRST.index, default=DONE)


def lines_of(error: BaseException) -> list[str]:
    """An error as lines: what happened and the next step; faults, evidence and, for who reads it, Chinese below it."""
    lines = [in_options(line) for line in _told(error)]
    if isinstance(error, OmniError) and language().lower().startswith("zh"):
        lines.append(in_options(f"  说明：{error.explain('zh')}"))
    return lines


def language() -> str:
    """The user's language, as `zh_CN.UTF-8`: `OMNI_LANG`, or else what POSIX says of messages."""
    variables = ("OMNI_LANG", "LC_ALL", "LC_MESSAGES", "LANG")
    return next((value for name in variables if (value := os.environ.get(name, "").strip())), "en")


def _told(error: BaseException) -> list[str]:
    if isinstance(error, InvalidRequestError) and error.faults:
        if any(_LINE.match(str(fault)) for fault in error.faults):
            return list(_sheet_lines(error.faults, aligned=sys.stderr.isatty()))
        head, several, _ = str(error.args[0]).partition("\n")
        if not several:
            head = "this cannot be done:" if error.may_have_charged else "nothing was sent:"
        return [f"error: {head}", *(f"  {_fault_line(fault)}" for fault in error.faults)]
    if isinstance(error, SubmissionUncertainError):
        return [f"error: {error}", *_evidence(error)]
    if isinstance(error, OSError) and not isinstance(error, OmniError):
        return [f"error: {error.strerror or type(error).__name__}{f': {error.filename}' if error.filename else ''}"]
    if isinstance(error, WaitTimeoutError):
        return [f"error: task {error.task_id} {_not_ended(error)}"]
    if isinstance(error, OmniError | UsageError):
        return [f"error: {error}"]
    return [f"error: {type(error).__name__} at {_place(error)}: this is a bug in omni-async, please report it"]


def _not_ended(error: WaitTimeoutError) -> str:
    """What is known of a task whose end was not seen in time; that it runs is only where it was seen."""
    if isinstance(error.__cause__, OmniError):
        return f"was not seen{' to end' * bool(error.task)} in {error.waited:.1f} s: {error.__cause__.args[0]}"
    if error.task is None:
        return f"was not seen in {error.waited:.1f} s"
    return f"is still running after {error.waited:.1f} s: no failure, and not lost"


def _place(error: BaseException) -> str:
    """File and line an unexpected error came from; its message is left out, since it could hold a prompt."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown place"


def refusal_words(error: InvalidRequestError) -> tuple[str, list[str]]:
    """Why nothing was sent, and each fault, as a document has them."""
    head, faults = in_options(str(error)).partition("\n")[0].removesuffix(":"), [str(fault) for fault in error.faults]
    if any(map(_LINE.match, faults)):
        head, faults = _sheet_head(error.faults), [re.sub(r"^(line \d+: )line: ", r"\1", fault) for fault in faults]
    return head, [in_options(fault) for fault in faults]


def _sheet_head(faults: Sequence[Fault]) -> str:
    found = [match[1] for fault in faults if (match := _LINE.match(str(fault)))]
    return f"nothing was sent: {counted(len(found), 'fault')} on {counted(len(set(found)), 'line')} of the sheet"


def _sheet_lines(faults: Sequence[Fault], *, aligned: bool) -> Iterator[str]:
    """The faults of a sheet: each with its line, or for the eye the lines in a column of their own."""
    rows = [(_LINE.match(str(fault)), fault) for fault in faults]
    yield f"error: {_sheet_head(faults)}"
    for place, group in itertools.groupby(rows, key=lambda row: row[0][1] if row[0] else ""):
        for number, (found, fault) in enumerate(group):
            told = str(fault)[found.end() :].removeprefix("line: ") if found else str(fault).removeprefix("file: ")
            shown = place if number == 0 or not aligned else ""
            gutter = f"{f'line {shown}' if shown else '':<12}" if aligned and found else f"line {place}: " * bool(found)
            yield f"  {gutter}{told}"


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
