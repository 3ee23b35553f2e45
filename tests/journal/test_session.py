"""A connection to PostgreSQL: what it insists on, how it comes back, and that errors tell what to do and no secret."""

import os
import socket
import traceback

import pytest
from books import cut

from omni_async.errors import JournalError
from omni_async.journal import session as sessions
from omni_async.journal.pgtables import open_postgres
from omni_async.journal.postgres import BEGIN, PostgresLedger
from omni_async.journal.session import Session, postgres_error, translated
from tests.postgres import ask

SECRET = "CANARY-s3cret"


@pytest.fixture(scope="module")
def database(postgres):
    """A database."""
    return postgres.database()


@pytest.fixture
def session(database):
    """A connection to it."""
    session = Session(database)
    yield session
    session.close()


def shown(session, name):
    """A setting of the connection."""
    return session.raw.execute(f"SHOW {name}").fetchone()[0]


def test_it_insists_on_what_its_promises_need(postgres):
    """Whatever the database's defaults, and whatever the address says: commits are durable, idling is no death, and
    what takes long over many rows is not cut short each time.
    """
    dsn = postgres.database()
    name = dsn.rpartition("/")[2]
    for setting in (
        "synchronous_commit = off",
        "default_transaction_isolation = 'serializable'",
        "idle_session_timeout = '1min'",
        "idle_in_transaction_session_timeout = 0",
        "statement_timeout = '100ms'",
        "client_encoding = 'LATIN1'",
    ):
        ask(dsn, f"ALTER DATABASE {name} SET {setting}")
    session = Session(f"{dsn}?options=-c%20synchronous_commit%3Doff%20-c%20search_path%3Dmine&application_name=shop")
    assert shown(session, "synchronous_commit") == "on"
    assert shown(session, "idle_session_timeout") == "0"
    assert shown(session, "idle_in_transaction_session_timeout") == "5s"
    assert shown(session, "statement_timeout") == "0"
    assert shown(session, "client_encoding") == "UTF8"
    assert shown(session, "search_path") == "mine"
    assert shown(session, "application_name") == "shop"
    PostgresLedger(session).begin()
    assert shown(session, "transaction_isolation") == "read committed"
    session.close()


def test_what_the_environment_says_counts(database, monkeypatch):
    """As with everything that speaks to PostgreSQL by libpq."""
    for name, value in (("PGOPTIONS", "-c search_path=env"), ("PGAPPNAME", "of the environment")):
        monkeypatch.setenv(name, value)
    session = Session(database)
    assert shown(session, "search_path") == "env"
    assert shown(session, "application_name") == "of the environment"
    session.close()


@pytest.mark.parametrize("words", ["postgres://{place}", "postgresql://{place}?sslmode=prefer&connect_timeout=3"])
def test_addresses_in_other_words(database, words):
    """The short scheme, and whatever libpq takes after the question mark."""
    session = Session(words.format(place=database.partition("://")[2]))
    assert session.raw.execute("SELECT 1").fetchone() == (1,)
    session.close()


def test_the_password_of_the_environment(postgres, database, monkeypatch):
    """It need not stand in the address."""
    _guarded(database)
    monkeypatch.setenv("PGPASSWORD", SECRET)
    session = Session(database.replace(f"{postgres.name}@", "guarded@"))
    assert session.raw.info.user == "guarded"
    session.close()


def _guarded(dsn):
    found = ask(dsn, "SELECT 1 FROM pg_roles WHERE rolname = 'guarded'")
    if not found:
        ask(dsn, f"CREATE ROLE guarded LOGIN PASSWORD '{SECRET}'")


def test_a_lost_connection_is_made_anew_before_anything_is_done(session):
    """A transaction begins all the same, and the place is taken again."""
    opened = []
    session.on_open = lambda: opened.append(session.raw.info.backend_pid)
    session.begin(BEGIN)
    session.rollback()
    cut(session)
    session.begin(BEGIN)
    assert session.sound
    assert len(set(opened)) == 2
    session.rollback()


