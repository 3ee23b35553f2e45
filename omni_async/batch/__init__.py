"""Batches: a sheet of rows to videos, resumable, edit-safe, and never paid twice.

`sheet` reads what people have, `rows` checks it, `entering` puts it into the journal, `plan` tells what that will cost,
`running` lets `sending` send and `fetching` fetch, `storing` brings a video to disk, `results` writes what came of it,
`reporting` shows it.
"""

from .api import run_batch
from .entering import SheetOptions
from .fetching import Outage
from .plan import Plan, Prices
from .planning import dry_plan
from .sending import Bounds
from .session import Batch, Progress, Summary

__all__ = [
    "Batch",
    "Bounds",
    "Outage",
    "Plan",
    "Prices",
    "Progress",
    "SheetOptions",
    "Summary",
    "dry_plan",
    "run_batch",
]
