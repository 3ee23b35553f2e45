"""Rows that a program gives: requests or mappings, whose values may be those of pandas or numpy."""

import operator
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ..arguments import AS_ROWS, is_table
from ..errors import Fault, invalid_argument
from ..fields import shown
from ..models import VideoRequest
from .columns import field_of
from .record import BadRecord, SheetRecord

_PLAIN = frozenset({str, int, bool, list, dict, type(None)})


def check_source(source: Any) -> None:
    """Refuse what is neither a file nor rows: a table would give its columns' names, a mapping its keys.

    Raises:
        InvalidRequestError: With its type and what to give instead.
    """
    if source is None or isinstance(source, str | os.PathLike) or hasattr(source, "read"):
        return
    if isinstance(source, Mapping | VideoRequest):
        problem = f"{shown(source)} is one row: give a list of rows"
    elif is_table(source):
        problem = AS_ROWS.format(shown(source))
    elif not isinstance(source, Iterable):
        problem = f"{shown(source)} is neither a file nor an iterable of requests or mappings"
    else:
        return
    raise invalid_argument(Fault("source", problem))


def records_of(requests: Iterable[Any]) -> Iterator[SheetRecord | BadRecord]:
    """Requests of a program as records; their place counts as the line."""
    for line, asked in enumerate(requests, 1):
        if isinstance(asked, VideoRequest):
            yield SheetRecord(line, asked.to_dict())
        elif isinstance(asked, Mapping):
            yield SheetRecord(line, {name: _native(name, value) for name, value in _named(asked)})
        else:
            what = f"{type(asked).__name__} is neither a VideoRequest nor a mapping"
            yield BadRecord(line, (Fault("request", what),))


def _named(row: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    return ((str(name), value) for name, value in row.items())


def _native(name: str, value: Any) -> Any:
    """A value as Python has it: None for what is missing, an int for numpy's, and for whole seconds with a point."""
    if type(value) in _PLAIN:
        return value
    if is_missing(value):
        return None
    if isinstance(value, float):  # numpy's too; a column of pandas with an empty cell has nothing but floats
        return int(value) if value.is_integer() and field_of(name) == "duration" else value
    try:
        return operator.index(value)
    except TypeError:
        return value


def is_missing(value: Any) -> bool:
    """Whether it is what pandas and numpy have in an empty cell: NaN, NaT or NA, which do not equal themselves."""
    unequal = None
    try:
        unequal = operator.ne(value, value)
        return bool(unequal)
    except TypeError:
        return unequal is value  # NA: whether it equals itself is NA, too, and neither true nor false
    except (ValueError, ArithmeticError):  # an array; a signalling NaN of decimal
        return False
