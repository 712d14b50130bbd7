"""A checkpoint is found by any of its paths, in whichever directory it lies now."""

import shutil

import numpy as np
import pytest
from migration.state import originals

from keras_rmsprop import migration

VERSIONS = ("renamed-1.15.5", "v1_format-1.15.5", "v1_sharded-1.15.5")


@pytest.fixture
def run(tmp_path):
    """Yields a function that unpacks a case into a directory that no one moved."""

    def unpack(name, directory="run"):
        path = tmp_path / directory
        path.mkdir()
        originals.unpacked(name, path)
        return path

    return unpack


def weight(path):
    state = migration.read_state(path)
    return next(v.value for n, v in state.variables.items() if n.endswith("w"))


@pytest.mark.parametrize("name", VERSIONS)
def test_any_of_its_files_is_the_checkpoint(name, run):
    directory = run(name)
    expected = weight(directory)
    paths = [p for p in directory.iterdir() if p.name != "checkpoint"]
    assert len(paths) >= 2
    for path in (*paths, directory / "model.ckpt-3", str(directory)):
        np.testing.assert_array_equal(weight(path), expected)


def test_the_second_of_two_data_files_is_the_checkpoint(run):
    directory = run("estimator-1.15.5")
    path = directory / "model.ckpt-4.data-00001-of-00002"
    assert migration.read_state(path).iterations == 4


def test_a_part_without_its_index_says_so(run):
    directory = run("renamed-1.15.5")
    (directory / "model.ckpt-3.index").unlink()
    for path in directory.glob("model.ckpt-3.*"):
        with pytest.raises(ValueError, match="part of a checkpoint whose .*index'"):
            migration.read_state(path)


@pytest.mark.parametrize("name", VERSIONS)
def test_without_its_file_checkpoint_a_directory_has_the_only_one(name, run):
    directory = run(name)
    (directory / "checkpoint").unlink()
    assert migration.read_state(directory).iterations == 3


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"model: 3", b"\0" * 99])
def test_a_damaged_file_checkpoint_is_as_none(content, run):
    directory = run("renamed-1.15.5")
    (directory / "checkpoint").write_bytes(content)
    assert migration.read_state(directory).iterations == 3


def copied(directory, old, new):
    for path in directory.glob(f"{old}*"):
        shutil.copy(path, directory / path.name.replace(old, new))


@pytest.mark.parametrize("name", VERSIONS)
def test_of_one_runs_checkpoints_that_of_the_most_steps_is_the_latest(name, run):
    directory = run(name)
    (directory / "checkpoint").unlink()
    copied(directory, "model.ckpt-3", "model.ckpt-20")
    assert migration.read_state(directory).origin.endswith("model.ckpt-20")


def test_of_several_runs_checkpoints_none_is_chosen(run):
    directory = run("renamed-1.15.5")
    (directory / "checkpoint").unlink()
    copied(directory, "model.ckpt-3", "best")
    with pytest.raises(ValueError, match="2 checkpoints.*'.*best', '.*model.ckpt-3'"):
        migration.read_state(directory)


def test_if_the_latest_is_gone_no_other_is_taken_for_it(run):
    directory = run("renamed-1.15.5")
    copied(directory, "model.ckpt-3", "model.ckpt-2")
    for path in directory.glob("model.ckpt-3*"):
        path.unlink()
    with pytest.raises(ValueError, match="is not there.*model.ckpt-2'"):
        migration.read_state(directory)


@pytest.mark.parametrize("name", ["renamed-1.15.5", "v1_sharded-1.15.5"])
def test_a_copied_directory_is_read_and_not_the_original(name, run, tmp_path):
    original = run(name)
    prefix = original / "model.ckpt-3"
    shards = "-?????-of-00001" if name.startswith("v1") else ""
    state = f'model_checkpoint_path: "{prefix}{shards}"\n'
    (original / "checkpoint").write_text(state)
    shutil.copytree(original, tmp_path / "copy")
    assert migration.read_state(tmp_path / "copy").origin.startswith(
        str(tmp_path / "copy")
    )
    # A file that points elsewhere, and nothing of that name beside it.
    (tmp_path / "pointer").mkdir()
    (tmp_path / "pointer" / "checkpoint").write_text(state)
    assert migration.read_state(tmp_path / "pointer").origin == str(prefix)


def test_a_relative_path_means_the_directory_of_the_file(run):
    directory = run("renamed-1.15.5")
    (directory / "sub").mkdir()
    for path in directory.glob("model.ckpt-3*"):
        shutil.move(path, directory / "sub" / path.name)
    (directory / "checkpoint").write_text('model_checkpoint_path: "sub/model.ckpt-3"')
    assert "sub" in migration.read_state(directory).origin
