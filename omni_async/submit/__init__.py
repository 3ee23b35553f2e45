"""The one way a paid POST is made, at most once.

`submit` takes its steps: intent, send, salvage, record. `creates` tells what a create is: its row in the journal, its
call, and what came of it. `posts` owns those in flight, whatever becomes of their callers; `lookup` finds the task of
one whose answer was lost.
"""

from .creates import Create, intent_of, row_key
from .lookup import find_lost, recover
from .submit import Submitter

__all__ = ["Create", "Submitter", "find_lost", "intent_of", "recover", "row_key"]
