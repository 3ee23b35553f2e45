"""Files on their way up."""

import asyncio
import errno
import hashlib
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from omni_async.dialects import UploadRules
from omni_async.errors import InvalidRequestError
from omni_async.fields import is_local
from omni_async.uploads import _sent_name, check_upload, content_hash, upload_form

RULES = UploadRules(path="/upload", part="file", endings=frozenset({"jpg", "png"}), max_bytes=1_000_000)


@pytest.mark.parametrize(
    "reference",
    [
        "cat.jpg",
        "/srv/cat.jpg",
        "../cat.jpg",
        "C:\\cat.jpg",
        "C:/cat.jpg",
        "猫.png",
        "a b.png",
        "datasheet.png",
        "data.png",
    ],
)
def test_local_references(reference: str) -> None:
    """Anything that is not a URL is a path, drive letters and odd names included."""
    assert is_local(reference)


@pytest.mark.parametrize(
    "reference",
    [
        "https://x/cat.jpg",
        "HTTP://x/cat.jpg",
        "data:image/png;base64,AAAA",
        "DATA:,",
        "s3://bucket/x",
        "gs://b/x",
        "",
        "iVBOR" * 2000,
        "aGVs\nbG8=",
    ],
)
def test_references_that_are_not_local(reference: str) -> None:
    """URLs of any scheme, data, bare base64 and nothing at all are left as they are."""
    assert not is_local(reference)


def test_good_upload(tmp_path: Path) -> None:
    """A file of an allowed kind and size has no fault, whatever the case of its ending."""
    path = tmp_path / "cat.JPG"
    path.write_bytes(b"x" * RULES.max_bytes)
    assert check_upload(path, RULES) is None


def test_bad_uploads(tmp_path: Path) -> None:
    """Each fault is told before anything is sent, with what would do."""
    for name, size in (("cat.exe", 1), ("cat", 1), ("big.png", RULES.max_bytes + 1), ("empty.png", 0)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "folder.png").mkdir()

    def told(name: str, rules: UploadRules | None = RULES) -> str:
        return str(check_upload(tmp_path / name, rules, field="image_urls"))

    assert "allowed: jpg, png" in told("cat.exe")
    assert "allowed: jpg, png" in told("cat")
    assert "1000001 bytes; at most 1000000" in told("big.png")
    assert "is empty" in told("empty.png")
    assert "is not a file" in told("folder.png")
    assert "No such file" in told("none.png")
    assert "null" in told("a\0b.png")
    assert "takes no uploads" in told("cat.exe", None)
    assert told("cat.exe").startswith("image_urls: ")


def test_a_file_without_permission_is_a_bad_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as such, and not as an answer that was lost."""
    path = tmp_path / "cat.png"
    path.write_bytes(b"x")

    def denied(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "open", denied)  # root may read whatever its mode is
    assert "cannot be read (Permission denied)" in str(check_upload(path, RULES))


async def test_content_hash(tmp_path: Path) -> None:
    """The same content has the same hash, whatever it is called; what cannot be read is named."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"x" * 3_000_000)
    assert await content_hash(path) == hashlib.sha256(b"x" * 3_000_000).hexdigest()
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        await content_hash(tmp_path / "none.jpg")


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("cat.JPG", "cat.jpg"),
        ("猫.png", "file.png"),
        ('a"b\r\nc.png', "a_b_c.png"),
        ("noending", "noending"),
        ("猫", "file"),
        ("x" * 300 + ".png", "x" * 100 + ".png"),
    ],
)
def test_sent_names(name: str, sent: str) -> None:
    """The name on the wire is plain ASCII that needs no quoting."""
    assert _sent_name(Path(name)) == sent


async def received(form: aiohttp.MultipartWriter) -> dict[str, Any]:
    """What a server sees of a form."""
    seen: dict[str, Any] = {}

    async def take(request: web.Request) -> web.Response:
        seen["length"] = request.headers.get("Content-Length")
        part = await (await request.multipart()).next()
        assert isinstance(part, aiohttp.BodyPartReader)
        seen.update(name=part.name, filename=part.filename, type=part.headers["Content-Type"], body=await part.read())
        return web.Response()

    app = web.Application(client_max_size=10**8)
    app.router.add_post("/", take)
    async with (
        TestServer(app) as server,
        aiohttp.ClientSession() as session,
        session.post(server.make_url("/"), data=form) as response,
    ):
        assert response.status == 200
    return seen


async def test_upload_form(tmp_path: Path) -> None:
    """The file arrives whole under the part's name, with its type and a length, and progress is told."""
    path = tmp_path / "猫.webp"
    path.write_bytes(bytes(range(256)) * 4000)
    progress: list[tuple[int, int | None]] = []
    form = upload_form(path, "file", on_progress=lambda *at: progress.append(at))
    seen = await received(form)
    assert (seen["name"], seen["filename"], seen["type"]) == ("file", "file.webp", "image/webp")
    assert seen["body"] == path.read_bytes()
    assert int(seen["length"]) > path.stat().st_size
    assert progress[-1] == (1_024_000, 1_024_000)
    assert len(progress) > 1


async def test_upload_form_without_progress_or_known_ending(tmp_path: Path) -> None:
    """An ending nobody knows goes as bytes; a form is made anew for each attempt and sends the same."""
    path = tmp_path / "x.bin"
    path.write_bytes(b"abc")
    for _ in range(2):
        seen = await received(upload_form(path, "file"))
        assert (seen["type"], seen["body"]) == ("application/octet-stream", b"abc")


async def test_upload_form_of_what_is_in_memory() -> None:
    """It is sent as a file of its name would be, as often as need be, and no disk is asked for it."""
    content = bytes(range(256)) * 4000
    progress: list[tuple[int, int | None]] = []
    form = upload_form(Path("none/猫.webp"), "file", content=content, on_progress=lambda *at: progress.append(at))
    for _ in range(2):
        seen = await received(form)
        assert (seen["name"], seen["filename"], seen["type"]) == ("file", "file.webp", "image/webp")
        assert (seen["body"], progress[-1]) == (content, (1_024_000, 1_024_000))


@pytest.mark.parametrize("kind", [RuntimeError, asyncio.CancelledError])
async def test_progress_that_raises(
    kind: type[BaseException], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A caller's function that raises is logged once and breaks no upload."""

    def bad(done: int, total: int | None) -> None:
        raise kind("oops")

    path = tmp_path / "x.png"
    path.write_bytes(bytes(1_000_000))
    assert len((await received(upload_form(path, "file", on_progress=bad)))["body"]) == 1_000_000
    assert len(caplog.records) == 1


async def test_file_that_shrinks(tmp_path: Path) -> None:
    """A file that gets shorter while it is sent breaks the request instead of hanging it."""
    path = tmp_path / "x.png"
    path.write_bytes(b"x" * 1000)
    form = upload_form(path, "file")
    path.write_bytes(b"x" * 10)
    with pytest.raises((aiohttp.ClientError, OSError)):
        await asyncio.wait_for(received(form), 90)


def test_form_of_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that went away after the check is an error before anything is sent."""
    with pytest.raises(InvalidRequestError, match="cannot be read"):
        upload_form(tmp_path / "none.png", "file")


def test_form_shows_no_body(tmp_path: Path) -> None:
    """The file is never read into a text."""
    path = tmp_path / "x.png"
    path.write_bytes(b"x")
    with pytest.raises(TypeError):
        upload_form(path, "file").decode()
