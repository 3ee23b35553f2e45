"""A batch kills itself at named points: before and after each step that money or a file hangs on.

    python tests/crash/named_points.py --rounds 20 --seed 1

Nothing in the package knows of this. A driver imports the command line, wraps the function behind a name, and sends
itself SIGKILL at its n-th call, before it or after it. A round goes through all points, in random order, on one batch
folder; what is uncertain after each is held against what the point must leave behind.
"""

import argparse
import importlib
import inspect
import os
import random
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from judge import Bill, judge, judge_results
from rig import GatewayProcess, Life, add_rows, batch_words

POINTS = {
    "enter the sheet": "omni_async.batch.entering:Entering.enter",
    "commit": "omni_async.journal.ledger:Ledger.commit",
    "claim": "omni_async.journal.store:SqliteJournal.claim",
    "intend": "omni_async.journal.store:SqliteJournal.intend",
    "send": "omni_async.transport:Transport.send",
    "answered": "omni_async.journal.store:SqliteJournal.answered",
    "finished": "omni_async.journal.store:SqliteJournal.finished",
    "arriving": "omni_async.journal.ledger:Ledger.arriving",
    "publish": "omni_async.partfile:PartFile.publish",
    "link": "os:link",
    "stored": "omni_async.journal.ledger:Ledger.stored",
    "result's line": "omni_async.batch.results:Results.append",
    "results anew": "omni_async.batch.results:Results.rewrite",
    "results replaced": "omni_async.batch.results:_put_in_place",
}
CREATES_ONLY = {"send"}
"""Points that free calls go through as well."""

SIDES = ("before", "after")
LEAVES = {
    ("intend", "before"): 0,
    ("intend", "after"): 1,
    ("send", "before"): 1,
    ("send", "after"): 1,
    ("answered", "before"): 1,
    ("answered", "after"): 0,
}
"""Uncertain rows that the death of a batch with one create at a time leaves behind; at other points, at most one."""
CALLS = {"enter the sheet": 1, "claim": 1, "results anew": 2, "results replaced": 4}
"""How often a life passes points that it does not pass for every row."""
FRESH, AT_THE_END = 3, 32
"""Rows added for each life, and creates at a time in the last one, which nobody kills."""


# --- the driver -------------------------------------------------------------------------------------------------


class Fuse:
    """Kills its own process at the n-th call of a function.

    Args:
        side: `before` or `after` it does its work.
        count: Which call.
    """

    def __init__(self, side, count):
        self.side, self.left = side, count

    def counts(self, side):
        """The place is reached."""
        if side == self.side:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
                time.sleep(60)  # a signal is delivered when it is

    def around(self, function, matters):
        """The function, with the fuse in it; calls that do not matter are let through."""
        if not inspect.iscoroutinefunction(function):

            def plain(*arguments, **named):
                if not matters(*arguments):
                    return function(*arguments, **named)
                self.counts("before")
                result = function(*arguments, **named)
                self.counts("after")
                return result

            return plain

        async def awaited(*arguments, **named):
            if not matters(*arguments):
                return await function(*arguments, **named)
            self.counts("before")
            result = await function(*arguments, **named)
            self.counts("after")
            return result

        return awaited


def install(point, fuse):
    """Put the fuse around the function behind a name."""
    module, _, path = POINTS[point].partition(":")
    owner, _, name = path.rpartition(".")
    place = importlib.import_module(module)
    place = getattr(place, owner) if owner else place
    matters = is_create if point in CREATES_ONLY else lambda *_: True
    setattr(place, name, fuse.around(getattr(place, name), matters))


def is_create(_, call, *__):
    """Whether a transport's call is paid."""
    return call.method == "POST"


def drive(point, side, count, *words):
    """Run the command line with a fuse in it."""
    from omni_async.cli import main as omni

    install(point, Fuse(side, int(count)))
    return omni(list(words))


# --- the rounds -------------------------------------------------------------------------------------------------


