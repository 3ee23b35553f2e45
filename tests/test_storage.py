"""Videos to a folder, and to object storage: each is there whole, or not at all."""

import asyncio
import contextlib
import errno
import gc
import hashlib
import http.client
import logging
import os
import re
import socket
import subprocess
import sys
import time
import traceback
import tracemalloc
import urllib.parse
from importlib.util import find_spec
from pathlib import Path

import pytest

from omni_async.batch.storing import full
from omni_async.errors import DownloadError, IntegrityError, InvalidRequestError, TargetExistsError
from omni_async.models import TaskStatus, VideoTask
from omni_async.partfile import refuse_existing
from omni_async.storage import ObjectStorage, Stored, kept_name, objectstore, part_of, storage_of
from omni_async.storage.objectstore import PART, storage_reason
from tests.pairs import pair
from tests.warp import WarpLoop

KEY, SECRET = "CANARYKEYID", "CANARY/secret+key"
TASK = VideoTask(task_id="task/1", status=TaskStatus.SUCCEEDED, gateway="jimmy", custom_id="row-1")
VIDEO = b"\0\0\0\x10ftypisom" + bytes(4)
WHO = f"AWS4-HMAC-SHA256 Credential={KEY}/20260801/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
DIGEST = hashlib.sha256(VIDEO).hexdigest()
NAME = "EP01/雪の SC03.mp4"
FSSPEC = pytest.mark.skipif(find_spec("fsspec") is None, reason="object storage needs the extra [s3]")

LOOP = WarpLoop


class Shop:
    """A client that has one video, and counts how often it is fetched."""

    def __init__(self, video=VIDEO):
        self.video, self.fetched, self.studio = video, 0, self

    async def download(self, task, path, *, overwrite, on_whole=None, patience):
        """As the real one: a part first, and never over what is there. Whoever keeps many has others to go on with."""
        assert patience == 0.0
        self.fetched += 1
        refuse_existing(path, overwrite=overwrite)
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(self.video)
        if on_whole is not None:
            await on_whole(part)
        return part.rename(path)


