"""Creating and following many tasks: this client beside floors and the peers' SDKs.

    python benchmarks/tracking.py [--tasks 1000 …] [--peers-tasks 200] [--rounds 1] [--only …]
                                  [--usual] [--together] [--median 3] [--json FILE] [--plot FILE.png]

Each contender creates so many tasks at once on a loopback server that speaks its service's shape, looks at each once a
second, and gets each result to its waiter. Run times are lognormal (median 3 s, sigma 0.4, seeded) and begin with the
create. Client and server are processes of their own, each on its own core where there are two. All take turns, as often
as `--rounds` says; medians are shown. The peers get fewer tasks: more would only show them waiting for their CPU.
"Rate told": the client is told that a million requests a second are allowed, which floors and peers take for granted;
the row without finds its pace, as it comes. "Own schedule": it plans its looks by what it learns, at least half a
second apart, instead of looking every second. "Equal lag": a look is worth so much to it that it finds finished tasks
as late in the mean as by looking every second, so that the requests for a task can be compared.

`--usual` has each client look as often as it does by itself (openai each second, runwayml each 6 s or so, this one by
its schedule, and with the pace to be found): what its user gets. Then `--median 60` makes tasks as long as videos take,
and `--together` runs the contenders at the same time, each with a server of its own, which costs CPU time nothing as
long as the core is not busy: so minutes do not add up.

    python benchmarks/tracking.py --usual --together --median 60 --tasks 300 --peers-tasks 300

- CPU/request: the client process's CPU, user and system, for each POST and GET; imports are not in it, nor what a
  client loads at its first task: each has followed one before.
- CPU/task: the same for each finished task.
- memory/task: how much the process grew at the most, for each task, connections and buffers included.
- lag: from a task's end at the server to the moment the waiter has it.
- busy: how much of the time the server's core was busy: it is not what limits the client.
"""

import argparse
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from arena import contest, label, missing
from peers import NAMES
from tables import bars, median_of, parser_of, save, shown, table

MINE = (
    "protocol",
    "bare",
    "attrs",
    "attrs+uvloop",
    "coroutines",
    "ours-told",
    "ours-told+uvloop",
    "ours-schedule",
    "ours-equal",
    "ours",
    "ours+uvloop",
)
USUAL = ("ours", "ours+uvloop", "openai", "runway")
"""Contenders with `--usual`, unless others are named."""
AS_INSTALLED = ("openai", "runway", "fal", "replicate")
PATIENCE = 120.0
"""Seconds after which a run is broken off, and ten usual run times more."""
COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("tasks", shown("tasks", ",")),
    ("finished", shown("finished", ",.0f")),
    ("requests", shown("requests", ",.0f")),
    ("a task", shown("per_task", ",.2f")),
    ("CPU/request", shown("us", ",.0f", unit=" µs")),
    ("CPU/task", shown("task_ms", ",.2f", unit=" ms")),
    ("memory/task", shown("task_kb", ",.1f", unit=" kB")),
    ("mean lag", shown("lag_mean", ".2f", unit=" s")),
    ("p50", shown("lag_p50", ".2f", unit=" s")),
    ("p99", shown("lag_p99", ".2f", unit=" s")),
    ("busy", shown("busy", ".0%")),
)


def measure(client: str, tasks: int, given: argparse.Namespace) -> dict[str, Any]:
    """One run of one contender."""
    server = {"median": given.median, "sigma": given.sigma, "seed": given.seed}
    row = contest(
        client,
        "create",
        server=server,
        tasks=tasks,
        interval=None if given.usual else given.interval,
        usual=given.usual,
        patience=given.patience or PATIENCE + 10 * given.median,
        warmed=True,
    )
    row["task_ms"] = 1e3 * row["cpu"] / row["finished"] if row["finished"] else None
    row["per_task"] = row["requests"] / tasks
    return {**row, "label": label(client), "tasks": tasks, "task_kb": row["grown"] / 1e3 / tasks}


def sizes(client: str, given: argparse.Namespace) -> list[int]:
    """How many tasks a contender gets, one run for each."""
    return [given.peers_tasks] if client in NAMES else list(given.tasks)


def turn(able: list[tuple[str, int]], given: argparse.Namespace) -> list[dict[str, Any]]:
    """Every contender once, one after the other or all at the same time."""
    with ThreadPoolExecutor(len(able) if given.together and able else 1) as pool:
        return list(pool.map(lambda one: measure(one[0], one[1], given), able))


def verdict(rows: list[dict[str, Any]]) -> str:
    """What a finished task costs with us, beside each peer as it is installed, the best first."""
    done = [row for row in rows if row["task_ms"]]
    told = []
    for peer in sorted((row for row in done if row["client"] in AS_INSTALLED), key=lambda row: float(row["task_ms"])):
        told.append(f"CPU per finished task of {peer['label']} with {peer['tasks']:,} tasks is")
        told += [
            f"{peer['task_ms'] / row['task_ms']:6.1f} × that of {row['label']} with {row['tasks']:,}"
            for row in done
            if row["client"].startswith("ours")
        ]
    return "\n".join(told)


def main() -> None:
    """Run all in turns and print the table."""
    parser = parser_of(__doc__, names=(*MINE, *NAMES))
    parser.add_argument("--tasks", type=int, nargs="+", default=[1000], help="for this client and the floors")
    parser.add_argument("--peers-tasks", type=int, default=200, help="for the peers")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--median", type=float, default=3.0, help="run time of a task, seconds")
    parser.add_argument("--sigma", type=float, default=0.4)
    parser.add_argument("--interval", type=float, default=1.0, help="seconds between looks")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--patience", type=float, help="seconds after which a run is broken off")
    parser.add_argument("--usual", action="store_true", help="each looks as often as it does by itself")
    parser.add_argument("--together", action="store_true", help="all at the same time, for few requests a second")
    given = parser.parse_args()
    if given.only == [*MINE, *NAMES]:
        given.only = [client for client in given.only if client in USUAL or not given.usual]
    asked = [(client, size) for client in given.only for size in sizes(client, given)]
    absent = {client: why for client in given.only if (why := missing(client))}
    able = [(client, size) for client, size in asked if client not in absent]
    turns = [turn(able, given) for _ in range(given.rounds)]
    rows = [median_of(runs) for runs in zip(*turns, strict=True)]
    skipped = [{"client": client, "label": label(client), "skipped": why} for client, why in absent.items()]
    looks = "looks as each client plans them" if given.usual else f"a look every {given.interval:g} s"
    print(f"create and follow, {looks}, run times of {given.median:g} s in the median")
    print(table(COLUMNS, rows + skipped))
    print(verdict(rows))
    for row in rows:
        if row["errors"]:
            print(f"{row['label']}: {row['errors']}")
    save(given.json, rows=rows + skipped, turns=turns)
    bars(given.plot, rows, key="us", title="CPU of the client for each request, microseconds (less is better)")


if __name__ == "__main__":
    main()
