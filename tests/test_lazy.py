"""Names that are imported when they are first asked for."""

import importlib
import inspect
import math
import subprocess
import sys
import types
from typing import get_args, get_type_hints

import pytest

import omni_async
from omni_async import lazy
from omni_async.lazy import Late, lazily


@pytest.fixture
def package(monkeypatch):
    """A package with one lazy name."""
    made = types.ModuleType("made")
    made.__getattr__ = lazily("made", {"floor": "math"})
    monkeypatch.setitem(sys.modules, "made", made)
    return made


def test_a_name_is_imported_when_it_is_asked_for_and_then_there(package):
    """The second time costs what any attribute costs."""
    assert "floor" not in vars(package)
    assert package.floor(1.5) == 1
    assert vars(package)["floor"] is package.floor


def test_a_name_that_is_nowhere(package):
    """Told as Python tells it, so that `hasattr` and `from … import` work."""
    with pytest.raises(AttributeError, match=r"^module 'made' has no attribute 'ceil'$"):
        _ = package.ceil
    assert not hasattr(package, "ceil")


@pytest.mark.parametrize("name", ["floor", "math"])
def test_a_name_that_another_thread_is_loading_too(name, monkeypatch):
    """Python calls that a deadlock when each has what the other needs: who is told lets go, and tries again."""
    told = [importlib._bootstrap._DeadlockError("deadlock detected")] * 2
    paused = []

    def import_module(module, package):
        if told:
            raise told.pop()
        return math if module in ("math", ".math") else None

    monkeypatch.setattr(lazy, "import_module", import_module)
    monkeypatch.setattr(lazy.time, "sleep", paused.append)
    monkeypatch.setitem(sys.modules, "made", types.ModuleType("made"))
    assert lazily("made", {"floor": "math"})(name) is (math.floor if name == "floor" else math)
    assert paused == [lazy.PAUSE] * 2


@pytest.mark.parametrize("kind", [RuntimeError, importlib._bootstrap._DeadlockError])
def test_a_module_that_cannot_be_loaded_says_so(kind, monkeypatch):
    """A deadlock after some tries, another error at once."""
    tries = []

    def import_module(module, package):
        tries.append(module)
        raise kind("no")

    monkeypatch.setattr(lazy, "import_module", import_module)
    monkeypatch.setattr(lazy.time, "sleep", lambda _: None)
    with pytest.raises(kind, match=r"^no$"):
        lazily("made", {"floor": "math"})("floor")
    assert len(tries) == (1 if kind is RuntimeError else lazy.TRIES)


def test_every_public_name_is_there_listed_and_sorted():
    """Whether it is lazy or not."""
    assert omni_async.__all__ == sorted(omni_async.__all__)
    assert set(omni_async.__all__) <= set(dir(omni_async))
    assert all(getattr(omni_async, name) is not None for name in omni_async.__all__)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from omni_async import nothing  # noqa: F401


def test_nothing_but_what_is_public_is_listed():
    """Completion shows no machinery of the package."""
    listed = [name for name in dir(omni_async) if not name.startswith("__")]
    assert listed == [name for name in omni_async.__all__ if not name.startswith("__")]
    assert {"__doc__", "__version__"} <= set(dir(omni_async))


def test_help_begins_with_how_it_is_used():
    """What is meant for programs stands at its end."""
    title, usage, *_, marked = omni_async.__doc__.split("\n\n")
    assert title.startswith("asyncio-native client")
    assert "client.generate(" in usage
    assert marked.startswith("PYTEST_DONT_REWRITE")


def kinds_in(hint):
    """The classes of a type hint."""
    parts = get_args(hint)
    return {kind for part in parts for kind in kinds_in(part)} if parts else {hint}


def test_what_calls_give_can_be_annotated():
    """Each class of ours that a call of the client, a batch or a sweep gives, or holds, has a public name."""
    named = inspect.getmembers(omni_async.OmniClient, callable)
    calls = [call for name, call in named if not name.startswith("_")]
    calls += [omni_async.run_batch, omni_async.sweep_requests]
    held = [hint for kind in (omni_async.Sweep, omni_async.Outcome) for hint in get_type_hints(kind).values()]
    given = {kind for hint in [*held, *(get_type_hints(call)["return"] for call in calls)] for kind in kinds_in(hint)}
    ours = {kind.__name__ for kind in given if getattr(kind, "__module__", "").startswith("omni_async")}
    assert {"Watch", "Completed", "Many", "Resumed", "Checked", "Summary", "Refused"} <= ours
    assert ours <= set(omni_async.__all__)


def loaded(statement):
    """The modules that a fresh interpreter has loaded after a statement."""
    program = f"{statement}\nimport sys; print(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.decode().split())


CLIENT = "from omni_async import OmniClient; OmniClient(api_key='x')"
FILE = "from omni_async import OmniClient; OmniClient(api_key='x', journal='j')"


def test_who_does_not_use_it_does_not_pay_for_it():
    """The package loads what a caller names: the machinery with `OmniClient`, what keeps a file with the first one."""
    package = loaded("from omni_async import VideoRequest, OmniError")
    assert package & {"aiohttp", "cattrs", "sqlite3", "omni_async.making", "omni_async.batch"} == set()
    client = loaded(CLIENT)
    late = client - loaded("from omni_async import OmniClient")
    assert not {name for name in late if name.startswith("omni_async")}  # a running loop is not held up by it
    unused = {"sqlite3", "omni_async.following", "omni_async.journal.store", "omni_async.batch"}
    assert client & (unused | {"omni_async.dialects.gemini_omni"}) == set()
    assert client & {"cattrs", "omni_async.delivery", "omni_async.files", "omni_async.uploads"} == set()
    assert client & {"omni_async.journal.entries", "omni_async.filed", "omni_async.events.kinds"} == set()
    assert "omni_async.journal.store" in loaded(FILE)


def test_what_tells_of_a_paid_create_is_loaded_before_it_is_sent():
    """With too many open files, or a package that is being replaced, nothing could be loaded any more."""
    assert "omni_async.events.kinds" in loaded(
        "from omni_async import OmniClient; OmniClient(api_key='x', on_event=print)"
    )
    sent = "from omni_async import Jimmy, VideoRequest; Jimmy().create(VideoRequest(prompt='x'))"
    assert {"cattrs", "cattrs.v"} <= loaded(sent)
    orjson = pytest.importorskip("orjson")
    assert orjson.__name__ in loaded(CLIENT)


def test_what_is_made_late_is_made_once():
    """And nobody who only asks whether it was made makes it."""
    made = []
    late = Late(lambda: made.append("it") or made)
    assert late.made is None
    assert late() is late() is late.made
    assert made == ["it"]
