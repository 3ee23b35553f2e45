"""What a run does when something goes wrong: outages, refusals, uncertain creates, full disks, slow downloads."""

import asyncio
import errno
import os
import shutil
import sqlite3
import tempfile
import time

import anyio
import attrs
import pytest

from omni_async import DownloadError, Jimmy, JournalError, Limits, ResultExpiredError, run_batch
from omni_async.answers import Setback
from omni_async.batch import SheetOptions, dry_plan, fetching, sending
from omni_async.batch.gate import Gate
from omni_async.batch.standing import Standing
from omni_async.batch.storing import Store
from omni_async.breaker import FORBIDDEN
from omni_async.connections import Connections
from omni_async.emulator import InjectedFault
from omni_async.events import Downloaded
from omni_async.journal import State
from omni_async.journal.entries import Entry
from omni_async.journal.ledger import Ledger
from omni_async.limiter import Limiter
from omni_async.partfile import PartFile
from tests.batch.batches import KEY, cats, lab
from tests.fault_server import Act, FaultServer, http


async def later(seconds, function):
    """Call a function after some time."""
    await anyio.sleep(seconds)
    result = function()
    if asyncio.iscoroutine(result):
        await result


@pytest.fixture
def disk(monkeypatch):
    """A disk that is full while `full` is true; `tried` counts what it refused."""

    class Disk:
        full, tried, says = False, 0, errno.ENOSPC

    write = PartFile._put

    def put(part, data):
        if Disk.full:
            Disk.tried += 1
            raise OSError(Disk.says, os.strerror(Disk.says))
        return write(part, data)

    monkeypatch.setattr(PartFile, "_put", put)
    return Disk


# --- nothing gets through ----------------------------------------------------------------------------------------


async def test_a_gateway_that_is_down_from_the_beginning(tmp_path):
    """After a minute it is given up, with the reason; the next run sends everything."""
    async with lab(tmp_path) as here:
        await here.emulator.stop()
        began = anyio.current_time()
        summary = await here.run(cats(100), confirm=None)
        assert 55 < anyio.current_time() - began < 100
        assert (summary.unsent, summary.failed, summary.uncertain) == (100, 0, 0)
        assert summary.stopped.startswith("nothing can be sent")
        await here.emulator.start()
        assert (await here.run(cats(100), limit=3)).done == 3


async def test_a_gateway_that_comes_up_late(tmp_path):
    """Most of a minute without it costs nothing, and the view says what is the matter."""
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        await here.emulator.stop()
        group.start_soon(later, 50, here.emulator.start)
        async with here.batch(cats(10)) as batch:
            await batch.plan(balance=False)
            group.start_soon(later, 46, lambda: told.extend(batch.progress().reasons))
            told = []
            assert (await batch.run()).ok
        assert told == ["no create gets through (NotSentError), trying again"]
        assert here.charges == 10


async def test_an_outage_in_the_middle(tmp_path):
    """Ten minutes without the gateway: rows wait, one of them tries now and then, and the batch goes on."""
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        group.start_soon(later, 40, here.emulator.stop)
        group.start_soon(later, 640, here.emulator.start)
        batch = here.batch(cats(30), bounds=sending.Bounds(concurrency=5))
        async with batch:
            await batch.plan()
            summary = await batch.run()
        assert summary.ok
        assert here.charges == 30


async def test_only_one_row_tries_during_an_outage(tmp_path):
    """64 submitters do not storm a gateway that is down."""
    events = []
    async with lab(tmp_path) as here:
        await here.emulator.stop()
        await here.run(cats(200), on_event=lambda event: events.append(event))
        # One try each at first, then one row by itself, each with the client's own few tries.
        assert len(events) < 64 * 3 + 60


async def test_an_outage_is_counted_from_its_own_beginning(tmp_path):
    """A create that waited ten minutes for its slot is not given up for one refused connection."""
    async with lab(tmp_path, task_seconds=600) as here, anyio.create_task_group() as group:
        group.start_soon(later, 595, here.emulator.stop)
        group.start_soon(later, 620, here.emulator.start)
        assert (await here.run(cats(2), concurrency=1)).ok


async def test_hours_of_sleep_in_an_outage_are_none_of_it(tmp_path):
    """A laptop that is closed while the network is away, on a system whose clock goes on: afterwards it is tried on."""

    async def sleep():
        asyncio.get_running_loop()._warp.now += 8 * 3600.0

    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        for seconds, what in ((20, here.emulator.stop), (60, sleep), (8 * 3600 + 200, here.emulator.start)):
            group.start_soon(later, seconds, what)
        assert (await here.run(cats(60), limiter=Limiter(Limits(requests_per_second=1.0)))).ok
        assert here.charges == 60


async def test_a_row_that_the_gateway_trips_over(tmp_path):
    """500 in its own words for one row: tried a few times, left for the next run, and the reason is told."""
    async with lab(tmp_path, faults=(InjectedFault("internal_error", on="create", prompt="cat 3"),)) as here:
        summary = await here.run(cats(10))
        assert (summary.done, summary.unsent, summary.failed) == (9, 1, 0)
        assert "could not be sent" in summary.stopped
        assert here.rows["r3"]["detail"]
        here.fault()
        assert (await here.run(cats(10))).ok
        assert here.charges == 10


async def test_a_gateway_that_trips_over_everything(tmp_path):
    """It is not asked for each of a thousand rows: a few rows in a row, and no more is sent."""
    async with lab(tmp_path, faults=(InjectedFault("internal_error", on="create"),)) as here:
        summary = await here.run(cats(1000))
        assert summary.unsent == 1000
        assert summary.stopped.startswith("nothing can be sent")
        assert here.asked("create") < 64 * 3 * 3 * 2


async def test_a_storm_of_refusals(tmp_path):
    """Nine minutes of 429 for everything: few requests, no row fails, and the batch goes on."""
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        here.fault(InjectedFault("rate_limited", on="create"))
        group.start_soon(later, 540, here.fault)
        summary = await here.run(cats(20))
        assert summary.ok
        assert here.charges == 20
        assert here.emulator.ledger.refused["create"] < 400


