"""What a file beside a journal tells of a create, and its row there: settled, taken up again, or made if it has gone.

Plain functions of one ledger, each part of a transaction. A file may know more than the journal does, of which an older
copy may have been put back, or a new one begun: of what a line says that it was or may have been accepted, nothing is
left to be sent.
"""

import math
from typing import Any

import attrs

from ..errors import OmniError
from .entries import Entry
from .ledger import Ledger
from .states import UNPAID, State

HOW = "found in the file of what could not be written"
NEEDED = frozenset({"key", "fingerprint", "state", "task_id", "candidate"})
"""What a line needs to tell."""

_TOLD = frozenset({State.SUBMITTED, State.UNCERTAIN, *UNPAID})
_KINDS: dict[str, tuple[type, ...]] = {
    "key": (str,),
    "fingerprint": (str,),
    "state": (str,),
    **dict.fromkeys(("gateway", "task_id", "candidate", "custom_id", "metadata"), (str, type(None))),
    "round": (int, type(None)),
    "at": (int, float, type(None)),
}


@attrs.frozen(kw_only=True)
class Line:
    """What came back for a create.

    Args:
        key: Of its row.
        fingerprint: Hash of gateway, model and inputs.
        state: What it means: SUBMITTED, UNCERTAIN, REJECTED or PLANNED.
        task_id: The task's id, if the create was surely accepted.
        candidate: An id that may be the task's.
        gateway: Name of the gateway.
        round: How often a person had had it paid anew.
        at: When that was, in seconds since 1970.
        custom_id: The caller's own id.
        metadata: The caller's own data as JSON text.
    """

    key: str
    fingerprint: str
    state: State = attrs.field(converter=State)
    task_id: str | None
    candidate: str | None
    gateway: str | None = None
    round: int | None = None
    at: float | None = None
    custom_id: str | None = None
    metadata: str | None = attrs.field(default=None, repr=False)

    @property
    def id(self) -> str | None:
        """The task's id, surely or perhaps."""
        return self.task_id or self.candidate

    @property
    def paid(self) -> bool:
        """Whether the create was accepted, surely or perhaps."""
        return self.state not in UNPAID


def line_of(told: Any) -> Line | None:
    """A line of the file; None if it is none of ours."""
    if not isinstance(told, dict) or not told.keys() >= NEEDED:
        return None
    known: dict[str, Any] = {name: told.get(name) for name in _KINDS}
    ours = all(type(value) in _KINDS[name] for name, value in known.items()) and known["state"] in _TOLD
    return Line(**known) if ours else None


def concerned(ledger: Ledger, line: Line) -> Entry | None:
    """The row that does not know yet what a line tells, if there is one."""
    entry = ledger.entry(line.key)
    if entry is None or _is_past(ledger, line):
        return None
    if _is_behind(entry, line):
        return entry if line.paid else None
    waits = entry.state is State.SUBMITTING or (entry.state is State.UNCERTAIN and line.state is State.SUBMITTED)
    return entry if waits and entry.fingerprint == line.fingerprint else None


def _is_behind(entry: Entry, line: Line) -> bool:
    """Whether a row knows nothing of the create: it is to be sent, or stands as it stood before."""
    return entry.state in UNPAID or (line.round or 0) > entry.round


def _is_past(ledger: Ledger, line: Line) -> bool:
    """Whether a line was entered before, or a person has settled since what it leaves open."""
    since = math.inf if line.at is None else line.at
    for record in ledger.records(line.key):
        entered = record.detail == HOW and (record.state, record.task_id) == (line.state, line.id)
        settled = line.state is State.UNCERTAIN and (record.what, record.state) == ("settled", State.PLANNED)
        if (entered or settled) and record.at >= since:
            return True
    return False


def enter(ledger: Ledger, line: Line) -> bool:
    """Enter what a line tells; whether that was news."""
    entry = concerned(ledger, line)
    if entry is not None and not _is_behind(entry, line):
        return _settled(ledger, line)
    if entry is not None:
        _take_up(ledger, entry, line)
    elif ledger.entry(line.key) is None and line.paid and line.gateway and not _is_known(ledger, line):
        _make(ledger, line)
    else:
        return False
    if not _settled(ledger, line):
        ledger.settle(line.key, State.UNCERTAIN, f"{HOW}, and task {line.task_id} cannot be this row's")
    return True


def is_lost(ledger: Ledger, line: Line) -> bool:
    """Whether a line names a task that stands nowhere in the journal."""
    known = any(record.task_id == line.task_id for record in ledger.records(line.key))
    return line.state is State.SUBMITTED and not known and not _is_known(ledger, line)


def _settled(ledger: Ledger, line: Line) -> bool:
    try:
        ledger.settle(line.key, line.state, HOW, line.id)
    except OmniError:  # the task is another row's
        return False
    ledger.disown(line.key)
    return True


def _is_known(ledger: Ledger, line: Line) -> bool:
    """Whether the task is a row's."""
    query = "SELECT 1 FROM item WHERE task_id = ? AND gateway = coalesce(?, gateway)"
    return ledger.connection.execute(query, (line.task_id, line.gateway)).fetchone() is not None


def _take_up(ledger: Ledger, entry: Entry, line: Line) -> None:
    """The row has been sent since; with other inputs, if it was edited: those are not known."""
    if entry.state not in UNPAID:
        ledger.anew(entry.key, HOW)
    ledger.connection.execute(
        "UPDATE item SET state = 'SUBMITTING', owner = '', round = ?, sent_at = coalesce(?, sent_at), detail = NULL,"
        " again = 0, size = NULL, inputs = CASE WHEN fingerprint = ? THEN inputs END, fingerprint = ?,"
        " gateway = coalesce(?, gateway), metadata = coalesce(?, metadata) WHERE key = ?",
        (max(line.round or 0, entry.round), line.at, line.fingerprint, line.fingerprint, line.gateway, line.metadata,
         entry.key),
    )  # fmt: skip


def _make(ledger: Ledger, line: Line) -> None:
    ledger.connection.execute(
        "INSERT INTO item (key, gateway, fingerprint, state, custom_id, owner, metadata, planned_at, sent_at, round)"
        " VALUES (?, ?, ?, 'SUBMITTING', ?, '', ?, ?, ?, ?)",
        (line.key, line.gateway, line.fingerprint, line.custom_id, line.metadata, line.at, line.at, line.round or 0),
    )
