"""The columns that are never sent: a row's id, the place of its file, its metadata, and what is carried along.

Each function puts what is wrong on the list of faults that it is given, and gives None then.
"""

from typing import Any

from ..errors import Fault
from ..fields import NOT_UNICODE, encodable, shown
from ..targets import target_of
from .cells import cell_text, field_value
from .strictjson import to_text


def custom_id_of(names: tuple[str, ...], values: dict[str, Any], cells: bool, faults: list[Fault]) -> str | None:
    """The caller's id, from `id` or `custom_id`, which may both be there and agree."""
    found = [value for name in names if (value := cell_text(values[name]) if cells else values[name]) is not None]
    if not found:
        return None
    custom_id = found[0]
    if type(custom_id) is not str or not custom_id.strip():
        faults.append(Fault("id", f"{custom_id!r:.40} is not text"))
    elif not encodable(custom_id):
        faults.append(Fault("id", NOT_UNICODE))
    elif found[-1] != custom_id:
        faults.append(Fault("id", "is given as custom_id, too, and differs"))
    else:
        return custom_id
    return None


def asked_target(file: Any, cells: bool, faults: list[Fault]) -> str | None:
    """The target that a `file` asks for."""
    name = cell_text(file) if cells else file
    if name is None:
        return None
    if not isinstance(name, str) or not encodable(name):
        faults.append(Fault("file", "is not text"))
        return None
    target = target_of(name)
    if isinstance(target, str):
        return target
    faults.append(target)
    return None


def metadata_of(value: Any, cells: bool, faults: list[Fault]) -> str | None:
    """The metadata as JSON text."""
    found = field_value("metadata", value, cells=cells)
    if isinstance(found, dict):
        found = _as_json("metadata", found)
        if isinstance(found, str):
            return found
    if found is not None:
        faults.append(found if isinstance(found, Fault) else Fault("metadata", "is not a JSON object"))
    return None


def carried_of(names: tuple[str, ...], values: dict[str, Any], faults: list[Fault]) -> str | None:
    """The columns of these names as one JSON object; lists and objects in them as JSON text."""
    parts = []
    for name in names:
        value = values[name]
        if value is not None:
            text = _as_json(name, value)
            if isinstance(text, Fault):
                faults.append(text)
            else:
                parts.append(f"{to_text(name)}: {to_text(text) if isinstance(value, dict | list) else text}")
    return f"{{{', '.join(parts)}}}" if parts else None


def _as_json(name: str, value: Any) -> "str | Fault":
    """A value as JSON text, or why it has none."""
    try:
        text = to_text(value)
    except (TypeError, ValueError, RecursionError):
        return Fault(name[:80], f"{shown(value)} cannot be written as JSON; make a text of it")
    return text if encodable(text) else Fault(name, NOT_UNICODE)
