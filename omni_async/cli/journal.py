"""`journal`: what was sent, what came back, and what it came to."""

import csv
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, TextIO

import typer

from ..batch.results import in_cell
from ..disk import private, replacing
from ..errors import JournalError
from ..journal import Entry, Ledger, State, open_journal
from ..journal.owners import Ownership
from ..journal.schema import journal_error
from ..journal.shown import paid_kinds, shown_ledger
from .exits import UsageError
from .ledgers import found, reading
from .options import Json, offering
from .output import as_json, note, out, write_all
from .rowtext import COLUMNS, document, evidence, record_document, table
from .settling import settle_line

DAY = 86_400.0

Place = Annotated[
    Path | None,
    typer.Argument(
        metavar="DIR_OR_FILE",
        help="A batch's folder or a journal's file; without it your own: what generate and wait sent.",
    ),
]
Key = Annotated[str | None, typer.Argument(metavar="ID", help="A row's id or task id: all that is known of it.")]
States = Annotated[
    list[str] | None,
    typer.Option(
        "--state",
        "-s",
        metavar="STATE",
        help="Only rows in this state; repeatable, or a,b,c.",
        autocompletion=offering(lambda: map(str.lower, State)),
    ),
]
Export = Annotated[
    str | None,
    typer.Option(
        "--export", metavar="FILE", help="Write the rows to a .jsonl or .csv file; [b]-[/b] is stdout, as JSONL."
    ),
]
Prune = Annotated[
    float | None,
    typer.Option(
        "--prune", metavar="DAYS", min=0.0, help="Forget rows that ended so many days ago; never what may cost money."
    ),
]


def journal(
    place: Place = None,
    key: Key = None,
    state: States = None,
    export: Export = None,
    prune: Prune = None,
    json: Json = False,
) -> None:
    """Show what a journal knows of each video: a line a row, or one row with its evidence.

    Works while a batch runs, and changes nothing (except with --prune).
    With --json a list of rows; for one row an object with its records.

    Examples:

      omni-async journal
      omni-async journal shots --state uncertain,failed
      omni-async journal shots s17
      omni-async journal shots --export rows.csv
      omni-async journal --prune 30
    """
    wanted = states_of(state or [])
    if (key is not None) + (export is not None) + (prune is not None) > 1 or (state and (key or prune is not None)):
        raise UsageError("ID, --export and --prune are different things to do; --state goes with a list or --export")
    path = found(place)
    if prune is not None:
        _prune(path, prune, json=json)
        return
    with reading(path) as kept:
        ledger = shown_ledger(kept, path)
        if key is not None:
            show_row(ledger, key, partial(settle_line, path), json=json)
        elif export is not None:
            _export(ledger.entries(wanted), export)
        elif json:
            write_all(sys.stdout, as_list(ledger.entries(wanted)))
        else:
            show_rows(ledger, wanted, settle_line(path), paid=sum(paid_kinds(kept, path).values()))


def states_of(given: list[str]) -> list[State] | None:
    """The states asked for; None for all."""
    words = [word.strip().upper() for text in given for word in text.split(",") if word.strip()]
    unknown = [word for word in words if word not in State.__members__]
    if unknown or (given and not words):
        allowed = ", ".join(state.lower() for state in State)
        raise UsageError(f"--state {' '.join(unknown).lower() or given[0]!r} is not known; allowed: {allowed}")
    return [State(word) for word in dict.fromkeys(words)] or None


def show_rows(ledger: Ledger, wanted: list[State] | None, settles: str, *, paid: int = 0) -> None:
    """A line a row; `settles` is the command that settles one, `paid` how many creates were accepted, if known."""
    write_all(sys.stdout, table(ledger.entries(wanted)))
    counts = ledger.counts()
    parts = [f"{counts[state]:,} {state.lower()}" for state in State if counts.get(state)]
    note(" · ".join([*parts, *([f"{paid:,} paid"] if paid else [])]) or "no rows yet")
    if counts.get(State.UNCERTAIN):
        note(f"uncertain rows may have been paid: look in the gateway's console, then {settles}")


def show_row(ledger: Ledger, key: str, settles: Callable[[str], str], *, json: bool) -> None:
    """One row with its evidence; `settles` gives the command that settles it."""
    entry = _row(ledger, key)
    records = ledger.records(entry.key)
    if json:
        out(as_json(document(entry) | {"records": [record_document(record) for record in records]}))
        return
    write_all(sys.stdout, evidence(entry, records))
    if entry.state is State.UNCERTAIN:
        note(f"it may have been paid: look in the gateway's console, then {settles(entry.key)}")
    elif entry.unfollowed:
        note(f"nothing is to be seen of its task: look in the gateway's console, then {settles(entry.key)}")


def _row(ledger: Ledger, key: str) -> Entry:
    """A row by its id, else by its task's."""
    entry = ledger.entry(key)
    if entry is None:
        by_task = ledger.connection.execute("SELECT key FROM item WHERE task_id = ?", (key,)).fetchone()
        entry = ledger.entry(by_task[0]) if by_task else None
    if entry is None:
        raise JournalError(f"there is no row {key!r} in this journal", may_have_charged=False)
    return entry


# --- many rows ---------------------------------------------------------------------------------------------------


def as_list(entries: Iterable[Entry]) -> Iterator[str]:
    """One JSON list, line by line: a million rows are never held."""
    before = "["
    for entry in entries:
        yield before
        before = f"  {_as_line(entry)},"
    if before == "[":
        yield "[]"
    else:
        yield before.removesuffix(",")
        yield "]"


def _as_line(entry: Entry) -> str:
    return as_json(document(entry), indent=None)


def _export(entries: Iterable[Entry], export: str) -> None:
    """The rows to a file that only its owner reads; it takes its name when it is whole."""
    if export == "-":
        write_all(sys.stdout, map(_as_line, entries))
        return
    path = Path(export)
    ending = path.suffix.lower()
    if ending not in (".jsonl", ".csv"):
        raise UsageError(f"--export {export}: the name has to end in .jsonl or .csv")
    encoding = "utf-8-sig" if ending == ".csv" else "utf-8"
    with (
        replacing(path) as new,
        os.fdopen(private(new), "w", encoding=encoding, errors="replace", newline="") as file,
    ):
        if ending == ".csv":
            _write_table(entries, file)
        else:
            file.writelines(f"{_as_line(entry)}\n" for entry in entries)
    out(export)


def _write_table(entries: Iterable[Entry], file: TextIO) -> None:
    sheet = csv.writer(file)
    sheet.writerow(COLUMNS)
    for entry in entries:
        sheet.writerow(map(in_cell, document(entry).values()))


def _prune(path: Path, days: float, *, json: bool) -> None:
    """Forget what ended long ago and nobody has to be told of."""
    owner = Ownership(path, exclusive=False)  # a batch that runs keeps everybody out
    try:
        ledger = Ledger(open_journal(path))
        try:
            ledger.begin()
            count = ledger.prune(time.time() - days * DAY)
            ledger.commit()
        finally:
            ledger.rollback()
            ledger.connection.close()
    except sqlite3.Error as error:
        raise journal_error(error, path) from None
    finally:
        owner.release()
    out(as_json({"pruned": count}) if json else f"{count:,} rows forgotten")
