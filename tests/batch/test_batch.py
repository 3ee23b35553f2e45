"""Batches from their sheet to their results, run after run, against an emulator that counts what it charges."""

import asyncio
import io
import json
import logging
import math
import threading
from pathlib import Path

import anyio
import attrs
import openpyxl
import pytest

from omni_async import InvalidRequestError, JournalError, Limits, OmniError, VideoRequest, run_batch
from omni_async.batch import Batch, Bounds, Prices, SheetOptions, dry_plan
from omni_async.emulator import Emulator, InjectedFault
from omni_async.journal import State
from tests.batch.batches import KEY, cats, lab
from tests.foreign import Foreign
from tests.warp import SteppedLoop


async def test_a_sheet_becomes_videos(tmp_path):
    """Each row is paid once and stored; results stand in the sheet's order, in a file that only its owner reads."""
    async with lab(tmp_path) as here:
        summary = await here.run(cats(30, scene="S1"))
        assert summary.ok
        assert (summary.done, summary.failed, summary.uncertain, summary.unsent, summary.under_way) == (30, 0, 0, 0, 0)
        assert summary.stopped is None
        assert here.charges == 30
        assert here.videos == sorted(f"r{i}.mp4" for i in range(30))
        assert [line["id"] for line in here.lines] == [row["id"] for row in here.table] == [f"r{i}" for i in range(30)]
        line = here.lines[7]
        assert line.keys() == {
            "id", "status", "task_id", "video_url", "file", "error", "seconds", "attempts", "scene"
        }  # fmt: skip
        assert (line["status"], line["file"], line["error"], line["attempts"]) == (
            "succeeded",
            "videos/r7.mp4",
            None,
            1,
        )
        assert line["scene"] == "S1"
        for name in ("results.jsonl", "results.csv", "journal.sqlite3"):
            assert (here.out / name).stat().st_mode & 0o777 == 0o600


async def test_run_again_nothing_is_paid_or_fetched(tmp_path):
    """Finished files are looked at on the disk alone: no create, no query, no file."""
    async with lab(tmp_path) as here:
        await here.run(cats(8))
        before, lines = dict(here.emulator.ledger.requests), here.lines
        for source in (cats(8), None):
            summary = await here.run(source)
            assert summary.ok
        assert dict(here.emulator.ledger.requests) == before
        assert here.lines == lines


async def test_a_file_that_has_gone_is_fetched_again(tmp_path):
    """Deleted or of another size: fetched again, not paid. Of the same size: somebody's own business."""
    async with lab(tmp_path) as here:
        await here.run(cats(4))
        videos = here.out / "videos"
        (videos / "r0.mp4").unlink()
        same = videos / "r1.mp4"
        same.write_bytes(b"x" * same.stat().st_size)
        summary = await here.run()
        assert summary.ok
        assert here.charges == 4
        assert here.asked("file") == 5
        assert same.read_bytes().startswith(b"xxxx")
        assert (videos / "r0.mp4").stat().st_size == (videos / "r2.mp4").stat().st_size
        assert set(here.statuses.values()) == {"succeeded"}


async def test_another_file_in_the_place_of_a_video_is_left_alone(tmp_path):
    """A file of another size is not the video; it is not overwritten, and that is told."""
    async with lab(tmp_path) as here:
        await here.run(cats(2))
        (here.out / "videos" / "r0.mp4").write_bytes(b"mine")
        summary = await here.run()
        assert (summary.done, summary.not_stored, summary.under_way) == (1, 1, 0)
        assert (here.out / "videos" / "r0.mp4").read_bytes() == b"mine"
        line = here.lines[0]
        assert line["status"] == "succeeded"
        assert "exists already" in line["error"]
        (here.out / "videos" / "r0.mp4").unlink()
        assert (await here.run()).ok
        assert here.charges == 2


async def test_a_folder_in_the_place_of_a_video_does_not_take_it_in(tmp_path):
    """Its row is told of, the others have their videos, and the next run stores it where it belongs."""
    async with lab(tmp_path) as here:

        def meanwhile(_plan):
            (here.out / "videos" / "r0.mp4").mkdir(parents=True)
            return True

        summary = await here.run(cats(3), confirm=meanwhile)
        assert (summary.done, summary.not_stored) == (2, 1)
        assert "is a folder: move it away" in {line["id"]: line for line in here.lines}["r0"]["error"]
        assert not list((here.out / "videos" / "r0.mp4").iterdir())
        (here.out / "videos" / "r0.mp4").rmdir()
        assert (await here.run()).ok
        assert here.charges == 3


async def test_an_interrupted_batch_goes_on(tmp_path):
    """Cancelled with tasks under way: the next run follows and stores them, and sends the rest; from stdin, too."""
    async with lab(tmp_path) as here:
        sheet = "".join(json.dumps(row) + "\n" for row in cats(12)).encode()
        with anyio.move_on_after(5):
            await here.run(io.BytesIO(sheet), concurrency=4)
        assert here.charges == 4
        assert list(here.states.values()).count(State.SUBMITTED) == 4
        summary = await here.run(concurrency=4)
        assert summary.ok
        assert here.charges == 12
        assert max(count for _, count in here.emulator.ledger.running) == 4


async def test_tasks_of_an_earlier_run_count_for_the_concurrency(tmp_path):
    """What still runs from before holds its places."""
    async with lab(tmp_path, task_seconds=200) as here:
        with anyio.move_on_after(5):
            await here.run(cats(10), concurrency=6)
        await here.run(cats(10), concurrency=3)
        assert here.charges == 10
        running = here.emulator.ledger.running
        first = next(at for at, count in running if count == 6)
        assert max(count for at, count in running if at > first + 10) <= 6
        after = [count for at, count in running if at > first + 210]
        assert max(after) <= 3


