"""A sheet to fill in: every column, two rows as examples, and what each column may hold."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import attrs

from ..dialects import Dialect, ModelSpec
from ..dialects.rules import GENERATION_TYPES, MODES, ORIENTATIONS
from ..disk import or_nothing
from ..errors import Fault, TargetExistsError, invalid_argument
from .strictjson import to_text

SHEET_ENDINGS = (".csv", ".jsonl", ".xlsx")
_LONGEST_LIST = 250
"""Letters of a drop-down list that a workbook can hold in itself."""
_ROWS = 10_000
"""Rows of a workbook that get the drop-down lists."""
_TEXTS = frozenset({"id", "aspect_ratio", "file"})
"""Columns that Excel would take for numbers and times of day."""


@attrs.frozen
class Column:
    """A column of the sheet.

    Args:
        name: In the header.
        meaning: What it holds, in a few words.
        allowed: The values that would do, where there are few.
        examples: Its cells in the two rows; None is empty.
    """

    name: str
    meaning: str
    allowed: tuple[Any, ...] = ()
    examples: tuple[Any, Any] = (None, None)

    @property
    def told(self) -> str:
        """Meaning and values as one line."""
        return f"{self.meaning}: {', '.join(map(str, self.allowed))}" if self.allowed else self.meaning


def columns_for(dialect: Dialect) -> tuple[Column, ...]:
    """The columns of a sheet for a gateway, its model table read for what they may hold."""
    models: tuple[ModelSpec, ...] = getattr(dialect, "models", ())
    first = models[0] if models else None
    names = tuple(name for spec in models for name in (spec.name, *spec.aliases))
    ratios = _allowed(spec.aspect_ratios or ("16:9", "9:16") for spec in models)
    return (
        Column("id", "your own id of the row, any text; the video is named by it", (), ("ep1-01", "ep1-02")),
        Column(
            "prompt", "what the video shows; the one cell that must be filled", (),
            ("a lighthouse in fog, slow dolly in", "gulls over the pier, handheld"),
        ),
        Column("model", "empty takes the first", names, (first and first.name, None)),
        Column(
            "duration", _by_model(models, "duration", "whole seconds"), _allowed(spec.durations for spec in models),
            (first and first.durations[0], first and first.durations[-1]),
        ),
        Column(
            "resolution", _by_model(models, "resolution", "as the model allows"),
            _allowed(spec.resolutions for spec in models), (first and first.resolutions[0], None),
        ),
        Column("aspect_ratio", "width:height", ratios, ("16:9", "9:16")),
        Column("orientation", "instead of aspect_ratio, which wins over it", tuple(ORIENTATIONS)),
        Column("image_urls", "reference images, URLs or files beside the sheet, | between them"),
        Column("video_urls", "a reference video, URL or file"),
        Column("generation_type", "frame: the one image is the first frame", GENERATION_TYPES),
        Column("mode", "follows from the rest where it is empty", MODES),
        Column("extra", 'fields that only a newer gateway knows, a JSON object such as {"seed": 7}'),
        Column("metadata", "your own data, a JSON object; never sent"),
        Column("file", "the video's name under videos/, subfolders allowed", (), ("EP01/01.mp4", "EP01/02.mp4")),
    )  # fmt: skip


def _allowed(values: Iterable[tuple[Any, ...]]) -> tuple[Any, ...]:
    """The values of all models, each once; numbers in order."""
    found = dict.fromkeys(value for some in values for value in some)
    return tuple(sorted(found)) if all(type(value) is int for value in found) else tuple(found)


def _by_model(models: Iterable[ModelSpec], field: str, otherwise: str) -> str:
    """What a column means, with what each model makes of it where they differ."""
    made = {spec.name: spec.durations if field == "duration" else spec.resolutions for spec in models}
    bills = {spec.name: spec.ignores.get(field) for spec in models}
    if len(set(made.values())) <= 1:
        return otherwise
    told = (
        f"{name} always makes {bills[name]}" if bills[name] else f"{name} {'/'.join(map(str, values))}"
        for name, values in made.items()
    )
    return f"{otherwise} ({'; '.join(told)})"


def csv_template(columns: tuple[Column, ...], *, line_end: str = "\r\n") -> str:
    """The sheet as CSV, which has no room for what the columns mean."""
    text = io.StringIO()
    sheet = csv.writer(text, lineterminator=line_end)
    sheet.writerow(column.name for column in columns)
    sheet.writerows([column.examples[row] for column in columns] for row in (0, 1))
    return text.getvalue()


def write_template(path: Path, columns: tuple[Column, ...]) -> None:
    """Write the sheet, in the format that its ending names.

    Raises:
        InvalidRequestError: No ending of a sheet, or no openpyxl for `.xlsx`.
        TargetExistsError: There is something in its place.
        OSError: It cannot be written.
    """
    ending = path.suffix.lower()
    if ending == ".xlsx":
        content = _workbook(columns)
    elif ending == ".csv":
        content = csv_template(columns).encode("utf-8-sig")  # without the mark Excel reads it as another encoding
    elif ending == ".jsonl":
        rows = ({column.name: column.examples[row] for column in columns} for row in (0, 1))
        content = "".join(f"{to_text(row)}\n" for row in rows).encode()
    else:
        raise invalid_argument(
            Fault("file", f"{path.name} has no ending that a sheet can be written in", SHEET_ENDINGS)
        )
    try:
        file = path.open("xb")
    except FileExistsError:
        told = f"{path} is there already and is left as it is: name another file"
    else:
        with or_nothing(path), file:
            file.write(content)
        return
    raise TargetExistsError(told, may_have_charged=False)


def _workbook(columns: tuple[Column, ...]) -> bytes:
    """The sheet as a workbook: what a column means is its header's comment, its values a drop-down list."""
    try:
        import openpyxl
        from openpyxl.comments import Comment
        from openpyxl.styles import Font
        from openpyxl.utils import get_column_letter
    except ImportError:
        raise invalid_argument(Fault("file", ".xlsx needs openpyxl: pip install 'omni-async[xlsx]'")) from None
    book = openpyxl.Workbook()
    sheet: Any = book.worksheets[0]
    sheet.title, sheet.freeze_panes = "shots", "A2"
    for place, column in enumerate(columns, 1):
        letter = get_column_letter(place)
        head = sheet.cell(1, place, column.name)
        head.font, head.comment = Font(bold=True), Comment(column.told, "omni-async", height=120, width=320)
        sheet.column_dimensions[letter].width = 40 if column.name == "prompt" else max(12, len(column.name) + 4)
        if column.name in _TEXTS:
            sheet.column_dimensions[letter].number_format = "@"
        for row, value in enumerate(column.examples, 2):
            sheet.cell(row, place, value).number_format = "@" if column.name in _TEXTS else "General"
        _offer(sheet, letter, column)
    content = io.BytesIO()
    book.save(content)
    return content.getvalue()


def _offer(sheet: Any, letter: str, column: Column) -> None:
    """A drop-down list of a column's values; others can be typed, as gateways change what they allow."""
    from openpyxl.worksheet.datavalidation import DataValidation

    words = ",".join(map(str, column.allowed))
    if words and len(words) <= _LONGEST_LIST:
        offered = DataValidation(type="list", formula1=f'"{words}"', allow_blank=True, showErrorMessage=False)
        sheet.add_data_validation(offered)
        offered.add(f"{letter}2:{letter}{_ROWS}")
