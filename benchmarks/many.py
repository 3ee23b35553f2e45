"""Very many tasks in one process, to their ends: memory, lag and requests.

    python benchmarks/many.py [--staggered 20000] [--requests 3000] [--ids 100000] [--allowed 3000]
                              [--json FILE] [--plot FILE.png]

First rows: tasks appear one after the other, each with a waiter of its own (`wait`), and are looked at every second
exactly (`PollPolicy(fixed=1)`); their run times are lognormal (median 3 s, sigma 0.4), and they appear so fast that
about `--requests` looks a second are due, which is less than half of what the server can answer and what fits on one
core. 20,000 looks a second would not fit: about a tenth of the tasks runs at any moment. Beside it the floor, the bare
loop around one heap.

Last rows: all `--ids` are followed at once with the client's own schedule (`as_completed`), run times lognormal with a
median of 40 s, sigma 0.2, against a server that allows `--allowed` requests a second and refuses the rest. In one row
the client is told the rate, in the other it has to find it.

Busy is the share of the time in which the server's core worked.
"""

import math
from typing import Any

from arena import contest, label
from tables import bars, parser_of, save, shown, table

COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("finished", shown("finished", ",")),
    ("requests", shown("requests", ",")),
    ("a second", shown("pace", ",.0f")),
    ("refused", shown("refused", ",")),
    ("lag p50", shown("lag_p50", ".2f", unit=" s")),
    ("p99", shown("lag_p99", ".2f", unit=" s")),
    ("peak memory", shown("peak", ",.0f", scale=1e-6, unit=" MB")),
    ("CPU/request", shown("us", ",.0f", unit=" µs")),
    ("took", shown("wall", ",.0f", unit=" s")),
    ("busy", shown("busy", ".0%")),
)
SIGMA = 0.4


def staggered(client: str, tasks: int, requests: float, *, median: float) -> dict[str, Any]:
    """Tasks that appear one after the other."""
    looks = 1.5 + median * math.exp(SIGMA**2 / 2)  # in the mean: at once, then each second until past the end
    row = contest(client, "each", tasks=tasks, rate=requests / looks, seconds=median, sigma=SIGMA)
    return {**row, "label": f"{label(client)}, each second", "pace": row["requests"] / row["wall"]}


def all_at_once(ids: int, allowed: float, *, median: float, told: bool) -> dict[str, Any]:
    """Ids that are followed from the beginning."""
    options: dict[str, Any] = {"interval": None, "seconds": median, "sigma": 0.2, "patience": 900.0}
    if told:
        options["told"] = 0.98 * allowed
    row = contest("ours", "follow", server={"allowed": allowed}, tasks=ids, **options)
    how = "told" if told else "found"
    return {**row, "label": f"{label('ours')}, {allowed:,.0f}/s {how}", "pace": row["requests"] / row["wall"]}


def main() -> None:
    """Run and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--staggered", type=int, default=20_000, help="tasks that appear one after the other; 0: none")
    parser.add_argument("--median", type=float, default=3.0, help="their run time, seconds")
    parser.add_argument("--requests", type=float, default=3000.0, help="looks a second at them")
    parser.add_argument("--ids", type=int, default=100_000, help="ids followed at once; 0: none")
    parser.add_argument("--allowed", type=float, default=3000.0, help="requests a second that their server allows")
    parser.add_argument("--ids-median", type=float, default=40.0, help="their run time, seconds")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if given.staggered:
        pace, median = given.requests, given.median
        rows += [staggered(client, given.staggered, pace, median=median) for client in ("attrs", "ours-told")]
    if given.ids:
        rows += [all_at_once(given.ids, given.allowed, median=given.ids_median, told=told) for told in (True, False)]
    print(table(COLUMNS, rows))
    for row in rows:
        if row["errors"]:
            print(f"{row['label']}: {row['errors']}")
    save(given.json, rows=rows)
    bars(given.plot, rows, key="lag_p99", title="Detection lag, 99 of 100 within, seconds", form=".2f")


if __name__ == "__main__":
    main()
