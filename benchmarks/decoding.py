"""What it costs to read the answer of a look: from bytes to what the poller needs, one way beside the other.

    python benchmarks/decoding.py [--rounds 7] [--json FILE] [--plot FILE.png]

Each way reads the same answer of a running task, `jimmy`'s envelope. The ways that decode straight into attrs classes
use a plain cattrs converter and cattrs' preconf converters; a glance is what the poller does for most looks, a reading
is what it does for the others. Microseconds of CPU, the best of several rounds; a preconf converter whose package is
not there is left out, and said.
"""

import importlib
import json
import time
from collections.abc import Callable
from typing import Any

import attrs
import cattrs
from tables import bars, parser_of, save, shown, table

from omni_async.dialects import Jimmy, Reply

BODY = (
    b'{"code":"20000","msg":"ok","data":{"task_id":"task_01J9Z3N6","status":"processing","progress":42,'
    b'"model":"gemini-omni","created_at":1790000000,"result":null}}'
)
LOOPS = 20_000
COLUMNS = (("from bytes", lambda row: str(row["label"])), ("CPU an answer", shown("us", ".2f", unit=" µs")))


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


def ways() -> dict[tuple[str, str], Callable[[], Any] | None]:
    """Each way by who reads, and its name."""
    dialect, plain = Jimmy(), cattrs.Converter()
    return {
        ("ours", "a glance, as for most looks"): lambda: dialect.glance(Reply(status=200, body=BODY)),
        ("ours", "a whole VideoTask, strictly"): lambda: dialect.read_query(Reply(status=200, body=BODY)),
        ("json", "json, cattrs"): lambda: plain.structure(json.loads(BODY), Envelope),
        ("json", "cattrs.preconf.json"): preconf("json"),
        ("orjson", "cattrs.preconf.orjson"): preconf("orjson"),
        ("msgspec", "cattrs.preconf.msgspec"): preconf("msgspec"),
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


def row_of(client: str, label: str, way: Callable[[], Any] | None, rounds: int) -> dict[str, Any]:
    """A line of the table."""
    row: dict[str, Any] = {"client": client, "label": label}
    return row | ({"us": measure(way, rounds)} if way else {"skipped": f"{client} is not installed"})


def main() -> None:
    """Measure all ways and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    rows = [row_of(client, label, way, given.rounds) for (client, label), way in ways().items()]
    print(table(COLUMNS, rows))
    save(given.json, rows=rows)
    drawn = [row for row in rows if "us" in row]
    bars(
        given.plot,
        drawn,
        key="us",
        title="CPU to read one answer, microseconds (less is better)",
        form=".1f",
        log=False,
    )


if __name__ == "__main__":
    main()