@pytest.mark.parametrize("kind", ["fail", "cancel", "moderation", "refuse_moderation"])
async def test_retry_failed(tmp_path, kind):
    """A failed or cancelled task gets a new, recorded attempt; a moderated one, or a refused one, never."""
    async with lab(tmp_path, faults=(InjectedFault(kind, prompt="cat 1"),)) as here:
        summary = await here.run(cats(3))
        assert (summary.done, summary.failed) == (2, 1)
        assert here.statuses["r1"] == {"fail": "failed", "moderation": "failed", "cancel": "canceled"}.get(
            kind, "rejected"
        )
        paid = here.charges
        assert (await here.run(cats(3))).failed == 1
        assert here.charges == paid
        here.fault()
        summary = await here.run(cats(3), retry_failed=True)
        again = kind in ("fail", "cancel")
        assert summary.ok is again
        assert here.charges == paid + again
        if again:
            assert here.lines[1]["attempts"] == 2


async def test_retry_failed_sends_a_refused_row_again_unless_it_was_moderated(tmp_path):
    """A row refused for another reason may be sent again when that is asked for; not by itself."""
    async with lab(tmp_path) as here:
        await here.run(cats(2))
        here.change("UPDATE item SET state = 'REJECTED', again = 1, task_id = NULL WHERE key = 'r0'")
        (here.out / "videos" / "r0.mp4").unlink()
        await here.run(cats(2))
        assert here.charges == 2
        plan = await here.plan(cats(2), retry_failed=True)
        assert plan.changes.retried == 1
        assert not (await here.run(cats(2))).ok
        assert here.charges == 2
        assert (await here.run(cats(2), retry_failed=True)).ok
        assert here.charges == 3


async def test_what_was_paid_is_told_of_all_runs(tmp_path):
    """Failed tasks, those paid again and rows that have left the sheet, too; neither refused nor uncertain creates."""
    prices = {"4 s": 0.4, "*": 0.8}
    lost = (InjectedFault("drop_after_accept", prompt="cat 4"), InjectedFault("refuse_moderation", prompt="cat 3"))
    async with lab(tmp_path, faults=(InjectedFault("fail", prompt="cat 0"), *lost)) as here:
        sheet = [*cats(2, duration=4), *cats(3, 2)]
        summary = await here.run(sheet, prices=prices, limit=2)
        assert (summary.paid, summary.cost, here.charges) == (2, 0.8, 2)
        summary = await here.run(sheet)
        assert (summary.paid, summary.cost, summary.uncertain, here.charges) == (3, None, 1, 4)
        here.fault()
        summary = await here.run(cats(2, duration=4), prices=prices, retry_failed=True)
        assert (summary.paid, summary.done, summary.uncertain) == (4, 2, 1)
        assert summary.cost == pytest.approx(2.0)
        assert (await here.run(confirm=lambda _: False, prices={"8 s": 1})).cost is None


@pytest.mark.parametrize("fault", ["rate_limited", "drop_after_accept"])
async def test_what_was_paid_before_a_redo_stays_paid(tmp_path, fault):
    """Once, whether its create is refused for now, so that the row stands as it stood, or its answer is lost."""
    async with lab(tmp_path) as here:
        await here.run(cats(1))
        edited = [{"id": "r0", "prompt": "a dog"}]
        here.fault(InjectedFault(fault, on="create"))
        for _ in range(2):
            assert (await here.run(edited, redo_edited=True)).paid == 1
        here.fault()
        summary = await here.run(edited, redo_edited=True)
        assert summary.paid == (2 if fault == "rate_limited" else 1)


async def test_uncertain_rows_are_never_retried(tmp_path):
    """A create whose answer was lost stays as it is until it is settled, whatever is asked."""
    async with lab(tmp_path, faults=(InjectedFault("drop_after_accept", prompt="cat 1"),)) as here:
        summary = await here.run(cats(3))
        assert (summary.done, summary.uncertain) == (2, 1)
        here.fault()
        for options in ({}, {"retry_failed": True}, {"redo_edited": True}):
            await here.run([*cats(1), {"id": "r1", "prompt": "another"}, *cats(1, 2)], **options)
        assert here.charges == 3
        assert here.statuses["r1"] == "uncertain"
        async with here.batch() as batch:
            await batch.client.settle("r1", pay_again=True)
        assert (await here.run(cats(3))).ok
        assert here.charges == 4


async def test_redo_edited(tmp_path):
    """An edited row that was paid is kept; with redo_edited it is paid again, and its old video is kept beside."""
    async with lab(tmp_path) as here:
        await here.run(cats(2))
        old = (here.out / "videos" / "r0.mp4").read_bytes()
        edited = [{"id": "r0", "prompt": "a dog", "duration": 10, "aspect_ratio": "9:16"}, *cats(1, 1)]
        assert (await here.run(edited)).ok
        assert here.charges == 2
        assert (await here.run(edited, redo_edited=True)).ok
        assert here.charges == 3
        assert here.videos == ["r0.mp4", "r0.old-1.mp4", "r1.mp4"]
        assert (here.out / "videos" / "r0.old-1.mp4").read_bytes() == old
        assert (here.out / "videos" / "r0.mp4").read_bytes() != old
        assert here.lines[0]["attempts"] == 2
        assert (await here.run(edited, redo_edited=True)).ok
        assert here.charges == 3


