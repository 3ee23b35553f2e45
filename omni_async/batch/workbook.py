"""`.xlsx` sheets, through openpyxl (the `[xlsx]` extra), read row by row."""

import itertools
import re
import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import Any, BinaryIO

from ..errors import Fault
from .columns import check_header
from .decoding import refused
from .record import BadRecord, SheetRecord

LARGEST = 2 * 1024**3
"""Bytes of a workbook, unpacked."""

_BLOCK = 200
_ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"})
_MIDNIGHT = time()
_HIDDEN_ROW = re.compile(rb'<(?:\w+:)?row\s[^>]*\bhidden="(?:1|true)"[^>]*>')
_UNSEEN = Fault("line", "is hidden in the sheet, by a filter or by hand: show it, or leave it out with skip_bad=True")
_NUMBER = re.compile(rb'\sr="(\d+)"')


def workbook_records(file: BinaryIO) -> Iterator[SheetRecord | BadRecord]:
    """The records of a workbook's first sheet, under its header row; a line is the sheet's row number.

    Raises:
        InvalidRequestError: openpyxl is not there, or the file is not a workbook.
    """
    try:
        import openpyxl
    except ImportError:
        raise refused("it is .xlsx, which needs openpyxl: pip install 'omni-async[xlsx]', or save it as CSV") from None
    with tempfile.SpooledTemporaryFile(max_size=16 * 1024 * 1024) as copy:  # a workbook is read from its end
        shutil.copyfileobj(file, copy)
        books: list[Any] = []
        try:
            views = (True, False) if _has_formulas(copy) else (True,)
            books.extend(_quietly(openpyxl.load_workbook, copy, read_only=True, data_only=view) for view in views)
            sheets = [_first_shown(book) for book in books]
            yield from _told(_rows(sheets), _quietly(_hidden_rows, copy, sheets[0]))
        finally:
            for book in books:
                book.close()


def _quietly(call: Any, *args: Any, **keywords: Any) -> Any:
    """A call into openpyxl: its warnings are about looks, its errors of any kind mean that it cannot read the file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return call(*args, **keywords)
    except Exception as error:
        told = f"it is not a sound .xlsx ({type(error).__name__}: {str(error)[:80]})"
        raise refused(f"{told}: save it anew in Excel, as .xlsx and without a password") from None


def _has_formulas(file: Any) -> bool:
    """Whether any sheet holds a formula: then it is read twice, as only the formula tells that a value is missing."""

    def look() -> bool:
        with zipfile.ZipFile(file) as packed:
            if sum(part.file_size for part in packed.infolist()) > LARGEST:
                raise ValueError("larger than 2 GiB")
            sheets = [name for name in packed.namelist() if name.startswith("xl/worksheets/")]
            return any(_holds(packed, name) for name in sheets)

    return bool(_quietly(look))


def _holds(packed: zipfile.ZipFile, name: str) -> bool:
    with packed.open(name) as part:
        tail = b""
        while block := part.read(256 * 1024):
            if b"<f>" in tail + block or b"<f " in tail + block:
                return True
            tail = block[-2:]
    return False


def _first_shown(book: Any) -> Any:
    sheet = next((sheet for sheet in book.worksheets if sheet.sheet_state == "visible"), None)
    if sheet is None:
        raise refused("the workbook has no sheet to be seen")
    sheet.reset_dimensions()  # what a file says of its size is often wrong
    return sheet


def _hidden_rows(file: Any, sheet: Any) -> frozenset[int]:
    """The numbers of rows that a filter or a person has hidden: openpyxl does not tell them of a sheet read by rows."""
    found, tail, name = set[int](), b"", sheet._worksheet_path  # noqa: SLF001 - nor where the sheet is in the file
    with zipfile.ZipFile(file) as packed, packed.open(name) as part:
        while block := part.read(256 * 1024):
            block = tail + block
            numbers = (_NUMBER.search(row[0]) for row in _HIDDEN_ROW.finditer(block))
            found.update(int(number[1]) for number in numbers if number)
            tail = block[max(block.rfind(b"<"), 0) :]
    return frozenset(found)


def _rows(sheets: list[Any]) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]:
    """Row numbers with the values, and with the formulas where there are any."""
    readers = [sheet.iter_rows(values_only=True) for sheet in sheets]
    pairs = zip(readers[0], readers[-1] if len(readers) > 1 else itertools.repeat(()), strict=False)
    numbers = itertools.count(1)
    while block := _quietly(lambda: list(itertools.islice(pairs, _BLOCK))):
        for values, formulas in block:
            yield next(numbers), values, formulas


def _told(
    rows: Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]], hidden: frozenset[int]
) -> Iterator[SheetRecord | BadRecord]:
    """Records under the first row that is not empty; what nobody sees in the sheet is not paid for unasked."""
    names: list[str] = []
    for number, values, formulas in rows:
        if not any(value is not None for value in (*values, *formulas)):
            continue
        if not names:
            names = ["" if value is None else str(_plain(value)).strip() for value in values]
            check_header(filter(None, names))
            continue
        found = _record(number, names, values, formulas)
        if found is not None:
            yield _hidden(found) if number in hidden else found
    if not names:
        raise refused("the first sheet is empty: its first row must name the columns")


def _hidden(found: SheetRecord | BadRecord) -> BadRecord:
    """A line that nobody sees in the sheet, with what else is wrong with it."""
    bad = found if isinstance(found, BadRecord) else BadRecord(found.line, (), found)
    return bad._replace(faults=(_UNSEEN, *bad.faults))


def _record(
    number: int, names: list[str], values: tuple[Any, ...], formulas: tuple[Any, ...]
) -> SheetRecord | BadRecord | None:
    faults: list[Fault] = []
    record: dict[str, Any] = dict.fromkeys(filter(None, names))
    for name, value, formula in itertools.zip_longest(names, values, formulas):
        if value is None and isinstance(formula, str) and formula.startswith("="):
            faults.append(Fault(name or "line", "is a formula without a stored result: open and save it in Excel"))
        elif not name and value is not None and str(value).strip():
            faults.append(Fault("line", "a cell stands under no name"))
        elif isinstance(value, str) and value in _ERRORS:
            faults.append(Fault(name, f"holds the error {value}"))
        elif name:
            record[name] = _plain(value)
    found = SheetRecord(number, record, cells=True)
    if faults:
        return BadRecord(number, tuple(dict.fromkeys(faults)), found)
    return found if any(value is not None for value in record.values()) else None


def _plain(value: Any) -> Any:
    """A cell as a text, whole number, float or bool: times as ISO text, whole numbers without a fraction."""
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == _MIDNIGHT else value.isoformat()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    return value if value is None or isinstance(value, int | float) else str(value)