async def test_an_account_that_allows_nothing(tmp_path):
    """429 for ever: it ends with the reason, and every row is as it was."""
    async with lab(tmp_path, faults=(InjectedFault("rate_limited", on="create"),)) as here:
        summary = await here.run(cats(20))
        assert summary.unsent == 20
        assert summary.stopped.startswith("nothing can be sent")


# --- refusals that concern all rows ------------------------------------------------------------------------------


async def test_a_refused_key(tmp_path):
    """No more is sent, what was refused counts as not sent, tasks that run are followed, the next run sends again."""
    async with lab(tmp_path, keys=(KEY,)) as here:
        summary = await here.run(cats(30), api_key="wrong")
        assert (summary.unsent, summary.failed, summary.uncertain) == (30, 0, 0)
        assert summary.stopped.startswith("the key is refused")
        assert here.asked("create") <= 64
        assert here.lines == []
        plan = await here.plan(cats(30))
        assert plan.sentence() == "30 waiting to be sent"
        assert (await here.run(cats(30))).ok


FIREWALL = http(403, "<html><h1>Sorry, you have been blocked</h1></html>", headers={"Content-Type": "text/html"})
FORBIDDEN_ROW = "a poster that reads ../../etc/passwd"


@pytest.mark.parametrize("answer", [FIREWALL, http(403, {"message": "Forbidden"})], ids=["page", "object"])
async def test_a_prompt_that_a_firewall_forbids_stops_nobody_else(tmp_path, answer):
    """Rows 14 and 63: no word of the gateway's own, so the key is good; that row alone is not sent."""
    made = http(body={"code": "20000", "data": {"task_id": "@ID", "status": "failed", "error_message": "no"}})
    rows = [{"id": "first", "prompt": FORBIDDEN_ROW}, *cats(7)]
    async with FaultServer([answer, *[made] * 7]) as server:
        settings = {"api_key": KEY, "base_url": server.url, "proxy": None}
        summary = await run_batch(rows, out=tmp_path / "out", concurrency=1, timeout=30, **settings)
        assert (summary.unsent, len(server.charges), summary.stopped) == (1, 7, None)


async def test_a_firewall_that_forbids_every_row(tmp_path):
    """A few tries show that it is not a row's fault; nothing more is sent."""
    async with FaultServer([FIREWALL] * 20) as server:
        settings = {"api_key": KEY, "base_url": server.url, "proxy": None}
        summary = await run_batch(cats(20), out=tmp_path / "out", concurrency=1, timeout=30, **settings)
        assert summary.stopped.startswith("the key is refused")
        assert (summary.unsent, len(server.posts)) == (20, FORBIDDEN)


async def test_a_key_that_is_revoked_while_tasks_run(tmp_path):
    """Tasks that cannot be looked at are told as still under way; with a key again they are brought home."""
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        group.start_soon(later, 20, lambda: here.fault(keys=("another",)))
        with anyio.fail_after(5000):
            summary = await here.run(cats(6), concurrency=3)
        assert (summary.done, summary.failed, summary.unsent, summary.under_way) == (0, 0, 3, 3)
        assert summary.stopped.startswith("the key is refused")
        assert (await here.run(cats(6), api_key="another")).ok
        assert here.charges == 6


async def test_the_last_row_refused_for_the_balance_counts_as_not_sent(tmp_path):
    """Running rows finish; what could not be paid is sent again by the next run."""
    async with lab(tmp_path, balance=4.0, price=1.0, latency=0.1) as here:
        summary = await here.run(cats(5))
        assert (summary.done, summary.unsent, summary.failed) == (4, 1, 0)
        assert "balance or quota" in summary.stopped
        here.emulator.scenario = type(here.emulator.scenario)(task_seconds=5)
        assert (await here.run(cats(5))).ok


async def test_rows_that_wait_for_a_slot_when_admission_closes_are_not_sent(tmp_path):
    """A slot that becomes free afterwards is not used, and nobody waits for it."""
    async with lab(tmp_path, task_seconds=100) as here:
        async with (
            here.batch(cats(20), bounds=sending.Bounds(concurrency=4)) as batch,
            anyio.create_task_group() as group,
        ):
            await batch.plan()
            group.start_soon(later, 50, lambda: batch._run.gate.close("enough"))
            summary = await batch.run()
        assert (summary.done, summary.unsent, here.charges) == (4, 16, 4)
        assert summary.stopped == "enough"


async def test_rows_that_wait_for_a_slot_wait_on_while_it_is_held(tmp_path):
    """Held for a while, no row is sent although slots are free; then all are."""
    async with lab(tmp_path, task_seconds=100) as here:
        async with (
            here.batch(cats(8), bounds=sending.Bounds(concurrency=4)) as batch,
            anyio.create_task_group() as group,
        ):
            await batch.plan()
            group.start_soon(later, 50, lambda: batch._run.gate.hold("x", "a reason"))
            group.start_soon(later, 500, lambda: batch._run.gate.release("x"))
            group.start_soon(later, 400, lambda: seen.append((here.charges, batch.progress().reasons)))
            seen = []
            assert (await batch.run()).ok
        assert seen == [(4, ("a reason",))]


# --- uncertain creates -------------------------------------------------------------------------------------------


async def test_the_breaker(tmp_path):
    """Five uncertain creates in a row: no create for a minute, one probe; polls and downloads go on, no row fails."""
    async with lab(tmp_path, task_seconds=60) as here, anyio.create_task_group() as group:
        here.fault(InjectedFault("drop_after_accept", on="create"))
        group.start_soon(later, 150, here.fault)
        times = []
        async with here.batch(cats(20), bounds=sending.Bounds(concurrency=8)) as batch:
            await batch.plan()
            group.start_soon(later, 30, lambda: times.append((here.charges, batch.progress().breaker_open)))
            group.start_soon(later, 90, lambda: times.append((here.charges, batch.progress().breaker_open)))
            summary = await batch.run()
        assert times == [(5, True), (6, True)]
        assert (summary.done, summary.uncertain, summary.failed, summary.unsent) == (13, 7, 0, 0)
        assert here.charges == 20


