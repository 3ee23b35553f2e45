"""Refused before anything is sent: whether an earlier create of the same id may have been charged."""

from functools import partial

import pytest

from omni_async import InvalidRequestError, JournalError, RejectedError, SubmissionUncertainError, TargetExistsError
from tests.fault_server import DROP, FaultServer, envelope
from tests.journalled import client_of, states
from tests.pairs import outcomes
from tests.warp import WarpLoop

PROMPT = "a heron at dawn"

LOOP = WarpLoop


async def refused(client, how, tmp_path, **fields):
    """The error of a call that is refused before anything is sent."""
    there = tmp_path / "there.mp4"
    there.touch()
    local = {"image_urls": [str(tmp_path / "gone.png")], "generation_type": "frame"}
    if how == "generate_many":
        (outcome,) = await outcomes(client.generate_many([{"prompt": PROMPT, "duration": 99, **fields}]))
        return outcome.error
    calls = {
        "a fault": partial(client.submit, duration=99),
        "a file that has gone": partial(client.submit, **local),
        "generate": partial(client.generate, duration=99),
        "a target that is there": partial(client.generate, output=there),
    }
    with pytest.raises((InvalidRequestError, TargetExistsError)) as caught:
        await calls[how](PROMPT, **fields)
    return caught.value


HOWS = ["a fault", "a file that has gone", "generate", "a target that is there", "generate_many"]


@pytest.mark.parametrize("how", HOWS)
async def test_an_id_that_was_charged_is_told_as_such(how, tmp_path):
    """An app that sends the same order again and meets a fault must not refund it."""
    async with FaultServer() as server, client_of(tmp_path, server) as client:
        task = await client.submit(PROMPT, custom_id="order")
        error = await refused(client, how, tmp_path, custom_id="order")
        assert (error.may_have_charged, error.task_id, error.custom_id) == (True, task.task_id, "order")
        assert len(server.posts) == 1


@pytest.mark.parametrize("how", HOWS)
async def test_an_id_that_may_have_been_charged_is_told_as_such(how, tmp_path):
    """The answer was lost, and nobody knows."""
    async with FaultServer() as server, client_of(tmp_path, server) as client:
        server.script["POST"].append(DROP)
        with pytest.raises(SubmissionUncertainError):
            await client.submit(PROMPT, custom_id="order")
        error = await refused(client, how, tmp_path, custom_id="order")
        assert (error.may_have_charged, error.task_id) == (True, None)
        assert len(server.posts) == 1


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("custom_id", [None, "order", "another"])
async def test_what_was_never_paid_is_told_as_such(how, custom_id, tmp_path):
    """A new id, one whose create was refused, and none."""
    async with FaultServer() as server, client_of(tmp_path, server) as client:
        server.script["POST"].append(envelope("20002", "duration is wrong"))
        with pytest.raises(RejectedError):
            await client.submit(PROMPT, custom_id="order")
        error = await refused(client, how, tmp_path, custom_id=custom_id)
        assert error.may_have_charged is False
    assert states(tmp_path) == {"order": "REJECTED"}


async def test_what_the_journal_cannot_tell_is_not_proved(tmp_path, monkeypatch):
    """A journal that cannot be read may hold a paid id."""
    async with FaultServer() as server, client_of(tmp_path, server) as client:

        async def broken(_work):
            raise JournalError("it cannot be read", kind="failed")

        with monkeypatch.context() as patch:
            patch.setattr(client.studio.journal, "run", broken)
            error = await refused(client, "a fault", tmp_path, custom_id="order")
        assert isinstance(error, InvalidRequestError)
        assert error.may_have_charged


@pytest.mark.parametrize("custom_id", [7, "half \ud800", ""])
async def test_an_id_that_no_row_can_have(custom_id, tmp_path):
    """It is a fault itself, or none."""
    async with FaultServer() as server, client_of(tmp_path, server) as client:
        error = await refused(client, "a fault", tmp_path, custom_id=custom_id)
        assert error.may_have_charged is False
