"""A batch is killed again and again while it pays, and judged by the gateway's ledger.

    python tests/crash/kill_loop.py --kills 1000 --rows 6000 --delay 0.1        kill -9 at random moments
    python tests/crash/kill_loop.py --signal TERM --kills 200 --rows 3000       the same with SIGTERM
    python tests/crash/kill_loop.py --signal INT --kills 200 --rows 3000        with Ctrl-C
    python tests/crash/kill_loop.py --signal INT2 --kills 100 --rows 1500 --delay 0.5     a second Ctrl-C 50 ms later
    python tests/crash/kill_loop.py --kills 60 --rows 1000 --video-bytes 3000000 --video-rate 6000000     amid downloads

After KILL and INT2 the rows in flight may be uncertain; after TERM and INT none may. The exit code is 0 when no
promise was broken; the table of figures is printed either way.
"""

import argparse
import random
import signal
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from judge import JOURNAL, Bill, judge, judge_results
from rig import GatewayProcess, Life, add_rows, batch_words, key_in

CODES = {
    "KILL": {-9},
    "TERM": {143},
    "INT": {130},
    "INT2": {130, -2},
}  # -2: the second came when the first had led to the end
ALL_DONE = {0, 3}
LEAVES_WITHIN = 1.0
SENT_TWICE = 1024 * 1024
"""Bytes of videos that may be sent again for each kill."""


@dataclass
class Figures:
    """What is printed at the end."""

    kills: int = 0
    ended: int = 0
    starting: int = 0
    to_first_charge: list = field(default_factory=list)
    to_its_end: list = field(default_factory=list)
    faults: list = field(default_factory=list)
    peak: float = 0.0

    def table(self, verdict, bill, seconds):
        """Name and value, line by line."""
        twice, most = bill.sent_twice()
        lives = self.to_first_charge or [0.0]
        return {
            "kills": self.kills,
            "… of these while starting up": self.starting,
            "runs that ended before the kill": self.ended,
            "charges": verdict.charges,
            "duplicates": len(verdict.duplicates),
            "lost": len(verdict.lost) + len(verdict.wrong),
            "uncertain": verdict.uncertain,
            "uncertain and charged (precision)": f"{verdict.uncertain_charged} ({verdict.precision:.0%})",
            "finished files asked for again": len(verdict.again),
            "video bytes sent twice, in all": twice,
            "… by one request at most": most,
            "… per kill": twice // max(self.kills, 1),
            "largest memory of a run, MiB": f"{self.peak:.0f}",
            "start to first charge, median s": f"{sorted(lives)[len(lives) // 2]:.2f}",
            "signal to end, longest s": f"{max(self.to_its_end, default=0.0):.2f}",
            "states": ", ".join(f"{count} {state}" for state, count in sorted(verdict.states.items())),
            "integrity": verdict.integrity,
            "seconds": f"{seconds:.0f}",
        }


