"""`demo`: every mode and model, with a summary whose figures are the emulator's."""

import json
import shutil
import subprocess
from pathlib import Path

import attrs
import pytest

from omni_async.cli import demo, summary
from omni_async.cli.scenes import SCENES
from omni_async.dialects import GATEWAYS, dialect_named
from omni_async.dialects.rules import MODES, find_model, modes_of
from omni_async.emulator import InjectedFault

from .conftest import PATIENCE

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture
def quick(monkeypatch):
    """The demo with tasks that take no time to speak of."""
    scenario = attrs.evolve(demo.SCENARIO, task_seconds=0.3, latency=0.0, queue_seconds=0.0)
    monkeypatch.setattr(demo, "SCENARIO", scenario)
    return scenario


def test_the_scenes_cover_every_mode_and_model():
    """Each model of each gateway, an alias, each mode, 1 and 3 and more references, Chinese prompts, one upload."""
    dialects = {name: dialect_named(name) for name in GATEWAYS}
    models = {(scene.gateway, scene.fields.get("model")) for scene in SCENES}
    for name, dialect in dialects.items():
        used = {find_model(dialect.models, model).name for gateway, model in models if gateway == name}
        assert used == {spec.name for spec in dialect.models}
    assert ("jimmy", "Omni-Flash-Ext") in models
    assert (
        {scene.mode for scene in SCENES}
        == {scene.mode for scene in SCENES if scene.gateway == "gemini_omni"}
        == set(MODES)
    )
    references = {len(scene.fields.get("image_urls", ())) for scene in SCENES if scene.mode == MODES[2]}
    assert {1, 3} < references
    assert sum(not scene.fields["prompt"].isascii() for scene in SCENES) >= 4
    assert sum(scene.uploads for scene in SCENES) == 1
    assert f"Make {len(SCENES)} videos" in demo.demo.__doc__
    assert f"makes {len(SCENES)} videos" in README.read_text("utf-8")
    assert len({scene.name for scene in SCENES}) == len(SCENES)


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_each_scene_is_what_its_gateway_allows(scene, tmp_path):
    """No fault and no warning, and the mode told is the one the fields mean."""
    image = tmp_path / "lake.png"
    request = scene.request(image, metadata={})
    checked = dialect_named(scene.gateway).check(request)
    assert (checked.faults, checked.warnings) == ((), ())
    assert scene.mode in modes_of(request)


def test_it_leaves_videos_and_a_summary(omni, quick, monkeypatch):
    """Without a key: 14 playable files, a table, figures that add up; run again it replaces its own files."""
    monkeypatch.delenv("JIMMYAI_API_KEY")
    ran = omni("demo", "--progress", "none")
    assert ran.code == 0
    files = sorted(Path("omni-demo").glob("*.mp4"))
    assert [file.name for file in files] == [f"{n:02}-{scene.name}.mp4" for n, scene in enumerate(SCENES, 1)]
    assert all(file.read_bytes()[4:8] == b"ftyp" for file in files)
    told = json.loads(Path("omni-demo/summary.json").read_text(encoding="utf-8"))
    totals = told["totals"]
    assert (totals["asked"], totals["done"], totals["charged"], totals["paid_twice"]) == (14, 14, 14, 0)
    assert sum(sum(video["requests"].values()) for video in told["videos"]) == totals["requests_total"]
    assert totals["peak_tasks_running"] > 3
    table = Path("omni-demo/summary.md").read_text(encoding="utf-8")
    assert all(scene.fields["prompt"] in table for scene in SCENES)
    assert "14 of 14 videos in " in ran.out
    assert "14 tasks charged for 14 videos asked: 0 paid twice\n1 answer was lost on purpose" in ran.out
    assert "export JIMMYAI_API_KEY" in ran.out
    assert omni("demo", "-q").code == 0


def test_as_json(omni, quick):
    """With --json stdout is the summary."""
    ran = omni("demo", "--json", "--out", "deep/er", "-q")
    assert ran.json == json.loads(Path("deep/er/summary.json").read_text(encoding="utf-8"))


def test_one_failed_video_is_told_and_does_not_end_the_others(omni, quick, monkeypatch):
    """A failure is exit code 1, an error line and a gap in the table."""
    faults = (InjectedFault("fail", prompt="neon"),)
    monkeypatch.setattr(demo, "SCENARIO", attrs.evolve(quick, faults=faults))
    ran = omni("demo", "--progress", "plain")
    assert ran.code == 1
    assert "error: the gateway ended the task without a video" in ran.err
    assert "13 of 14 videos" in ran.out
    assert "lost on purpose" not in ran.out
    assert "| – | jimmy" in Path("omni-demo/summary.md").read_text(encoding="utf-8")


def test_a_file_in_the_way(omni):
    """A folder that is a file is refused."""
    Path("omni-demo").write_text("")
    ran = omni("demo")
    assert (ran.code, ran.err) == (2, "error: omni-demo is a file: give --out a folder\n")


def test_a_folder_that_cannot_be_made(omni):
    """What the disk says is one line."""
    Path("here").write_text("")
    ran = omni("demo", "--out", "here/below")
    assert ran.code == 1
    assert ran.err == "error: Not a directory: here/below\n"


def test_the_picture_is_a_real_png(tmp_path):
    """What is uploaded is a picture."""
    file = tmp_path / "lake.png"
    file.write_bytes(demo.small_png())
    if shutil.which("ffprobe") is None:
        pytest.skip("no ffprobe here")
    words = ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name,width,height", "-of", "csv=p=0", str(file)]
    assert subprocess.run(words, capture_output=True, text=True, timeout=PATIENCE).stdout == "png,96,54\n"


def test_windows_sets_variables_in_its_own_way(monkeypatch, tmp_path):
    """The line to copy is one the machine's own shell takes."""
    monkeypatch.setattr(summary.os, "name", "nt")
    totals = {
        "done": 1, "asked": 1, "seconds": 1.0, "peak_tasks_running": 1, "requests": {}, "requests_total": 0,
        "charged": 1, "paid_twice": 0, "answers_lost_on_purpose": 0,
    }  # fmt: skip
    assert "  set JIMMYAI_API_KEY=…" in list(summary.sentences({"totals": totals}, "here"))
