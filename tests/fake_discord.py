"""A small Discord on loopback: what a bot needs of its REST API (version 10) and its gateway, and what users see.

As the real one it lets an interaction's token live for 15 minutes from the time that stands in its id, wants the first
answer within three seconds and only once, and refuses files over a channel's limit.
"""

import asyncio
import itertools
import json
import re
import time
from collections.abc import Iterator

import attrs
from aiohttp import WSMsgType, web

EPOCH = 1420070400.0
"""Seconds since 1970 at which the ids begin: 2015."""
TOKEN_LIFE = 900.0
FIRST_ANSWER = 3.0
BOT, GUILD, EVERYWHERE = "900", "100", "100"
MEBIBYTE = 2**20
DISPATCH, HEARTBEAT, IDENTIFY, RESUME, INVALID, HELLO, ACK = 0, 1, 2, 6, 9, 10, 11

_count = itertools.count()

SITE = """
import functools, os
import discord, yarl
from discord.gateway import DiscordWebSocket
discord.http.Route.BASE = os.environ["DISCORD"] + "/api"
DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(os.environ["DISCORD"] + "/gateway")
discord.Client.__init__ = functools.partialmethod(discord.Client.__init__, guild_ready_timeout=0.2)
async def at_once(*_, **__): pass
discord.Client.before_identify_hook = at_once
"""
"""A `sitecustomize.py`: with it on its path an interpreter's discord.py speaks to the fake at the address `DISCORD`."""


def snowflake(age=0.0):
    """An id as it was given `age` seconds ago."""
    return str((int((time.time() - age - EPOCH) * 1000) << 22) | next(_count) % 4096)


def age_of(number):
    """Seconds since an id was given."""
    return time.time() - EPOCH - (int(number) >> 22) / 1000


@attrs.define
class Message:
    """One message as users see it.

    Args:
        by: How it was last written: `interaction` or `channel`.
        texts: What it said, one after the other.
        files: Names and contents of what is attached.
        pinged: Whom its texts have called, users' ids and `everyone`.
        reply_to: The message it answers.
    """

    channel: str
    id: str = attrs.field(factory=snowflake)
    by: str = "interaction"
    texts: list[str] = attrs.field(factory=list)
    files: list[tuple[str, bytes]] = attrs.field(factory=list)
    pinged: set[str] = attrs.field(factory=set)
    reply_to: str | None = None

    @property
    def text(self):
        """What it says now."""
        return self.texts[-1] if self.texts else ""

    def write(self, fields, files):
        """Take what a request says."""
        allowed = fields.get("allowed_mentions", {"parse": ["users", "roles", "everyone"]})
        if fields.get("content") is not None:
            self.texts.append(fields["content"])
            self.pinged |= set(_pinged(self.text, allowed))
        if "attachments" in fields:
            self.files = files

    def to_json(self):
        """As the API tells it."""
        names = [{"id": str(n), "filename": name, "size": len(data)} for n, (name, data) in enumerate(self.files)]
        return {
            "id": self.id,
            "channel_id": self.channel,
            "author": user_json(BOT, bot=True),
            "content": self.text,
            "timestamp": "2026-01-01T00:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [name | dict.fromkeys(("url", "proxy_url"), "https://cdn.example/x") for name in names],
            "embeds": [],
            "pinned": False,
            "type": 0,
            "components": [],
        }


def _pinged(text, allowed) -> Iterator[str]:
    named = set(map(str, allowed.get("users", ())))
    yield from (user for user in re.findall(r"<@!?(\d+)>", text) if "users" in allowed["parse"] or user in named)
    if re.search("@(everyone|here)", text) and "everyone" in allowed["parse"]:
        yield "everyone"


@attrs.define
class Asked:
    """An interaction: a slash command that a user has sent; `limit` are the bytes of files its answer may have."""

    user: str
    channel: str
    guild: str | None
    options: dict
    limit: int
    id: str
    token: str
    sent: float = attrs.field(factory=time.monotonic)
    answer: Message | None = None

    @property
    def expired(self):
        """Whether its token works no more."""
        return age_of(self.id) > TOKEN_LIFE

    def to_json(self):
        """As the gateway tells it."""
        kinds = {str: 3, int: 4}
        user = user_json(self.user)
        member = {"user": user, "roles": [], "joined_at": None, "deaf": False, "mute": False, "flags": 0}
        place = {"guild_id": self.guild, "member": member | {"permissions": "0"}} if self.guild else {"user": user}
        options = [{"name": n, "type": kinds[type(v)], "value": v} for n, v in self.options.items()]
        return {
            "id": self.id,
            "application_id": BOT,
            "type": 2,
            "token": self.token,
            "version": 1,
            "channel_id": self.channel,
            "channel": channel_json(self.channel, self.guild),
            "attachment_size_limit": self.limit,
            "entitlements": [],
            "app_permissions": "0",
            "locale": "en-US",
            "data": {"id": "1", "name": "video", "type": 1, "options": options},
            **place,
        }


def user_json(number, *, bot=False):
    """A user."""
    return {"id": number, "username": f"user{number}", "discriminator": "0", "avatar": None, "bot": bot}


