"""The Discord bot of the README, as it stands there, in a process of its own; the emulator's ledger is the judge.

Discord is `fake_discord.py`. Time is real here, since the bot is another process; but it looks at its tasks more often
than the gateways advise.
"""

import asyncio
import contextlib
import importlib.util
import os
import re
import signal
import sys
import time
from pathlib import Path

import pytest

from omni_async.emulator import Emulator, InjectedFault
from tests.fake_discord import SITE, FakeDiscord
from tests.recipes import block

ROOT = Path(__file__).parent.parent
PROGRAM = "bot.py"
BOT = block(f"discord: {PROGRAM}")
MISSING = importlib.util.find_spec("discord") is None
pytestmark = pytest.mark.skipif(MISSING, reason="not installed: discord.py")

# Read by the interpreter before the bot is (`sitecustomize`), which knows nothing of a test.
HASTE = """
from omni_async import OmniClient, PollPolicy
OmniClient.__init__ = functools.partialmethod(OmniClient.__init__, poll=PollPolicy(fixed=0.3))
"""


class Bot:
    """The bot's process, the Discord and the gateway it works with.

    Args:
        folder: Where the program, its journal and what it says lie.
        discord: The fake.
        gateway: The emulator.
        environment: More of it.
    """

    def __init__(self, folder, discord, gateway, **environment):
        self.folder, self.discord, self.gateway = folder, discord, gateway
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(SITE + HASTE, "utf-8")
        (folder / PROGRAM).write_text(BOT, "utf-8")
        self._environment = os.environ | {
            "DISCORD_TOKEN": "secret-token",
            "DISCORD": discord.url,
            "GATEWAY": "toapis",
            "TOAPIS_API_KEY": "sk-example",
            "TOAPIS_BASE_URL": gateway.url,
            "JIMMYAI_API_KEY": "sk-example",
            "JIMMYAI_BASE_URL": gateway.url,
            "JOURNAL": str(folder / "videos.sqlite3"),
            "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)]),
            **environment,
        }
        self._log = folder / "log.txt"
        self._process = None

    async def start(self):
        """Start it, and wait until it listens."""
        before = self.discord.identified
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                PROGRAM,
                cwd=self.folder,
                env=self._environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await self.until(lambda: self.discord.identified > before)

    async def end(self, number=signal.SIGKILL):
        """End it, and wait for that; its exit code."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
        return await asyncio.wait_for(self._process.wait(), 10)

    async def __aenter__(self):
        await self.start()
        return self

    async def __aexit__(self, *_):
        await self.end()

    async def settle(self, custom_id, task_id):
        """What a person does about an uncertain create, on the command line."""
        words = ["-m", "omni_async", "settle", self._environment["JOURNAL"], custom_id, "--task-id", task_id]
        settling = await asyncio.create_subprocess_exec(sys.executable, *words, env=self._environment)
        assert await settling.wait() == 0

    def said(self):
        """Its output."""
        return self._log.read_text("utf-8")

    async def until(self, condition, seconds=10):
        """Wait for what happens in the bot."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert self._process.returncode is None, self.said()
            assert time.monotonic() < deadline, self.said()
            await asyncio.sleep(0.02)

    async def answered(self, asked, *words):
        """Wait until the message of an interaction says all of this; the message."""
        await self.until(lambda: asked.answer is not None and all(word in asked.answer.text for word in words))
        return asked.answer

    def paid(self):
        """What was paid: the prompts, in order."""
        return sorted(charge.prompt for charge in self.gateway.ledger.charges)


@pytest.fixture
def bot(tmp_path):
    """Starts a bot, a Discord and a gateway."""

    @contextlib.asynccontextmanager
    async def start(*, tier=0, nitro=0, environment=None, **scenario):
        scenario = {"task_seconds": 0.5, "task_sigma": 0.0, **scenario}
        async with (
            FakeDiscord(tier=tier, nitro=nitro) as discord,
            Emulator(**scenario) as gateway,
            Bot(tmp_path, discord, gateway, **(environment or {})) as started,
        ):
            yield started, discord, gateway

    return start


def is_video(message):
    """Whether it has one, whole."""
    return [(name, data[4:8]) for name, data in message.files] == [("video.mp4", b"ftyp")]


