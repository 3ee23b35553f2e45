"""Downloads against servers that misbehave, each fault a named test."""

import asyncio
import contextlib
import errno
import fcntl
import gc
import gzip
import os
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from omni_async import connections, disk, files
from omni_async.answers import Setback
from omni_async.connections import Connections
from omni_async.errors import (
    DownloadError,
    IntegrityError,
    InvalidRequestError,
    OmniError,
    ResultExpiredError,
    TargetExistsError,
    UnsafeURLError,
)
from omni_async.files import Downloader, Patience
from omni_async.partfile import PartFile
from omni_async.policies import RetryPolicy, Timeouts
from omni_async.safety import origins

BODY = b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + os.urandom(299_976)
ETAG = {"ETag": '"v1"'}


class Request:
    """What a client asked for."""

    def __init__(self, head: bytes) -> None:
        first, *lines = head.decode().split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines if line)}

    @property
    def start(self) -> int | None:
        """The first byte of the range asked for, if one was."""
        text = self.headers.get("range")
        return int(text.removeprefix("bytes=").removesuffix("-")) if text else None


Handler = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """A raw server on loopback: each request gets the next answer of the script, the last one again and again."""

    def __init__(self, *script: Handler) -> None:
        self.script = list(script)
        self.requests: list[Request] = []

    async def __aenter__(self) -> "Server":
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self._open: set[asyncio.StreamWriter] = set()
        return self

    async def __aexit__(self, *exc: object) -> None:
        self._server.close()
        for writer in self._open:
            writer.transport.abort()
        await asyncio.sleep(0)

    @property
    def base(self) -> str:
        """Its origin."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """A signed URL on it."""
        return f"{self.base}/v.mp4?sig=CANARY"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                request = Request(head)
                self.requests.append(request)
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                await answer(request, writer)
                await writer.drain()
        self._open.discard(writer)
        writer.close()


def head(status: int, headers: dict[str, Any]) -> bytes:
    """A status line and headers."""
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode()


def reply(status: int = 200, body: bytes = b"", **headers: Any) -> Handler:
    """A plain whole answer."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        writer.write(head(status, {"Content-Length": len(body), **named}) + body)

    return answer


def video(*, stop: int | None = None, body: bytes = BODY, reset: bool = False, **validators: Any) -> Handler:
    """An honest file server with ranges, which may stop after `stop` bytes."""
    validators = validators or dict(ETAG)

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        start, named = request.start, {name.replace("_", "-"): value for name, value in validators.items()}
        if start is not None and request.headers.get("if-range") not in named.values():
            start = None
        if start is not None and start >= len(body):
            writer.write(head(416, {"Content-Range": f"bytes */{len(body)}", "Content-Length": 0}))
            return
        rest = body[start or 0 :]
        ranged = {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"} if start is not None else {}
        writer.write(head(206 if ranged else 200, {"Content-Length": len(rest), **ranged, **named}))
        writer.write(rest[:stop])
        if stop is not None and stop < len(rest):
            await writer.drain()
            await asyncio.sleep(0.02)
            if reset:
                linger = b"\1\0\0\0\0\0\0\0"
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            raise ConnectionResetError

    return answer


class Sleeps(list[float]):
    """A sleep that only takes notes."""

    async def __call__(self, seconds: float) -> None:
        """Wait no time at all."""
        self.append(seconds)
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def downloader(server: Server | None = None, **options: Any) -> AsyncIterator[Downloader]:
    """A downloader that may ask the server and never waits."""
    allowed = origins(server.base) if server else frozenset()
    made = Downloader(**{"allowed": allowed, "proxy": None, "sleep": Sleeps(), **options})
    try:
        yield made
    finally:
        await made.aclose()


def left(folder: Path) -> set[str]:
    """Names in a folder."""
    return {path.name for path in folder.iterdir()}


def part_of(target: Path) -> Path:
    """Where a target's beginning is kept."""
    return target.with_name(f"{target.name}.part")


def open_files(folder: Path) -> list[str]:
    """Descriptors of this process that lead into a folder."""
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(fd.readlink()))
    return [path for path in found if path.startswith(str(folder))]


def assert_clean(error: BaseException) -> None:
    """Row 62: no foreign network exception in the chain, and no signature in messages or our frames' locals."""
    seen: BaseException | None = error
    while seen is not None:
        assert isinstance(seen, OmniError | OSError | ValueError), seen
        assert not type(seen).__module__.startswith("aiohttp")
        assert "CANARY" not in f"{seen}{seen!r}"
        for frame, _ in traceback.walk_tb(seen.__traceback__):
            if "/omni_async/" in frame.f_code.co_filename:
                assert "CANARY" not in repr(frame.f_locals), frame
        seen = seen.__cause__ or seen.__context__


# --- row 50


async def test_row_50_reset_mid_body_resumes(tmp_path: Path) -> None:
    """Row 50: after a break the rest is asked for by Range and If-Range, and the file is whole."""
    async with Server(video(stop=200_000), video()) as server, downloader(server) as d:
        path = await d.fetch(server.url, tmp_path / "v.mp4")
    assert path.read_bytes() == BODY
    assert left(tmp_path) == {"v.mp4"}
    first, second = server.requests
    assert first.start is None
    assert second.start is not None
    assert 0 < second.start <= 200_000
    assert second.headers["if-range"] == '"v1"'


@pytest.mark.parametrize("validators", [{"ETag": 'W/"v1"', "Last_Modified": "Sat, 01 Aug 2026 00:00:00 GMT"}])
async def test_row_50_resumes_by_date_if_the_etag_is_weak(tmp_path: Path, validators: dict[str, str]) -> None:
    """Row 50: If-Range takes no weak ETag; the date serves."""
    async with Server(video(stop=100_000, **validators), video(**validators)) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert server.requests[1].headers["if-range"] == validators["Last_Modified"]


async def test_row_50_without_validator_it_restarts(tmp_path: Path) -> None:
    """Row 50: nothing tells that the rest belongs to what is there, so the whole is asked for."""
    async with Server(video(stop=100_000, Server="x"), video(Server="x")) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert [request.start for request in server.requests] == [None, None]


async def test_row_50_changed_video_restarts(tmp_path: Path) -> None:
    """Row 50: another ETag makes the server send the whole, and the old beginning is dropped."""
    other = BODY[:200] + os.urandom(100_000)
    async with Server(video(stop=200_000), video(body=other, ETag='"v2"')) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == other


async def test_row_50_progress_refills_the_budget(tmp_path: Path) -> None:
    """Row 50: more breaks than attempts do no harm as long as each brings the file on."""
    sleeps = Sleeps()
    async with Server(video(stop=30_000)) as server, downloader(server, sleep=sleeps) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert len(server.requests) > RetryPolicy().attempts
    assert all(pause <= 1.25 for pause in sleeps)


