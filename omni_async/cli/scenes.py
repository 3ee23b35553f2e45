"""The demo's videos: every mode and every model of the three gateways, as somebody might really ask for them."""

from pathlib import Path
from typing import Any

import attrs

from ..dialects.rules import EDIT, IMAGE, REFERENCE, modes_of, ratio
from ..models import VideoRequest

LOCAL_IMAGE = "<local image>"
"""Stands for a picture on this machine, which is uploaded first."""
REFERENCES = "https://example.com/omni-demo"
"""Where the other references would be; the emulator does not fetch them."""


@attrs.frozen
class Scene:
    """One video of the demo.

    Args:
        name: Short, for file names and the screen.
        gateway: Who makes it.
        fields: The request's fields as they are sent.
    """

    name: str
    gateway: str
    fields: dict[str, Any]

    @property
    def mode(self) -> str:
        """What kind of request it is."""
        return self.fields.get("mode") or modes_of(VideoRequest(**self.fields))[0]

    @property
    def seconds(self) -> int:
        """How long the video becomes."""
        usual = 10 if self.fields.get("model") == "omni-10s" else 6
        return int(self.fields.get("duration", usual))

    @property
    def ratio(self) -> str:
        """Its aspect ratio."""
        return ratio(VideoRequest(**self.fields)) or "16:9"

    @property
    def uploads(self) -> int:
        """How many local files go up first."""
        return sum(link == LOCAL_IMAGE for link in self.fields.get("image_urls", ()))

    def request(self, image: Path, *, metadata: dict[str, Any]) -> VideoRequest:
        """What is submitted, with a real path in place of the stand-in."""
        fields = dict(self.fields)
        if "image_urls" in fields:
            fields["image_urls"] = tuple(str(image) if link == LOCAL_IMAGE else link for link in fields["image_urls"])
        return VideoRequest(**fields, metadata=metadata)


def _pictures(*names: str) -> tuple[str, ...]:
    return tuple(f"{REFERENCES}/{name}.jpg" for name in names)


SCENES: tuple[Scene, ...] = (
    Scene(
        "neon-cat",
        "jimmy",
        {
            "model": "Gemini-Omini",
            "prompt": "A cat running through a neon rainy street, cinematic low-angle tracking shot, "
            "reflections rippling in every puddle",
            "duration": 6,
            "aspect_ratio": "16:9",
        },
    ),
    Scene(
        "misty-water-town",
        "jimmy",
        {
            "model": "Omni-Flash-Ext",
            "prompt": "清晨薄雾中的江南水乡，乌篷船缓缓穿过石拱桥，水墨质感，一镜到底",
            "duration": 4,
            "orientation": "portrait",
        },
    ),
    Scene(
        "desert-train",
        "jimmy",
        {
            "model": "gemini-omni",
            "prompt": "A night train crosses a salt desert under the Milky Way, its lit windows the only warm light, "
            "slow aerial pull-back, anamorphic lens",
            "duration": 8,
            "resolution": "4k",
            "aspect_ratio": "21:9",
        },
    ),
    Scene(
        "paper-lanterns",
        "jimmy",
        {
            "prompt": "以这张图为首帧：千盏孔明灯从湖面升起，镜头随灯火缓慢上摇，暖光映在水里",
            "duration": 6,
            "generation_type": "frame",
            "image_urls": (LOCAL_IMAGE,),
        },
    ),
    Scene(
        "three-friends",
        "jimmy",
        {
            "prompt": "The three characters share hot noodles at a tiny street stall in the snow, steam and laughter, "
            "handheld close-ups, shallow depth of field",
            "duration": 10,
            "resolution": "1080p",
            "aspect_ratio": "1:1",
            "generation_type": "reference",
            "image_urls": _pictures("mei", "tomas", "ayo"),
        },
    ),
    Scene(
        "summer-to-winter",
        "jimmy",
        {
            "prompt": "Turn the summer meadow into deep winter: snow on the firs, breath in the air, same camera move",
            "video_urls": (f"{REFERENCES}/meadow.mp4",),
        },
    ),
    Scene(
        "cyberpunk-runner",
        "jimmy",
        {
            "model": "omni-10s",
            "prompt": "参考素材中的角色在赛博朋克街头奔跑，霓虹招牌掠过镜面头盔，电影感跟拍",
            "aspect_ratio": "16:9",
            "image_urls": _pictures("runner-front", "runner-side", "helmet", "street", "signs"),
        },
    ),
    Scene(
        "city-sunrise",
        "gemini_omni",
        {
            "prompt": "A cinematic city sunrise with soft fog and moving traffic.",
            "duration": 10,
            "aspect_ratio": "16:9",
        },
    ),
    Scene(
        "lighthouse",
        "gemini_omni",
        {
            "prompt": "The lighthouse wakes: its beam sweeps over a storm sea, gulls tumble through the light",
            "duration": 6,
            "aspect_ratio": "9:16",
            "mode": IMAGE,
            "image_urls": _pictures("lighthouse"),
        },
    ),
    Scene(
        "opera-mask",
        "gemini_omni",
        {
            "prompt": "川剧变脸演员在旋转的灯影中转身，脸谱三度变换，保持参考图中的服饰与妆容，慢动作特写",
            "duration": 6,
            "mode": REFERENCE,
            "image_urls": _pictures("mask-red", "mask-black", "costume"),
        },
    ),
    Scene(
        "clay-puppets",
        "gemini_omni",
        {
            "prompt": "Keep the dance, but make both dancers clay puppets on a tiny lamplit stage, stop-motion jitter",
            "duration": 6,
            "mode": EDIT,
            "video_urls": (f"{REFERENCES}/dance.mp4",),
        },
    ),
    Scene(
        "glacier-drone",
        "toapis",
        {
            "model": "gemini_omni",
            "prompt": "A drone dives off a glacier's edge and skims turquoise melt water, one take, dawn light",
            "duration": 10,
            "aspect_ratio": "16:9",
        },
    ),
    Scene(
        "perfume-bottle",
        "toapis",
        {
            "model": "gemini_omni_flash",
            "prompt": "Product shot: the bottle rises out of black silk, a single drop falls in macro slow motion",
            "duration": 4,
            "aspect_ratio": "9:16",
            "image_urls": _pictures("bottle"),
        },
    ),
    Scene(
        "bamboo-duel",
        "toapis",
        {
            "model": "gemini_omni_flash",
            "prompt": "竹林之巅，两位白衣剑客踏竹而行，衣袂与竹叶齐飞，逆光，武侠电影质感",
            "duration": 6,
            "resolution": "1080p",
            "aspect_ratio": "16:9",
        },
    ),
)
