"""Events are small frozen facts without secrets."""

import attrs
import pytest

from omni_async import OmniClient, PollPolicy, events
from omni_async.emulator import Emulator
from omni_async.events import (
    Downloaded,
    Event,
    Finished,
    Polled,
    Retried,
    Submitted,
    Throttled,
    Uncertain,
    fan_out,
)
from omni_async.models import TaskStatus
from tests.warp import run

EXAMPLES = [
    Submitted(gateway="jimmy", task_id="t", model="omni-10s", request_id="r", seconds=0.5),
    Polled(gateway="jimmy", task_id="t", status=TaskStatus.RUNNING, raw_status="processing", progress=4),
    Finished(gateway="jimmy", task_id="t", status=TaskStatus.FAILED, error_code="x", seconds=60.0),
    Throttled(gateway="jimmy", kind="create", cause="pace", pause=1.0, window=64, pace=2.0, slots=None),
    Retried(gateway="jimmy", kind="query", reason="HTTP 502", attempt=2, delay=1.0),
    Downloaded(gateway="jimmy", task_id="t", path="t.mp4", size=3),
    Uncertain(gateway="jimmy", reason="HTTP 520, and the body is not JSON", candidate=None),
]


def test_every_event_has_an_example_here():
    """The events are the seven that the design names."""
    kinds = {kind for kind in vars(events).values() if isinstance(kind, type) and issubclass(kind, Event)}
    assert kinds - {Event} == {type(event) for event in EXAMPLES}


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_is_a_frozen_fact(event):
    """An event cannot be changed, can be hashed, and equals another that says the same."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        event.gateway = "other"
    assert hash(event) == hash(attrs.evolve(event))
    assert attrs.evolve(event) == event


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_carries_the_callers_data_and_does_not_show_it(event):
    """`custom_id` and `metadata` come with every event; metadata stays out of its repr."""
    carried = attrs.evolve(event, custom_id="row-1", metadata={"scene": "CANARY"})
    assert (carried.custom_id, carried.metadata["scene"]) == ("row-1", "CANARY")
    assert "CANARY" not in repr(carried)
    assert "custom_id='row-1'" in repr(carried)


def test_no_event_has_room_for_a_secret():
    """No event has a field for a prompt, a key, a URL or an answer."""
    names = {field.name for event in EXAMPLES for field in attrs.fields(type(event))}
    assert not names & {"prompt", "key", "api_key", "url", "video_url", "raw", "body", "request"}


def test_several_consumers_get_every_event():
    """In their order; one that raises is told of after all were called."""
    first, last = [], []

    def broken(event):
        raise LookupError(type(event).__name__)

    tell = fan_out(first.append, broken, last.append)
    for event in EXAMPLES:
        with pytest.raises(ExceptionGroup, match="consumers of events raised") as caught:
            tell(event)
        assert caught.group_contains(LookupError, match=type(event).__name__)
    assert first == last == EXAMPLES
    assert fan_out()(EXAMPLES[0]) is None


def test_the_lag_is_told_where_it_can_be_known():
    """From the gateway's own times, for tasks whose submit was seen here; None for an id from elsewhere."""

    async def main():
        seen = []
        async with Emulator(task_seconds=61, task_sigma=0) as emulator:
            settings = {
                "api_key": "any",
                "base_url": emulator.url,
                "poll": PollPolicy(fixed=7),
                "on_event": seen.append,
            }
            async with OmniClient("toapis", **settings) as client:
                task = await client.submit("a cat", custom_id="row-1")
                async with OmniClient("toapis", **settings) as other:
                    await other.wait(task.task_id)
                await client.wait(task)
        return [event for event in seen if isinstance(event, Finished)]

    elsewhere, here = run(main())
    assert elsewhere.lag is None
    assert here.custom_id == "row-1"
    assert 0 <= here.lag <= 8
