"""From a described video to a file, one or many; checked before anything is paid."""

import asyncio
import itertools
import logging
import math
import os
from pathlib import Path

import anyio
import attrs
import pytest

from omni_async import (
    DownloadError,
    InvalidRequestError,
    Limits,
    OmniError,
    RateLimitError,
    RejectedError,
    TargetExistsError,
    TaskFailedError,
    TaskStatus,
    VideoRequest,
    WaitTimeoutError,
)
from omni_async.emulator.scenario import InjectedFault
from omni_async.many import AHEAD
from tests.fault_server import finished, scene
from tests.pairs import collect, outcomes, pair
from tests.warp import WarpLoop

LOOP = WarpLoop


# --- one ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
async def test_generate_submits_waits_and_stores(gateway, tmp_path):
    """One call from text to file."""
    async with pair(gateway) as (emulator, client):
        task = await client.generate("a cat", output=tmp_path / "cat.mp4", custom_id="row-1")
        assert (task.status, task.custom_id) == (TaskStatus.SUCCEEDED, "row-1")
        assert (tmp_path / "cat.mp4").read_bytes()[4:8] == b"ftyp"
        assert len(emulator.ledger.charges) == 1


@pytest.mark.parametrize("journalled", [False, True])
async def test_a_create_answered_as_finished_holds_no_slot(tmp_path, journalled):
    """Orders sent again, whose tasks have ended, keep no new one waiting; how long they took teaches nothing."""
    settings = {"journal": tmp_path / "journal" if journalled else None, "limits": Limits(max_running_tasks=2)}
    async with scene(*[finished("@ID", flat=True)] * 5, gateway="toapis", running=0, **settings) as here:
        began = asyncio.get_running_loop().time()
        for number in range(5):
            assert (await here.client.generate("a cat", custom_id=str(number))).video_url
        assert asyncio.get_running_loop().time() - began < 5
        assert here.client.limiter.run_time == 60.0
        assert (here.client.stats().running, len(here.server.charges)) == (0, 5)


async def test_generate_without_output_stores_nothing(tmp_path, monkeypatch):
    """No output, no file, no download."""
    monkeypatch.chdir(tmp_path)
    async with pair() as (emulator, client):
        assert (await client.generate("a cat")).video_url
        assert emulator.ledger.requests["file"] == 0
        assert list(tmp_path.iterdir()) == []


async def test_generate_into_a_folder(tmp_path):
    """A folder, there already or written with a slash, gets a file named after the request."""
    async with pair() as (_, client):
        await client.generate("a cat", output=tmp_path, custom_id="row-1")
        await client.generate("a cat", output=f"{tmp_path}/new/", custom_id="row-2")
        assert (tmp_path / "row-1.mp4").exists()
        assert (tmp_path / "new" / "row-2.mp4").exists()


async def test_an_existing_target_is_refused_before_paying(tmp_path):
    """A file of that name costs nothing; `overwrite` replaces it."""
    target = tmp_path / "cat.mp4"
    target.write_text("mine")
    async with pair() as (emulator, client):
        with pytest.raises(TargetExistsError) as caught:
            await client.generate("a cat", output=target, custom_id="row-1", metadata={"scene": 3})
        assert not caught.value.may_have_charged
        assert (caught.value.custom_id, caught.value.metadata) == ("row-1", {"scene": 3})
        assert emulator.ledger.requests.total() == 0
        await client.generate("a cat", output=target, overwrite=True)
        assert target.read_bytes()[4:8] == b"ftyp"


CLOSED = ["cat.txt/cat.mp4", "closed/cat.mp4", "closed/new/cat.mp4", "closed", "closed/", "closed/new/"]
NO_NAMES = [
    "a\0b.mp4",
    "new/a\0b.mp4",
    "a\0b/cat.mp4",
    "c" * 252,
    "c" * 300,
    "new/" + "c" * 252,
    "c" * 300 + "/cat.mp4",
]


