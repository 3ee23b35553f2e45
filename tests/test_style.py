"""The figures for "simple": `python tests/test_style.py` prints them, the tests hold them."""

import ast
import importlib
import inspect
import pkgutil
import re
import statistics
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "omni_async"
SOURCES = {path: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}


def function_lengths():
    """Lines of each function, docstring left out, with where it stands."""
    for path, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                first = body[0].lineno if body else node.end_lineno
                yield node.end_lineno - first + 1, f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"


def figures():
    """Median, nine in ten, and the longest function; the longest module."""
    lengths = sorted(function_lengths())
    lines = [length for length, _ in lengths]
    modules = max((source.count("\n"), str(path.relative_to(PACKAGE))) for path, source in SOURCES.items())
    return {
        "functions": len(lines),
        "median": statistics.median(lines),
        "nine in ten": statistics.quantiles(lines, n=10)[-1],
        "longest function": lengths[-1],
        "longest module": modules,
    }


def test_functions_are_short():
    """Half have about ten lines or fewer, nine in ten fewer than 35, none more than 80."""
    found = figures()
    assert found["median"] <= 10
    assert found["nine in ten"] < 35
    assert found["longest function"][0] <= 80, found["longest function"]


def test_no_module_is_crowded():
    """No module has more than 400 lines."""
    assert figures()["longest module"][0] <= 400, figures()["longest module"]


def test_nothing_is_left_to_do():
    """No marker of unfinished work, and no room whose name says nothing."""
    for path, source in SOURCES.items():
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b", source), path
        assert path.stem not in {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}, path


def test_what_is_logged_is_formatted_by_whoever_reads_it():
    """Each call of a logger has a constant text and its arguments beside it, and there is one logger, `omni_async`."""
    for path, source in SOURCES.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called, first = ast.unparse(node.func), node.args[0] if node.args else None
                where = f"{path.relative_to(PACKAGE)}:{node.lineno}"
                if called == "logging.getLogger":
                    assert ast.unparse(first) == "'omni_async'", where
                elif re.fullmatch(r"(_?log|logger)\.(debug|info|warning|error|exception|critical|log)", called):
                    assert isinstance(first, ast.Constant), where
                assert not re.fullmatch(r"logging\.(debug|info|warning|error|exception|critical|log)", called), where


def public(owner):
    """What a module or class defines itself under a public name."""
    for name, thing in vars(owner).items():
        function = getattr(thing, "__func__", getattr(thing, "fget", thing))
        if not name.startswith("_") and (inspect.isfunction(function) or inspect.isclass(thing)):
            yield name, thing


def test_everything_public_says_what_it_does():
    """Each public function, class and method has a docstring, its own or that of what it overrides."""
    names = [module.name for module in pkgutil.walk_packages([str(PACKAGE)], "omni_async.")]
    bare = []
    for module in map(importlib.import_module, (name for name in names if not name.endswith("__main__"))):
        for name, thing in public(module):
            if thing.__module__ != module.__name__:
                continue
            parts = public(thing) if inspect.isclass(thing) else ()
            bare += [f"{module.__name__}.{name}.{part}" for part, _ in parts if not documented(thing, part)]
            bare += [] if inspect.getdoc(thing) else [f"{module.__name__}.{name}"]
    assert not bare


def parameters_untold(function):
    """Parameters that the docstring does not list."""
    told = set(re.findall(r"^ {4}(\w+): ", inspect.getdoc(function), re.MULTILINE))
    named = [one.name for one in inspect.signature(function).parameters.values() if one.kind is not one.VAR_KEYWORD]
    return set(named) - told - {"self"}


def test_the_client_and_the_dialect_say_what_they_take_and_give():
    """Each call of `OmniClient`, and each method a dialect of one's own may have; a docstring of a line says it all."""
    from omni_async import Dialect, OmniClient
    from omni_async.orders import Orders

    for owner in (OmniClient, Orders, Dialect):
        for name, method in public(owner):
            assert not parameters_untold(method), (name, parameters_untold(method))
    for name, call in (*public(OmniClient), *public(Orders)):
        told = inspect.getdoc(call)
        if "\n" in told and inspect.get_annotations(call)["return"] is not None:
            assert "\nReturns:" in told, name
    for name, kind in inspect.get_annotations(Dialect).items():
        assert f"    {name}: " in Dialect.__doc__, (name, kind)


def documented(owner, name):
    """Whether a member has a docstring of its own or inherits one."""
    return any(inspect.getdoc(vars(parent).get(name, None)) for parent in owner.__mro__ if name in vars(parent))


if __name__ == "__main__":
    for name, value in figures().items():
        sys.stdout.write(f"{name}: {value}\n")