async def test_two_rows_answered_with_one_task_id(tmp_path):
    """The second is uncertain; the first is followed as if nothing had happened (FAULTS row 26)."""
    made = {"code": "20000", "data": {"task_id": "the-same-task", "status": "queued"}}
    async with FaultServer([http(body=made)] * 2) as server:
        server.charges.append("the-same-task")
        settings = {"api_key": KEY, "base_url": server.url, "proxy": None}
        summary = await run_batch(cats(2), out=tmp_path / "out", concurrency=1, timeout=30, **settings)
        assert len(server.posts) == 2
        assert summary.uncertain == 1
        assert summary.not_stored == 1  # its video lies at an address that does not answer


async def test_no_row_is_sent_twice_whatever_the_answer(tmp_path):
    """Rubbish, resets, silence: one POST a row, and every charge is a row that is uncertain or has its task."""
    acts = [Act(then="close"), Act(then="reset"), Act(raw=b"HTTP/1.1 200 OK\r\n\r\n<html>", then="close"), http(503)]
    async with FaultServer(acts) as server:
        settings = {"api_key": KEY, "base_url": server.url, "proxy": None}
        summary = await run_batch(cats(4), out=tmp_path / "out", concurrency=1, timeout=30, **settings)
        assert summary.uncertain == 4
        for _ in range(2):
            await run_batch(cats(4), out=tmp_path / "out", retry_failed=True, redo_edited=True, timeout=30, **settings)
        assert len(server.posts) == 4


# --- the disk, and slow downloads --------------------------------------------------------------------------------


async def test_a_full_disk_that_gets_space(tmp_path, disk):
    """Downloads pause, nothing new is sent, tasks are followed; with space it all goes on."""
    async with lab(tmp_path, task_seconds=60) as here, anyio.create_task_group() as group:
        disk.full = True

        def free():
            seen.append((here.charges, list(here.states.values()).count(State.SUCCEEDED)))
            disk.full = False

        seen = []
        here.fault(InjectedFault("never_ends", prompt="cat 0"))
        group.start_soon(later, 400, free)
        summary = await here.run(cats(20), concurrency=4, timeout=5000)
        assert (summary.done, summary.under_way, summary.unsent) == (19, 1, 0)
        ((charges, waiting),) = seen
        assert charges <= 5
        assert waiting >= 3


async def test_a_disk_that_stays_full(tmp_path, disk):
    """It ends in good order: nothing was paid that cannot be stored later, and the next run stores it."""
    async with lab(tmp_path) as here:
        disk.full = True
        summary = await here.run(cats(200), concurrency=20)
        assert summary.done == 0
        paid = here.charges
        assert 20 <= paid <= 22  # a finish frees its slot before its video is found to have no room
        assert (summary.failed, summary.not_stored) == (0, paid)
        assert summary.unsent == 200 - paid
        assert summary.under_way == 0
        assert "no space left" in summary.stopped
        assert set(here.statuses.values()) == {"succeeded"}
        assert all(line["error"].startswith("not stored: ") for line in here.lines)
        assert not [name for name in here.videos if name.endswith(".part")]
        disk.full = False
        assert (await here.run(cats(200), limit=0)).done == paid
        assert all(line["error"] is None for line in here.lines)
        assert here.charges == paid


async def test_a_disk_hold_ends_with_its_row(tmp_path, disk):
    """A row that failed for space, and then for another reason, holds nobody for ever."""
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        disk.full = True

        def free():
            disk.full = False
            here.fault(InjectedFault("html_video", prompt="cat 0"))

        group.start_soon(later, 45, free)
        with anyio.fail_after(10_000):
            summary = await here.run(cats(6), concurrency=1)
        assert summary.done >= 5
        assert summary.unsent == 0


@pytest.mark.parametrize("how", ["a file in its place", "a link to nowhere", errno.EIO, errno.EROFS])
async def test_a_folder_that_takes_no_videos_is_a_full_disk(tmp_path, disk, how):
    """Nothing new is sent, tasks are followed, the reason is told; once it takes them it all goes on."""
    async with lab(tmp_path, task_seconds=60) as here, anyio.create_task_group() as group:
        here.fault(InjectedFault("never_ends", prompt="cat 0"))
        group.start_soon(later, 20, lambda: spoil(here.out / "videos", disk, how))
        async with here.batch(cats(30), bounds=sending.Bounds(concurrency=4, timeout=5000)) as batch:
            await batch.plan()

            def mend():
                seen.append((here.charges, batch.progress().reasons))
                unspoil(here.out / "videos", disk)

            seen = []
            group.start_soon(later, 400, mend)
            summary = await batch.run()
        assert (summary.done, summary.under_way, summary.unsent) == (29, 1, 0)
        ((charges, (reason,)),) = seen
        assert charges <= 8
        assert "takes no videos" in reason


@pytest.mark.parametrize("how", ["a file in its place", "a link to nowhere", errno.EIO])
async def test_a_folder_that_takes_no_videos_to_the_end(tmp_path, disk, how):
    """It ends in good order with the reason and what to do; what was paid is stored by the next run."""
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        group.start_soon(later, 20, lambda: spoil(here.out / "videos", disk, how))
        summary = await here.run(cats(200), concurrency=20)
        paid = here.charges
        assert 20 <= paid <= 40
        assert (summary.done, summary.not_stored, summary.unsent) == (0, paid, 200 - paid)
        assert f"{here.out / 'videos'} takes no videos" in summary.stopped
        assert "run again" in summary.stopped
        unspoil(here.out / "videos", disk)
        assert (await here.run(cats(200), limit=0)).done == paid
        assert here.charges == paid


