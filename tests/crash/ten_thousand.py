"""Ten thousand rows through the batch command against the emulator, killed twice on the way and resumed.

    python tests/crash/ten_thousand.py [--rows 10000] [--kills 2]

Checks that every row ends with its video, that nothing was charged twice, and that no file was fetched again beyond
those under way at a kill. Prints the peak memory of each run of the command.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path

from rig import add_rows, environment

STORERS = 8
"""Downloads at once: what may be asked for again after a kill."""


def peak_of(pid):
    """Peak memory of a living process, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024


def lines_of(out):
    """The results so far."""
    path = out / "results.jsonl"
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def run_until(sheet, out, url, rows):
    """Run the command until so many rows are settled, then kill it; None lets it end. Gives its peak and exit code."""
    words = ["batch", sheet, "--out", out, "--base-url", url, "--yes", "--progress", "none", "--poll", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "omni_async", *map(str, words)], env=environment(), stdout=subprocess.DEVNULL
    )
    peak = 0.0
    while process.poll() is None:
        time.sleep(0.1)
        try:
            peak = max(peak, peak_of(process.pid))
        except (OSError, StopIteration):
            continue
        if rows is not None and len(lines_of(out)) >= rows:
            os.kill(process.pid, signal.SIGKILL)
    return peak, process.wait()


def ledger_of(url):
    """What the emulator saw."""
    with urllib.request.urlopen(f"{url}/_emulator/ledger") as answer:  # noqa: S310 - on this machine
        return json.load(answer)


def main():
    """Run, kill, resume, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=2)
    given = parser.parse_args()
    emulator = subprocess.Popen(
        [sys.executable, "-m", "omni_async", "emulator", "--port", "0", "--task-seconds", "5", "--json"],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = json.loads(emulator.stdout.readline())["url"]
        with tempfile.TemporaryDirectory() as folder:
            judge(given.rows, given.kills, Path(folder), url)
    finally:
        emulator.kill()
        emulator.communicate()


def judge(rows, kills, folder, url):
    """The whole run, and what is to be true of it."""
    sheet, out, began = folder / "rows.jsonl", folder / "out", time.monotonic()
    add_rows(sheet, 0, rows)
    stops = [rows * (kill + 1) // (kills + 1) for kill in range(kills)]
    for stop in [*stops, None]:
        peak, code = run_until(sheet, out, url, stop)
        print(f"until {stop or 'the end'}: {len(lines_of(out)):,} settled, peak {peak:.0f} MiB, exit code {code}")
    ledger, results = ledger_of(url), [json.loads(line) for line in lines_of(out)]
    prompts = Counter(charge["prompt"] for charge in ledger["charges"])
    statuses = Counter(result["status"] for result in results)
    files = ledger["requests"]["file"]
    print(f"{dict(statuses)}, {len(prompts):,} charged, {sum(prompts.values()) - len(prompts)} twice")
    print(f"{files:,} file requests, {time.monotonic() - began:.0f} s")
    assert max(prompts.values()) == 1
    assert len({result["id"] for result in results}) == len(results) == rows
    assert statuses["succeeded"] + statuses["uncertain"] == rows
    assert files <= statuses["succeeded"] + kills * STORERS
    videos = [path for path in (out / "videos").iterdir() if path.suffix == ".mp4"]
    assert len(videos) == statuses["succeeded"]


if __name__ == "__main__":
    main()