async def test_row_50_no_progress_ends_it(tmp_path: Path) -> None:
    """Row 50: breaks that bring nothing use the budget up, and `.part` is left for another time."""
    sleeps = Sleeps()
    async with Server(video(stop=50_000), video(stop=0, reset=True)) as server, downloader(server, sleep=sleeps) as d:
        with pytest.raises(DownloadError) as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert left(tmp_path) == {"v.mp4.part", "v.mp4.part.tag"}
    assert [round(pause / 1.25, 1) <= wanted for pause, wanted in zip(sleeps, (1, 2, 4), strict=False)]


async def test_row_50_restarts_are_no_progress(tmp_path: Path) -> None:
    """Row 50: a server without ranges that always breaks at the same byte does not keep us busy for ever."""
    async with Server(video(stop=100_000, Server="x")) as server, downloader(server) as d:
        with pytest.raises(IntegrityError):
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert 2 <= len(server.requests) <= 2 * RetryPolicy().attempts


# --- row 51


async def test_row_51_short_body(tmp_path: Path) -> None:
    """Row 51: fewer bytes than announced, every time, is an IntegrityError and leaves only `.part`."""

    async def short(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Length": len(BODY) + 5}) + BODY)
        await writer.drain()
        await asyncio.sleep(0.02)
        raise ConnectionResetError

    async with Server(short) as server, downloader(server) as d:
        with pytest.raises(IntegrityError) as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert left(tmp_path) == {"v.mp4.part"}


WRONG = {
    "shifted": "bytes 5-{last}/{size}",
    "other total": "bytes {start}-{last}/999999",
    "past the end": "bytes {start}-{size}/{size}",
    "other unit": "items {start}-{last}/{size}",
    "missing": "",
}


def wrong_range(text: str) -> Handler:
    """A 206 that lies about which piece it is."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        start = request.start or 0
        named = text.format(start=start, last=len(BODY) - 1, size=len(BODY))
        writer.write(head(206, {"Content-Length": len(BODY) - start, "Content-Range": named, **ETAG}) + BODY[start:])

    return answer


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
async def test_row_51_wrong_content_range(tmp_path: Path, text: str) -> None:
    """Row 51: a 206 for another piece is not appended; the whole is asked for instead."""
    async with Server(video(stop=100_000), wrong_range(text), video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert [request.start is None for request in server.requests] == [True, False, True]


async def test_row_50_two_versions_are_never_glued_together(tmp_path: Path) -> None:
    """Row 50: If-Range is ignored, and the 206 is of another version: the whole of that is fetched instead."""
    other = BODY[:1000] + os.urandom(len(BODY) - 1000)

    async def changed(request: Request, writer: asyncio.StreamWriter) -> None:
        start = request.start or 0
        named = {"Content-Range": f"bytes {start}-{len(other) - 1}/{len(other)}"} if start else {}
        told = {"Content-Length": len(other) - start, "ETag": '"v2"', **named}
        writer.write(head(206 if start else 200, told) + other[start:])

    async with Server(video(stop=100_000), changed) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == other
    assert [request.start is None for request in server.requests] == [True, False, True]


async def test_row_50_a_rest_that_is_packed_is_not_appended(tmp_path: Path) -> None:
    """Row 50: a server packs what it sends for a Range, unasked, and in pieces: the whole is asked for instead."""

    async def packing(request: Request, writer: asyncio.StreamWriter) -> None:
        start = request.start or 0
        named = {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}", "Content-Encoding": "gzip"}
        rest = gzip.compress(BODY[start:])[:1000]
        told = {"Transfer-Encoding": "chunked", **ETAG, **named}
        writer.write(head(206, told) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))

    async with Server(video(stop=100_000), packing, video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert [request.start is None for request in server.requests] == [True, False, True]


async def test_an_answer_to_nothing_is_not_taken_for_a_video(tmp_path: Path) -> None:
    """A CDN speaks on an idle connection: the next video comes on another, and is itself."""
    async with Server(video()) as server, downloader(server) as d:
        await d.fetch(server.url, tmp_path / "a.mp4")
        for writer in server._open:
            other = BODY[:32] + bytes(1000)
            writer.write(head(200, {"Content-Length": len(other)}) + other)
            await writer.drain()
        await asyncio.sleep(0.05)
        assert (await d.fetch(server.url, tmp_path / "b.mp4")).read_bytes() == BODY


async def test_row_51_always_wrong_content_range(tmp_path: Path) -> None:
    """Row 51: if it never gets right, IntegrityError after the budget, and only `.part`."""
    async with Server(video(stop=100_000), wrong_range(WRONG["shifted"])) as server, downloader(server) as d:
        with pytest.raises(IntegrityError, match="another piece"):
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert "v.mp4" not in left(tmp_path)
    assert "v.mp4.part" in left(tmp_path)


async def test_row_51_partial_answer_goes_on(tmp_path: Path) -> None:
    """Row 51: a 206 that brings less than was asked for is a step, not the end."""

    async def piece(request: Request, writer: asyncio.StreamWriter) -> None:
        start = request.start or 0
        last = min(start + 99_999, len(BODY) - 1)
        named = {"Content-Range": f"bytes {start}-{last}/{len(BODY)}", "Content-Length": last - start + 1, **ETAG}
        writer.write(head(206, named) + BODY[start : last + 1])

    async with Server(piece) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert len(server.requests) == 3


async def test_row_51_long_body(tmp_path: Path) -> None:
    """Row 51: more bytes than the whole should have, in a chunked answer, is not a video and is thrown away."""

    async def long(request: Request, writer: asyncio.StreamWriter) -> None:
        start = request.start or 0
        named = {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}", "Transfer-Encoding": "chunked", **ETAG}
        rest = BODY[start:] + b"more"
        writer.write(head(206, named) + b"%x\r\n%s\r\n0\r\n\r\n" % (len(rest), rest))

    async with Server(long) as server, downloader(server) as d:
        with pytest.raises(IntegrityError, match="300004 of 300000"):
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert left(tmp_path) == set()


def boxes(size: int) -> bytes:
    """A file of whole MP4 boxes."""
    return BODY[:24] + b"\0\0\0\x08moov" + (size).to_bytes(4) + b"mdat" + bytes(size - 8)


def unframed(body: bytes) -> Handler:
    """A body that ends with the connection, so that a break cannot be told from the end."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Connection": "close"}) + body)
        await writer.drain()
        writer.close()
        raise ConnectionResetError

    return answer


