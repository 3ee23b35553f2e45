"""The program as a whole: help, version, usage errors, and what is told where the extra is missing."""

import subprocess
import sys
import threading

import pytest

import omni_async
from omni_async.cli import _leave_quietly, app, main

from .conftest import PATIENCE, command, environment

COMMANDS = (
    "generate",
    "batch",
    "sweep",
    "status",
    "wait",
    "upload",
    "balance",
    "journal",
    "settle",
    "emulator",
    "demo",
)


def test_without_arguments_it_shows_help(omni):
    """A first call with nothing shows what there is and how to start."""
    ran = omni()
    assert ran.code == 0
    assert all(name in ran.out for name in COMMANDS)
    assert "omni-async demo" in ran.out
    assert "Exit codes: 0 all done" in ran.out


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_has_help_with_examples(omni, name):
    """Help of a command shows what it does and examples that fit 80 columns."""
    ran = omni(name, "--help")
    assert ran.code == 0
    assert "Examples:" in ran.out
    assert f"omni-async {name}" in ran.out


def test_version(omni):
    """The version is the package's."""
    assert omni("--version") == type(omni("--version"))(0, f"omni-async {omni_async.__version__}\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_completion_script_is_printed(shell):
    """For each shell, and it asks this very program."""
    env = environment(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")  # the shell is named instead
    ran = subprocess.run(command("--show-completion", shell), capture_output=True, text=True, env=env, timeout=PATIENCE)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert f"_OMNI_ASYNC_COMPLETE=complete_{shell}" in ran.stdout
    assert "omni-async" in ran.stdout


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("omni-async ba", ["batch", "balance"]),
        ("omni-async generate --gateway to", ["toapis"]),
        ("omni-async generate --model gemini_omni_", ["gemini_omni_flash"]),
        ("omni-async generate --resolution 1", ["1080p"]),
        ("omni-async generate --mode video-", ["video-edit"]),
        ("omni-async journal --state unc", ["uncertain"]),
    ],
)
def test_a_shell_is_told_how_a_line_can_go_on(line, offered, monkeypatch, capsys):
    """What the installed script asks for is answered with commands, options and their values."""
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    for name, value in {"_OMNI_ASYNC_COMPLETE": "complete_bash", **asked}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as leaving:
        main([])
    told = capsys.readouterr()
    assert (leaving.value.code, told.out.split(), told.err) == (0, offered, "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bogus"], "error: No such command 'bogus'; see omni-async --help\n"),
        (["generate"], "error: Missing argument 'PROMPT'; see omni-async generate --help\n"),
        (["generate", "a", "--gateway", "x"], "omni-async generate --help"),
        (["wait"], "omni-async wait --help"),
        (["generate", "a", "--extra", "x"], "is not KEY=JSON"),
        (["generate", "a", "--extra", "x=y"], "is not KEY=JSON"),
        (["generate", "a", "--extra", "=1"], "is not KEY=JSON"),
    ],
)
def test_usage_errors_are_one_line_and_code_2(omni, words, told):
    """What cannot be carried out as given is told in one line with the place to read on."""
    ran = omni(*words)
    assert (ran.code, ran.out) == (2, "")
    assert told in ran.err
    assert ran.err.startswith("error: ")
    assert ran.err.count("\n") == 1


def test_an_abort_is_130(monkeypatch, omni):
    """A Ctrl-C that typer turns into its Abort has the exit code of an interrupt."""

    def aborted(**_options):
        raise app.typer.Abort

    monkeypatch.setattr(app, "app", aborted)
    assert omni("demo").code == 130


def test_in_a_thread_signals_are_left_alone():
    """Called outside the main thread it works and installs no handler."""
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["--version"])))
    thread.start()
    thread.join(10)
    assert codes == [0]


def test_an_early_ctrl_c_leaves_quietly():
    """Before the event loop runs, Ctrl-C is an exit code and no traceback."""
    import signal

    _leave_quietly()
    with pytest.raises(SystemExit) as leaving:
        signal.raise_signal(signal.SIGINT)
    assert leaving.value.code == 130


@pytest.mark.parametrize("name", ["typer", "rich"])
@pytest.mark.parametrize(
    "how", ["import sys; sys.argv[0]='x'; from omni_async.cli import main; sys.exit(main())", "-m"]
)
def test_without_the_extra_one_line_says_what_to_install(name, how, tmp_path):
    """Where typer or rich is missing, one line tells, also for `python -m`."""
    blocker = f"import sys\nsys.modules[{name!r}] = None\n"
    (tmp_path / "sitecustomize.py").write_text(blocker)
    env = environment()
    env["PYTHONPATH"] += f":{tmp_path}"
    words = ["-m", "omni_async", "demo"] if how == "-m" else ["-c", how]
    ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env, timeout=PATIENCE)
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == "omni-async: the command line needs typer and rich: pip install 'omni-async[cli]'\n"


def test_the_library_does_not_load_the_command_line():
    """`import omni_async` needs neither typer nor rich."""
    look = "import omni_async, sys; print([m for m in ('typer', 'rich', 'omni_async.cli') if m in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, env=environment(), timeout=PATIENCE
    )
    assert ran.stdout == "[]\n"


def test_python_m_is_the_same_program():
    """`python -m omni_async` speaks of itself as omni-async."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-m", "omni_async", "bogus"],
        capture_output=True, text=True, env=environment(), timeout=PATIENCE,
    )  # fmt: skip
    assert ran.returncode == 2
    assert ran.stderr == "error: No such command 'bogus'; see omni-async --help\n"


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_standard_files(closed, tmp_path):
    """A program started without stdin, stdout or stderr, as some schedulers do, works all the same."""
    words = (
        f"{sys.executable} -W error -m omni_async generate cat --emulator -o cat.mp4 -q --scenario quick.json {closed}"
    )
    (tmp_path / "quick.json").write_text('{"task_seconds": 0.1, "queue_seconds": 0}')
    ran = subprocess.run(["sh", "-c", words], capture_output=True, text=True, env=environment(), timeout=PATIENCE)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "cat.mp4").exists()
