"""Files that are damaged or made to do harm give a ValueError, and cost nothing."""

import io
import json
import os
import shutil
import struct
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from migration.state import keras_originals

from keras_rmsprop import migration

SOURCES = [
    "tf2.9.3/rmsprop/model.h5",
    "tf2.9.3/rmsprop/checkpoint",
    "tf2.9.3/rmsprop/saved_model",
    "tf2.15.1/scaled/model.h5",
    "tf2.15.1/rmsprop/model.keras",
    "keras3.0.5/rmsprop/model.h5",
    "keras3.0.5/rmsprop/model.weights.h5",
    "keras3.0.5/scaled/model.keras",
    "keras3.3.3/scaled/of_model",
]


def copied(source, folder):
    """Copies a source and returns the path to read and its files."""
    original = keras_originals.FILES / source
    path = folder / original.name
    if original.is_file():
        shutil.copy(original, path)
        return path, [path]
    shutil.copytree(original, path)
    files = sorted(each for each in path.rglob("*") if each.suffix != ".pb")
    files = [each for each in files if each.is_file()]
    files += path.glob("keras_metadata.pb")
    return (path / "c" if (path / "c.index").exists() else path), files


def read(path):
    """Reads a source, whatever is in it, and returns the state or the error."""
    options = {"centered": True} if path.name.endswith(".weights.h5") else {}
    try:
        return migration.read_state(path, **options)
    except ValueError as error:
        # The second is said of an option, before the file is read.
        assert path.name in str(error) or "`centered` says" in str(error), error
        return error


@pytest.mark.parametrize("source", SOURCES)
def test_every_truncation_is_an_error_or_changes_nothing(source, tmp_path):
    path, files = copied(source, tmp_path)
    whole = read(path)
    for file in files:
        content = file.read_bytes()
        # Before, within and after each of the headers, and wherever else.
        lengths = {0, 1, 4, 8, 16, 48, 64, 96, 100, len(content) - 1}
        lengths |= set(range(128, len(content), len(content) // 23 + 1))
        for length in lengths:
            file.write_bytes(content[:length])
            found = read(path)
            if not isinstance(found, ValueError):
                # The end of an HDF5 file may be unused.
                assert repr(found) == repr(whole)
        file.write_bytes(content)


@pytest.mark.parametrize("source", SOURCES)
def test_flipped_bits_are_errors_or_other_numbers(source, tmp_path):
    path, files = copied(source, tmp_path)
    random = np.random.default_rng(len(source))
    for file in files:
        content = file.read_bytes()
        for _ in range(40):
            damaged = bytearray(content)
            for position in random.integers(len(content), size=random.integers(1, 40)):
                damaged[position] ^= int(random.integers(1, 256))
            file.write_bytes(damaged)
            # Anything but a state or a ValueError that names the file fails here.
            read(path)
        file.write_bytes(content)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("kind", SOURCES)
def test_a_file_under_the_name_of_another_kind_is_no_trap(source, kind, tmp_path):
    (tmp_path / "other").mkdir()
    path, files = copied(source, tmp_path)
    _, others = copied(kind, tmp_path / "other")
    for file, other in zip(files, reversed(others)):
        shutil.copy(other, file)
    read(path)


# Small files that ask for much.


def memory_of(path, **options):
    """Returns the error of reading, and by how many bytes Python's memory grew."""
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=os.path.basename(path)) as error:
            migration.read_state(path, **options)
        return str(error.value), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def weights_with(dataset, folder):
    """Returns the path of a `.weights.h5` file with a slot made by a function."""
    path = folder / "m.weights.h5"
    with h5py.File(path, "w") as file:
        file["optimizer/vars/0"] = np.int64(1)
        file["optimizer/vars/1"] = np.float32(0.1)
        file["layers/dense/vars/0"] = np.zeros(3, "f4")
        dataset(file["optimizer/vars"])
    return path


HUGE = (1 << 28,)
DATASETS = {
    "compressed": lambda g: g.create_dataset(
        "2", data=np.zeros(1 << 22, "f4"), compression="gzip"
    ),
    "chunks that are not there": lambda g: g.create_dataset(
        "2", HUGE, "f4", chunks=(1024,)
    ),
    "nothing there": lambda g: g.create_dataset("2", HUGE, "f4"),
    "more than exists": lambda g: g.create_dataset("2", (1 << 60,), "f4", chunks=(8,)),
    "strings": lambda g: g.create_dataset(
        "2", data=["a"] * 8, dtype=h5py.string_dtype()
    ),
    "lists": lambda g: g.create_dataset("2", (8,), h5py.vlen_dtype("f4")),
    "references": lambda g: g.create_dataset("2", (8,), h5py.ref_dtype),
    "bytes": lambda g: g.create_dataset("2", data=np.void(b"abc")),
    "no data": lambda g: g.create_dataset("2", data=h5py.Empty("f4")),
    "a group": lambda g: g.create_group("2"),
    "an external link": lambda g: g.__setitem__("2", h5py.ExternalLink("/etc/x", "/a")),
    "a soft link": lambda g: g.__setitem__("2", h5py.SoftLink("/layers/dense/vars/0")),
    "a gap": lambda g: g.__setitem__("3", np.zeros(3, "f4")),
    "integers": lambda g: g.__setitem__("2", np.zeros(3, "i4")),
}


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_that_is_no_array_in_the_file_is_refused(name, tmp_path):
    path = weights_with(DATASETS[name], tmp_path)
    _, grown = memory_of(path)
    assert grown < 1 << 22


def test_one_array_under_many_names_is_read_once(tmp_path):
    def link(group):
        group["2"] = np.zeros(1 << 18, "f4")
        for i in range(3, 100):
            group[str(i)] = group["2"]

    message, grown = memory_of(weights_with(link, tmp_path))
    assert "were not read yet" in message
    assert grown < 1 << 23


def test_compressed_members_of_an_archive_are_refused(tmp_path):
    path = tmp_path / "m.keras"
    source = keras_originals.path("keras3.0.5/rmsprop/model.keras")
    with zipfile.ZipFile(source) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members["model.weights.h5"] += bytes(1 << 26)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    message, grown = memory_of(path)
    assert "'metadata.json' is compressed" in message
    assert grown < 1 << 20


def with_config(change, folder):
    """Returns a `.keras` file with a changed `config.json`."""
    path = folder / "m.keras"
    source = keras_originals.path("keras3.0.5/scaled/model.keras")
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as out:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "config.json":
                config = json.loads(content)
                content = json.dumps(change(config) or config)
            out.writestr(name, content)
    return path


def inner(config):
    return config["compile_config"]["optimizer"]["config"]["inner_optimizer"]


CONFIGS = {
    "a list": lambda c: [1],
    "not compiled": lambda c: c.update(compile_config=None),
    "compiled with a text": lambda c: c.update(compile_config="mse"),
    "no optimizer": lambda c: c["compile_config"].pop("optimizer"),
    "an optimizer in words": lambda c: c["compile_config"].update(optimizer="rmsprop"),
    "no inner optimizer": lambda c: c["compile_config"]["optimizer"].update(config={}),
    "no class": lambda c: inner(c).update(class_name=None),
    "another class": lambda c: inner(c).update(class_name="Adam"),
    "arguments in a list": lambda c: inner(c).update(config=[["rho", 0.9]]),
    "a momentum in words": lambda c: inner(c)["config"].update(momentum="much"),
    "a rule of no name": lambda c: inner(c)["config"].update(update_rule="mine"),
    "a rule of no kind": lambda c: inner(c)["config"].update(update_rule={"name": 1}),
    "a rule that is a list": lambda c: inner(c)["config"].update(update_rule=[]),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_a_configuration_that_is_none_is_refused(name, tmp_path):
    path = with_config(CONFIGS[name], tmp_path)
    with pytest.raises(ValueError, match=r"m\.keras"):
        migration.read_state(path)


@pytest.mark.parametrize("text", [b"{", b"[" * 200_000, b"\xff\xfe", b"1" * 10_000])
def test_a_configuration_that_is_no_json_is_refused(text, tmp_path):
    path = tmp_path / "m.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", text)
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ValueError, match=r"m\.keras"):
        migration.read_state(path)