def files(folder: Path):
    """Every file below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --- names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a.mp4", "EP01/SC03.mov", NAME, "a b/c.webm"])
def test_names_that_a_batch_plans_are_kept(name):
    """Letters of any script and subfolders."""
    assert kept_name(name) == name


def test_both_forms_of_a_letter_are_one_name():
    """Composed, as a batch does it."""
    assert kept_name("e\u0301.mp4") == "\u00e9.mp4"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/a.mp4",
        "../a.mp4",
        "a/../b.mp4",
        "a//b.mp4",
        "a\\b.mp4",
        "a",
        "a.txt",
        "CON.mp4",
        "a\n.mp4",
        "a?.mp4",
        "./a.mp4",
    ],
)
async def test_no_other_name_is_taken(name, storage):
    """Nothing leaves the place, and nothing is asked for."""
    shop = Shop()
    with pytest.raises(InvalidRequestError, match="is not a name for a video"):
        await storage.store(shop, TASK, name)
    with pytest.raises(InvalidRequestError):
        await storage.size(name)
    assert not shop.fetched


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://CANARY:secret@bucket/x", "carries a user name"),
        ("s3://bucket/x?X-Amz-Signature=CANARY", "is not a plain place"),
        ("simplecache::s3://bucket/x", "is not a plain place"),
        ("s3:///x", "names no bucket"),
        ("s3://bucket/a/../b", "has . or .. in it"),
        pytest.param("nothing-like-it://x", "cannot be used", marks=FSSPEC),
        ("file://elsewhere/x", "is not a folder on this machine"),
    ],
)
def test_urls_that_cannot_be_used(url, told, tmp_path):
    """Refused at once, and shown without what could be a secret."""
    with pytest.raises(InvalidRequestError, match=re.escape(told)) as caught:
        storage_of(url, scratch=tmp_path)
    assert "CANARY" not in str(caught.value)


def test_without_fsspec_the_extra_is_named(monkeypatch, tmp_path):
    """One line says what to install; a folder needs nothing."""
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'omni-async\[s3\]'"):
        storage_of("s3://bucket/x", scratch=tmp_path)
    storage_of(tmp_path, scratch=tmp_path)


# --- a folder, and what has names that can be changed ------------------------------------------------------------


@pytest.fixture(params=["folder", "file", "memory"])
def storage(request, tmp_path):
    """A place of each kind that needs no server."""
    if request.param == "memory":
        pytest.importorskip("fsspec", reason="object storage needs the extra [s3]")
    place = {"folder": tmp_path / "out", "file": (tmp_path / "out").as_uri(), "memory": f"memory://{tmp_path.name}/p"}
    return storage_of(place[request.param], scratch=tmp_path / "scratch")


async def test_a_video_is_kept(storage, tmp_path):
    """Told before it appears, with its size and hash, and nothing else stays."""
    told = []

    async def whole(stored):
        told.append((stored, await storage.size(NAME)))

    await storage.check()
    shop = Shop()
    stored = await storage.store(shop, TASK, NAME, on_whole=whole)
    assert (stored.size, stored.sha256) == (len(VIDEO), DIGEST)
    assert stored.place.endswith(NAME)
    assert told == [(stored, None)]
    assert await storage.size(NAME) == len(VIDEO)
    assert await storage.size("EP01/other.mp4") is None
    assert [name for name in files(tmp_path) if not name.startswith("out/EP01/雪の SC03.mp4")] == []


async def test_the_same_video_counts_as_stored(storage, tmp_path):
    """With its hash at once; without it, it is fetched to be compared."""
    shop = Shop()
    first = await storage.store(shop, TASK, NAME)
    assert await storage.store(shop, TASK, NAME, sha256=DIGEST) == first
    assert shop.fetched == 1
    assert await storage.store(shop, TASK, NAME) == first
    assert shop.fetched == 2
    assert files(tmp_path / "scratch") == []


@pytest.mark.parametrize("known", [None, DIGEST])
async def test_another_video_is_not_replaced(storage, known, tmp_path):
    """Of the same size or another."""
    other = VIDEO[:-1] + b"x"
    await storage.store(Shop(other), VideoTask(task_id="other"), NAME)
    with pytest.raises(TargetExistsError, match="another video"):
        await storage.store(Shop(), TASK, NAME, sha256=known)
    assert files(tmp_path / "scratch") == []
    kept = await storage.store(Shop(other), VideoTask(task_id="other"), NAME)
    assert kept.sha256 == hashlib.sha256(other).hexdigest()


@FSSPEC
async def test_a_folder_that_cannot_be_written_is_told_before_anything_is_paid(tmp_path):
    """And so is a scratch folder."""
    (tmp_path / "file").write_text("x")
    for storage in (
        storage_of(tmp_path / "file", scratch=tmp_path),
        storage_of("memory://x", scratch=tmp_path / "file"),
    ):
        with pytest.raises(InvalidRequestError, match="cannot be written"):
            await storage.check()


@FSSPEC
async def test_what_arrived_shorter_is_not_called_stored(tmp_path, monkeypatch):
    """Where no metadata tells a hash, the size does."""
    storage = storage_of(f"memory://{tmp_path.name}", scratch=tmp_path)
    finish = objectstore._Renamed.finish

    def shortened(upload):
        finish(upload)
        storage.system.pipe_file(upload.path, VIDEO[:-1])

    monkeypatch.setattr(objectstore._Renamed, "finish", shortened)
    with pytest.raises(TargetExistsError, match="another video"):
        await storage.store(Shop(), TASK, NAME)


class Full:
    """A file system without space."""

    protocol, transaction = "full", None

    def info(self, path):
        raise FileNotFoundError(path)

    def open(self, path, mode, **options):
        raise OSError(errno.ENOSPC, SECRET)

    def makedirs(self, path, exist_ok):
        """No space is needed for that."""

    def invalidate_cache(self, path):
        """Nothing is kept."""


async def test_a_full_store_is_told_as_a_full_disk_is(tmp_path):
    """So that a batch waits for space; the video waits, too."""
    storage = ObjectStorage("full://x", Full(), "x", tmp_path)
    with pytest.raises(DownloadError, match="no space is left there") as caught:
        await storage.store(Shop(), TASK, NAME)
    assert full(caught.value)
    assert files(tmp_path) == [part_of(TASK, tmp_path).name]
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@FSSPEC
def test_options_show_in_no_traceback(tmp_path):
    """Those of a place that cannot be used."""

    def opening(options):
        return storage_of("nothing-like-it://x", scratch=tmp_path, options=options.pop())

    with pytest.raises(InvalidRequestError) as caught:
        opening([{"secret": SECRET}])
    assert leaks(caught.value) == []


def test_every_reason_is_in_our_words():
    """An error's own text is not passed on."""
    assert storage_reason(OSError(28, f"full {SECRET}")) == "no space is left there: OSError"
    assert storage_reason(PermissionError(SECRET)) == "access is denied: PermissionError"
    assert storage_reason(ValueError(SECRET)) == "it failed: ValueError"


