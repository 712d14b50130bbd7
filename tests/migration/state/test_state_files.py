"""State files: what was saved is loaded, and what is no state file says so."""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import zipfile

import h5py
import hypothesis
import keras
import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from migration.state import runs

from keras_rmsprop import migration
from keras_rmsprop.migration.state import VariableState

DTYPES = [
    "float16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    ml_dtypes.bfloat16,
]


@st.composite
def variable_states(draw):
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4))
    size = int(np.prod(shape)) * dtype.itemsize

    def array():
        data = draw(st.binary(min_size=size, max_size=size))
        return np.frombuffer(data, dtype).reshape(shape)

    slots = draw(st.sets(st.sampled_from(["mg", "momentum", "average"]))) | {"rms"}
    return VariableState(
        {slot: array() for slot in sorted(slots)},
        array() if draw(st.booleans()) else None,
    )


names = st.text(st.characters(codec="utf-8"), max_size=8)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | names
states = st.builds(
    migration.OptimizerState,
    variables=st.dictionaries(names, variable_states(), max_size=3),
    iterations=st.none() | st.integers(0, 2**63 - 1),
    kind=st.sampled_from(["tf1", "legacy", "keras"]),
    update_rule=st.none() | names,
    hyperparameters=st.dictionaries(names, scalars, max_size=3),
    origin=names,
    others=st.dictionaries(
        names.map("other {}".format),
        st_numpy.arrays(
            st.sampled_from(["float32", "int64", "uint8", "bool"]),
            st_numpy.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=3),
        ),
        max_size=2,
    ),
    not_read=st.lists(names, max_size=2).map(tuple),
)


@hypothesis.given(states)
@hypothesis.settings(max_examples=100, deadline=None)
def test_every_state_is_loaded_as_it_was_saved(state):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "state.npz")
        state.save(path)
        loaded = migration.OptimizerState.load(path)
        assert os.listdir(directory) == ["state.npz"]
    runs.assert_same_state(loaded, state)
    runs.assert_same_bits(loaded.others, state.others)
    for field in ("kind", "update_rule", "hyperparameters", "origin", "not_read"):
        assert getattr(loaded, field) == getattr(state, field)
    assert repr(loaded) == repr(state)


@pytest.fixture(scope="module")
def state():
    variables = runs.keras_variables(runs.start())
    optimizer = runs.MAKE["modern"]()
    runs.train(optimizer, variables, 0, 2)
    return migration.read_state(optimizer)


@pytest.fixture
def saved(state, tmp_path):
    path = tmp_path / "state.npz"
    state.save(path)
    return path


def test_a_file_is_plain_numpy_and_json(saved, state):
    with np.load(saved, allow_pickle=False) as arrays:
        header = json.loads(arrays["state.json"])
        entry = header["variables"][0]
        array = arrays[str(entry["slots"]["rms"]["array"])]
    assert entry["name"] == "scope/kernel"
    np.testing.assert_array_equal(array, state.variables["scope/kernel"].slots["rms"])


def test_every_truncation_and_every_flipped_byte_is_an_error_or_harmless(saved, state):
    whole = saved.read_bytes()
    for length in range(0, len(whole), 7):
        saved.write_bytes(whole[:length])
        with pytest.raises(ValueError, match="state.npz"):
            migration.OptimizerState.load(saved)
    for position in range(0, len(whole), 11):
        damaged = bytearray(whole)
        damaged[position] ^= 0x55
        saved.write_bytes(damaged)
        try:
            loaded = migration.OptimizerState.load(saved)
        except ValueError as error:
            assert "state.npz" in str(error)
        else:
            # Dates and attributes of members, which mean nothing.
            runs.assert_same_state(loaded, state)