class KillLoop:
    """One sheet, one gateway, many lives of one batch.

    Args:
        options: Of the command line.
        folder: Where sheet, ledger and batch folder are made.
    """

    def __init__(self, options, folder):
        self.options, self.folder = options, Path(folder)
        self.rng = random.Random(options.seed)
        self.sheet, self.out = self.folder / "sheet.jsonl", self.folder / "out"
        self.figures, self.rows = Figures(), 0
        self._add(options.rows)

    @property
    def gentle(self):
        """Whether the signal leaves time to end in good order."""
        return self.options.signal in ("TERM", "INT")

    def run(self):
        """Kill, judge, and let it end; the last verdict and the bill."""
        wire = {name: getattr(self.options, name) for name in ("delay", "task_seconds", "video_bytes", "video_rate")}
        with GatewayProcess(self.folder, **wire, seed=self.options.seed) as gateway:
            self.gateway, self.bill = gateway, Bill(gateway.ledger)
            while self.figures.kills < self.options.kills and not self.figures.faults:
                self._one()
                if self.figures.kills % 100 == 0:
                    print(f"{self.figures.kills} kills", file=sys.stderr, flush=True)
            verdict = self._last()
            self.figures.peak = largest_child()  # the gateway still runs, and is not counted
        return verdict, self.bill

    def _one(self):
        """One life and its death."""
        with self._live() as life:
            if self._send_off(life):
                self.figures.kills += 1
            else:
                self._ended_by_itself(life)
            life.said()
        every = 1 if self.gentle else self.options.judge_every
        if self.figures.kills % every == 0:
            self._judge(check=self.figures.kills % self.options.check_every == 0)

    def _live(self):
        more = ["--concurrency", self.options.concurrency]
        words = batch_words(self.sheet, self.out, self.gateway.url, *more)
        return Life(["-m", "omni_async", *words], self.folder / "log.txt")

    def _send_off(self, life):
        """Wait for a random moment and send the signal. False if it had ended before."""
        interpreter = self.options.signal.startswith("INT")  # a Ctrl-C among the imports is Python's own to show
        starting = not interpreter and self.rng.random() < self.options.starting
        if starting:
            time.sleep(self.rng.uniform(0, self.options.start_seconds))
        else:
            self.figures.to_first_charge.append(self.gateway.wait_for_more(self.gateway.size(), life.process))
            time.sleep(self.rng.uniform(0, self.options.spread))
        if life.process.poll() is not None:
            return False
        self.figures.starting += starting
        self._signal(life, starting=starting)
        return True

    def _signal(self, life, *, starting):
        name, began = self.options.signal, time.monotonic()
        life.signal(getattr(signal, f"SIG{name.rstrip('2')}"))
        if name == "INT2":
            time.sleep(0.05)
            life.signal(signal.SIGINT)
        code, seconds = life.ended(), time.monotonic() - began
        self.figures.to_its_end.append(seconds)
        allowed = CODES[name] | ({-15} if starting else set())
        if code not in allowed and not (self.gentle and code in ALL_DONE and self._nothing_left()):
            self.figures.faults.append(f"exit code {code} after SIG{name}: {life.said()[-500:]}")
        if name == "INT2" and seconds > LEAVES_WITHIN:
            self.figures.faults.append(f"left {seconds:.2f} s after the second Ctrl-C")

    def _nothing_left(self):
        states = judge(self.bill, self.folder / "out", check=False).states
        return not states["PLANNED"] + states["SUBMITTED"] + states["SUCCEEDED"] + states["SUBMITTING"]

    def _ended_by_itself(self, life):
        """All rows are done: it goes on with more of them."""
        self.figures.ended += 1
        code = life.ended()
        if code not in ALL_DONE:
            self.figures.faults.append(f"exit code {code} with nothing sent to it: {life.said()[-500:]}")
        self._add(self.options.rows // 10 + 1)

    def _add(self, count):
        add_rows(self.sheet, self.rows + 1, count)
        self.rows += count

    def _judge(self, *, check):
        if not (self.out / JOURNAL).exists():
            return
        verdict = judge(self.bill, self.out, check=check)
        self.figures.faults += verdict.faults(self._bound())
        if self.gentle and verdict.states["SUBMITTING"]:
            self.figures.faults.append(f"{verdict.states['SUBMITTING']} rows were left being submitted")

    def _bound(self):
        """How many rows may be uncertain: those that were in flight at a kill."""
        return 0 if self.gentle else self.figures.kills * self.options.concurrency

    def _last(self):
        """Let it run to its end and judge everything."""
        with self._live() as life:
            code = life.ended(self.options.last_seconds)
            life.said()
        verdict = judge(self.bill, self.out)
        verdict.folder = judge_results(self.out, video_bytes=self.options.video_bytes)
        self.figures.faults += [f"the key is in {name}" for name in key_in(self.out)]
        self.figures.faults += verdict.faults(self._bound())
        if code != (3 if verdict.uncertain else 0):
            self.figures.faults.append(f"exit code {code} at the end: {life.said()[-500:]}")
        if self.bill.sent_twice()[0] > SENT_TWICE * self.figures.kills:
            self.figures.faults.append(f"{self.bill.sent_twice()[0]} bytes of videos were sent twice")
        unfinished = set(verdict.states) - {"DONE", "UNCERTAIN"}
        if unfinished or sum(verdict.states.values()) != self.rows:
            self.figures.faults.append(f"{self.rows} rows came to {dict(verdict.states)}")
        return verdict


def largest_child():
    """The largest memory of an ended child, in MiB."""
    import resource  # does not exist on Windows

    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def options(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--rows", type=int, default=6000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--signal", choices=CODES, default="KILL")
    parser.add_argument("--concurrency", type=int, default=64)
    parser.add_argument("--starting", type=float, default=0.1, help="share of kills that fall into the start-up")
    parser.add_argument("--start-seconds", type=float, default=0.5, help="how long start-up takes, about")
    parser.add_argument("--spread", type=float, default=0.3, help="longest time from the first charge to a kill")
    parser.add_argument("--judge-every", type=int, default=1)
    parser.add_argument("--check-every", type=int, default=25, help="kills between two checks of the file's integrity")
    parser.add_argument("--last-seconds", type=float, default=600.0, help="how long the last, undisturbed run may take")
    parser.add_argument("--delay", type=float, default=0.05)
    parser.add_argument("--task-seconds", type=float, default=0.5)
    parser.add_argument("--video-bytes", type=int, default=4096)
    parser.add_argument("--video-rate", type=float, default=0.0)
    parser.add_argument("--keep", type=Path, help="folder to work in, kept afterwards")
    return parser.parse_args(words)


def run(given, folder):
    """Run one loop: its figures as a table, and its faults."""
    began = time.monotonic()
    loop = KillLoop(given, folder)
    verdict, bill = loop.run()
    return loop.figures.table(verdict, bill, time.monotonic() - began), loop.figures.faults


def main(words=None):
    """The command; gives its exit code."""
    given = options(words)
    with tempfile.TemporaryDirectory() as folder:
        if given.keep:
            given.keep.mkdir(parents=True)
        table, faults = run(given, given.keep or folder)
    for name, value in table.items():
        print(f"{name:36} {value}")
    for fault in dict.fromkeys(faults):
        print("FAULT", fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