async def test_a_declined_redo_changes_nothing(tmp_path):
    """Neither the journal nor the results; a later run without the option keeps the edited rows, and pays nothing."""
    async with lab(tmp_path) as here:
        await here.run(cats(4))
        edited, rows, lines = [{**row, "prompt": "a dog"} for row in cats(4)], here.rows, here.lines
        plan = await here.plan(edited, redo_edited=True)
        assert plan.sentence() == "4 edited after paying: to be paid again"
        assert {key: {**row, "run": 1} for key, row in here.rows.items()} == rows
        assert here.lines == lines
        plan = await here.plan(edited)
        assert plan.sentence() == "4 edited after paying: kept (redo_edited=True pays again)"
        assert (await here.run(edited)).ok
        assert here.charges == 4


@pytest.mark.parametrize("option", ["redo_edited", "retry_failed"])
async def test_with_a_limit_only_what_is_sent_changes(tmp_path, option):
    """The others stand as they stood, with their lines; only the option pays for them."""
    async with lab(tmp_path, faults=(InjectedFault("fail"),) if option == "retry_failed" else ()) as here:
        await here.run(cats(4))
        here.fault()
        sheet = cats(4) if option == "retry_failed" else [{**row, "prompt": "a dog"} for row in cats(4)]
        before, lines = here.rows, here.lines
        summary = await here.run(sheet, limit=1, **{option: True})
        assert (summary.put_off, summary.unsent, summary.stopped) == ({option: 3}, 0, "limit=1 is reached")
        assert not summary.ok
        assert here.charges == 5
        assert [(old == new) for old, new in zip(lines, here.lines, strict=True)] == [False, True, True, True]
        assert all({**here.rows[key], "run": 1} == before[key] for key in ("r1", "r2", "r3"))
        await here.run(sheet)
        assert here.charges == 5
        assert (await here.run(sheet, **{option: True})).ok
        assert here.charges == 8


@pytest.mark.parametrize("status", [401, 429])
async def test_what_is_refused_for_now_is_not_paid_without_the_option(tmp_path, status):
    """The key, or the account's limit: the paid rows have their videos as before, and the next run sends nothing."""
    async with lab(tmp_path) as here:
        await here.run(cats(3))
        edited, lines = [{**row, "prompt": "a dog"} for row in cats(3)], here.lines
        here.fault(*([InjectedFault("rate_limited", on="create")] if status == 429 else []), keys=(KEY,))
        summary = await here.run(edited, redo_edited=True, **({"api_key": "wrong"} if status == 401 else {}))
        assert summary.put_off == {"redo_edited": 3}
        assert summary.stopped
        assert here.lines == lines
        here.fault()
        assert (await here.run(edited)).ok
        assert here.charges == 3


async def test_a_redone_row_is_not_fetched_meanwhile(tmp_path):
    """Its old video may have gone from the disk: the new one is made all the same, and is the row's."""
    async with lab(tmp_path) as here:
        await here.run(cats(2))
        (here.out / "videos" / "r0.mp4").unlink()
        assert (await here.run([{"id": "r0", "prompt": "a dog"}, *cats(1, 1)], redo_edited=True)).ok
        assert here.videos == ["r0.mp4", "r1.mp4"]
        assert here.charges == 3


async def test_a_redone_row_may_name_another_file(tmp_path):
    """Its new video goes there, and the old one stays where it is."""
    async with lab(tmp_path) as here:
        await here.run(cats(1))
        assert (await here.run([{"id": "r0", "prompt": "a dog", "file": "dog.mp4"}], redo_edited=True)).ok
        assert here.videos == ["dog.mp4", "r0.mp4"]
        assert here.lines[0]["file"] == "videos/dog.mp4"


async def test_a_new_attempt_overwrites_nobodys_file(tmp_path):
    """Only the old video makes way for the new one; a file that was put there meanwhile does not."""
    async with lab(tmp_path) as here:
        await here.run(cats(1))
        edited = [{"id": "r0", "prompt": "a dog"}]
        (here.out / "videos" / "r0.mp4").write_bytes(b"mine")
        summary = await here.run(edited, redo_edited=True)
        assert summary.not_stored == 1
        assert here.videos == ["r0.mp4"]
        assert (here.out / "videos" / "r0.mp4").read_bytes() == b"mine"


async def test_limit(tmp_path):
    """So many are paid in a run, and why it ended is told; a limit reached with the last row is no stop."""
    async with lab(tmp_path) as here:
        async with here.batch(cats(7), bounds=Bounds(limit=5)) as batch:
            await batch.plan()
            summary = await batch.run()
            assert batch.progress().reasons == ("limit=5 is reached",)
            assert batch.progress().closed
        assert (summary.done, summary.unsent) == (5, 2)
        assert summary.stopped == "limit=5 is reached"
        summary = await here.run(cats(7), limit=2)
        assert summary.ok
        assert summary.stopped is None
        assert (await here.run(cats(7), limit=0)).ok
        assert here.charges == 7


async def test_refused_rows_do_not_count_for_the_limit(tmp_path):
    """A limit of 5 pays 5 videos although rows before are refused."""
    async with lab(tmp_path, latency=1.0, faults=(InjectedFault("refuse_moderation", prompt="cat 1"),)) as here:
        summary = await here.run(cats(20), limit=5)  # 1 and 10 to 19 are refused
        assert (here.charges, summary.done) == (5, 5)


