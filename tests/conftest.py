"""What all tests share."""

import gc
import os
import socket

import pytest
from hypothesis import settings

from omni_async.journal import store, writer
from tests.failing_disk import Disk
from tests.postgres import missing, postgres  # noqa: F401 - a fixture

gc.disable()  # until all tests are found, a third of which would be looking for garbage

# How long an example takes is the machine's affair, and a run is what its commit makes it; `EXPLORE=1` looks further.
settings.register_profile("steady", settings(), deadline=None, derandomize="EXPLORE" not in os.environ)
settings.load_profile("steady")


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop():
    """What has been imported is not garbage, and is not looked through again at each collection."""
    gc.freeze()
    gc.enable()


@pytest.fixture(autouse=True, scope="session")
def no_home(tmp_path_factory):
    """The command line's own journal is never the user's, not in other processes either."""
    before = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))
    yield
    os.environ.pop("XDG_STATE_HOME")
    if before is not None:
        os.environ["XDG_STATE_HOME"] = before


@pytest.fixture(autouse=True, scope="session")
def no_addresses():
    """The examples' hosts have no addresses, and nobody outside this machine is asked for them."""
    ask = socket.getaddrinfo

    def answer(host, *rest, **more):
        if isinstance(host, str) and host.endswith(".example"):
            raise socket.gaierror(socket.EAI_NONAME, "this name has no address")
        return ask(host, *rest, **more)

    socket.getaddrinfo = answer
    yield
    socket.getaddrinfo = ask


@pytest.fixture
def anyio_backend(request):
    """The event loop that tests of coroutines run on; a module may name its own, such as one whose time jumps."""
    return "asyncio", {"loop_factory": getattr(request.module, "LOOP", None)}


@pytest.fixture
def disk(monkeypatch):
    """Under every journal that is opened."""
    disk = Disk()
    monkeypatch.setattr(store, "SheetLedger", disk.ledger)
    yield disk
    disk.gate.set()


@pytest.fixture
def let_go(monkeypatch):
    """Writers notice at once that their loop has ended."""
    monkeypatch.setattr(writer, "IDLE", 0.005)


def pytest_terminal_summary(terminalreporter):
    """One line for all tests that need PostgreSQL, where there is none."""
    skipped = [report for report in terminalreporter.stats.get("skipped", ()) if str(missing()) in str(report.longrepr)]
    if skipped:
        terminalreporter.write_line(f"{len(skipped)} tests skipped: {missing()}")
