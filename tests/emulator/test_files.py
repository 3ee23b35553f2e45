"""The videos: real, of the asked shape, behind signed URLs, in ranges."""

import struct

import pytest

from omni_async.emulator.files import RATIOS, SECONDS, video

from .conftest import Client


def boxes(data):
    """The MP4's top-level boxes: name and size, which must cover the file exactly."""
    at, found = 0, []
    while at < len(data):
        size, name = struct.unpack(">I4s", data[at : at + 8])
        found.append((name.decode(), size))
        at += size
    assert at == len(data)
    return found


def shape(data):
    """Width, height and seconds as the MP4's headers tell."""
    track = data.index(b"tkhd")
    size = struct.unpack(">I", data[track - 4 : track])[0]
    width, height = struct.unpack(">II", data[track - 4 + size - 8 : track - 4 + size])
    movie = data.index(b"mvhd")
    scale, duration = struct.unpack(">II", data[movie + 16 : movie + 24])
    return width >> 16, height >> 16, duration / scale


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("seconds", SECONDS)
def test_each_video_is_what_its_name_says(ratio, seconds):
    """H.264 in an MP4 with its index first, of this aspect ratio and length, and small."""
    data = video(ratio, seconds, None)
    assert [name for name, _ in boxes(data)][:2] == ["ftyp", "moov"]
    assert b"avc1" in data
    width, height, length = shape(data)
    across, down = map(int, ratio.split(":"))
    assert width / height == pytest.approx(across / down, rel=0.01)
    assert length == pytest.approx(seconds, abs=0.1)
    assert len(data) < 30_000


@pytest.mark.parametrize(
    ("asked", "served"), [("2:1", "16:9"), ("1000:1", "21:9"), ("2:3", "3:4"), ("5:4", "4:3"), ("10:16", "9:16")]
)
def test_the_nearest_shape_is_served(asked, served):
    """A ratio there is no video of gets the nearest one."""
    assert video(asked, 6, None) == video(served, 6, None)


def test_the_nearest_length_is_served():
    """The guide's odd lengths get the nearest one, the longer of two."""
    assert video("16:9", 7, None) == video("16:9", 8, None)
    assert video("16:9", 1, None) == video("16:9", 4, None)


def test_padding_keeps_it_an_mp4():
    """A `free` box fills up to the size asked for; a size too small to pad changes nothing."""
    plain = video("1:1", 4, None)
    padded = video("1:1", 4, 300_000)
    assert len(padded) == 300_000
    assert boxes(padded)[-1][0] == "free"
    assert padded.startswith(plain)
    assert video("1:1", 4, len(plain) + 7) == plain


async def ready(client: Client) -> str:
    return await client.url(await client.create())


async def test_the_asked_shape_comes_down(talk):
    """aspect_ratio wins over orientation; a portrait is one."""
    async with talk() as client:
        for fields, size in (
            ({"orientation": "portrait"}, (180, 320)),
            ({"aspect_ratio": "1:1", "orientation": "portrait"}, (240, 240)),
            ({}, (320, 180)),
        ):
            status, data, headers = await client.fetch(await client.url(await client.create(**fields)))
            assert (status, headers["Content-Type"]) == (200, "video/mp4")
            assert shape(data)[:2] == size


@pytest.mark.parametrize(
    ("asked", "status", "start", "stop"),
    [
        ("bytes=0-9", 206, 0, 10),
        ("bytes=100-", 206, 100, None),
        ("bytes=-50", 206, -50, None),
        ("bytes=10-99999999", 206, 10, None),
        ("bytes=-99999999", 206, 0, None),
        ("bytes=0-1,5-6", 200, 0, None),
        ("bytes=9-3", 200, 0, None),
        ("bytes=-", 200, 0, None),
        ("lines=1-2", 200, 0, None),
    ],
)
async def test_ranges(talk, asked, status, start, stop):
    """A single range is a 206 with the right Content-Range; what cannot be read is ignored."""
    async with talk() as client:
        url = await ready(client)
        whole = (await client.fetch(url))[1]
        got, data, headers = await client.fetch(url, Range=asked)
        assert got == status
        assert data == whole[start:stop]
        if status == 206:
            first = start % len(whole)
            assert headers["Content-Range"] == f"bytes {first}-{first + len(data) - 1}/{len(whole)}"


@pytest.mark.parametrize("asked", ["bytes=99999999-", "bytes=-0"])
async def test_ranges_beyond_the_end(talk, asked):
    """416 with the size."""
    async with talk() as client:
        url = await ready(client)
        size = len((await client.fetch(url))[1])
        status, data, headers = await client.fetch(url, Range=asked)
        assert (status, data, headers["Content-Range"]) == (416, b"", f"bytes */{size}")


async def test_if_range(talk):
    """The range only while the entity is the same; else all of it."""
    async with talk() as client:
        url = await ready(client)
        tag = (await client.fetch(url))[2]["ETag"]
        assert (await client.fetch(url, Range="bytes=1-2", **{"If-Range": tag}))[0] == 206
        assert (await client.fetch(url, Range="bytes=1-2", **{"If-Range": '"other"'}))[0] == 200


@pytest.mark.parametrize("size", [None, 500_000])
async def test_head(talk, size):
    """HEAD tells length and tag without the body, streamed or not."""
    async with talk(video_bytes=size) as client:
        url = await ready(client)
        whole = (await client.fetch(url))[1]
        async with client.session.head(url) as response:
            assert response.status == 200
            assert int(response.headers["Content-Length"]) == len(whole) >= (size or 0)
            assert await response.read() == b""


async def test_a_changed_url_is_refused(talk):
    """Signature and expiry are signed; an unknown task has no file."""
    async with talk() as client:
        url = await ready(client)
        for changed in (url + "0", url.replace("expires=", "expires=1"), url.partition("?")[0]):
            assert (await client.fetch(changed))[0] == 403
        assert (await client.fetch("/files/nope.mp4"))[0] == 404


async def test_a_url_dies_and_a_query_renews_it(talk):
    """Past its time a URL is a 403 like a storage's; a fresh query signs another."""
    async with talk(url_seconds=150) as client:
        task_id = await client.create()
        url = await client.url(task_id)
        assert await client.url(task_id) == url
        client.emulator.skip(200)
        status, data, _ = await client.fetch(url)
        assert status == 403
        assert b"expired" in data
        fresh = await client.url(task_id)
        assert fresh != url
        assert (await client.fetch(fresh))[0] == 200


async def test_a_url_can_be_gone_for_good(talk):
    """Without `renew_urls` the video dies with its URL."""
    async with talk(url_seconds=100, renew_urls=False) as client:
        task_id = await client.create()
        url = await client.url(task_id)
        client.emulator.skip(120)
        assert await client.url(task_id) == url
        assert (await client.fetch(url))[0] == 403
