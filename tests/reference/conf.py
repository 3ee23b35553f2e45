"""How the API reference is made of the docstrings: `python -m sphinx -W -n tests/reference build/reference`."""

import enum
import inspect
import re
import sys
from importlib import import_module

import attrs
from docutils import nodes

import omni_async

project, release, author = "omni_async", omni_async.__version__, "the authors of omni_async"
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]
templates_path, html_static_path, exclude_patterns = [], [], []
html_theme_options = {"description": "asyncio-native client for Gemini Omni video generation"}
autodoc_default_options = {"members": True, "undoc-members": True, "show-inheritance": True}
autodoc_member_order = "bysource"
napoleon_use_ivar = True  # what a class lists under "Attributes:" is not described a second time

nitpick_ignore = [("py:class", "omni_async.dialects.wire.T")]  # a type variable: there is nothing to tell of it

MANUALS = {
    "aiohttp": "https://docs.aiohttp.org/en/stable/",
    "attr": "https://www.attrs.org/en/stable/",
    "pytest": "https://docs.pytest.org/en/stable/",
    "opentelemetry": "https://opentelemetry-python.readthedocs.io/en/stable/",
}
STANDARD = "https://docs.python.org/3/library/"


def elsewhere(app, env, node, text):
    """A reference to another package's name: believed if Python finds it there, and linked to its manual."""
    target = node.get("reftarget", "")
    found = target.startswith("omni_async") or found_in_python(target)
    if not found or target.startswith("omni_async"):
        return None
    module = found.partition(".")[0]
    link = f"{STANDARD}{found}.html" if module in sys.stdlib_module_names else MANUALS[module.lstrip("_")]
    return nodes.reference("", "", text, internal=False, refuri=link)


def found_in_python(target):
    """The module in which a dotted name is found, or `builtins`; empty if there is none."""
    module, _, name = target.rpartition(".")
    try:
        return (module or "builtins") if hasattr(import_module(module or "builtins"), name) else ""
    except ImportError:
        return ""


SPOKEN = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
NAMED = re.compile(r"(?:(?:asyncio\.)?[A-Z][a-z]+[A-Z]\w*(?:\.\w+)?|[a-z]\w*(?:\.\w+)*\(\))")


def spoken(app, what, name, thing, options, lines):
    """What stands in backticks is code; where it names a class or is called, it must be found."""
    if "".join(lines[:1]).startswith("Alias for field number"):  # what a NamedTuple says of itself
        lines.clear()
    lines[:] = [SPOKEN.sub(lambda match: role_of(match[1]), line) for line in lines]


def short_defaults(app, thing, bound):
    """Defaults that are not plain values are shown as `...`: their own text tells more than anybody asks."""
    if inspect.isfunction(thing):
        told = inspect.signature(thing)
        named = [part.replace(default=shown(part.default)) for part in told.parameters.values()]
        thing.__signature__ = told.replace(parameters=named)


def shown(default):
    """A default as it is written in a call."""
    if isinstance(default, enum.Enum) and default is not attrs.NOTHING:
        return Written(f"{type(default).__name__}.{default.name}")
    plain = default in ((), None) or isinstance(default, str | int | float) or default is inspect.Parameter.empty
    return default if plain else Written("...")


class Written(str):
    """A text that is code."""

    __slots__ = ()

    def __repr__(self):
        return str(self)


def role_of(text):
    """The markup of what stands in backticks: our names are spoken of as users import them."""
    if not NAMED.fullmatch(text):
        return f"``{text}``"
    name = re.sub(r"^client\.", "OmniClient.", text.removesuffix("()"))
    return f":py:obj:`{text} <{'omni_async.' * (name.partition('.')[0] in omni_async.__all__)}{name}>`"


def public_bases(app, name, thing, options, bases):
    """A base that has no name outside its module is shown as its own bases."""
    bases[:] = [shown for base in bases for shown in (base.__bases__ if base.__name__.startswith("_") else (base,))]


def setup(app):
    """Sphinx asks for this."""
    app.connect("missing-reference", elsewhere)
    app.connect("autodoc-before-process-signature", short_defaults)
    app.connect("autodoc-process-docstring", spoken)
    app.connect("autodoc-process-bases", public_bases)