# Strings in HDF5 files, of which its library believes what is said of them.


def test_references_to_strings_that_claim_too_much_are_refused(tmp_path):
    path, _ = copied("tf2.9.3/rmsprop/model.h5", tmp_path)
    content = path.read_bytes()
    name = b"RMSprop/iter:0"
    heap = content.rindex(b"GCOL", 0, content.index(name))
    reference = struct.pack("<IQ", len(name), heap)
    assert content.count(reference) > 0
    for length, message in ((1 << 31, "are claimed"), (len(name) + 1, "are claimed")):
        path.write_bytes(
            content.replace(reference, struct.pack("<IQ", length, heap), 1)
        )
        text, grown = memory_of(path)
        assert message in text
        assert grown < 1 << 20


def test_many_references_to_one_long_string_are_refused(tmp_path):
    path = tmp_path / "m.h5"
    long = "x" * (1 << 16)
    with h5py.File(path, "w") as file:
        group = file.create_group("optimizer_weights")
        names = np.array([long, *["y"] * 3000], dtype=object)
        group.attrs.create("weight_names", names, dtype=h5py.string_dtype())
    content = path.read_bytes()
    heap = content.rindex(b"GCOL", 0, content.index(b"x" * 100))
    first = content.index(struct.pack("<IQ", len(long), heap))
    reference = content[first : first + 16]
    path.write_bytes(content[:first] + reference * 3001 + content[first + 3001 * 16 :])
    text, grown = memory_of(path)
    assert "its strings would take" in text
    assert grown < 1 << 24


def test_a_heap_without_an_end_is_refused(tmp_path):
    path, _ = copied("tf2.9.3/rmsprop/model.h5", tmp_path)
    content = bytearray(path.read_bytes())
    heap = content.index(b"GCOL")
    # An object of index 0 is what is left of the heap; here, nothing.
    content[heap + 16 : heap + 32] = bytes(16)
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.h5.*an object without a size"):
        migration.read_state(path)


def test_io_errors_name_the_archive_and_not_its_bytes(tmp_path):
    path = tmp_path / "m.keras"
    source = keras_originals.path("keras3.0.5/rmsprop/model.keras")
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(path, "w") as out:
        for name in archive.namelist():
            content = archive.read(name)
            if name == "model.weights.h5":
                buffer = io.BytesIO()
                with h5py.File(buffer, "w") as file:
                    file["optimizer/vars/0"] = np.array([b"text"])
                content = buffer.getvalue()
            out.writestr(name, content)
    with pytest.raises(ValueError, match=r"m\.keras' holds no numbers"):
        migration.read_state(path)
