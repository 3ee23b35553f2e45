"""A finished task to a file."""

import asyncio
import os
import traceback
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from omni_async.delivery import Delivery
from omni_async.dialects import Jimmy
from omni_async.errors import (
    DownloadError,
    InvalidRequestError,
    NotFoundError,
    OmniError,
    ResultExpiredError,
    TargetExistsError,
    TaskFailedError,
    UnsafeURLError,
)
from omni_async.events import Downloaded, Event
from omni_async.files import Downloader
from omni_async.models import TaskStatus, VideoTask
from omni_async.partfile import refuse_existing
from omni_async.poller.waiting import failure_of
from omni_async.safety import origins

BASE = "https://gateway.example/api"
NOW = datetime(2026, 8, 1, tzinfo=UTC)
DONE = VideoTask(
    task_id="task/1",
    status=TaskStatus.SUCCEEDED,
    video_url="https://cdn.example/v.mp4?sig=CANARY",
    gateway="jimmy",
    custom_id="row-1",
    metadata={"scene": 3},
)


def store(target: Path, text: str) -> None:
    """Make a file, and the folder above it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)


class Fetches:
    """A downloader that only takes notes; URLs with `dead` in them are expired."""

    def __init__(self) -> None:
        self.urls: list[str] = []

    async def refuse_existing(self, target: Path, *, overwrite: bool = False) -> None:
        """As the real one."""
        refuse_existing(target, overwrite=overwrite)

    async def fetch(
        self,
        url: str,
        target: Path,
        *,
        overwrite: bool = False,
        on_progress: Any = None,
        on_whole: Any = None,
        patience: Any = None,
    ) -> Path:
        """Store the URL itself as the video."""
        self.urls.append(url)
        if "dead" in url:
            raise ResultExpiredError("the video's URL no longer works (HTTP 403)")
        store(target, url)
        if on_progress is not None:
            on_progress(len(url), len(url))
        return target


FAILURE = partial(failure_of, moderated=Jimmy().moderated)


class Bench:
    """A delivery, what it asks the gateway and what it reports."""

    def __init__(self, *answers: VideoTask | OmniError, **options: Any) -> None:
        self.answers, self.queried, self.events = list(answers), list[str](), list[Event]()
        self.fetches = Fetches()
        ticks = iter(range(1000))
        settings: dict[str, Any] = {
            "base_url": BASE,
            "failed": FAILURE,
            "emit": self.events.append,
            "now": lambda: NOW,
            "clock": lambda: float(next(ticks)),
            **options,
        }
        self.delivery = Delivery(query=self.query, downloader=self.fetches, **settings)
        self.download = self.delivery.download

    async def query(self, task_id: str) -> VideoTask:
        """The next answer of the gateway."""
        self.queried.append(task_id)
        answer = self.answers.pop(0)
        if isinstance(answer, OmniError):
            raise answer
        return answer


def with_url(url: str | None, **changes: Any) -> VideoTask:
    """The finished task with another URL."""
    return attrs.evolve(DONE, video_url=url, **changes)


async def test_task_with_a_url(tmp_path: Path) -> None:
    """A task that brings its URL is fetched without a query, and the event tells what is on disk, not where from."""
    bench = Bench()
    seen: list[tuple[int, int | None]] = []
    path = await bench.download(DONE, tmp_path / "v.mp4", on_progress=lambda *at: seen.append(at))
    assert path == tmp_path / "v.mp4"
    assert bench.queried == []
    (event,) = bench.events
    assert event == Downloaded(
        gateway="jimmy",
        custom_id="row-1",
        metadata={"scene": 3},
        task_id="task/1",
        path=path,
        size=path.stat().st_size,
        seconds=1.0,
    )
    assert "CANARY" not in repr(event)
    assert seen


async def test_task_id_is_looked_up(tmp_path: Path) -> None:
    """An id alone is queried once."""
    bench = Bench(DONE)
    await bench.download("task/1", str(tmp_path / "v.mp4"))
    assert bench.queried == ["task/1"]
    assert bench.fetches.urls == [DONE.video_url]


async def test_handle_is_looked_up(tmp_path: Path) -> None:
    """A handle has no URL, so it is queried; what only the handle knows goes into the event."""
    bench = Bench(attrs.evolve(DONE, custom_id=None, metadata={}))
    await bench.download(VideoTask.from_json(DONE.to_json()), tmp_path / "v.mp4")
    assert bench.queried == ["task/1"]
    assert bench.events[0].custom_id == "row-1"
    assert bench.events[0].metadata == {"scene": 3}


async def test_url_is_fetched_as_it_is(tmp_path: Path) -> None:
    """A URL needs no task and no query."""
    bench = Bench(gateway="toapis", emit=None)
    await bench.download("https://cdn.example/v.mp4?sig=CANARY", tmp_path / "v.mp4")
    assert bench.fetches.urls == ["https://cdn.example/v.mp4?sig=CANARY"]
    assert bench.queried == []


async def test_folder_gets_the_task_s_name(tmp_path: Path) -> None:
    """Row 56: in a folder, there or to be made, the file is named after the id, made safe, never after the URL."""
    bench = Bench()
    assert await bench.download(DONE, tmp_path) == tmp_path / "task_1.mp4"
    assert await bench.download(DONE, f"{tmp_path}/new/") == tmp_path / "new" / "task_1.mp4"
    first = await bench.download("https://cdn.example/evil.exe?sig=1", tmp_path)
    again = await bench.download("https://cdn.example/evil.exe?sig=2", tmp_path, overwrite=True)
    other = await bench.download("https://cdn.example/other", tmp_path)
    assert first == again != other
    assert first.name.startswith("video-")
    assert first.suffix == ".mp4"


async def test_row_57_existing_target_is_told_first(tmp_path: Path) -> None:
    """Row 57: nothing is queried or fetched for a target that is there."""
    (tmp_path / "v.mp4").write_text("mine")
    bench = Bench()
    with pytest.raises(TargetExistsError) as caught:
        await bench.download("task/1", tmp_path / "v.mp4")
    assert (bench.queried, bench.fetches.urls) == ([], [])
    assert caught.value.task_id == "task/1"


async def test_unfinished_task(tmp_path: Path) -> None:
    """A task that still runs is looked at once and then named as such: there is no video yet that could be stored."""
    running = with_url(None, status=TaskStatus.RUNNING)
    bench = Bench(running)
    with pytest.raises(DownloadError, match="still running") as caught:
        await bench.download(running, tmp_path / "v.mp4")
    assert (caught.value.temporary, caught.value.still) == (True, "running")
    assert caught.value.explain() == "its task has not ended, so there is no video yet: wait for it, then download"
    assert caught.value.explain("zh") == "任务尚未结束，还没有视频：请先等待，再下载"
    assert bench.queried == ["task/1"]
    assert bench.fetches.urls == []


@pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELED])
async def test_task_without_a_video(tmp_path: Path, status: TaskStatus) -> None:
    """A task that failed has nothing to download: the error holds the task."""
    failed = with_url(None, status=status, error_message="s3 upload failed")
    bench = Bench(failed)
    with pytest.raises(TaskFailedError, match="s3 upload failed") as caught:
        await bench.download("task/1", tmp_path / "v.mp4")
    assert caught.value.task.status is status


async def test_failure_can_be_worded_elsewhere(tmp_path: Path) -> None:
    """The client's own wording of a failure is used if it is given."""
    bench = Bench(with_url(None, status=TaskStatus.FAILED), failed=lambda _: TaskFailedError("mine", moderated=True))
    with pytest.raises(TaskFailedError, match="mine"):
        await bench.download("task/1", tmp_path / "v.mp4")


