"""A disk under a journal that is full or broken when the test says so, and counts what is asked of it."""

import sqlite3
import threading

from omni_async.journal import SheetLedger

CODES = {
    "full": (sqlite3.SQLITE_FULL, "database or disk is full"),
    "failed": (sqlite3.SQLITE_IOERR | 4 << 8, "disk I/O error"),
    "locked": (sqlite3.SQLITE_BUSY, "database is locked"),
}


class Disk:
    """What the commits of one journal meet.

    `begins` and `commits` are counted; `trouble` is None or a kind in `CODES`, comes after `after` times that went
    well, and goes away after `times` failures. With `at_begin` it is met before anything is written. A commit waits
    until `gate` is open.
    """

    def __init__(self):
        self.begins = self.commits = self.failures = 0
        self.trouble, self.times, self.after, self.at_begin = None, None, 0, False
        self.gate = threading.Event()
        self.gate.set()
        self.waiting = threading.Event()

    def fail(self, kind="full", *, times=None, after=0, at_begin=False):
        """From now on, or so often."""
        self.trouble, self.times, self.after, self.at_begin = kind, times, after, at_begin

    def mend(self):
        """It works again."""
        self.trouble = None

    def ledger(self, connection, **options):
        """A ledger on this disk; it takes the place of the class."""
        return DiskLedger(self, connection, **options)

    def met(self, *, beginning):
        """Raises if there is trouble."""
        if self.trouble is None or beginning is not self.at_begin:
            return
        if self.after:
            self.after -= 1
            return
        kind, self.failures = self.trouble, self.failures + 1
        if self.times is not None:
            self.times -= 1
            self.trouble = kind if self.times else None
        error = sqlite3.OperationalError(CODES[kind][1])
        error.sqlite_errorcode = CODES[kind][0]
        raise error


class DiskLedger(SheetLedger):
    """A ledger whose transactions meet the disk."""

    def __init__(self, disk, connection, **options):
        super().__init__(connection, **options)
        self.disk = disk

    def begin(self):
        """Begin, if the disk lets us."""
        self.disk.begins += 1
        self.disk.met(beginning=True)
        super().begin()

    def commit(self):
        """Commit when the gate is open, if the disk lets us."""
        self.disk.waiting.set()
        assert self.disk.gate.wait(60)
        self.disk.waiting.clear()
        self.disk.met(beginning=False)
        self.disk.commits += 1
        super().commit()