@pytest.mark.parametrize("where", [*CLOSED, *NO_NAMES])
async def test_a_place_that_takes_no_video_is_refused_before_paying(tmp_path, monkeypatch, where):
    """Below a file, in a folder that may not be written to, or under a name that no file can have."""
    (tmp_path / "cat.txt").touch()
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda folder, _mode: Path(folder).name != "closed")  # root may write anywhere
    async with pair() as (emulator, client):
        with pytest.raises(DownloadError, match="cannot be written") as caught:
            await client.generate("a cat", output=f"{tmp_path}/{where}")
        assert not caught.value.may_have_charged
        assert emulator.ledger.requests.total() == 0


@pytest.mark.parametrize("where", ["cat.txt/", "closed/", "closed/new/"])
async def test_a_folder_that_takes_no_video_is_refused_before_paying(tmp_path, monkeypatch, where):
    """Also where the file's name will be the task id, which nobody knows yet; in a row of many, too."""
    (tmp_path / "cat.txt").touch()
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr(os, "access", lambda folder, _mode: Path(folder).name != "closed")
    async with pair() as (emulator, client):
        with pytest.raises(DownloadError, match="cannot be written") as caught:
            await client.generate("a cat", output=f"{tmp_path}/{where}")
        (row,) = await outcomes(client.generate_many(["a cat"], output=tmp_path / where))
        assert not caught.value.may_have_charged
        assert not row.error.may_have_charged
        assert row.task is None
        assert emulator.ledger.requests.total() == 0


async def test_generate_raises_what_its_steps_raise():
    """A failed task, a wait that ends, a slot that is not free."""
    faults = (InjectedFault("fail", prompt="bad"), InjectedFault("never_ends", prompt="slow"))
    async with pair(options={"limits": Limits(max_running_tasks=1)}, faults=faults) as (_, client):
        with pytest.raises(TaskFailedError):
            await client.generate("bad")
        with pytest.raises(WaitTimeoutError):
            await client.generate("slow", timeout=30)
        with pytest.raises(RateLimitError):
            await client.generate("a cat", max_wait=1)


async def test_all_faults_at_once_and_none_sent():
    """A broken request is refused with everything that is wrong; unknown fields with the nearest that exists."""
    async with pair() as (emulator, client):
        with pytest.raises(InvalidRequestError) as caught:
            await client.generate("", duration=7, resolution="9k", custom_id="row-1")
        assert {fault.field for fault in caught.value.faults} >= {"prompt", "duration", "resolution"}
        assert caught.value.custom_id == "row-1"
        with pytest.raises(InvalidRequestError, match="duration"):
            await client.generate("a cat", durration=6)
        with pytest.raises(InvalidRequestError, match="twice"):
            await client.generate({"prompt": "a cat"}, prompt="a dog")
        assert emulator.ledger.requests.total() == 0


@pytest.mark.parametrize("seconds", ["30", math.nan, True, -5, -math.inf])
@pytest.mark.parametrize("strict", [True, False])
async def test_a_wait_that_cannot_be_is_refused_before_paying(seconds, strict):
    """Together with the request's own faults: past the create it would cost the caller the id of a paid task."""
    async with pair(options={"strict": strict}) as (emulator, client):
        with pytest.raises(InvalidRequestError) as caught:
            await client.generate("", timeout=seconds, max_wait=seconds)
        assert {fault.field for fault in caught.value.faults} == {"prompt", "timeout", "max_wait"}
        with pytest.raises(InvalidRequestError, match="max_wait"):
            await client.submit("a cat", max_wait=seconds)
        with pytest.raises(InvalidRequestError, match="timeout"):
            client.generate_many(["a cat"], timeout=seconds)
        assert emulator.ledger.requests.total() == 0


@pytest.mark.parametrize("after", [20.0, 100.0])
async def test_a_caller_who_leaves_while_he_waits_or_downloads_leaves_the_id(after, tmp_path, caplog):
    """A web app's visitor who goes is paid for: `unclaimed()` has his task, and the log its id."""
    slowly = InjectedFault("slow", on="file", seconds=120)
    async with pair(latency=15.0, faults=(slowly,)) as (emulator, client):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(after):
                await client.generate("a cat", custom_id="order-7", output=tmp_path)
        (charge,) = emulator.ledger.charges
        (left,) = client.unclaimed()
        assert (left.request.custom_id, left.task.task_id) == ("order-7", charge.task_id)
        assert f"whoever waited for a paid video has gone: {charge.task_id}" in caplog.text


