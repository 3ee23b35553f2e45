"""What the README shows runs as it stands there."""

import asyncio
import logging
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import omni_async
from omni_async.emulator import Emulator
from omni_async.models import FIELDS
from tests.warp import run

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCKS = re.findall(r"```(python|bash|csv)\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
PYTHON = [source for language, source in BLOCKS if language == "python"]
SUITES = [source for source in PYTHON if "def test_" in source]  # run by tests/test_testing_plugin.py
ADDRESS = "postgresql://app@db.internal/videos"
SHARED = [source for source in PYTHON if ADDRESS in source]  # run where there is a PostgreSQL
PROGRAMS = [source for source in PYTHON if source not in SUITES + SHARED]
COMMANDS = [
    lines
    for language, source in BLOCKS
    if language == "bash" and (lines := [line for line in source.splitlines() if line.startswith("omni-async ")])
]
SHEET = next(source for language, source in BLOCKS if language == "csv")


@pytest.fixture
def gateway(monkeypatch, tmp_path):
    """An emulator that lives as long as the program's loop, whose time jumps; keys and addresses in the environment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    for name in ("JIMMYAI", "TOAPIS"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-example")
        monkeypatch.setenv(f"{name}_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.chdir(tmp_path)

    async def inside(main):
        async with Emulator(port=port, task_seconds=90):
            return await main

    monkeypatch.setattr(asyncio, "run", lambda main: run(inside(main)))
    return tmp_path


@pytest.mark.parametrize("source", PROGRAMS, ids=lambda source: source.strip().splitlines()[-1][:40])
def test_each_program_of_the_readme_runs(source, gateway, capsys):
    """A program copied from the README does what it says and prints something."""
    exec(compile(source, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("source", SHARED, ids=["several machines"])
def test_the_program_for_several_machines_runs(source, gateway, postgres, capsys):
    """Its address is the only thing that is another here."""
    exec(compile(source.replace(ADDRESS, postgres.database()), "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.strip()


def test_the_first_program_leaves_a_video(gateway):
    """The fifteen lines end in a playable file."""
    first = next(source for source in PROGRAMS if "cat.mp4" in source)
    exec(compile(first, "README.md", "exec"), {"__name__": "__main__"})
    assert (gateway / "cat.mp4").read_bytes()[4:8] == b"ftyp"


def test_the_first_program_can_be_run_again(gateway):
    """What was paid for a second time is stored, too: no file of the first run is in its way."""
    first = next(source for source in PROGRAMS if "cat.mp4" in source)
    for _ in range(2):
        exec(compile(first, "README.md", "exec"), {"__name__": "__main__"})


def test_the_readme_names_every_field_of_a_request():
    """In the sentence that lists them."""
    (listed,) = re.findall(r"Its fields are (.*?)\sThey come back", README.read_text("utf-8"), re.DOTALL)
    assert set(re.findall(r"`(\w+)`", listed)) == set(FIELDS)


@pytest.mark.parametrize("lines", COMMANDS, ids=lambda lines: lines[0][:40])
def test_each_command_of_the_readme_runs(lines, tmp_path):
    """Commands copied from the README, one after the other, end with exit code 0."""
    (tmp_path / "shots.csv").write_text(SHEET, encoding="utf-8")
    for line in lines:
        done = subprocess.run(
            [sys.executable, "-m", "omni_async", *shlex.split(line)[1:]],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, (line, done.stderr)
        assert done.stdout.strip()


def is_module(source):
    """Whether a block stands by itself: a cell of a notebook awaits at the top, a bot's test imports the bot."""
    try:
        compile(source, "README.md", "exec")
    except SyntaxError:
        return False
    return not re.search(r"^import bot\b", source, re.MULTILINE)


def test_a_type_checker_finds_nothing_in_the_readmes_programs(tmp_path):
    """Whoever copies a block into a project that is type-checked need not mend it first."""
    blocks = re.findall(r"```py(?:thon)?\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    for number, source in enumerate(filter(is_module, blocks)):
        (tmp_path / f"block_{number}.py").write_text(source, encoding="utf-8")
    assert len([*tmp_path.iterdir()]) > 15
    options = ["--check-untyped-defs", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache' / 'readme'}"]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *options, *sorted(map(str, tmp_path.iterdir()))],
        cwd=ROOT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_names_every_error():
    """Whoever catches an error finds it in the README, or the parent that stands for it."""
    text = README.read_text("utf-8")
    for name in omni_async.__all__:
        thing = getattr(omni_async, name)
        if isinstance(thing, type) and issubclass(thing, Exception):
            assert name in text or any(parent.__name__ in text for parent in thing.__mro__[1:-3]), name


@pytest.fixture(autouse=True)
def quiet():
    """A warning about doubtful requests is logged, not printed."""
    logging.getLogger("omni_async").addHandler(logging.NullHandler())