# --- S3, spoken by a server in a process of its own --------------------------------------------------------------


SERVER = """
import sys
from http.server import BaseHTTPRequestHandler
from moto.server import main

# Else there are two Server headers, which aiohttp's strict parser refuses: it is used with `python -X dev`.
BaseHTTPRequestHandler.send_response = BaseHTTPRequestHandler.send_response_only
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def server():
    """Its address."""
    pytest.importorskip("s3fs", reason="object storage needs the extra [s3]")
    pytest.importorskip("moto", reason="no S3-speaking server is installed (moto)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [sys.executable, "-W", "ignore", "-c", SERVER, "-p", str(port)]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        url = f"http://127.0.0.1:{port}"
        try:
            await_up(url, process)
            yield url
        finally:
            process.terminate()


def await_up(url, process):
    """Until it answers; an interpreter that starts is not a time that could jump."""
    ends = time.monotonic() + 60
    while time.monotonic() < ends and process.poll() is None:
        with contextlib.suppress(OSError):
            ask(f"{url}/moto-api/data.json")
            return
        time.sleep(0.05)
    pytest.fail("the S3-speaking server did not start")


def ask(url, method="GET", body=None):
    """What the server says, asked by itself: status, headers, body."""
    place = urllib.parse.urlsplit(url)
    with contextlib.closing(http.client.HTTPConnection(place.netloc, timeout=30)) as connection:
        connection.request(
            method, url.removeprefix(f"http://{place.netloc}"), body=body, headers={"Authorization": WHO}
        )
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()


class Bucket:
    """A bucket of the server, seen from the server's side."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        assert ask(f"{server}/{name}", "PUT")[0] == 200

    def object(self, name, **options):
        """Ask for an object."""
        return ask(f"{self.server}/{self.name}/{urllib.parse.quote(name)}", **options)

    @property
    def names(self):
        """Every object."""
        return re.findall(r"<Key>(.*?)</Key>", ask(f"{self.server}/{self.name}?list-type=2")[2].decode())

    @property
    def unfinished(self):
        """Uploads that have begun and not ended."""
        return re.findall(r"<UploadId>(.*?)</UploadId>", ask(f"{self.server}/{self.name}?uploads")[2].decode())


@pytest.fixture
def bucket(server, tmp_path):
    """One of the test's own."""
    return Bucket(server, f"b-{hashlib.sha256(str(tmp_path).encode()).hexdigest()[:20]}")


