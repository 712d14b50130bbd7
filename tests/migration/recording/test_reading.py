"""The file of a recording: what was written is read, and nothing else."""

import io
import struct
import tracemalloc
import zlib

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_rmsprop.migration import read_recording
from keras_rmsprop.migration.recording import Slices, record_rmsprop

HEADER = {
    "optimizer": "module.RMSprop",
    "generation": "tf1",
    "arguments": {"learning_rate": 0.1},
    "evaluated": [],
    "clipped": False,
    "versions": {"tensorflow": "1.4.1"},
    "processor": "a processor",
    "steps": 3,
    "iterations": 7,
}
START = [np.arange(6, dtype=np.float32).reshape(3, 2), np.float32(5.0)]
SLICES = (np.ones((2, 2), np.float32), np.array([0, 2]))


def write(path, steps=3, ended=True):
    """Writes a small recording."""
    file = record_rmsprop.RecordingFile(path)
    file.start(HEADER, ["a", "b"], START, [{"rms": START[0]}, {}], [("c", SLICES[1])])
    for step in range(steps):
        values = [START[0] + step, START[1]]
        sums = [record_rmsprop.checksum(value) for value in values]
        batch = ({"x": np.full(3, step)}, [np.float64(0.5), None])
        file.gradients(step, [SLICES, None], 0.1, 2.5, batch, [(1, START[1])])
        file.values(step, sums, values, [SLICES[1]])
    if ended:
        file.end(steps)
    file.close()
    return path


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run.rmsprop")


def equal(expected, actual):
    """Whether two steps, or parts of them, are the same."""
    if isinstance(expected, (tuple, list)):
        return (
            type(expected) is type(actual)
            and len(expected) == len(actual)
            and all(map(equal, expected, actual))
        )
    if isinstance(expected, dict):
        return expected.keys() == actual.keys() and all(
            equal(expected[key], actual[key]) for key in expected
        )
    if not isinstance(expected, np.ndarray):
        return type(expected) is type(actual) and expected == actual
    return expected.dtype == actual.dtype and expected.tobytes() == actual.tobytes()


def test_what_was_written_is_read(path):
    recording = read_recording(write(path))
    assert recording.optimizer == "module.RMSprop"
    assert (recording.generation, recording.iterations) == ("tf1", 7)
    assert recording.arguments == {"learning_rate": 0.1}
    assert recording.names == ("a", "b")
    assert equal(recording.start[0], START[0]) and recording.start[1] == START[1]
    assert equal(recording.start_slots, [{"rms": START[0]}, {}])
    assert equal(recording.others, {"c": SLICES[1]})
    assert (recording.truncated, recording.stopped) == (False, None)
    assert len(recording) == 3
    step = list(recording)[2]
    assert isinstance(step.gradients[0], Slices) and step.gradients[1] is None
    assert (step.step, step.learning_rate, step.loss) == (2, 0.1, 2.5)
    assert equal(step.values[0], START[0] + 2)
    assert step.checksums[0] == zlib.crc32(step.values[0].tobytes())
    assert equal(step.batch[0], {"x": np.full(3, 2)}) and step.batch[1][1] is None
    assert list(step.changed) == [1] and equal(step.others, [SLICES[1]])


def test_it_can_be_read_again_and_again(path):
    recording = read_recording(write(path))
    assert equal(list(recording), list(recording))


@pytest.mark.parametrize("dtype", record_rmsprop.DTYPES)
def test_every_dtype_keeps_its_bits(path, dtype):
    dtype = np.dtype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
    bits = np.random.default_rng(0).integers(0, 2, (5, dtype.itemsize), np.uint8)
    array = bits.view(dtype)
    file = record_rmsprop.RecordingFile(path)
    file.start(HEADER, ["a"], [array[::2]], [{}])
    file.close()
    assert equal(read_recording(path).start[0], array[::2].copy())


def test_big_endian_arrays_are_turned_round(path):
    file = record_rmsprop.RecordingFile(path)
    file.start(HEADER, ["a"], [np.array([1.0, 2.0], ">f4")], [{}])
    file.close()
    assert read_recording(path).start[0].tolist() == [1.0, 2.0]


def test_a_program_that_ended_early_is_said_to_have(path):
    recording = read_recording(write(path, steps=2, ended=False))
    assert recording.stopped == "the program ended after 2 of 3 steps"
    assert not recording.truncated


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = write(str(tmp_path_factory.mktemp("whole") / "run.rmsprop"))
    with open(path, "rb") as file:
        return file.read(), list(read_recording(path))


