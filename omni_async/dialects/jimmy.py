"""The gateway `jimmy`: Jimmy AI's open API. Source: its create page with OpenAPI (seed), its reference pages (docs)."""

from typing import Any

import attrs

from ..errors import DecodeError, Fault
from ..models import Balance, VideoRequest, VideoTask
from .dialect import (
    TOLD_BY_WORDS,
    Abilities,
    Checked,
    Dialect,
    RefusalKind,
    RefusalRule,
    UploadRules,
)
from .outcome import FAILED, task_of
from .rules import IMAGE, ModelSpec, check_fields, check_model, extra_of, find_model, mode_word, named
from .wire import (
    QUERY,
    Call,
    CallKind,
    Glance,
    Reply,
    amount,
    converter,
    dig,
    excerpt,
    flag,
    ident,
    number_code,
    only,
    segment,
    structure,
    text,
    uploaded_link,
)
from .words import CONCURRENCY_WORDS, MODERATION_WORDS, NO_TASK_WORDS, QUOTA_WORDS, RATE_WORDS, TOO_MUCH_WORDS

SUCCESS = "20000"
TEMPORARY = "-1"

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
    # The documented codes are few: what is said beside them can say more.
    RefusalRule(kind=RefusalKind.QUOTA, codes=frozenset({"20001", "20002"}), words=QUOTA_WORDS),
    RefusalRule(kind=RefusalKind.AUTH, codes=frozenset({"20001"})),
    RefusalRule(kind=RefusalKind.MODERATION, codes=frozenset({"20002"}), words=MODERATION_WORDS),
    RefusalRule(kind=RefusalKind.NOT_FOUND, codes=frozenset({"20002"}), words=NO_TASK_WORDS),
    RefusalRule(kind=RefusalKind.RATE, codes=frozenset({"20002"}), words=TOO_MUCH_WORDS),
    RefusalRule(kind=RefusalKind.BAD_REQUEST, codes=frozenset({"20002"})),
    # No code is documented for the rest: told by the message alone (seen), which says more than a -1 does.
    RefusalRule(kind=RefusalKind.QUOTA, statuses=TOLD_BY_WORDS, words=QUOTA_WORDS),
    RefusalRule(kind=RefusalKind.RATE, statuses=TOLD_BY_WORDS, words=RATE_WORDS),
    RefusalRule(kind=RefusalKind.RATE, statuses=TOLD_BY_WORDS, words=CONCURRENCY_WORDS),
    RefusalRule(kind=RefusalKind.MODERATION, statuses=TOLD_BY_WORDS, words=MODERATION_WORDS),
    RefusalRule(kind=RefusalKind.NOT_FOUND, statuses=TOLD_BY_WORDS, words=NO_TASK_WORDS),
    # 429 is a rate refusal whatever stands in it, unless the code says otherwise: so -1 is left out there.
    RefusalRule(kind=RefusalKind.TRANSIENT, codes=frozenset({TEMPORARY}), not_statuses=frozenset({429})),
)

UPLOADS = UploadRules(
    path="/api/open-api/v1/files/upload",
    part="file",
    endings=frozenset("jpg jpeg png gif webp bmp svg mp4 mov avi webm mkv m4v flv mp3 wav aac m4a flac ogg".split()),
    max_bytes=100 * 1024 * 1024,
)


@attrs.frozen(kw_only=True, eq=False, repr=False)
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


@attrs.frozen(eq=False, repr=False)
class _Created:
    """What must be in a create's `data`."""

    task_id: str
    status: str | None = None


@attrs.frozen(eq=False, repr=False)
class _Queried:
    """What must be in a query's `data`."""

    status: str


