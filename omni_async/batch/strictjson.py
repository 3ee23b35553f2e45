"""JSON as a sheet may hold it: sound, finite and not too deep; the same with orjson and without."""

import json
import math
import re
from collections.abc import Callable
from typing import Any

from ..errors import Fault

DEEPEST = 64
"""Levels of lists and objects in one value: far below where any JSON reader gives up."""

_LONG_DIGITS = re.compile(r"\d{19}")  # from here on orjson rounds whole numbers
_SCALARS = frozenset({str, int, bool, type(None)})

_fast_loads: Callable[[str], Any]
try:  # the [speed] extra
    from orjson import loads as _fast_loads
except ImportError:
    from json import loads as _fast_loads

to_text = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
"""A value as JSON text. `json.dumps` writes the same, but makes an encoder for each call."""


def read_object(text: str, *, field: str = "line") -> "dict[str, Any] | Fault":
    """The JSON object that a text is, or what is wrong with it.

    Args:
        text: The text.
        field: What a fault names.
    """
    try:
        found = _fast_loads(text)
        single = text.count('"') == _quotes(found)  # else a key may stand there twice, of which the last would count
        if single and type(found) is dict and _SCALARS.issuperset(map(type, found.values())):
            return found
        sure = single and _fast_loads is not json.loads and not _LONG_DIGITS.search(text)
    except (ValueError, RecursionError):
        sure = False
    if not sure:
        found = _read(text)
    problem = found if isinstance(found, _Problem) else _problem(found)
    return Fault(field, problem) if problem else found


def read_list(text: str, *, field: str) -> "list[Any] | Fault":
    """The JSON list that a text is, or what is wrong with it."""
    found = read_object(f'{{"list":{text}}}', field=field)
    inner = found.get("list") if isinstance(found, dict) and len(found) == 1 else None
    return inner if isinstance(inner, list) else Fault(field, "is not a sound JSON list")


class _Problem(str):
    """What is wrong with a JSON text."""

    __slots__ = ()


def _read(text: str) -> Any:
    """The value as the standard library reads it."""
    try:
        return json.loads(text, parse_constant=_no_number, parse_float=_finite, object_pairs_hook=_once)
    except RecursionError:
        return _Problem(_DEEP)
    except json.JSONDecodeError as error:
        return _Problem(f"is not sound JSON: {error.msg} at letter {error.colno}{_list_hint(text)}")
    except ValueError as error:
        return _Problem(f"is not sound JSON: {str(error)[:60]}")


def is_cut(text: str) -> bool:
    """Whether a text ends in the middle of a JSON value, as the first line of one over several lines does."""
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return error.pos >= len(text.rstrip())
    except (ValueError, RecursionError):
        pass
    return False


_DEEP = f"is nested more than {DEEPEST} levels deep"


def _problem(found: Any) -> str | None:
    if _too_deep(found, DEEPEST):
        return _DEEP
    return (
        None if isinstance(found, dict) else f"is not a JSON object{_list_hint('[' if isinstance(found, list) else '')}"
    )


def _list_hint(text: str) -> str:
    return " (a whole list? Write one object a line)" if text.lstrip().startswith("[") else ""


def _quotes(value: Any) -> int:
    """Quotation marks that a value takes if none stands within a text."""
    kind = type(value)
    if kind is str:
        return 2
    if kind is dict:
        return 2 * len(value) + sum(map(_quotes, value.values()))
    return sum(map(_quotes, value)) if kind is list else 0


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        name = next(name for number, (name, _) in enumerate(pairs) if name in dict(pairs[:number]))
        raise ValueError(f"{name[:30]!r} stands there twice")
    return found


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is not JSON")


def _finite(digits: str) -> float:
    found = float(digits)
    if math.isinf(found):
        raise ValueError("a number beyond all bounds")
    return found


def _too_deep(value: Any, left: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return left == 0 or any(_too_deep(item, left - 1) for item in inner)