async def test_finished_without_a_url(tmp_path: Path) -> None:
    """A gateway that tells no URL is asked once, then that is the error."""
    bench = Bench(with_url(None))
    with pytest.raises(DownloadError, match="no URL"):
        await bench.download("task/1", tmp_path / "v.mp4")


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("/files/v.mp4?sig=%2B", "https://gateway.example/files/v.mp4?sig=%2B"),
        ("v.mp4", "https://gateway.example/v.mp4"),
        ("//cdn.example/v.mp4", "https://cdn.example/v.mp4"),
        ("https://[broken", "https://[broken"),
    ],
)
async def test_relative_links(tmp_path: Path, link: str, url: str) -> None:
    """A relative URL is joined to the gateway's; a broken one is left for the downloader to refuse."""
    bench = Bench()
    await bench.download(with_url(link), tmp_path / "v.mp4")
    assert bench.fetches.urls == [url]


async def test_row_52_fresh_url(tmp_path: Path) -> None:
    """Row 52: an expired URL is replaced once by a fresh one."""
    bench = Bench(DONE)
    await bench.download(with_url("https://cdn.example/dead"), tmp_path / "v.mp4")
    assert bench.queried == ["task/1"]
    assert bench.fetches.urls == ["https://cdn.example/dead", DONE.video_url]


