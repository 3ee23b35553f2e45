"""Clients with a real journal file against the fault server, at work and abandoned; what their file tells then."""

import asyncio
import contextlib
import sqlite3
import threading
from contextlib import asynccontextmanager

from omni_async import OmniClient
from omni_async.journal import Ledger, open_journal
from tests.fault_server import KEY, scene
from tests.warp import WarpLoop

PROMPT = "a heron at dawn"


@asynccontextmanager
async def booked(folder, *creates, **settings):
    """A scene whose client keeps a journal in a folder."""
    async with scene(*creates, journal=folder / "j", running=None, **settings) as here:
        yield here


def client_of(folder, server, gateway="jimmy", **settings):
    """One more client of this server and journal."""
    return OmniClient(
        gateway, **{"api_key": KEY, "base_url": server.url, "proxy": None, "journal": folder / "j", **settings}
    )


def rows(folder):
    """The rows of the journal in a folder, by key; sound as a whole."""
    reader = open_journal(folder / "j", read_only=True)
    with contextlib.closing(reader):
        assert reader.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        return {entry.key: entry for entry in Ledger(reader).entries()}


def states(folder):
    """Where each row stands."""
    return {key: str(entry.state) for key, entry in rows(folder).items()}


def records(folder, key):
    """What happened to a row."""
    with contextlib.closing(open_journal(folder / "j", read_only=True)) as reader:
        return Ledger(reader).records(key)


def journal_threads():
    """Threads that write journals."""
    return [thread for thread in threading.enumerate() if thread.name == "omni_async journal"]


def abandoned(server, main):
    """Run `main` with a started server on a loop that then ends without `aclose()`: what it gives but for the client.

    To the journal the client is as dead as one whose process was killed. `main` is given the server, and gives its
    client and anything else.
    """
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        runner.run(server.start())
        client, *rest = runner.run(main(server))
        runner.run(_given_up(client, server))
    for thread in journal_threads():
        thread.join(10)
    assert not journal_threads()
    return rest


def sending(folder, gateway="jimmy", **fields):
    """A `main` for `abandoned`: a create of `mine` is on its way when the process ends."""

    async def main(server):
        client = client_of(folder, server, gateway)
        create = asyncio.ensure_future(client.submit(PROMPT, custom_id="mine", **fields))
        await asyncio.sleep(1)
        return client, create

    return main


async def _given_up(client, server):
    """What the end of a process does: tasks go no further, sockets are closed."""
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await asyncio.sleep(0.1)
    await client.studio.exchange.transport.aclose()
    if client.studio.delivery.made is not None:
        await client.studio.delivery.made.aclose()
    await server.stop()


def on_warp(main):
    """Run a coroutine function on a loop whose time jumps."""
    with asyncio.Runner(loop_factory=WarpLoop) as runner:
        return runner.run(main())


def all_bytes(folder):
    """Everything in a folder, as one."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def written(path):
    """A connection to look with, by other means than the library's."""
    return contextlib.closing(sqlite3.connect(path))
