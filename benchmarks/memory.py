"""Memory for each followed task: the growth of the process from N followed tasks to 2 N, divided by N.

    python benchmarks/memory.py [--tasks 20000] [--json FILE] [--plot FILE.png]

Each contender follows so many running tasks, and twice as many in another process, until each has been looked at and
nothing is due; then the resident memory is read, after a garbage collection. The ids themselves were there before.
What does not grow with the tasks (connections, modules) cancels. `omni_async` follows by `as_completed`; "a wait each"
has a caller's coroutine and future for each id besides.
"""

from typing import Any

from arena import contest, label
from tables import bars, parser_of, save, shown, table

COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("tasks", shown("tasks", ",")),
    ("memory/task", shown("task_kb", ",.2f", unit=" kB")),
    ("grown by, N", shown("grown_n", ",.1f", scale=1e-6, unit=" MB")),
    ("2 N", shown("grown_2n", ",.1f", scale=1e-6, unit=" MB")),
    ("process, 2 N", shown("peak", ",.0f", scale=1e-6, unit=" MB")),
)
CONTENDERS = (("attrs", "follow"), ("coroutines", "follow"), ("ours-told", "follow"), ("ours-told", "each"))
NEVER = 86400.0


def measure(client: str, task: str, tasks: int) -> dict[str, Any]:
    """N, then 2 N."""
    options: dict[str, Any] = {"holding": True, "interval": NEVER, "seconds": NEVER, "sigma": 0}
    once = contest(client, task, tasks=tasks, **options)
    twice = contest(client, task, tasks=2 * tasks, **options)
    name = label(client) + (", a wait each" if task == "each" else "")
    grown = {"grown_n": once["grown"], "grown_2n": twice["grown"]}
    each = (twice["grown"] - once["grown"]) / tasks
    return {**twice, "label": name, "tasks": tasks, **grown, "task_kb": each / 1e3}


def main() -> None:
    """Measure all and print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--tasks", type=int, default=20_000)
    given = parser.parse_args()
    rows = [measure(client, task, given.tasks) for client, task in CONTENDERS]
    print(f"memory for each followed task, from {given.tasks:,} to {2 * given.tasks:,}")
    print(table(COLUMNS, rows))
    save(given.json, rows=rows)
    bars(given.plot, rows, key="task_kb", title="Memory for each followed task, kB (less is better)", form=".2f")


if __name__ == "__main__":
    main()
