"""Rows whose task the gateway no longer shows, or never in a form that can be read: they say so, for a person.

Plain functions of one ledger, each part of a transaction; see `Entry.unfollowed` and `Ledger.resolve`.
"""

from .entries import UNFOLLOWED
from .ledger import Ledger


def mark(ledger: Ledger, gateway: str, task_id: str, why: str) -> None:
    """Note why a task cannot be followed, where the row is that waits for its end."""
    query = "UPDATE item SET detail = ? WHERE gateway = ? AND task_id = ? AND state = 'SUBMITTED'"
    ledger.connection.execute(query, (f"{UNFOLLOWED}{why}", gateway, task_id))


def clear(ledger: Ledger, gateway: str, task_id: str) -> None:
    """The gateway shows it again: nobody but its end decides what comes of the row."""
    query = "UPDATE item SET detail = NULL WHERE gateway = ? AND task_id = ? AND state = 'SUBMITTED' AND detail LIKE ?"
    ledger.connection.execute(query, (gateway, task_id, f"{UNFOLLOWED}%"))
