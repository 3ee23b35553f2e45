"""Spreadsheets as people have them: JSONL, CSV and `.xlsx` as one lazy row of records, bad lines among them."""

import contextlib
import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Self

from ..disk import reason
from ..errors import Fault, OmniError
from .columns import NAMES, check_header, field_of
from .decoding import NumberedLine, codec_name, lines_of, marked, refused
from .record import BadRecord, SheetRecord
from .strictjson import is_cut, read_object
from .workbook import workbook_records

ENDINGS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".xlsx": "xlsx",
}
_CUT = "begins one JSON value over several lines; write one object a line"
_HEAD, _TELLING = 4096, 16


class Sheet:
    """The records of a sheet, read while they are asked for. Iterate it once; close it, or use it in `with`.

    Args:
        records: What it gives.
        owned: The file that closing it closes, if it was opened here.
        guessed: Holds the encoding's name once a record was read by a guess.
    """

    def __init__(
        self,
        records: Iterator[SheetRecord | BadRecord],
        owned: BinaryIO | None = None,
        guessed: Sequence[str] = (),
    ) -> None:
        self._records = records
        self._owned = owned
        self.guessed = guessed

    def __iter__(self) -> Iterator[SheetRecord | BadRecord]:
        """The records themselves: no step between, for a million of them."""
        return self._records

    def __enter__(self) -> Self:
        """The sheet."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        closing = getattr(self._records, "close", None)
        if closing is not None:
            closing()
        if self._owned is not None:
            self._owned.close()


def open_sheet(source: Path | str | BinaryIO, *, encoding: str | None = None) -> Sheet:
    """Open a sheet, to be read lazily.

    Args:
        source: A file, its format (JSONL, CSV of any delimiter, `.xlsx`) told by its ending; or an open binary stream,
            its format told by its first bytes, which is not closed.
        encoding: Of a text sheet; None finds out: UTF-8, UTF-16 with its mark, or GB18030.

    Returns:
        An iterable of `SheetRecord`s in the sheet's order, with a `BadRecord` for each line that cannot be read.

    Raises:
        InvalidRequestError: The sheet as a whole cannot be read; also while it is being read.
    """
    encoding, guessed = codec_name(encoding) if encoding else None, list[str]()
    if not isinstance(source, str | Path):
        stream = io.BufferedReader(_Borrowed(source))
        return Sheet(_records(stream, None, encoding, guessed), None, guessed)
    path = Path(source)
    kind = ENDINGS.get(path.suffix.lower())
    if kind is None:
        raise refused(f"{path.name} has an ending that is not a sheet's; {', '.join(ENDINGS)} are")
    try:
        file = path.open("rb")
    except (OSError, ValueError) as error:
        raise refused(f"{path} cannot be opened ({reason(error)})") from None
    return Sheet(_records(file, kind, encoding, guessed), file, guessed)


class _Borrowed(io.RawIOBase):
    """A stream given by the caller, under a buffer of our own that can look ahead. It is not closed with it."""

    def __init__(self, stream: BinaryIO) -> None:
        self._read = getattr(stream, "read1", stream.read)
        self._begun = False

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there; at first enough to tell a format, as a pipe can begin with a single byte."""
        found: bytes = self._read(len(buffer)) or b""
        while not self._begun and found and len(found) < _TELLING and (more := self._read(_TELLING)):
            found += more
        self._begun = True
        buffer[: len(found)] = found
        return len(found)


def _unreadable(error: Exception) -> Exception:
    return refused(f"it cannot be opened or read ({reason(error)})")


def _records(
    file: BinaryIO, kind: str | None, encoding: str | None, guessed: list[str]
) -> Iterator[SheetRecord | BadRecord]:
    """The records of a file; what the disk refuses becomes one error of ours."""
    try:
        head = file.peek(_HEAD)[:_HEAD] if isinstance(file, io.BufferedReader) else b""
        kind = kind or _sniffed(head, encoding)
        if kind == "xlsx":
            yield from workbook_records(file)
            return
        lines = lines_of(file, head, encoding, guessed)
        yield from _json_records(lines) if kind == "jsonl" else _csv_records(lines)
    except OmniError:  # some are a ValueError, too
        raise
    except (OSError, ValueError) as error:
        raise _unreadable(error) from None


def _sniffed(head: bytes, encoding: str | None) -> str:
    """The format of a stream, by its first bytes."""
    if head.startswith(b"PK"):
        return "xlsx"
    known = encoding or marked(head) or "utf-8"
    return "jsonl" if head.decode(known, "ignore").lstrip("\ufeff \t\r\n").startswith("{") else "csv"


def _json_records(lines: Iterable[NumberedLine]) -> Iterator[SheetRecord | BadRecord]:
    """One object a line."""
    begun = False
    for number, line in lines:
        found = read_object(line)
        if not isinstance(found, Fault):
            begun = True
            yield SheetRecord(number, found)
        elif not line.isspace():
            cut = is_cut(line)
            if cut and not begun:  # told once, not of every line
                raise refused(_CUT, line=number)
            begun = True
            yield BadRecord(number, (Fault("line", _CUT) if cut else found,))


