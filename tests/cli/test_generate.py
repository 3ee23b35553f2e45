"""`generate`: one video from a prompt to a path, and each way it can end."""

import json
import logging
from pathlib import Path

import pytest

from omni_async.cli import generate
from omni_async.cli.output import as_json

PROMPT = "a cat nobody else may read about"


def test_a_file(omni, scenario):
    """With -o the video is stored and its path is all of stdout; the id is told on stderr."""
    ran = omni("generate", PROMPT, "--emulator", "--scenario", scenario(), "-o", "cat.mp4", "-d", "6")
    assert (ran.code, ran.out) == (0, "cat.mp4\n")
    assert Path("cat.mp4").read_bytes()[4:8] == b"ftyp"
    assert ran.err.startswith("task task_")
    assert PROMPT not in ran.err


def test_a_folder(omni, scenario):
    """With a folder the file is named after the task."""
    Path("videos").mkdir()
    ran = omni("generate", PROMPT, "--emulator", "--scenario", scenario(), "-o", "videos", "--progress", "none")
    assert ran.code == 0
    assert Path(ran.out.strip()).parent == Path("videos")
    assert Path(ran.out.strip()).stem == ran.err.split()[1]


@pytest.mark.parametrize("name", ["jimmy", "gemini_omni", "toapis"])
def test_a_url_from_each_gateway(omni, scenario, name):
    """Without -o the URL is all of stdout."""
    ran = omni("generate", PROMPT, "--emulator", "--scenario", scenario(), "-g", name, "-q")
    assert ran.code == 0
    assert ran.out.startswith("http://127.0.0.1:")
    assert ran.err.startswith("task task_")
    assert ran.err.count("\n") == 1


def test_as_json(omni, scenario):
    """With --json stdout is one document with id, status and file."""
    ran = omni("generate", PROMPT, "--emulator", "--scenario", scenario(), "--json", "-o", "a.mp4", "--custom-id", "猫")
    document = ran.json
    assert document["status"] == "succeeded"
    assert document["task_id"].startswith("task_")
    assert document["file"] == "a.mp4"
    assert document["custom_id"] == "猫"
    assert document["seconds"] > 0
    assert "猫" in ran.out


