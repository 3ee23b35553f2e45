"""Names that are imported when they are first asked for."""

import subprocess
import sys
import types

import pytest

import omni_async
from omni_async.lazy import lazily


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


def test_every_public_name_is_there_listed_and_sorted():
    """Whether it is lazy or not."""
    assert omni_async.__all__ == sorted(omni_async.__all__)
    assert set(omni_async.__all__) <= set(dir(omni_async))
    assert all(getattr(omni_async, name) is not None for name in omni_async.__all__)
    with pytest.raises(ImportError, match="cannot import name 'nothing'"):
        from omni_async import nothing  # noqa: F401


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
    assert "omni_async.journal.store" in loaded(FILE)
