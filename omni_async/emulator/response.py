"""An answer as data, so that faults can change it, and the one place that puts it on the wire."""

import asyncio
import json
import math
from typing import Any

import attrs
from aiohttp import web

Json = dict[str, Any]

CHUNK = 128 * 1024
DRIPS = 20  # pieces a slow body is sent in


@attrs.frozen
class Response:
    """What a request is answered with.

    `task_id` tells which task a create made. `silence` is the time in seconds before the first byte (inf: for
    good), `drop` aborts the connection with no byte sent, `cut` does so after that many bytes of the body,
    `drip` spreads the body over that many seconds.
    """

    status: int
    body: bytes = b""
    headers: dict[str, str] = attrs.field(factory=dict)
    content_type: str = "application/json"
    task_id: str | None = None
    silence: float = 0.0
    drop: bool = False
    cut: int | None = None
    drip: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether it can be sent at once and in one piece."""
        return self.cut is None and not self.drip and len(self.body) <= CHUNK


def json_response(status: int, payload: Json, *, task_id: str | None = None, **headers: str) -> Response:
    """An answer of UTF-8 JSON; keyword names become headers, `_` as `-`."""
    body = json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status, body, named, task_id=task_id)


async def send(request: web.Request, answer: Response, stopping: asyncio.Event) -> web.StreamResponse:
    """Put the answer on the wire with whatever disturbance it carries."""
    if answer.silence:
        await _keep_silent(answer.silence, stopping)
    if answer.drop or answer.silence == math.inf or stopping.is_set():
        _hang_up(request)
        return web.Response()
    headers = {"Content-Type": _typed(answer.content_type), **answer.headers}
    if answer.plain:
        return web.Response(status=answer.status, body=answer.body, headers=headers)
    return await _stream(request, answer, headers)


def _typed(content_type: str) -> str:
    return content_type + "; charset=utf-8" if content_type.endswith(("json", "html")) else content_type


async def _keep_silent(seconds: float, stopping: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(None if seconds == math.inf else seconds):
            await stopping.wait()
    except TimeoutError:
        pass


def _hang_up(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _stream(request: web.Request, answer: Response, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=headers)
    response.content_length = len(answer.body)
    await response.prepare(request)
    if request.method != "HEAD":
        await _write_pieces(response, answer)
    if answer.cut is None:
        await response.write_eof()
    elif request.transport is not None:
        request.transport.close()  # unlike abort(), lets the bytes written so far reach the client
    return response


async def _write_pieces(response: web.StreamResponse, answer: Response) -> None:
    body = memoryview(answer.body)[: answer.cut]
    size = max(1, min(CHUNK, math.ceil(len(body) / DRIPS))) if answer.drip else CHUNK
    pause = answer.drip * size / max(1, len(body))
    for start in range(0, len(body), size):
        if pause:
            await asyncio.sleep(pause)
        await response.write(body[start : start + size])