@pytest.mark.parametrize("kind", ["drop", "html_502", "hang"])
async def test_a_video_server_that_is_down_for_two_minutes(kind, tmp_path):
    """The video is stored all the same, and the pauses keep nobody from the one place for transfers."""
    down = InjectedFault(kind, on="file", prompt="dog", seconds=60 if kind == "hang" else None)
    async with pair(faults=(down,), options={"limits": Limits(max_connections=4)}) as (emulator, client):
        late = asyncio.ensure_future(client.generate("a dog", output=tmp_path / "dog.mp4"))
        await anyio.sleep(100)
        began = anyio.current_time()
        await client.generate("a cat", output=tmp_path / "cat.mp4")
        assert anyio.current_time() - began < 80
        assert not late.done()
        emulator.scenario = attrs.evolve(emulator.scenario, faults=())
        await late
        assert (tmp_path / "dog.mp4").stat().st_size == (tmp_path / "cat.mp4").stat().st_size


async def test_a_video_server_that_stays_down_ends_the_download(tmp_path):
    """After some minutes; downloading again costs nothing."""
    async with pair(faults=(InjectedFault("drop", on="file"),)) as (emulator, client):
        task = await client.wait(await client.submit("a cat"))
        began = anyio.current_time()
        with pytest.raises(DownloadError) as caught:
            await client.download(task, tmp_path / "cat.mp4")
        assert 298 < anyio.current_time() - began < 310
        assert caught.value.temporary
        emulator.scenario = attrs.evolve(emulator.scenario, faults=())
        await client.download(task, tmp_path / "cat.mp4")
        assert len(emulator.ledger.charges) == 1


async def test_a_callers_own_timeout_ends_a_download_that_rests(tmp_path):
    """And so does the client's end: neither waits for the next attempt."""
    async with pair(faults=(InjectedFault("drop", on="file"),)) as (_, client):
        task = await client.wait(await client.submit("a cat"))
        began = anyio.current_time()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(50):
                await client.download(task, tmp_path / "cat.mp4")
        late = asyncio.ensure_future(client.download(task, tmp_path / "cat.mp4"))
        await anyio.sleep(50)
        await client.aclose()
        with pytest.raises(DownloadError, match="client was closed: what is stored so far can be resumed") as caught:
            await late
        assert (caught.value.task_id, caught.value.may_have_charged) == (task.task_id, True)
        assert not caught.value.temporary
        assert anyio.current_time() - began < 101


async def test_videos_of_many_whose_server_is_down_come_when_it_is_up_again(tmp_path):
    """The others are not kept waiting, and nothing is paid twice."""
    async with pair(faults=(InjectedFault("drop", on="file", prompt="dog"),)) as (emulator, client):
        came, began = {}, anyio.current_time()
        rows = [VideoRequest(prompt=name, custom_id=f"{name}-{n}") for name in ("dog", "cat") for n in range(12)]
        async for one in client.generate_many(rows, output=tmp_path):
            assert one.path == tmp_path / f"{one.request.custom_id}.mp4"
            came[one.request.custom_id] = anyio.current_time() - began
            if len(came) == 12:
                emulator.scenario = attrs.evolve(emulator.scenario, faults=())
        assert all(name.startswith("cat") for name in list(came)[:12])
        assert list(came.values())[11] < 120
        assert len(emulator.ledger.charges) == 24


async def test_leaving_many_leaves_their_ids(caplog):
    """Those that run and those that were not taken; of many the log names some, and `unclaimed()` has all."""
    async with pair() as (emulator, client):
        iterator = client.generate_many(f"cat {n}" for n in range(60))
        taken = await anext(iterator)
        await iterator.aclose()
        known = {taken.task.task_id, *(one.task.task_id for one in client.unclaimed())}
        assert known == {charge.task_id for charge in emulator.ledger.charges}
        assert len(known) > 30
        assert f"whoever waited for {len(known) - 1} paid videos has gone" in caplog.text