def edited(path, change, arrays=None, compression=zipfile.ZIP_STORED):
    """Rewrites a state file with a changed header, and other arrays."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(members["state.json"])
    header = change(header) or header
    members["state.json"] = json.dumps(header).encode()
    members.update(arrays or {})
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def npy(array, allow_pickle=True):
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was loaded",))


HEADERS = {
    "format": lambda h: h.update(format="other"),
    "version": lambda h: h.update(version=2),
    "kind": lambda h: h.update(kind="adam"),
    "iterations": lambda h: h.update(iterations=-1),
    "iterations_type": lambda h: h.update(iterations="4"),
    "no_variables": lambda h: h.pop("variables"),
    "variables_type": lambda h: h.update(variables={}),
    "twice": lambda h: h["variables"].append(h["variables"][0]),
    "no_rms": lambda h: h["variables"][0].update(slots={}),
    "hyperparameters": lambda h: h.update(hyperparameters=None),
    "not_a_dictionary": lambda h: [h],
    "others": lambda h: h.update(others={}),
    "others_value": lambda h: h.update(others=[{"name": "x", "value": None}]),
    "others_twice": lambda h: h.update(others=[dict(h["variables"][0])]),
    "not_read": lambda h: h.update(not_read=[1]),
    "dtype": lambda h: h["variables"][0]["slots"]["rms"].update(dtype="object"),
    "dtype_other": lambda h: h["variables"][0]["slots"]["rms"].update(dtype="float16"),
    "shape": lambda h: h["variables"][0]["slots"]["rms"].update(shape=[2, 3]),
    "shape_huge": lambda h: h["variables"][0]["slots"]["rms"].update(shape=[2**50]),
    "shape_negative": lambda h: h["variables"][0]["slots"]["rms"].update(shape=[-1]),
    "shape_text": lambda h: h["variables"][0]["slots"]["rms"].update(shape=["3"]),
    "array_missing": lambda h: h["variables"][0]["slots"]["rms"].update(array=99),
    "array_twice": lambda h: h["variables"][0]["slots"]["rms"].update(array=1),
    "array_path": lambda h: h["variables"][0]["slots"]["rms"].update(array="../x"),
}


@pytest.mark.parametrize("change", HEADERS.values(), ids=HEADERS)
def test_a_header_that_is_wrong_is_refused(saved, change):
    edited(saved, change)
    with pytest.raises(ValueError, match="state.npz.*`migration.read_state` reads"):
        migration.OptimizerState.load(saved)


def test_pickles_strangers_and_compressed_members_are_refused(saved):
    def keep(header):
        """Leaves the header as it is."""

    whole = saved.read_bytes()
    edited(saved, keep, {"0.npy": npy(np.array([Bomb()] * 6, dtype=object))})
    with pytest.raises(ValueError, match="instead of float32"):
        migration.OptimizerState.load(saved)
    saved.write_bytes(whole)
    edited(saved, keep, {"extra.npy": npy(np.zeros(2))})
    with pytest.raises(ValueError, match=r"nothing describes its members \['extra"):
        migration.OptimizerState.load(saved)
    saved.write_bytes(whole)
    edited(saved, keep, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ValueError, match="is compressed"):
        migration.OptimizerState.load(saved)


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x05\x06" + bytes(18)])
def test_files_of_other_kinds_are_refused_by_name(content, tmp_path):
    path = tmp_path / "foreign"
    path.write_bytes(content)
    for read in (migration.read_state, migration.OptimizerState.load):
        with pytest.raises(ValueError, match="foreign"):
            read(path)


def test_an_array_that_cannot_be_kept_leaves_the_earlier_file(saved, state):
    before = saved.read_bytes()
    odd = VariableState({"rms": np.array([object()])})
    with pytest.raises(ValueError, match="an array of object"):
        migration.OptimizerState({"a": odd}).save(saved)
    with pytest.raises(TypeError):
        migration.OptimizerState({}, hyperparameters={"a": object()}).save(saved)
    assert saved.read_bytes() == before
    assert os.listdir(saved.parent) == [saved.name]
    with pytest.raises(FileNotFoundError, match="no directory"):
        state.save(saved.parent / "nowhere" / "state.npz")


def test_a_save_that_is_killed_leaves_the_earlier_file_readable(saved, state):
    # The child stops in the middle of a save, which is where it is killed.
    program = """
