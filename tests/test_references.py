"""Local files as references: checked before anything is paid, uploaded once each."""

import asyncio
import contextlib
import io

import anyio
import pytest

from omni_async import GatewayError, GeminiOmni, InvalidRequestError, Jimmy, OmniClient, OmniError, VideoRequest
from omni_async.emulator import Emulator
from omni_async.emulator.scenario import InjectedFault
from omni_async.fields import local_references
from omni_async.references import FRESH, check_references
from tests.pairs import outcomes
from tests.warp import WarpLoop

LOOP = WarpLoop


@pytest.fixture
def picture(tmp_path):
    """An image file."""
    path = tmp_path / "cat.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 1000)
    return path


@contextlib.asynccontextmanager
async def pair(gateway="jimmy", **scenario):
    """An emulator and a client of it."""
    async with (
        Emulator(**{"task_seconds": 5, "task_sigma": 0.0, **scenario}) as emulator,
        OmniClient(gateway, api_key="key", base_url=emulator.url) as client,
    ):
        yield emulator, client


URL = "https://cdn.example/dog.png"


def asked(*images, **fields):
    """A request with these reference images."""
    return VideoRequest(prompt="a cat", image_urls=images, **fields)


def test_what_is_local():
    """Paths are found in every field that takes references; URLs and odd things are not paths."""
    request = VideoRequest(prompt="x", image_urls=("a.png", URL, " "), images=("b.png",), video_urls=("c.mp4",))
    assert list(local_references(request)) == [
        ("image_urls[0]", "a.png"),
        ("images[0]", "b.png"),
        ("video_urls[0]", "c.mp4"),
    ]


def test_all_bad_paths_are_told(tmp_path, picture):
    """Each bad path is a fault of its own, with its field."""
    empty = tmp_path / "empty.png"
    empty.touch()
    faults = check_references(asked(str(tmp_path / "gone.png"), str(picture), str(empty)), Jimmy())
    assert [fault.field for fault in faults] == ["image_urls[0]", "image_urls[2]"]
    assert check_references(asked(str(picture)), Jimmy()) == []


@pytest.mark.parametrize("call", ["submit", "generate"])
async def test_bad_paths_are_refused_before_any_io(tmp_path, picture, call):
    """Nothing is uploaded or paid, not even for the good ones beside them."""
    async with pair() as (emulator, client):
        with pytest.raises(InvalidRequestError) as caught:
            await getattr(client, call)(asked(str(picture), str(tmp_path / "gone.png"), custom_id="row-1"))
        assert emulator.ledger.requests.total() == 0
        assert caught.value.custom_id == "row-1"


@pytest.mark.parametrize("gateway", ["jimmy", "toapis"])
async def test_a_local_path_is_uploaded_first(gateway, picture):
    """The create carries the public URL the upload gave, beside the URLs that were given."""
    async with pair(gateway) as (emulator, client):
        await client.submit(asked(str(picture)))
        assert emulator.ledger.requests["upload"] == 1
        create = emulator.ledger.last_requests[-1].json
        assert "/files/uploads/" in str(create)
        assert str(picture) not in str(create)


async def test_the_same_content_is_uploaded_once(tmp_path, picture):
    """Twice in a request, in many requests at once, under another name: one upload."""
    copy = tmp_path / "same.png"
    copy.write_bytes(picture.read_bytes())
    async with pair(latency=0.2) as (emulator, client):
        await asyncio.gather(*(client.submit(asked(str(path))) for path in (picture, picture, copy) * 5))
        assert emulator.ledger.requests["upload"] == 1
        await anyio.sleep(FRESH + 1)
        await client.submit(asked(str(picture)))
        assert emulator.ledger.requests["upload"] == 2  # nobody says how long a gateway keeps it


async def test_a_failed_upload_is_tried_again_by_the_next(picture):
    """An upload that failed spoils nothing for later."""
    async with pair(faults=(InjectedFault("html_502", on="upload", first=3),)) as (emulator, client):
        with pytest.raises(OmniError):
            await client.submit(asked(str(picture)))
        assert emulator.ledger.charges == []
        assert (await client.submit(asked(str(picture)))).task_id


async def test_who_shares_a_failed_upload_is_told_with_his_own_id(picture):
    """One upload, one failure, and an error for each request with what is its own."""
    async with pair(latency=0.2, faults=(InjectedFault("html_502", on="upload", first=3),)) as (emulator, client):
        rows = [asked(str(picture), custom_id=f"row-{n}", metadata={"n": n}) for n in range(3)]
        errors = await asyncio.gather(*map(client.submit, rows), return_exceptions=True)
        assert [(error.custom_id, error.metadata) for error in errors] == [(f"row-{n}", {"n": n}) for n in range(3)]
        assert {(type(error), error.gateway, error.may_have_charged) for error in errors} == {
            (GatewayError, "jimmy", False)
        }
        assert (emulator.ledger.requests["upload"], emulator.ledger.charges) == (3, [])