def put(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.rmsprop"
    path.write_bytes(data)
    return path


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_file_cut_off_anywhere_has_the_steps_before(whole, tmp_path_factory, data):
    content, steps = whole
    cut = data.draw(st.integers(0, len(content) - 1))
    path = put(tmp_path_factory, content[:cut])
    try:
        recording = read_recording(path)
    except ValueError as error:
        assert "ends before its first record" in str(error)
        return
    found = list(recording)
    assert equal(found, steps[: len(found)])
    assert recording.stopped == f"the program ended after {len(found)} of 3 steps"


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_changed_byte_is_an_error_that_says_where(whole, tmp_path_factory, data):
    content, _ = whole
    place = data.draw(st.integers(0, len(content) - 1))
    byte = data.draw(st.integers(1, 255))
    changed = bytearray(content)
    changed[place] ^= byte
    path = put(tmp_path_factory, changed)
    where = "record [0-9]+ at byte" if place >= len(record_rmsprop.MAGIC) else "begins"
    with pytest.raises(ValueError, match=f"changed.rmsprop.*({where}|version)"):
        list(read_recording(path))


def test_files_of_others_are_refused(tmp_path):
    for content, said in (
        (b"", "ends before its first record"),
        (b"PK\3\4" + bytes(100), "begins with"),
        (b"keras_rmsprop.Recording 2\n" + bytes(9), "version '2'"),
    ):
        path = tmp_path / "other"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=said):
            read_recording(path)


def prefix(header_size, data_size):
    packed = struct.pack("<IQII", header_size, data_size, 0, 0)
    return packed + struct.pack("<I", zlib.crc32(packed))


