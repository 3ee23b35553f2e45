"""The gateways `gemini_omni` (the guide's shape) and `toapis` (the same gateway's flat production shape).

Sources: the model guide (seed) and the gateway's reference pages (docs). Both shapes are read by one decoder.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from ..errors import DecodeError, Fault
from ..explanations import glossed
from ..models import Balance, VideoRequest, VideoTask
from .dialect import (
    CLEAN_REFUSALS,
    TOLD_BY_WORDS,
    Abilities,
    Checked,
    Dialect,
    RefusalKind,
    RefusalRule,
    UploadRules,
)
from .outcome import task_of
from .rules import (
    ModelSpec,
    check_extra,
    check_fields,
    check_model,
    extra_of,
    find_model,
    mode_word,
    modes_of,
    named,
    ratio,
)
from .verdict import scrubbed
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
    only,
    segment,
    structure,
    text,
    uploaded_link,
)
from .words import BALANCE_WORDS, CONCURRENCY_WORDS, MODERATION_WORDS, NO_TASK_WORDS, QUOTA_WORDS, RATE_WORDS

ROUTE = "/v1/videos/generations"

GUIDE_MODELS = (
    ModelSpec(
        name="gemini_omni",
        durations=(6, 10),
        doubtful_durations=(5,),  # seed: its own example sends 5, its table lists 6 and 10
        resolutions=("720P",),
        aspect_ratios=("16:9", "9:16"),
    ),
)

FLAT_MODELS = (
    ModelSpec(
        name="gemini_omni",
        durations=(6, 10),
        resolutions=("720p",),
        aspect_ratios=("16:9", "9:16"),
        image_counts=(0, 1, 3),
    ),
    ModelSpec(
        name="gemini_omni_flash",
        durations=(4, 6, 10),
        resolutions=("720p", "1080p"),
        aspect_ratios=("16:9", "9:16"),
        image_counts=(0, 1, 3),
        ratio_bound={"1080p": ("16:9",)},
    ),
)

_MODERATED = frozenset({"content_policy_violation", "moderation_error", "content_filter"})
_NO_QUOTA = frozenset({"insufficient_quota", "insufficient_user_quota", "insufficient_balance"})
_QUOTA_FAILED = frozenset({"pre_consume_token_quota_failed"})
_QUOTA_SAID = f"{QUOTA_WORDS}|quota.{{0,10}}not enough|(预扣费|额度).{{0,4}}失败"
_BAD_KEY = frozenset({"authentication_error", "invalid_api_key", "permission_denied"})
_TOO_MUCH = frozenset({"rate_limit_exceeded", "rate_limit_error"})
_5XX = frozenset(range(500, 600))

REFUSALS = (
    # By name where the name says more than the status, then by status (seed's table, docs).
    RefusalRule(kind=RefusalKind.MODERATION, codes=_MODERATED),
    RefusalRule(kind=RefusalKind.QUOTA, codes=_NO_QUOTA),
    RefusalRule(kind=RefusalKind.NOT_FOUND, codes=frozenset({"task_not_found", "task_not_exist"})),
    RefusalRule(kind=RefusalKind.QUOTA, statuses=frozenset({429}), words=BALANCE_WORDS),
    RefusalRule(kind=RefusalKind.RATE, statuses=frozenset({429})),
    RefusalRule(kind=RefusalKind.RATE, codes=_TOO_MUCH, statuses=frozenset({403})),
    # new-api's refusals for want of quota are 403 as well (seen)
    RefusalRule(kind=RefusalKind.QUOTA, codes=_QUOTA_FAILED, statuses=CLEAN_REFUSALS),
    RefusalRule(kind=RefusalKind.QUOTA, statuses=CLEAN_REFUSALS - {401}, words=_QUOTA_SAID),
    RefusalRule(kind=RefusalKind.AUTH, statuses=frozenset({401, 403})),
    RefusalRule(kind=RefusalKind.QUOTA, statuses=frozenset({402})),
    RefusalRule(kind=RefusalKind.NOT_FOUND, statuses=frozenset({404})),
    RefusalRule(kind=RefusalKind.MODERATION, statuses=frozenset({400, 422}), words=MODERATION_WORDS),
    RefusalRule(kind=RefusalKind.NOT_FOUND, statuses=TOLD_BY_WORDS, words=NO_TASK_WORDS),  # 400 as well (seen: new-api)
    RefusalRule(kind=RefusalKind.BAD_REQUEST, statuses=frozenset({400, 413, 422})),
    # A refusal can also come with HTTP 200 (seen), then only its name tells.
    RefusalRule(kind=RefusalKind.AUTH, codes=_BAD_KEY, not_statuses=_5XX),
    RefusalRule(kind=RefusalKind.RATE, codes=_TOO_MUCH, not_statuses=_5XX),
    RefusalRule(kind=RefusalKind.BAD_REQUEST, codes=frozenset({"invalid_request_error"}), not_statuses=_5XX),
    # Sent again, so the name must be the error's own: a type beside another code is none.
    RefusalRule(
        kind=RefusalKind.TRANSIENT, codes=frozenset({"internal_error"}), statuses=frozenset({200, 500}), first=True
    ),
    RefusalRule(kind=RefusalKind.RATE, statuses=TOLD_BY_WORDS, words=RATE_WORDS),
    RefusalRule(kind=RefusalKind.RATE, statuses=TOLD_BY_WORDS, words=CONCURRENCY_WORDS),
)

UPLOADS = UploadRules(
    path="/v1/uploads/images",
    part="file",
    endings=frozenset({"jpg", "jpeg", "png", "webp", "gif"}),
    max_bytes=10 * 1024 * 1024,
)


@attrs.frozen(kw_only=True)
class _Input:
    """The guide's `input` (seed: prompt and duration; the rest inferred)."""

    prompt: str
    duration: int | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    image_urls: tuple[str, ...] = ()
    video_urls: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class _GuideCreate:
    """The guide's create body (seed)."""

    model: str
    mode: str
    input: _Input


