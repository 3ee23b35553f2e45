"""What it costs to read the answer of a look: from bytes to what the poller needs, one way beside the other.

    python benchmarks/decoding.py [--rounds 7] [--json FILE]

Each way reads the same answer of a running task, `jimmy`'s envelope. The ways that decode straight into attrs classes
use a plain cattrs converter and cattrs' preconf converters; a glance is what the poller does for most looks, a reading
is what it does for the others. Microseconds of CPU, the best of several rounds; a preconf converter whose package is
not there is left out, and said.
"""

import argparse
import importlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import cattrs

from omni_async.dialects import Jimmy, Reply

BODY = (
    b'{"code":"20000","msg":"ok","data":{"task_id":"task_01J9Z3N6","status":"processing","progress":42,'
    b'"model":"gemini-omni","created_at":1790000000,"result":null}}'
)
LOOPS = 20_000


@attrs.frozen
class Data:
    """What a look is about."""

    task_id: str
    status: str
    progress: int | None = None
    model: str | None = None
    created_at: int | None = None


@attrs.frozen
class Envelope:
    """`jimmy`'s envelope."""

    code: str
    msg: str
    data: Data


def preconf(name: str) -> Callable[[], Any] | None:
    """Decoding straight into attrs by one of cattrs' preconf converters; None without its package."""
    try:
        module = importlib.import_module(f"cattrs.preconf.{name}")
    except ImportError:
        return None
    converter = module.make_converter()
    return lambda: converter.loads(BODY, Envelope)


def ways() -> dict[str, Callable[[], Any] | None]:
    """Each way by its name."""
    dialect, plain = Jimmy(), cattrs.Converter()
    return {
        "a glance, as for most looks": lambda: dialect.glance(Reply(status=200, body=BODY)),
        "a whole VideoTask, strictly": lambda: dialect.read_query(Reply(status=200, body=BODY)),
        "json, cattrs": lambda: plain.structure(json.loads(BODY), Envelope),
        "cattrs.preconf.json": preconf("json"),
        "cattrs.preconf.orjson": preconf("orjson"),
        "cattrs.preconf.msgspec": preconf("msgspec"),
    }


def measure(way: Callable[[], Any], rounds: int) -> float:
    """Microseconds of CPU for one answer."""
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(LOOPS):
            way()
        best = min(best, time.process_time() - began)
    return 1e6 * best / LOOPS


def main() -> None:
    """Measure all ways and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    given = parser.parse_args()
    figures = {name: measure(way, given.rounds) if way else None for name, way in ways().items()}
    print(f"{'from bytes':30}{'µs an answer':>14}")
    for name, micros in figures.items():
        print(f"{name:30}" + (f"{micros:14.2f}" if micros is not None else f"{'not there':>14}"))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
