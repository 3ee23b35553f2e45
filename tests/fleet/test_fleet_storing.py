"""A fleet's finished tasks into files: what cannot be had yet rests in the queue; nothing paid is given up early."""

import asyncio
import contextlib
import errno
from functools import partial

import needed  # noqa: F401 - skips
import pytest
from fleets import fleet, until
from postgres import ask

from omni_async.cli.fleetview import picture
from omni_async.emulator import InjectedFault
from omni_async.errors import AuthenticationError, DownloadError, ResultExpiredError, TransportError
from omni_async.fleet import storing as storing_
from omni_async.fleet.admin import fleet_status
from omni_async.fleet.looking import looking
from omni_async.fleet.places import Places
from omni_async.fleet.storing import rest
from omni_async.journal import State
from omni_async.journal.entries import write_task
from omni_async.models import TaskStatus, VideoTask
from omni_async.policies import Timeouts
from omni_async.turns import IN_VAIN

DAY = 86400.0
GONE = {"url_seconds": 0.0, "renew_urls": False}
"""A server that refuses every video, of a gateway that has no other URL."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Videos rest a moment."""
    monkeypatch.setattr(storing_, "LATER", 0.05)


# --- refused --------------------------------------------------------------------------------------------------------


async def test_a_video_that_its_server_refuses_before_its_url_dies_is_tried_again_until_it_comes(postgres, tmp_path):
    """A server that is down may answer 403: what is EXPIRED might be paid again."""
    async with fleet(postgres, tmp_path, **GONE) as here:
        await here.add("r0")
        async with here.at_work(here.worker()):
            await until(lambda: _told(here, "not stored: the video's URL no longer works"))
            assert await here.states() == {"r0": "SUCCEEDED"}
            mended(here)
            await here.until("DONE")
        assert len(here.charged()) == 1


@pytest.mark.parametrize("told", [True, False], ids=["by the gateway's word", "by its documents"])
async def test_a_video_that_is_refused_after_its_url_died_is_expired(postgres, tmp_path, told):
    """It was paid; it is not made again by itself, and nobody asks for it any more."""
    async with fleet(postgres, tmp_path, **GONE) as here:
        await here.add("r0")
        async with here.at_work(here.worker()):
            await until(lambda: _told(here, "not stored: "))
            age(here, told=told)
            await here.until("EXPIRED")
            await until(lambda: _no_jobs(here))
        assert len(here.charged()) == 1


async def test_a_video_that_was_whole_on_some_machine_is_not_expired(postgres, tmp_path):
    """Its storage failed until its URL died: it waits there in a file, and the others are not to give it up."""
    async with fleet(postgres, tmp_path, **GONE) as here:
        await here.add("r0")
        async with here.at_work(here.worker()):
            await until(lambda: _told(here, "not stored: "))
            ask(here.dsn, "UPDATE omni_item SET size = 9, sha256 = 'x'")
            age(here, told=False)
            await until(lambda: _told(here, "it arrived whole before"))
            assert await here.states() == {"r0": "SUCCEEDED"}
            mended(here)
            await here.until("DONE")
        assert len(here.charged()) == 1


def test_a_video_rests_longer_each_time_and_less_towards_the_end_of_its_url(monkeypatch):
    """So that a try is made shortly before that, and one just after."""
    monkeypatch.setattr(storing_, "LATER", 5.0)
    assert [rest(tries, left=3 * DAY, longest=900.0) for tries in (0, 1, 2, 9, 10**6)] == [5, 10, 20, 900, 900]
    assert [rest(9, left=left, longest=900.0) for left in (3600.0, 80.0, 1.0)] == [450, 10, 5]
    assert rest(9, left=-DAY, longest=900.0) == 900
    assert rest(0, left=DAY, longest=900.0, asked=30.0) == 30
    assert rest(0, left=DAY, longest=900.0, asked=DAY) == 900


# --- other troubles -------------------------------------------------------------------------------------------------