@attrs.frozen(kw_only=True)
class _FlatCreate(_Input):
    """The flat create body (docs). `callback_url` goes through `extra`."""

    model: str
    client_business_id: str | None = None


@attrs.frozen
class _Answer:
    """What must be in an answer about a task, besides its id, which comes in several places."""

    status: str


class _OmniDialect(Dialect):
    """What both shapes share: route, decoder, refusal table, uploads, balance."""

    key_variable = "TOAPIS_API_KEY"
    base_url_variable = "TOAPIS_BASE_URL"
    models: tuple[ModelSpec, ...]

    def check(self, request: VideoRequest) -> Checked:
        """Every rule of the guide and the reference pages, all at once."""
        found = check_model(request, self.models)
        return Checked((*check_fields(request, known=WIRE_NAMES), *found.faults), found.warnings)

    def query(self, task_id: str) -> Call:
        """`GET /v1/videos/generations/{task_id}` (docs)."""
        return Call(kind=QUERY, method="GET", path=f"{ROUTE}/{segment(task_id)}")

    def read_create(self, reply: Reply) -> VideoTask:
        """The task in either shape; its id must be there, its status need not."""
        body = _task_in(reply)
        if not self.find_task_id(reply.document):
            raise DecodeError("no task id in the answer", path="$.task_id", excerpt=excerpt(body))
        return self._task(reply, body, {"status": "", **_told(body)})

    def read_query(self, reply: Reply) -> VideoTask:
        """The task in either shape; a success must have its URL."""
        body = _task_in(reply)
        return self._task(reply, body, body)

    def glance(self, reply: Reply) -> Glance | None:
        """At the answer itself; one with `data`, whose status may be that of the request, is read."""
        document = reply.document
        return None if isinstance(document, dict) and "data" in document else self.running(document)

    def _task(self, reply: Reply, body: dict[str, Any], told: dict[str, Any]) -> VideoTask:
        word, task_id = structure(told, _Answer).status, self.find_task_id(reply.document) or ""
        return task_of(self, reply, body, task_id=task_id, word=word, path="$.result.data[0].url")

    def read_upload(self, reply: Reply) -> str:
        """`data.url`; `success: false` can come with HTTP 200 (docs)."""
        document = reply.document
        _refuse_failure(document, "the gateway did not take the file")
        return uploaded_link(reply, dig(document, "data"))

    def balance(self, scope: str = "account") -> Call:
        """`GET /v1/balance` (docs); the gateway knows one balance, whatever the scope."""
        return Call(kind=CallKind.BALANCE, method="GET", path="/v1/balance")

    def read_balance(self, reply: Reply) -> Balance:
        """`remain_balance`, `used_balance`, `unlimited_quota` (docs)."""
        document = reply.document
        _refuse_failure(document, "the gateway tells no balance")
        if not isinstance(document, dict) or "remain_balance" not in document:
            raise DecodeError("no balance in the answer", path="$.remain_balance", excerpt=excerpt(document))
        unlimited = flag(document.get("unlimited_quota"))
        return Balance(
            available=None if unlimited else amount(document["remain_balance"]),
            used=amount(document.get("used_balance")),
            unlimited=unlimited,
            gateway=self.name,
            raw=document,
        )


