"""The recorder in programs of today; those of other years are in `files`."""

import ast
import copy
import glob
import os
import signal
import subprocess
import sys
import threading
import time
import zlib

import keras
import numpy as np
import programs
import pytest
import tensorflow as tf
import tf_keras
from absl.testing import parameterized

# Under a private name only: the last copy of the class of TensorFlow 1.4 to 1.12.
from tf_keras.src.optimizers import optimizer_v1

import compat_v1
import keras_rmsprop
from keras_rmsprop.migration import read_recording
from keras_rmsprop.migration.recording import Slices, record_rmsprop

tf1 = tf.compat.v1
FILES = sorted(glob.glob(os.path.join(os.path.dirname(__file__), "files/*.rmsprop")))
# Not what is tested here: which rows lazy updates leave alone.
pytestmark = pytest.mark.filterwarnings("ignore:Without momentum, OptimizerV2")
START = [
    np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32),
    np.random.default_rng(1).normal(size=(3,)).astype(np.float32),
    np.float32(0.5),
]
OPTIMIZERS = {
    "keras": (keras.optimizers.RMSprop, "keras"),
    "keras_rmsprop": (keras_rmsprop.RMSprop, "keras"),
    "keras_rmsprop.legacy": (keras_rmsprop.legacy.RMSprop, "legacy"),
    "compat_v1": (compat_v1.train.RMSPropOptimizer, "tf1"),
    "tf1": (tf1.train.RMSPropOptimizer, "tf1"),
    "tf_keras": (tf_keras.optimizers.RMSprop, "keras2"),
    "tf_keras.legacy": (tf_keras.optimizers.legacy.RMSprop, "legacy"),
}


def gradients(step):
    """Returns the gradients of a step: slices with a repeated row, dense, none."""
    random = np.random.default_rng(step)
    values = random.normal(size=(4, 3)).astype(np.float32)
    slices = tf.IndexedSlices(
        tf.constant(values), tf.constant([0, step % 5, 1, 1]), tf.constant([5, 3])
    )
    return [slices, tf.constant(values[0]), None]


def train(optimizer, variables, steps, compiled=False, before_step=None):
    """Applies the gradients of some steps."""

    def apply(*grads):
        # Without the variable that has no gradient, as careful loops do.
        optimizer.apply_gradients(zip(grads, variables))

    take = tf.function(apply) if compiled else apply
    for step in range(steps):
        if before_step:
            before_step(step)
        take(*gradients(step)[:2])


def variables_of(start=START, name=None):
    return [tf.Variable(value, name=name or f"v{i}") for i, value in enumerate(start)]


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run.rmsprop")


@pytest.fixture
def recorder(path):
    return record_rmsprop.Recorder(path, steps=6)


def stopped(path):
    """Returns why a recording stopped, and how many steps it has."""
    recording = read_recording(path)
    return recording.stopped, len(recording)


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "tf.function"])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_recording_changes_no_bit_and_has_every_bit(path, name, compiled):
    make, generation = OPTIMIZERS[name]
    plain, recorded = variables_of(), variables_of()
    train(make(0.05, momentum=0.9), plain, 8, compiled)
    recorder = record_rmsprop.Recorder(path, steps=6)
    optimizer = make(0.05, momentum=0.9)
    assert recorder.wrap(optimizer) is optimizer and type(optimizer) is make
    seen = []
    train(
        optimizer,
        recorded,
        8,
        compiled,
        lambda _: seen.append([variable.numpy() for variable in recorded]),
    )
    for expected, actual in zip(plain, recorded):
        assert expected.numpy().tobytes() == actual.numpy().tobytes()

    recording = read_recording(path)
    assert recording.generation == generation
    assert recording.optimizer == f"{make.__module__}.{make.__qualname__}"
    assert (recording.stopped, len(recording)) == (None, 6)
    assert recording.arguments["momentum"] == 0.9
    assert recording.arguments["learning_rate"] == pytest.approx(0.05)
    assert recording.names == ("v0", "v1")
    assert recording.versions["tensorflow"] == tf.__version__
    for step in recording:
        given = gradients(step.step)
        assert isinstance(step.gradients[0], Slices)
        assert np.array_equal(step.gradients[0].values, given[0].values)
        assert np.array_equal(step.gradients[0].indices, given[0].indices)
        assert np.array_equal(step.gradients[1], given[1])
        assert step.learning_rate == np.float32(0.05)
        for value, checksum, expected in zip(
            step.values, step.checksums, seen[step.step + 1]
        ):
            assert value.tobytes() == expected.tobytes()
            assert checksum == zlib.crc32(expected.tobytes())
        assert not step.changed and step.loss is None and step.batch is None