async def test_max_cost(tmp_path):
    """It stops before a row that would cost too much; sums of tenths are not taken for more than they are."""
    async with lab(tmp_path) as here:
        prices = {"*": 0.1, "10 s": 1.0}
        summary = await here.run([*cats(3), *cats(2, 3, duration=10)], prices=prices, max_cost=0.3)
        assert (here.charges, summary.unsent) == (3, 2)
        assert summary.stopped == "max_cost=0.3 is reached"
        with pytest.raises(InvalidRequestError, match="is not a price"):
            await here.run(cats(1), prices={"*": -1}, max_cost=1)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("limit", value) for value in (-1, 1.5, "x", True)),
        *(("prices", value) for value in (5, [0.5], True)),
        *(("max_cost", value) for value in (-0.5, "x", math.nan, True)),
        *(("concurrency", value) for value in (0, -1, 2.0, "x")),
        *(("stop_after_failures", value) for value in (0, -1, "x", False)),
        *(("timeout", value) for value in (-5, -math.inf, math.nan, "x", True)),
    ],
)
async def test_what_is_no_bound_is_refused_by_its_name_before_anything_is_paid(tmp_path, name, value):
    """One that is not understood would bound nothing, or trip over a paid task; nothing is entered either."""
    async with lab(tmp_path) as here:
        with pytest.raises(InvalidRequestError, match=f"^{name}: ") as caught:
            await here.run(cats(2), **{name: value})
        assert [fault.field for fault in caught.value.faults] == [name]
        assert not caught.value.may_have_charged
        assert here.emulator.ledger.requests.total() == 0
        assert not here.out.exists()


def test_prices_of_another_kind_are_no_bound():
    """`run_batch` takes a table; what is bounded by hand needs prices that were looked at."""
    with pytest.raises(InvalidRequestError, match=r"prices: must be Prices\(…\), not dict"):
        Bounds(prices={"*": 1.0})


@pytest.mark.parametrize("bounds", [{"limit": 0}, {"max_cost": 0, "prices": {"*": 1}}])
async def test_a_bound_of_nothing_pays_nothing(tmp_path, bounds):
    """Zero is a bound."""
    async with lab(tmp_path) as here:
        summary = await here.run(cats(2), **bounds)
        assert (here.charges, summary.unsent) == (0, 2)


@pytest.mark.parametrize("timeout", [math.inf, None])
async def test_a_batch_may_wait_for_ever(tmp_path, timeout):
    """As any wait."""
    async with lab(tmp_path) as here:
        assert (await here.run(cats(2), timeout=timeout)).done == 2


@pytest.mark.parametrize("prices", [None, Prices({"1080p": 1.0})])
async def test_a_cost_that_cannot_be_known_is_no_bound(tmp_path, prices):
    """Without a price for each kind nothing is sent under max_cost."""
    async with lab(tmp_path) as here:
        with pytest.raises(InvalidRequestError, match="no price"):
            await here.run(cats(2), prices=prices, max_cost=10)
        assert here.charges == 0


async def test_stop_after_failures(tmp_path):
    """Enough have failed: nothing more is sent, what runs is brought home."""
    async with lab(tmp_path, faults=(InjectedFault("fail", every=2),)) as here:
        summary = await here.run(cats(40), stop_after_failures=3, concurrency=4)
        assert summary.stopped == "stop_after_failures=3 is reached"
        assert here.charges < 15
        assert summary.done + summary.failed == here.charges
        assert summary.unsent == 40 - here.charges


async def test_a_timeout_is_no_failure(tmp_path):
    """A task that takes too long is waited for no longer; the next run goes on with it."""
    async with lab(tmp_path, faults=(InjectedFault("never_ends", prompt="cat 1"),)) as here:
        summary = await here.run(cats(3), timeout=100)
        assert (summary.done, summary.failed, summary.under_way) == (2, 0, 1)
        assert "r1" not in here.statuses
        assert (await here.run(cats(3), timeout=100)).under_way == 1
        assert here.charges == 3


async def test_a_task_that_is_waited_for_no_longer_keeps_its_slot_and_blocks_nobody_for_ever(tmp_path):
    """With one slot and a task that never ends, the rows behind it are sent once its lease is over."""
    async with lab(tmp_path, faults=(InjectedFault("never_ends", prompt="cat 0"),)) as here, asyncio.timeout(20_000):
        summary = await here.run(cats(2), timeout=100, concurrency=1)
        assert (summary.done, summary.under_way) == (1, 1)


async def test_a_task_that_the_gateway_does_not_know_any_more(tmp_path):
    """Not found for ever: the run ends, and the row is told as still under way; the next run looks again."""
    async with lab(tmp_path) as here:
        with anyio.move_on_after(5):
            await here.run(cats(2))
        here.change("UPDATE item SET task_id = 'task_gone_for_ever' WHERE key = 'r1'")
        for _ in range(2):
            summary = await here.run(cats(2))
            assert (summary.done, summary.under_way, summary.unsent) == (1, 1, 0)
            assert here.states["r1"] is State.SUBMITTED
        assert here.charges == 2


async def test_a_task_that_is_lost_while_the_plan_is_shown(tmp_path):
    """What cannot be followed before the run began is not waited for in it."""
    async with lab(tmp_path) as here:
        with anyio.move_on_after(5):
            await here.run(cats(2))
        here.change("UPDATE item SET task_id = 'task_gone_for_ever' WHERE key = 'r1'")

        async def think(plan):
            await anyio.sleep(1000)
            return True

        with anyio.fail_after(5000):
            summary = await here.run(cats(2), confirm=think)
        assert (summary.done, summary.under_way) == (1, 1)


