"""What came of each row, for programs and for spreadsheets. The journal is the truth, and these are written from it."""

import csv
import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..disk import private, reason, replacing
from ..errors import OmniError
from ..journal.entries import SENT_AGAIN, Entry, sent_again
from ..journal.fallback import waiting
from ..journal.ledger import Ledger
from ..journal.states import SETTLED, State
from .folder import Folder

COLUMNS = ("id", "status", "task_id", "video_url", "file", "error", "seconds", "attempts")
STATUS: Mapping[State, str] = {
    State.DONE: "succeeded",
    State.SUCCEEDED: "succeeded",
    State.FAILED: "failed",
    State.CANCELED: "canceled",
    State.REJECTED: "rejected",
    State.UNCERTAIN: "uncertain",
    State.EXPIRED: "expired",
}
NOT_STORED = "not stored: "
"""How the detail of a row begins whose video could not be stored."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_BREAKS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}  # some take these for the end of a line
_TOLD = frozenset({"task_id", "video_url", "error"})  # in the gateway's words


def settled(entry: Entry) -> bool:
    """Whether a run is through with a row."""
    return (entry.state in SETTLED and not sent_again(entry)) or not_stored(entry)


def not_stored(entry: Entry) -> bool:
    """Whether a row's video could not be stored."""
    return entry.state is State.SUCCEEDED and (entry.detail or "").startswith(NOT_STORED)


def run_states(ledger: Ledger, *, wished: bool = False) -> dict[State, int]:
    """How many rows of the last sheet stand where; those that the next run sends again are still to be sent.

    Args:
        ledger: Has them.
        wished: Whether those that this run is to pay again are to be sent, too (of a `SheetLedger`).
    """
    query = (
        "SELECT CASE WHEN state = 'REJECTED' AND again = ? THEN 'PLANNED' ELSE state END, count(*)"  # noqa: S608
        f" FROM {'temp.sheet' if wished else 'item'} WHERE run = ? GROUP BY 1"
    )
    rows = ledger.connection.execute(query, (SENT_AGAIN, ledger.last_run))
    return {State(state): count for state, count in rows}


def stands(ledger: Ledger, journal: Path) -> tuple[dict[State, int], tuple[Path, ...]]:
    """As `run_states`, with what is noted beside the journal because it could not take it; and the files of those."""
    run, states = ledger.last_run, Counter(run_states(ledger))
    noted = [(entry, state, path) for entry, state, path in waiting(journal, ledger) if entry.run == run]
    for entry, state, _ in noted:
        states[entry.state] -= 1
        states[state] += 1
    return dict(+states), tuple(dict.fromkeys(path for *_, path in noted))


def uncertain_elsewhere(ledger: Ledger, journal: Path) -> tuple[str, ...]:
    """Ids of rows that are no longer in the sheet and wait to be settled: they may have been paid all the same."""
    noted = {entry.key for entry, state, _ in waiting(journal, ledger) if state is not State.UNCERTAIN}
    query = "SELECT key FROM item WHERE state IN ('UNCERTAIN', 'SUBMITTING') AND run IS NOT ? ORDER BY position, rowid"
    rows = ledger.connection.execute(query, (ledger.last_run,))
    return tuple(key for (key,) in rows if key not in noted)


def count_not_stored(ledger: Ledger) -> int:
    """How many rows of the last sheet have a video that could not be stored."""
    query = "SELECT count(*) FROM item WHERE run = ? AND state = 'SUCCEEDED' AND substr(detail, 1, ?) = ?"
    values = (ledger.last_run, len(NOT_STORED), NOT_STORED)
    return int(ledger.connection.execute(query, values).fetchone()[0])


def result_of(entry: Entry) -> dict[str, Any]:
    """A row's line: what it came to, then the columns of the sheet that were carried."""
    task = entry.video_task
    line = {
        "id": entry.key,
        "status": STATUS[entry.state],
        "task_id": entry.task_id,
        "video_url": task.video_url if task else None,
        "file": f"videos/{entry.file}" if entry.state is State.DONE else None,
        "error": None if entry.state is State.DONE else entry.detail,
        "seconds": entry.seconds,
        "attempts": entry.attempts,
    }
    carried = json.loads(entry.carried) if entry.carried else {}
    return line | {column_of(name): value for name, value in carried.items()}


def column_of(name: str) -> str:
    """A carried column's name in the results, where some names are taken."""
    return f"sheet_{name}" if name in COLUMNS else name


class Results:
    """`results.jsonl`, appended to while the batch runs, and both files rewritten from the journal.

    Args:
        folder: Where they lie.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._file: int | None = None

    def append(self, entry: Entry) -> None:
        """A row is settled: its line, at once. Whatever the disk says, the line is written again at the end."""
        try:
            if self._file is None:
                self._file = private(self._folder.lines, append=True)
            os.write(self._file, _line(result_of(entry)).encode("utf-8", "replace"))
        except OSError:
            self.close()

    def close(self) -> None:
        """Append no more."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def rewrite(self, entries: Iterable[Entry], carried: Sequence[str]) -> None:
        """Write both anew: exactly one line for each settled row, in the order of the sheet.

        Args:
            entries: All rows, in that order.
            carried: Names of the carried columns.

        Raises:
            OmniError: The disk refuses them; what was there stays, and the journal has them.
        """
        self.close()
        folder = self._folder
        try:
            with (
                replacing(folder.table, _put_in_place) as table,
                replacing(folder.lines, _put_in_place) as lines,
            ):
                self._write(lines, table, entries, carried)
        except OSError as error:
            raise OmniError(f"{folder.path}: the results cannot be written ({reason(error)})") from error

    def _write(self, lines: Path, table: Path, entries: Iterable[Entry], carried: Sequence[str]) -> None:
        columns = [*COLUMNS, *(column_of(name) for name in carried)]
        with (
            os.fdopen(private(lines), "w", encoding="utf-8", errors="replace", newline="\n") as out,
            os.fdopen(private(table), "w", encoding="utf-8-sig", errors="replace", newline="") as cells,
        ):
            sheet = csv.writer(cells)
            sheet.writerow(columns)
            for entry in entries:
                if settled(entry):
                    result = result_of(entry)
                    out.write(_line(result))
                    sheet.writerow([_cell(name, result.get(name)) for name in columns])


def _line(result: dict[str, Any]) -> str:
    line = json.dumps(result, ensure_ascii=False)
    return (line if line.isascii() else line.translate(_BREAKS)) + "\n"


def in_cell(value: Any) -> Any:
    """A value as a spreadsheet takes it: what a gateway says must not be taken for a formula."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _cell(name: str, value: Any) -> Any:
    """As `in_cell`; the user's own text stays as it is."""
    return value if isinstance(value, str) and name not in _TOLD else in_cell(value)


def _put_in_place(new: Path, old: Path) -> None:
    """Put a whole file in the place of the old one, or beside it if a spreadsheet program holds that (Windows)."""
    try:
        new.replace(old)
    except PermissionError:
        new.replace(old.with_stem(f"{old.stem}-new"))
