"""When to look: looks and lag of the schedule beside fixed intervals, proportional growth and the known optimum.

    python benchmarks/schedule.py [--seed 1000] [--kinds 12] [--runs 20] [--tasks 600] [--json FILE] [--plot FILE.png]

A simulation without a network. Tasks arrive at random, 50 to 200 run at once, a look takes 0.05 to 0.2 s, and a
schedule learns from all of them while they run. Their durations are four known cases (first rows), and as many kinds
as are asked for, drawn by the seed: lognormal (sigma 0.1 to 1), two humps, gamma, Weibull with heavy and light tails,
and gateways that slow down by three half-way; scales of 5 to 900 s. The package's constants were chosen on cases like
the first rows and with seeds below 100: other seeds show kinds and runs they were not chosen on.

Cost is looks x price + lag, in seconds, at one price for everybody. `looks`, `lag` and `cost` are those of the best
schedule for the known distribution (dynamic programming over look times); the costs that follow are multiples of its
cost: an interval of 5 s; the best fixed interval for the kind; growth by 12 % of the age within 5 to 15 s; ours, for
tasks submitted after 50 were seen finished; the same with honest, stalled and lying progress. `cold/5 s` is the cost
of ours over that of 5 s for the first 50 tasks submitted. Last, looks as a part of those of a fixed interval with the
same mean lag: the best schedule's, and ours without and with honest progress.

The second table is about slots that creates wait for: mean lag as a part of the mean task time, for the first task of
each slot and for tasks from the fifth on.
"""

import heapq
import importlib
import math
import random
import statistics
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, NamedTuple

from kinds import LIARS, Kind, Progress, Shape, drawn, honest, known_cases, lognormal, mean_of, none, optimum, stalled
from tables import Column, parser_of, save, shown, table

from omni_async.schedule import PRICE, Course, Mark, Schedule

COLD, FEWEST = 50, 400
UNKNOWN = 60.0
SLOT_MEDIANS, SLOT_SIGMAS = (6.0, 30.0, 90.0, 600.0), (0.0, 0.1, 0.2, 0.4)
TICKS = (0.25, 0.5, 0.75, 1, 1.5, 2, 3)
LABELS = {"ours": "ours, no progress", "honest": "ours, honest progress", "lying": "ours, lying progress"}
MARKS = (
    ("fixed 5 s", "#d9822b", "o"),
    ("fixed, best", "#e8b27d", "s"),
    ("growth", "#9aa5b1", "^"),
    ("lying", "#7fbfa5", "v"),
    ("ours", "#0b6e4f", "D"),
    ("honest", "#043b2a", "*"),
)
TRAITS = ("gateway", "model", "mode", "6", "720p")


class Look(NamedTuple):
    """What following one task took."""

    looks: int
    lag: float
    warm: bool = True


def alone(durations: Sequence[float], interval: Callable[[float], float]) -> list[Look]:
    """Looks by a rule that learns nothing, so that each task can be followed by itself."""
    followed = []
    for duration in durations:
        age, looks = 0.0, 0
        while age < duration:
            age += interval(age)
            looks += 1
        followed.append(Look(looks, age - duration))
    return followed


def growth(age: float) -> float:
    """Proportional growth within usual advice: 12 % of the age within 5 to 15 s, with the mean of a jitter."""
    return 1.05 * min(max(0.12 * age, 5.0), 15.0 / 1.1)


def fixed_with_lag(durations: Sequence[float], lag: float) -> float:
    """Looks a task of the fixed interval that has this mean lag."""
    low, high = 1e-3, max(durations)
    for _ in range(30):
        middle = math.sqrt(low * high)
        mean = statistics.fmean(middle * math.ceil(duration / middle) - duration for duration in durations)
        low, high = (middle, high) if mean < lag else (low, middle)
    return statistics.fmean(math.ceil(duration / low) for duration in durations)


# --- the simulation --------------------------------------------------------------------------------------------


class Run(NamedTuple):
    """One run's tasks: when each is submitted, and how long it takes."""

    submits: list[float]
    durations: list[float]