class Round:
    """One batch folder that dies at every point, and then ends.

    Args:
        folder: Where sheet, ledger and batch folder are made.
        concurrency: Creates at a time; with 1 it is known what each point leaves behind.
        most: A point is reached at most so many times before the kill.
    """

    def __init__(self, folder, rng, *, concurrency=1, most=1):
        self.folder, self.rng, self.concurrency, self.most = Path(folder), rng, concurrency, most
        self.sheet, self.out = self.folder / "sheet.jsonl", self.folder / "out"
        self.rows = self.kills = 0
        self.faults = []
        self.verdict = None

    def run(self, places):
        """Die at each (point, side), and end."""
        with GatewayProcess(self.folder, delay=0.01, task_seconds=0.02) as self.gateway:
            self.bill, uncertain = Bill(self.gateway.ledger), 0
            for point, side in places:
                uncertain = self._die(point, side, uncertain)
            self._end()
        return self

    def _die(self, point, side, before):
        add_rows(self.sheet, self.rows + 1, FRESH * self.concurrency)
        self.rows += FRESH * self.concurrency
        count = str(self.rng.randint(1, min(self.most, CALLS.get(point, self.most))))
        with self._live(self.concurrency, __file__, "--driver", point, side, count) as life:
            code = life.ended()
            told = life.said()
        self.kills += 1
        where = f"{side} {point} no. {count}"
        if code != -signal.SIGKILL:
            self.faults.append(f"{where}: never reached, exit code {code}: {told[-500:]}")
        if not (self.out / "journal.sqlite3").exists():
            return before
        verdict = judge(self.bill, self.out)
        self.faults += [f"{where}: {fault}" for fault in verdict.faults(before + self.concurrency)]
        left = verdict.uncertain - before
        if self.concurrency == 1 and left != LEAVES.get((point, side), left):
            self.faults.append(f"{where}: {left} rows became uncertain")
        return verdict.uncertain

    def _live(self, concurrency, *driver):
        words = batch_words(self.sheet, self.out, self.gateway.url, "--concurrency", concurrency)
        return Life([*driver, *words], self.folder / "log.txt")

    def _end(self):
        with self._live(AT_THE_END, "-m", "omni_async") as life:
            code = life.ended()
            told = life.said()
        self.verdict = judge(self.bill, self.out)
        self.verdict.folder = judge_results(self.out, video_bytes=4096)
        self.faults += self.verdict.faults(self.kills * self.concurrency)
        if code != (3 if self.verdict.uncertain else 0):
            self.faults.append(f"exit code {code} at the end: {told[-500:]}")
        if sum(self.verdict.states.values()) != self.rows or set(self.verdict.states) - {"DONE", "UNCERTAIN"}:
            self.faults.append(f"{self.rows} rows came to {dict(self.verdict.states)}")


def places():
    """Every point, before and after."""
    return [(point, side) for point in POINTS for side in SIDES]


def one_round(number, seed):
    """All points in random order: one create at a time in even rounds, eight in odd ones."""
    rng = random.Random(f"{seed} {number}")
    with tempfile.TemporaryDirectory() as folder:
        order = rng.sample(places(), len(places()))
        return Round(folder, rng, concurrency=1 if number % 2 == 0 else 8, most=3).run(order)


def main(words=None):
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args(words)
    began = time.monotonic()
    with ThreadPoolExecutor(2) as two:
        done = list(two.map(one_round, range(given.rounds), [given.seed] * given.rounds))
    faults = [fault for one in done for fault in one.faults]
    print(f"points {len(places())}, rounds {given.rounds}, kills {sum(one.kills for one in done)}")
    print(f"charges {sum(one.verdict.charges for one in done)}, uncertain {sum(one.verdict.uncertain for one in done)}")
    print(f"seconds {time.monotonic() - began:.0f}")
    for fault in faults:
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(drive(*sys.argv[2:]) if sys.argv[1:2] == ["--driver"] else main())