def test_all_fields_reach_the_gateway(omni, gateway):
    """Every option is a field of the request."""
    running = gateway()
    Path("one.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(20))
    ran = omni(
        "generate", PROMPT, "--base-url", running.url, "--poll", "0.05", "-q", "--model", "gemini-omni",
        "--duration", 8, "--resolution", "1080p", "--aspect-ratio", "9:16", "--orientation", "portrait",
        "--image", "one.png", "--generation-type", "frame", "--mode", "image-to-video", "--extra", 'style="noir"',
        "--extra", "steps=3",
    )  # fmt: skip
    assert ran.code == 0
    seen = next(seen for seen in running.emulator.ledger.last_requests if seen.json and "prompt" in seen.json)
    image = seen.json.pop("image_urls")
    assert image[0].startswith(running.url)
    assert seen.json == {
        "model": "Gemini-Omini",
        "prompt": PROMPT,
        "duration": 8,
        "resolution": "1080p",
        "aspect_ratio": "9:16",
        "orientation": "portrait",
        "generation_type": "frame",
        "style": "noir",
        "steps": 3,
    }


def test_the_resuming_line_names_what_it_needs(omni, gateway):
    """The id comes with the very command that goes on, base URL and output included."""
    running = gateway()
    ran = omni("generate", PROMPT, "--base-url", running.url, "--poll", "0.05", "-o", "my cat.mp4", "-q")
    task_id = running.emulator.ledger.charges[0].task_id
    resume = f"omni-async wait {task_id} --gateway jimmy --base-url {running.url} -o 'my cat.mp4'"
    assert ran.err == f"task {task_id}; should this end early: {resume}\n"


def test_a_timeout_tells_how_to_go_on_and_wait_does(omni, gateway):
    """A wait that is over is exit code 1 and loses nothing: the line it prints fetches the video."""
    running = gateway(task_seconds=0.6)
    ran = omni("generate", PROMPT, "--base-url", running.url, "--poll", "0.05", "--timeout", "0.2", "-o", "cat.mp4")
    assert ran.code == 1
    assert "is still running after 0.2 s" in ran.err
    line = ran.err.splitlines()[-1].strip()
    assert line.startswith("omni-async wait task_")
    again = omni(*line.split()[1:], "--poll", "0.05")
    assert (again.code, again.out) == (0, "cat.mp4\n")
    assert len(running.emulator.ledger.charges) == 1


def test_a_failed_task(omni, scenario):
    """A task without a video is exit code 1, with the gateway's reason."""
    file = scenario(faults=[{"kind": "moderation"}])
    ran = omni("generate", PROMPT, "--emulator", "--scenario", file, "--json")
    assert ran.code == 1
    assert ran.json["status"] == "failed"
    assert ran.json["error"]["type"] == "TaskFailedError"
    assert "error: the gateway ended the task without a video" in ran.err


def test_a_refused_create(omni, scenario):
    """A create the gateway refuses has no id and no charge."""
    file = scenario(faults=[{"kind": "refuse_moderation"}])
    ran = omni("generate", PROMPT, "--emulator", "--scenario", file, "--json")
    assert ran.code == 1
    assert ran.json["status"] == "not_submitted"
    assert ran.json["error"]["may_have_charged"] is False
    assert ran.json["task_id"] is None


def test_an_uncertain_create_is_code_3_with_evidence(omni, scenario):
    """What may have been charged shows status and body, as far as a screen holds them."""
    file = scenario(faults=[{"kind": "html_200"}])
    ran = omni("generate", PROMPT, "--emulator", "--scenario", file)
    assert (ran.code, ran.out) == (3, "")
    assert "error: the create may have been charged" in ran.err
    assert "  status: 200\n  body: <!DOCTYPE html>" in ran.err
    assert "create: uncertain" in ran.err


def test_a_request_that_is_never_sent_has_its_document(omni):
    """Refused before anything is opened: its faults are there for programs, too."""
    ran = omni("generate", PROMPT, "--json", "--duration", "7")
    assert ran.code == 2
    assert ran.json["error"]["may_have_charged"] is False
    assert ran.json["error"]["faults"][0].startswith("duration: 7 is not possible")


def test_an_uncertain_create_as_json(omni, scenario):
    """The document says uncertain, and holds no body."""
    file = scenario(faults=[{"kind": "drop_after_accept"}])
    ran = omni("generate", PROMPT, "--emulator", "--scenario", file, "--json")
    assert ran.code == 3
    assert ran.json["status"] == "uncertain"
    assert "body" not in ran.json["error"]["evidence"]


def test_a_video_that_cannot_be_stored(omni, scenario):
    """What is paid and not stored says so, with the video's status as it is."""
    Path("file").write_text("")
    ran = omni("generate", PROMPT, "--emulator", "--scenario", scenario(), "--json", "-o", "file/cat.mp4")
    assert ran.code in (1, 2)
    assert ran.err.splitlines()[-1].startswith("error: ")


def test_an_existing_file_is_refused_before_paying(omni, gateway):
    """Nothing is sent where the file is there already; --overwrite replaces it."""
    running = gateway()
    Path("cat.mp4").write_text("mine")
    words = ("generate", PROMPT, "--base-url", running.url, "--poll", "0.05", "-o", "cat.mp4")
    ran = omni(*words)
    assert ran.code == 2
    assert "--overwrite replaces it" in ran.err
    assert not running.emulator.ledger.charges
    assert omni(*words, "--overwrite").code == 0


def test_all_faults_at_once(omni):
    """Each fault has its line and the option's name; nothing is sent."""
    ran = omni("generate", PROMPT, "-d", "5", "-i", "https://a/1.png", "-i", "https://a/2.png", "-g", "jimmy")
    assert ran.code == 2
    assert ran.err.startswith("error: nothing was sent, the request has 2 faults:\n")
    assert "\n  --duration: 5 is not possible with Gemini-Omini; allowed: 4, 6, 8, 10\n" in ran.err
    assert "\n  --image: 2 images are not possible" in ran.err


def test_no_key(omni, monkeypatch):
    """A missing key names the variable and the way without one."""
    monkeypatch.delenv("JIMMYAI_API_KEY")
    ran = omni("generate", PROMPT)
    assert ran.code == 2
    assert ran.err == (
        "error: no API key for gateway jimmy: set the environment variable JIMMYAI_API_KEY, "
        "or add --emulator to try it without a key\n"
    )


def test_a_wrong_key(omni, gateway):
    """A key the gateway refuses is a failure, and is not shown."""
    ran = omni("generate", PROMPT, "--base-url", gateway(keys=["another"]).url)
    assert ran.code == 1
    assert "error: " in ran.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--emulator", "--base-url", "http://127.0.0.1:1"], "leave out --base-url"),
        (["--scenario", "none.json"], "add --emulator"),
        (["--emulator", "--scenario", "none.json"], "scenario none.json: No such file"),
        (["--emulator", "--scenario", "bad.json"], "did you mean 'task_seconds'"),
    ],
)
def test_options_that_exclude_each_other(omni, words, told):
    """Options that make no sense together are refused in the command line's own words."""
    Path("bad.json").write_text('{"task_second": 1}')
    ran = omni("generate", PROMPT, *words)
    assert ran.code == 2
    assert told in ran.err


