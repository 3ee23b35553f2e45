"""A long sheet until its first create: every row checked, and all of them entered into the journal in one transaction.

    python benchmarks/staging.py [--rows 1000000] [--json FILE] [--plot FILE.png]

As a file, on stdin, and as CSV, each in a process of its own with its peak memory; beside it what one would write by
hand with the same library: every line decoded, made a `VideoRequest`, checked by the client, inserted into a table.
"""

import argparse
import asyncio
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tables import bars, parser_of, save

from omni_async import OmniClient, Submitted, VideoRequest
from omni_async.batch import Batch, Bounds

HERE = Path(__file__).resolve()
WAYS = ("file", "stdin", "csv", "by hand")


def write_sheets(folder: Path, rows: int) -> None:
    """The same rows as JSONL and as CSV."""
    with (folder / "rows.jsonl").open("w") as lines, (folder / "rows.csv").open("w") as table:
        table.write("id,prompt,duration,scene\n")
        for number in range(rows):
            prompt = f"a paper boat, number {number}, drifting over a lake at dawn"
            lines.write(f'{{"id": "b{number}", "prompt": "{prompt}", "duration": 6, "scene": "S{number % 7}"}}\n')
            table.write(f'b{number},"{prompt}",6,S{number % 7}\n')


async def ours(source: str, folder: Path, port: str) -> float:
    """Seconds to the first create's answer."""
    began, first = time.perf_counter(), 0.0

    def on_event(event: object) -> None:
        nonlocal first
        if isinstance(event, Submitted) and not first:
            first = time.perf_counter() - began

    url = f"http://127.0.0.1:{port}"
    batch = Batch(
        source, out=folder / "out", bounds=Bounds(limit=1), api_key="benchmark", base_url=url, on_event=on_event
    )
    async with batch:
        await batch.plan(balance=False)
        running = asyncio.ensure_future(batch.run())
        while not first and not running.done():  # noqa: ASYNC110 - the event is the library's
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.wait({running})
    return first


async def by_hand(source: Path, folder: Path, port: str) -> float:
    """The same without the batch."""
    began = time.perf_counter()
    table = sqlite3.connect(folder / "hand.sqlite3", isolation_level=None)
    for statement in ("PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "BEGIN"):
        table.execute(statement)
    table.execute("CREATE TABLE item (key TEXT PRIMARY KEY, inputs TEXT, state TEXT)")
    async with OmniClient("jimmy", api_key="benchmark", base_url=f"http://127.0.0.1:{port}") as client:
        with source.open() as lines:
            for line in lines:
                row: dict[str, Any] = json.loads(line)
                request = VideoRequest(
                    prompt=row["prompt"],
                    duration=row["duration"],
                    custom_id=row["id"],
                    metadata={"scene": row["scene"]},
                )
                client.check(request)
                table.execute("INSERT INTO item VALUES (?, ?, 'PLANNED')", (row["id"], line))
        table.execute("COMMIT")
        key, inputs, _ = table.execute("SELECT * FROM item LIMIT 1").fetchone()
        await client.submit(json.loads(inputs)["prompt"], custom_id=key)
    return time.perf_counter() - began


def child(way: str, folder: Path, port: str) -> None:
    """One way, in this process; tells seconds and peak."""
    sources = {"file": str(folder / "rows.jsonl"), "stdin": "-", "csv": str(folder / "rows.csv")}
    with tempfile.TemporaryDirectory() as place:
        if way == "by hand":
            seconds = asyncio.run(by_hand(folder / "rows.jsonl", Path(place), port))
        else:
            seconds = asyncio.run(ours(sources[way], Path(place), port))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    print(json.dumps({"seconds": seconds, "peak_mib": peak}))


def measure(way: str, folder: Path) -> dict[str, float]:
    """One way in a process of its own, with a server of its own."""
    server = subprocess.Popen(
        [sys.executable, HERE.with_name("server.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with server, (folder / "rows.jsonl").open("rb") as rows:
        port = server.stdout.readline().strip() if server.stdout else ""
        command = [sys.executable, str(HERE), "--child", way, str(folder), port]
        told = subprocess.run(command, stdin=rows, stdout=subprocess.PIPE, text=True, check=True).stdout
        server.communicate()
    figures: dict[str, float] = json.loads(told)
    return figures


def main() -> None:
    """Print the table."""
    parser = parser_of(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], Path(given.child[1]), given.child[2])
        return
    figures = {}
    with tempfile.TemporaryDirectory() as folder:
        write_sheets(Path(folder), given.rows)
        print(f"{given.rows:,} rows checked and entered, until the first create is answered")
        print(f"{'':9}{'seconds':>9}{'µs a row':>10}{'peak':>11}")
        for way in WAYS:
            figures[way] = told = measure(way, Path(folder))
            per_row = told["seconds"] / given.rows * 1e6
            print(f"{way:9}{told['seconds']:9.1f}{per_row:10.1f}{told['peak_mib']:7.0f} MiB")
    print(f"file / by hand: {figures['file']['seconds'] / figures['by hand']['seconds']:.2f}")
    save(given.json, ways=figures)
    rows = [
        {"client": "bare" if way == "by hand" else "ours", "label": way, "seconds": told["seconds"]}
        for way, told in figures.items()
    ]
    title = f"Seconds until the first create of {given.rows:,} rows is answered (less is better)"
    bars(given.plot, rows, key="seconds", title=title, form=".1f", log=False)


if __name__ == "__main__":
    main()
