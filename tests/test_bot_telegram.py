"""The Telegram bot of the README, as it stands there, in a process of its own; the emulator's ledger is the judge.

Time is real here, since the bot is another process. It looks and edits more often than it would at work.
"""

import asyncio
import contextlib
import importlib.util
import itertools
import re
import signal

import attrs
import pytest

from omni_async.emulator import Emulator, InjectedFault
from tests.fake_telegram import TOKEN, FakeTelegram
from tests.programs import Program
from tests.recipes import block

pytestmark = pytest.mark.skipif(importlib.util.find_spec("aiogram") is None, reason="not installed: aiogram")

EDITS_APART = 0.3
HOUR = 3600.0
PROGRAM = block("telegram: bot.py")
HURRIED = """
OmniClient = __import__("functools").partial(OmniClient, poll=__import__("omni_async").PollPolicy(fixed=0.1))
"""
"""Put before what starts it: looks follow each other more closely."""
FAULTS = (
    InjectedFault("fail", prompt="fails"),
    InjectedFault("moderation", prompt="forbidden"),
    InjectedFault("refuse_moderation", prompt="unspeakable"),
    InjectedFault("drop_after_accept", prompt="lost"),
    InjectedFault("hang", prompt="slow to answer", seconds=30),
)


def hurried(program):
    """The program with shorter pauses."""
    start = 'if __name__ == "__main__":'
    assert program.count("EVERY = 4.0") == program.count(start) == 1
    return program.replace("EVERY = 4.0", f"EVERY = {EDITS_APART}").replace(start, f"{HURRIED}\n\n{start}")


@contextlib.asynccontextmanager
async def started(folder, gateway, telegram, **environment):
    """The bot, started; it takes its orders as soon as it can, and is killed in the end."""
    program = Program(
        folder,
        hurried(PROGRAM),
        preload=["aiogram", "omni_async.client", "omni_async.journal", "omni_async.following"],
        JIMMYAI_API_KEY="sk-example",
        JIMMYAI_BASE_URL=gateway.url,
        TOAPIS_API_KEY="sk-example",
        TOAPIS_BASE_URL=gateway.url,
        TELEGRAM_TOKEN=TOKEN,
        TELEGRAM_API_URL=telegram.url,
        JOURNAL=str(folder / "telegram.sqlite3"),
        **environment,
    )
    program.start()
    try:
        yield program
    finally:
        await program.end(signal.SIGKILL)


async def until(condition, seconds=15):
    """Wait for what happens in another process; gives what came."""
    async with asyncio.timeout(seconds):
        while not (found := condition()):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.02)
    return found


def paid(gateway, part=""):
    """The prompts that were paid for, of those with this part, in order."""
    return sorted(charge.prompt for charge in gateway.ledger.charges if part in charge.prompt)


async def answered(telegram, number, word):
    """The bot's message about an order, once it says this."""
    return await until(lambda: next((one for one in telegram.answers(number) if one.texts and word in one.text), None))


@pytest.fixture(scope="module")
def anyio_backend():
    """One loop for the bot that the tests share."""
    return "asyncio"


@pytest.fixture(scope="module")
async def telegram():
    """The Bot API, and everybody who writes to the bot."""
    async with FakeTelegram() as telegram:
        yield telegram


@pytest.fixture(scope="module")
async def gateway():
    """Tasks take a little more than a second."""
    async with Emulator(task_seconds=1.2, task_sigma=0.0, queue_seconds=0.3, faults=FAULTS) as gateway:
        yield gateway


@pytest.fixture(scope="module")
async def bot(tmp_path_factory, gateway, telegram):
    """A bot that runs as long as these tests; each has a chat and prompts of its own."""
    async with started(tmp_path_factory.mktemp("bot"), gateway, telegram) as bot:
        yield bot
        assert "Traceback" not in bot.said()


async def test_an_order_from_the_message_to_the_video(bot, telegram, gateway):
    """A message that advances, then the video in reply, and the message goes; no edit says what is said already."""
    number = await telegram.write("/video duration=8 a red kite", chat=1)
    (video,) = await until(lambda: telegram.videos(number))
    assert video.video[4:8] == b"ftyp"
    (progress,) = (one for one in telegram.answers(number) if one is not video)
    await until(lambda: progress.deleted)
    assert progress.texts[0] == "Your video waits for its turn …"
    assert "Your video is queued" in progress.texts[1]
    assert len([text for text in progress.texts if re.search(r"running, \d+ %", text)]) >= 2
    assert all(b - a >= EDITS_APART - 0.05 for a, b in itertools.pairwise(progress.times[1:]))
    assert not telegram.refused
    assert [charge.seconds for charge in gateway.ledger.charges if charge.prompt == "a red kite"] == [8]


