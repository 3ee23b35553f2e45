"""`/v1/videos/generations` in its two shapes: `toapis` flat (docs), `gemini_omni` with mode and input (seed)."""

from abc import abstractmethod
from collections.abc import Mapping
from datetime import UTC, datetime

from .checks import (
    PUBLIC_URL,
    Rule,
    faults,
    filled_text,
    one_of,
    short_text,
    texts,
    unknown,
    urls,
    whole_between,
)
from .gateway import VAGUE, Gateway, Site
from .response import Json, Response, json_response
from .scenario import Scenario
from .tasks import Look, Order, Task
from .uploads import IMAGES, Upload

CREATE = "/v1/videos/generations"
QUERY = "/v1/videos/generations/{task_id}"
UPLOAD = "/v1/uploads/images"
BALANCE = "/v1/balance"
CHAT = "/v1/chat/completions"

MODEL, FLASH = "gemini_omni", "gemini_omni_flash"
LONGEST_ID = 128

FLAT_RULES: dict[str, Rule] = {
    "model": one_of(MODEL, FLASH),
    "prompt": filled_text,
    "duration": one_of(4, 6, 10),
    "aspect_ratio": one_of("16:9", "9:16"),
    "resolution": one_of("720p", "720P", "1080p", "1080P"),
    "image_urls": urls(0, 1, 3),
    "video_urls": urls(0, 1),
    "client_business_id": short_text(LONGEST_ID),
    "callback_url": lambda value: (
        None if isinstance(value, str) and PUBLIC_URL.fullmatch(value) else "must be an http(s) URL"
    ),
}

# The guide's table says 6 or 10 seconds, its example sends 5 (seed): anything up to 10 passes.
INPUT_RULES: dict[str, Rule] = {
    "prompt": filled_text,
    "duration": whole_between(1, 10),
    "aspect_ratio": one_of("16:9", "9:16"),
    "resolution": one_of("720P"),
    "image_urls": texts,
    "video_urls": texts,
}

STATUS_WORDS = {
    "queued": "queued",
    "running": "in_progress",
    "completed": "completed",
    "failed": "failed",
    "canceled": "cancelled",
}


def error(status: int, code: str, message: str, **headers: str) -> Response:
    """An error in the table's shape (seed, docs)."""
    return json_response(status, {"error": {"code": code, "message": message, "type": code}}, **headers)


class _Generations(Gateway):
    """What the two shapes share: errors, failure, balance."""

    family = ("gemini_omni", "toapis")
    moderated = ("content_policy_violation", "The prompt or an input violates the content policy")
    failed = ("generation_failed", "Read timed out")
    upload_types = IMAGES
    upload_bytes = 10 * 1024 * 1024
    limit_words: Mapping[str, str] = {
        VAGUE: "Request rate, concurrency, or current quota hits upstream rate limiting.",
        "requests_per_second": "Rate limit reached: requests per second.",
        "creates_per_second": "Rate limit reached: video creations per second.",
        "http_concurrency": "Rate limit reached: concurrent requests.",
        "running_tasks": "Rate limit reached: running tasks.",
    }

    @abstractmethod
    def _dated(self, site: Site, at: float) -> int | str:
        """The moment as this shape writes it."""

    @abstractmethod
    def _head(self, task: Task, look: Look, site: Site) -> Json:
        """What creates and queries both show."""

    def created(self, task: Task, look: Look, site: Site) -> Response:
        return json_response(200, self._head(task, look, site), task_id=task.task_id)

    def shown(self, task: Task, look: Look, site: Site, scenario: Scenario) -> Response:
        data = self._head(task, look, site)
        if look.progress is not None:
            data["progress"] = look.progress
        if look.completed is not None:
            data["completed_at"] = self._dated(site, look.completed)
        if look.url is not None:
            data["result"] = {"type": "video", "data": [{"url": site.base + look.url, "format": "mp4"}]}
            data["expires_at"] = self._dated(site, look.expires or 0.0)
        if look.error is not None:
            data["error"] = {"code": look.error[0], "message": look.error[1]}
        return json_response(200, data)

    def balance(self, of: str, spent: float, total: float | None) -> Response:
        left = 0.0 if total is None else max(0.0, total - spent)
        payload = {"success": True, "remain_balance": left, "used_balance": spent}
        return json_response(200, {**payload, "unlimited_quota": total is None})

    def uploaded(self, url: str, upload: Upload) -> Response:
        size = len(upload.content or b"")
        image: Json = {"id": url.rpartition("/")[2].partition(".")[0], "url": url}
        image |= {"mime_type": IMAGES[upload.extension], "size": size}
        return json_response(200, {"success": True, "message": "", "data": image})

    def wrong_type(self, extension: str) -> Response:
        message = "Unsupported file type: only JPEG, PNG, WebP and GIF are allowed."
        return json_response(200, {"success": False, "message": message})

    def too_large(self) -> Response:
        return error(413, "file_too_large", "The file exceeds the limit of 10 MB.")

    def invalid(self, message: str) -> Response:
        return error(400, "invalid_request_error", message)

    def unauthorised(self) -> Response:
        message = "Missing Authorization header or invalid API key."
        return error(401, "authentication_error", message, WWW_Authenticate="Bearer")

    def limited(self, message: str, *, hidden: bool, headers: Mapping[str, str]) -> Response:
        return error(200 if hidden else 429, "rate_limit_exceeded", message, **headers)

    def poor(self) -> Response:
        return error(402, "insufficient_quota", "Insufficient balance, please top up.")

    def unknown_task(self) -> Response:
        return error(404, "task_not_found", "No such task.")

    def unknown_path(self, status: int, message: str) -> Response:
        return error(status, "not_found" if status == 404 else "method_not_allowed", message)

    def broken(self) -> Response:
        return error(500, "internal_error", "Transient upstream error or internal processing failure.")

    def refused_by_moderation(self) -> Response:
        return error(422, *self.moderated)

    def without_id(self, payload: Json) -> Json:
        return {key: value for key, value in payload.items() if key not in ("id", "task_id")}


