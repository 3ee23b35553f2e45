"""A gateway of few instructions, so that the client is what is measured: `jimmy` queries answered from a table.

A task's id says when it finishes, in seconds after the server's start: `t-<number>-<seconds>`. Creates
are accepted, with the id of a task that takes a day.
"""

import asyncio
import contextlib
import re
import sys
import time
from typing import cast

RUNNING = b'{"code":"20000","msg":"ok","data":{"task_id":"%s","status":"processing","progress":%d}}'
DONE = (
    b'{"code":"20000","msg":"ok","data":{"task_id":"%s","status":"completed","progress":100,'
    b'"result":{"video_url":"https://cdn.example.com/v.mp4"}}}'
)
CREATED = b'{"code":"20000","msg":"ok","data":{"task_id":"t-%d-86400","status":"queued","progress":0}}'
LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"


class Gateway(asyncio.Protocol):
    """Answers one request after the other on a connection."""

    began = 0.0
    requests = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self.transport = cast("asyncio.Transport", transport)
        self.rest = b""

    def data_received(self, data: bytes) -> None:
        """Answer each whole request."""
        self.rest += data
        while (end := self.rest.find(b"\r\n\r\n")) >= 0:
            head = self.rest[:end]
            length = LENGTH.search(head) if head.startswith(b"POST") else None
            whole = end + 4 + (int(length[1]) if length else 0)
            if len(self.rest) < whole:
                return
            self.rest = self.rest[whole:]
            Gateway.requests += 1
            self.transport.write(self.answer(head))

    def answer(self, request: bytes) -> bytes:
        """The answer to one request, by its head."""
        if request.startswith(b"POST"):
            created = CREATED % Gateway.requests
            return HEAD % (len(created), created)
        task_id = request.split(b" ", 2)[1].rpartition(b"/")[2]
        ends = float(task_id.rpartition(b"-")[2])
        now = time.monotonic() - self.began
        body = DONE % task_id if now >= ends else RUNNING % (task_id, int(99 * now / ends))
        return HEAD % (len(body), body)


async def main() -> None:
    """Serve on a free port until the parent closes the pipe; say the port first, the requests last."""
    Gateway.began = time.monotonic()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Gateway, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    with contextlib.suppress(BrokenPipeError):
        print(Gateway.requests, flush=True)


if __name__ == "__main__":
    asyncio.run(main())
