"""`keras-rmsprop` as a whole: how it explains itself, starts, and is completed."""

import os
import pathlib
import pty
import re
import subprocess
import sys
import time

import pytest

import keras_rmsprop
from keras_rmsprop.migration import cli
from keras_rmsprop.migration.starting import load_tensorflow
from keras_rmsprop.migration.waiting import waiting

_ROOT = pathlib.Path(__file__).parents[2]
_CHECKPOINT = _ROOT / "migration_examples" / "tf1_script" / "run"
_NO_TENSORFLOW = """
import sys
class Guard:
    def find_spec(self, name, *_):
        if name in ("tensorflow", "keras"):
            sys.exit("loads " + name)
sys.meta_path.insert(0, Guard())
"""
_RUN = "from keras_rmsprop.migration import cli; cli.run()"


def run(*words, before="", **environment):
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    return subprocess.run(
        [sys.executable, "-c", before + _RUN, *map(str, words)],
        env={
            **kept,
            "COLUMNS": "80",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_alone_it_explains_itself_on_one_screen():
    done = run(before=_NO_TENSORFLOW)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert len(lines) < 24 and max(map(len, lines)) < 80
    for text in (*cli.COMMANDS, "examples:", "--version", "COMMAND --help"):
        assert text in done.stdout
    assert run("--help", before=_NO_TENSORFLOW).stdout == done.stdout


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_help_of_each_command_fits_the_screen_and_loads_no_tensorflow(name):
    done = run(name, "--help", before=_NO_TENSORFLOW)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) < 80


def test_version_says_what_is_installed_and_whether_kernels_are_used():
    done = run("--version", KERAS_RMSPROP_KERNELS="off")
    assert (done.returncode, done.stderr) == (0, "")
    import keras
    import tensorflow as tf

    shown = dict(re.split(r"\s+", line, maxsplit=1) for line in _joined(done.stdout))
    assert shown == {
        "keras-rmsprop": keras_rmsprop.__version__,
        "Python": ".".join(map(str, sys.version_info[:3])),
        "TensorFlow": tf.__version__,
        "Keras": f"{keras.__version__}, on {keras.backend.backend()}",
        "kernels": "KERAS_RMSPROP_KERNELS=off leaves kernels aside.",
    }


def _joined(text):
    return re.sub(r"\n +", " ", text).splitlines()


@pytest.mark.parametrize(
    "words, message",
    [
        (["compar", "tf1"], "no command 'compar'. Did you mean compare?"),
        (["--verison"], "Did you mean --version?"),
        (["compare", "tf1", "keras", "--stpes", "3"], "Did you mean --steps?"),
        (["compare", "tf1", "keras", "--stpes=3"], "Did you mean --steps?"),
        (["inspect", "run", "--optimiser-name", "a"], "Did you mean --optimizer-name?"),
        (["upgrade", "a.py", "--zzz"], "unknown: --zzz.\n"),
        (["compare", "tf1"], "usage: keras-rmsprop compare"),
        (["completion", "cmd.exe"], "invalid choice: 'cmd.exe'"),
    ],
)
def test_what_is_misspelt_is_answered_with_what_was_meant(words, message):
    done = run(*words, before=_NO_TENSORFLOW)
    assert done.returncode == 2
    assert not done.stdout
    assert message in done.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("inspect", _CHECKPOINT),
        ("compare", "tf1", "keras-rmsprop", "--steps", "2"),
        ("build-kernels", "--check"),
    ],
    ids=lambda words: words[0],
)
def test_nothing_of_tensorflow_stands_before_what_is_asked_for(words):
    done = run(*words)
    assert done.stderr == ""
    assert done.stdout
    lines = done.stdout.splitlines()
    code = ("learning_rate=", "There are no kernels", "'/")
    assert all(len(line) < 80 for line in lines if not line.strip().startswith(code))
    assert "\x1b" not in done.stdout  # No colour, and so NO_COLOR has its way.


