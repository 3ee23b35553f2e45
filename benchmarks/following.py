"""What following many tasks costs: this client beside a bare aiohttp loop around one heap.

    python benchmarks/following.py [--tasks 1000] [--pairs 5] [--seconds 6] [--json FILE]

Both look at every task once a second, over as many connections, with the same headers, timeouts and JSON decoder, in
processes of their own that take turns; the server is a third. The figure is the client's CPU per request, and ours
divided by the bare loop's in the same pair.
"""

import argparse
import asyncio
import heapq
import itertools
import json
import random
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import aiohttp

from omni_async import Limits, OmniClient, PollPolicy, Timeouts
from omni_async.dialects.wire import _fast_loads as loads
from omni_async.transport import KEEPALIVE, USER_AGENT

HERE = Path(__file__).resolve()
CONNECTIONS = 64
INTERVAL = 1.0
PATH = "/api/open-api/v1/videos/"


def names(tasks: int, seconds: float) -> list[str]:
    """Task ids with lognormal durations around half of `seconds`."""
    rng = random.Random(tasks)
    ends = (min(rng.lognormvariate(0.0, 0.4) * seconds / 2, seconds) for _ in range(tasks))
    return [f"t-{number}-{end:.3f}" for number, end in enumerate(ends)]


async def ours(port: int, ids: list[str]) -> None:
    """Follow with OmniClient."""
    client = OmniClient(
        "jimmy",
        api_key="benchmark",
        base_url=f"http://127.0.0.1:{port}",
        limits=Limits(max_connections=CONNECTIONS, requests_per_second=1e6),
        poll=PollPolicy(fixed=INTERVAL),
        http_timeout=Timeouts(query=30, connect=10),
        proxy=None,
    )
    async with client:
        async for _ in client.as_completed(ids):
            pass


async def bare(port: int, ids: list[str]) -> None:
    """Follow with aiohttp, one heap and a fixed set of workers: what the client cannot go below."""
    loop, sequence = asyncio.get_running_loop(), itertools.count()
    heap = [(loop.time(), next(sequence), task_id) for task_id in ids]
    heapq.heapify(heap)
    open_ids = len(ids)
    headers = {"User-Agent": USER_AGENT, "Accept": "application/json", "Authorization": "Bearer benchmark"}
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEPALIVE)
    timeout = aiohttp.ClientTimeout(total=30, connect=10)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:

        async def work() -> None:
            nonlocal open_ids
            while open_ids:
                if not heap:
                    await asyncio.sleep(INTERVAL / 4)
                    continue
                due, _, task_id = heapq.heappop(heap)
                if due > loop.time():
                    await asyncio.sleep(due - loop.time())
                url = f"http://127.0.0.1:{port}{PATH}{task_id}"
                async with session.get(url, headers=headers, timeout=timeout, allow_redirects=False) as response:
                    document = loads(await response.read())
                if document["data"]["status"] == "completed":
                    open_ids -= 1
                else:
                    heapq.heappush(heap, (loop.time() + INTERVAL, next(sequence), task_id))

        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))


def child(kind: str, port: int, tasks: int, seconds: float) -> None:
    """Measure one client in this process and print its figures."""
    ids = names(tasks, seconds)
    before = time.process_time()
    asyncio.run({"ours": ours, "bare": bare}[kind](port, ids))
    cpu = time.process_time() - before
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"cpu": cpu, "peak_mib": peak}))


def measure(kind: str, tasks: int, seconds: float) -> dict[str, float]:
    """One run of one client against a fresh server."""
    command = [sys.executable, str(HERE.with_name("server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().strip()
        run = subprocess.run(
            [sys.executable, str(HERE), "--child", kind, port, "--tasks", str(tasks), "--seconds", str(seconds)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        requests = int(server.communicate()[0])
    figures: dict[str, float] = json.loads(run.stdout)
    return {**figures, "requests": requests, "us": 1e6 * figures["cpu"] / requests}


def main() -> None:
    """Run the pairs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--json", type=Path, help="write all runs to this file")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        child(given.child[0], int(given.child[1]), given.tasks, given.seconds)
        return
    order = [("bare", "ours") if pair % 2 else ("ours", "bare") for pair in range(given.pairs)]
    runs = [{kind: measure(kind, given.tasks, given.seconds) for kind in kinds} for kinds in order]
    ratios = [run["ours"]["us"] / run["bare"]["us"] for run in runs]
    print(f"{given.tasks} tasks, a look each {INTERVAL:g} s, {given.pairs} alternating pairs, medians")
    print(f"{'':6}{'requests':>10}{'CPU/request':>14}{'peak':>12}")
    for kind in ("bare", "ours"):
        requests, us, peak = (
            statistics.median(run[kind][key] for run in runs) for key in ("requests", "us", "peak_mib")
        )
        print(f"{kind:6}{requests:10.0f}{us:11.0f} µs{peak:8.1f} MiB")
    print(f"ours / bare: {statistics.median(ratios):.2f} (from {min(ratios):.2f} to {max(ratios):.2f})")
    if given.json:
        given.json.write_text(json.dumps({"runs": runs, "ratios": ratios}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
