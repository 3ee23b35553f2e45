"""A row as an object, a request and a task as the text that a row keeps."""

import json
from datetime import UTC, datetime, timedelta, timezone
from types import MappingProxyType

import pytest
from books import task

from omni_async import JournalError, VideoRequest
from omni_async.journal.entries import (
    COLUMNS,
    Entry,
    entry_of,
    read_task,
    request_of,
    seconds_of,
    shown_time,
    uncertain_error,
    write_task,
)
from omni_async.journal.schema import MIGRATIONS
from omni_async.journal.seam import write_request
from omni_async.journal.states import State
from omni_async.models import FIELDS, TaskStatus, VideoTask

FULL = VideoRequest(
    prompt="一只猫 \U0001f408",
    model="m",
    duration=6,
    resolution="720p",
    aspect_ratio="9:16",
    orientation="portrait",
    image_urls=("https://a.example/1.png", "b.png"),
    images=("c.png",),
    video_urls=("https://a.example/v.mp4",),
    generation_type="frame",
    mode="image-to-video",
    extra={"seed": 7, "deep": {"er": [1, 2]}},
    custom_id="row-1",
    metadata={"order": 7, "who": "李"},
)


def entry(**fields):
    """A row."""
    return Entry(**{"key": "row-1", "gateway": "jimmy", "fingerprint": "f", "state": "PLANNED", **fields})


@pytest.mark.parametrize("request_", [FULL, VideoRequest(prompt="a cat"), VideoRequest(prompt="a", custom_id="row-1")])
def test_a_request_comes_back_as_it_was(request_):
    """Every field, through the text and the columns of its own."""
    row = entry(
        inputs=write_request(request_),
        custom_id=request_.custom_id,
        metadata=json.dumps(dict(request_.metadata)) if request_.metadata else None,
    )
    assert request_of(row) == request_
    assert all(getattr(request_of(row), name) == getattr(request_, name) for name in FIELDS)


def test_a_request_as_text():
    """Plain JSON: what was given, without the caller's own, readable as it was written."""
    assert json.loads(write_request(VideoRequest(prompt="a", duration=6, custom_id="x", metadata={"a": 1}))) == {
        "prompt": "a",
        "duration": 6,
    }
    assert "一只猫" in write_request(FULL)


def test_mappings_of_any_kind_are_written_as_objects():
    """Wherever they stand in `extra`."""
    frozen = MappingProxyType({"deep": MappingProxyType({"er": 1})})
    assert json.loads(write_request(VideoRequest(prompt="a", extra=frozen)))["extra"] == {"deep": {"er": 1}}


def test_without_inputs_there_is_no_request():
    """`keep_requests=False` keeps none."""
    assert request_of(entry()) is None


def test_a_task_comes_back_with_its_url_and_without_the_answer():
    """What a row keeps of a finished task."""
    at = datetime(2026, 8, 1, 12, 30, 5, tzinfo=timezone(timedelta(hours=8)))
    one = task(
        raw_status="completed",
        progress=100,
        model="m",
        mode="text-to-video",
        created_at=at,
        completed_at=at + timedelta(minutes=3),
        expires_at=at + timedelta(days=1),
        error_message="一",
        error_code="e",
        request_id="r",
        raw={"signed": "CANARY"},
        custom_id="never here",
        metadata={"never": "here"},
        gateway="jimmy",
    )
    text = write_task(one)
    assert "CANARY" not in text
    assert "never" not in text
    assert "一" in text
    again = VideoTask(task_id=one.task_id, gateway="jimmy", **read_task(text))
    kept = [name for name in VideoTask.__slots__ if name not in ("raw", "custom_id", "metadata", "__weakref__")]
    assert {name: getattr(again, name) for name in kept} == {name: getattr(one, name) for name in kept}


def test_a_bare_task_as_text():
    """What is not known is not written, and the status is a status again."""
    text = write_task(VideoTask(task_id="t", status=TaskStatus.FAILED))
    assert json.loads(text) == {"status": "failed"}
    assert read_task(text) == {"status": TaskStatus.FAILED}
    assert read_task(text)["status"] is TaskStatus.FAILED
    assert json.loads(write_task(VideoTask(task_id="t", progress=0))) == {"status": "queued", "progress": 0}


STATUS = {
    "PLANNED": "queued",
    "SUBMITTING": "queued",
    "SUBMITTED": "queued",
    "REJECTED": "queued",
    "UNCERTAIN": "queued",
    "SUCCEEDED": "succeeded",
    "DONE": "succeeded",
    "EXPIRED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "canceled",
}


