"""A gateway of few instructions, so that the client is what is measured: `jimmy`, and the shapes of the peers.

    python benchmarks/server.py [--median 86400] [--sigma 0] [--seed 1] [--allowed R] [--creates answer|drop|mute]

Says its port on the first line, serves until its input is closed, then says in one line of JSON what it counted.

Which shape is spoken is told by the first part of the path: `/api/…` is `jimmy`, `/openai/…`, `/runway/…`, `/fal/…` and
`/replicate/…` are the peers. There is no table of tasks, their ids say what to answer: `t-<number>-<begin>-<end>` runs
between two moments of the machine's monotonic clock, which all its processes share, so that a client can tell how late
it heard of an end; `l-<number>-<looks>` is finished at its so-manieth look. A create answers with a task of the first
kind, whose run time is lognormal. With `--allowed`, requests beyond so many a second (a bucket that holds one second's
worth) are answered with status 429 and counted. `--creates drop` counts a create and closes the connection, `mute`
never answers it.
"""

import argparse
import asyncio
import contextlib
import importlib
import json
import math
import random
import re
import sys
import time
from collections import Counter
from typing import NamedTuple, cast

LENGTH = re.compile(rb"\ncontent-length: *([0-9]+)", re.IGNORECASE)
TASK = re.compile(rb"/([tl]-[0-9.-]+)")
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
REFUSAL = b'{"code":"429","msg":"too many requests","detail":"too many requests","error":{"message":"rate"}}'
REFUSED = b"HTTP/1.1 429 Too Many Requests\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
    len(REFUSAL),
    REFUSAL,
)


class Shape(NamedTuple):
    """How one service answers; `@` stands for the id, `%d` in `running` for the progress."""

    created: bytes
    running: bytes
    done: bytes
    result: bytes = b""
    """What a look without `/status` gets, where looking and fetching are two requests."""


def shapes(port: int) -> dict[bytes, Shape]:
    """The services by the first part of their paths."""
    video = b'{"id":"@","object":"video","created_at":1,"model":"sora-2","seconds":"4","size":"720x1280",'
    task = b'{"id":"@","createdAt":"2026-01-01T00:00:00Z",'
    requests = b"http://127.0.0.1:%d/fal/omni/video/requests/@" % port
    prediction = (
        b'{"id":"@","model":"omni/video","version":"1","input":{"prompt":"a cat"},"logs":"","error":null,"metrics":{},'
        b'"created_at":"2026-01-01T00:00:00Z","started_at":null,"completed_at":null,'
        b'"urls":{"get":"http://127.0.0.1/@","cancel":"http://127.0.0.1/@/cancel"},"output":'
    )
    return {
        b"api": Shape(
            b'{"code":"20000","msg":"ok","data":{"task_id":"@","status":"queued","progress":0}}',
            b'{"code":"20000","msg":"ok","data":{"task_id":"@","status":"processing","progress":%d}}',
            b'{"code":"20000","msg":"ok","data":{"task_id":"@","status":"completed","progress":100,'
            b'"result":{"video_url":"https://cdn.example.com/v.mp4"}}}',
        ),
        b"openai": Shape(
            video + b'"status":"queued","progress":0}',
            video + b'"status":"in_progress","progress":%d}',
            video + b'"status":"completed","progress":100}',
        ),
        b"runway": Shape(
            b'{"id":"@"}',
            task + b'"status":"RUNNING","progress":0.%02d,"estimatedCost":{"credits":5}}',
            task + b'"status":"SUCCEEDED","output":["https://cdn.example.com/v.mp4"],"cost":{"credits":5}}',
        ),
        b"fal": Shape(
            b'{"request_id":"@","response_url":"%s","status_url":"%s/status","cancel_url":"%s/cancel"}'
            % (requests, requests, requests),
            b'{"status":"IN_PROGRESS","logs":null,"progress":%d}',
            b'{"status":"COMPLETED","logs":null,"metrics":{"inference_time":3}}',
            b'{"video":{"url":"https://cdn.example.com/v.mp4"}}',
        ),
        b"replicate": Shape(
            prediction + b'null,"status":"starting"}',
            prediction + b'null,"status":"processing","progress":%d}',
            prediction + b'"https://cdn.example.com/v.mp4","status":"succeeded"}',
        ),
    }