@pytest.mark.parametrize("before_the_plan", [False, True])
async def test_tasks_that_finish_while_the_plan_is_shown_or_made(tmp_path, before_the_plan):
    """They are stored, and counted once."""
    async with lab(tmp_path, faults=(InjectedFault("fail", prompt="cat 1"),)) as here:
        with anyio.move_on_after(5):
            await here.run(cats(4))
        async with here.batch(cats(5)) as batch:
            if before_the_plan:
                await anyio.sleep(100)
            await batch.plan(balance=False)
            await anyio.sleep(100)
            summary = await batch.run()
            counted = {state: count for state, count in batch.progress().states.items() if count}
        assert (summary.done, summary.failed) == (4, 1)
        assert counted == {State.DONE: 4, State.FAILED: 1}
        assert here.statuses == {**{f"r{i}": "succeeded" for i in range(5)}, "r1": "failed"}


async def test_rows_that_are_no_longer_in_the_sheet(tmp_path):
    """Paid ones are brought home and stand in the results; unpaid ones are not sent; neither is counted."""
    async with lab(tmp_path) as here:
        with anyio.move_on_after(5):
            await here.run(cats(6), limit=4)
        plan = await here.plan(cats(1, 5))
        assert plan.changes.missing == 5
        async with here.batch(cats(1, 5)) as batch:
            await batch.plan()
            summary = await batch.run()
            counted = {state: count for state, count in batch.progress().states.items() if count}
        assert here.charges == 5
        assert summary.states == counted == {State.DONE: 1}
        assert summary.ok
        assert here.states["r4"] is State.PLANNED
        assert set(here.statuses) == {"r0", "r1", "r2", "r3", "r5"}


async def test_requests_and_mappings(tmp_path):
    """A program's own requests and mappings are rows; columns that are not fields are carried."""
    async with lab(tmp_path) as here:
        source = [
            VideoRequest(prompt="one", custom_id="a", duration=6, metadata={"order": 1}),
            {"prompt": "two", "id": "007", "take": 3, "tags": ["x", "y"]},
            VideoRequest(prompt="three"),
        ]
        assert (await here.run(iter(source))).ok
        rows = here.rows
        assert json.loads(rows["a"]["metadata"]) == {"order": 1}
        assert {"a", "007"} < set(rows)
        assert here.lines[1]["take"] == 3
        assert here.lines[1]["tags"] == '["x", "y"]'
        assert len(here.lines[2]["id"]) == 12
        assert here.videos == sorted(["007.mp4", "a.mp4", f"{here.lines[2]['id']}.mp4"])


async def test_a_metadata_edit_costs_nothing(tmp_path):
    """The caller's own data is not an input: it is taken over, paid or not."""
    async with lab(tmp_path) as here:
        await here.run(cats(2, metadata={"take": 1}), limit=1)
        await here.run(cats(2, metadata={"take": 2}))
        assert here.charges == 2
        assert [json.loads(row["metadata"]) for row in here.rows.values()] == [{"take": 2}] * 2


async def test_an_iterable_that_raises(tmp_path):
    """What the caller's own iterable raises reaches him as it is; nothing was entered or sent."""

    def rows():
        yield from cats(3)
        raise LookupError("row 4 is broken")

    async with lab(tmp_path) as here:
        with pytest.raises(LookupError, match="row 4"):
            await here.run(rows())
        with pytest.raises(InvalidRequestError, match="source: 7 is neither"):
            await here.run(7)
        assert here.rows == {}
        with pytest.raises(InvalidRequestError, match="holds no batch"):
            await here.run()


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"prompt": "a", "id": "x"}, {"prompt": "b", "id": "x"}], ["line 2: id: 'x' is the id of line 1 already"]),
        ([{"prompt": "", "id": "x"}, {"prompt": "b", "id": "x"}], ["line 1: prompt", "line 2: id: 'x' is the id"]),
        ([{"prompt": "", "id": "x"}, {"id": "x", "custom_id": "x"}], ["line 2: id: 'x' is the", "line 2: prompt"]),
        ([{"prompt": "", "id": ""}, {"prompt": "", "id": ""}], ["line 1: id", "line 2: id: '' is not text"]),
        ([{"prompt": "a", "id": "x"}, {"prompt": "", "id": "x"}], ["line 2: id: 'x' is the id of", "line 2: prompt"]),
        ([{"prompt": "a", "id": "x"}, {"prompt": "b", "id": "X"}], ["line 2: file", "capitals make no difference"]),
        ([{"prompt": "a", "file": "f"}, {"prompt": "b", "file": "F.mp4"}], ["line 2: file: 'F.mp4'", "file of line 1"]),
        ([{"prompt": ""}, {"prompt": "b", "duration": 999}], ["line 1: prompt", "line 2: duration"]),
        ([{"prompt": "a", "durations": 6}], ["line 1: durations", "did you mean 'duration'"]),
        ([{"prompt": "a", "file": "a.mp4"}, {"prompt": "b", "file": "a.mp4/b"}], ["line 2: file", "another row"]),
        ([{"prompt": "a", "file": "a.mp4/b"}, {"prompt": "b", "file": "a"}], ["line 2: file", "is a folder"]),
        ([{"prompt": "a"}, 7], ["line 2: request: int is neither a VideoRequest nor a mapping"]),
        ([{"prompt": "a", "file": "../x"}], ["line 1: file"]),
        ([], ["there are no rows in it"]),
    ],
)  # fmt: skip
async def test_faults_are_told_with_their_lines_and_nothing_is_entered(tmp_path, rows, told):
    """One fault anywhere, and no row is entered; with skip_bad the good rows are."""
    async with lab(tmp_path) as here:
        with pytest.raises(InvalidRequestError) as caught:
            await here.run(rows)
        for words in told:
            assert words in str(caught.value)
        assert not caught.value.may_have_charged
        assert here.rows == {}
        if rows:
            summary = await here.run(rows, skip_bad=True)
            faulty = {fault.field.partition(":")[0] for fault in caught.value.faults}
            assert summary.done == here.charges == len(rows) - len(faulty)