class Failing:
    """A storage that fails so often, and then works."""

    def __init__(self, storage, *errors):
        self.check, self._store, self.errors = storage.check, storage.store, list(errors)

    async def store(self, *given, **more):
        """See `Storage.store`."""
        if self.errors:
            raise self.errors.pop()
        return await self._store(*given, **more)


def failing(here, *errors):
    """A worker whose storage fails."""
    worker = here.worker()
    worker.storing._storage = Failing(worker.storing._storage, *errors)
    return worker


async def test_a_gateway_that_is_down_when_a_fresh_url_is_asked_for_is_no_surprise(postgres, tmp_path, caplog):
    """The video rests as it does when its server is down; no traceback is written to the log."""
    async with fleet(postgres, tmp_path) as here:
        await here.add("r0")
        async with here.at_work(failing(here, TransportError("no answer"), AuthenticationError("refused"))):
            await here.until("DONE")
        assert "unexpected" not in caplog.text


async def test_a_full_disk_is_waited_for(postgres, tmp_path):
    """What was refused space is fetched once there is some."""
    full = DownloadError("no space left")
    full.__cause__ = OSError(errno.ENOSPC, "no space left")
    async with fleet(postgres, tmp_path) as here:
        await here.add("r0")
        worker = failing(here, *[full] * 1000)
        async with here.at_work(worker):
            await until(lambda: _told(here, "not stored: no space left"))
            worker.storing._storage.errors.clear()
            await here.until("DONE")


async def test_a_database_that_restarts_while_videos_are_fetched_gets_them_all(postgres, tmp_path):
    """Each is stored once its end can be written down."""
    slow = (InjectedFault("slow", on="file", seconds=1.0),)
    async with fleet(postgres, tmp_path, faults=slow) as here:
        rows = [f"r{number}" for number in range(4)]
        await here.add(*rows)
        async with here.at_work(here.worker()):
            await until(lambda: _state(here, "SUCCEEDED"))
            postgres.crash()
            postgres.start()
            await here.until("DONE")
        assert sorted(path.name for path in (tmp_path / "videos").glob("*.mp4")) == [f"{row}.mp4" for row in rows]


async def test_a_worker_that_ends_within_a_download_leaves_it_to_the_next(postgres, tmp_path):
    """Which goes on; nothing is paid again."""
    slow = (InjectedFault("slow", on="file", seconds=5.0),)
    async with fleet(postgres, tmp_path, faults=slow) as here:
        await here.add("r0")
        running = asyncio.ensure_future(here.worker().run())
        await until(lambda: _state(here, "SUCCEEDED"))
        running.cancel()
        await asyncio.wait({running})
        mended(here)
        async with here.at_work(here.worker("two")):
            await here.until("DONE")
        assert len(here.charged()) == 1


@pytest.mark.parametrize("error", [ResultExpiredError("gone"), DownloadError("no space")], ids=["expired", "full"])
async def test_a_worker_that_stood_still_takes_back_nothing_that_another_has_stored(postgres, tmp_path, error):
    """Its own failure is of no interest any more."""
    async with fleet(postgres, tmp_path) as here:
        await here.add("r0")
        async with here.at_work(here.worker()):
            await here.until("DONE")
        entry = await here.shared.run(lambda ledger: ledger.entry("r0"))
        expired = isinstance(error, ResultExpiredError)
        left = lambda ledger: storing_._left(ledger, entry=entry, why="late", expired=expired)  # noqa: E731
        assert await here.shared.run(left) is False
        assert await here.shared.run(lambda ledger: ledger.entry("r0")) == entry


async def test_a_status_tells_how_many_videos_rest(postgres, tmp_path, monkeypatch):
    """They are neither lost nor forgotten."""
    monkeypatch.setattr(storing_, "LATER", 60.0)
    async with fleet(postgres, tmp_path, **GONE) as here:
        await here.add("r0", "r1")
        async with here.at_work(here.worker()):
            now = await until(lambda: _resting(here, 2))
        assert (now.waiting, now.states) == ((0, 2), {State.SUCCEEDED: 2})
        assert "2 downloads rest until their next try: 'not stored' in fleet journal tells why" in picture(now)