@pytest.mark.parametrize(
    "single", ["a cat", b"a cat", {"prompt": "a cat", "duration": 6}, VideoRequest(prompt="a cat")]
)
async def test_a_single_request_is_not_taken_for_many(single, tmp_path):
    """Letter by letter, or name by name, each would be a video to pay."""
    async with pair() as (emulator, client):
        with pytest.raises(InvalidRequestError, match="put it into a list"):
            client.generate_many(single, output=tmp_path)
        assert emulator.ledger.requests.total() == 0


class Frame(list):
    """As pandas' own: to go through it gives the names of its columns."""

    columns = ("id", "prompt")

    def to_dict(self, orient):
        """Its rows."""


async def test_a_table_is_not_taken_for_its_columns():
    """Each name would be paid as a prompt."""
    async with pair() as (emulator, client):
        with pytest.raises(InvalidRequestError, match="requests: a Frame is not taken itself: give its rows"):
            client.generate_many(Frame(["id", "prompt"]))
        assert not emulator.ledger.charges


async def test_not_strict_warns_and_sends(caplog):
    """With strict=False what the documents refuse is told and sent; what no gateway could read is still refused."""
    async with pair(options={"strict": False}) as (emulator, client):
        with caplog.at_level(logging.WARNING, "omni_async"):
            assert client.check("a cat", duration=7).warnings
            with pytest.raises(RejectedError):
                await client.submit("a cat", duration=7)
        assert "duration" in caplog.text
        assert emulator.ledger.requests["create"] == 1
        with pytest.raises(InvalidRequestError):
            client.check("a cat", duration="six")


async def test_check_sends_nothing():
    """Checking costs no request, and gives what is doubtful."""
    async with pair() as (emulator, client):
        assert client.check("a cat", duration=6).faults == ()
        with pytest.raises(InvalidRequestError):
            client.check("a cat", duration=7)
        assert emulator.ledger.requests.total() == 0


# --- many --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
async def test_many_into_a_folder(gateway, tmp_path):
    """A file per row, named after it; rows as texts, mappings and requests; errors beside the others."""
    rows = [
        "a cat",
        {"prompt": "a dog", "custom_id": "dog"},
        VideoRequest(prompt="bad", custom_id="bad"),
        {"prompt": 7},
    ]
    async with pair(gateway, faults=(InjectedFault("fail", prompt="bad"),)) as (emulator, client):
        done = await outcomes(client.generate_many(rows, output=tmp_path / "videos"))
        good = [one for one in done if one.ok]
        assert len(done) == 4
        assert sorted(one.path.name for one in good) == sorted(["dog.mp4", f"{unnamed(good).task_id}.mp4"])
        assert all(one.path.read_bytes()[4:8] == b"ftyp" for one in good)
        errors = [type(one.error) for one in done if not one.ok]
        assert sorted(kind.__name__ for kind in errors) == ["InvalidRequestError", "TaskFailedError"]
        assert len(emulator.ledger.charges) == 3
        assert emulator.ledger.keys_at_files == 0


def unnamed(good):
    """The task of the row without a name."""
    return next(one.task for one in good if one.request.custom_id is None)


async def test_existing_targets_of_many_are_refused_before_paying(tmp_path):
    """A row whose file is there already is an error of its own, and is not paid for."""
    (tmp_path / "dog.mp4").write_text("mine")
    rows = [{"prompt": "a dog", "custom_id": "dog"}, {"prompt": "a cat", "custom_id": "cat"}]
    async with pair() as (emulator, client):
        done = await outcomes(client.generate_many(rows, output=tmp_path))
        (refused,) = (one for one in done if not one.ok)
        assert isinstance(refused.error, TargetExistsError)
        assert not refused.error.may_have_charged
        assert [charge.prompt for charge in emulator.ledger.charges] == ["a cat"]
        assert (tmp_path / "dog.mp4").read_text() == "mine"


async def test_the_same_row_twice_is_two_outcomes():
    """Where a gateway answers a repeated row with the task it made before, both rows end, and one is paid."""
    async with pair("toapis") as (emulator, client):
        row = {"prompt": "a cat", "custom_id": "cat"}
        done = await outcomes(client.generate_many([row, row]))
        assert len(done) == 2
        assert len({one.task.task_id for one in done}) == len(emulator.ledger.charges) == 1