async def test_row_52_no_fresh_url(tmp_path: Path) -> None:
    """Row 52: if the fresh one does not work either, ResultExpiredError, with everything it is about."""
    bench = Bench(with_url("https://cdn.example/dead2"))
    with pytest.raises(ResultExpiredError, match="no other") as caught:
        await bench.download(with_url("https://cdn.example/dead"), tmp_path / "v.mp4")
    error = caught.value
    assert (error.task_id, error.custom_id, error.gateway, error.metadata) == ("task/1", "row-1", "jimmy", {"scene": 3})
    assert len(bench.fetches.urls) == 2
    assert bench.events == []


async def test_row_52_url_alone_expired(tmp_path: Path) -> None:
    """Row 52: for a bare URL there is nobody to ask."""
    bench = Bench(gateway="jimmy")
    with pytest.raises(ResultExpiredError) as caught:
        await bench.download("https://cdn.example/dead", tmp_path / "v.mp4")
    assert caught.value.gateway == "jimmy"
    assert bench.queried == []


@pytest.mark.parametrize("dead", [False, True])
async def test_row_52_known_expiry(tmp_path: Path, dead: bool) -> None:
    """Row 52: a URL known to be past its time is replaced first, and that was the once."""
    bench = Bench(with_url("https://cdn.example/dead") if dead else DONE)
    old = with_url("https://cdn.example/old", expires_at=NOW - timedelta(seconds=1))
    if dead:
        with pytest.raises(ResultExpiredError):
            await bench.download(old, tmp_path / "v.mp4")
    else:
        await bench.download(old, tmp_path / "v.mp4")
    assert len(bench.queried) == len(bench.fetches.urls) == 1


@pytest.mark.parametrize("expires_at", [None, NOW])
async def test_row_52_task_that_is_gone(tmp_path: Path, expires_at: datetime | None) -> None:
    """Row 52: a gateway that no longer knows the task has no fresh URL either."""
    bench = Bench(NotFoundError("no such task", status_code=404))
    with pytest.raises(ResultExpiredError, match="no other") as caught:
        await bench.download(with_url("https://cdn.example/dead", expires_at=expires_at), tmp_path / "v.mp4")
    assert caught.value.task_id == "task/1"
    assert bench.queried == ["task/1"]


async def test_another_gateway_s_task_is_fetched_by_its_url_alone(tmp_path: Path) -> None:
    """A live URL is anybody's; of a task without one this gateway is not asked, nor for a fresh one."""
    bench = Bench(gateway="jimmy")
    foreign = partial(with_url, gateway="toapis")
    await bench.download(foreign(DONE.video_url), tmp_path / "live.mp4")
    assert bench.fetches.urls == [DONE.video_url]
    with pytest.raises(InvalidRequestError, match="runs at gateway toapis, and this client speaks to jimmy") as caught:
        await bench.download(foreign(None), tmp_path / "v.mp4")
    assert (caught.value.task_id, caught.value.gateway) == ("task/1", "toapis")
    with pytest.raises(ResultExpiredError, match="only a client of gateway toapis can ask for another"):
        await bench.download(foreign("https://cdn.example/dead"), tmp_path / "v.mp4")
    assert bench.queried == []


