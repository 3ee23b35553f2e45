"""The states of a row and the ways between them."""

import pytest

from omni_async.errors import JournalError
from omni_async.journal.states import FINAL, OF_STATUS, OPEN, SETTLED, UNPAID, WAYS, State, check_end, check_way
from omni_async.models import TaskStatus

DRAWN = {
    "PLANNED": "SUBMITTING",
    "SUBMITTING": "PLANNED SUBMITTED REJECTED UNCERTAIN",
    "SUBMITTED": "SUCCEEDED FAILED CANCELED PLANNED",
    "SUCCEEDED": "DONE EXPIRED PLANNED",
    "FAILED": "PLANNED",
    "CANCELED": "PLANNED",
    "DONE": "SUCCEEDED PLANNED",
    "REJECTED": "SUBMITTING PLANNED",
    "UNCERTAIN": "SUBMITTED PLANNED",
    "EXPIRED": "DONE PLANNED",
}


@pytest.mark.parametrize("there", State)
@pytest.mark.parametrize("here", State)
def test_there_are_these_ways_and_no_others(here, there):
    """What is not drawn is refused, in words that name the row and both states."""
    if there in DRAWN[here].split():
        check_way("row-1", here, there)
        return
    with pytest.raises(JournalError) as caught:
        check_way("row-1", here, there)
    assert str(caught.value) == f"row 'row-1' is {here}; it cannot become {there}"
    assert caught.value.kind == "conflict"
    assert caught.value.may_have_charged is (here not in ("PLANNED", "REJECTED"))


@pytest.mark.parametrize("settled", [False, True])
@pytest.mark.parametrize("there", State)
@pytest.mark.parametrize("here", State)
def test_what_a_create_came_to_is_open_but_once(here, there, settled):
    """While it is on its way; afterwards a task id for what is uncertain, and a person's word that it may be sent."""
    ends = {"SUBMITTING": DRAWN["SUBMITTING"].split(), "UNCERTAIN": ["SUBMITTED", *["PLANNED"] * settled]}
    if there in ends.get(here, ()):
        check_end("row-1", here, there, settled=settled)
        return
    with pytest.raises(JournalError, match=f"row 'row-1' is {here}; it cannot become {there}") as caught:
        check_end("row-1", here, there, settled=settled)
    assert caught.value.kind == "conflict"


def test_nothing_uncertain_is_sent_again_by_itself():
    """From UNCERTAIN no way leads to SUBMITTING but through a person's PLANNED."""
    assert State.SUBMITTING not in WAYS[State.UNCERTAIN]
    assert {state for state in State if State.SUBMITTING in WAYS[state]} == UNPAID


def test_the_kinds_of_states():
    """What runs, what is unpaid, what is over, and what a run of many has finished with."""
    assert {state.value for state in OPEN} == {"SUBMITTING", "SUBMITTED"}
    assert {state.value for state in UNPAID} == {"PLANNED", "REJECTED"}
    assert {state.value for state in FINAL} == {"SUCCEEDED", "FAILED", "CANCELED", "DONE", "EXPIRED"}
    assert {state.value for state in SETTLED} == {"FAILED", "CANCELED", "DONE", "EXPIRED", "REJECTED", "UNCERTAIN"}


def test_every_end_of_a_task_has_its_state():
    """Each finished status, and no other."""
    assert {status for status in TaskStatus if status.finished} == set(OF_STATUS)
    assert {status.value: state.value for status, state in OF_STATUS.items()} == {
        "succeeded": "SUCCEEDED",
        "failed": "FAILED",
        "canceled": "CANCELED",
    }


def test_a_state_is_its_word():
    """In files, messages and comparisons."""
    assert all(state == state.value == state.name == str(state) for state in State)
    assert set(WAYS) == set(State)
