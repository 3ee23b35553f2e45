"""Many waiters on one task: how many looks that costs.

    python benchmarks/waiters.py [--waiters 50] [--seconds 5] [--interval 1] [--only …]
                                 [--json FILE] [--plot FILE.png]

One task runs for so many seconds. First one coroutine waits for it, then so many at once, each by the client's own call
for that, with a look a second (`--interval`). Counted are the GETs the server received.
"""

import argparse
from typing import Any

from arena import contest, label, missing
from peers import NAMES
from tables import bars, parser_of, save, shown, table

COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("GETs, 1 waiter", shown("one", ",")),
    ("GETs, many", shown("many", ",")),
    ("× one waiter", shown("times", ".1f")),
    ("CPU, many", shown("cpu", ".2f", unit=" s")),
    ("lag, slowest", shown("lag_p99", ".2f", unit=" s")),
)


def measure(client: str, given: argparse.Namespace) -> dict[str, Any]:
    """One waiter, then many."""
    server = {"median": given.seconds, "sigma": 0}
    one = contest(client, "share", server=server, tasks=1, interval=given.interval)
    many = contest(client, "share", server=server, tasks=1, interval=given.interval, waiters=given.waiters)
    counts = {"one": one["gets"], "many": many["gets"], "times": many["gets"] / one["gets"]}
    return {"label": label(client), **many, **counts}


def main() -> None:
    """Run all, one after the other, and print the table."""
    parser = parser_of(__doc__, names=("ours", *NAMES))
    parser.add_argument("--waiters", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5.0, help="how long the task runs")
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between looks")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for client in given.only:
        why = missing(client)
        skipped = {"client": client, "label": label(client), "skipped": why}
        rows.append(skipped if why else measure(client, given))
    print(f"{given.waiters} waiters on one task that runs {given.seconds:g} s, a look every {given.interval:g} s")
    print(table(COLUMNS, rows))
    save(given.json, rows=rows)
    title = f"GETs sent for {given.waiters} waiters on one task of {given.seconds:g} s (fewer is better)"
    bars(given.plot, rows, key="many", title=title)


if __name__ == "__main__":
    main()
