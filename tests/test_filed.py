"""The rows of `generate_many`, each with a file of its own."""

import anyio
import pytest

from omni_async import InvalidRequestError, TaskFailedError
from omni_async.emulator.scenario import InjectedFault
from omni_async.filed import REMEMBERED, Names
from tests.pairs import outcomes, pair
from tests.warp import WarpLoop

LOOP = WarpLoop


def named(*custom_ids):
    """Rows of these ids."""
    return [{"prompt": f"cat {custom_id}", "custom_id": custom_id} for custom_id in custom_ids]


@pytest.mark.parametrize("overwrite", [False, True])
async def test_ids_that_come_to_one_file_are_not_all_paid(tmp_path, overwrite):
    """One row has the file, the others are refused before they are paid, and each says whose it is."""
    async with pair() as (emulator, client):
        rows = named("a/b", "a:b", "a_b", "A_b", "c")
        done = await outcomes(client.generate_many(rows, output=tmp_path, overwrite=overwrite))
        good, bad = ([one for one in done if one.ok is fine] for fine in (True, False))
        assert len(emulator.ledger.charges) == 2
        first = next(one.request.custom_id for one in good if one.request.custom_id != "c")
        assert len(list(tmp_path.iterdir())) == len(good) == 2
        assert {one.error.custom_id for one in bad} == {"a/b", "a:b", "a_b", "A_b"} - {first}
        assert all(isinstance(one.error, InvalidRequestError) and not one.error.may_have_charged for one in bad)
        assert all(repr(first) in str(one.error) and one.error.faults[0].field == "custom_id" for one in bad)


async def test_without_a_folder_there_are_no_files(tmp_path):
    """Then ids may be as they are."""
    async with pair() as (emulator, client):
        assert all(one.ok for one in await outcomes(client.generate_many(named("a/b", "a:b", "a_b"))))
        assert len(emulator.ledger.charges) == 3


async def test_two_runs_share_no_names(tmp_path):
    """Each has a folder of its own."""
    async with pair() as (emulator, client):
        for folder in ("one", "two"):
            assert all(one.ok for one in await outcomes(client.generate_many(named("a_b"), output=tmp_path / folder)))
        assert len(emulator.ledger.charges) == 2


async def test_an_id_that_comes_twice(tmp_path):
    """Without a journal it would be paid twice, for one file; with one it is the same task."""
    async with pair() as (emulator, client):
        done = await outcomes(client.generate_many(named("a", "a"), output=tmp_path))
        assert sorted(one.ok for one in done) == [False, True]
        assert len(emulator.ledger.charges) == 1
    async with pair(options={"journal": tmp_path / "j"}) as (emulator, client):
        done = await outcomes(client.generate_many(named("b", "b"), output=tmp_path, overwrite=True))
        assert len({one.task.task_id for one in done}) == len(emulator.ledger.charges) == 1


async def test_a_row_that_came_to_nothing_leaves_its_name(tmp_path):
    """A source that gives a failed or refused row once more has it made."""

    async def source():
        for custom_id in ("fails", "refused"):
            for _ in range(2):
                yield {"prompt": f"cat {custom_id}", "custom_id": custom_id}
                await anyio.sleep(100)

    faults = (
        InjectedFault("fail", prompt="cat fails", first=1),
        InjectedFault("refuse_moderation", prompt="cat refused", first=1),
    )
    async with pair(faults=faults) as (_, client):
        done = await outcomes(client.generate_many(source(), output=tmp_path))
        assert [one.ok for one in done] == [False, True, False, True]
        assert isinstance(done[0].error, TaskFailedError)


def test_names_are_bounded():
    """A run of a million rows keeps the last ones; the disk knows those before them."""
    names = Names(journalled=False)
    for number in range(REMEMBERED + 10):
        names.take(f"r{number}")
    names.take("r0")
    with pytest.raises(InvalidRequestError):
        names.take("R5000")
    names.take(None)
    names.give_back("nobody")
    names.give_back("R5000")  # it is r5000's
    with pytest.raises(InvalidRequestError):
        names.take("R5000")
    names.give_back("r5000")
    names.take("R5000")