async def test_several_chats_at_once(bot, telegram, gateway):
    """None waits for another's video: all three are paid for before one is done."""
    usual, gateway.scenario = gateway.scenario, attrs.evolve(gateway.scenario, task_seconds=HOUR)
    numbers = [await telegram.write(f"/video a boat for chat {chat}", chat=chat) for chat in (21, 22, 23)]
    await until(lambda: len(paid(gateway, "a boat for chat")) == 3)
    assert not any(map(telegram.videos, numbers))
    gateway.scenario = usual
    gateway.skip(HOUR)
    await until(lambda: all(map(telegram.videos, numbers)))
    assert [telegram.videos(number)[0].chat for number in numbers] == [21, 22, 23]


async def test_an_update_that_comes_again_pays_nothing(bot, telegram, gateway):
    """While the video is made nothing is said; afterwards only what is taken back at once."""
    number = await telegram.write("/video a fox, twice", chat=3)
    await telegram.deliver_again(number)
    await until(lambda: telegram.videos(number))
    await telegram.deliver_again(number)
    await until(lambda: len(telegram.answers(number)) == 3)
    await until(lambda: all(one.deleted for one in telegram.answers(number) if one.video is None))
    assert paid(gateway, "twice") == ["a fox, twice"]
    assert len(telegram.videos(number)) == 1


async def test_a_user_has_two_videos_in_the_making(bot, telegram, gateway):
    """In whatever chats; a third is refused until one is done, and costs nothing. Others are not concerned."""
    numbers = [await telegram.write(f"/video capped {n}", chat=chat, user=4) for n, chat in enumerate((4, -40, -41))]
    other = await telegram.write("/video another's", chat=-40, user=5)
    await answered(telegram, numbers[2], "2 of your videos are being made")
    await until(lambda: all(map(telegram.videos, [*numbers[:2], other])))
    fourth = await telegram.write("/video capped 3", chat=4)
    await until(lambda: telegram.videos(fourth))
    assert paid(gateway, "capped") == ["capped 0", "capped 1", "capped 3"]


@pytest.mark.parametrize(
    ("prompt", "words", "charged"),
    [
        ("fails", ["could not make this video"], "It may have been charged."),
        ("forbidden", ["would rather not show this"], "It may have been charged."),
        ("unspeakable", ["would rather not show this"], "Nothing was charged."),
        ("lost", ["Nobody knows yet whether your video is being made"], "It may have been charged."),
        ("duration=7 resolution=9k a cat", ["duration: 7 is not", "resolution: "], "Nothing was charged."),
        ("", ["prompt: "], "Nothing was charged."),
    ],
)
async def test_what_goes_wrong_is_told(bot, telegram, gateway, prompt, words, charged):
    """In words for whoever ordered, with whether it may have been charged; every fault of an order at once."""
    before = len(gateway.ledger.charges)
    number = await telegram.write(f"/video {prompt}".strip(), chat=6)
    answer = await answered(telegram, number, charged)
    assert all(word in answer.text for word in words), answer.text
    assert len(gateway.ledger.charges) - before == (charged != "Nothing was charged.")


async def test_a_flood_wait_is_waited_out(bot, telegram, gateway):
    """An edit and the video are sent again when Telegram says so, and once."""
    telegram.flood(7, method="editMessageText", seconds=1)
    telegram.flood(7, method="sendVideo", seconds=1)
    number = await telegram.write("/video a patient heron", chat=7)
    (video,) = await until(lambda: telegram.videos(number))
    refused = [method for method, status, _ in telegram.refused if status == 429]
    assert refused == ["editMessageText", "sendVideo"]
    assert "Traceback" not in bot.said()
    (progress,) = (one for one in telegram.answers(number) if one is not video)
    await until(lambda: progress.deleted)