async def test_an_endless_source_with_few_slots():
    """An infinite iterator is pulled only as fast as videos are made."""
    pulled = itertools.count()
    async with pair(options={"limits": Limits(max_running_tasks=3)}) as (emulator, client):
        seen = 0
        async for one in client.generate_many(f"cat {next(pulled)}" for _ in itertools.repeat(None)):
            assert one.ok
            seen += 1
            if seen == 20:
                break
        assert max(running for _, running in emulator.ledger.running) == 3
        assert len(emulator.ledger.charges) <= 24
        assert next(pulled) <= 27


@pytest.mark.parametrize("where", ["nowhere", "folder and journal"])
async def test_few_are_pulled_beyond_those_that_an_account_runs(where, tmp_path):
    """Also while nobody has told how many it runs: four that wait, and those that it has refused for now."""
    pulled, kept = [], {} if where == "nowhere" else {"output": tmp_path / "videos"}
    options = {} if where == "nowhere" else {"journal": tmp_path / "j"}
    async with pair(running_tasks=2, task_seconds=30, options=options) as (emulator, client):

        def rows():
            for number in itertools.count():
                pulled.append(number)
                yield {"prompt": f"cat {number}", "custom_id": f"row-{number}"}

        many = client.generate_many(rows(), **kept)
        for _ in range(10):
            assert (await anext(many)).ok
            assert len(pulled) <= len(emulator.ledger.charges) + 3 * AHEAD
        await many.aclose()


async def test_local_files_are_uploaded_side_by_side(tmp_path):
    """Whoever uploads does not wait for leave, and keeps none from being pulled."""
    for n in range(10):
        (tmp_path / f"{n}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"%d" % n)
    rows = [{"prompt": "mist", "image_urls": [tmp_path / f"{n}.png"], "generation_type": "frame"} for n in range(10)]
    async with pair(latency=5) as (emulator, client):
        many = client.generate_many(rows)
        first = asyncio.ensure_future(anext(many))
        await anyio.sleep(4)
        assert emulator.ledger.requests["upload"] == 10
        assert (await first).ok
        await many.aclose()


async def test_an_async_source_may_be_slow():
    """Rows that come one by one are run as they come."""

    async def rows():
        for i in range(5):
            await anyio.sleep(100)
            yield f"cat {i}"

    async with pair() as (emulator, client):
        assert len(await outcomes(client.generate_many(rows()))) == 5
        starts = [charge.at for charge in emulator.ledger.charges]
        assert all(90 <= b - a <= 110 for a, b in itertools.pairwise(starts))


async def test_rows_that_wait_too_long():
    """A row's wait ends after its timeout, with a last look just before; the others go on."""
    async with pair(faults=(InjectedFault("never_ends", prompt="slow"),)) as (_, client):
        done = await outcomes(client.generate_many(["slow", "a cat"], timeout=100))
        assert [one.ok for one in done] == [True, False]
        assert isinstance(done[1].error, WaitTimeoutError)
        assert done[1].task.status is TaskStatus.RUNNING
        assert client.stats().following == 0


async def test_closing_the_client_meanwhile():
    """Rows in work end with an error each, the rest is not submitted, and that is said last."""
    seen = []
    options = {"limits": Limits(max_running_tasks=3)}
    async with pair(options=options) as (emulator, client):
        rows = asyncio.ensure_future(collect(client.generate_many(itertools.repeat("a cat")), seen))
        await anyio.sleep(10)
        async with asyncio.timeout(300):
            await client.aclose()
            with pytest.raises(OmniError, match="closed"):
                await rows
        assert len(emulator.ledger.charges) == 3
        await anyio.sleep(300)
        assert len(emulator.ledger.charges) == 3
        assert all("closed" in str(one.error) for one in seen)


async def test_a_submit_that_waits_for_a_slot_when_the_client_is_closed():
    """It is told so, and nothing is sent afterwards."""
    options = {"limits": Limits(max_running_tasks=1)}
    async with pair(options=options) as (emulator, client):
        await client.submit("a cat")
        waiting = asyncio.ensure_future(client.submit("another"))
        await anyio.sleep(2)
        await client.aclose()
        async with asyncio.timeout(5000):
            with pytest.raises(OmniError, match="closed") as caught:
                await waiting
        assert not caught.value.may_have_charged
        assert len(emulator.ledger.charges) == 1
