"""Hidden limits, found: how much of an account is used, and at what price, by this limiter and by what others do.

In virtual time, against accounts drawn from families by `--seed`: the limiter's own arithmetic, no sockets. A family's
row tells the median and the worst of its draws, and in how many everything asked for held.

    python benchmarks/limits.py --seed 7 --draws 20
"""

import argparse
import importlib
import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from account import Policy, Scenario, Seen, Simulation, at
from hidden import FAMILIES, draw, judge, rate
from tables import FLOOR, OURS, PEER, parser_of, save, table
from usual import Aimd, Semaphore

POLICIES: dict[str, Callable[[random.Random], Policy] | None] = {
    "ours": None,
    "semaphore of 64, backoff": lambda _: Semaphore(),
    "AIMD on requests in flight, backoff": lambda _: Aimd(),
}
COLOURS = dict(zip(POLICIES, (OURS, PEER, FLOOR), strict=True))
FIGURES = ("share", "refused", "running", "refused_creates", "adapted", "fair", "requests", "slower")
NEVER = 1e9
"""Stands for an infinite time in JSON."""


def run(scenario: Scenario, policy: str) -> Seen:
    """What the account saw of a policy."""
    return Simulation(scenario, POLICIES[policy], patient=policy == "ours").run()


def verdict(scenario: Scenario, policy: str) -> dict[str, Any]:
    """The figures of one scenario."""
    began, seen, plain = time.perf_counter(), run(scenario, policy), None
    if math.isfinite(scenario.outage[0]) or scenario.chance:
        plain = run(attrs.evolve(scenario, outage=(math.inf, math.inf), chance=0.0), policy)
    told = attrs.asdict(judge(scenario, seen, plain=plain))
    if told["adapted"] is not None:
        told["adapted"] = min(told["adapted"], NEVER)
    return {"name": scenario.name, **told, "requests_sent": seen.sent, "took": time.perf_counter() - began}


def row_of(family: str, policy: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A family's line: median and worst of each figure."""
    row: dict[str, Any] = {"label": family, "client": policy, "held": sum(one["good"] for one in found)}
    row["draws"] = len(found)
    for figure in FIGURES:
        values = [one[figure] for one in found if one[figure] is not None]
        if values:
            worst = min if figure in ("share", "running", "fair") else max
            row[figure] = (statistics.median(values), worst(values))
    return row


def cell(figure: str, form: str, scale: float = 1.0) -> Callable[[Mapping[str, Any]], str]:
    """Median and worst of a figure, `–` where it does not apply."""

    def text(row: Mapping[str, Any]) -> str:
        if figure not in row:
            return "–"
        return " / ".join("never" if value >= NEVER / 2 else f"{value * scale:{form}}" for value in row[figure])

    return text


COLUMNS = (
    ("median / worst", lambda row: str(row["label"])),
    ("held", lambda row: f"{row['held']} of {row['draws']}"),
    ("share of rate %", cell("share", ".1f", 100.0)),
    ("refused %", cell("refused", ".2f", 100.0)),
    ("running %", cell("running", ".1f", 100.0)),
    ("refused creates", cell("refused_creates", ".2f")),
    ("adapted after", cell("adapted", ".1f")),
    ("least share", cell("fair", ".2f")),
    ("requests", cell("requests", ".2f")),
    ("slower", cell("slower", ".1f")),
)
LEGEND = """share: let in, of what was allowed, in the worst window of 30 s from 30 s on (after a change: 20 s after it)
requests or creates a minute: of all that was allowed from the third minute on
squeezed: in the five minutes after it · looks alone: from the third minute on, and of looks
refused: part of the requests from 30 s on · running: of what was allowed, from two task times on
refused creates: per task time, or per fiftieth of the creates where that is more · adapted: s, or task times (running)
least share: of its fair part · requests: against the same run without the outage,
the reserve of 10 not counted · slower: time until all is done, against the same run with nothing refused by chance"""


def picture(path: Path, seed: int) -> None:
    """Let in and refused over time against a rate that halves and then doubles twice."""
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    changes = ((0.0, 100.0), (60.0, 50.0), (120.0, 100.0), (180.0, 200.0))
    drawn = attrs.evolve(rate(random.Random(seed)), rate=changes, style="sliding", followed=450, until=240.0)
    drawn = attrs.evolve(drawn, latency=(0.08, 0.2, 0.2))
    figure, panels = pyplot.subplots(len(POLICIES), 1, figsize=(10, 8), sharex=True, layout="constrained")
    for axes, policy in zip(panels, POLICIES, strict=True):
        seen, seconds = run(drawn, policy), range(240)
        let_in = [seen.let_in.get(second, 0) for second in seconds]
        refused = [seen.refused.get(second, 0) for second in seconds]
        axes.bar(seconds, let_in, width=1.0, color=COLOURS[policy], label="let in")
        axes.bar(seconds, refused, width=1.0, bottom=let_in, color="#c0392b", label="refused")
        axes.step(seconds, [at(changes, second) for second in seconds], where="post", color="black", label="allowed")
        part = sum(refused) / sum(let_in + refused)
        axes.set_title(f"{policy}: {sum(let_in):,} let in, {part:.1%} of its requests refused", loc="left", fontsize=11)
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_ylim(0, 420)
    panels[0].legend(loc="upper left", ncols=3, frameon=False)
    panels[-1].set_xlabel("seconds")
    figure.supylabel("requests per second")
    figure.savefig(path, dpi=130)


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, default=2, help="draws the scenarios; the limiter was tuned on 1")
    parser.add_argument("--draws", type=int, default=12, help="scenarios of each family")
    parser.add_argument("--family", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--compare", type=int, default=4, help="draws for the others; 0 leaves them out")
    return parser.parse_args()


def main() -> None:
    """Run all and print the table."""
    given, began = options(), time.perf_counter()
    rows, runs = [], {}
    for policy, draws in zip(POLICIES, (given.draws, given.compare, given.compare), strict=True):
        for family in given.family if draws else ():
            found = [verdict(scenario, policy) for scenario in draw(family, given.seed, draws)]
            rows.append(row_of(family, policy, found))
            runs[f"{policy}: {family}"] = found
    for policy in dict.fromkeys(str(row["client"]) for row in rows):
        print(f"\n{policy}, seed {given.seed}")
        print(table(COLUMNS, [row for row in rows if row["client"] == policy]))
    sent = sum(one["requests_sent"] for found in runs.values() for one in found)
    print(f"\n{LEGEND}\n{sent:,} requests in {time.perf_counter() - began:.0f} s")
    save(given.json, rows=rows, runs=runs)
    if given.plot is not None:
        picture(given.plot, given.seed)


if __name__ == "__main__":
    main()