PROGRAMS = ("session", "monitored", "centered", "fit", "fit_decay", "loop", "eager")


@pytest.mark.parametrize("name", PROGRAMS)
def test_whole_programs_end_in_the_same_bits(path, name, monkeypatch):
    if name == "fit_decay":
        monkeypatch.setattr(tf, "keras", tf_keras)
    program = getattr(programs, name)
    expected = program(None)
    assert expected == program(record_rmsprop.Recorder(path, steps=programs.STEPS))
    recording = read_recording(path)
    assert stopped(path) == (None, programs.STEPS)
    has_loss = [step.loss is not None for step in recording]
    assert all(has_loss)


@pytest.mark.parametrize(
    ("modules", "make"),
    [
        (keras, keras.optimizers.RMSprop),
        (keras, keras_rmsprop.RMSprop),
        (keras, keras_rmsprop.legacy.RMSprop),
        (keras, compat_v1.keras.optimizer_v1.RMSprop),
        (tf_keras, tf_keras.optimizers.RMSprop),
        (tf_keras, tf_keras.optimizers.legacy.RMSprop),
    ],
    ids=lambda each: getattr(each, "__module__", each.__name__),
)
def test_fit_records_losses_batches_and_the_whole_model(recorder, path, modules, make):
    model = programs.keras_model(modules)
    x = np.arange(24, dtype=np.float32).reshape(6, 4)
    y = np.ones((6, 1), np.float32)
    recorder.model(model, batches=True)
    model.compile(recorder.wrap(make(0.01)), loss="mse")
    model.fit(x, y, batch_size=2, epochs=2, shuffle=False, verbose=0)
    recording = read_recording(path)
    steps = list(recording)
    assert len(steps) == 6
    for step, row in zip(steps, (0, 2, 4, 0, 2, 4)):
        assert np.array_equal(step.batch[0], x[row : row + 2])
        assert np.array_equal(step.batch[1], y[row : row + 2])
        assert step.loss > 0
    assert len(recording.names) == 6
    statistics = list(recording.others.values())
    assert [value.tolist() for value in statistics] == [[0.0] * 5, [1.0] * 5]
    frozen = [value for name, value in zip(recording.others, steps[-1].others)]
    assert np.array_equal(frozen[0], model.layers[1].get_weights()[2])


def ancestors(operation):
    """Returns all operations that run before this one."""
    found, open_ends = set(), [operation]
    while open_ends:
        each = open_ends.pop()
        before = {tensor.op for tensor in each.inputs} | set(each.control_inputs)
        open_ends += before - found
        found |= before
    return found


def updates_of(make, name):
    """Returns what the optimizer returned in a graph with two variables."""
    kernel = tf1.get_variable("kernel", initializer=START[0])
    bias = tf1.get_variable("bias", initializer=START[1])
    loss = tf.reduce_sum(tf.square(tf.nn.embedding_lookup(kernel, [1, 1]) + bias))
    if name == "minimize":
        return make(0.1).minimize(loss, tf1.train.get_or_create_global_step())
    return make(0.1).get_updates(loss, [kernel, bias])


