"""Journals as the commands find them: a batch's folder, a file, or the user's own."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..batch.sheet import ENDINGS
from ..client import OmniClient
from ..disk import make_private, state_folder
from ..errors import JournalError, OmniError
from ..journal import Ledger, SqliteJournal, State, open_journal
from ..journal.schema import JOURNAL_FILE, journal_error
from ..models import VideoTask
from .connect import Target
from .exits import UsageError
from .screen import Screen

OUTPUT, BASE = "output", "base_url"
"""Keys in a request's metadata: where its video was to go and where it was asked for, for a command that goes on."""


def own_path() -> Path:
    """The journal of `generate` and `wait`, in the user's state folder."""
    return state_folder() / JOURNAL_FILE


async def own_journal(screen: Screen, target: Target, *, make: bool = True) -> SqliteJournal | None:
    """The user's own journal, opened; None with the emulator, and where the state folder cannot be used.

    Args:
        screen: Is told why there is none.
        target: Whom the command talks to.
        make: Whether to make it if it is not there.
    """
    path = own_path()
    if target.emulator or not (make or path.exists()):
        return None
    journal = SqliteJournal(path, gateway=target.gateway, follow_others=False)
    try:
        make_private(path.parent)
        await journal.open()
    except (OSError, JournalError) as error:
        await journal.aclose()
        why = error.strerror if isinstance(error, OSError) and not isinstance(error, OmniError) else error.args[0]
        screen.note(f"warning: {path} cannot be used ({why}): ids are only shown here, so keep them")
        return None
    return journal


async def note_stored(client: OmniClient, task: VideoTask, file: Path) -> None:
    """Write down that a video is on disk; what cannot be written is found out again by the next look."""

    def stored(ledger: Ledger) -> None:
        entry = ledger.finished(client.dialect.name, task)
        if entry is not None and entry.state is State.SUCCEEDED:
            ledger.stored(entry.key, size)

    if client.studio.journal is not None:
        with suppress(JournalError, OSError):
            size = (await asyncio.to_thread(file.stat)).st_size
            await client.studio.journal.run(stored)


def found(given: Path | None) -> Path:
    """The journal's file: as given, in the folder given, or the user's own.

    Raises:
        UsageError: There is none.
    """
    if given is None:
        path = own_path()
        if not path.exists():
            raise UsageError(
                f"you have no journal of your own yet ({path}): generate makes one; or name a batch's folder"
            )
        return path
    if given.is_dir():
        if not (given / JOURNAL_FILE).exists():
            raise UsageError(f"{given}: there is no {JOURNAL_FILE} in this folder")
        return given / JOURNAL_FILE
    if not given.exists():
        raise UsageError(f"{given}: there is no such file or folder")
    if given.suffix.lower() in ENDINGS:
        raise UsageError(f"{given} is a sheet and no journal: name the folder of its batch")
    return given


@contextmanager
def reading(path: Path) -> Iterator[Ledger]:
    """A journal that is only looked at; whoever works with it is not disturbed."""
    ledger = Ledger(open_journal(path, read_only=True))
    try:
        yield ledger
    except sqlite3.Error as error:
        raise journal_error(error, path) from None
    finally:
        ledger.connection.close()
