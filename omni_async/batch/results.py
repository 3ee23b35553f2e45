"""What came of each row, for programs and for spreadsheets. The journal is the truth, and these are written from it."""

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..journal.entries import Entry
from ..journal.states import SETTLED, State
from .folder import Folder, private

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
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def settled(entry: Entry) -> bool:
    """Whether the batch is through with a row; one whose video could not be stored says so in its detail."""
    return entry.state in SETTLED or (entry.state is State.SUCCEEDED and entry.detail is not None)


def result_of(entry: Entry) -> dict[str, Any]:
    """A row's line: what it came to, then the columns of the sheet that were carried."""
    task = entry.video_task
    whole = entry.sent_at is not None and entry.finished_at is not None
    line = {
        "id": entry.key,
        "status": STATUS[entry.state],
        "task_id": entry.task_id,
        "video_url": task.video_url if task else None,
        "file": f"videos/{entry.target}" if entry.state is State.DONE else None,
        "error": None if entry.state is State.DONE else entry.detail,
        "seconds": round(entry.finished_at - entry.sent_at, 1) if whole else None,  # type: ignore[operator]
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
        """
        self.close()
        columns = [*COLUMNS, *(column_of(name) for name in carried)]
        lines, table = (path.with_name(f"{path.name}.new") for path in (self._folder.lines, self._folder.table))
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
        _replace(lines, self._folder.lines)
        _replace(table, self._folder.table)


def _line(result: dict[str, Any]) -> str:
    return json.dumps(result, ensure_ascii=False) + "\n"


def _cell(name: str, value: Any) -> Any:
    """A value as a spreadsheet takes it. What a gateway says must not be taken for a formula."""
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    if name == "error" and isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value


def _replace(new: Path, old: Path) -> None:
    """Put a whole file in the place of the old one, or beside it if a spreadsheet program holds that (Windows)."""
    try:
        new.replace(old)
    except PermissionError:
        new.replace(old.with_stem(f"{old.stem}-new"))