@attrs.frozen(kw_only=True, repr=False)
class GeminiOmni(_OmniDialect):
    """Dialect of the model guide: `model`, `mode`, `input{}`.

    Args:
        models: Overrides the model table.
        mode_words: How the gateway spells a mode where it differs: three of the four spellings are inferred.
    """

    name: str = "gemini_omni"
    base_url: str = "https://toapis.com"
    models: tuple[ModelSpec, ...] = GUIDE_MODELS
    mode_words: Mapping[str, str] = attrs.field(factory=dict, hash=False)
    # docs: first after 5 s, then about 10 s; URL lives 24 h
    abilities: Abilities = Abilities(max_interval=10.0, prompt_apart=True)
    uploads: UploadRules | None = UPLOADS
    refusals: tuple[RefusalRule, ...] = REFUSALS

    def check(self, request: VideoRequest) -> Checked:
        """The shared rules, and those of `extra` for what goes into `input`."""
        found = super().check(request)
        inside = tuple(check_extra(extra_of(request).get("input", {}), WIRE_NAMES, path="extra.input"))
        return Checked((*found.faults, *inside), found.warnings)

    def create(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Call:
        """`POST /v1/videos/generations` with `model`, `mode` and `input` (seed; route from docs)."""
        spec = find_model(self.models, request.model)
        mode, extra = mode_word(request.mode) if request.mode else modes_of(request)[0], extra_of(request)
        body = converter().unstructure(
            _GuideCreate(
                model=spec.name if spec else request.model or self.models[0].name,
                mode=self.mode_words.get(str(mode), mode),
                input=_Input(**_input(request, spec)),
            )
        )
        inside = extra.get("input")
        inner = {**(inside if isinstance(inside, Mapping) else {}), **body["input"]}
        return _create_call({**extra, **body, "input": inner})


@attrs.frozen(kw_only=True, repr=False)
class ToApis(_OmniDialect):
    """Dialect of the flat production shape. `models` overrides the model table."""

    name: str = "toapis"
    base_url: str = "https://toapis.com"
    models: tuple[ModelSpec, ...] = FLAT_MODELS
    abilities: Abilities = Abilities(idempotency_field="client_business_id", max_interval=10.0, prompt_apart=True)
    uploads: UploadRules | None = UPLOADS
    refusals: tuple[RefusalRule, ...] = REFUSALS

    def check(self, request: VideoRequest) -> Checked:
        """The shared rules, and: never base64 (docs)."""
        found = super().check(request)
        warnings = list(found.warnings)
        if request.video_urls:
            warnings.append(Fault("video_urls", "the reference pages of this gateway do not list it"))
        return Checked((*found.faults, *_check_base64(request)), tuple(warnings))

    def create(self, request: VideoRequest, *, idempotency_key: str | None = None) -> Call:
        """`POST /v1/videos/generations`, everything at the top level (docs)."""
        spec, extra = find_model(self.models, request.model), extra_of(request)
        body = converter().unstructure(
            _FlatCreate(
                model=spec.name if spec else request.model or self.models[0].name,
                client_business_id=text(extra.get("client_business_id")) or idempotency_key,
                **_input(request, spec),
            )
        )
        return _create_call({**extra, **body})


_BASE64 = re.compile(r"\s*data:|[A-Za-z0-9+/=_\s-]{256,}\Z", re.IGNORECASE)
"""Bare base64 has neither the colon of a URL nor, however long it is, the dot of a file's ending."""


def _check_base64(request: VideoRequest) -> Iterator[Fault]:
    name = "image_urls" if request.image_urls else "images"
    for place, image in enumerate(request.reference_images):
        if isinstance(image, str) and _BASE64.match(image):
            yield Fault(f"{name}[{place}]", "base64 is not taken; upload the file or give its URL")


def _input(request: VideoRequest, spec: ModelSpec | None) -> dict[str, Any]:
    """The fields that both shapes name alike; the aspect ratio stands for the orientation, which neither knows."""
    return {
        "prompt": request.prompt,
        "duration": request.duration,
        "aspect_ratio": ratio(request),
        "resolution": named(request.resolution, spec.resolutions if spec else ()),
        "image_urls": request.reference_images,
        "video_urls": request.video_urls,
    }


def _create_call(body: dict[str, Any]) -> Call:
    return Call(kind=CallKind.CREATE, method="POST", path=ROUTE, body=body)


def _task_in(reply: Reply) -> dict[str, Any]:
    """The object that tells of the task: the `data` of an answer if that has a status or the answer has none, else that
    itself.
    """
    document = reply.document
    if not isinstance(document, dict):
        raise DecodeError("the answer is not a JSON object", excerpt=excerpt(document))
    inner = only(document.get("data"))
    if not isinstance(inner, dict):
        return document
    return inner if isinstance(inner.get("status"), str) or not isinstance(document.get("status"), str) else document


def _refuse_failure(document: Any, what: str) -> None:
    """`success: false` can come with HTTP 200 (docs), and the reason in `message`."""
    if dig(document, "success") is False:
        said = glossed(scrubbed(text(dig(document, "message")) or "no reason given"))
        raise DecodeError(f"{what}: {said}", path="$.success", excerpt=excerpt(document))


def _told(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


WIRE_NAMES = frozenset(field.name for field in attrs.fields(_Input)) | {"model", "mode"}