@pytest.mark.parametrize(
    ("make", "name", "use_resource"),
    [
        (tf1.train.RMSPropOptimizer, "minimize", False),
        (tf1.train.RMSPropOptimizer, "minimize", True),
        (compat_v1.train.RMSPropOptimizer, "minimize", False),
        (compat_v1.train.RMSPropOptimizer, "minimize", True),
        (tf_keras.optimizers.legacy.RMSprop, "get_updates", True),
        (keras_rmsprop.legacy.RMSprop, "get_updates", True),
        (optimizer_v1.RMSprop, "get_updates", False),
        (optimizer_v1.RMSprop, "get_updates", True),
    ],
    ids=lambda each: getattr(each, "__module__", str(each)),
)
def test_every_update_of_a_graph_lies_between_both_records(
    recorder, make, name, use_resource
):
    with tf.Graph().as_default() as graph:
        tf1.get_variable_scope().set_use_resource(use_resource)
        updates_of(lambda *args: recorder.wrap(make(*args)), name)
        operations = graph.get_operations()
    (begun,) = (op for op in operations if op.name.endswith("record_rmsprop_begun"))
    ticket = begun.inputs[0].op
    written = [op for op in operations if op.type == "If" and begun in ancestors(op)]
    updates = [op for op in operations if is_update(op)]
    assert len(updates) >= 2 and written
    assert all(ticket in ancestors(update) for update in updates)
    assert all(set(updates) <= ancestors(op) for op in written)


def is_update(operation):
    """Whether this changes a variable by what comes of a gradient."""
    changes = "Apply" in operation.type or "Assign" in operation.type
    return changes and any("gradients" in op.name for op in ancestors(operation))


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_class_of_2017_is_recorded_in_a_graph(recorder, path, decay):
    ends = []
    for wrap in (lambda optimizer: optimizer, recorder.wrap):
        with tf.Graph().as_default():
            variable = tf1.get_variable("w", initializer=np.ones(3, np.float32))
            optimizer = wrap(optimizer_v1.RMSprop(lr=0.1, decay=decay, clipvalue=0.5))
            updates = optimizer.get_updates(tf.reduce_sum(variable**2), [variable])
            with tf1.Session() as session:
                session.run(tf1.global_variables_initializer())
                for _ in range(6):
                    session.run(updates)
                ends.append(session.run(variable))
    if not decay:
        # With it the class reads its step counter before or after the increment.
        assert ends[0].tobytes() == ends[1].tobytes()
    recording = read_recording(path)
    assert recording.generation == "keras_2017" and recording.clipped
    assert recording.arguments["lr"] == np.float32(0.1)
    assert recording.arguments["decay"] == decay
    value, mean_square = np.ones(3), np.zeros(3)
    for number, step in enumerate(recording):
        rate = 0.1 / (1 + decay * number)
        assert step.learning_rate == pytest.approx(rate, rel=1e-6)
        assert step.loss == pytest.approx(np.sum(value**2), rel=1e-6)
        mean_square = 0.9 * mean_square + 0.1 * step.gradients[0] ** 2
        moved = step.learning_rate * step.gradients[0] / np.sqrt(mean_square)
        np.testing.assert_allclose(step.values[0], value - moved, rtol=1e-5)
        value = step.values[0]
    assert np.array_equal(step.values[0], ends[1])


def graph_run(recorder, steps, make=tf1.train.RMSPropOptimizer, **session):
    """Trains in a TF1 graph; yields before each step."""
    with tf.Graph().as_default():
        variable = tf1.get_variable("w", initializer=START[1], use_resource=False)
        factor = tf1.placeholder_with_default(1.0, [])
        loss = tf.reduce_sum(tf.square(variable)) * factor
        train = recorder.wrap(make(0.05)).minimize(loss)
        with tf1.Session(**session) as running:
            running.run(tf1.global_variables_initializer())
            for _ in range(steps):
                yield running, factor, variable
                running.run(train)


@pytest.mark.parametrize("name", ["tf1", "compat_v1"])
def test_graphs_know_their_loss(recorder, path, name):
    for _ in graph_run(recorder, 2, OPTIMIZERS[name][0]):
        pass
    steps = list(read_recording(path))
    assert steps[0].loss == pytest.approx(float(np.square(START[1]).sum()), rel=1e-6)
    assert np.array_equal(steps[0].gradients[0], 2 * START[1])


def test_values_that_a_graph_is_fed_can_be_handed_over(recorder, path):
    for number, _ in enumerate(graph_run(recorder, 3)):
        recorder.batch({"x": np.full(2, number)})
    assert [step.batch["x"][0] for step in read_recording(path)] == [0, 1, 2]