class Bucket:
    """Lets so many requests a second through; holds one second's worth."""

    def __init__(self, rate: float) -> None:
        self.rate = self.tokens = rate
        self.filled = time.monotonic()

    def take(self) -> bool:
        """Whether one more request is allowed now."""
        now = time.monotonic()
        self.tokens = min(self.tokens + (now - self.filled) * self.rate, self.rate)
        self.filled = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Desk:
    """What all connections share: the shapes, the run times to come, the counts."""

    def __init__(self, given: argparse.Namespace, port: int) -> None:
        self.shapes = shapes(port)
        self.given = given
        self.random = random.Random(given.seed)
        self.bucket = Bucket(given.allowed) if given.allowed else None
        self.counts = Counter(gets=0, posts=0, refused=0, connections=0)
        self.looks: Counter[bytes] = Counter()

    def answer(self, request: bytes) -> bytes | None:
        """The answer to one request, by its head; None closes the connection, nothing leaves it waiting."""
        post = request.startswith(b"POST")
        self.counts["posts" if post else "gets"] += 1
        if self.bucket is not None and not self.bucket.take():
            self.counts["refused"] += 1
            return REFUSED
        shape = self.shapes[request.split(b"/", 2)[1]]
        if post:
            if self.given.creates != "answer":
                return None if self.given.creates == "drop" else b""
            body = self.task().join(shape.created.split(b"@"))
        else:
            body = self.look(shape, request)
        return HEAD % (len(body), body)

    def task(self) -> bytes:
        """The id of a new task."""
        now = time.monotonic()
        seconds = self.random.lognormvariate(math.log(self.given.median), self.given.sigma)
        return b"t-%d-%.3f-%.3f" % (self.counts["posts"], now, now + seconds)

    def look(self, shape: Shape, request: bytes) -> bytes:
        """How a task stands."""
        found = TASK.search(request)
        assert found is not None
        task_id = found[1]
        if shape.result and not request.startswith(b"/status", found.end()):
            return shape.result
        progress = self.progress(task_id)
        if progress >= 100:
            return task_id.join(shape.done.split(b"@"))
        return task_id.join(shape.running.split(b"@")) % progress

    def progress(self, task_id: bytes) -> int:
        """From 0 to 99 while it runs, 100 when it is finished."""
        kind, _, *times = task_id.split(b"-")
        if kind == b"l":
            self.looks[task_id] += 1
            return 100 * self.looks[task_id] // int(times[0])
        begin, end, now = float(times[0]), float(times[1]), time.monotonic()
        return 100 if now >= end else int(99 * (now - begin) / (end - begin))


class Connection(asyncio.Protocol):
    """Answers one request after the other."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self.transport = cast("asyncio.Transport", transport)
        self.desk.counts["connections"] += 1

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        data = self.rest + data
        while (end := data.find(b"\r\n\r\n")) >= 0:
            head = data[:end]
            length = LENGTH.search(head) if head.startswith(b"POST") else None
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(data) < whole:
                break
            data = data[whole:]
            answer = self.desk.answer(head)
            if answer is None:
                self.transport.close()
                return
            self.transport.write(answer)
        self.rest = data


async def serve(given: argparse.Namespace) -> None:
    """Serve on a free port until the parent closes the pipe."""
    loop = asyncio.get_running_loop()
    desks = list[Desk]()
    server = await loop.create_server(lambda: Connection(desks[0]), "127.0.0.1", 0, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    desks.append(Desk(given, port))
    started = time.process_time()
    print(port, flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    told = {**desks[0].counts, "server_cpu": time.process_time() - started}
    with contextlib.suppress(BrokenPipeError):
        print(json.dumps(told), flush=True)


def main() -> None:
    """Read the options and serve, on uvloop if it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--median", type=float, default=86400.0, help="run time of created tasks, seconds")
    parser.add_argument("--sigma", type=float, default=0.0, help="its logarithm's standard deviation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--allowed", type=float, help="requests a second; more are refused")
    parser.add_argument("--creates", choices=("answer", "drop", "mute"), default="answer")
    given = parser.parse_args()
    factory = asyncio.new_event_loop
    with contextlib.suppress(ImportError):
        factory = importlib.import_module("uvloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve(given))


if __name__ == "__main__":
    main()