def test_a_bug_is_one_line_without_what_it_held(omni, monkeypatch, scenario):
    """An unexpected error tells its type and place, never its message."""

    async def broken(*_args):
        raise KeyError(PROMPT)

    monkeypatch.setattr(generate.VideoJob, "run", broken)
    ran = omni("generate", PROMPT, "--emulator", "--scenario", scenario())
    assert ran.code == 1
    assert ran.err.startswith("error: KeyError at test_generate.py:")
    assert PROMPT not in ran.err


def test_warnings_of_the_library_become_lines(omni, scenario, caplog):
    """What the library logs is shown once, and logging is left as it was."""
    before = list(logging.getLogger("omni_async").handlers)
    ran = omni("generate", PROMPT, "--emulator", "--scenario", scenario(), "-m", "omni-10s", "-d", "8", "-q")
    assert ran.err.count("warning: gateway jimmy: duration: omni-10s ignores it and bills 10 s\n") == 1
    after = list(logging.getLogger("omni_async").handlers)
    assert len(after) <= len(before) + 1


class TestDryRun:
    """`--dry-run` shows the request and sends nothing."""

    def test_the_request_and_the_curl_line(self, omni, monkeypatch):
        """Method, URL, headers with the key hidden, body with letters as they are, and the same for a shell."""
        monkeypatch.delenv("JIMMYAI_API_KEY")
        ran = omni("generate", "a 'cat' $HOME 猫", "--dry-run", "-d", "6")
        assert ran.code == 0
        assert ran.err == ""
        lines = ran.out.splitlines()
        assert lines[0] == "POST https://www.jimmyai.cn/api/open-api/v1/gemini/omni/videos"
        assert "Authorization: Bearer $JIMMYAI_API_KEY" in lines
        assert '  "prompt": "a \'cat\' $HOME 猫",' in lines
        assert '  -H "Authorization: Bearer $JIMMYAI_API_KEY" \\' in lines
        assert lines[-1] == "# dry run: nothing was sent, nothing was charged"

    def test_the_curl_line_pays_for_the_same_when_pasted(self, omni, gateway, monkeypatch):
        """Run by a shell, the curl line is accepted by the gateway, with the key from the environment."""
        import shutil
        import subprocess

        from .conftest import KEY, PATIENCE

        if shutil.which("curl") is None:
            pytest.skip("no curl here")
        running = gateway(keys=[KEY])
        ran = omni("generate", 'it\'s 猫 "$HOME" `id`', "--dry-run", "--json", "--base-url", running.url)
        answer = subprocess.run(["sh", "-c", ran.json["curl"]], capture_output=True, text=True, timeout=PATIENCE)
        assert json.loads(answer.stdout)["code"] == "20000"
        assert running.emulator.ledger.charges[0].prompt == 'it\'s 猫 "$HOME" `id`'

    def test_it_is_what_a_real_run_sends(self, omni, gateway):
        """The body shown is the body sent."""
        running = gateway()
        words = ("generate", PROMPT, "-d", "8", "-a", "9:16", "--base-url", running.url)
        shown = omni(*words, "--dry-run", "--json").json
        omni(*words, "--poll", "0.05", "-q")
        sent = next(seen for seen in running.emulator.ledger.last_requests if seen.method == "POST")
        assert shown["body"] == sent.json
        assert shown["url"] == running.url + sent.path
        for name in ("User-Agent", "Accept", "Content-Type"):
            assert shown["headers"][name] == sent.headers[name]

    def test_the_idempotency_key_follows_from_the_custom_id(self, omni, gateway, monkeypatch):
        """On toapis the body shown holds the very key a real run with that custom id sends."""
        monkeypatch.setenv("TOAPIS_API_KEY", "any")
        running = gateway()
        words = ("generate", PROMPT, "-g", "toapis", "--base-url", running.url, "--custom-id", "row-7")
        shown = omni(*words, "--dry-run", "--json").json["body"]
        omni(*words, "--poll", "0.05", "-q")
        sent = next(seen for seen in running.emulator.ledger.last_requests if seen.method == "POST")
        assert shown == sent.json

    def test_the_idempotency_key_follows_from_the_content_of_local_files(self, omni, gateway, monkeypatch):
        """Although the body shown has a stand-in where the real one has the uploaded file's URL."""
        monkeypatch.setenv("TOAPIS_API_KEY", "any")
        Path("lake.png").write_bytes(b"x")
        running = gateway()
        words = ("generate", PROMPT, "-g", "toapis", "-i", "lake.png", "--base-url", running.url, "--custom-id", "7")
        shown = omni(*words, "--dry-run", "--json").json["body"]
        omni(*words, "--poll", "0.05", "-q")
        sent = next(seen.json for seen in running.emulator.ledger.last_requests if seen.json)
        assert shown["client_business_id"] == sent["client_business_id"]
        assert shown != sent

    def test_without_custom_id_the_idempotency_key_is_new_each_time(self, omni):
        """Two pastes of two dry runs must not be one video."""
        words = ("generate", PROMPT, "-g", "toapis", "--dry-run", "--json")
        ids = {omni(*words).json["body"]["client_business_id"] for _ in range(2)}
        assert len(ids) == 2

    def test_local_references_would_be_uploaded_first(self, omni):
        """A file is named, with the place its URL would take."""
        Path("lake.png").write_bytes(b"x")
        ran = omni("generate", PROMPT, "-i", "lake.png", "--dry-run")
        assert ran.out.startswith("# lake.png would be uploaded first; its URL takes the place of <URL of lake.png>\n")
        assert '"<URL of lake.png>"' in ran.out

    def test_warnings(self, omni):
        """What the gateway bills otherwise than asked is said."""
        ran = omni("generate", PROMPT, "-m", "omni-10s", "-d", "4", "-r", "4k", "--dry-run")
        assert "# warning: duration: omni-10s ignores it and bills 10 s" in ran.out
        assert "# warning: resolution: omni-10s ignores it and bills 720p" in ran.out

    def test_faults(self, omni):
        """What a real run refuses, a dry run refuses."""
        assert omni("generate", "", "--dry-run").code == 2


def test_json_leaves_letters_alone():
    """Results are read by people, too."""
    assert as_json({"猫": "é"}, indent=None) == '{"猫": "é"}'