import numpy as np, sys, time
from keras_rmsprop.migration import state as s

write = np.lib.format.write_array
def write_and_wait(*args, **kwargs):
    write(*args, **kwargs)
    print("written", flush=True)
    time.sleep(600)
np.lib.format.write_array = write_and_wait
s.OptimizerState({"v": s.VariableState({"rms": np.zeros(100_000)})}).save(sys.argv[1])
"""
    child = subprocess.Popen(
        [sys.executable, "-c", program, str(saved)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert child.stdout.readline() == "written\n"
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
        child.stdout.close()
    assert os.listdir(saved.parent) == [saved.name]
    runs.assert_same_state(migration.OptimizerState.load(saved), state)


# Files of other libraries, damaged.


def keras_model(optimizer):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile(optimizer, "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    return model


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5", "m.h5"])
@pytest.mark.filterwarnings("ignore:You are saving")
def test_truncated_keras_files_are_refused_by_name(name, tmp_path):
    model = keras_model(keras.optimizers.RMSprop())
    path = tmp_path / name
    (model.save_weights if "weights" in name else model.save)(path)
    whole = path.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.9, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(ValueError, match=name):
            migration.read_state(path)


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.filterwarnings("ignore:You are saving")
def test_keras_files_of_other_optimizers_are_refused(name, tmp_path):
    keras_model(keras.optimizers.Adam()).save(tmp_path / name)
    with pytest.raises(ValueError, match="of an optimizer 'Adam', not of RMSprop"):
        migration.read_state(tmp_path / name)


def test_an_hdf5_file_that_refers_to_other_files_is_refused(tmp_path):
    path, secret = tmp_path / "m.h5", tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["v"] = np.zeros(2)
    for link in (h5py.ExternalLink(secret, "/v"), h5py.SoftLink("/x")):
        with h5py.File(path, "w") as file:
            group = file.create_group("optimizer_weights")
            group.attrs["weight_names"] = [b"a/rms:0"]
            group["a/rms:0"] = link
            file["x"] = np.zeros(2)
        with pytest.raises(ValueError, match="has no dataset"):
            migration.read_state(path)
    with h5py.File(path, "w") as file:
        group = file.create_group("optimizer_weights")
        group.attrs["weight_names"] = [b"a/rms:0"]
        group.create_dataset(
            "a/rms:0", (2,), "f4", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )
    with pytest.raises(ValueError, match="is no plain dataset"):
        migration.read_state(path)


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_truncated_checkpoints_are_refused_by_name(ending, share, tmp_path):
    variables = runs.tf_variables(runs.start())
    optimizer = runs.MAKE["shipped_tf1"]()
    runs.train(optimizer, variables, 0, 1)
    prefix = tf.train.Checkpoint(o=optimizer, v=variables).save(str(tmp_path / "model"))
    path = f"{prefix}{ending}"
    with open(path, "r+b") as file:
        file.truncate(int(share * os.path.getsize(path)))
    with pytest.raises(ValueError, match="model-1"):
        migration.read_state(prefix)


def test_a_damaged_graph_beside_a_checkpoint_is_named(tmp_path):
    with tf.Graph().as_default(), runs.tf1.Session() as session:
        v = runs.tf1.get_variable("v", shape=(2,))
        runs.tf1.train.RMSPropOptimizer(0.1).minimize(tf.reduce_sum(v**2))
        session.run(runs.tf1.global_variables_initializer())
        prefix = runs.tf1.train.Saver().save(session, str(tmp_path / "m"))
    with open(f"{prefix}.meta", "r+b") as file:
        file.truncate(100)
    with pytest.raises(ValueError, match="m.meta.*truncated or damaged"):
        migration.read_state(prefix)
    os.remove(f"{prefix}.meta")
    assert list(migration.read_state(prefix).variables) == ["v"]