async def test_a_row_left_out_for_a_file_that_is_there_is_not_sent(tmp_path):
    """Left out means not paid, also of rows whose names come from their fingerprints."""
    async with lab(tmp_path) as here:
        plan = await here.plan([{"prompt": "no id"}])
        assert plan.to_pay == 1
        (name,) = here.rows
        here.change("DELETE FROM item")
        for taken in (f"{name}.mp4", "r1.mp4"):
            (here.out / "videos" / taken).write_bytes(b"mine")
        source = [*cats(3), {"prompt": "no id"}]
        with pytest.raises(InvalidRequestError, match="in the folder already") as caught:
            await here.run(source)
        assert [fault.field for fault in caught.value.faults] == ["line 2: file", "line 4: file"]
        summary = await here.run(source, skip_bad=True)
        assert summary.done == here.charges == 2
        assert set(here.rows) == {"r0", "r2"}


async def test_what_cannot_be_read_of_a_line_hides_no_other_fault(tmp_path):
    """A cell too many and a wrong length are told together; what an unreadable cell would say is not guessed."""
    sheet = tmp_path / "rows.csv"
    sheet.write_text("id,prompt,duration\na,,7,odd\nb,cat,6,odd\na,dog,6\n")
    with pytest.raises(InvalidRequestError) as caught:
        dry_plan(sheet, out=tmp_path / "out")
    assert [fault.field for fault in caught.value.faults] == [
        "line 2: line", "line 2: prompt", "line 2: duration", "line 3: line", "line 4: id"
    ]  # fmt: skip
    book = openpyxl.Workbook()
    for row in (["prompt", "duration", "note"], [None, 7, "=A1"], ["=A1", 6, "x"]):
        book.active.append(row)
    book.save(tmp_path / "rows.xlsx")
    with pytest.raises(InvalidRequestError) as caught:
        dry_plan(tmp_path / "rows.xlsx", out=tmp_path / "out")
    assert [fault.field for fault in caught.value.faults] == [
        "line 2: note", "line 2: prompt", "line 2: duration", "line 3: prompt"
    ]  # fmt: skip


@pytest.mark.parametrize("faulty", [0, 1])
async def test_two_rows_with_one_file_are_told_whichever_is_faulty(tmp_path, faulty):
    """With the other faults, not when those are mended."""
    rows = [{"prompt": "a cat", "file": "X.mp4"}, {"prompt": "a dog", "file": "x.mp4"}]
    rows[faulty]["duration"] = 7
    with pytest.raises(InvalidRequestError) as caught:
        dry_plan(rows, out=tmp_path / "out")
    assert sorted(fault.field for fault in caught.value.faults) == sorted(
        [f"line {faulty + 1}: duration", "line 2: file"]
    )


async def test_a_row_with_faults_that_was_entered_before_stays_as_it_was(tmp_path):
    """Left out, it is not sent with its old inputs either, and it is not told as gone from the file."""
    async with lab(tmp_path) as here:
        await here.run(cats(3), limit=1)
        edited = [*cats(1), {"id": "r1", "prompt": "a dog", "duration": 999}, *cats(1, 2)]
        plan = await here.plan(edited, skip_bad=True)
        assert plan.sentence() == "1 done · 1 waiting to be sent · 1 with faults: left out"
        await here.run(edited, skip_bad=True)
        assert here.prompts == ["cat 0", "cat 2"]
        assert here.states["r1"] is State.PLANNED
        await here.run(cats(3))
        assert here.prompts == ["cat 0", "cat 1", "cat 2"]


async def test_two_batches_in_one_folder(tmp_path):
    """The second is told that the folder is in use; the first goes on. A dry plan works meanwhile."""
    async with lab(tmp_path) as here:
        async with here.batch(cats(3)) as batch:
            await batch.plan()
            with pytest.raises(JournalError) as caught:
                await here.run(cats(3))
            assert caught.value.kind == "locked"
            plan = await anyio.to_thread.run_sync(lambda: dry_plan(cats(4), out=here.out))
            assert plan.changes.new == 1
            assert (await batch.run()).ok
        assert here.charges == 3


async def test_a_dry_plan_leaves_everything_as_it_is(tmp_path):
    """It counts what a crash left as what it is, needs no key, and writes nothing."""
    async with lab(tmp_path) as here:
        await here.run(cats(3), limit=2)
        here.change("UPDATE item SET state = 'SUBMITTING', owner = 'dead' WHERE key = 'r2'")
        before = {path.name: path.read_bytes() for path in here.out.iterdir() if path.is_file()}
        plan = dry_plan(cats(5), out=here.out, bounds=Bounds(limit=1))
        assert plan.sentence() == "2 done · 2 new · 1 uncertain: settle them"
        assert plan.to_pay == 1
        assert {path.name: path.read_bytes() for path in here.out.iterdir() if path.is_file()} == before
        nowhere = tmp_path / "nowhere"
        assert dry_plan(cats(5), out=nowhere, sheet_options=SheetOptions()).to_pay == 5
        assert not nowhere.exists()


