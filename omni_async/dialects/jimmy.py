"""The gateway `jimmy`: Jimmy AI's open API. Source: its create page with OpenAPI (seed), its reference pages (docs)."""

from typing import Any
from urllib.parse import quote, urljoin

import attrs

from ..errors import DecodeError, Fault
from ..models import Balance, TaskStatus, VideoRequest, VideoTask
from .dialect import (
    CONCURRENCY_WORDS,
    MODERATION_WORDS,
    QUOTA_WORDS,
    RATE_WORDS,
    Abilities,
    Checked,
    Dialect,
    RefusalKind,
    RefusalRule,
    UploadRules,
)
from .rules import GENERATION_TYPES, ModelSpec, check_fields, check_model, find_model, named
from .wire import CONVERTER, Call, CallKind, Reply, dig, excerpt, instant, number_code, percent, structure, text

SUCCESS = "20000"

MODELS = (
    ModelSpec(
        name="Gemini-Omini",
        aliases=("Omni-Flash-Ext", "gemini-omni"),
        durations=(4, 6, 8, 10),
        resolutions=("720p", "1080p", "4k"),
        image_counts=(0, 1, 3),
    ),
    ModelSpec(
        name="omni-10s",
        durations=(10,),
        resolutions=("720p",),
        max_references=7,
        ignores={"duration": "10 s", "resolution": "720p"},
    ),
)

REFUSALS = (
    # 429 is a rate refusal whatever stands in it, unless the code says otherwise: so -1 is left out there.
    RefusalRule(kind=RefusalKind.AUTH, codes=frozenset({"20001"})),
    RefusalRule(kind=RefusalKind.MODERATION, codes=frozenset({"20002"}), words=MODERATION_WORDS),
    RefusalRule(kind=RefusalKind.BAD_REQUEST, codes=frozenset({"20002"})),
    RefusalRule(kind=RefusalKind.TRANSIENT, codes=frozenset({"-1"}), not_statuses=frozenset({429})),
    # No code is documented for the rest: told by the message alone (seen).
    RefusalRule(kind=RefusalKind.QUOTA, words=QUOTA_WORDS),
    RefusalRule(kind=RefusalKind.RATE, words=RATE_WORDS),
    RefusalRule(kind=RefusalKind.RATE, words=CONCURRENCY_WORDS),
    RefusalRule(kind=RefusalKind.MODERATION, words=MODERATION_WORDS),
)

UPLOADS = UploadRules(
    path="/api/open-api/v1/files/upload",
    part="file",
    endings=frozenset(
        "jpg jpeg png gif webp bmp svg mp4 mov avi webm mkv m4v flv mp3 wav aac m4a flac ogg".split()
    ),
    max_bytes=100 * 1024 * 1024,
)


@attrs.frozen(kw_only=True)
class _Create:
    """The create body, field for field (seed). Absent is not the same as the default: only what was set is sent."""

    model: str
    prompt: str
    duration: int | None = None
    resolution: str | None = None
    aspect_ratio: str | None = None
    orientation: str | None = None
    generation_type: str | None = None
    image_urls: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    video_urls: tuple[str, ...] = ()


@attrs.frozen
class _Created:
    """What must be in a create's `data`."""

    task_id: str
    status: str = ""


@attrs.frozen
class _Queried:
    """What must be in a query's `data`."""

    status: str


