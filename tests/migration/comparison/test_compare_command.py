"""`keras-rmsprop compare`: what it prints, writes and exits with."""

import json
import subprocess
import sys

import numpy as np
import pytest

from keras_rmsprop.migration import cli
from keras_rmsprop.migration.kinds import parse

TF1 = "tf1:learning_rate=0.01"
OURS = "keras-rmsprop:learning_rate=0.01,update_rule=tf1,epsilon=1e-10"


@pytest.fixture
def command(capsys):
    def run(*words):
        args = cli._parse(["keras-rmsprop", "compare", *words])
        status = cli._main(args)
        return status, *capsys.readouterr()

    return run


def test_equal_optimizers_exit_with_0(command):
    status, out, _ = command(TF1, OURS, "--steps", "3")
    assert status == 0
    assert "are equivalent" in out and "0 ULP" in out


def test_different_optimizers_exit_with_1_and_write_what_was_asked(command, tmp_path):
    picture, figures = tmp_path / "out.png", tmp_path / "out.json"
    status, out, _ = command(
        "keras:learning_rate=0.01",
        "keras:learning_rate=0.02",
        *("--steps", "3", "--plot", str(picture), "--json", str(figures)),
    )
    assert status == 1
    assert "learning rate" in out
    assert picture.read_bytes()[1:4] == b"PNG"
    assert json.loads(figures.read_text())["causes"][0]["name"] == "learning rate"


def test_tolerances_decide(command):
    status, *_ = command(
        "keras:epsilon=1e-7", "keras:epsilon=1e-5", "--steps", "2", "--atol", "10"
    )
    assert status == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["adam", "keras"], "must start with one of keras, keras2, legacy, tf1"),
        (["keras:rho", "keras"], "must be written KIND:NAME=VALUE"),
        (["keras:rho=f()", "keras"], "must be written KIND:NAME=VALUE"),
        (["keras:rho=1)+f(x=1", "keras"], "must be written KIND:NAME=VALUE"),
        (["keras:**{}", "keras"], "must be written KIND:NAME=VALUE"),
        (["keras:rho=" + "(" * 5000, "keras"], "must be written KIND:NAME=VALUE"),
        (["keras:rho=0.5,rho=0.9", "keras"], "must be written KIND:NAME=VALUE"),
        (["keras:rho=high", "keras"], "`reference` must have a `rho` that is a number"),
        (["keras:rate=1", "keras"], "rate"),
        (["keras-rmsprop:rho=7", "keras"], "`rho` must be"),
        (["keras", "keras", "--steps", "0"], "`steps` must be"),
        (["keras", "keras", "--rtol", "nan"], "`rtol` must be"),
        (["keras", "keras", "--plot", "/no/such/place/out.png"], "--plot must name"),
        (["keras", "keras", "--json", "/"], "--json must name"),
        (["keras", "keras", "--plot", "out.xyz"], "picture must be one of"),
    ],
)
def test_bad_input_exits_with_2_and_says_why(command, words, message):
    status, out, err = command(*words)
    assert status == 2
    assert not out
    assert err.startswith("keras-rmsprop compare: ") and message in err


def test_values_are_literals_or_bare_words():
    assert parse("tf1") == ("tf1", {})
    assert parse("compat:a=1e-3,b=True,c=None,d=word,e='two words',f=-1") == (
        "compat",
        {"a": 1e-3, "b": True, "c": None, "d": "word", "e": "two words", "f": -1},
    )


def test_help_explains_how_optimizers_are_written():
    shown = subprocess.run(
        [sys.executable, "-m", "keras_rmsprop.migration.cli", "compare", "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for text in ("KIND:ARGUMENT=VALUE", "exit status", "--plot", "compat_v1.train"):
        assert text in shown


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of a user, in the current directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    monkeypatch.delitem(sys.modules, "mine", raising=False)
    (tmp_path / "mine.py").write_text(
        """
import keras, numpy as np

def model():
    made = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)], name="mine")
    made.compile(loss="mse")
    return made

def data():
    return np.ones((8, 3), "float32"), np.zeros((8, 1), "float32")

def broken():
    return 1 / 0

takes_none = 3
"""
    )
    return tmp_path


def test_a_model_and_data_of_ones_own_are_named_by_their_functions(command, module):
    words = ("keras", "keras-rmsprop", "--steps", "2", "--batch-size", "4")
    status, out, _ = command(*words, "--model", "mine:model", "--data", "mine:data")
    assert status == 0
    assert "2 steps on the model 'mine'" in out


def test_data_may_be_a_file_of_arrays(command, module):
    np.savez(module / "d.npz", x=np.ones((8, 3), "f4"), y=np.zeros((8, 1), "f4"))
    words = ("keras", "keras", "--steps", "2", "--model", "mine:model")
    status, out, _ = command(*words, "--data", "d.npz")
    assert status == 0
    assert "the model 'mine'" in out


@pytest.mark.parametrize(
    "model, data, message",
    [
        ("mine", "mine:data", "--model must be MODULE:FUNCTION"),
        ("mine.py:model", "mine:data", "--model must name a module as `import` does"),
        ("nowhere:model", "mine:data", "--model: importing 'nowhere': ModuleNotFound"),
        ("mine:modle", "mine:data", "--model must name a function in 'mine' ("),
        ("mine:takes_none", "mine:data", "--model must name a function in 'mine' ("),
        ("mine:broken", "mine:data", "ZeroDivisionError: division by zero ("),
        ("mine:data", "mine:data", "`model` must be a Keras 3 model"),
        ("mine:model", "mine:broken", "--data: calling 'mine:broken'"),
        ("mine:model", "no.npz", "'no.npz': No such file"),
        ("mine:model", "text.npz", "--data must be an .npz file"),
        ("mine:model", "other.npz", "with the arrays x and y. Received: 'other.npz'"),
        ("mine:model", None, "`data` must be given"),
        (None, "mine:data", "`model` must be given"),
    ],
)
def test_a_model_or_data_that_cannot_be_had_is_told(
    command, module, model, data, message
):
    (module / "text.npz").write_text("text")
    np.savez(module / "other.npz", a=np.ones(3))
    words = [
        *(["--model", model] if model else []),
        *(["--data", data] if data else []),
    ]
    status, out, err = command("keras", "keras", *words)
    assert (status, out) == (2, "")
    assert message in err