def test_an_example_begins_with_a_line_of_its_own():
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    done = subprocess.run(
        [
            sys.executable,
            _ROOT / "migration_examples" / "tf1_script" / "train_keras.py",
        ],
        env={**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("not carried over: ")


def test_every_example_loads_tensorflow_without_its_lines():
    # Those that an old TensorFlow runs have none of this library.
    old = {"train.py", "train_tf1.py"}
    folder = _ROOT / "migration_examples"
    scripts = [*folder.glob("*.py"), *folder.glob("*_run/*.py")]
    scripts += folder.glob("tf1_script/*.py")
    assert len(scripts) > 8
    for path in scripts:
        if path.name not in old:
            assert "load_tensorflow()" in path.read_text("utf-8"), path


def _loading(body, **environment):
    kept = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    code = (
        "import os, sys, types\n"
        "from keras_rmsprop.migration.starting import load_tensorflow\n"
        f"{body}\n"
        "print(os.environ.get('TF_CPP_MIN_LOG_LEVEL'))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


# A TensorFlow that writes where C++ does.
_FAKE = """
class Loader:
    def find_spec(self, name, *_):
        if name == "tensorflow":
            os.write(2, b"I0000 port.cc:153] oneDNN custom operations are on. Slow?\\n")
            os.write(2, b"W0000 something of importance\\n")
            {then}
sys.meta_path.insert(0, Loader())
load_tensorflow()
"""


def test_lines_that_are_no_noise_are_shown_and_errors_raised():
    done = _loading(_FAKE.format(then="raise ImportError('is broken')"))
    assert done.returncode == 1
    assert done.stderr.startswith("W0000 something of importance\n")
    assert "is broken" in done.stderr
    assert "oneDNN" not in done.stderr


def test_the_level_that_a_user_set_stays_and_0_shows_all():
    body = "sys.modules.pop('tensorflow', None); load_tensorflow()"
    assert _loading(body).stdout == "2\n"
    assert _loading(body, TF_CPP_MIN_LOG_LEVEL="3").stdout == "3\n"
    assert _loading(body, TF_CPP_MIN_LOG_LEVEL="0").stdout == "0\n"
    shown = _loading(body + "; import tensorflow", TF_CPP_MIN_LOG_LEVEL="0")
    assert "oneDNN" in shown.stderr


def test_importing_the_library_sets_nothing():
    code = "import keras_rmsprop, keras_rmsprop.migration"
    assert _loading(code).stdout == "None\n"


def test_loading_what_is_loaded_does_nothing(capfd):
    load_tensorflow()
    assert capfd.readouterr() == ("", "")


def _on_a_terminal(what, seconds, monkeypatch):
    """Returns what is written on a terminal while something takes some seconds."""
    controller, terminal = pty.openpty()
    with os.fdopen(terminal, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        with waiting(what):
            time.sleep(seconds)
        stream.write(".")  # That there is something to read.
    monkeypatch.undo()
    written = ""
    while not written.endswith("."):
        written += os.read(controller, 10_000).decode()
    os.close(controller)
    return written


def test_a_long_wait_is_counted_on_a_terminal_and_wiped_off(monkeypatch):
    monkeypatch.setattr("keras_rmsprop.migration.waiting.PATIENCE", 0.2)
    written = _on_a_terminal("Reading", 0.5, monkeypatch)
    assert re.fullmatch(r"\rReading: 0 s\r +\r\.", written)


def test_a_short_wait_says_nothing(monkeypatch):
    assert _on_a_terminal("Reading", 0.1, monkeypatch) == "."


def test_nothing_is_counted_off_terminals(capfd, monkeypatch):
    monkeypatch.setattr("keras_rmsprop.migration.waiting.PATIENCE", 0.01)
    with waiting("Reading"):
        time.sleep(0.1)
    assert capfd.readouterr() == ("", "")


_COMPLETE = r"""
source "$1"; shift
COMP_WORDS=(keras-rmsprop "$@"); COMP_CWORD=$#; COMPREPLY=()
_shtab_keras_rmsprop keras-rmsprop "${!#}" ""
echo "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    done = run("completion", "bash", before=_NO_TENSORFLOW)
    assert (done.returncode, done.stderr) == (0, "")
    path = tmp_path_factory.mktemp("completion") / "keras-rmsprop"
    path.write_text(done.stdout)
    return path


@pytest.mark.parametrize(
    "words, completed",
    [
        (["comp"], "compare completion"),
        (["compare", "--st"], "--steps"),
        (["compare", "keras-r"], "keras-rmsprop keras-rmsprop-legacy"),
        (["upgrade", "--to", "keras-"], "keras-rmsprop"),
        (["inspect", "pyproject.t"], "pyproject.toml"),
        (["build-kernels", "--output", "compat_"], "compat_v1"),
    ],
)
def test_bash_completes_commands_options_kinds_and_files(script, words, completed):
    done = subprocess.run(
        ["bash", "-c", _COMPLETE, "bash", script, *words],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == completed.split(), done.stderr


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_their_scripts(shell):
    done = run("completion", shell, before=_NO_TENSORFLOW)
    assert done.returncode == 0
    assert all(name in done.stdout for name in cli.COMMANDS)


def test_without_shtab_it_says_what_to_install():
    done = run("completion", "bash", before="import sys; sys.modules['shtab'] = None\n")
    assert done.returncode == 2
    assert "'shtab' is missing" in done.stderr
    assert 'pip install -e ".[migration]"' in done.stderr
