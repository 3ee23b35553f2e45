"""The API reference: made of the docstrings without a warning, each public name in it, no reference leads astray."""

import inspect
import re
import shlex
import subprocess
import sys
import typing
from importlib import import_module
from pathlib import Path

import pytest
from sphinx.util.inventory import InventoryFile

import omni_async
from omni_async import batch, dialects, emulator, journal, report

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text("utf-8")
COMMAND = re.search(r"<!-- reference -->\n```bash\npython (.*)\n```", README)[1]
WRONG = '''
"""A module."""
class Thing:
    """Has `methods`, and refers to `{name}`."""
    def method(self, other: "{kind}") -> None:
        """Do it."""
'''
SOUND = {"name": "TaskStatus", "kind": "aiohttp.ClientSession"}


def build(*, source=None, output):
    """Run the README's command on another source and output."""
    words = shlex.split(COMMAND)
    words[-1] = str(output)
    words[-2] = str(source or words[-2])
    ran = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False
    )
    return ran.returncode, ran.stderr


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The reference, as the README's command makes it, and how that ended."""
    folder = tmp_path_factory.mktemp("reference")
    return folder, *build(output=folder)


def test_the_readmes_command_builds_it_without_a_warning(built):
    """Nothing is told on stderr, and the page is there."""
    folder, code, told = built
    assert (code, told) == (0, "")
    assert "class=" in (folder / "index.html").read_text("utf-8")


def public_names():
    """What users import: the package's names, the emulator's, the plugin's, and what stands behind their signatures."""
    yield from (f"omni_async.{name}" for name in omni_async.__all__)
    yield from (f"omni_async.emulator.{name}" for name in emulator.__all__)
    yield from (f"omni_async.report.{name}" for name in report.__all__)
    yield from (f"omni_async.batch.{name}" for name in batch.__all__ if name not in omni_async.__all__)
    yield from ("omni_async.testing.omni_emulator", "omni_async.otel.Telemetry", "omni_async.events.fan_out")


def test_every_public_name_is_in_it(built):
    """The inventory of the built pages names each, as users import it."""
    inventory = InventoryFile.loads((built[0] / "objects.inv").read_bytes(), uri="")
    found = {name for kind in inventory.data.values() for name in kind}
    assert [name for name in public_names() if name not in found] == []


@pytest.mark.parametrize("wrong", [{"name": "TaskStauts"}, {"name": "vanish()"}, {"kind": "aiohttp.Session"}, {}])
def test_a_reference_that_leads_nowhere_fails_the_build(wrong, tmp_path):
    """A class misspelt in backticks, a function that is not there, an unknown type; the same without a fault passes."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "made_up.py").write_text(WRONG.format(**{**SOUND, **wrong}), "utf-8")
    conf = (ROOT / "tests/reference/conf.py").read_text("utf-8")
    (source / "conf.py").write_text(f"import sys\nsys.path.insert(0, {str(source)!r})\n{conf}", "utf-8")
    (source / "index.rst").write_text(
        "Made up\n=======\n\n.. autoclass:: made_up.Thing\n.. autoclass:: omni_async.TaskStatus\n", "utf-8"
    )
    code, told = build(source=source, output=tmp_path / "out")
    assert (code != 0) is bool(wrong), told
    assert all(word.removesuffix("()") in told for word in wrong.values())


def callables():
    """Every public function, class and method, with its name."""
    modules = [omni_async, emulator, batch, dialects, journal, report]
    modules += [import_module(f"omni_async.{name}") for name in ("events", "otel", "webhooks", "policies", "models")]
    for module in modules:
        for name in getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]:
            thing = getattr(module, name)
            if callable(thing) and str(getattr(thing, "__module__", "")).startswith("omni_async"):
                yield f"{module.__name__}.{name}", thing
                yield from methods(f"{module.__name__}.{name}", thing)


def methods(name, kind):
    """The methods and properties of a class that users see."""
    for part in dir(kind) if inspect.isclass(kind) else ():
        found = inspect.getattr_static(kind, part)
        function = getattr(found, "fget", None) or getattr(found, "__func__", found)
        if inspect.isfunction(function) and (not part.startswith("_") or part in ("__init__", "__aenter__")):
            yield f"{name}.{part}", function


@pytest.mark.parametrize("thing", [pytest.param(thing, id=name) for name, thing in callables()])
def test_the_annotations_of_what_is_public_can_be_read(thing):
    """`typing.get_type_hints`, as frameworks that inject dependencies or make forms of signatures use it."""
    typing.get_type_hints(thing)
