"""What errors say by what the journal knows: of money where nothing was sent, and of an id that is none of a task."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from typing import TYPE_CHECKING, Any

from .arguments import TaskOrId
from .errors import Fault, InvalidRequestError, JournalError, NotFoundError, OmniError
from .fields import encodable, local_references
from .models import VideoRequest

if TYPE_CHECKING:  # loaded with the first client that keeps a journal's file
    from .journal import Ledger, LedgerJournal
    from .journal.entries import Entry

HINT = "this id is a custom_id of the journal: `client.find` gives its task"


@contextlib.asynccontextmanager
async def nothing_sent(asked: VideoRequest, gateway: str, journal: "LedgerJournal[Any] | None") -> AsyncIterator[None]:
    """An error in here comes before anything is sent: an earlier create of its id alone may have been charged.

    Args:
        asked: What was to be sent.
        gateway: To whom.
        journal: Knows earlier creates, if there is one.
    """
    try:
        yield
    except OmniError as error:
        await tell_unsent(error, asked, gateway, journal)
        raise


async def tell_unsent(
    error: OmniError, asked: VideoRequest, gateway: str, journal: "LedgerJournal[Any] | None"
) -> None:
    """Complete an error that came before anything was sent; see `nothing_sent`."""
    custom_id = asked.custom_id if isinstance(asked.custom_id, str) else None
    error.about(gateway=gateway, custom_id=custom_id, metadata=asked.metadata)
    error.may_have_charged = False
    if journal is not None and custom_id and encodable(custom_id):
        await _recall(error, custom_id, journal)


@contextlib.asynccontextmanager
async def recognized(asked: TaskOrId, journal: "LedgerJournal[Any] | None") -> AsyncIterator[None]:
    """What the gateway does not know in here may be an id of the journal: the error says so.

    Args:
        asked: What it was asked for.
        journal: Of the client, if there is one.
    """
    try:
        yield
    except NotFoundError as error:
        if journal is not None and isinstance(asked, str):
            with contextlib.suppress(JournalError):
                known = await journal.run(lambda ledger: ledger.entry(asked))
                if known is not None and HINT not in error.args[0]:  # several may wait, and share the error
                    error.args = (f"{error.args[0]}; {HINT}",)
        raise


def changed(asked: VideoRequest) -> InvalidRequestError:
    """The error for a planned row whose local files are no longer those that were entered."""
    found = dict(local_references(asked))
    faults = [Fault(field, f"{path} was changed after its row was entered") for field, path in found.items()]
    files = " or ".join(map(str, faults))
    told = f"{files}: run the batch with its sheet again, which enters it as it is now"
    return InvalidRequestError(told, faults=tuple(faults))


async def _recall(error: OmniError, key: str, journal: "LedgerJournal[Any]") -> None:
    """Say what the journal knows of an earlier create of this id; what it cannot tell is not proved."""
    try:
        entry, paid = await journal.run(partial(_earlier, key=key))
    except JournalError:
        error.may_have_charged = True
        return
    if entry is not None and paid:
        error.may_have_charged = True
        error.about(task_id=entry.task_id or entry.candidate)


def _earlier(ledger: "Ledger", *, key: str) -> "tuple[Entry | None, bool]":
    """The row of an id, and whether a create of it may have been charged."""
    entry = ledger.entry(key)
    return entry, entry is not None and ledger.paid_before(entry)
