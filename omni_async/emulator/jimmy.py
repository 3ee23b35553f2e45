"""The `jimmy` gateway: an envelope around everything, errors by code as well as by HTTP status (seed)."""

from collections.abc import Mapping

from .checks import FILLED, RATIO, Rule, faults, one_of, text, texts, unknown, whole
from .gateway import VAGUE, Gateway, Site
from .response import Json, Response, json_response
from .scenario import Scenario
from .tasks import Look, Order, Task
from .uploads import MEDIA, Upload

CREATE = "/api/open-api/v1/gemini/omni/videos"
QUERY = "/api/open-api/v1/videos/{task_id}"
UPLOAD = "/api/open-api/v1/files/upload"
USER_BALANCE = "/api/open-api/v1/user/balance"
KEY_BALANCE = "/api/open-api/v1/key/balance"

STANDARD, TEN_SECONDS = "Gemini-Omini", "omni-10s"
MODELS = {STANDARD: STANDARD, "Omni-Flash-Ext": STANDARD, "gemini-omni": STANDARD, TEN_SECONDS: TEN_SECONDS}
DURATIONS = (4, 6, 8, 10)
REFERENCES = 7  # of omni-10s
NO_CAP = 1_000_000.0

# What the seed's schema says; what only its prose says is in `_combination`.
RULES: dict[str, Rule] = {
    "model": one_of(*MODELS),
    "prompt": text,
    "duration": whole,
    "resolution": one_of("720p", "1080p", "4k"),
    "aspect_ratio": text,
    "orientation": one_of("landscape", "portrait"),
    "image_urls": texts,
    "images": texts,
    "generation_type": one_of("frame", "reference"),
    "video_urls": texts,
}

STATUS_WORDS = {
    "queued": "queued",
    "running": "processing",
    "completed": "completed",
    "failed": "failed",
    "canceled": "canceled",
}


def envelope(status: int, code: str, msg: str, **headers: str) -> Response:
    """A refusal; without `data`, which the seed's schema wants to be an object where it is there."""
    return json_response(status, {"code": code, "msg": msg}, **headers)


def fine(data: Json, *, task_id: str | None = None) -> Response:
    """A success (seed: code "20000", msg "ok")."""
    return json_response(200, {"code": "20000", "msg": "ok", "data": data}, task_id=task_id)


def _references(body: Json) -> list[str]:
    return body.get("image_urls") or body.get("images") or []


def _ratio(body: Json) -> str:
    """aspect_ratio wins over orientation (seed)."""
    return body.get("aspect_ratio") or ("9:16" if body.get("orientation") == "portrait" else "16:9")


def _ten_seconds(body: Json) -> str | None:
    count = len(_references(body)) + len(body.get("video_urls") or [])
    return f"omni-10s 最多支持 {REFERENCES} 个参考素材，收到 {count} 个" if count > REFERENCES else None


def _images(body: Json) -> str | None:
    count = len(_references(body))
    if body.get("generation_type") == "frame":
        return None if count == 1 else f"generation_type=frame 只能传 1 张图片，收到 {count} 张"
    return None if count in (0, 1, 3) else f"generation_type=reference 只能传 1 张或 3 张图片，收到 {count} 张"


def _video(body: Json) -> str | None:
    videos = body.get("video_urls") or []
    if len(videos) > 1:
        return f"video_urls 最多支持 1 个视频，收到 {len(videos)} 个"
    return "duration 与 video_urls 不可以同时传入" if videos and "duration" in body else None


def _duration(body: Json) -> str | None:
    return None if body.get("duration", 6) in DURATIONS else "duration 仅支持 4, 6, 8, 10"


def _combination(body: Json) -> str | None:
    """The first rule of the seed's prose that the body breaks."""
    if not FILLED.search(body["prompt"]):
        return "prompt 不能为空"
    if not RATIO.fullmatch(_ratio(body)):
        return "aspect_ratio 格式错误，例如 16:9"
    if body["model"] == TEN_SECONDS:
        return _ten_seconds(body)
    return _images(body) or _video(body) or _duration(body)


