"""What the text in a cell means for a field: a table writes numbers, lists and objects as text."""

import re
from os import PathLike, fspath
from typing import Any

from ..errors import Fault
from ..fields import no_list
from .columns import LISTS, OBJECTS
from .strictjson import read_list, read_object

_WHOLE = re.compile(r"([0-9]{1,9})(?:\.0*)?", re.ASCII)
_CLOCK = re.compile(r"0?([0-9]{1,2}):0?([0-9]{1,2})(?::00)?", re.ASCII)


def cell_text(value: Any) -> Any:
    """A cell as text without the spaces around it, a number included; None if it is empty. No other type is changed."""
    if type(value) is str:
        return value.strip() or None
    return str(value) if type(value) in (int, float) else value


def field_value(field: str, value: Any, *, cells: bool) -> Any:
    """A value as the request takes it; None if it is not given, a Fault if it cannot be read.

    Args:
        field: The request's field.
        value: As the sheet has it.
        cells: Whether it is a table's cell, and not JSON, whose types count as they are.
    """
    if cells and type(value) is str:
        value = value.strip() or None
    if value is None:
        return None
    if field in LISTS:
        return _links(field, value)
    if not cells:
        return value
    if field in OBJECTS:
        return read_object(value, field=field) if isinstance(value, str) else Fault(field, "is not a JSON object")
    if field == "duration":
        return _whole(value)
    text = cell_text(value)
    clock = _CLOCK.fullmatch(text) if field == "aspect_ratio" and isinstance(text, str) else None
    return f"{clock[1]}:{clock[2]}" if clock else text  # Excel takes 16:9 for a time and writes 16:09:00


def _whole(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _WHOLE.fullmatch(value)
    return int(found[1]) if found else Fault("duration", f"{value[:40]!r} is not a whole number of seconds")


def _links(field: str, value: Any) -> Any:
    """A list of URLs or paths: as it is, as JSON text, or as a text with | between them."""
    if not isinstance(value, str):
        given = value if isinstance(value, list | tuple) else (value,)
        return no_list(field, value) or [fspath(link) if isinstance(link, PathLike) else link for link in given]
    if value.lstrip().startswith("["):
        return read_list(value, field=field)
    return [link.strip() for link in value.split("|") if link.strip()]
