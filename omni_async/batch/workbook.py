"""`.xlsx` sheets, through openpyxl (the `[xlsx]` extra), read row by row."""

import itertools
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
from .record import BadRecord, Record

LARGEST = 2 * 1024**3
"""Bytes of a workbook, unpacked."""

_BLOCK = 200
_ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"})
_MIDNIGHT = time()


def workbook_records(file: BinaryIO) -> Iterator[Record | BadRecord]:
    """The records of a workbook's first sheet, under its header row; a line is the sheet's row number.

    Raises:
        InvalidRequestError: openpyxl is not there, or the file is no workbook.
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
            yield from _told(_rows(books))
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
        told = f"it is no sound .xlsx ({type(error).__name__}: {str(error)[:80]})"
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


def _rows(books: list[Any]) -> Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]:
    """Row numbers with the values, and with the formulas where there are any."""
    readers = []
    for book in books:
        sheet = next((sheet for sheet in book.worksheets if sheet.sheet_state == "visible"), None)
        if sheet is None:
            raise refused("the workbook has no sheet to be seen")
        sheet.reset_dimensions()  # what a file says of its size is often wrong
        readers.append(sheet.iter_rows(values_only=True))
    pairs = zip(readers[0], readers[-1] if len(readers) > 1 else itertools.repeat(()), strict=False)
    numbers = itertools.count(1)
    while block := _quietly(lambda: list(itertools.islice(pairs, _BLOCK))):
        for values, formulas in block:
            yield next(numbers), values, formulas


def _told(rows: Iterator[tuple[int, tuple[Any, ...], tuple[Any, ...]]]) -> Iterator[Record | BadRecord]:
    """Records under the first row that is not empty."""
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
            yield found
    if not names:
        raise refused("the first sheet is empty: its first row must name the columns")


def _record(
    number: int, names: list[str], values: tuple[Any, ...], formulas: tuple[Any, ...]
) -> Record | BadRecord | None:
    faults, record = [], {}
    for name, value, formula in itertools.zip_longest(names, values, formulas):
        if value is None and isinstance(formula, str) and formula.startswith("="):
            faults.append(Fault(name or "line", "is a formula without a stored result: open and save it in Excel"))
        elif not name and value is not None and str(value).strip():
            faults.append(Fault("line", "a cell stands under no name"))
        elif isinstance(value, str) and value in _ERRORS:
            faults.append(Fault(name, f"holds the error {value}"))
        elif name:
            record[name] = _plain(value)
    if faults:
        return BadRecord(number, tuple(dict.fromkeys(faults)))
    return Record(number, record, cells=True) if any(value is not None for value in record.values()) else None


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