def make_run(kind: Kind, tasks: int, seed: int) -> Run:
    """Arrivals and durations; the second half in time is of the later shape."""
    rng = random.Random(seed)
    submits, durations, now = [], [], 0.0
    pause = mean_of(kind.shape) / kind.at_once
    for number in range(tasks):
        submits.append(now)
        durations.append((kind.shape if number < tasks / 2 else kind.later).draw(rng))
        now += rng.expovariate(1.0 / pause)
    return Run(submits, durations)


def follow(run: Run, course: Course, progress: Progress, seed: int) -> list[Look]:
    """Follow all tasks of a run by one course that learns meanwhile."""
    rng = random.Random(seed)
    due: list[tuple[float, int]] = []
    last, looks = [0.0] * len(run.submits), [0] * len(run.submits)
    kept: list[Mark] = [None for _ in run.submits]
    followed: list[Look] = [Look(0, 0.0, warm=False)] * len(run.submits)
    finished, warm_from = 0, math.inf
    for number, submit in enumerate(run.submits):
        heapq.heappush(due, (submit, number))
    while due:
        now, number = heapq.heappop(due)
        age, trip = now - run.submits[number], rng.uniform(0.05, 0.2)
        if age > 0.0:
            looks[number] += 1
            lag = age + trip / 2.0 - run.durations[number]
            if lag >= 0.0:
                course.finished(last[number], age, kept[number])
                followed[number] = Look(looks[number], lag, warm=run.submits[number] > warm_from)
                finished += 1
                warm_from = now if finished == COLD else warm_from
                continue
            seen = progress(age, run.durations[number], rng)
            kept[number] = course.running(last[number], age, seen, kept[number])
            last[number] = age
        heapq.heappush(due, (now + max(course.interval(age, kept[number], rng), trip, 1e-3), number))
    return followed


def cost(followed: Sequence[Look]) -> float:
    """Mean cost in seconds."""
    return statistics.fmean(PRICE * task.looks + task.lag for task in followed)


def looks_and_lag(followed: Sequence[Look]) -> tuple[float, float]:
    """Their means."""
    return statistics.fmean(task.looks for task in followed), statistics.fmean(task.lag for task in followed)


# --- one kind --------------------------------------------------------------------------------------------------


def five(_age: float) -> float:
    """What the dialects advise at least."""
    return 5.0


def best_of(kind: Kind, later: float) -> dict[str, float]:
    """Looks, lag and cost of the best schedule, where so many of the tasks are of the later shape."""
    looks, lag = optimum(kind.shape, PRICE)
    if kind.later is not kind.shape:
        others = optimum(kind.later, PRICE)
        looks, lag = looks + later * (others[0] - looks), lag + later * (others[1] - lag)
    return {"looks": looks, "lag": lag, "cost": PRICE * looks + lag}


def learning(made: Sequence[Run], reports: Sequence[Progress], seed: int) -> list[list[Look]]:
    """Each run followed by a schedule that starts knowing nothing."""
    each = enumerate(zip(made, reports, strict=True))
    return [follow(run, Schedule().course(TRAITS), report, seed + number) for number, (run, report) in each]