async def test_a_folder_that_takes_no_videos_from_the_beginning(tmp_path, disk):
    """Not one create is sent to find that out."""
    async with lab(tmp_path) as here:
        async with here.batch(cats(3)) as batch:
            await batch.plan()
            spoil(here.out / "videos", disk, "a file in its place")
            summary = await batch.run()
        assert (here.charges, summary.unsent) == (0, 3)
        assert "takes no videos" in summary.stopped


async def test_one_file_that_cannot_be_made_holds_nobody(tmp_path, monkeypatch):
    """A folder in the place of its part, or a name that is too long here, is that row's trouble alone."""
    names = {"r0.mp4": errno.ENAMETOOLONG, "r1.mp4": errno.EISDIR, "r2.mp4": errno.EACCES}
    opened = PartFile.open

    def open_part(part):
        if part.target.name in names:
            raise OSError(names[part.target.name], "odd")
        opened(part)

    monkeypatch.setattr(PartFile, "open", open_part)
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        group.start_soon(later, 10, lambda: (here.out / "videos" / "r3.mp4.part").mkdir())
        summary = await here.run(cats(20), concurrency=4)
        assert (summary.done, summary.not_stored, summary.unsent) == (16, 4, 0)
        assert summary.stopped is None
        assert here.charges == 20


def spoil(videos, disk, how):
    """Make a folder that takes no videos."""
    if isinstance(how, int):
        disk.full, disk.says = True, how
        return
    shutil.rmtree(videos)
    if how == "a file in its place":
        videos.write_bytes(b"x")
    else:
        videos.symlink_to("nowhere")


def unspoil(videos, disk):
    """And one that does again."""
    disk.full = False
    if not videos.is_dir():
        videos.unlink()
        videos.mkdir()


async def test_a_backlog_of_downloads_holds_creates(tmp_path):
    """While the videos that wait would take more than half of the time until the first URL dies, nothing is sent."""
    hasty = Jimmy()
    hasty = attrs.evolve(hasty, abilities=attrs.evolve(hasty.abilities, url_lifetime=1200.0))
    wall, loop = time.time(), asyncio.get_running_loop()
    began, seen = loop.time(), []
    async with lab(tmp_path, hasty, task_seconds=20, video_bytes=400_000) as here:
        here.fault(InjectedFault("slow", on="file", seconds=80))
        async with here.batch(cats(120), bounds=sending.Bounds(concurrency=15)) as batch:
            batch._run.fetcher.backlog._wall = lambda: wall + loop.time() - began

            async def watch():
                while True:
                    await anyio.sleep(5)
                    seen.append((here.charges, batch.progress().reasons))

            await batch.plan()
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                assert (await batch.run()).ok
                group.cancel_scope.cancel()
        held = [charges for charges, reasons in seen if any("wait to be fetched" in reason for reason in reasons)]
        assert 30 <= held[0] < 120
        assert here.charges == 120


# --- a video server that cannot be reached -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["drop", "html_502", "hang", "drop_mid_answer"])
async def test_a_video_server_that_is_down_for_two_minutes(tmp_path, kind):
    """In the middle of a batch: creates go on, every video is stored once, and the view tells of it meanwhile."""
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        stored, seen = [], []
        group.start_soon(later, 40, lambda: here.fault(InjectedFault(kind, on="file")))
        group.start_soon(later, 160, lambda: here.fault())
        keep = {"on_event": lambda event: stored.append(event.custom_id) if isinstance(event, Downloaded) else None}
        async with here.batch(cats(16), bounds=sending.Bounds(concurrency=4), **keep) as batch:
            loop = asyncio.get_running_loop()
            loop.call_later(159, lambda: seen.append((here.charges, batch.progress().outage)))  # as the views look
            await batch.plan()
            summary = await batch.run()
        assert summary.ok
        assert sorted(stored) == sorted(f"r{number}" for number in range(16))
        assert here.charges == 16
        ((charges, outage),) = seen
        assert charges > 8
        assert 4 <= outage.videos <= charges
        assert 700 < outage.left <= fetching.PATIENCE
        assert batch.progress().outage is None
        asked = here.asked("file")
        assert (await here.run(cats(16))).ok
        assert here.asked("file") == asked


@pytest.mark.parametrize(
    ("gateway", "reason"), [("jimmy", fetching.PATIENCE), ("gemini_omni", 3000.0)], ids=["unknown", "told"]
)
async def test_a_video_server_that_stays_down(tmp_path, gateway, reason):
    """Until the URLs die, or for a quarter of an hour if nobody tells when; the next run fetches what was paid for."""
    async with lab(tmp_path, gateway, url_seconds=3000) as here:
        here.fault(InjectedFault("drop", on="file"), url_seconds=3000)
        began = anyio.current_time()
        summary = await here.run(cats(3))
        assert reason - 1 < anyio.current_time() - began < reason + 100
        assert (summary.not_stored, summary.failed, summary.under_way) == (3, 0, 0)
        assert {line["id"] for line in here.lines} == {"r0", "r1", "r2"}
        assert all("could not be" in line["error"] or "broke off" in line["error"] for line in here.lines)
        here.fault()
        assert (await here.run(cats(3))).ok
        assert here.charges == 3


async def test_videos_of_another_server_are_not_kept_waiting(tmp_path):
    """However many cannot be fetched: those are asked for less and less often, and after the others."""
    async with lab(tmp_path, task_seconds=5) as here:
        here.fault(InjectedFault("html_502", on="file", prompt="dog"))
        rows = [{"id": f"d{number}", "prompt": f"dog {number}"} for number in range(30)]
        async with here.batch([*rows, *cats(30)], bounds=sending.Bounds(concurrency=10)) as batch:
            await batch.plan()
            with anyio.move_on_after(300):
                await batch.run()
            assert {f"{row['id']}.mp4" for row in cats(30)} <= set(here.videos)
            outage = batch.progress().outage
            assert outage.videos == 30
            assert outage.reason == "the video's server answered HTTP 502"
            assert here.asked("file") < 30 + 30 * 3 * 9


