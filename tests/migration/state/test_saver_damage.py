"""Damaged, foreign and hostile files end in an error that names them."""

import random

import numpy as np
import pytest
import tensorflow as tf
from migration.state import originals

from keras_rmsprop import migration

CASES = ("partitions-1.15.5", "v1_sharded-1.15.5", "cond_of_functions-1.15.5")


def assert_reads_or_refuses(directory):
    """Reads, or raises an error that names a file and is at most a screen."""
    try:
        migration.read_state(directory)
    except (ValueError, FileNotFoundError) as error:
        assert str(directory) in str(error)
        assert len(str(error)) < 4000
        return False
    return True


@pytest.fixture(params=CASES)
def files(request, tmp_path):
    originals.unpacked(request.param, tmp_path)
    return sorted(tmp_path.iterdir())


def test_truncated_files_are_refused(files):
    for path in files:
        data = path.read_bytes()
        lengths = {0, 1, 7, 48, len(data) // 3, len(data) // 2, len(data) - 1}
        results = []
        for length in sorted(lengths & set(range(len(data)))):
            path.write_bytes(data[:length])
            results.append(assert_reads_or_refuses(path.parent))
        path.write_bytes(data)
        # A graph may end where its last field began, and `checkpoint` is not needed.
        if path.suffix != ".meta" and path.name != "checkpoint":
            assert not any(results), path
    assert assert_reads_or_refuses(files[0].parent)


def test_flipped_bits_are_refused_or_change_nothing_that_has_a_checksum(files):
    state = migration.read_state(files[0].parent)
    bits = random.Random(5)
    for path in files:
        data = path.read_bytes()
        for _ in range(25):
            damaged = bytearray(data)
            damaged[bits.randrange(len(data))] ^= 1 << bits.randrange(8)
            path.write_bytes(damaged)
            if assert_reads_or_refuses(path.parent) and path.suffix != ".meta":
                # TensorFlow's own files have checksums, the graph has none.
                found = migration.read_state(path.parent)
                for name, variable in state.variables.items():
                    originals.assert_same(found.variables[name].value, variable.value)
        path.write_bytes(data)


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\3\4", b"\x89HDF\r\n\x1a\n", bytes(5000)]
)
def test_files_of_another_kind_are_refused(files, content):
    for path in files:
        data = path.read_bytes()
        path.write_bytes(content)
        assert_reads_or_refuses(path.parent)
        path.write_bytes(data)


def test_a_graph_that_is_empty_or_a_directory_is_no_crash(tmp_path):
    originals.unpacked("v1_format-1.15.5", tmp_path)
    meta = tmp_path / "model.ckpt-3.meta"
    meta.unlink()
    meta.mkdir()
    assert not assert_reads_or_refuses(tmp_path)


def hostile(tmp_path, change):
    """Returns a directory whose graph was changed."""
    originals.unpacked("cond_of_functions-1.15.5", tmp_path)
    path = tmp_path / "model.ckpt-3.meta"
    meta = tf.compat.v1.MetaGraphDef.FromString(path.read_bytes())
    change(meta.graph_def)
    path.write_bytes(meta.SerializeToString())
    return tmp_path


def test_a_constant_that_claims_to_be_huge_is_not_made(tmp_path):
    def change(graph):
        bodies = [function.node_def for function in graph.library.function]
        for node in [*graph.node, *(node for body in bodies for node in body)]:
            if node.op == "Const":
                shape = node.attr["value"].tensor.tensor_shape
                shape.dim.add(size=1 << 40)

    state = migration.read_state(hostile(tmp_path, change))
    assert set(state.hyperparameters) == {"centered"}


def test_a_function_that_runs_itself_is_refused(tmp_path):
    def change(graph):
        for function in graph.library.function:
            call = function.node_def.add(name="again", op="StatefulPartitionedCall")
            call.attr["f"].func.name = function.signature.name

    assert not assert_reads_or_refuses(hostile(tmp_path, change))


def test_operations_that_run_in_circles_are_no_endless_loop(tmp_path):
    def change(graph):
        for node in graph.node:
            if node.input and node.op in (
                "Identity",
                "ReadVariableOp",
                "RealDiv",
                "Mul",
            ):
                node.input[0] = node.name

    assert_reads_or_refuses(hostile(tmp_path, change))


def test_a_shape_that_the_files_cannot_hold_is_not_allocated(tmp_path):
    prefix = str(tmp_path / "m")
    names = ["w", "w/RMSProp", "w/RMSProp_1"]
    tf.raw_ops.SaveV2(
        prefix=prefix,
        tensor_names=names,
        shape_and_slices=[f"{1 << 44} 0,2"] * 3,
        tensors=[np.ones(2, "float32")] * 3,
    )
    with pytest.raises(
        ValueError, match=f"smaller than 'w/RMSProp' of shape .{1 << 44}"
    ):
        migration.read_state(prefix)
