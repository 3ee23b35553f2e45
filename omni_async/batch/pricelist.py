"""A file of prices as people have them: a JSON object, or a table that a spreadsheet program saved."""

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..disk import reason
from ..errors import Fault, InvalidRequestError, invalid_argument
from .decoding import lines_of
from .sheet import told_delimiter

_COMMA = re.compile(r"0,\d+|\d+,(\d\d?|\d{4,})")
"""Amounts whose comma can only be a decimal one: `1,000` is one or a thousand."""
_NAMING = re.compile(r"([;?]) (?:name the encoding|Name it|say which it is): .*", re.DOTALL)
"""How sheets are told to have their encoding named, which nobody can do for prices."""
_WORKBOOKS = (".xlsx", ".xlsm", ".xls", ".ods")


def read_prices(path: Path) -> Any:
    """What a file of prices holds, as `Prices.checked` takes it.

    Raises:
        InvalidRequestError: It cannot be read; with the line and its value.
    """
    try:
        if path.suffix.lower() in _WORKBOOKS:
            raise ValueError("a workbook is not taken for prices; save it as CSV")
        text = "".join(line for _, line in _lines(path.read_bytes()))
        is_json = path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "[")
        return json.loads(text, object_pairs_hook=_once) if is_json else _table(text)
    except OSError as error:
        problem = reason(error)
    except InvalidRequestError as error:
        problem = _NAMING.sub(r"\1 save it as UTF-8", "; ".join(map(str, error.faults)))
    except json.JSONDecodeError as error:
        problem = f"line {error.lineno}: no JSON ({error.msg})"
    except (ValueError, RecursionError, csv.Error) as error:
        problem = f"{error}"
    raise invalid_argument(Fault("prices", f"{path}: {problem}"))


def _lines(raw: bytes) -> Iterator[tuple[int, str]]:
    return lines_of(io.BytesIO(raw), raw[:4], None)


def words_of(kind: str) -> frozenset[str]:
    """What a kind is known by: neither case nor order makes it another."""
    return frozenset(kind.lower().split())


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r:.40} stands there twice")
    return found


def _table(text: str) -> dict[str, Any]:
    """A table with the columns `kind` and `price`, delimited by whatever its header is delimited by."""
    lines = text.splitlines()
    told = told_delimiter(lines[0]) if lines else None
    header = next(filter(str.strip, lines[told is not None :]), "")
    rows = csv.reader(lines[told is not None :], delimiter=told or max(",;\t", key=header.count))
    names = [name.strip().lower() for name in next(filter(any, rows), [])]
    if not {"kind", "price"} <= {*names}:
        raise ValueError(f"a table needs the columns kind and price; found: {', '.join(filter(None, names)) or 'none'}")
    table: dict[str, Any] = {}
    signs, lines_of_kinds = set(), dict[frozenset[str], int]()
    for row in rows:
        cells = {name: cell.strip() for name, cell in zip(names, row, strict=False)}
        kind, price = cells.get("kind", ""), cells.get("price", "")
        if kind or price:
            line = rows.line_num + (told is not None)
            before = lines_of_kinds.setdefault(words_of(kind), line)
            if before != line:
                raise ValueError(f"lines {before} and {line} both have a price for {kind!r:.40}")
            table[kind], sign = _amount(price, f"line {line}: {price!r:.40} for {kind!r:.40} is not a price")
            signs.add(sign)
    if len(signs - {""}) > 1:
        raise ValueError(f"prices in several currencies: {' '.join(sorted(signs - {''}))}")
    return {"prices": table, "currency": max(signs, default="")}


def _amount(text: str, problem: str) -> tuple[float, str]:
    """An amount, and its currency sign if it has one."""
    sign = next((letter for letter in text if unicodedata.category(letter) == "Sc"), "")
    number = text.removeprefix(sign).removesuffix(sign).strip()
    try:
        return float(number.replace(",", ".") if _COMMA.fullmatch(number) else number), sign
    except ValueError:
        raise ValueError(problem) from None
