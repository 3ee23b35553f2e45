"""Rows of a journal as plain JSON data, and as text for people."""

import base64
import json
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import chain, islice
from typing import Any

from rich.cells import cell_len, set_cell_size

from ..journal import Entry, Record, State
from ..journal.entries import shown_time
from ..wording import brief

COLUMNS = ("id", "custom_id", "state", "task_id", "candidate", "gateway", "attempts", "planned_at", "sent_at",
           "finished_at", "detail", "video_url", "expires_at", "file", "request")  # fmt: skip
SEEN = 200
"""Rows by which the columns of a table are measured at first: those behind them are not known yet."""
GAP = 2
HEAD = ("ID", "STATE", "TASK", "TRIES", "WHEN", "DETAIL")
ID, DETAIL = 0, 5
LONGEST, LEAST_DETAIL = 40, 12
"""Columns on a terminal: of an id at most, of a detail at least."""
PROMPT = 40
"""Letters of a prompt in the list."""
BODY_LINES, BODY_LETTERS = 12, 1500
"""What a screen can hold of an answer."""


def document(entry: Entry) -> dict[str, Any]:
    """A row as plain JSON data."""
    task = entry.video_task
    return {
        "id": entry.key,
        "custom_id": entry.custom_id,
        "state": str(entry.state),
        "task_id": entry.task_id,
        "candidate": entry.candidate,
        "gateway": entry.gateway,
        "attempts": entry.attempts,
        "planned_at": shown_time(entry.planned_at),
        "sent_at": shown_time(entry.sent_at),
        "finished_at": shown_time(entry.finished_at),
        "detail": entry.detail,
        "video_url": task.video_url if task else None,
        "expires_at": shown_time(entry.expires_at),
        "file": f"videos/{entry.target}" if entry.state is State.DONE and entry.target else None,
        "request": json.loads(entry.inputs) if entry.inputs else None,
    }


def record_document(record: Record) -> dict[str, Any]:
    """One thing that happened to a row; a body that is not UTF-8 as base64."""
    told: dict[str, Any] = {
        "at": shown_time(record.at),
        "what": record.what,
        "state": record.state,
        "detail": record.detail,
        "task_id": record.task_id,
        "status": record.status,
        "request_id": record.request_id,
    }
    if record.body is None:
        return told | {"body": None}
    try:
        return told | {"body": record.body.decode("utf-8")}
    except UnicodeDecodeError:
        return told | {"body": None, "body_base64": base64.b64encode(record.body).decode("ascii")}


# --- for people --------------------------------------------------------------------------------------------------


def cells(entry: Entry) -> tuple[str, ...]:
    """A row in the columns of the table."""
    when = entry.finished_at or entry.sent_at or entry.planned_at
    task = entry.task_id or (f"{entry.candidate}?" if entry.candidate else "")
    detail = " ".join([*_prompt(entry), *(entry.detail or "").split()])
    return (entry.key, entry.state.lower(), task, str(entry.attempts), local(when), detail)


def _prompt(entry: Entry) -> Iterator[str]:
    """The prompt in brief, of a row without an id of the user's: it is known by nothing else."""
    with suppress(ValueError, AttributeError):  # a damaged row is listed, too
        if entry.custom_id is None and entry.inputs is not None:
            yield f"“{brief(json.loads(entry.inputs).get('prompt') or '', PROMPT)}”"


def local(seconds: float | None) -> str:
    """A time as the user's clock showed it."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def table(entries: Iterable[Entry]) -> Iterator[str]:
    """Lines as they come: in columns on a terminal, separated by tabs elsewhere."""
    rows = map(cells, entries)
    if not sys.stdout.isatty():
        yield from ("\t".join(one.replace("\t", " ").replace("\n", " ") for one in row).rstrip("\t") for row in rows)
        return
    first = list(islice(rows, SEEN))
    if not first:
        return
    screen = shutil.get_terminal_size().columns
    wanted = [max(cell_len(row[place]) for row in first) for place in range(len(HEAD))]
    widths = _widths(wanted, screen)
    for row in chain([HEAD], first, rows):
        if row is not HEAD and any(cell_len(row[place]) > wanted[place] for place in (ID, DETAIL)):
            wanted = [max(width, cell_len(cell)) for width, cell in zip(wanted, row, strict=True)]
            widths = _widths(wanted, screen)  # an id that is cut could not be settled
        fitted = (_fitted(cell, width) for cell, width in zip(row, widths, strict=True) if width)
        yield (" " * GAP).join(fitted).rstrip()


def _widths(cells: list[int], screen: int) -> list[int]:
    """A width for each column, by the widest cells in them; where the screen has no room, columns have none."""
    wanted = [max(width, len(name)) for width, name in zip(cells, HEAD, strict=True)]
    widths = [min(width, LONGEST) for width in wanted]
    told = cells[DETAIL] > 0
    room = screen - sum(widths[:2]) - GAP - (LEAST_DETAIL + GAP) * told
    for place, least in ((2, 8), (4, 16), (3, 5)):
        given = min(widths[place], room - GAP)
        widths[place] = given if given >= min(widths[place], least) else 0
        room -= (widths[place] + GAP) * bool(widths[place])
    rest = room + LEAST_DETAIL * told - GAP * (not told)
    widths[DETAIL] = min(wanted[DETAIL], rest) if rest >= LEAST_DETAIL else 0
    return widths


def _fitted(text: str, width: int) -> str:
    """Text of exactly this many columns."""
    return set_cell_size(text if cell_len(text) <= width else f"{set_cell_size(text, width - 1)}…", width)


def evidence(entry: Entry, records: list[Record]) -> Iterator[str]:
    """A row and all that happened to it, as far as a screen can hold it."""
    row = document(entry)
    for name, value in row.items():
        if value is not None:
            told = json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value
            yield f"{name:<12}{told}"
    for record in records:
        yield ""
        yield f"{local(record.at)}  {record.what}: {record.state}"
        facts = {"why": record.detail, "task id": record.task_id, "status": record.status, "request": record.request_id}
        for name, fact in facts.items():
            if fact is not None:
                yield f"  {name:<10}{fact}"
        yield from _body(record.body)


def _body(body: bytes | None) -> Iterator[str]:
    if not body:
        return
    text = body[: 4 * BODY_LETTERS].decode("utf-8", "replace").strip()[:BODY_LETTERS]
    lines = text.splitlines()[:BODY_LINES]
    yield f"  body, {len(body):,} bytes:"
    yield from (f"    {line}" for line in lines)
    if len("\n".join(lines).encode()) < len(body.strip()):
        yield "    … all of it with --json"