async def test_three_users_at_once(bot):
    """Each order is answered at once, its message advances, and each gets the own video; nobody else is called."""
    prompts = {"1": "a boat", "2": "a kite @everyone", "3": "a fox for <@1>"}
    async with bot(task_seconds=2) as (here, discord, gateway):
        orders = {user: await discord.command(user, prompt) for user, prompt in prompts.items()}
        await here.until(lambda: len(discord.films()) == 3)
        assert max(count for _, count in gateway.ledger.running) == 3
        for user, prompt in prompts.items():
            message = orders[user].answer
            assert is_video(message)
            assert message.texts[-1] == f"> {prompt}\nHere is your video."
            progress, _ = message.texts  # of seven looks one, and then the end: no edit in less than four seconds
            assert re.search(r"(queued|running), \d+ %$", progress)
            assert not message.pinged
        assert here.paid() == sorted(prompts.values())
        assert [command["name"] for command in discord.commands] == ["video"]


async def test_delivered_twice_it_pays_once(bot):
    """Also when the gateway's connection broke and is resumed or begun anew; and a 429 of Discord's delays, no more."""
    async with bot() as (here, discord, _):
        first = await discord.command("1", "a boat")
        await discord.deliver(first)  # refused by Discord itself
        discord.forgetful = True
        await discord.deliver(first)  # and if it is not
        await discord.drop()
        second = await discord.command("2", "a kite")  # it comes with the resumption
        discord.slow_down = [0.3]
        await here.until(lambda: len(discord.films()) == 2)
        discord.resumable = False
        await discord.drop()
        await here.until(lambda: discord.identified == 2)
        await discord.deliver(second)
        third = await discord.command("2", "a fox")
        await here.until(lambda: third.answer and third.answer.files)
        assert discord.resumed == 1
        assert [len(discord.films()), len(discord.messages)] == [3, 3]
        assert here.paid() == ["a boat", "a fox", "a kite"]


async def test_killed_in_the_middle(bot):
    """After kill -9, also while creates are charged and not answered, each video reaches its channel; the cap holds."""
    environment = {"VIDEOS_PER_USER": "2"}
    async with bot(task_seconds=2, latency=0.3, environment=environment) as (here, discord, gateway):
        orders = [
            await discord.command("1", "a boat @everyone <@2>"),
            await discord.command("1", "a kite", channel="501"),
            await discord.command("2", "a fox", channel="700", guild=None),
        ]
        await here.answered(await discord.command("1", "one too many"), "2 of your videos are on the way")
        await here.until(lambda: len(gateway.ledger.charges) == 3)
        await here.end()
        await here.start()
        await discord.deliver(orders[0])
        await here.answered(await discord.command("1", "still one too many"), "2 of your videos are on the way")
        await here.until(lambda: len(discord.films()) == 3)
        for order in orders:
            (message,) = discord.sent_to(order.channel)
            assert is_video(message)
            assert message.pinged == {order.user}
            assert message.reply_to == order.answer.id
        await here.answered(await discord.command("1", "one more"), "Here is your video.")
        assert here.paid() == ["a boat @everyone <@2>", "a fox", "a kite", "one more"]


async def test_an_interaction_past_its_time(bot):
    """Once it is fourteen minutes old, the video goes to the channel and calls the user; the token is not used."""
    async with bot(task_seconds=2.5) as (here, discord, _):
        turning = await discord.command("1", "a boat", age=14 * 60 - 2)
        dying = await discord.command("2", "a kite", channel="501", age=15 * 60 - 2)
        await here.answered(turning, " %")
        await here.until(lambda: len(discord.films()) == 2)
        for order in (turning, dying):
            (message,) = discord.sent_to(order.channel)
            assert is_video(message)
            assert (message.pinged, message.reply_to) == ({order.user}, order.answer.id)
        assert dying.answer.texts == []
        assert "Traceback" not in here.said()


@pytest.mark.parametrize(("tier", "attached"), [(0, False), (2, True)])
async def test_larger_than_a_server_takes(bot, tier, attached):
    """A video of 11 MiB is attached where the server takes it; elsewhere there is its link, and until when it works."""
    async with bot(tier=tier, video_bytes=11 * 2**20) as (here, discord, _):
        order = await discord.command("1", "a boat")
        message = await here.answered(order, "Here is your video." if attached else "Fetch it until <t:")
        assert is_video(message) == attached
        assert attached or re.search(r"<t:\d+> *: http://127.0.0.1:", message.text)
        assert discord.refused == []