async def test_a_declined_plan(tmp_path):
    """Nothing is sent; the rows are entered and wait."""
    async with lab(tmp_path) as here:
        summary = await here.run(cats(2), confirm=lambda _: False)
        assert (summary.unsent, here.charges) == (2, 0)
        assert (await here.run()).ok


async def test_a_batch_belongs_to_its_gateway(tmp_path):
    """Another gateway for the same folder is refused before anything is entered."""
    async with lab(tmp_path) as here:
        await here.run(cats(1))
        here.gateway = "toapis"
        with pytest.raises(InvalidRequestError, match="begun with jimmy, not toapis"):
            await here.run(cats(2))


async def test_the_order_of_calls(tmp_path):
    """Run before plan, run twice, and inputs that are not to be kept are refused."""
    async with lab(tmp_path) as here:
        async with here.batch(cats(1)) as batch:
            with pytest.raises(OmniError, match="call plan"):
                await batch.run()
            await batch.plan()
            await batch.run()
            with pytest.raises(OmniError, match="runs once"):
                await batch.run()
        with pytest.raises(InvalidRequestError, match="keep_requests"):
            here.batch(cats(1), keep_requests=False)


async def test_a_plan_may_be_made_twice(tmp_path):
    """Rows without ids keep theirs."""
    async with lab(tmp_path) as here:
        source = [{"prompt": "same"}] * 3
        async with here.batch(source) as batch:
            assert (await batch.plan()).changes.new == 3
            assert (await batch.plan()).changes.same == 3
            assert (await batch.run()).ok
        assert here.charges == len(here.rows) == 3


@pytest.mark.parametrize("gateway", ["jimmy", "toapis", "gemini_omni"])
async def test_gateways(tmp_path, gateway):
    """Each gateway makes the same batch."""
    async with lab(tmp_path, gateway) as here:
        assert (await here.run(cats(5))).ok
        assert here.charges == 5
        assert (await here.run(cats(5))).ok
        assert here.charges == 5


async def test_toapis_finds_what_a_crash_left_uncertain(tmp_path):
    """There a lost create is looked up by its client_business_id: followed, not paid again."""
    async with lab(tmp_path, "toapis") as here:
        with anyio.move_on_after(5):
            await here.run(cats(3))
        here.change("UPDATE item SET state = 'SUBMITTING', task_id = NULL, owner = 'dead' WHERE key = 'r1'")
        plan = await here.plan(cats(3))
        assert plan.sentence() == "3 paid and under way"
        summary = await here.run(cats(3))
        assert summary.ok
        assert here.charges == 3


async def test_a_dialect_of_the_callers_own(tmp_path):
    """A gateway that nobody here knows."""
    made = []

    async def serve(reader, writer):
        while line := (await reader.readline()).decode():
            size = 0
            while header := (await reader.readline()).decode().strip():
                name, _, value = header.partition(":")
                size = int(value) if name.lower() == "content-length" else size
            body = await reader.readexactly(size)
            if line.startswith("POST"):
                made.append(json.loads(body)["text"])
                answer = {"data": [{"task_id": f"t{len(made)}", "state": "wait"}]}
            else:
                url = f"http://127.0.0.1:{port}/v.mp4"
                answer = {"data": {"task_id": "x", "state": "finish", "output": json.dumps({"video": url})}}
            data = b"\0\0\0\x10ftypisom\0\0\0\0" if "/v.mp4" in line else json.dumps(answer).encode()
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    source = [{"id": "a", "prompt": "one"}, {"id": "b", "prompt": "two"}]
    settings = {"gateway": Foreign(), "api_key": KEY, "base_url": f"http://127.0.0.1:{port}"}
    summary = await run_batch(source, out=tmp_path / "out", **settings)
    assert summary.ok
    assert sorted(made) == ["one", "two"]
    server.close()


async def test_local_references_are_uploaded_once(tmp_path):
    """Three rows with one picture: one upload, and the sheet's folder is where its paths begin."""
    (tmp_path / "cat.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("id,prompt,image_urls\na,one,cat.png\nb,two,cat.png\nc,three,cat.png\n")
    async with lab(tmp_path) as here:
        assert (await here.run(sheet)).ok
        assert here.asked("upload") == 1
        assert here.charges == 3


@pytest.mark.parametrize("resumed", [True, False])
async def test_a_local_file_that_was_changed_after_its_row_was_entered(tmp_path, resumed):
    """What was planned is not what would be paid: the row is not sent, says why, and is taken anew with its sheet."""
    picture, sheet = tmp_path / "cat.png", tmp_path / "sheet.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    sheet.write_text("id,prompt,image_urls\na,one,cat.png\nb,two,\n")
    async with lab(tmp_path) as here:

        def change(_plan):
            picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(101))
            return True

        if resumed:
            await here.plan(sheet)
            summary = await here.run(confirm=change)
        else:
            summary = await here.run(sheet, confirm=change)
        assert here.prompts == ["two"]
        assert here.states == {"a": State.PLANNED, "b": State.DONE}
        assert f"{picture} was changed after its row was entered" in summary.stopped
        assert "run the batch with its sheet again" in summary.stopped
        plan = await here.plan(sheet)
        assert plan.changes.updated == 1
        assert (await here.run(sheet)).ok
        assert here.prompts == ["one", "two"]
        assert (await here.plan(sheet)).changes.kept == 0


