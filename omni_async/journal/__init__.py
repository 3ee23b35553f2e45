"""The journal: what was sent, what came back, and what it came to, on disk before anybody acts on it.

`seam` is what `submit` sees; `states` and `ledger` are the synchronous core over `schema`'s tables; `writer` is the one
thread that writes, `owners` who may; `store` puts them together.
"""

from .entries import Entry
from .ledger import Ledger, Record
from .schema import open_journal
from .seam import Answer, Book, Intent, Journal, NoJournal, NotNow
from .states import State
from .store import SqliteJournal, resolve

__all__ = [
    "Answer",
    "Book",
    "Entry",
    "Intent",
    "Journal",
    "Ledger",
    "NoJournal",
    "NotNow",
    "Record",
    "SqliteJournal",
    "State",
    "open_journal",
    "resolve",
]