@attrs.frozen(kw_only=True, repr=False)
class _TwoServers(Jimmy):
    """Half of its videos are on another server than the gateway's."""

    def read_query(self, reply):
        """What the answer says, but for that."""
        task = super().read_query(reply)
        half = task.video_url is not None and sum(task.task_id.encode()) % 2
        return attrs.evolve(task, video_url=f"https://dead.example/{task.task_id}.mp4") if half else task


@pytest.mark.parametrize(("seconds", "asked"), [(40.0, None), (0.0, 120.0)], ids=["silent", "busy"])
async def test_videos_of_a_good_server_do_not_wait_for_tries_at_a_dead_one(tmp_path, monkeypatch, seconds, asked):
    """Each try takes long, or the dead one asks for long pauses: good videos come as if it was not there."""
    ask, tried = Connections.ask, []

    async def answer(connections, url, headers):
        if url.host != "dead.example":
            return await ask(connections, url, headers)
        tried.append(anyio.current_time())
        await anyio.sleep(seconds)
        return Setback(DownloadError("it fails: later", temporary=True, retry_after=asked), pause=asked)

    monkeypatch.setattr(Connections, "ask", answer)
    async with lab(tmp_path, _TwoServers(), task_seconds=20) as here:
        began, came = anyio.current_time(), []
        keep = {"on_event": lambda event: came.append(anyio.current_time()) if isinstance(event, Downloaded) else None}
        async with here.batch(cats(120), **keep) as batch:
            await batch.plan()
            with anyio.move_on_after(600):
                await batch.run()
            assert batch.progress().outage.videos > 30
        dead = sum(sum(row["task_id"].encode()) % 2 for row in here.rows.values())
        assert len(came) == 120 - dead
        assert max(came) - began < 20 + 60
        assert len(tried) > 50


async def test_videos_of_a_good_server_do_not_wait_for_those_that_another_refuses(tmp_path, monkeypatch):
    """These rest between their few tries, and others have their turns meanwhile."""
    ask, tried = Connections.ask, []

    async def answer(connections, url, headers):
        if url.host != "dead.example":
            return await ask(connections, url, headers)
        tried.append(url.path)
        return Setback(ResultExpiredError("the video's URL no longer works (HTTP 403)"), again=False)

    monkeypatch.setattr(Connections, "ask", answer)
    async with lab(tmp_path, _TwoServers(), task_seconds=20) as here:
        began, came = anyio.current_time(), []
        keep = {"on_event": lambda event: came.append(anyio.current_time()) if isinstance(event, Downloaded) else None}
        summary = await here.run(cats(120), **keep)
        dead = sum(sum(row["task_id"].encode()) % 2 for row in here.rows.values())
        assert (len(came), summary.not_stored, len(tried)) == (120 - dead, dead, dead * 2 * fetching.TRIES)
        assert max(came) - began < 20 + 20


async def test_what_is_known_not_to_come_ends_as_soon_as_ever(tmp_path):
    """A refusal is no outage: a few tries, and the run is over."""
    async with lab(tmp_path, renew_urls=False) as here:
        await here.run(cats(1))
        (here.out / "videos" / "r0.mp4").unlink()
        here.emulator.skip(10 * 86_400)
        began = anyio.current_time()
        assert (await here.run(cats(1))).not_stored == 1
        assert anyio.current_time() - began < 20


async def test_a_pause_that_the_video_server_asks_for(tmp_path, monkeypatch):
    """It is kept before the video is asked for again."""
    at, fetch = [], Store._fetch

    async def busy(store, entry, target):
        at.append(anyio.current_time())
        if len(at) == 1:
            raise DownloadError("the video's server answered HTTP 429: later", temporary=True, retry_after=100.0)
        await fetch(store, entry, target)

    monkeypatch.setattr(Store, "_fetch", busy)
    async with lab(tmp_path) as here:
        assert (await here.run(cats(1))).ok
    assert 100 <= at[1] - at[0] < 103


async def test_many_videos_that_cannot_be_fetched_hold_creates(tmp_path):
    """Nothing more is paid for while what was paid for might be lost."""
    hasty = Jimmy()
    hasty = attrs.evolve(hasty, abilities=attrs.evolve(hasty.abilities, url_lifetime=400.0))
    wall, loop = time.time(), asyncio.get_running_loop()
    began = loop.time()
    async with lab(tmp_path, hasty, task_seconds=5) as here:
        here.fault(InjectedFault("html_502", on="file"))
        async with here.batch(cats(400), bounds=sending.Bounds(concurrency=5)) as batch:
            batch._run.fetcher.backlog._wall = lambda: wall + loop.time() - began
            await batch.plan()
            with anyio.move_on_after(300):
                await batch.run()
            assert any("wait to be fetched" in reason for reason in batch.progress().reasons)
        assert 10 < here.charges < 150


@pytest.mark.parametrize("first", [True, False], ids=["the first ones", "one of two"])
async def test_videos_of_a_server_that_stays_down_hold_no_creates(tmp_path, first):
    """As long as others come, nothing says that what is paid for is lost: not to the end of their URLs."""
    dead = [{"id": f"d{number}", "prompt": f"dog {number}"} for number in range(30)]
    rows = [*dead, *cats(90)] if first else [row for pair in zip(dead, cats(30), strict=True) for row in pair]
    async with lab(tmp_path, "gemini_omni", task_seconds=60, url_seconds=3600) as here:
        here.fault(InjectedFault("html_502", on="file", prompt="dog"), url_seconds=3600)
        loop, seen = asyncio.get_running_loop(), []
        async with here.batch(rows, bounds=sending.Bounds(concurrency=10)) as batch:
            began, wall = loop.time(), time.time()
            batch._run.fetcher.backlog._wall = lambda: wall + loop.time() - began

            async def watch():
                while True:
                    await anyio.sleep(1)
                    seen.extend(batch.progress().reasons)

            await batch.plan()
            with anyio.move_on_after(30 + len(rows) / 10 * 70):
                async with anyio.create_task_group() as group:
                    group.start_soon(watch)
                    await batch.run()
        assert here.charges == len(rows)
        assert not seen


