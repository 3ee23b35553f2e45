"""Many rows stop being paid for when paying goes wrong; a single submit does not."""

import asyncio

import pytest

from omni_async import AuthenticationError, OmniClient, QuotaError, RejectedError, SubmissionUncertainError
from omni_async.breaker import FORBIDDEN, GLANCE, LIMIT, PAUSE, Breaker, Shutout
from omni_async.emulator import Emulator, InjectedFault
from tests.warp import WarpLoop

BROKEN = (InjectedFault("drop_after_accept", first=6),)

LOOP = WarpLoop


def client(emulator):
    """A client of the emulator."""
    return OmniClient("jimmy", api_key="k", base_url=emulator.url)


async def test_row_63_many_rows_wait_after_five_uncertain_creates():
    """Row 63: five uncertain in a row, a minute without a create, one try, another minute, the rest; none fails."""
    async with Emulator(task_seconds=90, faults=BROKEN) as emulator, client(emulator) as omni:
        outcomes = [outcome async for outcome in omni.generate_many(f"take {n}" for n in range(20))]
        times = sorted(charge.at for charge in emulator.ledger.charges)
    uncertain = [outcome for outcome in outcomes if isinstance(outcome.error, SubmissionUncertainError)]
    assert (len(outcomes), len(uncertain), sum(outcome.ok for outcome in outcomes)) == (20, 6, 14)
    assert len(times) == 20
    assert times[4] < 5.0
    assert 60.0 <= times[5] - times[4] <= 60.0 + 2 * GLANCE
    assert 60.0 <= times[6] - times[5] <= 60.0 + 2 * GLANCE
    assert times[-1] - times[6] < 10


async def test_row_63_what_runs_is_followed_meanwhile():
    """Row 63: polling goes on while no create is sent."""
    late = (InjectedFault("drop_after_accept", prompt="lost"),)
    prompts = ["seen"] + ["lost"] * LIMIT + ["after"]
    async with Emulator(task_seconds=20, task_sigma=0, faults=late) as emulator, client(emulator) as omni:
        began, ended = asyncio.get_running_loop().time(), {}
        async for outcome in omni.generate_many(prompts):
            if outcome.ok:
                ended[outcome.request.prompt] = asyncio.get_running_loop().time() - began
    assert ended["seen"] < 30 < PAUSE < ended["after"]


async def test_row_63_a_single_submit_is_never_blocked():
    """Row 63: submit() sends however many before were uncertain."""
    async with Emulator(faults=BROKEN) as emulator, client(emulator) as omni:
        for _ in range(LIMIT + 1):
            with pytest.raises(SubmissionUncertainError):
                await omni.submit("a cat")
        assert (await omni.submit("a cat")).task_id
        assert asyncio.get_running_loop().time() - 1000 < PAUSE


async def test_one_certain_end_closes_it():
    """It counts uncertain creates in a row, and lets one go a minute while it is open."""
    breaker = Breaker()
    for uncertain in (True, True, True, True, False, True, True, True, True):
        breaker.ended(uncertain=uncertain)
        assert breaker.lets_go()
    breaker.ended(uncertain=True)
    assert not breaker.lets_go()
    assert "open" in repr(breaker)
    await breaker.wait()
    assert breaker.lets_go()
    assert not breaker.lets_go()
    breaker.ended(uncertain=False)
    assert breaker.lets_go()
    assert "closed" in repr(breaker)


def test_a_firewall_shuts_out_by_several_refusals_in_a_row():
    """Row 14: the gateway's own word stops at once, and so does a key that cannot be had; a firewall's 403 does not."""
    page = AuthenticationError("authentication (HTTP 403)", status_code=403, by_page=True)
    shutout = Shutout()
    for _ in range(3):
        assert not any(shutout.is_for_all(page) for _ in range(FORBIDDEN - 1))
        shutout.accepted()
    assert [shutout.is_for_all(page) for _ in range(FORBIDDEN)] == [False] * (FORBIDDEN - 1) + [True]
    own = AuthenticationError("authentication", status_code=403, code="permission_denied")
    at_once = [own, AuthenticationError("", status_code=401), AuthenticationError("no key"), QuotaError("none left")]
    assert all(Shutout().is_for_all(error) for error in at_once)
    assert not Shutout().is_for_all(RejectedError("no"))