async def test_old_uploads_are_forgotten(tmp_path):
    """Of ever new files only those are kept in mind whose URLs would be used again, and nobody's context."""
    async with pair() as (emulator, client):
        for number in range(6):
            (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes([number]))
            await client.submit(asked(str(tmp_path / f"{number}.png")))
            await anyio.sleep(FRESH / 2)
        assert emulator.ledger.requests["upload"] == 6
        assert len(client.studio.references._known) <= 3


async def test_cancelling_one_leaves_the_upload_to_the_others(picture):
    """Of two who wait for one upload, one may leave."""
    async with pair(latency=2.0) as (emulator, client):
        first, second = (asyncio.ensure_future(client.submit(asked(str(picture)))) for _ in range(2))
        await anyio.sleep(1)
        first.cancel()
        assert (await second).task_id
        assert emulator.ledger.requests["upload"] == 1
        assert len(emulator.ledger.charges) == 1


async def test_closing_ends_uploads_with_a_clear_error(picture):
    """Who waits for an upload when the client is closed is told so: not cancelled, nothing paid."""
    async with pair(latency=30.0) as (emulator, client):
        waiting = asyncio.ensure_future(client.submit(asked(str(picture))))
        rows = asyncio.ensure_future(outcomes(client.generate_many([asked(str(picture))])))
        await anyio.sleep(5)
        await client.aclose()
        with pytest.raises(OmniError, match="closed") as caught:
            await waiting
        assert not caught.value.may_have_charged
        (row,) = await rows
        assert "closed" in str(row.error)
        assert emulator.ledger.charges == []


async def test_a_caller_who_is_cancelled_while_the_client_closes_is_cancelled(picture):
    """An upload that ends in the same moment makes no error of it."""
    async with pair(latency=30.0) as (_, client):
        waiting = asyncio.ensure_future(client.submit(asked(str(picture))))
        await anyio.sleep(5)
        closing = asyncio.ensure_future(client.studio.references.aclose())
        waiting.cancel()
        await closing
        await asyncio.wait([waiting])
        assert waiting.cancelled()


@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
async def test_upload_gives_a_public_url(gateway, picture):
    """A URL to use in a request, progress told; where a gateway takes none, that is said."""
    told = []
    async with pair(gateway) as (_, client):
        if GeminiOmni().uploads is None and gateway == "gemini_omni":
            with pytest.raises(InvalidRequestError, match="uploads"):
                await client.upload(picture)
            return
        url = await client.upload(str(picture), on_progress=lambda done, size: told.append((done, size)))
        assert url.startswith("http")
        assert told[-1] == (picture.stat().st_size,) * 2


async def test_a_bad_upload_sends_nothing(tmp_path):
    """A file that is not there is refused before any I/O."""
    async with pair() as (emulator, client):
        with pytest.raises(InvalidRequestError):
            await client.upload(tmp_path / "gone.png")
        assert emulator.ledger.requests.total() == 0
        assert client.limiter._state._transfers == 0


@pytest.mark.parametrize("gateway", ["jimmy", "toapis"])
async def test_what_is_in_memory_is_uploaded_by_the_name_it_is_given(gateway, picture, tmp_path, monkeypatch):
    """As a file of that name is, also where it has to be sent twice; nothing is written to any disk for it."""
    told, content = [], picture.read_bytes()
    monkeypatch.chdir(tmp_path)
    async with pair(gateway, faults=(InjectedFault("html_502", on="upload", first=1),)) as (emulator, client):
        url = await client.upload(content, name="Foto.PNG", on_progress=lambda *at: told.append(at))
        assert (await client.generate("mist", image_urls=[url], generation_type="frame")).video_url
        assert emulator.ledger.requests["upload"] == 2
    assert told[-1] == (len(content), len(content))
    assert list(tmp_path.iterdir()) == [picture]


REFUSED = {
    "name: bytes need one, such as photo.png": (b"x", {}),
    "name: bytes need one": (b"x", {"name": ""}),
    "name: photo has an ending this gateway does not take; allowed: ": (b"x", {"name": "photo"}),
    "name: photo.exe has an ending this gateway does not take": (b"x", {"name": "photo.exe"}),
    "name: photo.png is empty": (b"", {"name": "photo.png"}),
    r"name: photo.png has \d+ bytes; at most \d+ are taken": (bytes(10_485_761), {"name": "photo.png"}),
    "name: is for bytes; a file goes by its own": ("photo.png", {"name": "photo.jpg"}),
    "path: a BytesIO is not a path": (io.BytesIO(b"x"), {"name": "photo.png"}),
}


@pytest.mark.parametrize(("told", "given", "named"), [(told, *given) for told, given in REFUSED.items()], ids=REFUSED)
async def test_what_is_in_memory_is_checked_as_a_file_is(told, given, named):
    """Before anything is sent; without a name nobody knows what it is."""
    async with pair("toapis") as (emulator, client):
        with pytest.raises(InvalidRequestError, match=told) as caught:
            await client.upload(given, **named)
        assert not caught.value.may_have_charged
        assert emulator.ledger.requests.total() == 0