def measured(kind: Kind, *, runs: int, tasks: int, seed: int) -> dict[str, Any]:
    """Everything about one kind: means over the runs, of the tasks submitted after COLD were seen finished."""
    made = [make_run(kind, tasks, seed + number) for number in range(runs)]
    plain = learning(made, [none] * runs, seed)
    warm = [(task, number) for run in plain for number, task in enumerate(run) if task.warm]
    later = sum(number >= tasks / 2 for _, number in warm) / len(warm)
    pairs = (
        pair for run, followed in zip(made, plain, strict=True) for pair in zip(run.durations, followed, strict=True)
    )
    lasted = [duration for duration, task in pairs if task.warm]
    best = best_of(kind, later)
    row: dict[str, Any] = {"label": kind.name, "best": best, "of fixed": {}, "looks": {}, "lag": {}}
    mean = math.sqrt(2.0 * PRICE * statistics.fmean(lasted))
    rules = {"fixed 5 s": five, "fixed, best": lambda _: mean, "growth": growth}
    costs = {name: cost(alone(lasted, rule)) for name, rule in rules.items()}
    bent = honest(random.Random(seed).uniform(0.8, 1.25))
    reports: dict[str, list[Progress]] = {
        "honest": [bent] * runs,
        "stalled": [stalled] * runs,
        "lying": list(islice(cycle(LIARS), runs)),
    }
    everything = {"ours": plain} | {name: learning(made, each, seed) for name, each in reports.items()}
    for name, followed in everything.items():
        seen = [task for run in followed for task in run if task.warm]
        costs[name] = cost(seen)
        row["looks"][name], row["lag"][name] = looks_and_lag(seen)
        row["of fixed"][name] = row["looks"][name] / fixed_with_lag(lasted[:5000], row["lag"][name])
    row["of fixed"]["best"] = best["looks"] / fixed_with_lag(lasted[:5000], best["lag"])
    row["ratio"] = {name: value / best["cost"] for name, value in costs.items()}
    row["ratio"]["cold"] = cost([task for run in plain for task in run[:COLD]]) / cost(
        [task for run in made for task in alone(run.durations[:COLD], five)]
    )
    return row


# --- slots that creates wait for -------------------------------------------------------------------------------


def in_slots(shape: Shape, seed: int, *, slots: int = 40, each: int = 12) -> list[list[Look]]:
    """Of each slot its tasks in turn: the next is submitted when the one before is seen finished."""
    rng, course, usual = random.Random(seed), Schedule().course(TRAITS), UNKNOWN
    lasting = [shape.draw(rng) for _ in range(slots)]
    begun, last, looks = [0.0] * slots, [0.0] * slots, [0] * slots
    ended: list[list[Look]] = [[] for _ in range(slots)]
    due = [(course.interval(0.0, None, rng, awaited=usual), slot) for slot in range(slots)]
    heapq.heapify(due)
    while due:
        now, slot = heapq.heappop(due)
        age, trip = now - begun[slot], rng.uniform(0.05, 0.2)
        looks[slot] += 1
        lag = age + trip / 2.0 - lasting[slot]
        if lag < 0.0:
            course.running(last[slot], age, None, None)
            last[slot] = age
        else:
            course.finished(last[slot], age, None)
            usual = age if usual == UNKNOWN else 0.8 * usual + 0.2 * age
            ended[slot].append(Look(looks[slot], lag))
            if len(ended[slot]) == each:
                continue
            begun[slot], last[slot], looks[slot], lasting[slot] = now, 0.0, 0, shape.draw(rng)
        wait = course.interval(last[slot], None, rng, awaited=usual)
        heapq.heappush(due, (now + max(wait, trip), slot))
    return ended


def waited_for(median: float, sigma: float, *, runs: int, seed: int) -> dict[str, Any]:
    """Mean lag in slots as a part of the mean duration, and looks."""
    shape = lognormal(median, sigma)
    mean = mean_of(shape)
    ended = [slot for number in range(runs) for slot in in_slots(shape, seed + number)]
    later = [task for slot in ended for task in slot[4:]]
    return {
        "label": f"lognormal {median:g} s, {sigma:g}",
        "first": statistics.fmean(slot[0].lag for slot in ended) / mean,
        "learned": statistics.fmean(task.lag for task in later) / mean,
        "looks": statistics.fmean(task.looks for task in later),
    }


# --- the tables ------------------------------------------------------------------------------------------------

RATIOS = ("fixed 5 s", "fixed, best", "growth", "ours", "honest", "stalled", "lying")


def figure(part: str, key: str, form: str) -> Column:
    """A column of a nested figure."""
    return key, lambda row: f"{row[part][key]:{form}}"


