"""One followed id: what its run time may depend on, who waits, and what its failed looks come to."""

from datetime import UTC, datetime, timedelta

import pytest

from omni_async import DecodeError, GatewayError, NotFoundError, RateLimitError, RejectedError, VideoRequest, VideoTask
from omni_async.poller import traits_of
from omni_async.poller.followed import CONFIRMATIONS, NOT_FOUND_GRACE, Trouble, run_time_of

NOW = datetime(2026, 8, 1, 12, 0, 0, tzinfo=UTC)


def test_run_times_are_told_apart_by_what_was_asked_for():
    """From general to special; the model of the answer, or else of the request."""
    asked = VideoRequest(prompt="a cat", model="omni", duration=6, resolution="720p")
    told = VideoTask(task_id="t-1", gateway="jimmy", model="omni-2", mode="video-edit")
    assert traits_of(told, asked) == ("jimmy", "omni-2", "video-edit", "6", "720p")
    assert traits_of(VideoTask(task_id="t-1", gateway="jimmy"), asked) == ("jimmy", "omni", "", "6", "720p")


def test_of_an_id_from_elsewhere_little_is_known():
    """Its gateway, and its model if the answer names that."""
    assert traits_of(VideoTask(task_id="t-1", gateway="jimmy"), None) == ("jimmy",)
    assert traits_of(VideoTask(task_id="t-1", gateway="jimmy", model="omni"), None) == ("jimmy", "omni")


def test_what_a_task_took_is_known_where_the_gateway_tells_both_times():
    """In seconds."""
    done = NOW + timedelta(seconds=90)
    assert run_time_of(VideoTask(task_id="t-1", created_at=NOW, completed_at=done)) == 90.0
    assert run_time_of(VideoTask(task_id="t-1", created_at=NOW)) is None
    assert run_time_of(VideoTask(task_id="t-1", completed_at=done)) is None


DEFINITE = [
    RejectedError("no", status_code=400),
    RejectedError("no", status_code=401, by_page=True),
    DecodeError("finished, but without a URL", terminal=True),
]
PASSING = [
    RejectedError("forbidden", status_code=403, by_page=True),  # a firewall's
    DecodeError("no JSON"),
    GatewayError("busy", status_code=502),
    RateLimitError("too many", status_code=429),
]


@pytest.mark.parametrize("error", DEFINITE, ids=str)
def test_a_definite_answer_is_believed_when_it_came_several_times_in_a_row(error):
    """Whatever else comes between begins the count anew."""
    trouble = Trouble()
    told = [trouble.confirmed(error, 0.0) for _ in range(CONFIRMATIONS - 1)]
    told.append(trouble.confirmed(PASSING[1], 0.0))
    told += [trouble.confirmed(error, 0.0) for _ in range(CONFIRMATIONS)]
    assert told == [False] * (len(told) - 1) + [True]


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_what_may_pass_is_never_believed(error):
    """It tells nothing of the task, however often it comes."""
    trouble = Trouble()
    assert not any(trouble.confirmed(error, float(now)) for now in range(1000))


def test_a_new_task_may_be_unknown_for_a_minute():
    """From the first look that says so."""
    trouble, unknown = Trouble(), NotFoundError("no such task", status_code=404)
    assert not any(trouble.confirmed(unknown, now) for now in (100.0, 130.0, 99.0 + NOT_FOUND_GRACE))
    assert trouble.confirmed(unknown, 100.0 + NOT_FOUND_GRACE)
