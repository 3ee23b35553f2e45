"""Uploads: one part named file, of known types, within the limit."""

import io

import aiohttp
import pytest

UPLOADS = {"jimmy": "/api/open-api/v1/files/upload", "toapis": "/v1/uploads/images"}


def form(content=b"\x89PNG", *, filename="a.png", name="file"):
    data = aiohttp.FormData()
    data.add_field(name, content, filename=filename)
    return data


async def send(client, gateway, data, **options):
    async with client.session.post(UPLOADS[gateway], data=data, **options) as response:
        return response.status, await response.json()


async def test_jimmy_upload(talk):
    """data holds url, filename, size and mime_type, and the URL works."""
    async with talk() as client:
        status, answer = await send(client, "jimmy", form(b"movie", filename="Clip.MOV"))
        assert (status, answer["code"]) == (200, "20000")
        data = answer["data"]
        assert (data["filename"], data["size"], data["mime_type"]) == ("Clip.MOV", 5, "video/quicktime")
        assert (await client.fetch(data["url"]))[:2] == (200, b"movie")


async def test_toapis_upload(talk):
    """success, and data with id, url, mime_type and size."""
    async with talk() as client:
        status, answer = await send(client, "toapis", form())
        assert (status, answer["success"]) == (200, True)
        assert set(answer["data"]) == {"id", "url", "mime_type", "size"}
        assert (await client.fetch(answer["data"]["url"]))[:2] == (200, b"\x89PNG")


async def test_unknown_types(talk):
    """jimmy refuses in a 200 with code 20002, toapis with success false; toapis takes images only."""
    async with talk() as client:
        status, answer = await send(client, "jimmy", form(filename="a.exe"))
        assert (status, answer["code"]) == (200, "20002")
        for name in ("a.exe", "a.mp4", "noending"):
            status, answer = await send(client, "toapis", form(filename=name))
            assert (status, answer["success"]) == (200, False)


@pytest.mark.parametrize("gateway", ["jimmy", "toapis"])
async def test_size_limit(talk, gateway):
    """Beyond the limit: 413."""
    async with talk(upload_bytes=100_000) as client:
        assert (await send(client, gateway, form(b"x" * 100_000)))[0] == 200
        assert (await send(client, gateway, form(b"x" * 100_001)))[0] == 413


async def test_toapis_refuses_more_than_ten_megabytes(talk):
    """The documented limit holds unless replaced."""
    async with talk() as client:
        assert (await send(client, "toapis", form(io.BytesIO(b"x" * (10 * 1024 * 1024 + 1)))))[0] == 413


BROKEN = b'--b\r\nContent-Disposition: form-data; name="file"\r\nbad header\x00\r\n\r\n'


@pytest.mark.parametrize("gateway", ["jimmy", "toapis"])
async def test_broken_forms(talk, gateway):
    """No form, another part, a second part, a torn form: 400."""
    two = form()
    two.add_field("more", b"1", filename="b.png")
    kind = {"Content-Type": "multipart/form-data; boundary=b"}
    async with talk() as client:
        for data in (b"bytes", form(name="picture"), two):
            assert (await send(client, gateway, data))[0] == 400
        for data in (BROKEN, b"", b"--b--\r\n"):
            assert (await send(client, gateway, data, headers=kind))[0] == 400


async def test_nested_parts_are_no_file(talk):
    """A multipart inside the form is refused."""
    inner = b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n"
    async with talk() as client:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        assert (await send(client, "jimmy", inner, headers=headers))[0] == 400


async def test_the_oldest_uploads_are_dropped(talk, monkeypatch):
    """The shelf keeps the newest within its size; a dropped one is a 404."""
    monkeypatch.setattr("omni_async.emulator.uploads.KEPT_BYTES", 10)
    async with talk() as client:
        first = (await send(client, "toapis", form(b"123456")))[1]["data"]["url"]
        second = (await send(client, "toapis", form(b"1234567")))[1]["data"]["url"]
        assert (await client.fetch(first))[0] == 404
        assert (await client.fetch(second))[0] == 200
