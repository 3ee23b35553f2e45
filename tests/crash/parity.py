"""One sheet, made by one machine and by three workers: the same rows end alike, and each video is the same bytes.

    python tests/crash/parity.py --rows 2000
    python tests/crash/parity.py --rows 2000 --out s3://bucket/videos     (AWS_ENDPOINT_URL and keys in the environment)

The batch command and the workers are processes; the gateway is the emulator, from one seed. Rows fail, are refused and
are lost by what their prompt says, so what a row comes to does not depend on when it is sent, nor by whom.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from postgres import server  # noqa: E402 - found by the line above

from omni_async.emulator import Emulator, InjectedFault, Scenario  # noqa: E402

KEY = "CANARY-KEY-77aa"
WORDS = {"FAILS": (50, 1), "MODERATED": (97, 2), "REFUSED": (211, 3), "LOST": (307, 5)}
"""What a prompt says, in every so manieth row, and from which on."""
FAULTS = (
    InjectedFault("fail", prompt="FAILS"),
    InjectedFault("moderation", prompt="MODERATED"),
    InjectedFault("refuse_moderation", prompt="REFUSED"),
    InjectedFault("drop_after_accept", prompt="LOST"),
)
SCENARIO = Scenario(task_seconds=0.4, task_sigma=0.3, queue_seconds=0.0, seed=11, faults=FAULTS)
WORKERS, RUNNING, PATIENCE = 3, 60, 1800.0


def row(number, every):
    """A row of the sheet; `every` makes faults so much more frequent than in the long form."""
    words = [word for word, (count, first) in WORDS.items() if number % max(count // every, 6) == first][:1]
    return {
        "id": f"r{number:05d}",
        "prompt": " ".join([f"r{number:05d} a cat in neon rain", *words]),
        "duration": (4, 6, 8, 10)[number % 4],
        "aspect_ratio": ("16:9", "9:16")[number // 4 % 2],
        "file": f"EP{number % 7:02d}/SC{number:05d}.mp4",
        "shot": f"镜头 {number}",
    }


class Machines:
    """Commands of the program on one account.

    Args:
        place: For what they write.
        environment: Theirs.
    """

    def __init__(self, place, environment):
        self.place, self.environment = place, os.environ | environment

    async def start(self, *words):
        """A command in a process."""
        with (self.place / "log.txt").open("ab") as log:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "omni_async", *map(str, words)),
                env=self.environment, cwd=self.place, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    async def run(self, *words, codes=(0,)):
        """A command to its end."""
        code = await (await self.start(*words)).wait()
        assert code in codes, (words, code, (self.place / "log.txt").read_text()[-2000:])


async def by_one(machines, sheet):
    """The batch command; gives its folder."""
    out = machines.place / "one"
    words = ("--yes", "--poll", "0.1", "--concurrency", RUNNING)
    await machines.run("batch", sheet, "--out", out, *words, codes=(0, 1, 3))
    return out


async def by_three(machines, sheet, count, out):
    """Three workers, ended when each row is settled; gives the folder of the results."""
    end = machines.place / "three"
    await machines.run("fleet", "init", "--running", RUNNING)
    await machines.run("fleet", "enqueue", sheet, "--yes")
    words = ("--out", out or end / "videos", "--poll", "0.1")
    workers = [
        await machines.start("fleet", "worker", *words, "--state", machines.place / f"state-{number}")
        for number in range(WORKERS)
    ]
    try:
        async with asyncio.timeout(PATIENCE):
            while settled(end) < count:
                assert all(worker.returncode is None for worker in workers), (machines.place / "log.txt").read_text()
                await asyncio.sleep(1.0)
                await machines.run("fleet", "results", end)
    finally:
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):
                worker.send_signal(signal.SIGTERM)
        codes = [await worker.wait() for worker in workers]
    assert set(codes) == {143}, codes
    return end


def settled(folder):
    """How many rows have their result."""
    lines = folder / "results.jsonl"
    return len(lines.read_bytes().splitlines()) if lines.exists() else 0


def of_folder(folder):
    """Reads a video of a folder by the name its result has."""
    return lambda file: (folder / file).read_bytes()


def outcome(folder, read):
    """Ids with their status, and the digest of each video."""
    lines = [json.loads(line) for line in (folder / "results.jsonl").read_text(encoding="utf-8").splitlines()]
    status = sorted((line["id"], line["status"], line["shot"], line["file"] or "") for line in lines)
    return status, {line["id"]: hashlib.sha256(read(line["file"])).hexdigest() for line in lines if line["file"]}


async def compare(postgres, place, count, *, out=None, read=None, every=1, **environment):
    """Make the sheet both ways; gives what the first one came to, how the two differ, and the seconds of each.

    Args:
        postgres: A running server.
        place: For everything that is written.
        count: Rows.
        out: Where the workers' videos go; None for a folder.
        read: Reads one of them by the name its result has.
        every: See `row`.
        environment: Of the commands.
    """
    sheet = place / "sheet.jsonl"
    sheet.write_text("".join(json.dumps(row(n, every), ensure_ascii=False) + "\n" for n in range(count)), "utf-8")
    ends, times = [], []
    for make in (by_one, lambda *given: by_three(*given, count, out)):
        async with Emulator(SCENARIO) as emulator:
            given = {"JIMMYAI_API_KEY": KEY, "JIMMYAI_BASE_URL": emulator.url, "OMNI_FLEET_DSN": postgres.database()}
            paths = {"PYTHONPATH": str(ROOT), "XDG_STATE_HOME": str(place / "home"), "NO_COLOR": "1"}
            began = time.monotonic()
            folder = await make(Machines(place, given | paths | environment), sheet)
            times.append(time.monotonic() - began)
            prompts = [charge.prompt for charge in emulator.ledger.charges]
            assert len(prompts) == len(set(prompts)), "a row was paid twice"
        ends.append(outcome(folder, read if read and make is not by_one else of_folder(folder)))
    (one, first), (three, second) = ends
    differ = {"status": set(one) ^ set(three), "videos": {key for key in first if first[key] != second.get(key)}}
    return {word: sum(line[1] == word for line in one) for word in {line[1] for line in one}}, differ, times


async def main():
    """The long form."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rows", type=int, default=2000)
    words.add_argument("--out", help="Where the workers' videos go: s3://bucket/prefix; a folder unless given.")
    given = words.parse_args()
    read = None
    if given.out:
        import fsspec

        system, place = fsspec.url_to_fs(given.out)
        read = lambda file: system.cat_file(f"{place}/{file.removeprefix('videos/')}")  # noqa: E731
    with server() as postgres, tempfile.TemporaryDirectory() as place:
        counts, differ, times = await compare(postgres, Path(place), given.rows, out=given.out, read=read)
    print(f"{given.rows} rows: {counts}; one machine {times[0]:.1f} s, three workers {times[1]:.1f} s")
    print("the same" if not any(differ.values()) else f"DIFFERENT: {differ}")
    return 1 if any(differ.values()) else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
