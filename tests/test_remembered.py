"""What is remembered of tasks under way: their prompts, and whether an answer is about another of them."""

import pytest

from omni_async import TaskStatus, VideoTask, remembered
from omni_async.remembered import Namesakes, Prompts

OURS = ("t-1", "t-2")


def is_other(namesakes, named, *, status=TaskStatus.RUNNING, asked="t-1", document=None):
    """Whether what a query for `asked` was answered with, which names `named`, is taken for another task's."""
    told = {"task_id": named} if document is None else document
    return namesakes.doubt(asked, VideoTask(task_id=named, status=status), told) is not None


def ours():
    """Of a client that runs two tasks."""
    return Namesakes(OURS.__contains__)


@pytest.mark.parametrize("status", list(TaskStatus))
def test_an_answer_that_names_another_task_of_ours_is_about_that(status):
    """As a cache or a gateway mixes them up: whatever it says, however often."""
    namesakes = ours()
    assert all(is_other(namesakes, "t-2", status=status) for _ in range(9))


@pytest.mark.parametrize("status", list(TaskStatus))
def test_an_answer_that_has_the_id_is_about_the_task(status):
    """Wherever in it the id stands, also as a number; another beside it may be the request's."""
    assert not is_other(ours(), "t-1", status=status)
    assert not is_other(ours(), "t-2", status=status, document={"id": "t-2", "data": [{"id": "t-1"}]})
    numbered = Namesakes({"17", "18"}.__contains__)
    assert not is_other(numbered, "18", status=status, asked="17", document={"data": {"id": 17}})


def test_a_task_may_go_by_another_id():
    """Some gateways have one of another form in their answers: what it says of a task that has not failed counts."""
    for status in (TaskStatus.QUEUED, TaskStatus.RUNNING, TaskStatus.SUCCEEDED):
        assert not is_other(ours(), "video-9", status=status)


@pytest.mark.parametrize("named", ["video-9", ""])
@pytest.mark.parametrize("status", [TaskStatus.FAILED, TaskStatus.CANCELED])
def test_a_failure_under_another_id_or_none_is_believed_the_third_time_in_a_row(status, named):
    """It may have another video paid for; one look that tells otherwise begins the count anew."""
    namesakes = ours()
    assert [is_other(namesakes, named, status=status) for _ in range(4)] == [True, True, False, False]
    namesakes = ours()
    told = [is_other(namesakes, named, status=status) for _ in range(2)]
    assert not is_other(namesakes, named)
    told += [is_other(namesakes, named, status=status) for _ in range(3)]
    assert told == [True, True, True, True, False]
    assert is_other(namesakes, named, status=status, asked="t-2")


def test_a_look_by_other_means_begins_the_count_anew_too():
    """Most answers of tasks that run are not read whole."""
    namesakes = ours()
    for _ in range(5):
        assert is_other(namesakes, "video-9", status=TaskStatus.FAILED)
        assert is_other(namesakes, "video-9", status=TaskStatus.FAILED)
        namesakes.runs("t-1")


def test_of_an_id_from_elsewhere_nothing_is_known_until_an_answer_names_it():
    """What is asked for may be a name of the caller's own, which the answer need not have in it."""
    namesakes = Namesakes(lambda _task_id: False)
    assert not is_other(namesakes, "video-9", status=TaskStatus.FAILED, asked="order-17")
    assert not is_other(namesakes, "order-17", asked="order-17")
    assert is_other(namesakes, "video-9", status=TaskStatus.FAILED, asked="order-17")
    assert not is_other(namesakes, "video-9", asked="order-17")
    assert not is_other(namesakes, "video-9", asked="video-9")
    assert is_other(namesakes, "video-9", asked="order-17")  # by now that is known as another


def test_a_prompt_is_known_until_its_task_has_the_video(monkeypatch):
    """Then nothing is left to be said of it; of more than can be under way the oldest are forgotten."""
    monkeypatch.setattr(remembered, "REMEMBERED", 2)
    prompts = Prompts()
    prompts.remember("t-1", "a cat")
    prompts.remember("t-2", "a dog")
    assert (prompts.of("t-1"), prompts.of("t-2"), prompts.of("t-3"), prompts.of(None)) == (
        ("a cat",),
        ("a dog",),
        (),
        (),
    )
    prompts.forget("t-1")
    prompts.forget("t-3")
    assert (prompts.of("t-1"), prompts.of("t-2")) == ((), ("a dog",))
    prompts.remember("t-3", "a fox")
    prompts.remember("t-4", "an owl")
    assert (prompts.of("t-2"), prompts.of("t-3"), prompts.of("t-4")) == ((), ("a fox",), ("an owl",))