class Toapis(_Generations):
    """The flat production shape."""

    name = "toapis"

    def read(self, body: Json, scenario: Scenario) -> Order | Response:
        wrong = faults(body, FLAT_RULES, ("model", "prompt"))
        if scenario.closed is not False:
            wrong += unknown(body, FLAT_RULES)
        wrong = wrong or _flat_combination(body)
        if wrong:
            return self.invalid("; ".join(wrong))
        return Order(
            gateway=self.name,
            model=body["model"],
            prompt=body["prompt"],
            seconds=int(body.get("duration", 6)),
            resolution=body.get("resolution", "720p"),
            ratio=body.get("aspect_ratio", "16:9"),
            business_id=body.get("client_business_id"),
            callback_url=body.get("callback_url"),
        )

    def _dated(self, site: Site, at: float) -> int:
        return int(site.wall(at))

    def _head(self, task: Task, look: Look, site: Site) -> Json:
        return {
            "id": task.task_id,
            "object": "generation.task",
            "model": task.order.model,
            "status": STATUS_WORDS[look.status] if look.word is None else look.word,
            "created_at": self._dated(site, task.created),
        }


def _flat_combination(body: Json) -> list[str]:
    """Rules that hold between fields (docs)."""
    flash = body["model"] == FLASH
    large = body.get("resolution", "720p").lower() == "1080p"
    found = []
    if not flash and body.get("duration", 6) == 4:
        found.append("duration must be one of 6, 10")
    if large and not flash:
        found.append("resolution must be 720p")
    if large and flash and body.get("aspect_ratio", "16:9") != "16:9":
        found.append("resolution 1080p is only supported with aspect_ratio 16:9")
    return found


class GeminiOmni(_Generations):
    """The model guide's shape."""

    name = "gemini_omni"

    def read(self, body: Json, scenario: Scenario) -> Order | Response:
        rules = {"model": one_of(MODEL), "mode": one_of(*scenario.modes), "input": _is_object}
        wrong = faults(body, rules, ("model", "mode", "input"))
        given = body.get("input")
        given = given if isinstance(given, dict) else {}
        if not wrong:
            wrong = ["input." + fault for fault in faults(given, INPUT_RULES, ("prompt",))]
        if scenario.closed is not False:
            wrong += unknown(body, rules) + unknown(given, INPUT_RULES)
        if wrong:
            return self.invalid("; ".join(wrong))
        return Order(
            gateway=self.name,
            model=MODEL,
            prompt=given["prompt"],
            seconds=int(given.get("duration", 6)),
            resolution="720P",
            ratio=given.get("aspect_ratio", "16:9"),
            mode=body["mode"],
        )

    def _dated(self, site: Site, at: float) -> str:
        moment = datetime.fromtimestamp(site.wall(at), UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def _head(self, task: Task, look: Look, site: Site) -> Json:
        return {
            "task_id": task.task_id,
            "model": task.order.model,
            "mode": task.order.mode,
            "status": STATUS_WORDS[look.status] if look.word is None else look.word,
            "created_at": self._dated(site, task.created),
        }


def _is_object(value: object) -> str | None:
    return None if isinstance(value, dict) else "must be an object"