def on_s3(bucket, scratch, *, server=None, prefix="videos/é", **options):
    """A storage there. One attempt for each request: tests do not wait."""
    url = f"s3://{bucket if isinstance(bucket, str) else bucket.name}/{prefix}"
    given = {
        "endpoint_url": server or bucket.server,
        "key": KEY,
        "secret": SECRET,
        "config_kwargs": {"retries": {"total_max_attempts": 1}, "read_timeout": 10},
        "client_kwargs": {"region_name": "us-east-1"},
        **options,
    }
    storage = storage_of(url, scratch=scratch, options=given)
    storage.system.retries = 1
    return storage


async def test_a_storage_that_never_answers_is_given_up_in_time(tmp_path, monkeypatch):
    """After four times the 30 seconds that each request is given, and in words that say so."""
    pytest.importorskip("s3fs", reason="object storage needs the extra [s3]")
    monkeypatch.setattr(objectstore, "_S3_CONFIG", {**objectstore._S3_CONFIG, "read_timeout": 0.1})
    asked = []

    async def silent(reader, writer):
        asked.append(await reader.readuntil(b"\r\n"))
        with contextlib.closing(writer):
            await reader.read()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        options = {"endpoint_url": url, "key": KEY, "secret": SECRET, "client_kwargs": {"region_name": "us-east-1"}}
        with pytest.raises(DownloadError, match="does not answer in time"):
            await storage_of("s3://bucket/videos", scratch=tmp_path, options=options).size("a.mp4")
    assert len(asked) == 4


UNKNOWN = (
    b"HTTP/1.1 501 X\r\nContent-Type: application/xml\r\nContent-Length: 50\r\nConnection: close\r\n\r\n"
    b"<Error><Code>NotImplemented</Code></Error>        "
)


class Proxy:
    """Stands before the server, and spoils the requests in which `word` stands.

    Args:
        server: What is behind it.
        word: Of the request's head.
        deed: `cut` closes the connection, `swallow` passes the request on and closes in place of the answer, `hold`
            keeps it, `refuse` answers that the storage knows no such thing.
        times: For so many.
    """

    def __init__(self, server, word, deed, times=1000):
        self.port = urllib.parse.urlsplit(server).port
        self.word, self.deed, self.times = word, deed, times
        self.reached, self.released, self.tasks = asyncio.Event(), asyncio.Event(), set()

    async def __aenter__(self):
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_):
        self.listener.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

    async def serve(self, reader, writer):
        """One connection."""
        self.tasks.add(asyncio.current_task())
        behind_reader, behind_writer = await asyncio.open_connection("127.0.0.1", self.port)
        swallows = asyncio.Event()
        back = asyncio.ensure_future(self.pass_back(behind_reader, writer, swallows))
        self.tasks.add(back)
        with contextlib.closing(writer), contextlib.closing(behind_writer), contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.word in data and self.times > 0:
                    self.times -= 1
                    self.reached.set()
                    if self.deed == "cut":
                        return
                    if self.deed == "refuse":
                        writer.write(UNKNOWN)
                        return
                    if self.deed == "hold":
                        await self.released.wait()
                    else:
                        swallows.set()
                behind_writer.write(data)
                await behind_writer.drain()

    async def pass_back(self, reader, writer, swallows):
        """The answers."""
        with contextlib.closing(writer), contextlib.suppress(ConnectionError):
            while (data := await reader.read(65536)) and not swallows.is_set():
                writer.write(data)
                await writer.drain()