COLUMNS: Sequence[Column] = (
    ("cost of looks and lag", lambda row: str(row["label"])),
    figure("best", "looks", ".1f"),
    figure("best", "lag", ".2f"),
    figure("best", "cost", ".2f"),
    *(figure("ratio", name, ".2f") for name in RATIOS),
    ("cold/5 s", lambda row: f"{row['ratio']['cold']:.2f}"),
    ("best of fixed", lambda row: f"{row['of fixed']['best']:.2f}"),
    ("looks of fixed", lambda row: f"{row['of fixed']['ours']:.2f}"),
    ("honest of fixed", lambda row: f"{row['of fixed']['honest']:.2f}"),
)
SLOTS: Sequence[Column] = (
    ("lag while a create waits", lambda row: str(row["label"])),
    ("first tasks", shown("first", ".1%")),
    ("learned", shown("learned", ".1%")),
    ("looks a task", shown("looks", ".1f")),
)


def summary(label: str, rows: Sequence[Mapping[str, Any]], of: Callable[[Sequence[float]], float]) -> dict[str, Any]:
    """One row for many."""
    parts = ("best", "ratio", "of fixed")
    return {"label": label} | {
        part: {key: of([row[part][key] for row in rows]) for key in rows[0][part]} for part in parts
    }


def plot(path: Path | None, rows: Sequence[Mapping[str, Any]]) -> None:
    """Costs as multiples of the best that can be, a line for each kind."""
    if path is None:
        return
    matplotlib = importlib.import_module("matplotlib")
    matplotlib.use("Agg")
    pyplot = importlib.import_module("matplotlib.pyplot")
    shown_rows = rows[::-1]
    figure, axes = pyplot.subplots(figsize=(9, 1.8 + 0.34 * len(rows)), layout="constrained")
    places = range(len(rows))
    for name, colour, marker in MARKS:
        values = [row["ratio"][name] for row in shown_rows]
        axes.scatter(values, places, color=colour, marker=marker, label=LABELS.get(name, name), s=45, zorder=3)
    axes.axvline(1.0, color="#333333", linewidth=1)
    axes.set_yticks(list(places), [row["label"] for row in shown_rows])
    axes.set_xscale("log")
    axes.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS])
    axes.minorticks_off()
    axes.grid(axis="y", color="#e6e8eb", zorder=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    axes.set_title("Cost of looks and lag, as a multiple of the best schedule for the known distribution", loc="left")
    figure.legend(loc="outside lower left", ncols=len(MARKS) // 2, frameon=False)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Run everything and print the tables."""
    parser = parser_of(__doc__)
    parser.add_argument("--seed", type=int, default=1000, help="which kinds are drawn, and all runs")
    parser.add_argument("--kinds", type=int, default=12, help="how many kinds are drawn besides the known cases")
    parser.add_argument("--runs", type=int, default=20, help="runs of each kind")
    parser.add_argument("--tasks", type=int, default=600, help="tasks of each run")
    given = parser.parse_args()
    if given.tasks < FEWEST:
        parser.error(f"--tasks must be {FEWEST} at least: 200 may run before {COLD} are finished")
    size = {"runs": given.runs, "tasks": given.tasks, "seed": given.seed}
    known = [measured(kind, **size) for kind in known_cases()]
    rows = [measured(kind, **size) for kind in islice(drawn(random.Random(given.seed)), given.kinds)]
    means = summary("mean of the drawn", rows, statistics.fmean), summary("worst of the drawn", rows, max)
    print(f"{given.tasks} tasks at a time, means of {given.runs} runs, seed {given.seed}; a look costs {PRICE:g} s")
    print(table(COLUMNS, [*known, *rows, *means]))
    slots = [waited_for(m, s, runs=max(given.runs // 4, 1), seed=given.seed) for m in SLOT_MEDIANS for s in SLOT_SIGMAS]
    print(f"\n{table(SLOTS, slots)}")
    save(given.json, settings=size, rows=[*known, *rows], summary=means, slots=slots)
    plot(given.plot, [*known, *rows])


if __name__ == "__main__":
    main()
