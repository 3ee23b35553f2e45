"""What a client is made of."""

import functools
import inspect
from pathlib import Path
from typing import get_type_hints

import pytest

from omni_async import (
    AuthenticationError,
    InvalidRequestError,
    Jimmy,
    Limiter,
    Limits,
    OmniClient,
    PollPolicy,
)
from omni_async.dialects import Abilities
from omni_async.journal import NoJournal, PostgresJournal, SqliteJournal
from omni_async.making import Settings
from omni_async.settings import base_url_of, dialect_of, journal_of, key_of, schedule_of
from tests.foreign import Foreign


def test_settings_of_a_wrong_kind_are_refused_at_once():
    """All of them, by name: a policy that is none would trip over the first refusal, past a create."""
    with pytest.raises(InvalidRequestError) as caught:
        OmniClient("jimmy", api_key="k", limits={"max_connections": 3}, poll=5, retry=3, http_timeout=30, session="s")
    assert [fault.field for fault in caught.value.faults] == ["limits", "poll", "retry", "http_timeout", "session"]
    assert "retry: must be RetryPolicy(…), not int" in str(caught.value)
    with pytest.raises(InvalidRequestError) as caught:
        OmniClient("jimmy", api_key="k", limiter=Limits(), headers=5, allow_hosts=5)
    assert [fault.field for fault in caught.value.faults] == ["limiter", "headers", "allow_hosts"]


def test_the_constructors_keywords_are_those_of_a_batch_and_some_more():
    """What its signature spells out and what is passed on as a type are one list: names and types."""
    hints = get_type_hints(OmniClient.__init__)
    keywords = [
        name
        for name, parameter in inspect.signature(OmniClient).parameters.items()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]
    assert {name: hints[name] for name in keywords} == get_type_hints(Settings)


async def told(event):
    """An `on_event` that nobody would await."""


class Told:
    """The same as an object."""

    async def __call__(self, event):
        """Never awaited."""


@pytest.mark.parametrize("on_event", [told, Told(), functools.partial(told)])
def test_an_async_on_event_is_refused(on_event):
    """It is called and not awaited: every event would be lost."""
    with pytest.raises(InvalidRequestError, match="on_event: is async, and is called, not awaited"):
        OmniClient("jimmy", api_key="k", on_event=on_event)


def test_what_cannot_be_called_is_refused():
    """Both of them, by name."""
    with pytest.raises(InvalidRequestError) as caught:
        OmniClient("jimmy", api_key="k", on_event=5, on_finished="mail")
    assert str(caught.value) == "on_event: must be a function, not int; on_finished: must be a function, not str"


def test_a_limiter_keeps_its_own_rate_and_connections():
    """Others beside it would be passed over without a word; `max_running_tasks` is the journal's, too."""
    limiter = Limiter(Limits(max_connections=500, requests_per_second=5))
    with pytest.raises(InvalidRequestError) as caught:
        OmniClient("jimmy", api_key="k", limiter=limiter, limits=Limits(max_connections=8, requests_per_second=1))
    assert "requests_per_second is 1, and 5 in the limiter that was given" in str(caught.value)
    assert "max_connections is 8, and 500" in str(caught.value)
    client = OmniClient("jimmy", api_key="k", limiter=limiter, limits=Limits(max_running_tasks=3))
    assert client.limiter is limiter
    assert client.limiter.limits.max_connections == 500


@pytest.mark.parametrize("gateway", ["jimmy", "gemini_omni", "toapis"])
def test_gateways_by_name(gateway):
    """Each name has its dialect."""
    assert dialect_of(gateway).name == gateway


def test_a_dialect_of_ones_own():
    """An instance is taken as it is."""
    mine = Foreign()
    assert dialect_of(mine) is mine


@pytest.mark.parametrize("gateway", ["jimy", "", None, Jimmy, 7, ["jimmy"]])
def test_no_such_gateway(gateway):
    """The allowed names are told."""
    with pytest.raises(InvalidRequestError, match="toapis"):
        dialect_of(gateway)


def test_base_url(monkeypatch):
    """As given, else from the environment, else the gateway's own."""
    monkeypatch.delenv("JIMMYAI_BASE_URL", raising=False)
    assert base_url_of(Jimmy(), None) == Jimmy().base_url
    monkeypatch.setenv("JIMMYAI_BASE_URL", "http://127.0.0.1:1")
    assert base_url_of(Jimmy(), None) == "http://127.0.0.1:1"
    assert base_url_of(Jimmy(), "http://127.0.0.1:2") == "http://127.0.0.1:2"


def test_key(monkeypatch):
    """As given, else from the environment, without what surrounds it; a callable is asked later."""
    monkeypatch.setenv("JIMMYAI_API_KEY", " from-environment\n")
    assert key_of(Jimmy(), None) == "from-environment"
    assert key_of(Jimmy(), " given ") == "given"
    source = lambda: "later"  # noqa: E731
    assert key_of(Jimmy(), source) is source


@pytest.mark.parametrize(("gateway", "variable"), [("jimmy", "JIMMYAI_API_KEY"), ("toapis", "TOAPIS_API_KEY")])
def test_a_missing_key_names_the_variable(monkeypatch, gateway, variable):
    """Before any I/O, with the variable to set."""
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(AuthenticationError, match=variable) as caught:
        OmniClient(gateway)
    assert not caught.value.may_have_charged