def channel_json(number, guild):
    """A text channel of a guild, or direct messages."""
    if guild is None:
        return {"id": number, "type": 1, "recipients": []}
    return {"id": number, "type": 0, "guild_id": guild, "name": "films", "position": 0, "permission_overwrites": []}


def guild_json(tier, channels):
    """The one guild, with its channels; `tier` decides how large its files may be."""
    role = {"id": EVERYWHERE, "name": "@everyone", "permissions": "0", "position": 0, "color": 0, "flags": 0}
    return {
        "id": GUILD,
        "name": "Cinema",
        "premium_tier": tier,
        "roles": [role | {"hoist": False, "managed": False, "mentionable": False}],
        "channels": [channel_json(channel, GUILD) for channel in channels],
        "members": [],
        "member_count": 2,
        "unavailable": False,
    }


def told(data, status=200):
    """An answer; discord.py knows JSON only by a type without a charset."""
    return web.Response(body=json.dumps(data).encode(), status=status, content_type="application/json")


class Refused(Exception):  # noqa: N818 - an answer, not a failure of the fake's
    """What Discord answers instead."""

    def __init__(self, status, code, message, **more):
        super().__init__(message)
        self.answer = told({"code": code, "message": message, **more}, status=status)


class FakeDiscord:
    """The service; `async with` starts and ends it.

    Args:
        tier: The guild's premium tier: its channels take files of 10 MiB at 0, of 50 at 2.
        nitro: Bytes of files that its users have paid for, wherever they are; of use in answers to interactions.
    """

    def __init__(self, *, tier=0, nitro=0):
        self.tier, self.nitro = tier, nitro
        self.asked: dict[str, Asked] = {}
        self.messages: list[Message] = []
        self.commands: list[dict] = []
        self.identified = self.resumed = 0
        self.refused: list[int] = []
        self.slow_down: list[float] = []
        """Seconds of `retry_after` with which the next writes of messages are refused."""
        self.gone: set[str] = set()
        """Channels that are no more."""
        self.latency = 0.0
        """Seconds that a write of a message takes."""
        self.resumable = True
        self.forgetful = False
        """Whether it takes a second answer to an interaction."""
        self._session = snowflake()
        self._events: list[dict] = []
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    # --- what a test does and sees -----------------------------------------------------------------------------

    async def command(self, user, prompt, *, channel="500", guild=GUILD, age=0.0, **options):
        """A user sends `/video`; with `age` as if it were so many seconds ago."""
        number, limit = snowflake(age), max(self.nitro, self._takes(guild))
        asked = Asked(user, channel, guild, {"prompt": prompt, **options}, limit, number, f"token-{number}")
        self.asked[asked.token] = asked
        await self.deliver(asked)
        return asked

    async def deliver(self, asked):
        """The gateway tells the bot of an interaction, maybe once more."""
        await self._dispatch("INTERACTION_CREATE", asked.to_json())

    async def drop(self):
        """The gateway's connections break."""
        for socket in tuple(self._sockets):
            await socket.close(code=4000)

    def sent_to(self, channel):
        """Messages that were sent to a channel, not to an interaction."""
        return [message for message in self.messages if message.channel == channel and message.by == "channel"]

    def films(self):
        """All messages with a file."""
        return [message for message in self.messages if message.files]

    # --- its life ----------------------------------------------------------------------------------------------

    async def __aenter__(self):
        app = web.Application(client_max_size=200 * MEBIBYTE, middlewares=[self._refusing])
        app.add_routes(
            [
                web.get("/gateway", self._gateway),
                web.get("/api/users/@me", self._me),
                web.get("/api/oauth2/applications/@me", self._application),
                web.get("/api/gateway/bot", self._where),
                web.put(f"/api/applications/{BOT}/commands", self._take_commands),
                web.post("/api/interactions/{id}/{token}/callback", self._callback),
                web.get(f"/api/webhooks/{BOT}/{{token}}/messages/@original", self._original),
                web.patch(f"/api/webhooks/{BOT}/{{token}}/messages/@original", self._edit_original),
                web.post(f"/api/webhooks/{BOT}/{{token}}", self._follow_up),
                web.get("/api/channels/{channel}", self._channel),
                web.post("/api/channels/{channel}/messages", self._send),
                web.get("/api/guilds/{guild}", self._guild),
            ]
        )
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_):
        await self.drop()
        await self._runner.cleanup()

    @web.middleware
    async def _refusing(self, request, handler):
        try:
            return await handler(request)
        except Refused as refused:
            self.refused.append(refused.answer.status)
            return refused.answer

    # --- REST --------------------------------------------------------------------------------------------------

    async def _me(self, request):
        if request.headers.get("Authorization") != "Bot secret-token":
            raise Refused(401, 0, "401: Unauthorized")
        return told(user_json(BOT, bot=True))

    async def _application(self, request):
        texts = {"name": "films", "description": "", "icon": None, "verify_key": ""}
        flags = {"bot_public": True, "bot_require_code_grant": False}
        return told({"id": BOT, "owner": user_json("1"), **texts, **flags})

    async def _where(self, request):
        limit = {"total": 1000, "remaining": 999, "reset_after": 1000, "max_concurrency": 1}
        return told({"url": f"{self.url}/gateway", "shards": 1, "session_start_limit": limit})

    async def _take_commands(self, request):
        self.commands = await request.json()
        own = {"application_id": BOT, "version": "1", "default_member_permissions": None}
        return told([command | own | {"id": str(n)} for n, command in enumerate(self.commands, 1)])

    async def _channel(self, request):
        return told(channel_json(request.match_info["channel"], GUILD))

    async def _guild(self, request):
        return told(guild_json(self.tier, ()))

    async def _callback(self, request):
        asked = self.asked.get(request.match_info["token"])
        if asked is None or time.monotonic() - asked.sent > FIRST_ANSWER:
            raise Refused(404, 10062, "Unknown interaction")
        if asked.answer is not None and not self.forgetful:
            raise Refused(400, 40060, "Interaction has already been acknowledged.")
        if asked.answer is None:
            asked.answer = Message(asked.channel)
            self.messages.append(asked.answer)
        body = await request.json()
        if body["type"] == 4:
            asked.answer.write(body["data"], [])
        kept = {"id": asked.id, "type": 2, "response_message_id": asked.answer.id, "response_message_loading": True}
        return told({"interaction": kept})

    def _valid(self, request):
        asked = self.asked.get(request.match_info["token"])
        if asked is None or asked.answer is None:
            raise Refused(404, 10015, "Unknown Webhook")
        if asked.expired:
            raise Refused(401, 50027, "Invalid Webhook Token")
        if asked.answer not in self.messages:
            raise Refused(404, 10008, "Unknown Message")
        return asked

    async def _original(self, request):
        return told(self._valid(request).answer.to_json())

    async def _edit_original(self, request):
        asked = self._valid(request)
        asked.answer.write(*await self._written(request, asked.limit))
        return told(asked.answer.to_json())

    async def _follow_up(self, request):
        asked = self._valid(request)
        return await self._new(request, Message(asked.channel), asked.limit)

    async def _send(self, request):
        channel = request.match_info["channel"]
        if channel in self.gone:
            raise Refused(404, 10003, "Unknown Channel")
        return await self._new(request, Message(channel, by="channel"), self._takes(GUILD))

    async def _new(self, request, message, limit):
        fields, files = await self._written(request, limit)
        if "message_reference" in fields:
            message.reply_to = str(fields["message_reference"]["message_id"])
        message.write(fields, files)
        self.messages.append(message)
        return told(message.to_json())

    def _takes(self, guild):
        return {2: 50, 3: 100}.get(self.tier if guild else 0, 10) * MEBIBYTE

    async def _written(self, request, limit):
        """The fields of a message and its files, unless it is refused."""
        form = await request.post() if request.content_type == "multipart/form-data" else None
        fields = json.loads(form["payload_json"]) if form else await request.json()
        files = [(part.filename, part.file.read()) for part in form.values() if hasattr(part, "file")] if form else []
        if sum(len(data) for _, data in files) > limit:
            raise Refused(413, 40005, "Request entity too large")
        if self.slow_down:
            seconds = self.slow_down.pop(0)
            refused = Refused(429, 0, "You are being rate limited.", retry_after=seconds)
            refused.answer.headers["Via"] = "1.1 google"
            raise refused
        assert 0 < len(fields["content"]) <= 2000
        await asyncio.sleep(self.latency)
        return fields, files

    # --- the gateway -------------------------------------------------------------------------------------------

    async def _gateway(self, request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_json({"op": HELLO, "d": {"heartbeat_interval": 41250}})
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await self._hear(socket, **json.loads(message.data))
        self._sockets.discard(socket)
        return socket

    async def _hear(self, socket, op, d):
        if op == HEARTBEAT:
            await socket.send_json({"op": ACK})
        elif op == IDENTIFY:
            await self._identify(socket)
        elif op == RESUME and self.resumable and d["session_id"] == self._session:
            self.resumed += 1
            self._sockets.add(socket)
            for event in self._events[d["seq"] :]:
                await socket.send_json(event)
            await self._dispatch("RESUMED", {})
        elif op == RESUME:
            await socket.send_json({"op": INVALID, "d": False})

    async def _identify(self, socket):
        self.identified += 1
        self._session, self._events = snowflake(), []
        self._sockets.add(socket)
        ready = {
            "v": 10,
            "user": user_json(BOT, bot=True),
            "guilds": [{"id": GUILD, "unavailable": True}],
            "session_id": self._session,
            "resume_gateway_url": f"{self.url}/gateway",
            "application": {"id": BOT, "flags": 0},
        }
        await self._dispatch("READY", ready)
        await self._dispatch("GUILD_CREATE", guild_json(self.tier, ("500", "501", "502")))

    async def _dispatch(self, name, data):
        event = {"op": DISPATCH, "t": name, "s": len(self._events) + 1, "d": data}
        self._events.append(event)
        for socket in tuple(self._sockets):
            if not socket.closed:
                await asyncio.wait_for(socket.send_json(event), 5)
