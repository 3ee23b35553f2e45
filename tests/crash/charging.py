"""A gateway in a process of its own, and its ledger of charges on disk: what the crash tests are held against.

    python tests/crash/charging.py --ledger FILE [--port 0] [--delay 0.05] …       prints its port as first line

It speaks jimmy's wire on raw sockets. A create is charged when its request is fully read, and the charge is on disk
before the first byte of the answer is sent. It outlives hundreds of clients that are killed, and plays no tricks:
slow answers (`--delay`) are all it takes for a kill to land between charge and answer.

The ledger has one JSON object a line, in order: `charge` (task, prompt, at: when its request was read, by a clock of
the gateway's own), `refused` (prompt, at), `file` (task, from, to, whole: which bytes of a video went out over one
connection) and `asked` (task: a video was requested).
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import socket
import sys
import time
from pathlib import Path

CREATE, QUERY = "/api/open-api/v1/gemini/omni/videos", "/api/open-api/v1/videos/"
BALANCE = "/api/open-api/v1/user/balance"
PIECE = 32 * 1024


class Ledger:
    """An append-only file; what is noted in one turn of the loop is made durable by one fsync."""

    def __init__(self, path):
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._lines = []
        self._syncing = None

    def note(self, kind, **what):
        """Remember a line, written with the next fsync at the latest."""
        self._lines.append(json.dumps({"kind": kind, **what}, ensure_ascii=False) + "\n")
        if self._syncing is None:
            self._syncing = asyncio.get_running_loop().create_task(self._sync())

    async def durable(self):
        """Return when all that was noted before is on disk."""
        if self._syncing is not None:
            await asyncio.shield(self._syncing)

    async def _sync(self):
        await asyncio.sleep(0)
        lines, self._lines, self._syncing = self._lines, [], None
        os.write(self._fd, "".join(lines).encode())
        await asyncio.to_thread(os.fsync, self._fd)


class Video:
    """The file of a task: a valid sequence of MP4 boxes, its content told by the task's id."""

    def __init__(self, task_id, size):
        brand = b"\x00\x00\x00\x18ftypisom\x00\x00\x02\x00isommp42"
        room = max(size - len(brand) - 8, 0)
        filling = (task_id.encode() * (room // len(task_id) + 1))[:room]
        self.data = brand + (room + 8).to_bytes(4, "big") + b"mdat" + filling
        self.tag = f'"{task_id}"'


class Gateway:
    """The server. `options` are those of the command line."""

    def __init__(self, options):
        self.options = options
        self.ledger = Ledger(options.ledger)
        self.tasks = {}  # id: when it was accepted
        self.rng = random.Random(options.seed)
        self.url = ""

    async def serve(self):
        """Listen, tell the port, and go on until the process is ended or, with `--with-parent`, stdin is."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", self.options.port, backlog=1024)
        port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        print(port, flush=True)
        async with server:
            if self.options.with_parent:
                await asyncio.to_thread(sys.stdin.buffer.read)
                os._exit(0)  # connections are left as they are
            await server.serve_forever()

    async def _accept(self, reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * PIECE)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass  # a killed client
        finally:
            with contextlib.suppress(OSError):
                writer.close()

    async def _one(self, reader, writer):
        """Read a whole request and answer it. False when the client has gone."""
        head = await reader.readuntil(b"\r\n\r\n")
        line, *fields = head.decode("latin-1").split("\r\n")
        method, path, _ = line.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        if method == "POST" and path == CREATE:
            await self._create(json.loads(body), writer)
        elif path.startswith(QUERY):
            await self._pause()
            self._answer(writer, self._told(path.removeprefix(QUERY)))
        elif path.startswith("/v/"):
            return await self._video(path.removeprefix("/v/").removesuffix(".mp4"), headers, writer)
        else:
            money = {"balance": 1_000_000, "used_coin": len(self.tasks), "available": 1_000_000}
            self._answer(writer, envelope(money) if path == BALANCE else refusal("20002", "no such path"), 200)
        await writer.drain()
        return True

    def _answer(self, writer, document, status=200):
        body = json.dumps(document).encode()
        writer.write(b"HTTP/1.1 %d X\r\nContent-Type: application/json\r\n" % status)
        writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))

    async def _pause(self, longest=None):
        """About `--delay` seconds; a look costs a fifth of a create."""
        delay = self.options.delay / 5 if longest is None else longest
        if delay:
            await asyncio.sleep(delay * self.rng.uniform(0.2, 1.8))

    # --- creates and looks -----------------------------------------------------------------------------------

    async def _create(self, body, writer):
        prompt = body["prompt"]
        if self.rng.random() < self.options.busy:
            self.ledger.note("refused", prompt=prompt, at=time.monotonic())
            self._answer(writer, refusal("429", "too frequent"), 429)
            return
        task_id = f"task-{len(self.tasks) + 1:07d}"
        self.tasks[task_id] = time.monotonic()
        self.ledger.note("charge", task=task_id, prompt=prompt, at=self.tasks[task_id])
        await self.ledger.durable()
        await self._pause(self.options.delay)
        self._answer(writer, envelope({"task_id": task_id, "status": "queued", "model": body["model"]}))

    def _told(self, task_id):
        """What is known of a task now. Its fate hangs on its number, so that it is the same after every crash."""
        if task_id not in self.tasks:
            return refusal("20002", "task not found")
        age = time.monotonic() - self.tasks[task_id]
        if age < self.options.task_seconds:
            progress = int(100 * age / self.options.task_seconds)
            return envelope({"task_id": task_id, "status": "processing", "progress": progress})
        if self.options.fail and int(task_id[5:]) % round(1 / self.options.fail) == 0:
            return envelope({"task_id": task_id, "status": "failed", "error_message": "Read timed out"})
        video = {"video_url": f"{self.url}/v/{task_id}.mp4"}
        return envelope({"task_id": task_id, "status": "completed", "progress": 100, "result": video})

    # --- videos ----------------------------------------------------------------------------------------------

    async def _video(self, task_id, headers, writer):
        """Send a video, or the part that was asked for, and note which bytes went out."""
        video = Video(task_id, self.options.video_bytes)
        begin = self._begin(headers, video)
        self.ledger.note("asked", task=task_id, at=begin)
        total = len(video.data)
        if begin >= total:
            writer.write(b"HTTP/1.1 416 X\r\nContent-Range: bytes */%d\r\nContent-Length: 0\r\n\r\n" % total)
            return True
        part = f"Content-Range: bytes {begin}-{total - 1}/{total}\r\n" if begin else ""
        writer.write(
            f"HTTP/1.1 {206 if begin else 200} X\r\nContent-Type: video/mp4\r\nAccept-Ranges: bytes\r\n"
            f"ETag: {video.tag}\r\nContent-Length: {total - begin}\r\n{part}\r\n".encode()
        )
        await self._stream(task_id, video.data, begin, writer)
        return True

    def _begin(self, headers, video):
        """Where to begin: `Range: bytes=N-` counts if `If-Range` is this video's tag, or was not sent."""
        wanted = headers.get("range", "")
        if not wanted.startswith("bytes=") or headers.get("if-range", video.tag) != video.tag:
            return 0
        return int(wanted[6:].partition("-")[0])

    async def _stream(self, task_id, data, begin, writer):
        writer.transport.set_write_buffer_limits(0)
        place = begin
        try:
            while place < len(data):
                writer.write(data[place : place + PIECE])
                await writer.drain()
                place = min(place + PIECE, len(data))
                if self.options.video_rate:
                    await asyncio.sleep(PIECE / self.options.video_rate)
        finally:
            self.ledger.note("file", task=task_id, **{"from": begin, "to": place}, whole=place == len(data))


def envelope(data):
    """jimmy's answer when all is well."""
    return {"code": "20000", "msg": "ok", "data": data}


def refusal(code, message):
    """jimmy's answer otherwise."""
    return {"code": code, "msg": message, "data": None}


def options(words=None):
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.05, help="seconds between charge and answer, about")
    parser.add_argument("--task-seconds", type=float, default=0.5)
    parser.add_argument("--video-bytes", type=int, default=4096)
    parser.add_argument("--video-rate", type=float, default=0.0, help="bytes a second for each connection; 0: no limit")
    parser.add_argument("--busy", type=float, default=0.0, help="share of creates refused with 429, uncharged")
    parser.add_argument("--fail", type=float, default=0.0, help="share of tasks that fail")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--with-parent", action="store_true", help="end when standard input does")
    return parser.parse_args(words)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Gateway(options()).serve())
