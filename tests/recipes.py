"""The README's recipes: each block is found by the comment before it, `<!-- web: app.py -->`."""

import re
from pathlib import Path

README = Path(__file__).parent.parent / "README.md"


def block(name):
    """The block after the comment of this name."""
    found = re.findall(rf"<!-- {re.escape(name)} -->\n```\w+\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    assert len(found) == 1, f"{len(found)} blocks of the README are called {name!r}"
    return found[0]


def install_line(name):
    """The words after `pip install` in the block of commands of this name."""
    (line,) = re.findall(r"^pip install (.*)$", block(name), re.MULTILINE)
    return line
