"""A row that a person has paid anew is a new create for a gateway that knows creates by a key."""

import json

from omni_async import PollPolicy
from omni_async.batch import run_batch
from omni_async.dialects import ToApis
from omni_async.emulator import Emulator, InjectedFault
from omni_async.identity import idempotency_key_of
from tests.warp import WarpLoop

LOOP = WarpLoop


def test_each_round_has_a_key_of_its_own():
    """The first is the key as it always was."""
    first = idempotency_key_of(ToApis(), "order-1", "f")
    assert idempotency_key_of(ToApis(), "order-1", "f", round=0) == first
    assert len({first, *(idempotency_key_of(ToApis(), "order-1", "f", round=number) for number in (1, 2))}) == 3


async def test_retry_failed_on_toapis_makes_a_new_task(tmp_path):
    """The key of the failed task would give the failed task back."""
    (tmp_path / "rows.jsonl").write_text('{"id": "a", "prompt": "a cat"}\n')
    options = {"gateway": "toapis", "api_key": "key", "poll": PollPolicy(fixed=5.0)}
    async with Emulator(task_seconds=30, faults=[InjectedFault("fail", first=1)]) as emulator:
        options["base_url"] = emulator.url
        first = await run_batch(tmp_path / "rows.jsonl", **options)
        second = await run_batch(tmp_path / "rows.jsonl", retry_failed=True, **options)
        charges = emulator.ledger.charges
        assert (first.failed, second.done, len(charges)) == (1, 1, 2)
        assert len({charge.business_id for charge in charges}) == 2
    line = json.loads((tmp_path / "rows" / "results.jsonl").read_text())
    assert (line["status"], line["attempts"], line["task_id"]) == ("succeeded", 2, charges[1].task_id)