@attrs.frozen(kw_only=True, repr=False)
class Jimmy(Dialect):
    """Dialect of Jimmy AI's open API. `models` overrides the model table."""

    name: str = "jimmy"
    base_url: str = "https://www.jimmyai.cn"
    models: tuple[ModelSpec, ...] = MODELS
    # docs: kept 3 days; poll every 5-15 s
    abilities: Abilities = Abilities(url_lifetime=3 * 86400.0, prompt_apart=True)
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
        if request.generation_type or request.video_urls:
            spec = find_model(self.models, request.model)
            if spec is not None and spec.max_references:
                told = f"the documents describe it and video_urls for {self.models[0].name} only"
                warnings.append(Fault("generation_type", told))
        if mode_word(request.mode) == IMAGE and request.generation_type is None:
            warnings.append(
                Fault("mode", "not sent: this gateway knows generation_type, and frame makes the image the first")
            )
        return Checked(faults, tuple(warnings))

    def create(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Call:
        """`POST …/gemini/omni/videos` (seed), without what the model ignores. There is no idempotency key."""
        spec = find_model(self.models, request.model)
        body = converter().unstructure(
            _Create(
                model=spec.name if spec else request.model or self.models[0].name,
                prompt=request.prompt,
                duration=request.duration,
                resolution=named(request.resolution, spec.resolutions if spec else ()),
                aspect_ratio=request.aspect_ratio,
                orientation=request.orientation,
                generation_type=request.generation_type,
                image_urls=request.image_urls,
                images=() if request.image_urls else request.images,
                video_urls=request.video_urls,
            )
        )
        for name in spec.ignores if spec else ():
            body.pop(name, None)
        path = "/api/open-api/v1/gemini/omni/videos"
        return Call(kind=CallKind.CREATE, method="POST", path=path, body={**extra_of(request), **body})

    def query(self, task_id: str) -> Call:
        """`GET …/videos/{task_id}` (docs)."""
        return Call(kind=QUERY, method="GET", path=f"/api/open-api/v1/videos/{segment(task_id)}")

    def find_task_id(self, document: Any) -> str | None:
        """`task_id` in `data` or in the bare object. An `id` is not documented here: it can be anybody's."""
        places = (("data", "task_id"), ("data", 0, "task_id"), ("task_id",))
        return next((found for place in places if (found := ident(dig(document, *place)))), None)

    def read_create(self, reply: Reply) -> VideoTask:
        """The task in `data`, or in the bare object of the older page (docs)."""
        data = _payload(reply)
        created = structure(data, _Created, path="$.data")
        if not ident(created.task_id):
            raise DecodeError("no task id in the answer", path="$.data.task_id", excerpt=excerpt(data))
        return task_of(self, reply, data, task_id=created.task_id, word=created.status or "", path=_VIDEO)

    def read_query(self, reply: Reply) -> VideoTask:
        """The task in `data`; a success must have its URL. Beside a code of failure, "failed" can be the look's own."""
        data = _payload(reply)
        queried = structure(data, _Queried, path="$.data")
        task = task_of(self, reply, data, task_id=text(data.get("task_id")) or "", word=queried.status, path=_VIDEO)
        code = number_code(dig(reply.document, "code"))
        if task.status in FAILED and (code == TEMPORARY or (code not in (None, SUCCESS) and not task.task_id)):
            told = f"the gateway says that something failed, with code {code}"
            raise DecodeError(told, path="$.code", excerpt=excerpt(reply.document), terminal=code != TEMPORARY)
        return task

    def glance(self, reply: Reply) -> Glance | None:
        """At `data` of the envelope."""
        document = reply.document
        sound = isinstance(document, dict) and document.get("code") == SUCCESS
        return self.running(document.get("data")) if sound else None

    def refused(self, reply: Reply) -> tuple[tuple[str, ...], str] | None:
        """The envelope's code and message, else those of an error object, such as a proxy before the gateway has.

        Success, or a code that is not a number, is no refusal; a number in an error object is not the gateway's.
        """
        said = dig(reply.document, "code")
        if said is None:
            told = super().refused(reply)
            return None if told is None or any(map(number_code, told[0])) else told
        code = number_code(said)
        if code is None or code == SUCCESS:
            return None
        return (code,), text(dig(reply.document, "msg")) or text(dig(reply.document, "message")) or ""

    def read_upload(self, reply: Reply) -> str:
        """`data.url` (docs)."""
        return uploaded_link(reply, _payload(reply))

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
        total = amount(data.get("total_quota" if of_key else "balance"))
        unlimited = flag(data.get("unlimited")) or (of_key and total == 0)
        return Balance(
            available=None if unlimited else amount(data.get("available_quota" if of_key else "available")),
            used=amount(data.get("used_quota" if of_key else "used_coin")),
            total=None if unlimited else total,
            unlimited=unlimited,
            name=text(data.get("name")),
            gateway=self.name,
            raw=reply.document,
        )


WIRE_NAMES = frozenset(field.name for field in attrs.fields(_Create))
_VIDEO = "$.data.result.video_url"


def _payload(reply: Reply) -> Any:
    """The object an answer is about: `data` of the envelope, also in a list of its own, or the bare object of
    the older page (docs).
    """
    document = reply.document
    if not isinstance(document, dict):
        raise DecodeError("the answer is not a JSON object", excerpt=excerpt(document))
    if "data" not in document and ("code" not in document or "task_id" in document):
        return document
    code = number_code(document.get("code", SUCCESS))
    data = only(document.get("data"))
    if code != SUCCESS and not isinstance(data, dict):
        told = f"the envelope has code {code or 'of no known form'}"
        raise DecodeError(told, path="$.code", excerpt=excerpt(document))
    return data