async def test_ctrl_c_does_not_wait_for_a_video_server(tmp_path):
    """What rests is left to the next run."""
    async with lab(tmp_path) as here:
        here.fault(InjectedFault("html_502", on="file"))
        with anyio.move_on_after(100) as scope:
            await here.run(cats(3))
        assert scope.cancelled_caught
        assert set(here.states.values()) == {State.SUCCEEDED}
        here.fault()
        assert (await here.run(cats(3))).ok


async def test_videos_that_die_first_are_fetched_first(tmp_path):
    """Of those that wait, the soonest expiry goes first."""
    async with lab(tmp_path) as here:
        with anyio.move_on_after(32):
            await here.run(cats(30), concurrency=30)
        here.change("UPDATE item SET state = 'SUCCEEDED' WHERE state = 'DONE'")
        for path in (here.out / "videos").iterdir():
            path.unlink()
        await here.run(cats(30))
        here.change("UPDATE item SET state = 'SUCCEEDED', size = NULL, sha256 = NULL")
        for path in (here.out / "videos").iterdir():
            path.unlink()
        for number in range(30):
            here.change("UPDATE item SET expires_at = ? WHERE key = ?", 4e9 - number, f"r{number}")
        order = []
        await here.run(on_event=lambda event: order.append(event.custom_id))
        assert set(order[:8]) <= {f"r{number}" for number in range(18, 30)}
        assert order[-1] in {f"r{number}" for number in range(8)}


@pytest.mark.parametrize("renewed", [True, False])
async def test_urls_that_died(tmp_path, renewed):
    """A fresh URL is asked for; where there is none the row is expired, and paid again only when that is asked for."""
    async with lab(tmp_path, renew_urls=renewed) as here:
        await here.run(cats(1))
        (here.out / "videos" / "r0.mp4").unlink()
        here.emulator.skip(10 * 86_400)
        here.change("UPDATE item SET expires_at = sent_at + 0.001, state = 'SUCCEEDED', size = NULL, sha256 = NULL")
        summary = await here.run(cats(1))
        if renewed:
            assert summary.ok
            assert here.charges == 1
            return
        assert here.statuses == {"r0": "expired"}
        assert summary.failed == 1
        await here.run(cats(1))
        assert here.charges == 1
        assert (await here.run(cats(1), retry_failed=True)).ok
        assert here.charges == 2


async def test_a_folder_of_videos_that_is_away_costs_nothing(tmp_path):
    """Not mounted, say, and the URLs have died: nothing is expired or paid again, and back in its place it is known."""
    async with lab(tmp_path, renew_urls=False) as here:
        await here.run(cats(2))
        videos, away = here.out / "videos", tmp_path / "away"
        videos.rename(away)
        here.emulator.skip(10 * 86_400)
        here.change("UPDATE item SET expires_at = sent_at + 0.001")
        for options in ({}, {"retry_failed": True}):
            summary = await here.run(cats(2), **options)
            assert (summary.not_stored, summary.under_way, summary.count(State.SUCCEEDED)) == (2, 0, 2)
            assert "its file has gone and its URL has died: put the file back" in here.lines[0]["error"]
        videos.rmdir()
        away.rename(videos)
        asked = here.asked("file")
        assert (await here.run(cats(2), retry_failed=True)).ok
        assert (here.charges, here.asked("file"), here.videos) == (2, asked, ["r0.mp4", "r1.mp4"])


async def test_videos_of_expired_rows_that_are_in_their_places_are_not_paid_again(tmp_path):
    """They were away when the URLs died, in a run of an older version: found before the plan is made, a dry one too."""
    async with lab(tmp_path) as here:
        await here.run(cats(3))
        here.change("UPDATE item SET state = 'EXPIRED', detail = 'too late'")
        (here.out / "videos" / "r2.mp4").write_bytes(b"another")
        plan = dry_plan(cats(3), out=here.out, sheet_options=SheetOptions(retry_failed=True))
        assert plan.to_pay == 1
        (here.out / "videos" / "r2.mp4").unlink()
        assert (await here.run(cats(3), retry_failed=True)).ok
        assert here.charges == 4


async def test_a_video_that_is_not_there_yet_is_not_given_up_for_ever(tmp_path):
    """Not found before its time is over: tried again, and left to the next run rather than expired."""
    async with lab(tmp_path, renew_urls=False) as here:
        await here.run(cats(1))
        (here.out / "videos" / "r0.mp4").unlink()
        here.emulator.skip(10 * 86_400)  # its store refuses the URL, which by the journal lives for days
        summary = await here.run(cats(1))
        assert here.states["r0"] is State.SUCCEEDED
        assert (summary.not_stored, summary.under_way) == (1, 0)
        here.fault(renew_urls=True)
        assert (await here.run(cats(1))).ok
        assert here.charges == 1


async def test_a_clock_that_is_set_forward_in_the_middle_of_a_run_expires_nothing(tmp_path, monkeypatch):
    """A machine that had no time yet when it began: a video that is not there yet is left to the next run."""
    async with lab(tmp_path, renew_urls=False) as here:
        await here.run(cats(1))
        (here.out / "videos" / "r0.mp4").unlink()
        here.change("UPDATE item SET state = 'SUCCEEDED', size = NULL, sha256 = NULL")
        here.emulator.skip(10 * 86_400)
        true, bring = time.time, Store._fetch

        async def set_forward(store, *arguments):
            monkeypatch.setattr(time, "time", lambda: true() + 30 * 86_400)
            await bring(store, *arguments)

        monkeypatch.setattr(Store, "_fetch", set_forward)
        assert (await here.run(cats(1))).not_stored == 1
        assert (here.states["r0"], here.charges) == (State.SUCCEEDED, 1)