async def test_row_51_body_without_length_that_breaks_off(tmp_path: Path) -> None:
    """Row 51: with neither length nor chunks the video's own boxes tell that it was cut."""
    whole = boxes(5000)
    async with Server(unframed(whole[:-100]), unframed(whole)) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == whole
    async with Server(unframed(whole[:-100])) as server, downloader(server) as d:
        with pytest.raises(IntegrityError, match="within the video"):
            await d.fetch(server.url, tmp_path / "w.mp4")


@pytest.mark.parametrize("end", [24, 32])
async def test_row_51_body_without_length_that_breaks_off_between_two_boxes(tmp_path: Path, end: int) -> None:
    """Row 51: then its index is missing, or its media."""
    whole = boxes(5000)
    async with Server(unframed(whole[:end]), unframed(whole)) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == whole
        assert len(server.requests) == 2


async def test_complete_part_is_published(tmp_path: Path) -> None:
    """A run that ended between the last byte and the rename: 416 says that nothing is missing."""
    target = tmp_path / "v.mp4"
    async with Server(video(stop=200_000), reply(500)) as server, downloader(server) as d:
        with pytest.raises(DownloadError):
            await d.fetch(server.url, target)
    part_of(target).write_bytes(BODY)
    async with Server(video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, target)).read_bytes() == BODY
    assert [request.start for request in server.requests] == [len(BODY)]
    assert left(tmp_path) == {"v.mp4"}


async def test_part_longer_than_the_video_restarts(tmp_path: Path) -> None:
    """A 416 with another length: what is there is of another video."""
    target = tmp_path / "v.mp4"
    async with Server(video(stop=200_000), reply(500)) as server, downloader(server) as d:
        with pytest.raises(DownloadError):
            await d.fetch(server.url, target)
    part_of(target).write_bytes(BODY + b"x")
    async with Server(video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, target)).read_bytes() == BODY
    assert [request.start for request in server.requests] == [len(BODY) + 1, None]


# --- rows 52 to 55


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_row_52_expired_is_told_at_once(tmp_path: Path, status: int) -> None:
    """Row 52: no attempt is wasted on a URL that no longer works."""
    async with Server(reply(status)) as server, downloader(server) as d:
        with pytest.raises(ResultExpiredError) as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert len(server.requests) == 1
    assert left(tmp_path) == set()


class Names(AbstractResolver):
    """A resolver that answers every name with the same addresses."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        """The addresses, as getaddrinfo would give them."""
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=0,
            )
            for address in self.addresses
        ]

    async def close(self) -> None:
        """Nothing is held."""


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("10.0.0.1", "192.168.0.1", "169.254.169.254"),
        ("::1", "127.0.0.1"),
        ("fe80::1", "fd00::1", "10.0.0.1", "127.0.0.1"),
        ("64:ff9b::7f00:1",),
        ("2002:7f00:1::", "::ffff:127.0.0.1"),
    ],
)
async def test_row_53_dialled_addresses_are_checked(tmp_path: Path, addresses: tuple[str, ...]) -> None:
    """Row 53: a name that leads inside is refused at the dial, through a race of several addresses, too."""
    async with Server(video()) as server, downloader(resolver=Names(*addresses)) as d:
        with pytest.raises(UnsafeURLError, match="not public") as caught:
            await d.fetch(f"https://rebound.example:{server.port}/v.mp4?sig=CANARY", tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert server.requests == []
    assert left(tmp_path) == set()


async def test_row_53_localhost_by_name(tmp_path: Path) -> None:
    """Row 53: the machine's own resolver is not believed either."""
    async with Server(video()) as server, downloader() as d:
        with pytest.raises(UnsafeURLError):
            await d.fetch(f"https://localhost:{server.port}/v.mp4", tmp_path / "v.mp4")
    assert server.requests == []


async def test_row_53_one_public_address_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 53: of a name's addresses the unsafe ones are skipped, each dial being judged by itself."""
    judged: list[str] = []

    def public(address: str, *, dialled: bool) -> bool:
        judged.append(address)
        return address == "127.0.0.1"  # for this test the server's address is one of the Internet

    monkeypatch.setattr(connections, "is_public", public)
    async with Server(video()) as server, downloader(resolver=Names("10.0.0.1", "127.0.0.1")) as d:
        monkeypatch.setattr(files, "check_url", lambda url, _: URL(url))
        monkeypatch.setattr(files, "judge_url", lambda url, _: URL(url))
        path = await d.fetch(f"http://cdn.example:{server.port}/v.mp4", tmp_path / "v.mp4")
    assert path.read_bytes() == BODY
    assert judged[-1] == "127.0.0.1"


