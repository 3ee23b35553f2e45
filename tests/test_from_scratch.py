"""From `pip install` to a tested bot and a running web app with the README alone, each in a new virtual environment.

pip reaches an index here, so this is run only when asked for: `python -m pytest -m install`.
"""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import aiohttp
import pytest

from omni_async.emulator import ThreadedEmulator
from tests.fake_discord import SITE, FakeDiscord
from tests.fake_telegram import TOKEN, FakeTelegram
from tests.recipes import block, install_line

pytestmark = pytest.mark.install

ROOT = Path(__file__).parent.parent
BIN = "Scripts" if os.name == "nt" else "bin"
OURS = re.compile(r"^(PYTHON|PYTEST|VIRTUAL_ENV|COV_|JIMMYAI_|TOAPIS_)")
KEYS = {"JIMMYAI_API_KEY": "sk-example", "TOAPIS_API_KEY": "sk-example"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """This package as pip would fetch it."""
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(ROOT)], check=True, timeout=300
    )
    return next(folder.glob("*.whl"))


class Desk:
    """An empty folder and a new virtual environment, whose commands come first.

    Args:
        folder: Where both are made.
        wheel: What `omni-async` means in a line for pip.
    """

    def __init__(self, folder, wheel):
        self.folder, self.wheel = folder / "work", wheel
        self.folder.mkdir()
        venv.create(folder / "venv", with_pip=True)
        self._path = f"{folder / 'venv' / BIN}{os.pathsep}{os.environ['PATH']}"

    def environment(self, **more):
        """A user's own: nothing of what these tests run in."""
        clean = {name: value for name, value in os.environ.items() if not OURS.match(name)}
        return {**clean, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PATH": self._path, **more}

    def install(self, name):
        """Do as the `pip install` line of a README's block says."""
        words = install_line(name)
        assert re.search(r"\bomni-async\b", words)
        self.run(f"pip install -q {re.sub(r'omni-async', lambda _: str(self.wheel), words)}")

    def take(self, name):
        """Make the file that a block of the README is to be saved as."""
        place = self.folder / name.partition(": ")[2]
        place.write_text(block(name), "utf-8")
        return place

    def run(self, command, *, fails=False):
        """Run a command of the shell to its end; gives what it says."""
        done = subprocess.run(  # noqa: S602 - in the shell, as the README's reader does
            command,
            shell=True,
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        said = done.stdout + done.stderr
        assert (done.returncode != 0) is fails, said
        return said

    @contextlib.contextmanager
    def running(self, command, gateway, **environment):
        """A command of the shell while it runs beside a gateway; told to end in the end, it ends."""
        urls = {"JIMMYAI_BASE_URL": gateway.url, "TOAPIS_BASE_URL": gateway.url}
        log = self.folder / "log.txt"
        with log.open("wb") as out:
            process = subprocess.Popen(  # noqa: S602 - as above
                f"exec {command}",
                shell=True,
                cwd=self.folder,
                env=self.environment(**urls, **KEYS, **environment),
                stdout=out,
                stderr=out,
            )
        try:
            yield
            process.send_signal(signal.SIGTERM)
            process.wait(20)
        finally:
            process.kill()
            process.wait(10)
            said = log.read_text("utf-8")
        assert "Traceback" not in said, said


@pytest.fixture
def desk(tmp_path, wheel):
    """Somebody who has Python and the README."""
    return Desk(tmp_path, wheel)


@contextlib.asynccontextmanager
async def while_it_runs(running):
    """A command while it runs, waited for in a thread: it may need this loop to end."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(running)
        async with asyncio.timeout(30):
            yield
        await asyncio.to_thread(stack.close)


# --- bots ---------------------------------------------------------------------------------------------------------


async def order_on_telegram(desk, gateway):
    """`python bot.py` takes an order and sends a video, with its own pauses."""
    async with FakeTelegram() as telegram:
        environment = {"TELEGRAM_TOKEN": TOKEN, "TELEGRAM_API_URL": telegram.url, "JOURNAL": "telegram.sqlite3"}
        async with while_it_runs(desk.running("python bot.py", gateway, **environment)):
            number = await telegram.write("/video a red kite", chat=1)
            while not telegram.videos(number):  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)


async def order_on_discord(desk, gateway):
    """The same there."""
    (desk.folder / "site").mkdir()
    (desk.folder / "site" / "sitecustomize.py").write_text(SITE, "utf-8")
    async with FakeDiscord() as discord:
        environment = {"DISCORD_TOKEN": "secret-token", "GATEWAY": "toapis", "JOURNAL": "discord.sqlite3"}
        environment |= {"DISCORD": discord.url, "PYTHONPATH": "site"}
        async with while_it_runs(desk.running("python bot.py", gateway, **environment)):
            while not discord.identified:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.1)
            order = await discord.command("1", "a red kite")
            while not (order.answer and order.answer.files):  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.1)


BOTS = [
    ("telegram", "self.bot.send_video(", order_on_telegram),
    ("discord", 'await self.answer(task, "Here is your video.", path)', order_on_discord),
]
"""The recipe, the line without which its bot is broken, and an order through the whole program."""


@pytest.mark.parametrize(("recipe", "heart", "order"), BOTS, ids=[name for name, *_ in BOTS])
async def test_a_bot_and_its_test(desk, recipe, heart, order):
    """The test that the README shows passes with the bot that it shows, and not with one that sends no video."""
    desk.install(f"{recipe}: install")
    program = desk.take(f"{recipe}: bot.py")
    desk.take(f"{recipe}: test_bot.py")
    install, *commands = block(f"{recipe}: test").splitlines()
    assert commands
    desk.run(f"{install} -q")
    for command in commands:
        assert " passed" in desk.run(command)
    with ThreadedEmulator(task_seconds=0.5) as gateway:
        await order(desk, gateway)
        assert [charge.prompt for charge in gateway.ledger.charges] == ["a red kite"]

    lines = program.read_text("utf-8").splitlines(keepends=True)
    assert sum(heart in line for line in lines) == 1
    program.write_text("".join(re.sub(r"\S.*", "pass", line) if heart in line else line for line in lines), "utf-8")
    for command in commands:
        assert " failed" in desk.run(command, fails=True)


# --- web apps -----------------------------------------------------------------------------------------------------


WEB_APPS = [
    ("fastapi", "app.py", "uvicorn app:app --port {port}"),
    ("aiohttp", "web.py", "python web.py"),
]


@pytest.mark.parametrize(("recipe", "file", "command"), WEB_APPS, ids=[name for name, *_ in WEB_APPS])
async def test_a_web_app_takes_an_order(desk, recipe, file, command):
    """202 with a handle, and one payment."""
    desk.install(f"web: {recipe}")
    desk.take(f"web: {file}")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    url = f"http://127.0.0.1:{port}"
    environment = {"TOAPIS_WEBHOOK_SECRET": "whsec-example", "PUBLIC_URL": url, "JOURNAL": "j.sqlite3", "PORT": port}
    with ThreadedEmulator(task_seconds=0.5) as gateway:
        async with while_it_runs(desk.running(command.format(port=port), gateway, **environment)):
            status, handle = await ordered(f"{url}/videos")
        assert (status, handle["custom_id"]) == (202, "order-1")
        assert [charge.prompt for charge in gateway.ledger.charges] == ["a red kite"]


async def ordered(url):
    """What an app answers to an order, asked until it listens."""
    async with aiohttp.ClientSession() as browser:
        while True:
            with contextlib.suppress(aiohttp.ClientConnectorError):
                async with browser.post(url, json={"order_id": "order-1", "prompt": "a red kite"}) as answer:
                    return answer.status, json.loads(await answer.text())
            await asyncio.sleep(0.1)


def test_the_oldest_allowed_packages_run_the_command_line(desk):
    """What the package's metadata allow at the least, beside the newest of what those bring, shows help and works."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    least = [*project["dependencies"], *project["optional-dependencies"]["cli"]]
    desk.run(f"pip install '{desk.wheel}[cli]' {' '.join(line.replace('>=', '==') for line in least)}")
    desk.run("omni-async batch --help")
    desk.run("omni-async generate --duraton 3 kite", fails=True)
    desk.run("omni-async generate kite --emulator -o kite.mp4")
    assert (desk.folder / "kite.mp4").read_bytes()[4:8] == b"ftyp"
