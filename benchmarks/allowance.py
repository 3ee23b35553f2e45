"""Tasks behind a server that allows few requests a second: who gets them all, and how many refusals that takes.

    python benchmarks/allowance.py [--tasks 200] [--allowed 60] [--patience 60] [--only …]
                                   [--json FILE] [--plot FILE.png]

Each client creates so many tasks at once and waits for all. The server answers every request beyond the allowed rate
with status 429 and no `Retry-After`; it does not say what the rate is. What is not finished when patience ends, or
ended with an error to its waiter, is not finished.
"""

from typing import Any

from arena import contest, label, missing
from peers import NAMES
from tables import bars, parser_of, save, shown, table

COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("finished", shown("finished", ",")),
    ("requests", shown("requests", ",")),
    ("429s", shown("refused", ",")),
    ("for each finished", shown("each", ",.2f")),
    ("lag p50", shown("lag_p50", ".1f", unit=" s")),
    ("p99", shown("lag_p99", ".1f", unit=" s")),
    ("took", shown("wall", ".0f", unit=" s")),
    ("errors", lambda row: ", ".join(f"{count} {name}" for name, count in row["errors"].items()) or "none"),
)


def main() -> None:
    """Run all, one after the other, and print the table."""
    parser = parser_of(__doc__, names=("ours", *NAMES))
    parser.add_argument("--tasks", type=int, default=200)
    parser.add_argument("--allowed", type=float, default=60.0, help="requests a second")
    parser.add_argument("--median", type=float, default=3.0, help="run time of a task, seconds")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds after which a run is broken off")
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    server = {"median": given.median, "sigma": 0.4, "allowed": given.allowed}
    for client in given.only:
        row: dict[str, Any] = {"client": client, "label": label(client)}
        if why := missing(client):
            row["skipped"] = why
        else:
            row |= contest(client, "create", server=server, tasks=given.tasks, patience=given.patience)
            row["each"] = row["refused"] / row["finished"] if row["finished"] else None
        rows.append(row)
    print(f"{given.tasks} tasks behind {given.allowed:g} requests a second")
    print(table(COLUMNS, rows))
    save(given.json, rows=rows)
    title = f"Refusals for each finished task, behind {given.allowed:g} requests a second (fewer is better)"
    bars(given.plot, rows, key="each", title=title, form=".2f")


if __name__ == "__main__":
    main()