def large(size):
    """A video of so many bytes, each part of it another."""
    return VIDEO + os.urandom(1024) * ((size - len(VIDEO)) // 1024)


async def test_from_the_gateway_to_s3(bucket, tmp_path):
    """A real client's video arrives byte for byte, with its type and hash, and nothing stays behind."""
    storage = on_s3(bucket, tmp_path / "scratch")
    await storage.check()
    assert (bucket.names, bucket.unfinished) == ([], [])
    async with pair(video_bytes=2 * PART + 5) as (_, client):
        task = await client.wait(await client.submit("a cat"))
        local = await client.download(task, tmp_path / "a.mp4")
        stored = await storage.store(client, task, NAME)
    status, headers, body = bucket.object(f"videos/é/{NAME}")
    assert (status, body) == (200, local.read_bytes())
    assert stored == Stored(f"s3://{bucket.name}/videos/é/{NAME}", len(body), hashlib.sha256(body).hexdigest())
    assert headers["x-amz-meta-sha256"] == stored.sha256
    assert headers["Content-Type"] == "video/mp4"
    assert await storage.size(NAME) == len(body)
    assert await storage.size("none.mp4") is None
    assert (files(tmp_path / "scratch"), bucket.unfinished) == ([], [])
    assert not storage.system.transaction.files  # nothing is remembered of each upload


@pytest.mark.parametrize("name", ["50% #1 + [2] {x} @y = z & ; !.mp4", "a~b/$c'd (1).webm", "ü/中文/🎬.mov"])
async def test_every_name_survives_the_way(name, bucket, tmp_path):
    """Signs that mean something in URLs, too."""
    storage = on_s3(bucket, tmp_path)
    await storage.store(Shop(), TASK, name)
    assert bucket.object(f"videos/é/{name}")[::2] == (200, VIDEO)
    assert await storage.size(name) == len(VIDEO)


async def test_the_environment_says_where_and_who(bucket, tmp_path, monkeypatch):
    """Without options the usual variables count."""
    for name, value in {
        "AWS_ENDPOINT_URL": bucket.server,
        "AWS_ACCESS_KEY_ID": KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    storage = storage_of(f"s3://{bucket.name}", scratch=tmp_path)
    await storage.store(Shop(), TASK, "a.mp4")
    assert bucket.names == ["a.mp4"]


async def test_a_large_video_is_never_held_whole(bucket, tmp_path):
    """64 MiB go up with a few parts in memory."""
    video = large(64 * 1024**2)
    scratch, digest = tmp_path / "scratch", hashlib.sha256(video).hexdigest()
    storage, shop = on_s3(bucket, scratch), Shop(video)
    await storage.check()  # what is imported and connected once does not count
    tracemalloc.start()
    try:
        stored = await storage.store(shop, TASK, NAME)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (stored.size, stored.sha256) == (len(video), digest)
    assert hashlib.sha256(bucket.object(f"videos/é/{NAME}")[2]).hexdigest() == digest
    assert peak < 6 * PART, peak


async def test_an_upload_cut_short_leaves_nothing_and_is_repeated(bucket, tmp_path):
    """No object, no parts; the next attempt sends the video that waits, and asks the gateway for nothing."""
    shop = Shop(large(3 * PART))
    async with Proxy(bucket.server, b"partNumber=2", "cut") as proxy:
        storage = on_s3(bucket, tmp_path / "scratch", server=proxy.url)
        with pytest.raises(DownloadError, match=r"cannot be written .* storing it again costs nothing") as caught:
            await storage.store(shop, TASK, NAME)
        assert caught.value.task_id == "task/1"
        assert (bucket.names, bucket.unfinished) == ([], [])
        assert len(files(tmp_path / "scratch")) == 1
        proxy.times = 0
        await storage.store(shop, TASK, NAME)
    assert (len(bucket.names), shop.fetched, files(tmp_path / "scratch")) == (1, 1, [])


async def test_one_cut_is_mended_at_once(bucket, tmp_path):
    """A part is sent again."""
    async with Proxy(bucket.server, b"partNumber=2", "cut", times=1) as proxy:
        storage = on_s3(bucket, tmp_path, server=proxy.url)
        storage.system.retries = 2
        await storage.store(Shop(large(3 * PART)), TASK, NAME)
    assert bucket.object(f"videos/é/{NAME}")[0] == 200


async def test_a_lost_answer_to_the_last_request_does_not_matter(bucket, tmp_path):
    """What is there is looked at: it is this video."""
    async with Proxy(bucket.server, b"<CompleteMultipartUpload", "swallow", times=1) as proxy:
        stored = await on_s3(bucket, tmp_path, server=proxy.url).store(Shop(), TASK, NAME)
    assert proxy.reached.is_set()
    assert bucket.object(f"videos/é/{NAME}")[2] == VIDEO
    assert (stored.sha256, bucket.unfinished) == (DIGEST, [])


async def test_a_storage_that_goes_away_after_the_upload_is_asked_again_later(bucket, tmp_path):
    """Whether it arrived is not known, so it is not called stored; the next attempt finds it."""
    shop = Shop()
    storage = on_s3(bucket, tmp_path)

    async def whole(_):
        storage.system.info = gone

    def gone(path):
        raise TimeoutError(SECRET)

    with pytest.raises(DownloadError, match=r"looked up \(it does not answer in time: TimeoutError") as caught:
        await storage.store(shop, TASK, NAME, on_whole=whole)
    assert leaks(caught.value) == []
    del storage.system.info
    assert (await storage.store(shop, TASK, NAME)).sha256 == DIGEST
    assert (shop.fetched, files(tmp_path)) == (1, [])


async def test_a_file_that_changes_while_it_is_sent_is_not_kept(bucket, tmp_path):
    """It is fetched anew by the next attempt; the file object that was given up begins nothing when it is destroyed."""
    storage, shop = on_s3(bucket, tmp_path), Shop()

    async def spoil(_):
        part_of(TASK, tmp_path).write_bytes(VIDEO[:-1] + b"x")

    with pytest.raises(IntegrityError, match="was changed while it was sent"):
        await storage.store(shop, TASK, NAME, on_whole=spoil)
    gc.collect()
    assert (bucket.names, bucket.unfinished, files(tmp_path)) == ([], [], [])
    assert (await storage.store(shop, TASK, NAME)).sha256 == DIGEST


async def test_cancelled_in_the_middle_of_an_upload(bucket, tmp_path):
    """It ends as cancelled, without an object, without parts, and the video waits for the next attempt."""
    async with Proxy(bucket.server, b"partNumber=2", "hold") as proxy:
        storing = asyncio.ensure_future(
            on_s3(bucket, tmp_path, server=proxy.url).store(Shop(large(3 * PART)), TASK, NAME)
        )
        await proxy.reached.wait()
        storing.cancel()
        await asyncio.sleep(0)
        proxy.released.set()
        with pytest.raises(asyncio.CancelledError):
            await storing
    assert (bucket.names, bucket.unfinished) == ([], [])
    assert len(files(tmp_path)) == 1


async def test_the_loop_goes_on_meanwhile(bucket, tmp_path):
    """While a part does not move, others do."""
    async with Proxy(bucket.server, b"partNumber=1", "hold") as proxy:
        storing = asyncio.ensure_future(on_s3(bucket, tmp_path, server=proxy.url).store(Shop(), TASK, NAME))
        await proxy.reached.wait()
        assert await storage_of(tmp_path / "out", scratch=tmp_path).store(Shop(), TASK, NAME)
        assert not storing.done()
        proxy.released.set()
        assert await storing


async def test_the_same_object_counts_as_stored(bucket, tmp_path):
    """Known by its metadata, or by its content where another put it there."""
    storage, shop = on_s3(bucket, tmp_path), Shop()
    first = await storage.store(shop, TASK, NAME)
    part_of(TASK, tmp_path).write_bytes(VIDEO)  # a crash just before it was removed
    assert await storage.store(shop, TASK, NAME, sha256=DIGEST) == first
    assert (shop.fetched, files(tmp_path)) == (1, [])
    bucket.object("videos/é/mine.mp4", method="PUT", body=VIDEO)
    assert (await storage.store(shop, TASK, "mine.mp4", sha256=DIGEST)).size == len(VIDEO)
    assert (await storage.store(shop, TASK, "mine.mp4")).size == len(VIDEO)
    assert (shop.fetched, files(tmp_path)) == (2, [])


async def test_another_object_is_not_replaced(bucket, tmp_path):
    """Nor one that comes up while the video is on its way."""
    storage = on_s3(bucket, tmp_path)

    async def race(_):
        bucket.object("videos/é/b.mp4", method="PUT", body=b"mine")

    bucket.object("videos/é/a.mp4", method="PUT", body=b"mine")
    for name in ("a.mp4", "b.mp4"):
        with pytest.raises(TargetExistsError, match="another video"):
            await storage.store(Shop(), TASK, name, on_whole=race if name == "b.mp4" else None)
        assert bucket.object(f"videos/é/{name}")[::2] == (200, b"mine"), name
        assert files(tmp_path) == []
    assert bucket.unfinished == []


@pytest.mark.parametrize("size", [len(VIDEO), 2 * PART])
async def test_a_storage_without_conditional_requests_keeps_videos_too(size, bucket, tmp_path):
    """As Backblaze B2 does, it refuses the header; what has the name is looked for just before, and not replaced."""
    video = VIDEO + bytes(size - len(VIDEO))

    async def race(_):
        bucket.object("videos/é/b.mp4", method="PUT", body=b"mine")

    async with Proxy(bucket.server, b"If-None-Match", "refuse") as proxy:
        storage = on_s3(bucket, tmp_path, server=proxy.url)
        assert (await storage.store(Shop(video), TASK, NAME)).size == size
        assert proxy.reached.is_set()
        with pytest.raises(TargetExistsError, match="another video"):
            await storage.store(Shop(video), TASK, "b.mp4", on_whole=race)
    assert bucket.object("videos/é/b.mp4")[2] == b"mine"
    assert (hashlib.sha256(bucket.object(f"videos/é/{NAME}")[2]).digest(), bucket.unfinished) == (
        hashlib.sha256(video).digest(), []
    )  # fmt: skip


# --- refusals ----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def enforced(server):
    """The server asks who it is that asks; nobody is known to it."""
    ask(f"{server}/moto-api/reset-auth", "POST", b"0")
    try:
        yield
    finally:
        ask(f"{server}/moto-api/reset-auth", "POST", b"inf")


async def refusals(storage):
    """What checking and storing there end with."""
    with pytest.raises(InvalidRequestError) as checked:
        await storage.check()
    with pytest.raises(DownloadError) as stored:
        await storage.store(Shop(), TASK, NAME)
    return checked.value, stored.value


def leaks(*errors):
    """Whether a secret shows anywhere, in tracebacks with locals too."""
    shown = [traceback.TracebackException.from_exception(error, capture_locals=True).format() for error in errors]
    text = "".join(line for lines in shown for line in lines)
    return [word for word in (KEY, SECRET, "Signature") if word in text]


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        ("no bucket", "there is no such bucket or place: NoSuchBucket"),
        ("denied", "access is denied: InvalidAccessKeyId"),
        ("nobody", "no credentials were found"),
        ("unreachable", "it cannot be reached: EndpointConnectionError"),
    ],
)
async def test_refusals_say_why_and_no_secret(trouble, told, bucket, tmp_path, caplog, monkeypatch):
    """Before anything is paid, and afterwards; the log is as clean."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, os.devnull)
    caplog.set_level(logging.DEBUG, logger="omni_async")
    with enforced(bucket.server) if trouble == "denied" else contextlib.nullcontext():
        storage = {
            "no bucket": lambda: on_s3("none-such", tmp_path, server=bucket.server),
            "denied": lambda: on_s3(bucket, tmp_path),
            "nobody": lambda: on_s3(bucket, tmp_path, key=None, secret=None),
            "unreachable": lambda: on_s3(bucket, tmp_path, server="http://127.0.0.1:9"),
        }[trouble]()
        checked, stored = await refusals(storage)
    assert told in str(checked)
    assert re.search(told.split(":", maxsplit=1)[0], str(stored))
    assert not checked.may_have_charged
    assert leaks(checked, stored) == []
    assert not any(word in caplog.text for word in (KEY, SECRET))
    assert KEY not in repr(storage)