def test_a_transaction_that_is_lost_does_not_go_on_in_a_new_connection(session):
    """What would follow stood outside any transaction."""
    session.begin(BEGIN)
    cut(session)
    for _ in range(2):
        with pytest.raises(Exception, match=r"closed|terminat"):
            session.execute("SELECT 1")
    assert session.in_transaction
    assert session.lost
    assert not session.sound
    with pytest.raises(JournalError, match="undone by an error"):
        session.commit()
    session.rollback()
    assert not session.in_transaction
    assert session.execute("SELECT 1").fetchone() == (1,)


def test_what_failed_cannot_be_committed(session):
    """PostgreSQL would undo it and say nothing."""
    session.begin(BEGIN)
    with pytest.raises(Exception, match="nowhere"):
        session.execute("SELECT * FROM nowhere")
    with pytest.raises(JournalError, match="undone by an error"):
        session.commit()
    session.begin(BEGIN)  # over the one that failed
    session.commit()


def test_a_place_that_cannot_be_taken_leaves_no_connection(session):
    """The next one tries again."""

    def refused():
        raise JournalError("no")

    session.on_open = refused
    with pytest.raises(JournalError, match="no"):
        session.raw.execute("SELECT 1")
    assert not session.in_transaction
    session.on_open = lambda: None
    assert session.raw.execute("SELECT 1").fetchone() == (1,)


def test_a_server_that_refused_just_now_is_not_asked_again_at_once(monkeypatch):
    """Hundreds may want to, and each would wait."""
    session, asked = Session(f"postgresql://x@127.0.0.1:{free_port()}/x"), []
    monkeypatch.setattr(sessions, "RECONNECT_AFTER", 1000.0)
    connected = sessions.address
    monkeypatch.setattr(sessions, "address", lambda dsn: asked.append(1) or connected(dsn))
    for _ in range(3):
        with pytest.raises(Exception, match=r"refused|no server") as caught:
            session.begin(BEGIN)
    assert str(caught.value) == "the journal's database cannot be used: no server listens there"
    assert len(asked) == 1