def test_variables_that_something_else_changes_are_recorded(recorder, path):
    variables = variables_of()
    assigned = np.full((3,), 9.0, np.float32)

    def before_step(step):
        if step == 3:
            variables[1].assign(assigned)

    train(recorder.wrap(keras_rmsprop.RMSprop(0.1)), variables, 6, False, before_step)
    changed = {step.step: step.changed for step in read_recording(path)}
    assert list(changed.pop(3)) == [1]
    assert not any(changed.values())


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_resumed_run_starts_from_the_slots_it_resumed_with(tmp_path, name):
    make, generation = OPTIMIZERS[name]
    variables, optimizer = variables_of(), make(0.05, momentum=0.9, centered=True)
    counter = tf.Variable(0, dtype=tf.int64)
    kwargs = {"global_step": counter} if generation == "tf1" else {}
    pairs = list(zip(gradients(0), variables))[:2]
    for _ in range(3):
        optimizer.apply_gradients(pairs, **kwargs)
    recorder = record_rmsprop.Recorder(str(tmp_path / "resumed"), steps=1)
    optimizer = recorder.wrap(optimizer)
    slots = {
        "rms": "_velocities",
        "mg": "_average_gradients",
        "momentum": "_momentums",
    }
    if hasattr(optimizer, "get_slot"):
        expected = {slot: optimizer.get_slot(variables[1], slot) for slot in slots}
    else:
        expected = {slot: getattr(optimizer, slots[slot])[1] for slot in slots}
    expected = {slot: expected[slot].numpy() for slot in expected}
    optimizer.apply_gradients(pairs, **kwargs)
    recording = read_recording(tmp_path / "resumed")
    assert recording.iterations == 3
    for slot, value in recording.start_slots[1].items():
        assert np.array_equal(value, expected[slot]), slot
    assert sorted(recording.start_slots[1]) == ["mg", "momentum", "rms"]


def test_schedules_and_evaluated_rates(tmp_path):
    schedule = keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.5)
    for rate, evaluated in ((schedule, ()), (lambda: 0.1, ("learning_rate",))):
        path = str(tmp_path / f"{len(evaluated)}.rmsprop")
        optimizer = keras.optimizers.RMSprop(rate)
        recorder = record_rmsprop.Recorder(path, steps=3)
        train(recorder.wrap(optimizer), variables_of(), 3)
        recording = read_recording(path)
        rates = [step.learning_rate for step in recording]
        assert recording.evaluated == evaluated
        if not evaluated:
            argument = recording.arguments["learning_rate"]
            assert argument["class_name"] == "ExponentialDecay"
            assert rates == [float(schedule(step)) for step in range(3)]
        else:
            assert recording.arguments["learning_rate"] == np.float32(0.1)
            assert rates == [np.float32(0.1)] * 3


@pytest.mark.parametrize("name", ["keras_rmsprop", "tf_keras", "compat_v1"])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_precisions(recorder, path, dtype, name):
    variable = tf.Variable(tf.cast(START[0], dtype), name="w")
    optimizer = recorder.wrap(OPTIMIZERS[name][0](0.1))
    gradient = tf.ones([5, 3], dtype)
    optimizer.apply_gradients([(gradient, variable)])
    (step,) = read_recording(path)
    assert step.values[0].dtype.name == dtype
    assert step.values[0].tobytes() == variable.numpy().tobytes()


def test_values_may_be_left_out(tmp_path):
    path = str(tmp_path / "run.rmsprop")
    recorder = record_rmsprop.Recorder(path, steps=5, values_every=2)
    train(recorder.wrap(keras_rmsprop.RMSprop()), variables_of(), 5)
    steps = list(read_recording(path))
    assert [step.values is not None for step in steps] == [0, 1, 0, 1, 1]
    assert zlib.crc32(steps[1].values[0].tobytes()) == steps[1].checksums[0]


def test_a_recorder_that_has_its_steps_writes_no_more(recorder, path):
    variables, optimizer = variables_of(), keras_rmsprop.RMSprop(0.1)
    train(recorder.wrap(optimizer), variables, 6)
    size = os.path.getsize(path)
    calls = []
    recorder._before = recorder._after = recorder._begin = calls.append
    train(optimizer, variables, 3)
    assert os.path.getsize(path) == size and not calls


