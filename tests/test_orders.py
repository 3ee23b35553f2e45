"""What a client's journal is asked by the caller's own id; the rest is in `test_following.py`."""

import asyncio

import pytest

from omni_async import (
    InvalidRequestError,
    JournalError,
    NotFoundError,
    OmniClient,
    RateLimitError,
    RejectedError,
    SubmissionUncertainError,
    TaskStatus,
    following,
)
from tests.fault_server import ACCEPT, DROP, KEY, Act, FaultServer, finished, http, running
from tests.journalled import PROMPT, abandoned, booked, client_of, on_warp, rows, sending, states
from tests.warp import WarpLoop, now

LOOP = WarpLoop

UNKNOWN = http(404, body={"code": "20002", "msg": "task not found"})


async def test_an_order_is_found_by_ones_own_id(tmp_path):
    """While it runs and when it has ended, by any client of the journal, whatever was asked; no gateway is asked."""
    async with booked(tmp_path) as here, client_of(tmp_path, here.server) as other:
        here.server.always["GET"] = running("task-0000001")
        task = await here.submit()
        for client in (here.client, other):
            found = await client.find("mine")
            assert (found.task_id, found.metadata, found.status) == (task.task_id, {"order": 7}, TaskStatus.QUEUED)
        here.server.always["GET"] = finished("task-0000001")
        await here.client.wait(task)
        asked = len(here.server.gets) + len(here.server.posts)
        assert (await other.find("mine")).video_url
        assert len(here.server.gets) + len(here.server.posts) == asked


async def test_an_order_that_failed_is_found_as_a_failed_task(tmp_path):
    """Its reason is kept."""
    async with booked(tmp_path) as here:
        failed = {"task_id": "task-0000001", "status": "failed", "error_message": "no such style"}
        here.server.always["GET"] = http(body={"code": 20000, "data": failed})
        await here.submit()
        await asyncio.sleep(100)
        found = await here.client.find("mine")
        assert (found.status, found.error_message) == (TaskStatus.FAILED, "no such style")


async def test_of_what_was_never_paid_nothing_is_found(tmp_path):
    """No such row, refused for good, or settled as not charged: submitting it sends it."""
    async with booked(tmp_path, http(400, "no"), DROP) as here:
        for custom_id in ("refused", "lost"):
            with pytest.raises((RejectedError, SubmissionUncertainError)):
                await here.client.submit(PROMPT, custom_id=custom_id)
        await here.client.settle("lost", not_charged=True)
        assert states(tmp_path) == {"refused": "REJECTED", "lost": "PLANNED"}
        assert [await here.client.find(name) for name in ("nobody", "refused", "lost")] == [None] * 3


async def test_an_uncertain_order_is_told_as_submit_tells_it(tmp_path):
    """It may have been paid, and nothing is looked up for it."""
    async with booked(tmp_path, DROP) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        with pytest.raises(SubmissionUncertainError, match="was sent before") as caught:
            await here.client.find("mine")
        error = caught.value
        assert (error.gateway, error.custom_id, error.metadata) == ("jimmy", "mine", {"order": 7})
        assert error.may_have_charged
        assert here.server.gets == []


async def test_an_order_that_is_to_be_paid_again_may_have_been_paid(tmp_path):
    """Nobody knows whether its first create was charged, also if the second is refused; then it has a task."""
    async with booked(tmp_path, DROP, http(400, "no"), ACCEPT) as here:
        with pytest.raises(SubmissionUncertainError):
            await here.submit()
        await here.client.settle("mine", pay_again=True)
        for state in ("PLANNED", "REJECTED"):
            assert states(tmp_path) == {"mine": state}
            with pytest.raises(SubmissionUncertainError, match="settled as pay_again, and submitting") as caught:
                await here.client.find("mine")
            error = caught.value
            assert (error.gateway, error.custom_id, error.metadata) == ("jimmy", "mine", {"order": 7})
            assert error.may_have_charged
            with pytest.raises(InvalidRequestError) as refused:
                await here.client.submit("", custom_id="mine")
            assert refused.value.may_have_charged
            if state == "PLANNED":
                with pytest.raises(RejectedError):
                    await here.submit()
        task = await here.submit()
        assert (await here.client.find("mine")).task_id == task.task_id


async def test_an_order_that_is_being_sent_is_to_be_asked_for_again(tmp_path):
    """At once, and it may be paid already."""
    async with booked(tmp_path, Act(raw=ACCEPT.raw, delay=30.0)) as here:
        create, began = asyncio.ensure_future(here.submit()), now()
        await asyncio.sleep(1)
        with pytest.raises(RateLimitError, match=r"on its way: ask again \(gateway jimmy, custom_id mine\)") as caught:
            await here.client.find("mine")
        assert (caught.value.may_have_charged, now() - began) == (True, pytest.approx(1, abs=0.1))
        assert caught.value.retry_after > 0
        task = await create
        assert (await here.client.find("mine")).task_id == task.task_id


def test_finding_takes_nothing_over(tmp_path, monkeypatch):
    """The row of one that died is still its own, for whoever follows to take."""
    server = FaultServer()
    abandoned(server, sending(tmp_path))
    (left,) = rows(tmp_path).values()

    async def second():
        monkeypatch.setattr(following.Follower, "start", lambda _: None)
        async with server, client_of(tmp_path, server) as client:
            assert (await client.find("mine")).task_id == left.task_id

    on_warp(second)
    assert list(rows(tmp_path).values()) == [left]


async def test_what_is_no_id_is_refused_and_no_journal_is_told():
    """By name, and with what would do."""
    async with OmniClient("jimmy", api_key=KEY) as client:
        with pytest.raises(JournalError, match=r"keeps no journal file: OmniClient\(journal=PATH\)"):
            await client.find("mine")
        for odd in ("", None, 7, "\ud800"):
            with pytest.raises(InvalidRequestError, match="custom_id: is not the text of an id") as caught:
                await client.find(odd)
            assert caught.value.may_have_charged


@pytest.mark.parametrize("call", ["query", "wait", "watch"])
async def test_ones_own_id_in_place_of_a_task_id_is_recognized(tmp_path, call):
    """Whoever asks the gateway for it, several at once too, is told once what would find its task."""
    async with booked(tmp_path) as here:
        await here.submit()
        await asyncio.sleep(100)
        here.server.always["GET"] = UNKNOWN

        async def ask(word):
            asked = getattr(here.client, call)(word)
            await (anext(asked) if call == "watch" else asked)

        asking = [asyncio.ensure_future(ask(word)) for word in ("mine", "mine", "nobody")]
        ended = [str(error) for error in await asyncio.gather(*asking, return_exceptions=True)]
        assert [told.count("this id is a custom_id of the journal: `client.find` gives") for told in ended] == [1, 1, 0]
        with pytest.raises(NotFoundError):
            await here.client.query("nobody")
