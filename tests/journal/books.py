"""A journal by hand: its ledger on a file, and intents and answers as the tests want them."""

import contextlib
import sqlite3
import time

from omni_async.journal import Answer, Intent, Ledger, State, open_journal
from omni_async.journal.pgtables import open_postgres
from omni_async.journal.session import Session
from omni_async.models import TaskStatus, VideoTask
from tests.postgres import ask


class Clock:
    """Wall time that stands still until it is told to go on."""

    def __init__(self, now=1_767_000_000.0):
        self.now = now

    def __call__(self):
        self.now += 1.0
        return self.now


class Book:
    """A ledger whose every call is a transaction of its own."""

    def __init__(self, path, clock=None):
        self.path = path
        self.clock = clock or Clock()
        self.ledger = self.opened()

    def opened(self):
        """The ledger at its path."""
        return Ledger(open_journal(self.path), clock=self.clock)

    def __getattr__(self, name):
        def call(*arguments, **options):
            with writing(self.ledger):
                return getattr(self.ledger, name)(*arguments, **options)

        return call

    def intend(self, key="k", *, owner="me", room=None, notify=False, **more):
        """An intent by its key."""
        with writing(self.ledger):
            return self.ledger.intend(intent(key, **more), owner=owner, room=room, notify=notify)

    def submitted(self, key="k", task_id=None, **more):
        """A row whose create was accepted."""
        self.intend(key, **more)
        self.answered(key, accepted(task_id or f"task-{key}"))
        return self.entry(key)

    def uncertain(self, key="k", candidate=None, **more):
        """A row of whose create nobody knows what came."""
        self.intend(key, **more)
        self.answered(key, lost(candidate))
        return self.entry(key)

    def close(self):
        """Close the database."""
        self.ledger.connection.close()


class Wire(Session):
    """A session whose connection breaks when the test says so: before or after a COMMIT, and for how many attempts."""

    lose, away = None, 0

    def commit(self):
        """Lost on its way there, or on the way back."""
        lose, self.lose = self.lose, None
        if lose == "after":
            super().commit()
            self._begun = True
        if lose:
            cut(self)
        if lose == "after":
            self._connection.execute("SELECT 1")
        super().commit()

    def _connected(self):
        if self.away:
            self.away -= 1
            raise ConnectionError("away")
        return super()._connected()


def cut(session):
    """End the connection from the other side."""
    ending = f"SELECT pg_terminate_backend({session._connection.info.backend_pid})"
    while ask(session._dsn, ending) == [(True,)]:
        time.sleep(0.001)


class PostgresBook(Book):
    """The same in PostgreSQL; its path is the database's address."""

    def opened(self):
        """The ledger at its address."""
        ledger = open_postgres(Wire(self.path))
        ledger._clock = self.clock
        return ledger

    def empty(self):
        """Take out every row."""
        raw = self.ledger.connection.raw
        raw.execute("TRUNCATE omni_item, omni_record RESTART IDENTITY")
        raw.execute("DELETE FROM omni_note WHERE name <> 'schema version'")
        return self


@contextlib.contextmanager
def writing(ledger):
    """A transaction; undone if it raises."""
    ledger.begin()
    try:
        yield ledger
    except BaseException:
        ledger.rollback()
        raise
    ledger.commit()


def intent(key="k", *, fingerprint="print", gateway="jimmy", custom_id="same", inputs='{"prompt": "a cat"}', **more):
    """An intent; its custom id is its key unless told."""
    own = key if custom_id == "same" else custom_id
    return Intent(key=key, fingerprint=fingerprint, gateway=gateway, custom_id=own, inputs=inputs, **more)


def accepted(task_id="task-k", **more):
    """An answer with a task."""
    return Answer(state="SUBMITTED", task_id=task_id, **{"status": 200, "body": b'{"ok": 1}', **more})


def lost(candidate=None, detail="the answer was lost"):
    """No answer at all."""
    return Answer(state="UNCERTAIN", candidate=candidate, detail=detail)


def refused(again=1):
    """A clean refusal."""
    return Answer(state="REJECTED", status=400, detail="bad prompt", again=again)


def task(task_id="task-k", status=TaskStatus.SUCCEEDED, **more):
    """A finished task."""
    url = "https://cdn.example/v.mp4?sig=1" if status is TaskStatus.SUCCEEDED else None
    return VideoTask(task_id=task_id, status=status, **{"video_url": url, **more})


def rows(path):
    """All rows of a journal by key, read by other means."""
    if str(path).startswith("postgres"):
        import psycopg.rows

        with psycopg.connect(path, row_factory=psycopg.rows.dict_row) as connection:
            return {row["key"]: row for row in connection.execute("SELECT * FROM omni_item")}
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        return {row["key"]: dict(row) for row in connection.execute("SELECT * FROM item")}


def states(path):
    """Where each row stands."""
    return {key: State(row["state"]) for key, row in rows(path).items()}


def sound(path):
    """Whether SQLite finds nothing wrong with the file."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