def free_port():
    """A port where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_the_ledgers_words_become_postgresqls():
    """Its tables have names of their own, placeholders are another sign, and longer words stay."""
    assert translated("SELECT items FROM item WHERE note = ? AND record.key = ?") == (
        "SELECT items FROM omni_item WHERE omni_note = %s AND omni_record.key = %s"
    )


# --- what is told ------------------------------------------------------------------------------------------------

WRONG = {
    "port": ("postgresql://{user}:{secret}@127.0.0.1:{free}/x", "no server listens there"),
    "host": ("postgresql://{user}:{secret}@nowhere.invalid/x", "its host is not known"),
    "database": ("postgresql://{user}:{secret}@127.0.0.1:{port}/nowhere", "there is no such database"),
    "user": ("postgresql://nobody_here:{secret}@127.0.0.1:{port}/postgres", "access is refused"),
    "password": ("postgresql://guarded:{secret}x@127.0.0.1:{port}/postgres", "the password is missing or refused"),
    "no password": ("postgresql://guarded@127.0.0.1:{port}/postgres", "the password is missing or refused"),
    "option": ("postgresql://{user}:{secret}@127.0.0.1:{port}/x?color=red", "the journal's address is malformed"),
    "number": ("postgresql://{user}:{secret}@127.0.0.1:ninety/x", "cannot be used|malformed"),
    "percent": ("postgresql://{user}:{secret}%zz@127.0.0.1:{port}/x", "the journal's address is malformed"),
    "tls": ("postgresql://{user}:{secret}@127.0.0.1:{port}/x?sslmode=require", "TLS could not be agreed on"),
    "setting": ("postgresql://{user}:{secret}@127.0.0.1:{port}/postgres?options=-c%20no_such%3D1", "options"),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_address_that_does_not_work_says_why_and_no_secret(postgres, case, caplog):
    """Neither in the text nor in a log, nor in what a traceback with locals shows, causes included."""
    caplog.set_level(0)
    _guarded(postgres.dsn("postgres"))
    address, words = WRONG[case]
    dsn = address.format(user=postgres.name, port=postgres.port, free=free_port(), secret=SECRET)
    with pytest.raises(JournalError, match=words) as caught:
        open_postgres(Session(dsn))
    assert caught.value.kind == "failed"
    shown = traceback.TracebackException.from_exception(caught.value.with_traceback(None), capture_locals=True)
    assert caught.value.__context__ is None
    for text in (str(caught.value), repr(caught.value), "".join(shown.format()), caplog.text):
        assert "CANARY" not in text
        assert "127.0.0.1" not in text


def test_a_database_that_only_reads(postgres):
    """As a standby is, to which an old address may lead."""
    dsn = postgres.database()
    ask(dsn, f"ALTER DATABASE {dsn.rpartition('/')[2]} SET default_transaction_read_only = on")
    with pytest.raises(JournalError, match="can only be read"):
        open_postgres(Session(dsn))


def test_a_user_without_rights(postgres):
    """To make tables, or to use those of others."""
    dsn = postgres.database()
    ask(dsn, "DROP ROLE IF EXISTS poor", "CREATE ROLE poor LOGIN", "REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    poor = dsn.replace(f"{postgres.name}@", "poor@")
    with pytest.raises(JournalError, match="may not make or use the tables"):
        open_postgres(Session(poor))
    open_postgres(Session(dsn)).connection.close()
    with pytest.raises(JournalError, match="may not make or use the tables"):
        open_postgres(Session(poor))
    ask(dsn, "GRANT SELECT, INSERT, UPDATE, DELETE ON omni_item, omni_record, omni_note TO poor")
    open_postgres(Session(poor)).connection.close()  # whoever made them, using them is enough


def test_no_schema_for_the_tables(database):
    """The path leads nowhere."""
    with pytest.raises(JournalError, match="no schema for its tables"):
        open_postgres(Session(f"{database}?options=-c%20search_path%3Dnowhere"))


def test_a_database_in_another_encoding(postgres):
    """Prompts are of all languages: better told now than at the first one."""
    ask(
        postgres.dsn("postgres"),
        "CREATE DATABASE latin ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0",
    )
    with pytest.raises(JournalError, match="has the encoding LATIN1: make one with UTF8"):
        open_postgres(Session(postgres.dsn("latin")))


@pytest.mark.parametrize(
    ("state", "kind", "words"),
    [
        ("53100", "full", "no space left"),
        ("55P03", "locked", "held by another process for 30 s"),
        ("42P01", "damaged", "not as this library made them"),
        ("53300", "failed", "too many connections"),
        ("57P01", "failed", "SQLSTATE 57P01"),
    ],
)
def test_what_the_server_says(state, kind, words):
    """In the user's words, and the kind tells whether it may be over soon."""
    error = RuntimeError("the row's prompt")
    error.sqlstate = state
    told = postgres_error(error)
    assert told.kind == kind
    assert words in str(told)
    assert "prompt" not in str(told)


def test_what_it_does_not_know_is_named_by_its_kind():
    """And nothing of its text is passed on."""
    told = postgres_error(ValueError("CANARY"))
    assert str(told) == "the journal's database cannot be used: ValueError: is the server up and reachable?"
    mine = JournalError("mine")
    assert postgres_error(mine) is mine


def test_without_the_library_for_it(monkeypatch, postgres):
    """What to install is said, before anything is paid."""
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(JournalError, match=r"pip install 'omni-async\[pg\]'") as caught:
        open_postgres(Session(os.devnull))
    assert not caught.value.may_have_charged
