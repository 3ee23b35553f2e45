"""Names of columns: which are fields, which are carried, and which are slips of the pen."""

from collections.abc import Iterable

from ..errors import Fault, invalid_request
from ..fields import LINKS
from ..models import FIELDS

NAMES = frozenset({*FIELDS, "id", "file"})
"""What a column can mean; `id` and `custom_id` are the same."""
LISTS = frozenset(LINKS)
OBJECTS = frozenset({"extra", "metadata"})

_SHORT = 4
_APART = frozenset(
    {"customer_id", "entry", "pages", "stages"}
)  # words of their own, although near custom_id, extra and images
_CLOSE = 2
SHOWN = 10
"""Columns that an error names."""


def field_of(name: str) -> str | None:
    """The field a column means, whatever its case, spaces and hyphens; None if it is carried or a slip."""
    plain = _plain(name)
    return plain if plain in NAMES else None


def slip(name: str) -> Fault | None:
    """The fault of a column that is almost a field: carried silently, a paid video would lack its setting."""
    field = meant(name)
    told = f"no such column; did you mean {field!r}? Name it quite differently to carry it along"
    return None if field is None else Fault(name[:80], told)


def meant(name: str) -> str | None:
    """The field that a column is almost called; None if it is called so, or quite differently.

    From five letters on, up to two letters may differ, of a name with four one. Shorter fields have too many neighbours
    that are words of their own (film, code, tile; uid, idx), so for them only two letters exchanged, one doubled or
    left out, or a plural is taken for a slip.
    """
    plain = _plain(name)
    if plain in NAMES or plain in _APART:
        return None
    ranked = sorted((distance(plain, field), field) for field in NAMES if abs(len(plain) - len(field)) <= _CLOSE)
    most = _CLOSE if len(plain) > _SHORT else 1
    for steps, field in ranked:
        near = _like_short(plain, field) if len(field) <= _SHORT else steps <= most
        if near:
            return field
    return None


def check_header(names: Iterable[str]) -> None:
    """Refuse a header without a prompt, with a name twice, however it is spelled, or with slips.

    Raises:
        InvalidRequestError: With every fault.
    """
    names, seen = [*names], set[str]()
    faults = []
    for name in names:
        plain = _plain(name)
        if plain in seen:
            faults.append(Fault(name[:80], "stands in the header twice"))
        seen.add(plain)
        found = slip(name)
        if found is not None:
            faults.append(found)
    if "prompt" not in seen and not faults:
        columns = ", ".join(repr(name[:40]) for name in names[:SHOWN]) or "none"
        told = f"no such column: the first line must name the columns, this one among them; found: {columns}"
        faults.append(Fault("prompt", told))
    if faults:
        raise invalid_request(at_line(1, fault) for fault in dict.fromkeys(faults))


def at_line(line: int, fault: Fault) -> Fault:
    """A fault with the line it was found on."""
    return Fault(f"line {line}: {fault.field}", fault.problem, fault.allowed)


def _plain(name: str) -> str:
    return name.strip().casefold().replace(" ", "_").replace("-", "_")


def _like_short(name: str, field: str) -> bool:
    """Whether a name is a short field with letters exchanged, doubled or left out, or its plural."""
    exchanged = {field[:at] + field[at + 1] + field[at] + field[at + 2 :] for at in range(len(field) - 1)}
    doubled = {field[: at + 1] + field[at:] for at in range(len(field))}
    left_out = {field[:at] + field[at + 1 :] for at in range(len(field))} if len(field) > 2 else set()
    return name in exchanged | doubled | left_out | {f"{field}s"}


def distance(one: str, other: str) -> int:
    """How many letters to put in, take out, replace or exchange with a neighbour, to make one word the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for at, letter in enumerate(one, 1):
        before, last, row = row, before, [at]
        for place, wanted in enumerate(other, 1):
            steps = min(before[place] + 1, row[-1] + 1, before[place - 1] + (letter != wanted))
            if at > 1 and place > 1 and letter == other[place - 2] and one[at - 2] == wanted:
                steps = min(steps, last[place - 2] + 1)
            row.append(steps)
    return row[-1]