async def test_row_53_unreachable_is_not_unsafe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 53: if a public address was dialled and did not answer, that is an ordinary failure."""
    monkeypatch.setattr(connections, "is_public", lambda address, **_: address == "127.0.0.1")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        async with downloader(resolver=Names("10.0.0.1", "127.0.0.1")) as d:
            with pytest.raises(DownloadError, match="could not be reached") as caught:
                await d.fetch(f"https://cdn.example:{port}/v.mp4?sig=CANARY", tmp_path / "v.mp4")
    assert type(caught.value) is DownloadError
    assert_clean(caught.value)


async def test_row_53_redirect_hops_are_checked(tmp_path: Path) -> None:
    """Row 53: a redirect to another origin is judged like a first URL, the port included."""
    async with Server(video()) as inside:
        for place in (f"{inside.base}/v.mp4?sig=CANARY", "https://169.254.169.254/", "file:///etc/passwd", "https://["):
            async with Server(reply(302, Location=place)) as server, downloader(server) as d:
                with pytest.raises(UnsafeURLError) as caught:
                    await d.fetch(server.url, tmp_path / "v.mp4")
            assert_clean(caught.value)
    assert inside.requests == []


async def test_row_54_too_many_redirects(tmp_path: Path) -> None:
    """Row 54: the sixth redirect is one too many; five are followed, relative ones, too."""
    async with Server(reply(307, Location="/v.mp4?sig=CANARY")) as server, downloader(server) as d:
        with pytest.raises(UnsafeURLError, match="more than 5") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert len(server.requests) == 6
    hops = [reply(status, Location="next.mp4") for status in (301, 302, 303, 307, 308)]
    async with Server(*hops, video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert server.requests[-1].target == "/next.mp4"


async def test_row_54_no_way_back_to_http(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 54: https to http is refused, even where the http origin is an exception."""

    class Redirected:
        """A redirect as aiohttp gives it."""

        status = 302
        headers = {"location": ""}  # noqa: RUF012  # set below, once the server has a port

        def close(self) -> None:
            """Nothing is held."""

    asked: list[str] = []

    async def get(self: Connections, url: URL, headers: object) -> Any:
        asked.append(str(url))
        return Redirected()

    monkeypatch.setattr(Connections, "_get", get)
    async with Server(video()) as server, downloader(server) as d:
        Redirected.headers["location"] = server.url
        with pytest.raises(UnsafeURLError, match="from https to") as caught:
            await d.fetch("https://cdn.example/v.mp4?sig=CANARY", tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert asked == ["https://cdn.example/v.mp4?sig=CANARY"]
    assert server.requests == []


async def test_row_55_no_key_and_no_cookie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 55: a download carries neither key nor cookie, also not one the server set, and nothing from .netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password CANARY\n")
    monkeypatch.setenv("NETRC", str(netrc))
    answers = (reply(302, Location="/b", Set_Cookie="sid=CANARY; Path=/"), video())
    async with Server(*answers) as server, downloader(server, proxy="env") as d:
        await d.fetch(f"{server.base}/a", tmp_path / "v.mp4")
    for request in server.requests:
        assert set(request.headers) == {"host", "user-agent", "accept-encoding", "accept"}
        assert request.headers["accept-encoding"] == "identity"


# --- rows 56 to 59


async def test_row_56_server_names_are_not_used(tmp_path: Path) -> None:
    """Row 56: what the server calls the file changes nothing."""
    named = 'attachment; filename="../../evil.exe"'
    async with Server(video(Content_Disposition=named)) as server, downloader(server) as d:
        path = await d.fetch(f"{server.base}/..%2f..%2fevil.exe", tmp_path / "in" / "v.mp4")
    assert path == tmp_path / "in" / "v.mp4"
    assert left(tmp_path) == {"in"}


@pytest.mark.parametrize("kind", ["file", "link", "dangling link", "folder"])
async def test_row_57_existing_target(tmp_path: Path, kind: str) -> None:
    """Row 57: whatever is there is not touched, and nothing is asked for."""
    target, other = tmp_path / "v.mp4", tmp_path / "other"
    if kind == "file":
        target.write_bytes(b"mine")
    elif kind == "folder":
        target.mkdir()
    else:
        target.symlink_to(other)
        if kind == "link":
            other.write_bytes(b"mine")
    before = left(tmp_path)
    async with Server(video()) as server, downloader(server) as d:
        with pytest.raises(TargetExistsError):
            await d.fetch(server.url, target)
    assert server.requests == []
    assert left(tmp_path) == before


async def test_row_57_overwrite_replaces_the_link_itself(tmp_path: Path) -> None:
    """Row 57: overwriting never writes through a link, and never a folder."""
    target, other = tmp_path / "v.mp4", tmp_path / "other"
    other.write_bytes(b"mine")
    target.symlink_to(other)
    async with Server(video()) as server, downloader(server) as d:
        await d.fetch(server.url, target, overwrite=True)
        with pytest.raises(TargetExistsError, match="folder"):
            await d.fetch(server.url, tmp_path, overwrite=True)
    assert other.read_bytes() == b"mine"
    assert not target.is_symlink()
    assert target.read_bytes() == BODY


async def test_row_57_target_that_comes_up_meanwhile(tmp_path: Path) -> None:
    """Row 57: publishing never clobbers; the whole `.part` stays, and overwriting later costs no bytes."""
    target = tmp_path / "v.mp4"

    async def meanwhile(request: Request, writer: asyncio.StreamWriter) -> None:
        target.write_bytes(b"mine")
        await video()(request, writer)

    async with Server(meanwhile, video()) as server, downloader(server) as d:
        with pytest.raises(TargetExistsError):
            await d.fetch(server.url, target)
        assert target.read_bytes() == b"mine"
        await d.fetch(server.url, target, overwrite=True)
    assert target.read_bytes() == BODY
    assert server.requests[1].start == len(BODY)
    assert left(tmp_path) == {"v.mp4"}


async def test_row_58_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 58: a full disk removes `.part` and says so; the caller can tell by `__cause__`."""

    def full(self: PartFile, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartFile, "_put", full)
    async with Server(video()) as server, downloader(server) as d:
        with pytest.raises(DownloadError, match="no space left") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno in disk.NO_SPACE
    assert_clean(caught.value)
    assert left(tmp_path) == set()
    assert len(server.requests) == 1


async def test_row_58_disk_full_while_the_connection_breaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 58: the disk's error does not carry the network's along."""

    def full(self: PartFile, data: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(PartFile, "_put", full)
    async with Server(video(stop=1000, reset=True)) as server, downloader(server) as d:
        with pytest.raises(DownloadError, match="no space left") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)


async def test_too_many_open_files_are_no_fault_of_the_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process out of descriptors: another place would not help."""

    def out(self: PartFile) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(PartFile, "open", out)
    async with Server(video()) as server, downloader(server) as d:
        with pytest.raises(DownloadError, match=r"Too many open files.*ulimit -n"):
            await d.fetch(server.url, tmp_path / "v.mp4")


async def test_other_disk_errors_name_the_next_step(tmp_path: Path) -> None:
    """A place that cannot be written is a DownloadError before anything is asked for."""
    (tmp_path / "file").write_bytes(b"")
    async with Server(video()) as server, downloader(server) as d:
        for target in (
            tmp_path / "file" / "v.mp4",
            tmp_path / ("x" * 300),
            Path("/proc/none/v.mp4"),
            tmp_path / "a\0b",
        ):
            with pytest.raises(DownloadError, match="choose another place") as caught:
                await d.fetch(server.url, target)
            assert_clean(caught.value)
    assert server.requests == []


CHILD = """
import asyncio, sys
from pathlib import Path
from omni_async.files import Downloader
from omni_async.safety import origins

async def main(base, target):
    d = Downloader(allowed=origins(base), proxy=None)
    await d.fetch(base + "/v.mp4", Path(target), on_progress=lambda done, total: print(done, flush=True))

asyncio.run(main(*sys.argv[1:]))
"""


async def test_row_59_kill_9_mid_file(tmp_path: Path) -> None:
    """Row 59: after kill -9 the `.part` is left and the next process goes on from it."""
    big = BODY + os.urandom(3 * 1024 * 1024)
    sent = asyncio.Event()

    async def hangs(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Length": len(big), **ETAG}) + big[: 2 * 1024 * 1024 + 500_000])
        await writer.drain()
        await asyncio.wait_for(sent.wait(), 90)

    target = tmp_path / "v.mp4"
    async with Server(hangs, video(body=big)) as server:
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CHILD, server.base, str(target), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        part = part_of(target)
        while not part.exists() or part.stat().st_size < 2 * 1024 * 1024:
            await asyncio.wait_for(child.stdout.readline(), 90)
        child.send_signal(signal.SIGKILL)
        await child.communicate()
        sent.set()
        assert left(tmp_path) == {"v.mp4.part", "v.mp4.part.tag"}
        async with downloader(server) as d:
            assert (await d.fetch(f"{server.base}/v.mp4", target)).read_bytes() == big
    assert (server.requests[1].start or 0) >= 2 * 1024 * 1024
    assert left(tmp_path) == {"v.mp4"}


async def test_row_59_the_name_appears_after_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 59: file synced, then named, then folder synced."""
    steps: list[str] = []
    real_sync, real_link = os.fsync, os.link
    target = tmp_path / "v.mp4"

    def sync(fd: int) -> None:
        steps.append(f"sync {'named' if target.exists() else 'unnamed'}")
        real_sync(fd)

    def link(source: Path, name: Path) -> None:
        steps.append("link")
        real_link(source, name)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "link", link)
    async with Server(video()) as server, downloader(server) as d:
        await d.fetch(server.url, target)
    assert steps == ["sync unnamed", "link", "sync named"]