@contextlib.asynccontextmanager
async def silent_server():
    """One that takes connections and never says a word; its URL."""

    async def say_nothing(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_videos_of_a_server_that_is_silent_keep_no_others_waiting(postgres, tmp_path):
    """Although their URLs die first, and there are more of them than places."""
    down = [f"down{number:02}" for number in range(30)]
    async with fleet(postgres, tmp_path) as here, silent_server() as url:
        await here.add(*down)
        ended = partial(_ended, keys=down, url=f"{url}/v.mp4")
        await here.shared.run(ended)
        await here.add("up0", "up1", "up2")
        worker = here.worker(downloads=2, http_timeout=Timeouts(connect=0.2, read=0.2), allow_hosts=[url])
        async with here.at_work(worker):
            await until(lambda: _stand(here, ["up0", "up1", "up2"], "DONE"))
            assert await _stand(here, down, "SUCCEEDED")
            told = ask(here.dsn, "SELECT detail, count(*) FROM omni_item WHERE state = 'SUCCEEDED' GROUP BY 1")
        assert dict(told)[f"not stored: {storing_.FAILS}"] > len(down) / 2


def _ended(ledger, *, keys, url):
    """Rows whose tasks have ended, with their jobs."""
    for key in keys:
        task = VideoTask(task_id=f"t-{key}", status=TaskStatus.SUCCEEDED, video_url=url)
        ledger.connection.execute(
            "UPDATE item SET state = 'SUCCEEDED', task_id = ?, task = ?, sent_at = ?, finished_at = ? WHERE key = ?",
            (task.task_id, write_task(task), ledger.now() - 60, ledger.now() - 50, key),
        )
    ledger.connection.execute("DELETE FROM pgqueuer")
    ledger.restore()


async def _stand(here, keys, state):
    states = await here.states()
    return {states[key] for key in keys} == {state}


# --- places ---------------------------------------------------------------------------------------------------------


async def test_the_video_whose_url_dies_first_gets_the_next_place():
    """Whoever asked first."""
    places, order = Places(1), []
    async with places.one(0.0, "a") as given:
        assert given
        waiting = [asyncio.ensure_future(_passing(places, rank, order)) for rank in (3.0, 1.0, 2.0)]
        await asyncio.sleep(0)
    await asyncio.gather(*waiting)
    assert order == [1.0, 2.0, 3.0]


async def test_a_server_that_fails_keeps_no_more_than_half_of_the_places_and_none_waits_for_it_in_a_workers_hands():
    """Videos of other servers go on; its own go back to the queue, but for a few."""
    places = Places(4)
    async with contextlib.AsyncExitStack() as held:
        for _ in range(4):
            assert await held.enter_async_context(places.one(0.0, "down"))
        waiting = [asyncio.ensure_future(_passing(places, rank, [], "down")) for rank in range(9)]
        await asyncio.sleep(0)
        for _ in range(IN_VAIN):
            places.failed("down")
        assert await asyncio.gather(*waiting) == [False] * 9
    async with places.one(0.0, "down") as one, places.one(0.0, "down") as two, places.one(0.0, "down") as three:
        assert (one, two, three) == (True, True, False)
        async with places.one(9.0, "up") as other, places.one(9.0, "up") as another:
            assert other
            assert another


async def test_one_video_of_each_server_that_fails_waits_for_a_place_however_many_another_has():
    """Else, if every try of that one takes a minute, it would be known after hours only that the other works again."""
    places = Places(4)
    for server in ("silent", "back") * IN_VAIN:
        places.failed(server)
    async with contextlib.AsyncExitStack() as held:
        first = contextlib.AsyncExitStack()
        assert await first.enter_async_context(places.one(0.0, "silent"))
        assert await held.enter_async_context(places.one(0.0, "silent"))
        waiting = asyncio.ensure_future(_passing(places, 9.0, [], "back"))
        await asyncio.sleep(0)
        assert [await _passing(places, 0.0, [], server) for server in ("silent", "back")] == [False, False]
        assert await _passing(places, 9.0, [], "up")
        assert not waiting.done()
        await first.aclose()
        assert await waiting


@pytest.mark.parametrize(("hands", "taken"), [(None, [4, 1, 1]), (8, [2, 1, 1]), (4, [1, 1, 0]), (2, [1, 0, 0])])
async def test_servers_that_fail_leave_half_of_a_workers_hands_free(hands, taken):
    """What is at hand and waits keeps it from taking rows whose server works, and from sending others."""
    places, servers = Places(8, hands), ("one", "two", "three")
    for server in servers * IN_VAIN:
        places.failed(server)
    tries = [(server, asyncio.ensure_future(_staying(places, server))) for server in servers for _ in range(9)]
    await asyncio.sleep(0)
    at_hand = [server for server, task in tries if not task.done()]
    assert [at_hand.count(server) for server in servers] == taken
    for _, task in tries:
        task.cancel()
    await asyncio.wait([task for _, task in tries])
    assert await _passing(places, 0.0, [])


async def _staying(places, server):
    async with places.one(0.0, server) as given:
        if given:
            await asyncio.Event().wait()


async def test_a_server_from_which_a_video_came_has_all_places_again():
    """And one that failed once or twice keeps them."""
    places = Places(2)
    for _ in range(IN_VAIN):
        places.failed("down")
    places.came("down")
    places.failed("down")
    async with places.one(0.0, "down") as one, places.one(0.0, "down") as two:
        assert one
        assert two


async def test_whoever_leaves_while_it_waits_takes_no_place():
    """As when its worker lets go of every row."""
    places = Places(1)
    async with places.one(0.0, "a"):
        waiting = asyncio.ensure_future(_passing(places, 1.0, []))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
    async with asyncio.timeout(5), places.one(2.0, "a") as given:
        assert given


async def _passing(places, rank, order, server="a"):
    async with places.one(rank, server) as given:
        order.append(rank)
        return given


async def test_a_video_of_a_server_that_is_tried_for_others_goes_back_and_says_so(postgres, tmp_path):
    """It was not asked for: others wait for what the server says to those."""
    async with fleet(postgres, tmp_path) as here:
        await here.add("r0")
        worker = here.worker()
        places = worker.storing._places
        server = here.emulator.url.rpartition("/")[2]
        for _ in range(IN_VAIN):
            places.failed(server)
        async with contextlib.AsyncExitStack() as held, here.at_work(worker):
            for _ in range(4):
                assert await held.enter_async_context(places.one(0.0, server))
            await until(lambda: _told(here, "not stored: its server fails"))
            places.came(server)
            await here.until("DONE")


def mended(here):
    """The gateway and its videos' server do what they should."""
    here.emulator.scenario = type(here.emulator.scenario)(task_seconds=0.2)


def age(here, *, told):
    """Let the end of the row's URL be over, and its next try be due."""
    by_word = "UPDATE omni_item SET expires_at = sent_at + 0.001"
    by_documents = "UPDATE omni_item SET finished_at = finished_at - 4 * 86400, sent_at = NULL"
    ask(here.dsn, by_word if told else by_documents, "UPDATE pgqueuer SET execute_after = now()")


async def _told(here, words):
    ((detail,),) = ask(here.dsn, "SELECT detail FROM omni_item")
    return words in (detail or "")


async def _state(here, state):
    return state in (await here.states()).values()


async def _no_jobs(here):
    return await here.jobs() == {}


async def _resting(here, count):
    with looking(here.dsn, "jimmy") as ledger:
        now = fleet_status(ledger)
    return now if now.resting == count else None
