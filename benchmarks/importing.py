"""Import time: this package beside what it is built on, and beside the peers.

    python benchmarks/importing.py [--turns 15] [--only …] [--json FILE] [--plot FILE.png]

Each import runs in a fresh interpreter (`-I`: nothing of the environment's); what an empty interpreter takes is
subtracted within each turn, and imports take turns. CPU is user and system time of that process. The goal: at most
1.15 × importing aiohttp, attrs, cattrs and anyio.
"""

import resource
import statistics
import subprocess
import sys
import time
from typing import Any

from arena import LABELS, missing
from tables import bars, parser_of, save, shown, table

BELOW = "import aiohttp, attrs, cattrs, anyio"
IMPORTS = {
    "floor": ("aiohttp, attrs, cattrs, anyio", BELOW),
    "ours": ("omni_async", "import omni_async"),
    "ours-named": ("omni_async, OmniClient named", "from omni_async import OmniClient"),
    "ours-client": ("omni_async, a client made", "import omni_async; omni_async.OmniClient(api_key='x')"),
    "openai": ("openai", "import openai; openai.AsyncOpenAI"),
    "runway": ("runwayml", "import runwayml; runwayml.AsyncRunwayML"),
    "fal": ("fal-client", "import fal_client; fal_client.AsyncClient"),
    "replicate": ("replicate", "import replicate; replicate.Client"),
}
COLUMNS = (
    ("", lambda row: str(row["label"])),
    ("CPU", shown("cpu", ",.0f", scale=1e3, unit=" ms")),
    ("wall", shown("wall", ",.0f", scale=1e3, unit=" ms")),
    ("÷ floor", shown("ratio", ".2f")),
    ("from", shown("least", ".2f")),
    ("to", shown("most", ".2f")),
)


def timed(statement: str) -> tuple[float, float]:
    """CPU and wall seconds of a fresh interpreter that runs this."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-I", "-c", statement], check=True)
    after, ended = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, ended - began


def main() -> None:
    """Run all in turns and print the table."""
    parser = parser_of(__doc__, names=tuple(IMPORTS)[1:])
    parser.add_argument("--turns", type=int, default=15)
    given = parser.parse_args()
    absent = {name: why for name in given.only if name in LABELS and (why := missing(name))}
    able = ["floor", *(name for name in given.only if name not in absent)]
    for name in able:  # once before: what is not compiled yet is compiled
        timed(IMPORTS[name][1])
    turns: list[dict[str, tuple[float, float]]] = []
    for number in range(given.turns):
        empty = timed("pass")
        took = {name: timed(IMPORTS[name][1]) for name in able[:: 1 if number % 2 else -1]}
        turns.append({name: (cpu - empty[0], wall - empty[1]) for name, (cpu, wall) in took.items()})
    rows: list[dict[str, Any]] = []
    for name in able:
        cpu, wall = (statistics.median(turn[name][place] for turn in turns) for place in (0, 1))
        ratios = [turn[name][1] / turn["floor"][1] for turn in turns]
        row = {"client": "bare" if name == "floor" else name, "label": IMPORTS[name][0], "cpu": cpu, "wall": wall}
        spread = {"ratio": statistics.median(ratios), "least": min(ratios), "most": max(ratios)}
        rows.append({**row, **spread})
    rows += [{"client": name, "label": IMPORTS[name][0], "skipped": why} for name, why in absent.items()]
    print(f"import time, medians of {given.turns} turns; ÷ floor by wall time within a turn")
    print(table(COLUMNS, rows))
    save(given.json, rows=rows, turns=turns)
    bars(given.plot, rows, key="wall", scale=1e3, title="Import time, milliseconds (less is better)", log=False)


if __name__ == "__main__":
    main()
