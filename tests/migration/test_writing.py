"""Whatever is written replaces regular files only, and only when it is complete."""

import os
import stat

import numpy as np
import pytest

from keras_rmsprop import migration
from keras_rmsprop.migration.comparison.differences import StepFigures, VariableFigures
from keras_rmsprop.migration.files import replacing
from keras_rmsprop.migration.source import files, findings
from keras_rmsprop.migration.state import VariableState

STATE = migration.OptimizerState({"v": VariableState({"rms": np.zeros(2)})})
COMPARISON = migration.Comparison(
    reference="a",
    candidate="b",
    workload="nothing",
    dtype="float32",
    rtol=0.0,
    atol=0.1,
    steps=(StepFigures(1, 0.0, 0, 0, 1.0, 1.0),),
    variables=(VariableFigures("v", (2,)),),
)


def write(path):
    with replacing(path) as file:
        file.write(b"new")


def upgrade(path):
    files.FileUpgrade(path, findings.Upgrade("", "new"), "utf-8").write()


WRITERS = {
    "replacing": write,
    "OptimizerState.save": STATE.save,
    "Comparison.to_json": COMPARISON.to_json,
    "Comparison.plot": COMPARISON.plot,
    "FileUpgrade.write": upgrade,
}
writers = pytest.mark.parametrize("write", WRITERS.values(), ids=WRITERS)


@writers
@pytest.mark.parametrize("name", ["pipe", "link", "directory", "loop"])
def test_what_is_no_regular_file_is_never_replaced(write, name, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    os.symlink("pipe", tmp_path / "link")
    os.mkdir(tmp_path / "directory")
    os.symlink("loop", tmp_path / "loop")
    before = {path: path.lstat().st_mode for path in tmp_path.iterdir()}
    with pytest.raises(OSError, match="' is not a regular file, and is not replaced"):
        write(tmp_path / name)
    assert {path: path.lstat().st_mode for path in tmp_path.iterdir()} == before


@writers
def test_a_file_behind_a_link_is_replaced_and_keeps_its_mode(write, tmp_path):
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_bytes(b"old")
    path.chmod(0o640)
    os.symlink("file", link)
    write(link)
    assert link.is_symlink() and path.read_bytes() not in (b"old", b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_a_write_that_fails_leaves_the_earlier_file(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), replacing(path) as file:
        file.write(b"new")
        raise RuntimeError
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["file"]


def test_a_file_system_without_nameless_files_is_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY | os.O_WRONLY)
    path = tmp_path / "file"
    path.write_bytes(b"old")
    write(path)
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]
    with pytest.raises(RuntimeError), replacing(path):
        raise RuntimeError
    assert path.read_bytes() == b"new" and os.listdir(tmp_path) == ["file"]


def test_a_file_in_no_directory_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="not in an existing directory"):
        write(tmp_path / "nowhere" / "file")
