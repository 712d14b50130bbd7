"""Imports point one way: migration, faces, core, update_rule."""

import ast
import pathlib
import subprocess
import sys

import pytest

_PACKAGES = ("keras_rmsprop", "compat_v1")
_ROOT = pathlib.Path(__file__).parents[1]
_MODULES = sorted(
    path for package in _PACKAGES for path in _ROOT.glob(f"{package}/**/*.py")
)
# docs/architecture.md draws these levels. What is not named here, such as checks of
# arguments or the step on one backend, stands between the core and the faces.
_LEVELS = {
    "keras_rmsprop.update_rule": 0,
    "keras_rmsprop.core": 1,
    "keras_rmsprop.rmsprop": 3,
    "keras_rmsprop.legacy": 3,
    "compat_v1.train": 3,
    "compat_v1.keras": 4,
    "keras_rmsprop.migration": 5,
}
_BETWEEN = 2


def _part(name):
    """Returns the part of the house that a module belongs to."""
    return ".".join(name.split(".")[:2])


def _imports(path):
    """Gives the names of our modules that a module imports, wherever in its code."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (
            name for name in names if name.startswith(("keras_rmsprop", "compat_v1"))
        )


def _name(path):
    return ".".join(path.relative_to(_ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    )


@pytest.mark.parametrize("path", _MODULES, ids=_name)
def test_imports_point_one_way(path):
    part = _part(_name(path))
    if part in _PACKAGES:
        return  # They name what loads later.
    level = _LEVELS.get(part, _BETWEEN)
    for other in set(map(_part, _imports(path))) - {part, *_PACKAGES}:
        below = _LEVELS.get(other, _BETWEEN)
        assert below < level or below == level == _BETWEEN, f"{part} imports {other}"


def test_nothing_imports_the_tests():
    for path in _MODULES:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                assert node.module.split(".")[0] != "tests", path


def test_the_package_loads_nothing_before_it_is_used():
    heavy = ["tensorflow", "keras", "numpy", "matplotlib", "libcst", "compat_v1"]
    code = f"import sys, keras_rmsprop; print([n for n in {heavy} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"