def test_names_that_repeat_are_numbered(recorder, path):
    variables = variables_of(name="Variable")
    train(recorder.wrap(keras_rmsprop.RMSprop()), variables, 1)
    assert read_recording(path).names == ("Variable", "Variable_1")


@pytest.mark.parametrize("name", ["keras_rmsprop", "keras_rmsprop.legacy"])
def test_a_copy_of_a_recorded_optimizer_is_one_of_its_own(recorder, path, name):
    optimizer = recorder.wrap(OPTIMIZERS[name][0](0.1))
    variables = variables_of()
    train(optimizer, variables, 2)
    copied = copy.deepcopy(optimizer)
    train(copied, variables, 3)
    assert int(optimizer.iterations) == 2 and int(copied.iterations) == 5
    assert len(read_recording(path)) == 2


@pytest.mark.parametrize("modules", [keras, tf_keras])
def test_a_model_with_a_recorder_can_be_saved(recorder, tmp_path, modules):
    model = programs.keras_model(modules)
    recorder.model(model, batches=True)
    model.compile(recorder.wrap(modules.optimizers.RMSprop(0.01)), loss="mse")
    x = np.ones((2, 4), np.float32)
    model.fit(x, x[:, :1], verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = modules.models.load_model(tmp_path / "model.keras")
    assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    assert int(loaded.optimizer.iterations) == 1


# What ends a recording, and never the run.


def test_threads_that_train_at_once_are_found_out(recorder, path):
    """Both steps begin before one ends."""
    variables, optimizer = variables_of(), compat_v1.train.RMSPropOptimizer(0.1)
    both = threading.Barrier(2)
    original = optimizer.apply_gradients

    def meet(*args, **kwargs):
        result = original(*args, **kwargs)
        if waiting:
            both.wait(60)
        return result

    waiting = False
    optimizer.apply_gradients = meet
    recorder.wrap(optimizer)
    train(optimizer, variables, 2)
    waiting = True
    threads = [
        threading.Thread(target=train, args=(optimizer, variables, 1)) for _ in range(2)
    ]
    with pytest.warns(UserWarning, match="two steps overlapped"):
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    waiting = False
    train(optimizer, variables, 1)
    why, steps = stopped(path)
    assert "two steps overlapped" in why
    assert steps == 2


def test_two_optimizers_are_found_out(recorder, path):
    first, second = keras_rmsprop.RMSprop(), keras_rmsprop.RMSprop()
    recorder.wrap(first)
    recorder.wrap(second)
    train(second, variables_of(), 1)
    with pytest.warns(UserWarning, match="two optimizers"):
        train(first, variables_of(), 1)
    assert stopped(path)[1] == 1


def test_an_optimizer_that_is_built_anew_ends_the_recording(recorder, path):
    train(recorder.wrap(keras_rmsprop.RMSprop()), variables_of(), 2)
    with pytest.warns(UserWarning, match="another optimizer"):
        train(recorder.wrap(keras_rmsprop.RMSprop()), variables_of(), 2)
    assert stopped(path)[1] == 2


def test_an_optimizer_that_is_wrapped_twice_records_once(recorder, path):
    optimizer = keras_rmsprop.RMSprop()
    train(recorder.wrap(recorder.wrap(optimizer)), variables_of(), 6)
    assert stopped(path) == (None, 6)


@pytest.mark.parametrize("name", ["keras", "tf_keras", "tf_keras.legacy"])
def test_a_setting_that_changes_ends_the_recording(recorder, path, name):
    optimizer = recorder.wrap(OPTIMIZERS[name][0](0.1, momentum=0.5))
    variables = variables_of()
    train(optimizer, variables, 2)
    optimizer.learning_rate = 0.05
    train(optimizer, variables, 1)
    optimizer.momentum = 0.25
    with pytest.warns(UserWarning, match="momentum changed from 0.5 to 0.25"):
        train(optimizer, variables, 1)
    assert stopped(path)[1] == 3
    assert list(read_recording(path))[2].learning_rate == np.float32(0.05)


def test_an_operation_behind_the_returned_one_ends_the_recording(recorder, path):
    with tf.Graph().as_default():
        variable = tf1.get_variable("w", initializer=START[1])
        optimizer = recorder.wrap(tf1.train.RMSPropOptimizer(0.1))
        optimizer.minimize(tf.reduce_sum(variable**2), name="train")
        inner = tf1.get_default_graph().get_operation_by_name("train")
        with tf1.Session() as session, pytest.warns(UserWarning, match="stopped"):
            session.run(tf1.global_variables_initializer())
            for _ in range(5):
                session.run(inner)
    why, steps = stopped(path)
    assert "run the operation that `minimize`" in why and steps == 0


def test_a_step_that_failed_is_recorded_when_it_is_taken_again(recorder, path):
    with tf.Graph().as_default() as graph:
        variable = tf1.get_variable("w", initializer=START[1])
        optimizer = recorder.wrap(tf1.train.RMSPropOptimizer(0.1))
        step = optimizer.minimize(tf.reduce_sum(variable**2))
        # The tensor by whose value the recorder knows that a step has begun.
        (begun,) = (
            op
            for op in graph.get_operations()
            if op.name.endswith("record_rmsprop_begun")
        )
        with tf.control_dependencies(begun.inputs[:1]):
            fail = tf1.assert_equal(0, tf1.placeholder_with_default(1, []))
        with tf1.Session() as session:
            session.run(tf1.global_variables_initializer())
            session.run(step)
            with pytest.raises(tf.errors.InvalidArgumentError):
                session.run(fail)
            for _ in range(5):
                session.run(step)
    assert stopped(path) == (None, 6)


def test_a_file_that_cannot_be_written_does_not_end_the_run(recorder, path):
    os.rmdir(os.path.dirname(path))
    variables = variables_of()
    with pytest.warns(UserWarning, match="No such file"):
        train(recorder.wrap(keras_rmsprop.RMSprop(0.1)), variables, 2)
    assert not np.array_equal(variables[0].numpy(), START[0])


def test_a_killed_program_leaves_what_it_recorded(path):
    program = f"""
import os, sys
sys.path[:0] = {[os.path.dirname(record_rmsprop.__file__)]!r}
import record_rmsprop, tensorflow as tf
recorder = record_rmsprop.Recorder({path!r}, steps=10**6)
variable = tf.Variable(tf.ones([1000]))
optimizer = recorder.wrap(tf.compat.v1.train.RMSPropOptimizer(0.1))
while True:
    optimizer.apply_gradients([(variable, variable)])
"""
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        patience = time.monotonic() + 120
        while not (os.path.exists(path) and os.path.getsize(path) > 100_000):
            assert process.poll() is None and time.monotonic() < patience
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    recording = read_recording(path)
    steps = list(recording)
    assert 5 < len(steps) == len(recording)
    assert recording.stopped == f"the program ended after {len(steps)} of 1000000 steps"
    for before, after in zip(steps, steps[1:]):
        assert np.array_equal(after.gradients[0], before.values[0])


# What is a mistake, and said before the first step.


class TestBadInput(parameterized.TestCase):
    @parameterized.parameters(0, -1, 1.5, True, None)
    def test_counts(self, count):
        for argument in ("steps", "values_every"):
            with pytest.raises(ValueError, match=f"`{argument}` must be a positive"):
                record_rmsprop.Recorder("run.rmsprop", **{argument: count})

    def test_files_that_exist(self):
        with pytest.raises(ValueError, match="does not exist"):
            record_rmsprop.Recorder(__file__)

    def test_directories_that_do_not(self):
        with pytest.raises(ValueError, match="existing directory"):
            record_rmsprop.Recorder(os.path.join(__file__, "run.rmsprop"))


def test_other_optimizers_are_refused(recorder):
    for optimizer in (keras.optimizers.SGD(), object()):
        with pytest.raises(ValueError, match="must be an RMSProp optimizer"):
            recorder.wrap(optimizer)
    inner = keras.optimizers.RMSprop()
    with pytest.raises(ValueError, match="wrap the inner one"):
        recorder.wrap(keras.optimizers.LossScaleOptimizer(inner))


def test_a_loss_scaling_optimizer_trains_with_a_recorded_one(recorder, path):
    inner = recorder.wrap(keras.optimizers.RMSprop(0.1))
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=4.0)
    variable = keras.Variable(START[1], name="w")
    optimizer.build([variable])
    for _ in range(2):
        optimizer.apply([tf.constant(START[1]) * 4], [variable])
    steps = list(read_recording(path))
    assert np.array_equal(steps[1].gradients[0], START[1])
    assert np.array_equal(steps[1].values[0], variable.numpy())


