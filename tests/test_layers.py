"""Imports run downward only. A new module gets its line in the table, or this fails.

A package has one line, or one for each of its modules (`limiter.pace`) and one for what its `__init__` imports.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

import omni_async

PACKAGE = Path(omni_async.__file__).parent
ADVICE = "add it to the table in tests/test_layers.py, on the lowest layer that holds it"


@attrs.frozen
class Place:
    """Where a module stands: its layer, whom of the same layer it may import, and whether it is pure.

    Beside, a name that begins with a dot is a module of the same package. What is `named` stands above, and is imported
    for type checkers alone.
    """

    layer: int
    beside: frozenset[str] = attrs.field(default=(), converter=frozenset)
    pure: bool = False
    named: frozenset[str] = attrs.field(default=(), converter=frozenset)


TOP, APART = 9, -1
TABLE = {
    "__init__": Place(TOP),
    "__main__": Place(TOP),
    "cli": Place(8),
    "batch": Place(7, ["report"]),
    "report": Place(7),
    "sweep": Place(7),
    "fleet": Place(7, ["batch", "storage"]),
    "storage": Place(7),
    "client": Place(6, ["orders"]),
    "orders": Place(6),
    "making": Place(5, ["delivery", "following", "generate", "learned", "poller"]),
    "generate": Place(
        5,
        [
            *("delivery", "filed", "following", "many", "poller", "poller.iterators", "poller.waiting"),
            *("refusing", "snapshot"),
        ],
    ),
    "snapshot": Place(5, ["poller"]),
    "refusing": Place(5),
    "filed": Place(5, named=["generate"]),
    "following": Place(5, ["learned", "lockout", "poller", "poller.waiting"]),
    "learned": Place(5),
    "lockout": Place(5),
    "many": Place(5, ["poller.waiting"]),
    "poller": Place(5, [".followed", ".iterators", ".poller", ".resumed", ".waiting"]),
    "poller.resumed": Place(5, [".iterators", ".poller", ".waiting"]),
    "poller.iterators": Place(5, [".agenda", ".poller", ".waiting"]),
    "poller.waiting": Place(5, [".poller"]),
    "poller.poller": Place(5, [".agenda", ".followed", ".known", ".remarks"]),
    "poller.known": Place(5, [".followed"]),
    "poller.followed": Place(5),
    "poller.remarks": Place(5),
    "poller.agenda": Place(5),
    "delivery": Place(5),
    "submit": Place(4, [".creates", ".lookup", ".submit"]),
    "submit.submit": Place(4, [".creates", ".lookup", ".posts", "exchange"]),
    "submit.lookup": Place(4, ["exchange"]),
    "submit.posts": Place(4, [".creates"]),
    "submit.creates": Place(4),
    "settings": Place(4),
    "references": Place(4, ["exchange"]),
    "exchange": Place(4, ["place"]),
    "place": Place(4),
    "remembered": Place(3, pure=True),
    "connections": Place(3, ["answers", "flights", "lifetime", "safety"]),
    "breaker": Place(3),
    "reporter": Place(3),
    "identity": Place(3, pure=True),
    "files": Place(3, ["answers", "connections", "disk", "partfile", "safety", "uploads"]),
    "room": Place(3),
    "turns": Place(3, ["lifetime"]),
    "uploads": Place(3, ["disk"]),
    "partfile": Place(3, ["disk", "safety"]),
    "answers": Place(3),
    "disk": Place(3, ["lifetime"]),
    "lifetime": Place(3),
    "transport": Place(3, ["flights", "headers", "keys", "safety"]),
    "headers": Place(3, ["keys"]),
    "recording": Place(3, ["disk", "scrubbing", "transport"]),
    "scrubbing": Place(3, pure=True),
    "keys": Place(3, ["lifetime"]),
    "flights": Place(3, ["lifetime"]),
    "journal": Place(3, ["disk", "lifetime"]),
    "limiter": Place(3, [".admission", ".controllers", ".limiter", ".tickets"]),
    "limiter.limiter": Place(3, [".admission", ".controllers"]),
    "limiter.admission": Place(
        3, [".chance", ".controllers", ".pace", ".pauses", ".tickets", ".trials", ".window"], pure=True
    ),
    "limiter.controllers": Place(3, pure=True),
    "limiter.bracket": Place(3, pure=True),
    "limiter.estimate": Place(3, [".bracket"], pure=True),
    "limiter.minutes": Place(3, pure=True),
    "limiter.chance": Place(3, pure=True),
    "limiter.line": Place(3, [".tickets"], pure=True),
    "limiter.pauses": Place(3, [".controllers"], pure=True),
    "limiter.pace": Place(3, [".bracket", ".estimate", ".minutes", ".trail"], pure=True),
    "limiter.slots": Place(3, pure=True),
    "limiter.tickets": Place(3, [".controllers"], pure=True),
    "limiter.trials": Place(
        3, [".chance", ".controllers", ".line", ".pace", ".pauses", ".slots", ".stretches", ".tickets"], pure=True
    ),
    "limiter.stretches": Place(3, pure=True),
    "limiter.trail": Place(3, pure=True),
    "limiter.window": Place(3, pure=True),
    "targets": Place(3, ["safety"], pure=True),
    "safety": Place(3, pure=True),
    "dialects": Place(2, pure=True),
    "retry": Place(2, ["dialects"], pure=True),
    "schedule": Place(2, [".schedule"], pure=True),
    "schedule.schedule": Place(2, [".durations", ".forecast"], pure=True),
    "schedule.forecast": Place(2, [".durations"], pure=True),
    "schedule.durations": Place(2, pure=True),
    "webhooks": Place(2, ["dialects"], pure=True),
    "arguments": Place(2, ["dialects"], pure=True),
    "otel": Place(2, pure=True),
    "models": Place(1, ["card", "fields"], pure=True),
    "card": Place(1, pure=True),
    "fields": Place(1, pure=True),
    "policies": Place(1, pure=True),
    "events": Place(1, ["models"], pure=True),
    "errors": Place(0, ["explanations"], pure=True, named=["models"]),
    "explanations": Place(0, pure=True),
    "bounded": Place(0, pure=True),
    "wording": Place(0, pure=True),
    "lazy": Place(0, pure=True),
    "version": Place(0, pure=True),
    # Not layers: they know nothing of the library, and only the command line knows of them.
    "emulator": Place(APART),
    "testing": Place(APART, ["emulator"]),
}
IO = {"aiohttp", "anyio", "asyncio", "sqlite3", "trio", "uvloop", "threading"}
MAY_IMPORT_THE_EMULATOR = {"cli", "testing", "emulator"}


def name_of(file: Path) -> tuple[str, ...]:
    """A file's dotted name within `omni_async`, a package's being that of its `__init__`."""
    parts = file.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {name_of(file) for file in FILES}
BY_MODULE = {unit.partition(".")[0] for unit in TABLE if "." in unit}


def unit_of(name: tuple[str, ...]) -> str:
    """The line of the table for a name within `omni_async`; that of the package's top is `__init__`."""
    name = name[: 2 if BY_MODULE.intersection(name[:1]) else 1]
    while name not in MODULES:  # what stands in a module
        name = name[:-1]
    return ".".join(name) or "__init__"