def test_a_record_that_claims_more_than_the_file_has_costs_no_memory(path):
    write(path, ended=False)
    with open(path, "ab") as file:
        file.write(prefix(1 << 31, 1 << 62))
    tracemalloc.start()
    recording = read_recording(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert recording.truncated and len(recording) == 3
    assert peak < 1 << 20


def test_reading_takes_the_memory_of_one_step(path):
    size, steps = 1 << 20, 8
    file = record_rmsprop.RecordingFile(path)
    value = np.zeros(size, np.uint8)
    file.start(dict(HEADER, steps=steps), ["a"], [value], [{}])
    for step in range(steps):
        file.gradients(step, [value], 0.1)
        file.values(step, [0], [value])
    file.close()
    tracemalloc.start()
    assert sum(1 for _ in read_recording(path)) == steps
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The start, a step, and the one before that the loop still holds.
    assert peak < 6 * size


GRADIENTS = {
    "record": "gradients",
    "step": 0,
    "gradients": [None, None],
    "learning_rate": 0.1,
    "loss": None,
    "batch": None,
    "changed": [],
}
VALUES = {
    "record": "values",
    "step": 0,
    "checksums": [0, 0],
    "values": None,
    "others": None,
}
SHAPE = [np.zeros((2, 3), np.float32)]
LONE = {"values": 0, "indices": 1}


@pytest.mark.parametrize(
    ("header", "arrays", "said"),
    [
        ({"gradients": [None]}, [], "1 gradients for 2 variables"),
        ({"gradients": [0, None]}, SHAPE, r"of 'a' has the shape \(2, 3\)"),
        ({"gradients": [None, LONE]}, SLICES, "of 'b' has slices"),
        ({"gradients": [LONE, None]}, SLICES[::-1], "has indices of float32"),
        ({"gradients": [LONE, None]}, [SLICES[0][:1], SLICES[1]], "for 2 indices"),
        ({"gradients": [0, None]}, [], "refers to number 0 of 0"),
        ({"gradients": [True, None]}, SHAPE, "refers to number True"),
        ({"gradients": None}, [], "no valid 'gradients'"),
        ({"step": 1}, [], "it is of step 1, and step 0 is due"),
        ({"learning_rate": "fast"}, [], "no valid 'learning_rate'"),
        ({"batch": {"set": []}}, [], "a batch of 'set'"),
        ({"changed": [[0, 0]]}, SHAPE, "its value of 'a'"),
        ({"record": "weights"}, [], "unknown kind 'weights'"),
        ({"record": "start"}, [], "the first alone is 'start'"),
        (VALUES, [], "values of step 0 and no gradients"),
        ({"record": "end", "steps": 4, "stopped": None}, [], "it ends 4 steps"),
    ],
)
def test_records_that_make_no_sense_say_what_is_wrong(path, header, arrays, said):
    file = record_rmsprop.RecordingFile(path)
    file.start(HEADER, ["a", "b"], START, [{}, {}])
    write_record(file, {**GRADIENTS, **header}, arrays)
    file.close()
    with pytest.raises(ValueError, match=f"run.rmsprop.*record 1 at byte.*{said}"):
        read_recording(path)


@pytest.mark.parametrize(
    ("header", "arrays", "said"),
    [
        ({"step": 1}, [], "it is of step 1, and step 0 is due"),
        ({"checksums": [0]}, [], "1 checksums for 2 variables"),
        ({"values": [0]}, SHAPE, "1 values for 2 variables"),
        ({"values": [0, 0]}, SHAPE, r"'a' is float32 of shape \(2, 3\)"),
        ({"others": [0]}, SHAPE, "1 other values for 0 variables"),
    ],
)
def test_values_that_make_no_sense_say_what_is_wrong(path, header, arrays, said):
    file = record_rmsprop.RecordingFile(path)
    file.start(HEADER, ["a", "b"], START, [{}, {}])
    write_record(file, GRADIENTS, [])
    write_record(file, {**VALUES, **header}, arrays)
    file.close()
    with pytest.raises(ValueError, match=f"record 2 at byte.*{said}"):
        read_recording(path)


def write_record(file, header, arrays):
    """Writes a record as it is given."""
    described = record_rmsprop._Arrays()
    for array in arrays:
        described.add(array)
    file._write(dict(header), described)


def test_nothing_may_follow_the_end(path):
    write(path)
    with open(path, "rb") as file:
        content = file.read()
    end = read_last(content)
    with open(path, "ab") as file:
        file.write(end)
    with pytest.raises(ValueError, match="follows the record that ends"):
        read_recording(path)


def read_last(content):
    """Returns the last record's bytes."""
    stream, start = io.BytesIO(content), len(record_rmsprop.MAGIC)
    while start < len(content):
        stream.seek(start)
        header, data = struct.unpack("<IQ", stream.read(12))
        last, start = start, start + 24 + header + data
    return content[last:]


def test_rows_that_a_variable_has_not_are_refused(path):
    file = record_rmsprop.RecordingFile(path)
    file.start(HEADER, ["a", "b"], START, [{}, {}])
    file.gradients(0, [(SLICES[0], np.array([0, 3])), None], 0.1)
    file.values(0, [0, 0])
    file.close()
    with pytest.raises(ValueError, match="record 1 at byte.*names rows from 0 to 3"):
        list(read_recording(path))


@pytest.mark.parametrize(
    ("described", "said"),
    [
        ([["float32", [1 << 40]]], "its arrays take"),
        ([["object", []]], "unknown dtype 'object'"),
        ([["float32", [-1]]], r"shape \[-1\]"),
        ([["float32", [1] * 33]], "of the shape"),
        ([["float32"]], "describes an array as"),
        (None, "no list of arrays"),
    ],
)
def test_arrays_are_checked_against_the_file(path, described, said):
    file = record_rmsprop.RecordingFile(path)
    arrays = record_rmsprop._Arrays()
    arrays.described = described
    file._write({"record": "start"}, arrays)
    file.close()
    with pytest.raises(ValueError, match=said):
        read_recording(path)


@pytest.mark.parametrize("text", [b"[" * 100_000, b"[]", b"{", b"\xff"])
def test_headers_that_are_no_json_object_are_refused(path, text):
    packed = struct.pack("<IQII", len(text), 0, zlib.crc32(text), 0)
    with open(path, "wb") as file:
        file.write(record_rmsprop.MAGIC + packed)
        file.write(struct.pack("<I", zlib.crc32(packed)) + text)
    with pytest.raises(ValueError, match="record 0 at byte 26: its header is not"):
        read_recording(path)


def test_a_full_disk_leaves_whole_records(path):
    file = record_rmsprop.RecordingFile(path)
    file.start(HEADER, ["a", "b"], START, [{}, {}])

    class Full:
        def __init__(self, real):
            self.real, self.left = real, 40

        def write(self, data):
            if self.left <= 0:
                raise OSError("No space left on device")
            written = self.real.write(data[: self.left])
            self.left -= written
            return written

        def __getattr__(self, name):
            return getattr(self.real, name)

    real, file._file = file._file, Full(file._file)
    with pytest.raises(OSError, match="No space"):
        file.gradients(0, [None, None], 0.1)
    file._file = real
    file.gradients(0, [None, None], 0.1)
    file.values(0, [0, 0])
    file.close()
    assert len(read_recording(path)) == 1
