"""What a web app does to a journal that nobody thinks of first: cancelled requests, odd headers, second clicks."""

import asyncio
import contextlib

import pytest
from journalled import client_of, rows, states

from omni_async import Limits, TargetExistsError
from tests.fault_server import ACCEPT, CREATED, DROP, HTML, Act, FaultServer, http, running
from tests.warp import WarpLoop

PROMPT = "a heron at dawn"


@pytest.fixture
def anyio_backend():
    """An event loop whose time jumps."""
    return "asyncio", {"loop_factory": WarpLoop}


class Told:
    """An on_finished, and whom it told."""

    def __init__(self, *failures):
        self.ids, self.failures = [], list(failures)

    async def __call__(self, task):
        """Noted; the first times it ends otherwise."""
        self.ids.append(task.custom_id)
        if self.failures:
            raise self.failures.pop(0)


@pytest.mark.parametrize("how", ["settle", "resume"])
@pytest.mark.parametrize("steps", [1, 2, 4, 8, 16])
async def test_a_cancelled_call_loses_no_row_that_it_took_over(how, steps, tmp_path):
    """The browser goes away while the rows of a dead worker are being claimed: they are followed and told."""
    told = Told()

    async def handler(live):
        if how == "settle":
            await live.settle("another", not_charged=True)
        else:
            async for _ in live.resume():
                pass

    async with FaultServer() as server, client_of(tmp_path, server, on_finished=told) as live:
        server.always["GET"] = running("task-0000001")
        dead = client_of(tmp_path, server, on_finished=told)
        await dead.submit(PROMPT, custom_id="order")
        await dead.aclose()
        request = asyncio.ensure_future(handler(live))
        for _ in range(steps):
            await asyncio.sleep(0)
        request.cancel()
        with contextlib.suppress(Exception, asyncio.CancelledError):
            await request
        server.always["GET"] = None
        await asyncio.sleep(600)
        assert told.ids == ["order"]
    assert states(tmp_path) == {"order": "SUCCEEDED"}


async def test_on_finished_that_is_cancelled_by_what_it_waits_for_is_called_again(tmp_path):
    """A cancelled future of the app's own is a failure like any other."""
    told = Told(asyncio.CancelledError())
    async with FaultServer() as server, client_of(tmp_path, server, on_finished=told) as client:
        await client.submit(PROMPT, custom_id="order")
        await asyncio.sleep(600)
    assert told.ids == ["order", "order"]
    assert not rows(tmp_path)["order"].notify


def odd(act):
    """The same answer with a request id of bytes that are no text."""
    return Act(raw=act.raw.replace(b"Content-Length", b"X-Request-Id: \xff\xfe\r\nContent-Length"), charge=act.charge)


@pytest.mark.parametrize("of", ["create", "poll"])
async def test_a_request_id_that_is_no_text_is_written_down_all_the_same(of, tmp_path):
    """Header bytes that are not UTF-8 must not keep what was paid out of the journal."""
    create = odd(http(body=CREATED))
    told = Told()
    async with FaultServer([create] if of == "create" else [ACCEPT]) as server:
        if of == "poll":
            body = {"code": "20000", "data": {"task_id": "task-0000001", "status": "failed"}}
            server.always["GET"] = odd(http(body=body))
        async with client_of(tmp_path, server, on_finished=told) as client:
            await client.submit(PROMPT, custom_id="order")
            await asyncio.sleep(60)
    assert told.ids == ["order"]
    assert states(tmp_path)["order"] in ("SUCCEEDED", "FAILED")


async def test_a_second_click_waits_for_the_answer_and_not_for_a_slot(tmp_path):
    """One task may run: the second caller of the same id gets it as soon as it has an id."""
    async with FaultServer([Act(raw=ACCEPT.raw, delay=2.0)]) as server:
        server.always["GET"] = running("task-0000001")
        async with client_of(tmp_path, server, limits=Limits(max_running_tasks=1)) as client:
            first = asyncio.ensure_future(client.submit(PROMPT, custom_id="order"))
            await asyncio.sleep(1)
            async with asyncio.timeout(30):
                second = await client.submit(PROMPT, custom_id="order")
            assert second.task_id == (await first).task_id
        assert len(server.posts) == 1


async def test_toapis_looks_a_lost_create_up_again_at_the_next_start(tmp_path):
    """The gateway was down when it was lost: the next client, or the next resume, finds it."""
    async with FaultServer([DROP]) as server:
        server.always["GET"] = http(502, HTML)
        async with client_of(tmp_path, server, "toapis") as one:
            with contextlib.suppress(Exception):
                await one.submit(PROMPT, custom_id="order")
        assert states(tmp_path) == {"order": "UNCERTAIN"}
        server.always["GET"] = None
        async with client_of(tmp_path, server, "toapis") as two:
            outcomes = [outcome async for outcome in two.resume()]
            assert [outcome.task.task_id for outcome in outcomes] == server.charges
        assert len(server.posts) == 1
    assert states(tmp_path) == {"order": "SUCCEEDED"}


async def test_a_target_that_exists_does_not_make_a_paid_video_refundable(tmp_path):
    """The id was paid before: the error of a file that is in the way says so; of a fresh id it proves the contrary."""
    (tmp_path / "there.mp4").write_bytes(b"x")
    async with FaultServer() as server, client_of(tmp_path, server) as client:
        await client.submit(PROMPT, custom_id="order")
        for custom_id, paid in (("order", True), ("fresh", False)):
            with pytest.raises(TargetExistsError) as caught:
                await client.generate(PROMPT, custom_id=custom_id, output=tmp_path / "there.mp4")
            assert caught.value.may_have_charged is paid
        assert len(server.posts) == 1
