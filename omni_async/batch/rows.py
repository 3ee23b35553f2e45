"""One record of a sheet to a checked row: what it asks for, where its video goes, and what is wrong with it.

Checking a request and building its call costs more than everything else together, and most rows of a batch differ by
their prompt alone. So rows are grouped by *shape*, that is all that is asked for but the prompt: a shape is checked
once, with a stand-in for the prompt, and its call's JSON is cut where the stand-in stands. What cannot be cut goes the
slow way, row by row; both give the same.
"""

import hashlib
import operator
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs

from ..dialects import Dialect
from ..dialects.rules import MODES, ModelSpec, mode_word, modes_of
from ..dialects.wire import dig
from ..errors import Fault, InvalidRequestError
from ..fields import NOT_UNICODE, encodable, is_blank, is_local, local_references
from ..identity import canonical, fingerprint, fingerprint_of
from ..journal.staging import Row
from ..models import FIELDS, VideoRequest
from ..references import check_request
from ..safety import target_key
from ..targets import default_target
from ..uploads import file_hash, unreadable_file
from .cells import cell_text, field_value
from .columns import LISTS, field_of, meant, slip
from .decoding import refused
from .record import BadRecord, SheetRecord
from .strictjson import to_text
from .unsent import asked_target, carried_of, custom_id_of, metadata_of

SHAPES = 1000
"""Shapes and layouts of columns that are remembered."""
MOST_NAMES = 1000
"""Different carried columns of one sheet: more are not columns but data in the wrong place."""
HASHES = 100_000
"""Local files whose content hash is remembered."""

ASKED = tuple(name for name in FIELDS if name not in ("prompt", "custom_id", "metadata"))


@attrs.frozen
class _Asked:
    """What checking found: the fingerprint, inputs and kind of a good request, or its faults."""

    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...] = ()
    fingerprint: str = ""
    inputs: str = ""
    kind: str = ""


@attrs.frozen
class _Shape:
    """All of a good request but its prompt: its call's JSON before and after the prompt, and its inputs after it."""

    before: bytes
    after: bytes
    tail: str
    kind: str
    warnings: tuple[Fault, ...]


@attrs.define
class _Layout:
    """Which column of a record means what."""

    ids: tuple[str, ...]
    prompt: str | None
    file: str | None
    metadata: str | None
    asked: dict[str, str]
    carried: tuple[str, ...]
    faults: tuple[Fault, ...]
    slips: tuple[Fault, ...]
    meant: frozenset[str | None]
    values: Callable[[dict[str, Any]], Any]
    shapes: dict[str, _Shape | None] = attrs.field(factory=dict)


