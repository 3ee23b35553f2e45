"""The emulator in a thread of its own."""

import asyncio
import threading

import aiohttp
import pytest

from omni_async.emulator import Emulator, ThreadedEmulator


def threads():
    """Emulators' threads alive now."""
    return [thread for thread in threading.enumerate() if thread.name == "omni-emulator"]


async def health(url):
    """What the emulator says of itself."""
    async with aiohttp.ClientSession() as session, session.get(f"{url}/_emulator/health") as answer:
        return await answer.json()


def test_it_serves_one_loop_after_another():
    """Each `asyncio.run` brings a loop; the emulator stays, and its thread ends with the block."""
    with ThreadedEmulator(price=2) as emulator:
        assert emulator.scenario.price == 2
        assert [asyncio.run(health(emulator.url)) for _ in range(2)] == [{"ok": True}] * 2
        assert len(threads()) == 1
    assert threads() == []


def test_a_port_that_is_taken_leaves_no_thread_behind():
    """OSError, as from `Emulator.start`."""
    with ThreadedEmulator() as first:
        with pytest.raises(OSError), ThreadedEmulator(port=first._port):
            raise AssertionError("two on one port")
        assert len(threads()) == 1


@pytest.mark.parametrize("call", [Emulator.start.__name__, Emulator.stop.__name__])
async def test_outside_its_block_it_says_so(call):
    """There is no loop to start in."""
    with pytest.raises(RuntimeError, match="within `with ThreadedEmulator"):
        await getattr(ThreadedEmulator(), call)()


def test_an_error_in_the_block_ends_it_all_the_same():
    """What the block raises comes out, and the thread is gone."""
    with pytest.raises(LookupError), ThreadedEmulator():
        raise LookupError
    assert threads() == []


def test_its_time_stands_still_afterwards():
    """The ledger can be read when its loop is gone."""
    with ThreadedEmulator() as emulator:
        pass
    assert emulator.ledger.running_now == 0
    assert emulator.ledger.as_dict()["charges"] == []
