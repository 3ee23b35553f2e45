"""CPU per poll: this client divided by the bare aiohttp loop around one heap.

    python benchmarks/polling.py [--pairs 7] [--tasks 1000] [--looks 8] [--uvloop] [--cold]
                                 [--instructions] [--only …] [--json FILE] [--plot FILE.png]

Each contender looks at so many tasks every quarter of a second until each is finished at its so-manieth look, so both
send the same number of requests. Before that, unmeasured, each follows one task with a client of its own, so that what
is imported late is not counted; with `--cold` it is. They take turns against a server on another core; the figure is
the median of the ratios within the pairs. "One heap, cattrs" is the floor the goal (1.10) refers to; its code stands in
`floor.py` and does not change with the package's. "No total timeout" shows what aiohttp's timer for each request costs,
which this client bounds in another way. "Rate told": the client is told that a million requests a second are allowed,
since the floors take that for granted; with nothing told, finding the pace out is part of its work, and spreads the
looks over the second, so that fewer go together.

`--instructions` counts instructions of the client's process instead of time, which other programs on the machine do not
disturb: a run with many looks minus one with few, so that start-up cancels. The kernel's share is not in it. It counts
by `perf stat -e instructions:u` where the machine allows that, else under `valgrind --tool=callgrind`, which goes fifty
times as slowly: then fewer tasks are looked at, once a second, so that here too there is time between the looks, and it
takes a few minutes. `--interval`, `--tasks` and `--looks` ask for another load; what is more than the machine can do
shows the looks alone, without the waking up between them.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
from typing import Any, NamedTuple

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
CONTENDERS = ("protocol", "bare", FLOOR, "lean", "ours-told", "ours")
FEW = 4
"""Looks of the run that is subtracted."""


class Counter(NamedTuple):
    """A command that counts the instructions of another, how it tells them, and what is followed under it."""

    command: tuple[str, ...]
    pattern: str
    tasks: int
    looks: int
    interval: float

    def told(self, said: str) -> int:
        """The instructions that it counted; 0 if it tells none."""
        found = re.search(self.pattern, said, re.MULTILINE)
        return int(found[1]) if found else 0

    def works(self) -> bool:
        """Whether it is there and may count: a machine's own counters are often closed to its guests."""
        if shutil.which(self.command[0]) is None:
            return False
        tried = subprocess.run([*self.command, sys.executable, "-c", ""], capture_output=True, text=True, check=False)
        return self.told(tried.stderr) > 0


COUNTERS = (
    Counter(("perf", "stat", "-x,", "-e", "instructions:u"), r"^([0-9]+),[^,]*,instructions", 1000, 12, 0.25),
    Counter(("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null"), r"Collected *: *([0-9]+)", 50, 24, 1.0),
)


def look(client: str, given: argparse.Namespace) -> dict[str, Any]:
    """One run of one contender."""
    return contest(
        client, "follow", tasks=given.tasks, looks=given.looks, interval=given.interval, warmed=not given.cold
    )


def pairs(clients: tuple[str, ...], given: argparse.Namespace) -> list[dict[str, dict[str, Any]]]:
    """All contenders in turns, each time in the other order."""
    turns = []
    for number in range(given.pairs):
        order = clients[:: 1 if number % 2 else -1]
        turns.append({client: look(client, given) for client in order})
    return turns


def counted(client: str, counter: Counter, given: argparse.Namespace) -> dict[str, Any]:
    """Instructions for each request of a contender."""
    runs = [
        contest(client, "follow", under=counter.command, tasks=given.tasks, looks=looks, interval=given.interval)
        for looks in (FEW, given.looks)
    ]
    few, many = (counter.told(str(run.pop("said"))) for run in runs)
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
    parser.add_argument("--tasks", type=int, help="1000; under valgrind 50")
    parser.add_argument("--looks", type=int, help="8; with --instructions 12, under valgrind 24")
    parser.add_argument("--interval", type=float, help="seconds between looks: 0.25; under valgrind 1")
    parser.add_argument("--uvloop", action="store_true", help="all contenders on uvloop")
    parser.add_argument("--cold", action="store_true", help="count what is imported with the first look too")
    parser.add_argument("--instructions", action="store_true", help="count instructions, by perf or valgrind")
    given = parser.parse_args()
    loop = "+uvloop" if given.uvloop else ""
    clients = tuple(f"{name}{loop}" for name in CONTENDERS if name in (*given.only, FLOOR))
    if loop and (why := missing(clients[0])):
        parser.exit(2, f"{why}\n")
    counter = next((one for one in COUNTERS if one.works()), None) if given.instructions else None
    if given.instructions and counter is None:
        parser.exit(2, "--instructions needs perf or valgrind, and neither is there\n")
    given.tasks = given.tasks or (counter.tasks if counter else 1000)
    given.looks = given.looks or (counter.looks if counter else 8)
    given.interval = given.interval or (counter.interval if counter else 0.25)
    if counter:
        turns = [{client: counted(client, counter, given) for client in clients}]
        rows = compared(dict(turns[0]), turns, "instructions")
    else:
        turns = pairs(clients, given)
        rows = compared({client: median_of([turn[client] for turn in turns]) for client in clients}, turns, "us")
    how = f"instructions by {counter.command[0]}" if counter else f"medians of {len(turns)} turns"
    print(f"following {given.tasks:,} tasks for {given.looks} looks each, every {given.interval:g} s; {how}")
    print(table(COLUMNS, rows))
    for row in rows:
        if row["client"].startswith("ours"):
            print(f"{'instructions' if counter else 'CPU'} per poll, {row['label']} / floor: {row['ratio']:.3f}")
    save(given.json, rows=rows, turns=turns, counted_by=counter.command if counter else None)
    bars(
        given.plot,
        rows,
        key="instructions" if given.instructions else "us",
        title=f"{'Instructions' if given.instructions else 'CPU, microseconds,'} per poll (less is better)",
        log=False,
    )


if __name__ == "__main__":
    main()