# --- rows 60 and 61


async def test_row_60_endless_body(tmp_path: Path) -> None:
    """Row 60: more than max_bytes is given up at once and not kept, announced or not."""

    async def endless(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Transfer-Encoding": "chunked"}))
        writer.write(b"%x\r\n%s\r\n" % (len(BODY), BODY))
        while True:
            writer.write(b"3e8\r\n" + bytes(1000) + b"\r\n")
            await writer.drain()

    for answer in (endless, video()):
        async with Server(answer) as server, downloader(server, max_bytes=200_000) as d:
            with pytest.raises(IntegrityError, match="more than 200000 bytes"):
                await d.fetch(server.url, tmp_path / "v.mp4")
        assert len(server.requests) == 1
        assert left(tmp_path) == set()


def drip(pause: float) -> Handler:
    """A body in tiny pieces that never becomes whole."""

    async def answer(request: Request, writer: asyncio.StreamWriter) -> None:
        start = request.start or 0
        named = {"Content-Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"} if start else {}
        writer.write(head(206 if start else 200, {"Content-Length": len(BODY) - start, **named, **ETAG}))
        for at in range(start, len(BODY), 100):
            writer.write(BODY[at : at + 100])
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def test_row_60_slow_drip(tmp_path: Path) -> None:
    """Row 60: bytes that come too slowly for a minute end the attempt, and such attempts end the download."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 7.0
        return now

    async with Server(drip(0.001)) as server, downloader(server, clock=clock) as d:
        with pytest.raises(DownloadError, match="too slowly") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert len(server.requests) == RetryPolicy().attempts
    assert "v.mp4.part" in left(tmp_path)


async def test_row_60_fast_enough_is_left_alone(tmp_path: Path) -> None:
    """Row 60: a minute at a decent rate starts the next minute."""
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 25.0
        return now

    async with Server(drip(0)) as server, downloader(server, clock=clock, min_rate=0.01) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY


@pytest.mark.parametrize("piece", [b"HTTP/1.1 102 Processing\r\n\r\n", b"X-A: b\r\n", b"a"])
async def test_row_60_an_answer_that_never_begins(tmp_path: Path, piece: bytes) -> None:
    """Row 60: interim answers or headers without end, however fast they come, end as a silence does."""

    async def never(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"" if piece.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\nX-A: ")
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.02)

    timeouts = Timeouts(connect=0.1, read=0.1)
    async with Server(never) as server, downloader(server, timeouts=timeouts) as d, asyncio.timeout(10):
        with pytest.raises(DownloadError, match="silent") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert len(server.requests) == RetryPolicy().attempts


async def test_row_60_silence(tmp_path: Path) -> None:
    """Row 60: a server that says nothing more trips the read timeout, in the head and in the body."""

    async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(5)

    async def half(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Length": len(BODY)}) + BODY[:1000])
        await writer.drain()
        await asyncio.sleep(5)

    for answer in (silent, half):
        async with Server(answer) as server, downloader(server, timeouts=Timeouts(read=0.05)) as d:
            with pytest.raises(DownloadError, match="silent") as caught:
                await d.fetch(server.url, tmp_path / "v.mp4")
        assert type(caught.value) is DownloadError
        assert_clean(caught.value)


HTML = b"<!DOCTYPE html><html><body>please log in</body></html>"


async def test_row_61_html_page_with_200(tmp_path: Path) -> None:
    """Row 61: an error page is not a video: tried again, then IntegrityError, and no `.part` of it is kept."""
    async with Server(reply(200, HTML, Content_Type="video/mp4")) as server, downloader(server) as d:
        with pytest.raises(IntegrityError, match="is not an MP4") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert len(server.requests) == RetryPolicy().attempts
    assert left(tmp_path) == set()


async def test_row_61_html_page_once(tmp_path: Path) -> None:
    """Row 61: a passing error page costs one attempt, not the video, and not what was there before it."""
    for bad in (HTML, b"tiny", b""):
        target = tmp_path / f"{len(bad)}.mp4"
        async with Server(reply(200, bad), video()) as server, downloader(server) as d:
            assert (await d.fetch(server.url, target)).read_bytes() == BODY


async def test_row_61_html_page_spares_what_is_stored(tmp_path: Path) -> None:
    """Row 61: an error page in answer to a Range does not cost the good beginning that is on disk."""
    async with Server(video(stop=100_000), reply(200, HTML), video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert server.requests[2].start == server.requests[1].start
    assert server.requests[2].start is not None


async def test_row_61_stored_beginning_that_is_no_video(tmp_path: Path) -> None:
    """Row 61: what an earlier run left is checked like everything else, and replaced."""
    target, page = tmp_path / "v.mp4", HTML + BODY[len(HTML) :]
    async with Server(video(stop=100_000), reply(500)) as server, downloader(server) as d:
        with pytest.raises(DownloadError):
            await d.fetch(server.url, target)
    part_of(target).write_bytes(page[:1000])
    async with Server(video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, target)).read_bytes() == BODY
    assert [request.start for request in server.requests] == [1000, None]


async def test_broken_off_before_it_can_be_told_what_it_is(tmp_path: Path) -> None:
    """A body of four bytes is a break, not a page."""
    async with Server(video(stop=4), video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY


# --- other answers


async def test_server_errors_are_tried_again(tmp_path: Path) -> None:
    """A 5xx or 429 is tried again after what the server asks for, within what the policy allows."""
    sleeps = Sleeps()
    script = (reply(503, Retry_After="7"), reply(429, Retry_After="100000"), video())
    async with Server(*script) as server, downloader(server, sleep=sleeps) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4")).read_bytes() == BODY
    assert sleeps == [7.0, RetryPolicy().max_wait]


@pytest.mark.parametrize(("status", "tries"), [(500, 3), (204, 3), (304, 1), (418, 1), (416, 1)])
async def test_statuses_without_a_video(tmp_path: Path, status: int, tries: int) -> None:
    """Whatever the status, it ends as a DownloadError that names it."""
    async with Server(reply(status)) as server, downloader(server) as d:
        with pytest.raises(DownloadError, match=str(status)) as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)
    assert len(server.requests) == tries


PATIENT = Patience(seconds=300.0)


@pytest.mark.parametrize("status", [500, 503, 429])
async def test_a_server_that_fails_is_tried_as_long_as_the_callers_patience_lasts(tmp_path: Path, status: int) -> None:
    """Minutes, with growing pauses; then the error says that later may help."""
    sleeps = Sleeps()
    async with Server(reply(status)) as server, downloader(server, sleep=sleeps) as d:
        with pytest.raises(DownloadError, match=str(status)) as caught:
            await d.fetch(server.url, tmp_path / "v.mp4", patience=PATIENT)
    assert caught.value.temporary
    assert sum(sleeps) == pytest.approx(300, abs=1)
    assert sleeps[4] > sleeps[3] > sleeps[2] > sleeps[1] > sleeps[0] >= 1
    assert max(sleeps) <= 37.5


@pytest.mark.parametrize("told", ["0", "Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_a_pause_of_no_time_makes_nothing_more_frequent(tmp_path: Path, told: str) -> None:
    """A server that asks for none is asked again after the usual ones."""
    sleeps = Sleeps()
    async with Server(reply(503, Retry_After=told)) as server, downloader(server, sleep=sleeps) as d:
        with pytest.raises(DownloadError, match="503"):
            await d.fetch(server.url, tmp_path / "v.mp4", patience=PATIENT)
    assert len(server.requests) < 20
    assert sleeps[:3] == sorted(sleeps[:3])
    assert sleeps[0] >= 1


@pytest.mark.parametrize("answer", [reply(503, Retry_After="120"), video(stop=0, reset=True)], ids=["busy", "break"])
async def test_whoever_has_others_to_fetch_is_told_of_a_failure_at_once(tmp_path: Path, answer: Handler) -> None:
    """Nothing waits here meanwhile, whatever the server asks for: he does that, with others in between."""
    sleeps = Sleeps()
    async with Server(answer) as server, downloader(server, sleep=sleeps) as d:
        with pytest.raises(DownloadError) as caught:
            await d.fetch(server.url, tmp_path / "v.mp4", patience=Patience(None))
    assert caught.value.temporary
    assert (sleeps, len(server.requests)) == ([], 1)


async def test_a_video_that_comes_in_pieces_comes_whole_though_others_wait(tmp_path: Path) -> None:
    """A break after progress is not yet a server that fails."""
    async with Server(video(stop=30_000)) as server, downloader(server) as d:
        path = await d.fetch(server.url, tmp_path / "v.mp4", patience=Patience(None))
    assert path.read_bytes() == BODY


async def test_connections_that_break_off_are_a_server_that_fails(tmp_path: Path) -> None:
    """One that begins to answer and goes no further is tried as long as one that does not answer."""
    sleeps = Sleeps()
    async with Server(video(stop=50_000), video(stop=0, reset=True)) as server, downloader(server, sleep=sleeps) as d:
        with pytest.raises(IntegrityError, match="broke off") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4", patience=PATIENT)
    assert caught.value.temporary
    assert sum(sleeps) == pytest.approx(300, abs=3)


async def test_a_pause_that_does_not_fit_into_the_patience_ends_it(tmp_path: Path) -> None:
    """What the server asks for is not cut short: two of 120 s fit into 300 s, and a third does not."""
    sleeps = Sleeps()
    async with Server(reply(503, Retry_After="120")) as server, downloader(server, sleep=sleeps) as d:
        with pytest.raises(DownloadError, match="503") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4", patience=PATIENT)
    assert sleeps == [120.0, 120.0]
    assert caught.value.retry_after == 120.0


async def test_a_download_that_rests_has_no_file_open(tmp_path: Path) -> None:
    """Of those there may be more than files that a process may have open; meanwhile nobody else here writes it."""
    seen: list[list[str]] = []
    target = tmp_path / "v.mp4"

    async def rest(seconds: float) -> None:
        seen.append(open_files(tmp_path))
        with pytest.raises(DownloadError, match="being downloaded already"):
            await d.fetch(server.url, target)

    script = (reply(503), video(stop=100_000), reply(503), video())
    async with Server(*script) as server, downloader(server) as d:
        await d.fetch(server.url, target, patience=Patience(300.0, rest))
    assert seen == [[], [], []]
    assert target.read_bytes() == BODY
    assert server.requests[-1].start == 100_000
    assert left(tmp_path) == {"v.mp4"}


@pytest.mark.parametrize("ended", [False, True])
async def test_another_process_takes_over_while_a_download_rests(tmp_path: Path, ended: bool) -> None:
    """It is told as to whoever comes second; what the other has written is left to it."""
    target = tmp_path / "v.mp4"
    other = contextlib.ExitStack()

    async def rest(seconds: float) -> None:
        if ended:
            target.write_bytes(BODY)
        else:
            fcntl.flock(other.enter_context(part_of(target).open("wb")), fcntl.LOCK_EX | fcntl.LOCK_NB)

    error = TargetExistsError if ended else DownloadError
    async with Server(reply(503)) as server, downloader(server) as d:
        with other, pytest.raises(error, match="exists already" if ended else "being downloaded already"):
            await d.fetch(server.url, target, patience=Patience(300.0, rest))
    assert left(tmp_path) == {"v.mp4" if ended else "v.mp4.part"}
    assert len(server.requests) == 1


async def test_what_came_up_while_a_download_rested_is_gone_on_from(tmp_path: Path) -> None:
    """Another process may have written on, and ended before the whole."""
    target = tmp_path / "v.mp4"

    async def rest(seconds: float) -> None:
        part_of(target).write_bytes(BODY[:200_000])

    async with Server(video(stop=100_000), reply(503), video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, target, patience=Patience(300.0, rest))).read_bytes() == BODY
    assert server.requests[-1].start == 200_000


async def test_whoever_leaves_a_download_that_rests_takes_nothing_along(tmp_path: Path) -> None:
    """Another process may have begun it meanwhile."""
    target = tmp_path / "v.mp4"

    async def rest(seconds: float) -> None:
        part_of(target).write_bytes(BODY[:100])
        await asyncio.sleep(1000)

    async with Server(reply(503)) as server, downloader(server) as d:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await d.fetch(server.url, target, patience=Patience(300.0, rest))
        assert left(tmp_path) == {"v.mp4.part"}
        server.script[:] = [video()]
        assert (await d.fetch(server.url, target)).read_bytes() == BODY


async def test_a_server_that_comes_back_is_noticed(tmp_path: Path) -> None:
    """What was stored before the outage is gone on from, and each piece of progress begins a new one."""
    bad = [reply(503)] * 7
    script = (*bad, video(stop=100_000), *bad, video(stop=100_000), *bad, video())
    sleeps = Sleeps()
    async with Server(*script) as server, downloader(server, sleep=sleeps) as d:
        path = await d.fetch(server.url, tmp_path / "v.mp4", patience=Patience(160.0))
    assert path.read_bytes() == BODY
    assert sum(sleeps) > 160
    assert len(server.requests) == len(script)


async def test_a_server_that_is_not_there(tmp_path: Path) -> None:
    """Refused connections and names that cannot be resolved are tried as long; pauses may be another's to make."""
    rests = Sleeps()
    async with Server(video()) as server:
        gone = server.url
    async with downloader(allowed=origins(gone)) as d:
        with pytest.raises(DownloadError, match="could not be reached") as caught:
            await d.fetch(gone, tmp_path / "v.mp4", patience=Patience(300.0, rests))
        assert sum(rests) == pytest.approx(300, abs=1)
    assert caught.value.temporary
    assert_clean(caught.value)

    class Nameless(Names):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
            raise OSError(socket.EAI_NONAME, "Name or service not known")

    sleeps = Sleeps()
    async with downloader(resolver=Nameless(), sleep=sleeps) as d:
        with pytest.raises(DownloadError, match="name could not be resolved"):
            await d.fetch("https://cdn.example/v.mp4", tmp_path / "v.mp4", patience=PATIENT)
    assert sum(sleeps) == pytest.approx(300, abs=1)


@pytest.mark.parametrize(
    ("answer", "tries"),
    [(reply(404), 1), (reply(403), 1), (reply(418), 1), (reply(204), 3), (reply(200, b"<html></html>" * 9), 3)],
    ids=["404", "403", "418", "204", "page"],
)
async def test_patience_is_for_servers_that_fail(tmp_path: Path, answer: Handler, tries: int) -> None:
    """An answer that is no outage ends the download as soon as ever."""
    async with Server(answer) as server, downloader(server) as d:
        with pytest.raises(DownloadError) as caught:
            await d.fetch(server.url, tmp_path / "v.mp4", patience=PATIENT)
    assert len(server.requests) == tries
    assert not caught.value.temporary


async def test_one_attempt_is_one_attempt(tmp_path: Path) -> None:
    """Who wants no repeats gets none; who wants many gets them all."""
    for attempts in (1, 30):
        async with Server(reply(503)) as server, downloader(server, retry=RetryPolicy(attempts=attempts)) as d:
            with pytest.raises(DownloadError):
                await d.fetch(server.url, tmp_path / "v.mp4", patience=PATIENT)
        assert len(server.requests) == attempts


async def test_garbage_is_an_ordinary_failure(tmp_path: Path) -> None:
    """An answer that is not HTTP ends as ours, without aiohttp's in its chain."""

    async def garbage(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\0\0garbage\r\n\r\n")

    async with Server(garbage) as server, downloader(server) as d:
        with pytest.raises(DownloadError, match="is not HTTP") as caught:
            await d.fetch(server.url, tmp_path / "v.mp4")
    assert_clean(caught.value)


async def test_unexpected_exceptions_become_ours(tmp_path: Path) -> None:
    """A resolver that raises something odd does not let it out."""

    class Odd(Names):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
            raise ZeroDivisionError("CANARY")

    async with downloader(resolver=Odd()) as d:
        with pytest.raises(DownloadError, match="ZeroDivisionError") as caught:
            await d.fetch("https://cdn.example/v.mp4?sig=CANARY", tmp_path / "v.mp4")
    assert_clean(caught.value)


# --- proxies


async def test_proxy_is_asked_for_the_whole_url(tmp_path: Path) -> None:
    """Through a proxy only scheme and literals can be judged; the name is the proxy's to resolve."""
    async with Server(video()) as proxy:
        d = Downloader(allowed=origins("http://cdn.example"), proxy=proxy.base, sleep=Sleeps())
        assert (await d.fetch("http://cdn.example/v.mp4", tmp_path / "v.mp4")).read_bytes() == BODY
        await d.aclose()
    assert proxy.requests[0].target == "http://cdn.example/v.mp4"


async def test_proxy_that_refuses(tmp_path: Path) -> None:
    """A proxy that refuses the tunnel is an ordinary failure and no outage, its password in no message."""
    async with Server(reply(407)) as proxy:
        with_password = proxy.base.replace("http://", "http://me:CANARY@")
        d = Downloader(proxy=with_password, sleep=Sleeps())
        with pytest.raises(DownloadError, match="proxy refused") as caught:
            await d.fetch("https://cdn.example/v.mp4?sig=CANARY", tmp_path / "v.mp4", patience=PATIENT)
        await d.aclose()
    assert not caught.value.temporary
    assert "CANARY" not in str(caught.value)
    assert {request.method for request in proxy.requests} == {"CONNECT"}


# --- progress, concurrency, closing


async def test_progress(tmp_path: Path) -> None:
    """Progress counts what arrived of the whole, never runs back over a resume, and ends at the whole."""
    seen: list[tuple[int, int | None]] = []
    async with Server(video(stop=100_000), video()) as server, downloader(server) as d:
        await d.fetch(server.url, tmp_path / "v.mp4", on_progress=lambda done, total: seen.append((done, total)))
    assert {total for _, total in seen} == {len(BODY)}
    assert seen[-1] == (len(BODY), len(BODY))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


@pytest.mark.parametrize("kind", [RuntimeError, asyncio.CancelledError])
async def test_progress_that_raises(
    kind: type[BaseException], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller's function that raises is logged once and loses no video."""

    def bad(done: int, total: int | None) -> None:
        raise kind("oops")

    async with Server(video()) as server, downloader(server) as d:
        assert (await d.fetch(server.url, tmp_path / "v.mp4", on_progress=bad)).read_bytes() == BODY
    assert len(caplog.records) == 1


async def test_two_fetches_to_one_target(tmp_path: Path) -> None:
    """The second gets a clear error, the first its video."""
    target = tmp_path / "v.mp4"
    started, go = asyncio.Event(), asyncio.Event()

    async def waits(request: Request, writer: asyncio.StreamWriter) -> None:
        started.set()
        await go.wait()
        await video()(request, writer)

    async with Server(waits) as server, downloader(server) as d, downloader(server) as other:
        first = asyncio.ensure_future(d.fetch(server.url, target))
        await started.wait()
        for one in (d, other):
            with pytest.raises(DownloadError, match="being downloaded already") as caught:
                await one.fetch(server.url, tmp_path / "." / "v.mp4")
            assert (caught.value.temporary, caught.value.still) == (True, "storing")
            assert caught.value.explain().startswith("another download is storing this file just now: wait for that")
            assert caught.value.explain("zh").startswith("该文件正由另一个下载写入")
        go.set()
        assert (await first).read_bytes() == BODY
    assert len(server.requests) == 1


async def test_many_targets_at_once(tmp_path: Path) -> None:
    """Different targets do not disturb each other."""
    async with Server(video()) as server, downloader(server) as d:
        paths = await asyncio.gather(*(d.fetch(server.url, tmp_path / f"{n}.mp4") for n in range(20)))
    assert all(path.read_bytes() == BODY for path in paths)


async def test_closed_downloader(tmp_path: Path) -> None:
    """After closing, also while a download runs, the answer is a clear error, and `.part` is left."""
    started = asyncio.Event()

    async def half(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(head(200, {"Content-Length": len(BODY), **ETAG}) + BODY[:1000])
        await writer.drain()
        started.set()
        await asyncio.sleep(5)

    async with Server(half) as server, downloader(server) as d:
        running = asyncio.ensure_future(d.fetch(server.url, tmp_path / "v.mp4"))
        await started.wait()
        await asyncio.sleep(0.05)
        await d.aclose()
        with pytest.raises(DownloadError, match="closed") as caught:
            await running
        assert_clean(caught.value)
        assert "v.mp4.part" in left(tmp_path)
        with pytest.raises(DownloadError, match="closed"):
            await d.fetch(server.url, tmp_path / "w.mp4")
        assert repr(d) == "<Downloader closed>"


async def test_closed_while_waiting_for_the_head(tmp_path: Path) -> None:
    """Closing ends a request that has no answer yet."""
    started = asyncio.Event()

    async def silent(request: Request, writer: asyncio.StreamWriter) -> None:
        started.set()
        await asyncio.sleep(5)

    async with Server(silent) as server, downloader(server) as d:
        running = asyncio.ensure_future(d.fetch(server.url, tmp_path / "v.mp4"))
        await started.wait()
        await d.aclose()
        with pytest.raises(DownloadError, match="closed"):
            await asyncio.wait_for(running, 2)


async def test_unusable_proxy_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy given is judged when the downloader is made, the environment's when it is used; no password shows."""
    with pytest.raises(InvalidRequestError, match="socks5"):
        Downloader(proxy="socks5://me:CANARY@127.0.0.1:1")
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTPS_PROXY", "socks5://me:CANARY@127.0.0.1:1")
    async with downloader(proxy="env") as d:
        with pytest.raises(InvalidRequestError, match="socks5") as caught:
            await d.fetch("https://cdn.example/v.mp4?sig=CANARY", tmp_path / "v.mp4")
    assert_clean(caught.value)


async def test_closed_while_connecting(tmp_path: Path) -> None:
    """Closing while a request is on its way is told as such."""

    class Slow(Names):
        async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
            await d.aclose()
            raise OSError("gone")

    async with downloader(resolver=Slow()) as d:
        with pytest.raises(DownloadError, match="closed"):
            await d.fetch("https://cdn.example/v.mp4", tmp_path / "v.mp4")


def test_constructing_needs_no_loop() -> None:
    """A downloader can be made anywhere; its repr tells its state."""
    assert repr(Downloader()) == "<Downloader ready>"


# --- cancellation


@contextlib.contextmanager
def steps(task: "asyncio.Task[Any]", count: int) -> Iterator[None]:
    """Cancel a task after so many turns of the loop."""
    loop = asyncio.get_running_loop()

    def turn(left: int) -> None:
        if left and not task.done():
            loop.call_soon(turn, left - 1)
        else:
            task.cancel()

    turn(count)
    yield


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts descriptors in /proc")
@pytest.mark.parametrize("way", ["native", "anyio"])
async def test_cancelled_at_every_step(tmp_path: Path, way: str) -> None:
    """Cancelled at any step, natively or by a scope: no descriptor stays open, and `.part` can be resumed."""
    big = BODY + os.urandom(2 * 1024 * 1024)
    async with Server(video(body=big)) as server, downloader(server) as d:
        ended, count = False, 0
        while not ended:
            count += 1 + count // 8
            target = tmp_path / f"{count}.mp4"
            task = asyncio.ensure_future(_fetch_in_scope(d, server, target, count if way == "anyio" else None))
            with steps(task, count) if way == "native" else contextlib.nullcontext():
                try:
                    ended = await task
                except asyncio.CancelledError:
                    ended = False
            assert open_files(tmp_path) == []
            if target.exists():
                assert target.read_bytes() == big
            else:
                assert (await d.fetch(server.url, target)).read_bytes() == big
    gc.collect()
    assert count > 20
    assert not [name for name in left(tmp_path) if ".part" in name]


async def _fetch_in_scope(d: Downloader, server: Server, target: Path, count: int | None) -> bool:
    with anyio.CancelScope() as scope:
        loop = asyncio.get_running_loop()

        def turn(left: int) -> None:
            if left:
                loop.call_soon(turn, left - 1)
            else:
                scope.cancel()

        if count is not None:
            turn(count)
        await d.fetch(server.url, target)
        return True
    return False


async def test_cancelled_during_a_write_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A descriptor is never closed under a thread that writes to it, however often the task is cancelled."""
    events: list[str] = []
    writing = asyncio.Event()
    loop = asyncio.get_running_loop()
    real = PartFile._put

    def slow(self: PartFile, data: memoryview) -> int:
        loop.call_soon_threadsafe(writing.set)
        events.append("write")
        threading_sleep(0.05)
        written = real(self, data)
        events.append("written")
        return written

    real_close = PartFile.close

    def close(self: PartFile) -> None:
        events.append("close")
        real_close(self)

    monkeypatch.setattr(PartFile, "_put", slow)
    monkeypatch.setattr(PartFile, "close", close)
    async with Server(video()) as server, downloader(server) as d:
        task = asyncio.ensure_future(d.fetch(server.url, tmp_path / "v.mp4"))
        await writing.wait()
        for _ in range(3):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
    assert events == ["write", "written", "close"]
    assert open_files(tmp_path) == []


def threading_sleep(seconds: float) -> None:
    """Hold a worker thread, not the loop."""
    import time

    time.sleep(seconds)


def test_setback_is_plain_data() -> None:
    """What an attempt came to can be looked at."""
    assert Setback(DownloadError("x")).again