def beside(unit: str) -> set[str]:
    """The lines of the same layer that a unit may import."""
    package = unit.partition(".")[0]
    return {package + name if name.startswith(".") else name for name in TABLE[unit].beside}


def imports(source: str, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The dotted names that a source imports, relative ones resolved, in functions and TYPE_CHECKING blocks too."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            name = (*above, *(node.module or "").split(".")) if node.module else above
            yield from ((*name, alias.name) for alias in node.names)


def units_imported(source: str, package: tuple[str, ...]) -> set[str]:
    """The lines of the table that a source imports. A module without one fails in its own case, with advice."""
    return {unit_of(name[1:]) for name in imports(source, package) if name[0] == "omni_async"} & TABLE.keys()


def that_runs(source: str) -> str:
    """A source without its blocks for type checkers."""
    tree = ast.parse(source)
    tree.body = [one for one in tree.body if not (isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING")]
    return ast.unparse(tree)


def wrong(unit: str, source: str, package: tuple[str, ...] = ("omni_async",)) -> list[str]:
    """What is wrong with the imports of a source in this unit."""
    place, found = TABLE[unit], []
    named = place.named - units_imported(that_runs(source), package)
    for other in sorted(units_imported(source, package) - named - {unit}):
        below = APART < TABLE[other].layer < place.layer
        emulator = other == "emulator" and unit in MAY_IMPORT_THE_EMULATOR
        if not (below or other in beside(unit) or emulator):
            found.append(f"{unit} may not import {other}")
        if place.pure and not TABLE[other].pure:
            found.append(f"{unit} is pure and may not import {other}")
    if place.pure:
        found += [f"{unit} is pure and may not import {name[0]}" for name in imports(source, package) if name[0] in IO]
        waits = (ast.Await, ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith)
        found += [f"{unit} is pure and may not wait" for node in ast.walk(ast.parse(source)) if isinstance(node, waits)]
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_run_downward_only(file):
    """Each module imports only what stands below it, or what the table allows beside it; pure ones never wait."""
    unit = unit_of(name_of(file))
    assert unit in TABLE, f"{unit} has no layer: {ADVICE}"
    package = ("omni_async", *file.relative_to(PACKAGE).parts[:-1])
    assert wrong(unit, file.read_text(encoding="utf-8"), package) == []


def test_rows_0_to_2_are_pure():
    """Everything up to layer 2 is pure, and so is all of the limiter behind its door."""
    assert all(place.pure for place in TABLE.values() if 0 <= place.layer <= 2)
    impure = {unit for unit, place in TABLE.items() if not place.pure}
    assert {unit for unit in impure if unit.startswith("limiter.")} == {"limiter.limiter"}


def test_beside_is_no_circle():
    """Within a layer, too, imports go one way."""
    for unit, place in TABLE.items():
        seen, open_ = set(), beside(unit)
        while open_:
            seen.add(other := open_.pop())
            assert TABLE[other].layer == place.layer, f"{unit} beside {other}"
            open_ |= beside(other) - seen
        assert unit not in seen


@pytest.mark.parametrize(
    ("unit", "source", "problems"),
    [
        ("errors", "import enum", []),
        ("errors", "from .models import VideoTask", ["errors may not import models"]),
        ("errors", "if TYPE_CHECKING:\n    from .models import VideoTask", []),
        ("errors", "if TYPE_CHECKING:\n    from .events import Event", ["errors may not import events"]),
        (
            "models",
            "def f():\n    from . import client",
            ["models may not import client", "models is pure and may not import client"],
        ),
        ("models", "import omni_async.errors", []),
        (
            "models",
            "import omni_async",
            ["models may not import __init__", "models is pure and may not import __init__"],
        ),
        (
            "models",
            "from omni_async import VideoTask",
            ["models may not import __init__", "models is pure and may not import __init__"],
        ),
        ("retry", "import asyncio", ["retry is pure and may not import asyncio"]),
        ("retry", "async def f(): await g()", ["retry is pure and may not wait"] * 2),
        ("poller.poller", "from ..delivery import Delivery", ["poller.poller may not import delivery"]),
        ("client", "from .emulator import Emulator", ["client may not import emulator"]),
        ("cli", "from ..emulator import Emulator", []),
        ("emulator", "from ..errors import OmniError", ["emulator may not import errors"]),
        ("testing", "from .emulator import Emulator", []),
        ("testing", "from .client import OmniClient", ["testing may not import client"]),
        (
            "safety",
            "from .transport import Transport",
            ["safety may not import transport", "safety is pure and may not import transport"],
        ),
        ("exchange", "from .limiter.slots import Slots", []),
        ("limiter.pace", "from .bracket import Observation\nfrom ..retry import backoff", []),
        ("limiter.bracket", "from .pace import Pace", ["limiter.bracket may not import limiter.pace"]),
        ("limiter.bracket", "from ..limiter.pace import Pace", ["limiter.bracket may not import limiter.pace"]),
        (
            "limiter.pace",
            "from . import Limiter",
            ["limiter.pace may not import limiter", "limiter.pace is pure and may not import limiter"],
        ),
        ("limiter.slots", "import asyncio", ["limiter.slots is pure and may not import asyncio"]),
    ],
)
def test_the_rule_finds_what_breaks_it(unit, source, problems):
    """The check itself: upward, sideways, inside a package, hidden in functions, and by the absolute name."""
    first = unit.partition(".")[0]
    package = ("omni_async", first) if (PACKAGE / first).is_dir() else ("omni_async",)
    assert wrong(unit, source, package) == problems
