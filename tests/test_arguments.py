"""What calls are given: tasks and ids, seconds and kinds, each fault by the argument's name."""

import math
from fractions import Fraction

import pytest

from omni_async import InvalidRequestError, VideoTask
from omni_async.arguments import check_kinds, check_seconds, id_of, is_foreign, own


@pytest.mark.parametrize("handle", ["", "  ", None, 7, ["task_1"], b"task_1"])
def test_what_is_no_handle(handle):
    """Neither a task nor an id: said before any I/O, and no proof that nothing was charged."""
    with pytest.raises(InvalidRequestError) as caught:
        id_of(handle)
    assert caught.value.may_have_charged


@pytest.mark.parametrize(
    ("gateway", "client", "refused"),
    [
        ("jimmy", "jimmy", False),
        ("", "jimmy", False),
        ("toapis", "gemini_omni", False),
        ("gemini_omni", "toapis", False),
        ("jimmy", "toapis", True),
        ("foreign", "jimmy", True),
    ],
)
def test_tasks_of_another_gateway(gateway, client, refused):
    """A task belongs to its gateway, where two shapes of one gateway count as one."""
    task = VideoTask(task_id="task_1", gateway=gateway)
    if not refused:
        assert own(task, client) is task
        return
    with pytest.raises(InvalidRequestError, match=gateway) as caught:
        own(task, client)
    assert caught.value.task_id == "task_1"
    assert caught.value.may_have_charged


def test_of_an_unknown_gateway_no_task_is_foreign():
    """Whoever asks does not know where he is."""
    assert not is_foreign(VideoTask(task_id="task_1", gateway="jimmy"), "")


def test_an_id_alone_is_nobodys_task():
    """An id tells no gateway."""
    assert own("task_1", "jimmy") is None


@pytest.mark.parametrize("seconds", [None, 0, 0.0, 3, 2.5, Fraction(1, 2), math.inf])
def test_seconds(seconds):
    """Any number, however it is written; None is for ever."""
    assert not [*check_seconds(least=0, timeout=seconds)]


@pytest.mark.parametrize("seconds", ["30", math.nan, True, False, [1], 1j])
def test_what_is_no_number_of_seconds(seconds):
    """A bool is none: whoever wrote `timeout=True` did not mean a second."""
    (fault,) = check_seconds(timeout=seconds)
    assert str(fault) == f"timeout: {seconds!r} is not a number of seconds"


@pytest.mark.parametrize("seconds", [-5, -0.1, -math.inf])
def test_negative_seconds(seconds):
    """No time at all to a call that only waits; a fault where a video would be paid and left at once."""
    assert not [*check_seconds(timeout=seconds)]
    (fault,) = check_seconds(least=0, timeout=seconds)
    assert str(fault) == f"timeout: {seconds} is less than 0 seconds"


def test_kinds_are_checked_all_at_once():
    """Each setting of a wrong kind is named with the kind that it should have."""
    check_kinds(a=(None, int), b=(1, int))
    with pytest.raises(InvalidRequestError) as caught:
        check_kinds(a=("x", int), b=(1, str))
    assert str(caught.value) == "a: must be int(…), not str; b: must be str(…), not int"
