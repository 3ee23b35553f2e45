"""A real PostgreSQL on loopback, for the tests that need one; without it they are skipped with one line."""

import contextlib
import getpass
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

OPTIONS = ("-c", "fsync=off", "-c", "max_connections=300", "-c", "unix_socket_directories=")
"""What is lost in a power cut is not tested here; and a socket's path in a temporary folder may be too long."""


def binaries():
    """The folder of PostgreSQL's programs, or None."""
    places = [Path(found).resolve().parent for name in ("postgres", "pg_ctl") if (found := shutil.which(name))]
    for folder, pattern in (("/usr/lib/postgresql", "*/bin"), ("/opt/homebrew/opt", "postgresql*/bin")):
        places += sorted(Path(folder).glob(pattern), reverse=True)
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def _is_user(name):
    import pwd

    return any(entry.pw_name == name for entry in pwd.getpwall())


def missing():
    """Why there can be no server here, in a line; None if there can."""
    if sys.platform == "win32":
        return "not tried on Windows"
    if binaries() is None:
        return "PostgreSQL is not installed (Debian: apt-get install postgresql; macOS: brew install postgresql)"
    if os.geteuid() == 0 and not _is_user("postgres"):
        return "PostgreSQL does not run as root, and there is no user postgres"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "psycopg is not installed (pip install 'omni-async[pg]')"
    return None


def ask(dsn, *statements):
    """Say statements to a database; the rows that the last one gives, if any."""
    import psycopg

    with contextlib.closing(psycopg.connect(dsn, autocommit=True)) as connection:
        for statement in statements:
            cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


class Server:
    """A PostgreSQL of one's own in a temporary folder; as another user if this one is root, as it demands."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="omni-pg-"))
        self.user = "postgres" if os.geteuid() == 0 else None
        if self.user:
            shutil.chown(self.folder, self.user)
        self.name = self.user or getpass.getuser()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._process = None
        self._run("initdb", "-D", "data", "-A", "trust", "-U", self.name, "-E", "UTF8", "--locale=C", "-N")
        rules = self.folder / "data" / "pg_hba.conf"
        rules.write_text(f"host all guarded 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")

    def _run(self, program, *arguments):
        subprocess.run(
            [binaries() / program, *arguments], cwd=self.folder, user=self.user, check=True, capture_output=True
        )

    def start(self):
        """Start it, and wait until it lets somebody in."""
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    binaries() / "postgres",
                    "-D",
                    "data",
                    "-p",
                    str(self.port),
                    "-h",
                    "127.0.0.1",
                    *OPTIONS,
                ],
                cwd=self.folder,
                user=self.user,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 60
        while True:
            try:
                return ask(self.dsn("postgres"), "SELECT 1")
            except Exception:
                assert time.monotonic() < until, (self.folder / "log").read_text()
                time.sleep(0.02)

    def crash(self):
        """An immediate shutdown: what `kill -9` of the postmaster would be, without orphans."""
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(30)

    def dsn(self, database):
        """The address of a database."""
        return f"postgresql://{self.name}@127.0.0.1:{self.port}/{database}"

    def database(self):
        """The address of a new, empty database."""
        if self._process.poll() is not None:  # a test that failed has left it so
            self.start()
        name = f"omni_{secrets.token_hex(4)}"
        ask(self.dsn("postgres"), f"CREATE DATABASE {name}")
        return self.dsn(name)

    def close(self):
        """End it, and remove what it wrote."""
        if self._process is not None and self._process.poll() is None:
            self.crash()
        shutil.rmtree(self.folder, ignore_errors=True)


@contextlib.contextmanager
def server():
    """A running server."""
    here = Server()
    try:
        here.start()
        yield here
    finally:
        here.close()


@pytest.fixture(scope="session")
def postgres():
    """The server of this run of the tests; the tests that ask for it are skipped where there can be none."""
    if why := missing():
        pytest.skip(why)
    with server() as here:
        yield here