class Checker:
    """Checks the records of one sheet.

    Args:
        dialect: The gateway's.
        strict: Whether what breaks the documents' rules is refused.
        folder: Where the sheet's relative paths begin.
    """

    def __init__(self, dialect: Dialect, *, strict: bool = True, folder: Path) -> None:
        self.carried_columns: list[str] = []
        self._dialect, self._strict, self._folder = dialect, strict, folder.absolute()
        self._layouts: dict[tuple[str, ...], _Layout] = {}
        self._shapes = 0
        self._hashes: dict[tuple[str, int, int], str] = {}
        self._told: set[str] = set()
        mark = secrets.token_hex(16)
        self._stand_ins = (f"stand-in {mark}", f'"{{\\ \n\u8c61 {mark}')

    def check(self, record: SheetRecord) -> Row | BadRecord:
        """Check a record.

        Returns:
            The row, or all that is wrong with it. A column that is almost a field is told of once, with the first line
            that has it, and later lines with it are bad, too; what else is wrong with one is told all the same.

        Raises:
            InvalidRequestError: The sheet has more columns than a sheet can have.
        """
        line, values, cells = record
        layout = self._layouts.get(tuple(values)) or self._layout(tuple(values))
        asked = self._asked(layout, values, cells)
        custom_id = target = metadata = carried = None
        faults: list[Fault] = []
        if layout.ids:
            custom_id = custom_id_of(layout.ids, values, cells, faults)
        if layout.file is not None and values[layout.file] is not None:
            target = asked_target(values[layout.file], cells, faults)
        if target is None and custom_id is not None:
            target = default_target(custom_id)
        if layout.metadata is not None and values[layout.metadata] is not None:
            metadata = metadata_of(values[layout.metadata], cells, faults)
        if layout.carried:
            carried = carried_of(layout.carried, values, faults)
        if asked.faults or faults or layout.faults or layout.slips:
            told = (*layout.faults, *faults, *(fault for fault in asked.faults if fault.field not in layout.meant))
            return BadRecord(line, tuple(dict.fromkeys((*self._fresh(layout.slips), *told))))
        return Row(
            line=line,
            custom_id=custom_id,
            fingerprint=asked.fingerprint,
            inputs=asked.inputs,
            metadata=metadata,
            target=target,
            target_key=None if target is None else target_key(target),
            carried=carried,
            kind=asked.kind,
            warnings=asked.warnings,
        )

    def _fresh(self, slips: tuple[Fault, ...]) -> tuple[Fault, ...]:
        """Those that were not told yet."""
        fresh = tuple(fault for fault in slips if fault.field not in self._told)
        self._told.update(fault.field for fault in fresh)
        return fresh

    def _layout(self, names: tuple[str, ...]) -> _Layout:
        """What the columns of a record mean; found once for all records with the same ones."""
        means = {name: field_of(name) for name in names}
        carried = tuple(name for name, field in means.items() if field is None)
        fields = [field for field in means.values() if field is not None]
        faults = [Fault(name, "given twice") for name in dict.fromkeys(fields) if fields.count(name) > 1]
        faults += [Fault("columns", f"a name {NOT_UNICODE}") for name in carried if not encodable(name)]
        column = {field: name for name, field in means.items() if field is not None}
        asked = {name: column[name] for name in ASKED if name in column}
        layout = _Layout(
            ids=tuple(column[name] for name in ("id", "custom_id") if name in column),
            prompt=column.get("prompt"),
            file=column.get("file"),
            metadata=column.get("metadata"),
            asked=asked,
            carried=carried,
            faults=tuple(faults),
            slips=tuple(filter(None, map(slip, carried))),
            meant=frozenset(map(meant, carried)),
            values=operator.itemgetter(*asked.values()) if asked else lambda _: (),
        )
        if len(self._layouts) >= SHAPES:
            self._layouts.clear()
            self._shapes = 0
        self._layouts[names] = layout
        self._carry(layout)
        return layout

    def _carry(self, layout: _Layout) -> None:
        if not layout.slips and not layout.faults:
            self.carried_columns += [name for name in layout.carried if name not in self.carried_columns]
        if len(self.carried_columns) > MOST_NAMES:
            raise refused(f"it has more than {MOST_NAMES} columns that are not fields")

    def _asked(self, layout: _Layout, values: dict[str, Any], cells: bool) -> _Asked:
        """What a row asks for: by its shape where that can be, else the slow way."""
        prompt = None if layout.prompt is None else values[layout.prompt]
        if cells:
            prompt = cell_text(prompt)
        if type(prompt) is str and not is_blank(prompt) and self._dialect.abilities.prompt_apart:
            key = f"{cells}{layout.values(values)!r}"  # of JSON values, whose repr tells 1, 1.0, True and "1" apart
            shape = layout.shapes.get(key) or (
                None if key in layout.shapes else self._shape(layout, values, cells, key)
            )
            if shape is not None:
                quoted = to_text(prompt)
                try:
                    digest = hashlib.sha256(shape.before + quoted.encode() + shape.after).hexdigest()
                except UnicodeEncodeError:
                    return self._slowly(layout, values, cells, prompt)
                return _Asked((), shape.warnings, digest, f'{{"prompt": {quoted}{shape.tail}', shape.kind)
        return self._slowly(layout, values, cells, prompt)

    def _shape(self, layout: _Layout, values: dict[str, Any], cells: bool, key: str) -> _Shape | None:
        """The shape of a row, made and remembered; None if its rows must go the slow way."""
        if self._shapes >= SHAPES:
            for known in self._layouts.values():
                known.shapes.clear()
            self._shapes = 0
        self._shapes += 1
        shape = layout.shapes[key] = self._cut(layout, values, cells)
        return shape

    def _cut(self, layout: _Layout, values: dict[str, Any], cells: bool) -> _Shape | None:
        """A good shape's call around the stand-in, tried with a second one: else it is none."""
        first, second = self._stand_ins
        asked = self._slowly(layout, values, cells, first)
        given, _ = self._given(layout, values, cells)
        local = any(isinstance(link, str) and is_local(link) for name in LISTS for link in given.get(name, ()))
        if asked.faults or local:
            return None
        try:
            call, other = (self._call(given, prompt) for prompt in self._stand_ins)
        except InvalidRequestError:  # a dialect of the caller's own that does look at the prompt
            return None
        before, found, after = call.partition(to_text(first))
        if not found or to_text(first) in after or other != before + to_text(second) + after:
            return None
        tail = asked.inputs.removeprefix(f'{{"prompt": {to_text(first)}')
        return _Shape(before.encode(), after.encode(), tail, asked.kind, asked.warnings)

    def _call(self, given: dict[str, Any], prompt: str) -> str:
        """The create call's canonical text."""
        return canonical(self._dialect.name, self._dialect.create(VideoRequest(prompt=prompt, **given)))

    def _slowly(self, layout: _Layout, values: dict[str, Any], cells: bool, prompt: Any) -> _Asked:
        """What a row asks for, checked as `submit` checks it."""
        given, unread = self._given(layout, values, cells)
        request = VideoRequest(prompt=prompt, **given)
        checked = check_request(request, self._dialect, strict=self._strict)
        faults = [*checked.faults]
        hashes = {} if faults or unread else self._content(request, faults)
        if faults or unread:
            return _Asked((*unread, *faults))
        try:
            call = self._dialect.create(request)
            digest = fingerprint_of(self._dialect, request, hashes) if hashes else fingerprint(self._dialect.name, call)
        except InvalidRequestError as error:  # a dialect of the caller's own
            return _Asked(error.faults or (Fault("request", "is refused by the dialect"),))
        return _Asked(
            (), checked.warnings, digest, to_text({"prompt": prompt, **given}), _kind(request, call.body or {})
        )

    def _given(self, layout: _Layout, values: dict[str, Any], cells: bool) -> tuple[dict[str, Any], list[Fault]]:
        """The keywords of the request that a row gives, but the prompt, and faults of those that cannot be read."""
        given, faults = {}, []
        for field, name in layout.asked.items():
            value = field_value(field, values[name], cells=cells)
            if isinstance(value, Fault):
                faults.append(value)
            elif value is not None:
                given[field] = [*map(self._absolute, value)] if field in LISTS and isinstance(value, list) else value
        return given, faults

    def _absolute(self, link: Any) -> Any:
        """A local path from the sheet's folder on; anything else as it is."""
        local = isinstance(link, str) and link.strip() and is_local(link)
        return str(self._folder / link) if local else link

    def _content(self, request: VideoRequest, faults: list[Fault]) -> dict[str, str]:
        """The content hashes of a request's local files, each read once as long as it does not change."""
        hashes = {}
        for field, path in local_references(request):
            try:
                found = Path(path).stat()
                key = (path, found.st_mtime_ns, found.st_size)
                if key not in self._hashes:
                    if len(self._hashes) >= HASHES:
                        self._hashes.clear()
                    self._hashes[key] = file_hash(Path(path))
                hashes[path] = self._hashes[key]
            except (OSError, ValueError) as error:
                faults.append(unreadable_file(path, error, field=field))
        return hashes


def _kind(request: VideoRequest, body: Mapping[str, Any]) -> str:
    """A request in a few words; what the call does not say is left out."""

    def said(name: str) -> Any:
        return dig(body, name) or dig(body, "input", name)

    mode = mode_word(request.mode) or modes_of(request)[0]
    duration = said("duration")
    words = (mode, f"{duration} s" if duration else None, said("resolution"), said("model") or request.model)
    return " ".join(str(word) for word in words if word)


def kind_words(dialect: Dialect) -> tuple[str, ...]:
    """What the kinds of a gateway's videos are made of; empty if nobody knows, as of a dialect without models."""
    models: tuple[ModelSpec, ...] = getattr(dialect, "models", ())
    seconds = sorted({number for spec in models for number in (*spec.durations, *spec.doubtful_durations)})
    words = (*(f"{number} s" for number in seconds), *(word for spec in models for word in spec.resolutions))
    return tuple(dict.fromkeys((*MODES, *words, *(spec.name for spec in models)))) if models else ()
