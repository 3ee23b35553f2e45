"""The disk fails under a batch: the n-th sync or write of a thread ends in an error, once or from then on.

    python tests/crash/syscalls.py --last 200                  each n from 1 to 200, a sync's EIO and a write's ENOSPC
    python tests/crash/syscalls.py --last 40 --step 8 --from-then-on         a disk that stays full or broken
    python tests/crash/syscalls.py --last 2 --kinds video                    a disk that is full for a video only

Needs strace. SQLite writes with pwrite64 and syncs with fdatasync; fsync is that of videos and results. After the fault
no charged row may be lost, and the batch must end when it is run again on a disk in order.
"""

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from judge import JOURNAL, Bill, copied, items, judge, judge_results
from rig import GatewayProcess, Life, add_rows, batch_words, row_id

KINDS = {"sync": ("fdatasync,fsync", "EIO"), "write": ("pwrite64", "ENOSPC"), "video": ("write", "ENOSPC")}
IN_ORDER = {0, 3}
STOPPED = {1, 4}
UNMET = 5
"""So many batches in a row without a fault end the loop: they make fewer calls than that."""


class Fault:
    """One batch on a disk that fails.

    Args:
        kind: `sync`, `write`, or `video` for a write to a video's `.part`.
        number: Which call of a thread fails.
        from_then_on: And all later ones.
    """

    def __init__(self, folder, kind, number, *, rows=12, from_then_on=False):
        self.folder, self.kind, self.number, self.from_then_on = Path(folder), kind, number, from_then_on
        self.sheet, self.out = self.folder / "sheet.jsonl", self.folder / "out"
        self.rows, self.faults = rows, []
        self.hits = self.uncertain = 0
        self.code = self.broken_code = None
        add_rows(self.sheet, 1, rows)

    def run(self):
        """With the fault, then without it."""
        with GatewayProcess(self.folder, delay=0.005, task_seconds=0.02) as gateway:
            self.words = batch_words(self.sheet, self.out, gateway.url, "--concurrency", 4)
            self.bill = Bill(gateway.ledger)
            self._broken()
            self._mended()
        return self

    def _broken(self):
        calls, error = KINDS[self.kind]
        when = f"{self.number}{'+' if self.from_then_on else ''}"
        trace = self.folder / "strace.log"
        under = ["strace", "-f", "--seccomp-bpf", "-qq", "-o", trace, "-e", f"inject={calls}:error={error}:when={when}"]
        if self.kind == "video":
            parts = (self.out / "videos" / f"{row_id(number)}.mp4.part" for number in range(1, self.rows + 1))
            under += [word for part in parts for word in ("-P", part)]
        told = self._live([*under, "-e", f"trace={calls}"], IN_ORDER | STOPPED)
        self.broken_code = self.code
        self.hits = trace.read_text().count("(INJECTED)")
        if self.code in STOPPED and not any(word in told for word in ("journal", "space", "disk", "takes no videos")):
            self._blame(f"exit code {self.code} without a reason: {told[-500:]}")
        if (self.out / JOURNAL).exists():
            for fault in judge(self.bill, self.out).faults(0 if self.code == 0 else self.rows):
                self._blame(fault)

    def _mended(self):
        lost = self._noted()
        self._live((), IN_ORDER)
        verdict = judge(self.bill, self.out)
        verdict.folder = judge_results(self.out, video_bytes=4096)
        for fault in verdict.faults(self.rows):
            self._blame(f"then {fault}")
        if sum(verdict.states.values()) != self.rows or set(verdict.states) - {"DONE", "UNCERTAIN"}:
            self._blame(f"{self.rows} rows came to {dict(verdict.states)}")
        with copied(self.out) as connection:
            rows = items(connection)
        for key, task_id in lost.items():
            if rows[key] != ("DONE", task_id):
                self._blame(f"{key}: task {task_id} was noted beside the journal, and is {rows[key]}")
        self.uncertain = verdict.uncertain

    def _noted(self):
        """Task ids in the file of what could not be written into the journal."""
        path = self.out / f"{JOURNAL}.lost.jsonl"
        lines = filter(None, path.read_text("utf-8").splitlines()) if path.exists() else ()
        return {told["key"]: told["task_id"] for told in map(json.loads, lines) if told["task_id"]}

    def _live(self, under, codes):
        with Life(["-m", "omni_async", *self.words], self.folder / "log.txt", under=under) as life:
            self.code = life.ended()
            told = life.log.read_text("utf-8", "replace")
        if "Traceback" in told:
            self._blame(f"a traceback: {told[-1500:]}")
        if self.code not in codes:
            self._blame(f"exit code {self.code}: {told[-500:]}")
        return told

    def _blame(self, what):
        then = " and all later" if self.from_then_on else ""
        self.faults.append(f"{self.kind} no. {self.number}{then}: {what}")


def until_unmet(kind, given):
    """One batch for each number, until no thread makes so many calls any more."""
    unmet = 0
    for number in range(given.first, given.last + 1, given.step):
        with tempfile.TemporaryDirectory() as folder:
            fault = Fault(folder, kind, number, rows=given.rows, from_then_on=given.from_then_on).run()
        for told in fault.faults:
            print("FAULT", told, flush=True)
        yield fault
        unmet = 0 if fault.hits else unmet + 1
        if unmet == UNMET:
            return


def main(words=None):
    """The command; gives its exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--last", type=int, default=200)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=["sync", "write"])
    parser.add_argument("--from-then-on", action="store_true")
    given = parser.parse_args(words)
    if shutil.which("strace") is None:
        sys.exit("strace is not installed")
    began, done = time.monotonic(), []
    for kind in given.kinds:
        done += list(until_unmet(kind, given))
    broken = sum(bool(fault.faults) for fault in done)
    codes = Counter(fault.broken_code for fault in done)
    print(f"batches {len(done)}, of these met by the fault {sum(bool(fault.hits) for fault in done)}")
    print(f"uncertain rows {sum(fault.uncertain for fault in done)}")
    print(f"exit codes {dict(codes)} while it failed")
    print(f"broken promises in {broken}; seconds {time.monotonic() - began:.0f}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
