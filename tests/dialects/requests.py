"""Requests that hypothesis makes: sound, doubtful and wrong ones mixed."""

from hypothesis import strategies as st

from omni_async.models import VideoRequest

IMAGE, VIDEO = "https://a.example/1.png", "https://a.example/2.mp4"
SOUND = {
    "prompt": st.sampled_from(["cat", "雨夜的猫", "a\u2028b"]),
    "model": st.none() | st.sampled_from(["Omni-Flash-Ext", "omni-10s", "gemini_omni", "gemini_omni_flash"]),
    "duration": st.none() | st.sampled_from([4, 5, 6, 8, 10]),
    "resolution": st.none() | st.sampled_from(["720p", "720P", "1080p", "4K"]),
    "aspect_ratio": st.none() | st.sampled_from(["16:9", "9:16"]),
    "orientation": st.none() | st.sampled_from(["landscape", "portrait"]),
    "image_urls": st.integers(0, 3).map(lambda count: (IMAGE,) * count),
    "images": st.just(()) | st.integers(0, 3).map(lambda count: (IMAGE,) * count),
    "video_urls": st.just(()) | st.just((VIDEO,)),
    "generation_type": st.none() | st.sampled_from(["frame", "reference"]),
    "mode": st.none(),
    "custom_id": st.none() | st.just("row-1"),
    "extra": st.just({}),
    "metadata": st.just({"row": 1}),
}
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 12),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(
        [
            " ",
            "\ud800",
            "image-to-video",
            "R2V",
            "data:image/png;base64,AA",
            ("x",) * 9,
            (None,),
            {"a": 1},
            {"input": 5},
        ]
    ),
)


@st.composite
def requests_(draw):
    """A sound request of which up to two fields are then replaced by anything."""
    fields = {name: draw(strategy) for name, strategy in SOUND.items() if draw(st.booleans()) or name == "prompt"}
    for name in draw(st.lists(st.sampled_from(list(SOUND)), max_size=2)):
        fields[name] = draw(ODD)
    return VideoRequest(**fields)


requests = requests_()
