"""What the README shows runs as it stands there."""

import asyncio
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from aiohttp import web
from anyio.from_thread import start_blocking_portal

import omni_async
from omni_async.cli import main, running
from omni_async.emulator import Emulator
from omni_async.lifetime import ELSEWHERE
from omni_async.models import FIELDS
from tests.recipes import block
from tests.test_end_to_end_foreign import VIDEO
from tests.warp import WarpLoop, run

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
BLOCKS = re.findall(r"```(python|bash|csv)\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
PYTHON = [source for language, source in BLOCKS if language == "python"]
SUITES = [source for source in PYTHON if "def test_" in source]  # run by tests/test_testing_plugin.py
ADDRESS = "postgresql://app@db.internal/videos"
SHARED = [source for source in PYTHON if ADDRESS in source]  # run where there is a PostgreSQL
DIALECT = block("dialect")  # run against the gateway it is for
PORTAL = block("portal")  # run in a thread of its own
PROGRAMS = [source for source in PYTHON if source not in [*SUITES, *SHARED, DIALECT, PORTAL]]
COMMANDS = [
    lines
    for language, source in BLOCKS
    if language == "bash" and (lines := [line for line in source.splitlines() if line.startswith("omni-async ")])
]
SHEET, PRICES = (source for language, source in BLOCKS if language == "csv")


def free_port():
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def gateway(monkeypatch, tmp_path):
    """An emulator that lives as long as the program's loop, whose time jumps; keys and addresses in the environment."""
    port = free_port()
    for name in ("JIMMYAI", "TOAPIS"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-example")
        monkeypatch.setenv(f"{name}_BASE_URL", f"http://127.0.0.1:{port}")
    monkeypatch.chdir(tmp_path)

    async def inside(main):
        async with Emulator(port=port, task_seconds=90):
            return await main

    monkeypatch.setattr(asyncio, "run", lambda main: run(inside(main)))
    return tmp_path


class Render:
    """The gateway of the README's dialect: busy for the first create, done at the third look."""

    def __init__(self, url):
        self.url, self.creates, self.looks = url, [], 0

    async def create(self, request):
        """Note the key and the body; refuse for now at first."""
        self.creates.append((request.headers["x-api-key"], await request.json()))
        busy = len(self.creates) == 1
        return web.json_response({"error": {"code": "E_BUSY"}} if busy else {"data": {"id": "r/1", "state": "wait"}})

    async def query(self, request):
        """The job: waiting, then in a state that the dialect does not know, then done."""
        self.looks += 1
        job = {"id": request.query["id"], "state": ("wait", "painting", "done")[self.looks - 1]}
        return web.json_response({"data": job | ({"video": f"{self.url}/out.mp4"} if self.looks == 3 else {})})

    async def video(self, request):
        """The file."""
        return web.Response(body=VIDEO)


@pytest.fixture
def render(monkeypatch, tmp_path):
    """That gateway, as long as the program's loop lives; its key and address in the environment."""
    port = free_port()
    server = Render(f"http://127.0.0.1:{port}")
    monkeypatch.setenv("RENDER_API_KEY", "sk-render")
    monkeypatch.setenv("RENDER_BASE_URL", server.url)
    monkeypatch.chdir(tmp_path)

    async def inside(main):
        app = web.Application()
        app.add_routes(
            [
                web.post("/v2/render", server.create),
                web.get("/v2/render", server.query),
                web.get("/out.mp4", server.video),
            ]
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            return await main
        finally:
            await runner.cleanup()

    monkeypatch.setattr(asyncio, "run", lambda main: run(inside(main)))
    return server


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


def test_the_program_in_synchronous_code_runs(gateway, monkeypatch, capsys):
    """Its portal's loop is one whose time jumps, with the emulator in it."""
    emulator = Emulator(port=urlsplit(os.environ["JIMMYAI_BASE_URL"]).port, task_seconds=90)

    @contextmanager
    def portal():
        options = {"loop_factory": WarpLoop}
        with start_blocking_portal(backend_options=options) as started, started.wrap_async_context_manager(emulator):
            yield started

    monkeypatch.setattr("anyio.from_thread.start_blocking_portal", portal)
    exec(compile(PORTAL, "README.md", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.startswith("succeeded Stats(")
    assert len(emulator.ledger.charges) == 1


def test_a_client_in_another_loop_names_a_section_of_the_readme():
    """Whoever meets the error finds the way out."""
    (section,) = re.findall(r'README: "(.*)"', ELSEWHERE)
    assert f"\n### {section}\n" in README.read_text("utf-8")


def test_the_dialect_of_the_readme_speaks_to_its_gateway(render, tmp_path, capsys):
    """From a text to a file, past a refusal for now and a status word that it does not know."""
    exec(compile(DIALECT, "README.md", "exec"), {"__name__": "__main__"})
    assert (tmp_path / "roof.mp4").read_bytes() == VIDEO
    assert render.creates == [("sk-render", {"text": "a cat on a roof", "seconds": 5})] * 2
    assert capsys.readouterr().out == "succeeded done\n"


def test_every_link_inside_the_readme_leads_to_a_heading():
    """Those of the contents too, and the contents leave no section out."""
    prose = re.sub(r"```.*?```", "", README.read_text("utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^##+ (.*)$", prose, re.MULTILINE)
    anchors = {re.sub(r"[^\w\s-]", "", heading).lower().replace(" ", "-") for heading in headings}
    contents = prose[prose.index("| contents |") : prose.index("\n## ")]
    assert set(re.findall(r"\(#([^)]*)\)", prose)) <= anchors
    assert anchors - set(re.findall(r"\(#([^)]*)\)", contents)) == {"in-a-bot"}  # its two sections are there


def test_the_readme_names_every_extra():
    """The table of what can be installed is that of the package."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    listed = re.findall(r"^\| `\[(\w+)\]` \|", README.read_text("utf-8"), re.MULTILINE)
    assert sorted(listed) == sorted(extras)


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


@pytest.fixture
def omni(monkeypatch, tmp_path, capsys):
    """Runs a line as a shell would, in this process and on a loop whose time jumps; gives what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(running, "_loop_factory", lambda: WarpLoop)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def command(line):
        code, told = main(shlex.split(line)[1:]), capsys.readouterr()
        assert code == 0, (line, told.err)
        return told.out

    yield command
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("lines", COMMANDS, ids=lambda lines: lines[0][:40])
def test_each_command_of_the_readme_runs(lines, omni, tmp_path):
    """Commands copied from the README, one after the other, end with exit code 0."""
    (tmp_path / "shots.csv").write_text(SHEET, encoding="utf-8")
    (tmp_path / "prices.csv").write_text(PRICES, encoding="utf-8")
    for line in lines:
        assert omni(line).strip()


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