class Jimmy(Gateway):
    """Jimmy AI's open API."""

    name = "jimmy"
    family = ("jimmy",)
    moderated = ("", "PROVIDER_MODERATION_ERROR: the prompt or an input violates the content policy")
    failed = ("", "Read timed out")
    upload_types = MEDIA
    upload_bytes = 100 * 1024 * 1024
    limit_words: Mapping[str, str] = {
        VAGUE: "请求过于频繁，请稍后再试",
        "requests_per_second": "请求过于频繁，请稍后再试：每秒请求数超限",
        "creates_per_second": "请求过于频繁，请稍后再试：每秒创建任务数超限",
        "http_concurrency": "请求过于频繁，请稍后再试：并发请求数超限",
        "running_tasks": "请求过于频繁，请稍后再试：进行中的任务数超限",
    }

    def read(self, body: Json, scenario: Scenario) -> Order | Response:
        wrong = faults(body, RULES, ("model", "prompt"))
        if scenario.closed:
            wrong += unknown(body, RULES)
        if wrong:
            return self.invalid("参数错误: " + "; ".join(wrong))
        broken = _combination(body)
        if broken is not None:
            return envelope(200, "20002", "参数错误: " + broken)
        return self._order(body)

    def _order(self, body: Json) -> Order:
        fixed = body["model"] == TEN_SECONDS
        return Order(
            gateway=self.name,
            model=MODELS[body["model"]],
            prompt=body["prompt"],
            seconds=10 if fixed else int(body.get("duration", 6)),
            resolution="720p" if fixed else body.get("resolution", "720p"),
            ratio=_ratio(body),
        )

    def _data(self, task: Task, look: Look, site: Site) -> Json:
        return {
            "task_id": task.task_id,
            "status": look.word or STATUS_WORDS[look.status],
            "model": task.order.model,
            "created_at": int(site.wall(task.created)),
        }

    def created(self, task: Task, look: Look, site: Site) -> Response:
        return fine(self._data(task, look, site), task_id=task.task_id)

    def shown(self, task: Task, look: Look, site: Site, scenario: Scenario) -> Response:
        data = self._data(task, look, site)
        if look.progress is not None:
            data["progress"] = look.progress
        if look.completed is not None:
            data["completed_at"] = int(site.wall(look.completed))
        if look.url is not None:
            data["result"] = {"video_url": look.url if scenario.relative_urls else site.base + look.url}
        if look.error is not None:
            data["error_message"] = look.error[1]
        return fine(data)

    def balance(self, of: str, spent: float, total: float | None) -> Response:
        if of == "key":
            quota = total or 0.0  # 0 = no cap (docs)
            left = max(0.0, quota - spent)
            quotas = {"total_quota": quota, "used_quota": spent, "available_quota": left}
            return fine({"name": "emulator", **quotas, "unlimited": total is None})
        total = NO_CAP if total is None else total
        return fine({"balance": total, "used_coin": spent, "available": max(0.0, total - spent)})

    def uploaded(self, url: str, upload: Upload) -> Response:
        size = len(upload.content or b"")
        mime_type = MEDIA[upload.extension]
        return fine({"url": url, "filename": upload.filename, "size": size, "mime_type": mime_type})

    def wrong_type(self, extension: str) -> Response:
        return envelope(200, "20002", "不支持的文件类型")

    def too_large(self) -> Response:
        return envelope(413, "20002", "文件大小超过 100MB 限制")

    def invalid(self, message: str) -> Response:
        return envelope(400, "20002", message)

    def unauthorised(self) -> Response:
        return envelope(401, "20001", "API Key 缺失、错误或已过期", WWW_Authenticate="Bearer")

    def limited(self, message: str, *, hidden: bool, headers: Mapping[str, str]) -> Response:
        payload = {"code": "20009", "msg": message, "data": None}
        return json_response(200 if hidden else 429, payload, **headers)

    def poor(self) -> Response:
        return envelope(200, "20003", "余额不足，请充值后重试")

    def unknown_task(self) -> Response:
        return envelope(404, "20004", "任务不存在")

    def unknown_path(self, status: int, message: str) -> Response:
        return envelope(status, "20004", message)

    def broken(self) -> Response:
        return envelope(500, "-1", "服务器内部错误，请稍后重试")

    def refused_by_moderation(self) -> Response:
        return envelope(200, "20002", "PROVIDER_MODERATION_ERROR: 提示词违反内容政策")

    def without_id(self, payload: Json) -> Json:
        data = payload.get("data", {})
        return {**payload, "data": {key: value for key, value in data.items() if key != "task_id"}}