def _csv_records(lines: Iterable[NumberedLine]) -> Iterator[SheetRecord | BadRecord]:
    """Rows under a header, delimited by whatever the header is delimited by."""
    source, told = _Feed(lines), None
    header = next((line for line in source if line.strip(" \t\r\n,;")), None)
    if header is not None and (told := told_delimiter(header)):
        header = next(source, None)
    if header is None:
        raise refused("it is empty: the first line must name the columns")
    source.back(header)
    rows = _rows(source, told or _delimiter(header))
    first, names = next(rows)
    if isinstance(names, Fault):
        raise refused(f"the header {names.problem}", line=first)
    names = [name.strip() for name in names]
    check_header(filter(None, names))
    width, last = len(names), next(at for at in range(len(names), 0, -1) if names[at - 1])
    named = all(names)
    for number, row in rows:
        if isinstance(row, Fault):
            yield BadRecord(number, (row,))
        elif any(row) and not "".join(row).isspace():
            if len(row) == width and named:
                values = {name: cell or None for name, cell in zip(names, row, strict=True)}
                yield SheetRecord(number, values, cells=True)
            else:
                yield _uneven(number, names[:last], row)


def _uneven(number: int, names: list[str], row: list[str]) -> SheetRecord | BadRecord:
    """A row that is shorter or longer than the header, or stands under columns without a name."""
    cells = [*row, *[""] * (len(names) - len(row))]
    values = {name: cell or None for name, cell in zip(names, cells, strict=False) if name}
    record = SheetRecord(number, values, cells=True)
    nameless = [cell for at, cell in enumerate(row) if cell.strip() and not (at < len(names) and names[at])]
    if nameless:
        told = f"has {len(row)} cells, the header names {len(list(filter(None, names)))}: a cell stands under no name"
        return BadRecord(number, (Fault("line", f"{told} (a delimiter in a text needs quotes around it)"),), record)
    return record


def told_delimiter(line: str) -> str | None:
    """What a line `sep=;` says, with which Excel lets a file tell its delimiter; None for any other line."""
    found = re.fullmatch(r'"?sep=([,;|\t])"?[,;\t]*\s*', line, re.IGNORECASE)
    return found[1] if found else None


def _delimiter(header: str) -> str:
    """What parts the most names of fields, then the most names."""

    def parted(by: str) -> tuple[int, int]:
        names = next(csv.reader([header], delimiter=by), [])
        return sum(1 for name in names if (field_of(name) or "") in NAMES), len(names)

    with contextlib.suppress(csv.Error):
        return max(",;\t", key=parted)
    return ","  # the reader proper will say what is wrong


class _Feed:
    """Lines for the CSV reader, which counts none itself: it may take several for one row."""

    def __init__(self, lines: Iterable[NumberedLine]) -> None:
        self._lines = iter(lines)
        self._kept: deque[str] = deque()
        self._more = 0
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        """Itself: it is read in turns."""
        return self

    def __next__(self) -> str:
        """The next line. One that ends as on old Macs is many."""
        if self._kept:
            self.number += 1
            return self._kept.popleft()
        number, line = next(self._lines)
        self.number = number + self._more
        if "\0" in line:
            raise refused("holds a NUL byte: this is not text, or not in this encoding", line=self.number)
        if "\r" in line and "\r" in line[:-1].removesuffix("\r"):
            self._kept.extend(filter(None, re.split(r"(?<=\r)(?!\n)", line)))
            line = self._kept.popleft()
            self._more += len(self._kept)
        return line

    def back(self, line: str) -> None:
        """Put a line back."""
        self._kept.appendleft(line)
        self.number -= 1


def _rows(source: _Feed, delimiter: str) -> Iterator[tuple[int, Any]]:
    """Rows with the number of the line they begin on; a Fault in place of one that is wrong by itself."""
    reader = csv.reader(source, delimiter=delimiter, strict=True)
    before = source.number
    while True:
        try:
            for row in reader:
                yield before + 1, row
                before = source.number
        except csv.Error as error:
            yield before + 1, _broken(error, before + 1, source.number)
            before = source.number
            continue
        return


def _broken(error: csv.Error, first: int, last: int) -> Fault:
    """What is wrong with a row. A quote that runs on into other lines may have swallowed rows: then reading ends."""
    word = str(error)
    if last > first or "unexpected end" in word:
        raise refused(
            f"a quoted cell begins here and does not end properly by line {last}: a quote too few?", line=first
        )
    told = {"field larger": f"has a cell of more than {csv.field_size_limit()} letters"}
    quotes = 'has a quote in the middle of a cell: put the cell in quotes, and double those inside ("")'
    return Fault("line", next((text for start, text in told.items() if word.startswith(start)), quotes))


__all__ = ["BadRecord", "Sheet", "SheetRecord", "open_sheet"]
