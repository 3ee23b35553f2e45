"""What a sheet gives, line by line: a record, or what is wrong with it."""

from typing import Any, NamedTuple

from ..errors import Fault


class SheetRecord(NamedTuple):
    """One filled line of a sheet.

    Args:
        line: Its number in the file, from 1; of several, the first.
        values: By column name as the sheet spells it; None is an empty cell.
        cells: Whether the values are cells of a table, whose numbers and lists are written as text.
    """

    line: int
    values: dict[str, Any]
    cells: bool = False


class BadRecord(NamedTuple):
    """A line that cannot become a video.

    Args:
        line: Its number in the file, from 1.
        faults: All that is wrong with it; empty if that was told of an earlier line and concerns the whole sheet.
        rest: What of it can be read, and may have more faults.
    """

    line: int
    faults: tuple[Fault, ...]
    rest: SheetRecord | None = None