async def test_who_blocked_the_bot_keeps_nothing_from_going_on(bot, telegram, gateway):
    """His video is paid for, tried once, and no longer counted."""
    numbers = [await telegram.write(f"/video for nobody {n}", chat=8) for n in range(2)]
    await until(lambda: all(map(telegram.answers, numbers)))
    telegram.blocked.add(8)
    await until(lambda: all(f"order telegram-8-{number} cannot be answered" in bot.said() for number in numbers))
    telegram.blocked.clear()
    again = await telegram.write("/video for somebody", chat=8)
    await until(lambda: telegram.videos(again))


async def test_killed_in_the_middle(tmp_path):
    """kill -9 while videos are made and one is being paid: all are sent after the restart, none is paid twice.

    The messages advance again, a user's videos still count, and the one whose answer was lost is confessed.
    """
    async with (
        Emulator(task_seconds=4, task_sigma=0.0, faults=FAULTS) as gateway,
        FakeTelegram() as telegram,
        started(tmp_path, gateway, telegram) as bot,
    ):
        orders = [await telegram.write(f"/video killed {n}", chat=90 + n % 2) for n in range(3)]
        slow = await telegram.write("/video slow to answer", chat=93)
        await until(lambda: len(paid(gateway)) == 4)
        await until(lambda: all("running" in telegram.answers(number)[0].text for number in orders))
        await bot.end(signal.SIGKILL)
        edits = [len(telegram.answers(number)[0].texts) for number in orders]
        bot.start()
        third = await telegram.write("/video one too many", chat=90)
        await telegram.deliver_again(orders[0])
        await answered(telegram, third, "2 of your videos are being made")
        await answered(telegram, slow, "Nobody knows yet whether your video is being made")
        await until(lambda: all(map(telegram.videos, orders)))
        for number, before in zip(orders, edits, strict=True):
            (progress,) = (one for one in telegram.answers(number) if one.video is None)
            await until(lambda progress=progress: progress.deleted)
            assert len(progress.texts) > before
        assert paid(gateway) == ["killed 0", "killed 1", "killed 2", "slow to answer"]
        assert sorted(video.reply_to for video in telegram.videos()) == orders
        assert "Traceback" not in bot.said()


@pytest.mark.parametrize("who_knows", ["the bot", "Telegram"])
async def test_a_video_over_the_limit_comes_as_a_link(tmp_path, who_knows):
    """With the time at which it dies, also where only Telegram finds it too large."""
    environment = {"GATEWAY": "toapis"} | ({"MAX_BYTES": "100"} if who_knows == "the bot" else {})
    async with (
        Emulator(task_seconds=0.5, video_bytes=20_000) as gateway,
        FakeTelegram(max_bytes=10_000) as telegram,
        started(tmp_path, gateway, telegram, **environment) as bot,
    ):
        number = await telegram.write("/video a large one", chat=1)
        answer = await answered(telegram, number, "too large for Telegram")
        assert re.search(rf"here until \d+ \w+ \d\d:\d\d UTC: {re.escape(gateway.url)}/files/", answer.text)
        assert [status for _, status, _ in telegram.refused] == ([] if who_knows == "the bot" else [413])
        assert "Traceback" not in bot.said()


async def test_told_to_end_it_waits_for_what_is_being_paid(tmp_path):
    """SIGTERM with a create in flight: its answer is taken down, and the next start sends the video.

    Who waits for his turn is told that nothing was charged, also when Telegram takes that only a second later.
    """
    faults = (
        InjectedFault("hang", prompt="last", seconds=1),
        InjectedFault("rate_limited", on="create", prompt="crowd", seconds=30),
    )
    async with (
        Emulator(task_seconds=0.5, faults=faults) as gateway,
        FakeTelegram() as telegram,
        started(tmp_path, gateway, telegram) as bot,
    ):
        last = await telegram.write("/video the last", chat=1)
        await until(lambda: paid(gateway, "last"))
        crowded = await telegram.write("/video a crowd", chat=2)
        await until(lambda: gateway.ledger.refused["create"])
        telegram.flood(2, method="editMessageText", seconds=1)
        assert await bot.end(signal.SIGTERM) == 0
        assert "Nothing was charged." in telegram.answers(crowded)[0].text
        assert "Traceback" not in bot.said()
        bot.start()
        await until(lambda: telegram.videos(last))
        assert paid(gateway) == ["the last"]