@pytest.mark.parametrize("state", State)
def test_the_task_of_a_row_stands_where_the_row_does(state):
    """With the caller's own data and the gateway; no task without an id."""
    row = entry(state=state, task_id="t", custom_id="mine", metadata='{"order": 7}')
    known = row.video_task
    assert (known.task_id, known.gateway, known.custom_id, known.metadata) == ("t", "jimmy", "mine", {"order": 7})
    assert known.status == STATUS[state]
    assert entry(state=state).video_task is None


def test_the_task_of_a_finished_row_is_what_was_seen():
    """Its own words and times win over what the state tells."""
    seen = task(raw_status="completed", expires_at=datetime(2026, 8, 1, tzinfo=UTC))
    known = entry(state="DONE", task_id="task-k", task=write_task(seen)).video_task
    assert (known.raw_status, known.video_url, known.expires_at) == ("completed", seen.video_url, seen.expires_at)
    assert known.metadata == {}


def test_a_row_shows_nothing_private():
    """Inputs, answers and URLs stay out of its repr; ids are in it."""
    private = dict.fromkeys(("inputs", "metadata", "detail", "task", "carried"), "CANARY")
    shown = repr(entry(**private, custom_id="mine", task_id="t-1"))
    assert "CANARY" not in shown
    assert all(word in shown for word in ("row-1", "PLANNED", "mine", "t-1"))


def test_columns_are_those_of_the_table():
    """Each field of a row is a column."""
    assert set(COLUMNS) <= {line.split()[0] for line in "".join(MIGRATIONS).splitlines() if line.strip()}
    assert COLUMNS[:4] == ("key", "gateway", "fingerprint", "state")
    assert entry(state="DONE", notify=1).state is State.DONE
    assert entry(notify=1).notify is True


def test_times():
    """Seconds since 1970, shown as ISO 8601 in UTC."""
    assert seconds_of(None) is None
    assert seconds_of(datetime(1970, 1, 2, tzinfo=UTC)) == 86400.0
    assert shown_time(None) is None
    assert shown_time(86400.75) == "1970-01-02T00:00:00+00:00"


def test_the_error_of_an_uncertain_row():
    """What may have been charged, what is known, how to settle it, and whose it is."""
    error = uncertain_error(
        entry(state="UNCERTAIN", detail="HTTP 502", candidate="t-9", custom_id="mine", metadata='{"order": 7}')
    )
    assert error.may_have_charged
    assert str(error) == (
        "a create of this id was sent before and may have been charged: HTTP 502. Look in the gateway's console or "
        "bill, then settle it: with its task id, as not charged, or to pay again (gateway jimmy, custom_id mine, "
        "task t-9)"
    )
    assert error.evidence == {"reason": "HTTP 502", "candidate": "t-9", "sent_before": True}
    assert (error.gateway, error.custom_id, error.task_id, error.metadata) == ("jimmy", "mine", "t-9", {"order": 7})
    bare = uncertain_error(entry(state="UNCERTAIN"))
    assert "charged: no answer is known. Look" in str(bare)
    assert bare.metadata == {}


@pytest.mark.parametrize(
    ("column", "value"), [("key", b"k"), ("sent_at", "yesterday"), ("round", None), ("state", "x")]
)
def test_a_row_that_was_not_written_by_this_library_is_damaged(column, value):
    """It is told by its key and column; what stands there is not."""
    row = {**dict.fromkeys(COLUMNS), "key": "k", "gateway": "g", "fingerprint": "f", "state": "PLANNED"}
    sound = {**row, "again": 0, "round": 0, "attempts": 0, "notify": 0}
    assert entry_of(tuple(sound.values())).key == "k"
    with pytest.raises(JournalError, match=f"is damaged .its {column}") as caught:
        entry_of(tuple({**sound, column: value}.values()))
    assert caught.value.kind == "damaged"
    assert caught.value.may_have_charged


def test_texts_that_cannot_be_read_are_damage():
    """Inputs, the task, the caller's own data: never the parser's own error."""
    for name, read in (
        ("inputs", request_of),
        ("task", lambda row: row.video_task),
        ("metadata", lambda row: row.data),
    ):
        for text in ("{", "[1]", '"x"', "[" * 100_000):
            with pytest.raises(JournalError, match=f"is damaged .its {name}") as caught:
                read(entry(task_id="t", **{name: text}))
            assert caught.value.__context__ is None