async def test_larger_than_the_channel_takes(bot):
    """What a user may send anywhere is attached in answer to him; later, where the channel refuses it, it is a link."""
    async with bot(nitro=50 * 2**20, video_bytes=11 * 2**20) as (here, discord, _):
        direct, fresh = await discord.command("1", "a boat", guild=None), await discord.command("2", "a kite")
        late = await discord.command("3", "a fox", channel="501", age=14 * 60)
        for order in (direct, fresh):
            assert is_video(await here.answered(order, "Here is your video."))
        await here.until(lambda: discord.sent_to(late.channel))
        (message,) = discord.sent_to(late.channel)
        assert re.search(r"Fetch it until <t:\d+> *: http://127.0.0.1:", message.text)
        assert discord.refused == [413]


async def test_gone_before_it_was_fetched(bot):
    """Who ordered it is told that it was made, and may have been charged; nothing more is tried."""
    async with bot(url_seconds=0.0, renew_urls=False) as (here, discord, _):
        message = await here.answered(await discord.command("1", "a boat"), "was made, but expired")
        assert message.text.endswith("\nIt may have been charged.")
        assert (discord.films(), here.paid()) == ([], ["a boat"])
        assert "Traceback" not in here.said()


async def test_what_goes_wrong_is_told(bot):
    """In plain words, and with whether it was charged; an uncertain create until it is settled, and then its video."""
    faults = (
        InjectedFault("fail", prompt="broken"),
        InjectedFault("moderation", prompt="forbidden"),
        InjectedFault("refuse_moderation", prompt="indecent"),
        InjectedFault("drop_after_accept", prompt="lost"),
    )
    charged, free = "It may have been charged.", "Nothing was charged."
    async with bot(faults=faults, environment={"GATEWAY": "jimmy"}) as (here, discord, gateway):
        send = discord.command
        bad = await here.answered(await send("1", " ", duration=7), "cannot be made", "prompt:", "allowed: 4", free)
        assert bad.text.count("\n- ") == 2
        assert here.paid() == []
        await here.answered(await send("1", "broken"), "went wrong", charged)
        await here.answered(await send("1", "forbidden"), "does not allow this one", charged)
        await here.answered(await send("1", "indecent"), "does not allow this one", free)
        lost, found = await send("2", "lost"), await send("3", "lost, and found", channel="501")
        for order in (lost, found):
            await here.answered(order, "no answer came back", charged)
        await here.end()
        task_id = next(charge.task_id for charge in gateway.ledger.charges if charge.prompt == "lost, and found")
        await here.settle(found.id, task_id)
        await here.start()
        await here.until(lambda: discord.sent_to("500") and discord.sent_to("501"))
        assert "no answer came back" in discord.sent_to("500")[0].text
        assert is_video(discord.sent_to("501")[0])
        assert here.paid() == ["broken", "forbidden", "lost", "lost, and found"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_told_to_end_it_waits_for_what_is_being_paid(bot, number):
    """A create in flight is taken down; its video comes after the next start."""
    async with bot(latency=0.5, environment={"GATEWAY": "jimmy"}) as (here, discord, gateway):
        order = await discord.command("1", "a boat")
        await here.until(lambda: gateway.ledger.charges)
        assert await here.end(number) == 0
        assert "Traceback" not in here.said()
        await here.start()
        await here.until(discord.films)
        assert discord.sent_to(order.channel) == discord.films()
        assert here.paid() == ["a boat"]


async def test_nobody_there_to_be_told(bot):
    """The message was deleted: the video goes to the channel. The channel is gone: that is logged, and over."""
    async with bot(task_seconds=1) as (here, discord, _):
        deleted = await discord.command("1", "a boat")
        gone = await discord.command("2", "a kite", channel="501")
        await here.answered(deleted, "%")
        await here.answered(gone, "%")
        for order in (deleted, gone):
            discord.messages.remove(order.answer)
        discord.gone = {"501"}
        await here.until(lambda: discord.films() and f"what came of {gone.id}" in here.said())
        assert discord.sent_to("500") == discord.films()
        assert here.paid() == ["a boat", "a kite"]


async def test_told_to_end_while_somebody_waits_for_his_turn(bot):
    """He is told that nothing was charged; what runs comes after the next start."""
    async with bot(task_seconds=3, running_tasks=1) as (here, discord, gateway):
        first = await discord.command("1", "a boat")
        await here.answered(first, " %")
        second = await discord.command("2", "a kite")
        await here.until(lambda: gateway.ledger.refused["create"])
        discord.latency = 0.5
        assert await here.end(signal.SIGTERM) == 0
        assert "Nothing was charged." in second.answer.text
        assert "Traceback" not in here.said()
        await here.start()
        await here.until(discord.films)
        assert discord.sent_to("500") == discord.films()
        assert here.paid() == ["a boat"]