@pytest.mark.parametrize("empty", ["", " \n"])
def test_a_variable_that_is_set_and_empty_is_named_as_a_missing_key(monkeypatch, empty):
    """A `.env` file that was not filled in; nobody passed a key that could be copied again."""
    monkeypatch.setenv("TOAPIS_API_KEY", empty)
    with pytest.raises(AuthenticationError, match="TOAPIS_API_KEY") as caught:
        OmniClient("gemini_omni")
    assert (caught.value.gateway, caught.value.may_have_charged) == ("gemini_omni", False)


@pytest.mark.parametrize("key", ["", "  ", "two\nlines", "schlüssel", "a\0b"])
def test_a_key_no_header_can_carry(key):
    """Said at once, without showing it."""
    with pytest.raises(AuthenticationError) as caught:
        OmniClient(api_key=key)
    assert not key.strip() or key not in str(caught.value)


@pytest.mark.parametrize(
    ("poll", "first", "shortest", "longest", "strict"),
    [
        (PollPolicy(), 5, 5, 15, False),
        (PollPolicy(min_interval=2), 2, 2, 15, True),
        (PollPolicy(min_interval=30), 30, 30, 30, True),
        (PollPolicy(max_interval=3), 3, 3, 3, False),
        (PollPolicy(max_interval=60), 5, 5, 60, False),
        (PollPolicy(min_interval=1, max_interval=2), 1, 1, 2, True),
    ],
)
def test_schedules(poll, first, shortest, longest, strict):
    """The dialect's advice where the caller sets nothing else, and bounds in order."""
    dialect = Foreign()
    dialect.abilities = Abilities(first_look=5.0, min_interval=5.0, max_interval=15.0)
    schedule = schedule_of(dialect, poll)
    assert (schedule.first, schedule.shortest, schedule.longest, schedule.strict) == (first, shortest, longest, strict)
    assert schedule.fixed is None
    assert schedule_of(dialect, PollPolicy(fixed=2.0)).fixed == 2.0


def test_what_a_look_is_worth():
    """As the caller says, else the usual quarter of a second."""
    assert schedule_of(Foreign(), PollPolicy()).price == 0.25
    assert schedule_of(Foreign(), PollPolicy(lag_per_look=1)).price == 1


def test_journals(tmp_path):
    """None keeps nothing, a path is a file that is not opened yet, an object that answers the calls is taken."""
    rest = {"gateway": "jimmy", "room": 3}
    assert isinstance(journal_of(None, on_finished=False, **rest), NoJournal)
    mine = NoJournal()
    assert journal_of(mine, on_finished=False, **rest) is mine
    for path in (tmp_path / "j", str(tmp_path / "j")):
        journal = journal_of(path, on_finished=True, **rest)
        assert isinstance(journal, SqliteJournal)
        assert (journal.path, journal.gateway, journal.room, journal.notify) == (tmp_path / "j", "jimmy", 3, True)
        assert not journal.exclusive
        assert journal_of(journal, on_finished=True, **rest) is journal
    assert not any(tmp_path.iterdir())
    for unfit in (None, mine):
        with pytest.raises(InvalidRequestError, match="on_finished"):
            journal_of(unfit, on_finished=True, **rest)
    with pytest.raises(InvalidRequestError, match="an address of PostgreSQL"):
        journal_of("mysql://somewhere", on_finished=False, **rest)
    shared = journal_of("postgres://somewhere/x", on_finished=True, **rest)  # not reached for yet
    assert isinstance(shared, PostgresJournal)
    assert (shared.gateway, shared.room, shared.notify) == ("jimmy", 3, True)


def test_a_journal_that_lacks_a_call_is_refused_at_once():
    """The missing one would trip after a create was paid."""

    class Half:
        async def intend(self, intent):
            return None

    for unfit, missing in ((Half(), "needs answered, settle too"), (5, "needs intend, answered, ")):
        with pytest.raises(InvalidRequestError, match=missing):
            OmniClient("jimmy", api_key="k", journal=unfit)


@pytest.mark.parametrize("url", ["ftp://x", "//x", "http://", "http://u:p@x", "http://x?q", 7])
def test_malformed_base_urls(url):
    """Refused when the client is made."""
    with pytest.raises(InvalidRequestError, match="base_url"):
        OmniClient(api_key="key", base_url=url)


@pytest.mark.parametrize(
    "name", [":memory:", Path(":memory:"), "file::memory:", "file::memory:?cache=shared", "file:x?mode=memory", "", " "]
)
def test_a_journal_in_memory_is_refused(tmp_path, monkeypatch, name):
    """As a file's name it would make a file that outlives the program, and a test's second run would pay nothing."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequestError, match="a journal is a file; None keeps none"):
        OmniClient("jimmy", api_key="k", journal=name)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("address", ["host=db dbname=x password=hunter2", " dbname = x", "service=omni", "user=a"])
def test_an_address_of_postgresql_in_its_other_form_is_no_files_name(tmp_path, monkeypatch, address):
    """Such a file would show the password, and other hosts would pay again."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidRequestError, match="postgresql://") as caught:
        OmniClient("jimmy", api_key="sk-1", journal=address)
    assert "hunter2" not in str(caught.value)
    assert not any(tmp_path.iterdir())
