"""Imports point one way: migration, faces, core, update_rule."""

import ast
import pathlib
import subprocess
import sys

import pytest

_ROOT = pathlib.Path(__file__).parents[1]
_MODULES = sorted(
    path
    for package in ("keras_rmsprop", "compat_v1")
    for path in _ROOT.glob(f"{package}/**/*.py")
)
_CORE = {"keras_rmsprop.core", "keras_rmsprop.update_rule"}
_CHECKED = {"keras_rmsprop.validation", *_CORE}
# What each part of the house may import of the others: docs/architecture.md draws it.
_ALLOWED = {
    "keras_rmsprop.update_rule": set(),
    "keras_rmsprop.core": {"keras_rmsprop.update_rule"},
    "keras_rmsprop.validation": _CORE,
    "keras_rmsprop.backends": _CHECKED,
    "keras_rmsprop.rmsprop": {"keras_rmsprop.backends", *_CHECKED},
    "keras_rmsprop.legacy": _CHECKED,
    "compat_v1.train": _CHECKED,
    "compat_v1.keras": {"keras_rmsprop.legacy", *_CHECKED},
}
_MIGRATION = "keras_rmsprop.migration"


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
    if part in ("keras_rmsprop", "compat_v1", _MIGRATION):
        return  # The packages themselves name what loads later; migration uses all.
    assert part in _ALLOWED, (
        f"say in this test and in docs/architecture.md where {part} is"
    )
    found = {_part(name) for name in _imports(path)} - {part, "keras_rmsprop"}
    assert found <= _ALLOWED[part]


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