@pytest.mark.parametrize("until", [86_400, None], ids=["seconds from now", "before it was sent"])
async def test_an_expiry_that_cannot_be_true_expires_nothing(tmp_path, until):
    """A gateway that counts from now, say: its URL is tried first, and one that is not found yet is not paid again."""
    async with lab(tmp_path, renew_urls=False) as here:
        await here.run(cats(1))
        (here.out / "videos" / "r0.mp4").unlink()
        here.change("UPDATE item SET expires_at = coalesce(?, sent_at - 60)", until)
        here.change("UPDATE item SET state = 'SUCCEEDED', size = NULL, sha256 = NULL")
        here.emulator.skip(10 * 86_400)
        assert (await here.run(cats(1), retry_failed=True)).not_stored == 1
        assert (here.states["r0"], here.charges) == (State.SUCCEEDED, 1)
        here.fault(renew_urls=True)
        assert (await here.run(cats(1))).ok
        assert here.charges == 1


async def test_a_download_cut_by_a_crash_goes_on(tmp_path):
    """A `.part` that was left is gone on with (FAULTS row 59)."""
    async with lab(tmp_path, video_bytes=3_000_000, faults=(InjectedFault("truncated_video", first=3),)) as here:
        await here.run(cats(1))
        assert here.videos == ["r0.mp4"]
        assert (here.out / "videos" / "r0.mp4").stat().st_size == 3_000_000


async def test_a_crash_between_a_file_and_its_record(tmp_path):
    """The finished file is known by its hash: not fetched again, not told as somebody else's; a link is not it."""
    async with lab(tmp_path) as here:
        await here.run(cats(2))
        here.change("UPDATE item SET state = 'SUCCEEDED'")
        other = here.out / "videos" / "r1.mp4"
        other.rename(tmp_path / "elsewhere.mp4")
        other.symlink_to(tmp_path / "elsewhere.mp4")
        asked = here.asked("file")
        summary = await here.run()
        assert (summary.done, summary.not_stored) == (1, 1)
        assert here.asked("file") == asked
        assert "exists already" in here.lines[1]["error"]


async def test_what_the_disk_says_is_told_in_our_words(tmp_path):
    """A file in the place of a video's folder: a row that could not be stored, no traceback."""
    async with lab(tmp_path) as here:
        with anyio.move_on_after(5):
            await here.run([{"id": "a", "prompt": "a", "file": "EP/a"}, *cats(1)])
        (here.out / "videos" / "EP").write_bytes(b"a file")
        summary = await here.run()
        assert (summary.done, summary.not_stored) == (1, 1)
        assert here.lines[0]["error"].startswith("not stored: ")


# --- the journal -------------------------------------------------------------------------------------------------


async def test_a_journal_that_cannot_be_written(tmp_path, monkeypatch):
    """Nothing is sent that cannot be written down; the run ends with the reason, and the next one goes on."""
    async with lab(tmp_path, task_seconds=60) as here:
        intend, broken = Ledger.intend, []

        def failing(ledger, intent, **more):
            if broken:
                raise sqlite3.OperationalError("disk I/O error")
            return intend(ledger, intent, **more)

        monkeypatch.setattr(Ledger, "intend", failing)
        async with anyio.create_task_group() as group:
            group.start_soon(later, 30, lambda: broken.append(True))
            summary = await here.run(cats(10), concurrency=3)
        assert here.charges == 3
        assert "cannot be used" in summary.stopped
        assert (summary.unsent, summary.uncertain) == (7, 0)
        broken.clear()
        assert (await here.run(cats(10))).ok
        assert here.charges == 10


async def test_answers_that_a_full_disk_does_not_take(tmp_path, monkeypatch):
    """They are noted beside the journal and counted as what they are, paid and under way: nothing is to be settled."""
    async with lab(tmp_path, task_seconds=60) as here:
        with monkeypatch.context() as full:

            def failing(ledger, key, answer):
                raise JournalError("no space left for the journal: free some", kind="full")

            full.setattr(Ledger, "answered", failing)
            summary = await here.run(cats(9), concurrency=3)
        assert set(here.states.values()) == {State.SUBMITTING, State.PLANNED}
        assert (summary.uncertain, summary.under_way, summary.unsent, summary.paid) == (0, 3, 6, 3)
        assert summary.noted == (here.out / "journal.sqlite3.lost.jsonl",)
        summary = await here.run()
        assert (summary.done, summary.noted, here.charges, summary.paid) == (9, (), 9, 9)


async def vanished(here, tmp_path):
    """A run whose journal goes while two creates are in flight; what came back for them is noted beside it."""

    def vanish():
        (here.out / "journal.sqlite3").rename(tmp_path / "gone")
        for left in ("-wal", "-shm"):
            (here.out / f"journal.sqlite3{left}").unlink()

    here.fault(InjectedFault("hang", on="create", seconds=5.0))
    async with anyio.create_task_group() as group:
        group.start_soon(later, 2, vanish)
        with pytest.raises(JournalError, match="removed or replaced") as caught:
            await here.run(cats(2))
    here.fault()
    return caught.value


@pytest.mark.parametrize("copy", [True, False], ids=["an older copy", "a new journal"])
async def test_a_journal_that_knows_less_than_what_was_noted_pays_nothing_twice(tmp_path, copy):
    """The rows stand in it as planned, or not at all: those tasks are followed, and their videos stored."""
    async with lab(tmp_path) as here:
        await here.plan(cats(2))
        older = (here.out / "journal.sqlite3").read_bytes()
        error = await vanished(here, tmp_path)
        noted = here.out / "journal.sqlite3.lost.jsonl"
        assert f"noted in {noted}: keep it" in str(error)
        assert (error.kind, error.may_have_charged, here.charges) == ("noted", True, 2)
        if copy:
            (here.out / "journal.sqlite3").write_bytes(older)
        assert dry_plan(cats(3), out=here.out).to_pay == 1
        summary = await here.run(cats(3, style="noir"))
        assert (summary.done, here.charges) == (3, 3)
        assert here.statuses == dict.fromkeys(["r0", "r1", "r2"], "succeeded")
        assert here.lines[0]["style"] == "noir"
        assert all(row["inputs"] for row in here.rows.values())