@pytest.mark.parametrize("batch", ["text", tf.ragged.constant([[1], []]), {1: 2.0}])
def test_batches_that_cannot_be_recorded_are_refused(recorder, batch):
    with pytest.raises(ValueError, match="batch"):
        recorder.batch(batch, np.ones(3))


def test_other_variables_than_the_first_are_refused(recorder):
    optimizer = recorder.wrap(compat_v1.train.RMSPropOptimizer(0.1))
    train(optimizer, variables_of(), 1)
    with pytest.raises(ValueError, match="follows one list of variables"):
        train(optimizer, variables_of(), 1)


def test_replicas_are_refused(recorder):
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        variable = tf.Variable(START[1])
        optimizer = recorder.wrap(tf_keras.optimizers.legacy.RMSprop())

    @tf.function
    def step():
        optimizer.apply_gradients([(tf.constant(START[1]), variable)])

    with pytest.raises(ValueError, match="follows one replica"):
        strategy.run(step)


def test_xla_says_what_it_cannot_compile(recorder):
    optimizer = recorder.wrap(keras.optimizers.RMSprop())
    variable = keras.Variable(START[1], name="w")
    optimizer.build([variable])

    @tf.function(jit_compile=True)
    def step():
        optimizer.apply([tf.constant(START[1])], [variable])

    with pytest.raises(tf.errors.OpError, match="recorder_needs_jit_compile_False"):
        step()


