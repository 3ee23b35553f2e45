"""CPU per poll: this client divided by the bare aiohttp loop around one heap.

    python benchmarks/polling.py [--pairs 7] [--tasks 1000] [--looks 8] [--uvloop] [--cold]
                                 [--instructions] [--only …] [--json FILE] [--plot FILE.png]

Each contender looks at so many tasks every quarter of a second until each is finished at its so-manieth look, so both
send the same number of requests. Before that, unmeasured, each follows one task with a client of its own, so that what
is imported late is not counted; with `--cold` it is. They take turns against a server on another core; the figure is
the median of the ratios within the pairs. "One heap, cattrs" is the floor the goal (1.10) refers to; its code stands in
`floor.py` and does not change with the package's. "No total timeout" shows what aiohttp's timer for each request costs,
which this client bounds in another way. The client is told that a million requests a second are allowed, since the
floors take that for granted: with nothing told, finding the pace out is part of its work.

`--instructions` counts instructions instead of time, under `valgrind --tool=callgrind`, which other programs on the
machine do not disturb: a run with many looks minus one with few, so that start-up cancels. The kernel's share is not
in it. It goes fifty times as slowly: fewer tasks are looked at, once a second, so that here too there is time between
the looks. It takes a few minutes.
"""

import argparse
import re
import shutil
import statistics
from typing import Any

from arena import contest, label, missing
from tables import bars, median_of, parser_of, save, shown, table

COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("requests", shown("requests", ",.0f")),
    ("CPU/request", shown("us", ",.1f", unit=" µs")),
    ("instructions/request", shown("instructions", ",.0f")),
    ("÷ floor", shown("ratio", ".2f")),
    ("from", shown("least", ".2f")),
    ("to", shown("most", ".2f")),
    ("server busy", shown("busy", ".0%")),
)
FLOOR = "attrs"
CONTENDERS = ("protocol", "bare", FLOOR, "lean", "ours-told")
CALLGRIND = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
FEW = 4
"""Looks of the run that is subtracted."""


def look(client: str, given: argparse.Namespace) -> dict[str, Any]:
    """One run of one contender."""
    return contest(client, "follow", tasks=given.tasks, looks=given.looks, interval=0.25, warmed=not given.cold)


def pairs(clients: tuple[str, ...], given: argparse.Namespace) -> list[dict[str, dict[str, Any]]]:
    """All contenders in turns, each time in the other order."""
    turns = []
    for number in range(given.pairs):
        order = clients[:: 1 if number % 2 else -1]
        turns.append({client: look(client, given) for client in order})
    return turns


def counted(client: str, tasks: int, looks: int) -> dict[str, Any]:
    """Instructions for each request of a contender."""
    runs = [
        contest(client, "follow", under=CALLGRIND, tasks=tasks, looks=few_or_many, interval=1.0)
        for few_or_many in (FEW, looks)
    ]
    told = [re.search(r"Collected *: *([0-9]+)", str(run.pop("said"))) for run in runs]
    few, many = (int(found[1]) if found else 0 for found in told)
    requests = runs[1]["requests"] - runs[0]["requests"]
    return {"client": client, "instructions": (many - few) / requests, "requests": requests}


def compared(rows: dict[str, dict[str, Any]], turns: list[dict[str, dict[str, Any]]], key: str) -> list[dict[str, Any]]:
    """The rows with what they are to the floor, pair by pair."""
    floor = next(client for client in rows if client.startswith(FLOOR))
    for client, row in rows.items():
        ratios = [turn[client][key] / turn[floor][key] for turn in turns]
        row |= {"label": label(client), "ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
    return list(rows.values())


def main() -> None:
    """Run the pairs, or count, and print the table."""
    parser = parser_of(__doc__, names=CONTENDERS)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--tasks", type=int, help="1000; with --instructions 50")
    parser.add_argument("--looks", type=int, help="8; with --instructions 24")
    parser.add_argument("--uvloop", action="store_true", help="all contenders on uvloop")
    parser.add_argument("--cold", action="store_true", help="count what is imported with the first look too")
    parser.add_argument("--instructions", action="store_true", help="count instructions under valgrind")
    given = parser.parse_args()
    loop = "+uvloop" if given.uvloop else ""
    clients = tuple(f"{name}{loop}" for name in CONTENDERS if name in (*given.only, FLOOR))
    if loop and (why := missing(clients[0])):
        parser.exit(2, f"{why}\n")
    if given.instructions and shutil.which("valgrind") is None:
        parser.exit(2, "--instructions needs valgrind, and there is none\n")
    given.tasks = given.tasks or (50 if given.instructions else 1000)
    given.looks = given.looks or (24 if given.instructions else 8)
    if given.instructions:
        turns = [{client: counted(client, given.tasks, given.looks) for client in clients}]
        rows = compared(dict(turns[0]), turns, "instructions")
    else:
        turns = pairs(clients, given)
        rows = compared({client: median_of([turn[client] for turn in turns]) for client in clients}, turns, "us")
    print(f"following {given.tasks:,} tasks for {given.looks} looks each; medians of {len(turns)} turns")
    print(table(COLUMNS, rows))
    for row in rows:
        if row["client"].startswith("ours"):
            print(f"CPU per poll, ours / floor: {row['ratio']:.3f}")
    save(given.json, rows=rows, turns=turns)
    bars(
        given.plot,
        rows,
        key="instructions" if given.instructions else "us",
        title=f"{'Instructions' if given.instructions else 'CPU, microseconds,'} per poll (less is better)",
        log=False,
    )


if __name__ == "__main__":
    main()
