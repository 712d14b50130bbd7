"""Type checkers see the public names, which load on first use, and their signatures."""

import importlib.util
import inspect
import json
import os
import pathlib
import re
import runpy
import subprocess
import sys

import pytest

import compat_v1
import keras_rmsprop
from keras_rmsprop import migration

_HERE = pathlib.Path(__file__).parent
_USE = _HERE / "typical_use.py"
_MISTAKES = _HERE / "mistakes.py"


def _checker(module, *options):
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    return subprocess.run(
        [sys.executable, "-m", module, *options, _USE, _MISTAKES],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )


def _wrong_lines():
    """Returns the lines of `mistakes.py` that a checker has to name."""
    lines = enumerate(_MISTAKES.read_text("utf-8").splitlines(), 1)
    return {
        number
        for number, line in lines
        if line and not re.match(r'"""|from|import', line)
    }


def test_mypy_takes_typical_use_and_finds_mistakes(tmp_path):
    done = _checker(
        "mypy", "--cache-dir", tmp_path, "--disable-error-code=import-untyped"
    )
    found = re.findall(r"(\w+\.py):(\d+): error", done.stdout)
    assert {
        int(line) for file, line in found if file == _MISTAKES.name
    } == _wrong_lines()
    assert not [file for file, _ in found if file != _MISTAKES.name], done.stdout


def test_pyright_takes_typical_use_and_finds_mistakes():
    done = _checker("pyright", "--outputjson", "--pythonpath", sys.executable)
    if not done.stdout.startswith("{"):
        pytest.skip("pyright could not be fetched")
    found = json.loads(done.stdout)["generalDiagnostics"]
    lines = {path: set() for path in (_USE, _MISTAKES)}
    for error in found:
        lines[pathlib.Path(error["file"])].add(error["range"]["start"]["line"] + 1)
    assert lines[_MISTAKES] == _wrong_lines()
    assert not lines[_USE], done.stdout


def test_typical_use_runs():
    assert runpy.run_path(str(_USE))["optimizer"].iterations == 1


@pytest.mark.parametrize(
    "package", [keras_rmsprop, migration, compat_v1], ids=lambda p: p.__name__
)
def test_dir_shows_what_is_public_and_all_of_it_loads(package):
    public = [name for name in dir(package) if name != "__version__"]
    assert sorted(public) == sorted(package.__all__)
    for name in public:
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        package.absent  # noqa: B018 (looking it up is the test)


@pytest.mark.parametrize("package", ["keras_rmsprop", "compat_v1"])
def test_the_packages_say_that_they_are_typed(package):
    folder = pathlib.Path(importlib.util.find_spec(package).origin).parent
    assert (folder / "py.typed").is_file()


def _public_callables():
    """Gives each public function, and each public method of a public class, by name."""
    from compat_v1.keras import optimizer_v1, optimizers
    from compat_v1.train import RMSPropOptimizer

    legacy = keras_rmsprop.legacy
    roots = [
        *(keras_rmsprop.RMSprop, keras_rmsprop.UpdateRule),
        *(legacy.Optimizer, legacy.RMSprop, optimizers.RMSprop, optimizer_v1.RMSprop),
        RMSPropOptimizer,
        *(getattr(migration, name) for name in migration.__all__),
    ]
    for root in roots:
        if not inspect.isclass(root):
            yield root.__name__, root
            continue
        for name in dir(root):
            found = inspect.getattr_static(root, name)
            function = getattr(found, "fget", None) or getattr(found, "__func__", found)
            if not inspect.isfunction(function) or (
                name.startswith("_") and name != "__init__"
            ):
                continue
            if function.__module__.startswith(("keras_rmsprop", "compat_v1")):
                yield f"{root.__module__}.{root.__name__}.{name}", function


@pytest.mark.parametrize("name,function", list(_public_callables()))
def test_public_signatures_are_annotated(name, function):
    signature = inspect.signature(function)
    parameters = [each for each in signature.parameters if each not in ("self", "cls")]
    bare = [
        each
        for each in parameters
        if signature.parameters[each].annotation is inspect.Parameter.empty
    ]
    assert not bare, name
    assert signature.return_annotation is not inspect.Signature.empty, name