async def test_a_row_to_be_paid_again_whose_local_file_was_changed(tmp_path):
    """It stays what it was: nothing is paid, and its video is still its own."""
    picture, sheet = tmp_path / "cat.png", tmp_path / "sheet.csv"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    sheet.write_text("id,prompt,image_urls\na,one,cat.png\n")
    async with lab(tmp_path) as here:
        assert (await here.run(sheet)).ok
        sheet.write_text("id,prompt,image_urls\na,another,cat.png\n")

        def change(_plan):
            picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(101))
            return True

        summary = await here.run(sheet, redo_edited=True, confirm=change)
        assert (summary.put_off, summary.done) == ({"redo_edited": 1}, 1)
        assert (await here.run(sheet, redo_edited=True)).ok
        assert here.prompts == ["another", "one"]


async def test_uncertain_rows_that_have_left_the_sheet_are_told(tmp_path):
    """They may have been paid, whatever the sheet says now: the summary names them."""
    async with lab(tmp_path) as here:
        here.fault(InjectedFault("html_200", prompt="cat 1"))
        await here.run(cats(2))
        summary = await here.run(cats(1))
        assert (summary.uncertain, summary.uncertain_elsewhere, summary.ok) == (1, ("r1",), False)
        assert summary.states == {State.DONE: 1}
        await here.run(cats(1), confirm=lambda _: False)
        here.change("UPDATE item SET state = 'PLANNED' WHERE key = 'r1'")
        assert (await here.run(cats(1))).ok


async def test_a_file_sheet_names_its_folder(tmp_path):
    """DIR is the file's name without its ending; ids are text; columns are carried under names of their own."""
    sheet = tmp_path / "shots.csv"
    sheet.write_text("id,prompt,status,file\n007,one,old,EP01/SC03\n08,=two,new,\n", "utf-8")
    async with Emulator(task_seconds=5) as emulator:
        assert (await run_batch(sheet, api_key=KEY, base_url=emulator.url)).ok
    out = tmp_path / "shots"
    assert (out / "videos" / "EP01" / "SC03.mp4").is_file()
    first = json.loads((out / "results.jsonl").read_text().splitlines()[0])
    assert (first["id"], first["file"], first["sheet_status"]) == ("007", "videos/EP01/SC03.mp4", "old")
    assert (out / "results.csv").read_bytes().startswith(b"\xef\xbb\xbfid,status,")


STEPS = 620
"""More than a batch of three takes here: the last ones are never reached."""


@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("first", [1, 21])
def test_cancelled_at_any_step(tmp_path, how, first):
    """POSTs end recorded, none is uncertain, the results are whole, nothing stays behind, and the next run finishes."""
    reached = 0
    threads = threading.active_count()
    for step in range(first, STEPS, 41):
        folder = tmp_path / str(step)
        folder.mkdir()
        with asyncio.Runner(loop_factory=SteppedLoop) as runner:
            reached += runner.run(_cancelled(runner.get_loop(), folder, step, how))
    assert reached > 5
    assert threading.active_count() <= threads + 8  # worker threads of anyio end with their loops


def descriptors():
    """How many this process has open, where that can be told."""
    place = Path("/proc/self/fd")
    return len(list(place.iterdir())) if place.is_dir() else 0


async def _cancelled(loop, folder, step, how):
    async with lab(folder, task_seconds=3) as here:
        open_before = descriptors()
        if how == "task":
            work = loop.create_task(here.run(cats(3)))
            loop.at_step, loop.count = work.cancel, step
            await asyncio.wait({work})
        else:
            with anyio.CancelScope() as scope:
                loop.at_step, loop.count = scope.cancel, step
                await here.run(cats(3))
        reached, loop.count = loop.count is None, None
        await asyncio.sleep(0)
        left = [task for task in asyncio.all_tasks() if "omni_async/emulator" not in repr(task) and _ours(task)]
        assert not left, left
        paid = here.charges
        if (here.out / "journal.sqlite3").exists():
            states = list(here.states.values())
            assert State.UNCERTAIN not in states
            assert State.SUBMITTING not in states
            assert sum(state is not State.PLANNED for state in states) == paid
            if (here.out / "results.jsonl").exists():
                assert len(here.statuses) == states.count(State.DONE) + states.count(State.FAILED)
        assert (await here.run(cats(3))).ok
        assert here.charges == 3
        assert descriptors() <= open_before + 8  # connections of the emulator
        return reached


def _ours(task):
    return "omni_async" in repr(task.get_coro()) and "emulator" not in repr(task.get_coro())


async def test_what_is_logged_shows_no_secret(tmp_path, caplog):
    """Neither the key nor a prompt nor a signature, at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        async with lab(tmp_path, faults=(InjectedFault("fail", prompt="canary"),)) as here:
            options = {"out": here.out, "base_url": here.emulator.url, "api_key": "CANARY-KEY"}
            await run_batch([{"prompt": "canary prompt"}, {"prompt": "another canary"}], **options)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("omni_async")]
    assert not any("CANARY" in message or "canary" in message for message in ours)


async def test_limits_given_by_the_caller(tmp_path):
    """Limits hold, and concurrency wins over theirs."""
    async with lab(tmp_path) as here:
        limits = Limits(max_running_tasks=2)
        assert attrs.evolve(limits, max_running_tasks=3).max_running_tasks == 3
        await here.run(cats(6), limits=limits)
        assert max(count for _, count in here.emulator.ledger.running) == 2
        batch = Batch(out=here.out, api_key=KEY, bounds=Bounds(concurrency=5), limits=limits)
        assert batch.client.limiter.load().slots == 5
