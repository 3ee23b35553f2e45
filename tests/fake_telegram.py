"""Telegram's Bot API on loopback, as far as a bot that answers with videos needs it.

Updates stay until an offset confirms them, as at the real one; errors are worded as it words them.
"""

import asyncio
import json
import time
from collections import deque

import attrs
from aiohttp import web

TOKEN = "42:made-up"
MAX_BYTES = 50_000_000
LONGEST_POLL = 5.0


@attrs.define
class Sent:
    """A message of the bot's: `texts` are what it said, one after the other, `times` when."""

    chat: int
    number: int
    reply_to: int | None
    texts: list[str] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)
    video: bytes | None = None
    deleted: bool = False

    @property
    def text(self):
        """What it says now."""
        return self.texts[-1]

    def say(self, text):
        """Change it."""
        self.texts.append(text)
        self.times.append(time.monotonic())


class RefusedError(Exception):
    """An answer that is not a success.

    Args:
        status: Of HTTP, and `error_code`.
        description: In Telegram's words.
        parameters: What else it says.
    """

    def __init__(self, status, description, **parameters):
        super().__init__(description)
        self.status, self.description, self.parameters = status, description, parameters


class FakeTelegram:
    """The server, and those who write to the bot.

    Args:
        max_bytes: What it takes in one call.

    Attributes:
        sent: The bot's messages by chat and number; deleted ones stay, marked so.
        refused: Method, status and description of each refusal.
        blocked: Chats that want no bot.
    """

    def __init__(self, *, max_bytes=MAX_BYTES):
        self._max_bytes = max_bytes
        self.sent, self.refused, self.blocked = {}, [], set()
        self._updates, self._all, self._floods = deque(), [], []
        self._numbers = 0
        self._arrived = asyncio.Condition()
        self._runner = None
        self.url = ""

    async def __aenter__(self):
        app = web.Application(client_max_size=self._max_bytes)
        app.router.add_post(f"/bot{TOKEN}/{{method}}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self._runner.cleanup()

    # --- those who write -----------------------------------------------------------------------------------------

    async def write(self, text, *, chat, user=None):
        """Somebody writes; gives the message's number."""
        number = self._number()
        whom = {"id": user or chat, "is_bot": False, "first_name": "Ann"}
        words = text.split()[0]
        message = {
            "message_id": number,
            "date": int(time.time()),
            "chat": {"id": chat, "type": "private" if chat > 0 else "group", "title": "a room"},
            "from": whom,
            "text": text,
            "entities": [{"type": "bot_command", "offset": 0, "length": len(words)}],
        }
        await self._deliver(message)
        return number

    async def deliver_again(self, number):
        """An update that was confirmed comes once more, as when a backup of Telegram's takes over."""
        await self._deliver(next(one for one in self._all if one["message_id"] == number))

    def flood(self, chat, *, method, seconds):
        """Refuse the next such call for a chat: too many requests."""
        self._floods.append((chat, method, seconds))

    def answers(self, number):
        """The bot's messages in reply to one, oldest first."""
        return [message for message in self.sent.values() if message.reply_to == number]

    def videos(self, number=None):
        """The videos in reply to a message, or to any."""
        return [one for one in self.sent.values() if one.video is not None and number in (None, one.reply_to)]

    async def _deliver(self, message):
        self._all.append(message)
        async with self._arrived:
            self._updates.append({"update_id": len(self._all), "message": message})
            self._arrived.notify_all()

    def _number(self):
        self._numbers += 1
        return self._numbers

    # --- the bot -------------------------------------------------------------------------------------------------

    async def _answer(self, request):
        name = request.match_info["method"]
        try:
            form = await self._form(request)
            self._refuse(name, form)
            result = await getattr(self, f"_{name.lower()}")(form)
        except RefusedError as error:
            self.refused.append((name, error.status, error.description))
            body = {"ok": False, "error_code": error.status, "description": error.description}
            return web.json_response({**body, "parameters": error.parameters}, status=error.status)
        return web.json_response({"ok": True, "result": result})

    async def _form(self, request):
        try:
            return await request.post()
        except web.HTTPRequestEntityTooLarge:
            raise RefusedError(413, "Request Entity Too Large") from None

    def _refuse(self, name, form):
        chat = int(form.get("chat_id", 0))
        if chat in self.blocked:
            raise RefusedError(403, "Forbidden: bot was blocked by the user")
        for flood in self._floods:
            if flood[:2] == (chat, name):
                self._floods.remove(flood)
                seconds = flood[2]
                raise RefusedError(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)

    async def _getme(self, _):
        return {"id": 42, "is_bot": True, "first_name": "Videos", "username": "videos_bot"}

    async def _getupdates(self, form):
        offset, patience = int(form.get("offset", 0)), min(float(form.get("timeout", 0)), LONGEST_POLL)
        while self._updates and self._updates[0]["update_id"] < offset:
            self._updates.popleft()
        async with self._arrived:
            try:
                await asyncio.wait_for(self._arrived.wait_for(lambda: bool(self._updates)), patience)
            except TimeoutError:
                return []
        return list(self._updates)

    async def _sendmessage(self, form):
        message = self._new(form)
        message.say(form["text"])
        return self._shown(message)

    async def _sendvideo(self, form):
        message = self._new(form)
        name = form["video"].removeprefix("attach://")
        message.video = form[name].file.read()
        return self._shown(message)

    async def _editmessagetext(self, form):
        message = self._found(form, "edit")
        if message.text == form["text"]:
            raise RefusedError(
                400,
                "Bad Request: message is not modified: specified new message content and reply markup are exactly the "
                "same as a current content and reply markup of the message",
            )
        message.say(form["text"])
        return self._shown(message)

    async def _deletemessage(self, form):
        self._found(form, "delete").deleted = True
        return True

    def _new(self, form):
        reply = json.loads(form.get("reply_parameters", "{}"))
        message = Sent(int(form["chat_id"]), self._number(), reply.get("message_id"))
        self.sent[message.chat, message.number] = message
        return message

    def _found(self, form, purpose):
        message = self.sent.get((int(form["chat_id"]), int(form["message_id"])))
        if message is None or message.deleted:
            raise RefusedError(400, f"Bad Request: message to {purpose} not found")
        return message

    def _shown(self, message):
        chat = {"id": message.chat, "type": "private" if message.chat > 0 else "group"}
        said = {"text": message.text} if message.texts else {}
        return {"message_id": message.number, "date": int(time.time()), "chat": chat, **said}