@attrs.frozen(kw_only=True)
class Jimmy(Dialect):
    """Dialect of Jimmy AI's open API. `models` overrides the model table."""

    name: str = "jimmy"
    base_url: str = "https://www.jimmyai.cn"
    models: tuple[ModelSpec, ...] = MODELS
    abilities: Abilities = Abilities(url_lifetime=3 * 86400.0)  # docs: kept 3 days; poll every 5-15 s
    uploads: UploadRules | None = UPLOADS
    refusals: tuple[RefusalRule, ...] = REFUSALS

    key_variable = "JIMMYAI_API_KEY"
    base_url_variable = "JIMMYAI_BASE_URL"

    def check(self, request: VideoRequest) -> Checked:
        """Every rule of the seed, all at once."""
        found = check_model(request, self.models)
        faults = (*check_fields(request, known=WIRE_NAMES), *found.faults)
        warnings = list(found.warnings)
        if request.duration is not None and request.video_urls:
            faults += (Fault("duration", "must be absent when video_urls is given (seed)"),)
        spec = find_model(self.models, request.model) if isinstance(request.model, str | None) else None
        if spec is not None and spec.max_references and (request.generation_type or request.video_urls):
            warnings.append(Fault("generation_type", f"the documents describe it and video_urls for {self.models[0].name} only"))
        return Checked(faults, tuple(warnings))

    def create(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Call:
        """`POST …/gemini/omni/videos` (seed). There is no idempotency key."""
        spec = find_model(self.models, request.model)
        body = CONVERTER.unstructure(
            _Create(
                model=spec.name if spec else request.model or self.models[0].name,
                prompt=request.prompt,
                duration=request.duration,
                resolution=named(request.resolution, spec.resolutions if spec else ()) if request.resolution else None,
                aspect_ratio=request.aspect_ratio,
                orientation=request.orientation,
                generation_type=request.generation_type,
                image_urls=request.image_urls,
                images=() if request.image_urls else request.images,
                video_urls=request.video_urls,
            )
        )
        path = "/api/open-api/v1/gemini/omni/videos"
        return Call(kind=CallKind.CREATE, method="POST", path=path, body={**request.extra, **body})

    def query(self, task_id: str) -> Call:
        """`GET …/videos/{task_id}` (docs)."""
        return Call(kind=CallKind.QUERY, method="GET", path=f"/api/open-api/v1/videos/{quote(task_id, safe='')}")

    def read_create(self, reply: Reply) -> VideoTask:
        """The task in `data`, or in the bare object of the older page (docs)."""
        data = _payload(reply)
        created = structure(data, _Created, path="$.data")
        return self._task(reply, data, created.task_id, created.status)

    def read_query(self, reply: Reply) -> VideoTask:
        """The task in `data`; a success must have its URL."""
        data = _payload(reply)
        queried = structure(data, _Queried, path="$.data")
        return self._task(reply, data, text(dig(data, "task_id")) or "", queried.status)

    def _task(self, reply: Reply, data: Any, task_id: str, word: str) -> VideoTask:
        status = self.status(word) or TaskStatus.RUNNING
        url = next((u for place in _URLS if (u := text(dig(data, *place)))), None)
        if status is TaskStatus.SUCCEEDED and url is None:
            raise DecodeError("finished, but without a URL", path="$.data.result.video_url", excerpt=excerpt(data))
        return VideoTask(
            task_id=task_id,
            status=status,
            raw_status=word,
            progress=percent(dig(data, "progress")),
            model=text(dig(data, "model")),
            created_at=instant(dig(data, "created_at")),
            completed_at=instant(dig(data, "completed_at")),
            expires_at=instant(dig(data, "expires_at")),
            video_url=urljoin(reply.url, url) if url else None,  # seen: relative on older servers
            error_message=text(dig(data, "error_message")),
            gateway=self.name,
            request_id=reply.request_id,
            raw=reply.document,
        )

    def refused(self, reply: Reply) -> tuple[frozenset[str], str] | None:
        """The envelope's code and message; success, or a code that is no number or digits, is no refusal."""
        code = number_code(dig(reply.document, "code"))
        if code is None or code == SUCCESS:
            return None
        return frozenset({code}), text(dig(reply.document, "msg")) or text(dig(reply.document, "message")) or ""

    def upload(self) -> Call:
        """`POST …/files/upload`, one part `file` (docs)."""
        return Call(kind=CallKind.UPLOAD, method="POST", path=UPLOADS.path, part=UPLOADS.part)

    def read_upload(self, reply: Reply) -> str:
        """`data.url` (docs)."""
        return structure(_payload(reply), _Uploaded, path="$.data").url

    def balance(self, scope: str = "account") -> Call:
        """`GET …/user/balance`, or `…/key/balance` for `scope="key"` (docs)."""
        owner = "key" if scope == "key" else "user"
        return Call(kind=CallKind.BALANCE, method="GET", path=f"/api/open-api/v1/{owner}/balance")

    def read_balance(self, reply: Reply) -> Balance:
        """The account's `balance`, `used_coin`, `available`, or the key's quotas, where 0 means no cap (docs)."""
        data = _payload(reply)
        if not isinstance(data, dict) or not ({"available", "available_quota"} & data.keys()):
            raise DecodeError("no balance in the answer", path="$.data.available", excerpt=excerpt(data))
        of_key = "total_quota" in data or "available_quota" in data
        total = _amount(data.get("total_quota" if of_key else "balance"))
        unlimited = data.get("unlimited") is True or (of_key and total == 0)
        return Balance(
            available=None if unlimited else _amount(data.get("available_quota" if of_key else "available")),
            used=_amount(data.get("used_quota" if of_key else "used_coin")),
            total=None if unlimited else total,
            unlimited=unlimited,
            name=text(data.get("name")),
            gateway=self.name,
            raw=reply.document,
        )


@attrs.frozen
class _Uploaded:
    url: str


_URLS = (("result", "video_url"), ("video_url",), ("result", "url"), ("url",))
WIRE_NAMES = frozenset(field.name for field in attrs.fields(_Create))


def _amount(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _payload(reply: Reply) -> Any:
    """The object an answer is about: `data` of the envelope, or the bare object of the older page (docs)."""
    document = reply.document
    if not isinstance(document, dict):
        raise DecodeError("the answer is no JSON object", excerpt=excerpt(document))
    if "code" not in document and "data" not in document:
        return document
    code = number_code(document.get("code", SUCCESS))
    if code != SUCCESS and not isinstance(document.get("data"), dict):
        raise DecodeError(f"the envelope has code {code or 'of no known form'}", path="$.code", excerpt=excerpt(document))
    return document.get("data")


__all__ = ["GENERATION_TYPES", "MODELS", "REFUSALS", "Jimmy"]
