"""The states of a journal's row, and the ways between them.

    PLANNED ──▶ SUBMITTING ──▶ SUBMITTED ──▶ SUCCEEDED ──▶ DONE
       ▲            ├──▶ REJECTED    ├──▶ FAILED    └──▶ EXPIRED
       └────────────┤                └──▶ CANCELED
                    └──▶ UNCERTAIN ──▶ (settled by a person, or found again)

What was paid goes back to PLANNED only by a person's word: a retry, a redo, a settling.
"""

import enum
from collections.abc import Mapping

from ..errors import JournalError
from ..models import TaskStatus


class State(enum.StrEnum):
    """Where a row stands."""

    PLANNED = "PLANNED"
    """To be sent; nothing of it has been paid."""
    SUBMITTING = "SUBMITTING"
    """Being sent; found so after a crash, nobody knows whether it was paid."""
    SUBMITTED = "SUBMITTED"
    """Accepted, so it has a task id and is paid for."""
    SUCCEEDED = "SUCCEEDED"
    """The task has a video; it is not (or not to be) stored."""
    FAILED = "FAILED"
    """The gateway ended the task without a video."""
    CANCELED = "CANCELED"
    """Somebody ended the task."""
    DONE = "DONE"
    """The video is on disk."""
    REJECTED = "REJECTED"
    """Refused by the gateway; nothing was paid."""
    UNCERTAIN = "UNCERTAIN"
    """May have been paid and has no task id; left only by settling it."""
    EXPIRED = "EXPIRED"
    """The video was gone before it was stored."""


OPEN = frozenset({State.SUBMITTING, State.SUBMITTED})
"""What may be running at the gateway."""
UNPAID = frozenset({State.PLANNED, State.REJECTED})
"""What may be sent, with other inputs too."""
FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.DONE, State.EXPIRED})
"""Tasks that are over."""
SETTLED = FINAL - {State.SUCCEEDED} | {State.REJECTED, State.UNCERTAIN}
"""What a run of many has finished with."""

OF_STATUS: Mapping[TaskStatus, State] = {
    TaskStatus.SUCCEEDED: State.SUCCEEDED,
    TaskStatus.FAILED: State.FAILED,
    TaskStatus.CANCELED: State.CANCELED,
}

WAYS: Mapping[State, frozenset[State]] = {
    State.PLANNED: frozenset({State.SUBMITTING}),
    State.SUBMITTING: frozenset({State.PLANNED, State.SUBMITTED, State.REJECTED, State.UNCERTAIN}),
    State.SUBMITTED: frozenset({State.SUCCEEDED, State.FAILED, State.CANCELED, State.PLANNED}),
    State.SUCCEEDED: frozenset({State.DONE, State.EXPIRED, State.PLANNED}),
    State.FAILED: frozenset({State.PLANNED}),
    State.CANCELED: frozenset({State.PLANNED}),
    State.DONE: frozenset({State.SUCCEEDED, State.PLANNED}),
    State.REJECTED: frozenset({State.SUBMITTING, State.PLANNED}),
    State.UNCERTAIN: frozenset({State.SUBMITTED, State.PLANNED}),
    State.EXPIRED: frozenset({State.DONE, State.PLANNED}),
}


def check_way(key: str, here: State, there: State) -> None:
    """Refuse a change of state that there is no way for.

    Raises:
        JournalError: There is none.
    """
    if there not in WAYS[here]:
        raise _no_way(key, here, there)


def check_end(key: str, here: State, there: State, *, settled: bool = False) -> None:
    """Refuse what a create is said to have come to, unless it is on its way.

    Of one that is uncertain a task id is believed, and (`settled`) a person who says that it may be sent.

    Raises:
        JournalError: It came to something else already.
    """
    lost = here is State.UNCERTAIN and (settled or there is State.SUBMITTED)
    if here is not State.SUBMITTING and not lost:
        raise _no_way(key, here, there)
    check_way(key, here, there)


def _no_way(key: str, here: State, there: State) -> JournalError:
    told = f"row {key!r} is {here}; it cannot become {there}"
    return JournalError(told, kind="conflict", may_have_charged=here not in UNPAID)