async def test_tasks_of_a_lost_journal_that_are_no_longer_in_the_sheet(tmp_path):
    """They were paid: followed, stored under their ids, and told."""
    async with lab(tmp_path) as here:
        await vanished(here, tmp_path)
        assert (await here.run(cats(1, first=7))).ok
        assert here.videos == ["r0.mp4", "r1.mp4", "r7.mp4"]
        assert sorted(line["file"] for line in here.lines) == [f"videos/{name}" for name in here.videos]


async def test_a_folder_that_is_moved_while_creates_are_in_flight(tmp_path, monkeypatch):
    """What came back for them is noted where nobody would look: it is named, and beside the journal it is entered."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    async with lab(tmp_path) as here:
        here.fault(InjectedFault("hang", on="create", seconds=5.0))
        async with anyio.create_task_group() as group:
            group.start_soon(later, 2, lambda: here.out.rename(tmp_path / "moved") and None)
            with pytest.raises(JournalError, match=r"the folder, as journal\.sqlite3\.lost\.jsonl") as caught:
                await here.run(cats(2))
        (noted,) = tmp_path.glob("omni_async-*.lost.jsonl")
        assert str(noted) in str(caught.value)
        here.fault()
        here.out = tmp_path / "moved"
        noted.rename(here.out / "journal.sqlite3.lost.jsonl")
        assert (await here.run(cats(2))).ok
        assert here.charges == 2


async def test_on_finished_is_told_of_a_stored_video_in_the_next_run(tmp_path):
    """It raised until the run ended: a video on disk is no reason not to tell of it."""
    told, broken = [], [True]

    async def tell(task):
        told.append(task.custom_id)
        if broken:
            raise RuntimeError("my database is down")

    async with lab(tmp_path) as here:
        assert (await here.run(cats(1), on_finished=tell)).ok
        broken.clear()
        told.clear()
        for _ in range(2):
            assert (await here.run(cats(1), on_finished=tell)).ok
        assert told == ["r0"]


async def test_a_journal_on_a_full_disk(tmp_path, monkeypatch):
    """Where a stored video cannot be written down for want of space, that is waited for as for the video's own."""
    async with lab(tmp_path) as here, anyio.create_task_group() as group:
        stored, full = Ledger.stored, [True]

        def failing(ledger, key, size):
            if full:
                raise JournalError("no space left for the journal: free some", kind="full")
            return stored(ledger, key, size)

        monkeypatch.setattr(Ledger, "stored", failing)
        group.start_soon(later, 45, full.clear)
        assert (await here.run(cats(3))).ok
        assert here.asked("file") == 3


async def test_results_that_cannot_be_written(tmp_path, caplog):
    """The journal has them: the run goes on, and says so once at its beginning and end."""
    async with lab(tmp_path) as here:
        (here.out / "results.jsonl.new").mkdir(parents=True)
        assert (await here.run(cats(2))).ok
        assert "the journal has them" in caplog.text
        (here.out / "results.jsonl.new").rmdir()
        await here.run()
        assert len(here.lines) == 2


async def test_a_dialect_that_trips_while_rows_are_sent(tmp_path, monkeypatch):
    """A defect ends the run with its own exception, and what was sent is recorded."""
    async with lab(tmp_path) as here:
        sent = sending.Sender._accepted

        def trip(sender, entry, task):
            sent(sender, entry, task)
            raise ArithmeticError("a defect")

        monkeypatch.setattr(sending.Sender, "_accepted", trip)
        with pytest.raises(ArithmeticError):
            await here.run(cats(5))
        assert State.UNCERTAIN not in here.states.values()
        monkeypatch.undo()
        assert (await here.run()).ok
        assert here.charges == 5


async def test_no_more_than_so_many_are_outstanding(tmp_path, monkeypatch):
    """Tasks of an earlier run count, too, and room never leaks."""
    monkeypatch.setattr(sending, "OUTSTANDING", 5)
    async with lab(tmp_path) as here:
        with anyio.move_on_after(5):
            await here.run(cats(20))
        assert here.charges == 5
        assert (await here.run(cats(20))).ok
        assert max(count for _, count in here.emulator.ledger.running) == 5


def test_as_many_are_fetched_at_once_as_the_backlog_reckons():
    """The estimate and the work agree."""
    assert fetching.STORERS == 8


# --- the parts by themselves -------------------------------------------------------------------------------------


class Lines(list):
    """Results that are only remembered."""

    def append(self, entry):
        """One more."""
        super().append(entry.key)


def entry(key, state, run=1, **more):
    """A row of the journal."""
    return Entry(key=key, gateway="jimmy", fingerprint="f", state=state, run=run, **more)


async def test_a_task_that_ends_before_its_create_returns_is_not_waited_for():
    """The follower may be faster than the submitter; either order leaves nothing open."""
    standing = Standing(Gate(), Lines())
    standing.ended("fast")
    standing.began("fast")
    standing.began("slow")
    assert list(standing.open) == ["slow"]
    standing.ended("slow")
    assert not standing.open


async def test_rows_of_earlier_sheets_are_not_counted_and_have_their_lines():
    """The sums are of this sheet; the results are of everything that was paid."""
    lines = Lines()
    standing = Standing(Gate(), lines, stop_after=2)
    standing.begins(2, {State.SUBMITTED: 1})
    standing.moved(entry("new", State.FAILED, run=2), State.SUBMITTED)
    standing.moved(entry("old", State.FAILED, run=1), State.SUBMITTED)
    assert +standing.states == {State.FAILED: 1}
    for row in (entry("old", State.DONE), entry("new", State.FAILED, run=2), entry("x", State.SUCCEEDED)):
        standing.settled(row)
    assert lines == ["old", "new"]
    assert standing.gate.closed is None
    standing.settled(entry("b", State.UNCERTAIN, run=2))
    assert standing.gate.closed == "stop_after_failures=2 is reached"