async def test_unknown_id(tmp_path: Path) -> None:
    """An id the gateway does not know is not an expired video."""
    bench = Bench(NotFoundError("no such task", status_code=404))
    with pytest.raises(NotFoundError):
        await bench.download("task/1", tmp_path / "v.mp4")


async def test_place_that_cannot_be_used(tmp_path: Path) -> None:
    """A path no system takes is our error, before anything is asked for."""
    bench = Bench()
    with pytest.raises(DownloadError, match="cannot be used") as caught:
        await bench.download(DONE, tmp_path / ("x" * 5000))
    assert caught.value.task_id == "task/1"
    assert bench.fetches.urls == []


async def test_cancellation_passes(tmp_path: Path) -> None:
    """A cancelled download is cancelled, not failed."""
    bench = Bench()

    async def hang(*args: Any, **options: Any) -> Path:
        await asyncio.sleep(10)
        raise AssertionError

    bench.fetches.fetch = hang  # type: ignore[method-assign]
    task = asyncio.ensure_future(bench.download(DONE, tmp_path / "v.mp4"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_row_62_no_signature_in_tracebacks(tmp_path: Path) -> None:
    """Row 62: neither messages nor the frames' locals of a refused download show the signature."""
    real = Downloader(proxy=None)
    delivery = Delivery(query=Bench().query, downloader=real, base_url=BASE, failed=FAILURE)
    for what in (with_url("https://10.0.0.1/v.mp4?sig=CANARY"), "https://10.0.0.1/v.mp4?sig=CANARY"):
        with pytest.raises(UnsafeURLError) as caught:
            await delivery.download(what, tmp_path / "v.mp4")
        assert "CANARY" not in f"{caught.value}{caught.value!r}"
        frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
        ours = [frame for frame in frames if f"{os.sep}omni_async{os.sep}" in frame.f_code.co_filename]
        assert ours
        assert not any("CANARY" in repr(frame.f_locals) for frame in ours)
    await real.aclose()


async def test_row_52_resumes_with_the_fresh_url(tmp_path: Path) -> None:
    """Rows 50 and 52 together: the first URL breaks off and expires, the fresh one brings only the rest."""
    body = b"\0\0\0\x18ftypmp42" + os.urandom(100_000)
    starts: list[tuple[str, int | None]] = []

    async def serve(request: web.Request) -> web.StreamResponse:
        signature, start = request.query["sig"], request.http_range.start
        starts.append((signature, start))
        if signature == "old" and len(starts) > 1:
            return web.Response(status=403)
        if start:
            named = {"ETag": '"v1"', "Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}
            return web.Response(status=206, body=body[start:], headers=named)
        response = web.StreamResponse(headers={"ETag": '"v1"', "Content-Length": str(len(body))})
        await response.prepare(request)
        await response.write(body[:50_000])
        await asyncio.sleep(0.02)
        assert request.transport is not None
        request.transport.abort()
        return response

    async def no_time(seconds: float) -> None:
        """Wait no time at all."""

    app = web.Application()
    app.router.add_get("/v.mp4", serve)
    async with TestServer(app) as server:
        base = str(server.make_url("")).rstrip("/")
        real = Downloader(allowed=origins(base), proxy=None, sleep=no_time)
        bench = Bench(with_url("/v.mp4?sig=new"))
        delivery = Delivery(query=bench.query, downloader=real, base_url=base, failed=FAILURE)
        path = await delivery.download(with_url("/v.mp4?sig=old"), tmp_path / "v.mp4")
        await real.aclose()
    assert path.read_bytes() == body
    assert [signature for signature, _ in starts] == ["old", "old", "new"]
    assert (starts[2][1] or 0) > 0