def test_models_without_variables_are_refused(recorder):
    model = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="build it first"):
        recorder.model(model)


# The files of other years, and the file that made them.


@pytest.mark.parametrize("file", FILES, ids=os.path.basename)
def test_recordings_of_every_era_are_read(file):
    recording = read_recording(file)
    assert (recording.stopped, len(recording)) == (None, programs.STEPS)
    era = os.path.basename(file).split("-")[0]
    package = "keras" if era.startswith("keras") else "tensorflow"
    assert era.endswith(recording.versions[package])
    assert recording.generation in ("tf1", "legacy", "keras2", "keras", "keras_2017")
    values = recording.start
    for step in recording:
        assert not step.changed
        moved = [not np.array_equal(*pair) for pair in zip(values, step.values)]
        given = [gradient is not None for gradient in step.gradients]
        assert moved == given
        values = step.values
        sums = [zlib.crc32(value.tobytes()) for value in values]
        assert sums == step.checksums
        assert step.loss is not None


def test_every_file_has_its_program():
    assert len(FILES) > 10
    for file in FILES:
        program = os.path.basename(file).split("-")[1].split(".")[0]
        assert hasattr(programs, program)


def source():
    with open(record_rmsprop.__file__, encoding="ascii") as file:
        return file.read()


def test_the_recorder_needs_numpy_and_tensorflow_only():
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(ast.parse(source()))
        if isinstance(node, ast.Import)
        for name in node.names
    }
    others = imported - set(sys.stdlib_module_names)
    assert others == {"numpy", "tensorflow"}
    assert not any(
        isinstance(node, ast.ImportFrom) for node in ast.walk(ast.parse(source()))
    )


def test_the_recorder_is_written_for_python_3_5():
    tree = ast.parse(source(), feature_version=(3, 5))
    newer = (ast.JoinedStr, ast.AnnAssign, ast.NamedExpr)
    assert not [node.lineno for node in ast.walk(tree) if isinstance(node, newer)]


def test_the_command_prints_the_recorder():
    command = [sys.executable, "-m", "keras_rmsprop.migration.cli", "recorder"]
    printed = subprocess.run(command, capture_output=True, check=True, text=True)
    assert printed.stdout == source()
