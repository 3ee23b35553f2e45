"""The journal: what was sent, what came back, and what it came to, on disk before anybody acts on it.

`seam` is what `submit` sees; `states`, `rows` and `ledger` are the synchronous core over `schema`'s tables, `anew` what
of a sheet is paid again; `writer` is the one thread that writes, `owners` who may; `store` puts them together.
"""

from typing import TYPE_CHECKING

from ..lazy import lazily
from .seam import Answer, GuardedJournal, Intent, Journal, NoJournal, NotNow
from .states import State

if TYPE_CHECKING:
    from .anew import SheetLedger
    from .entries import Entry, Record, request_of, uncertain_error
    from .ledger import Ledger
    from .pgstore import PostgresJournal
    from .schema import open_journal
    from .store import LedgerJournal, SqliteJournal, resolve

__getattr__ = lazily(  # what only a journal's file needs
    __name__,
    {
        "Entry": ".entries",
        "Ledger": ".ledger",
        "Record": ".entries",
        "LedgerJournal": ".store",
        "PostgresJournal": ".pgstore",
        "SheetLedger": ".anew",
        "SqliteJournal": ".store",
        "open_journal": ".schema",
        "request_of": ".entries",
        "resolve": ".store",
        "uncertain_error": ".entries",
    },
)

__all__ = [
    "Answer",
    "Entry",
    "GuardedJournal",
    "Intent",
    "Journal",
    "Ledger",
    "LedgerJournal",
    "NoJournal",
    "NotNow",
    "PostgresJournal",
    "Record",
    "SheetLedger",
    "SqliteJournal",
    "State",
    "open_journal",
    "request_of",
    "resolve",
    "uncertain_error",
]
