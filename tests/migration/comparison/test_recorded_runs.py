"""`compare` with a recording in the reference's place."""

import glob
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import compat_v1
import keras_rmsprop
from keras_rmsprop import migration
from keras_rmsprop.migration.recording import record_rmsprop

tf1 = tf.compat.v1
FILES = os.path.join(os.path.dirname(__file__), "..", "recording", "files")
# Steps that the optimizers of today take to the bit, whatever recorded them.
TO_THE_BIT = {"keras3.15.1-fit", "tf1.15.5-estimator", "tf2.15.1-fit"}
# Their rate was a tensor, of which a recording only holds the values.
EVALUATED = {"tf1.15.5-monitored", "tf1.15.5-session", "tf1.4.1-session"}
# Squares duplicates one by one, which only the shipped class does.
SHIPPED_ONLY = {"keras3.15.1-loop"}


def recordings():
    paths = sorted(glob.glob(os.path.join(FILES, "*.rmsprop")))
    assert len(paths) > 10
    return {os.path.basename(path).removesuffix(".rmsprop"): path for path in paths}


def successor(recording):
    source = recording.generation, recording.arguments
    found = migration.arguments(source, keras_rmsprop.RMSprop)
    return keras_rmsprop.RMSprop(**found.arguments)


@pytest.mark.parametrize("name", sorted(set(recordings()) - EVALUATED - SHIPPED_ONLY))
def test_what_arguments_makes_of_a_recording_equals_it(name):
    recording = migration.read_recording(recordings()[name])
    found = migration.compare(recording, successor(recording))
    assert found.equivalent, found.report()
    assert len(found.steps) == len(recording)
    assert found.max_abs_difference < 1e-6
    if name in TO_THE_BIT:
        assert found.max_ulp == 0
    migration.assert_equivalent(recordings()[name], successor(recording))


@pytest.mark.parametrize("name", sorted(EVALUATED))
def test_a_rate_that_was_a_tensor_is_a_cause_and_has_a_remedy(name):
    path = recordings()[name]
    found = migration.compare(path, successor(migration.read_recording(path)))
    assert [cause.name for cause in found.causes] == ["learning-rate evaluation"]
    assert found.remedy.equivalent
    assert "recorded_rates" in found.remedy.call
    names = {}
    exec(found.remedy.code, names)  # It reads the rates from the recording.
    assert migration.compare(path, names["optimizer"]).equivalent


@pytest.mark.parametrize("name", sorted(SHIPPED_ONLY))
def test_squares_of_duplicates_are_told_from_ours(name):
    path = recordings()[name]
    ours = keras_rmsprop.RMSprop(
        0.01, momentum=0.9, centered=True, sparse_updates="dense"
    )
    found = migration.compare(path, ours)
    assert "duplicate indices" in [cause.name for cause in found.causes]
    recording = migration.read_recording(path)
    source = recording.generation, recording.arguments
    arguments = migration.arguments(source, keras.optimizers.RMSprop).arguments
    assert migration.compare(path, keras.optimizers.RMSprop(**arguments)).equivalent
    assert "ExponentialDecay(" in found.reference


def test_the_causes_of_a_recorded_run_are_found_and_remedied():
    found = migration.compare(
        recordings()["tf1.15.5-estimator"], keras_rmsprop.RMSprop(0.05, momentum=0.9)
    )
    assert not found.equivalent
    assert "initial accumulator" in [cause.name for cause in found.causes]
    assert found.remedy.max_ulp == 0
    assert "update_rule='tf1'" in found.report()


def record(path, optimizer, variables, steps=12, loss=None, **options):
    """Records steps on gradients that do not depend on the variables."""
    recorder = record_rmsprop.Recorder(str(path), steps=steps, **options)
    optimizer = recorder.wrap(optimizer)
    rng = np.random.default_rng(0)
    for _ in range(steps):
        gradients = [
            tf.constant(rng.normal(size=v.shape), variables[0].dtype) for v in variables
        ]
        optimizer.apply_gradients(list(zip(gradients, variables)))
    recorder.close()
    return str(path)


def variables(dtype="float32"):
    rng = np.random.default_rng(1)
    return [
        tf.Variable(rng.normal(size=shape), dtype=dtype, name=name)
        for name, shape in (("kernel", (4, 3)), ("bias", (3,)))
    ]


@pytest.mark.parametrize("every", [1, 5])
def test_values_of_every_nth_step_are_enough(every, tmp_path):
    path = record(
        tmp_path / "run",
        tf_keras.optimizers.legacy.RMSprop(0.01, momentum=0.5),
        variables(),
        values_every=every,
    )
    same = keras_rmsprop.RMSprop(0.01, momentum=0.5, update_rule="legacy")
    found = migration.compare(path, same)
    # Checksums vouch for the steps in between.
    assert found.max_ulp == 0 and len(found.steps) == 12
    other = keras_rmsprop.RMSprop(0.02, momentum=0.5, update_rule="legacy")
    found = migration.compare(path, other)
    assert found.first_divergence == every
    assert [cause.name for cause in found.causes] == ["learning rate"]
    assert found.remedy.equivalent


@pytest.mark.parametrize(
    "make, arguments",
    [
        (tf_keras.optimizers.RMSprop, {"update_rule": "keras2"}),
        (tf_keras.optimizers.legacy.RMSprop, {"update_rule": "legacy"}),
        (keras.optimizers.RMSprop, {}),
    ],
    ids=["keras2", "legacy", "keras"],
)
def test_a_run_that_was_resumed_is_replayed_from_its_slots(make, arguments, tmp_path):
    trained, optimizer = variables(), make(0.01, momentum=0.9)
    for _ in range(5):
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in trained])
    path = record(tmp_path / "run", optimizer, trained)
    recording = migration.read_recording(path)
    assert recording.iterations == 5
    rate = keras.optimizers.schedules.PiecewiseConstantDecay([5], [9.0, 0.01])
    ours = keras_rmsprop.RMSprop(
        keras.optimizers.schedules.PiecewiseConstantDecay([4], [9.0, 0.01]),
        momentum=0.9,
        **arguments,
    )
    assert migration.compare(path, ours).equivalent
    # The first step of the recording is the optimizer's sixth, number 5.
    late = keras_rmsprop.RMSprop(rate, momentum=0.9, **arguments)
    found = migration.compare(path, late)
    assert found.first_divergence == 1
    assert found.causes[0].name.startswith("learning")
    assert found.remedy.equivalent


def test_a_resumed_run_of_tf1_is_replayed_from_its_slots(tmp_path):
    path = str(tmp_path / "run")
    with tf.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("v", initializer=np.ones([3, 2], "float32"))
        step = tf1.train.get_or_create_global_step()
        recorder = record_rmsprop.Recorder(path, steps=4)
        optimizer = recorder.wrap(tf1.train.RMSPropOptimizer(0.1, momentum=0.9))
        train = optimizer.minimize(tf.reduce_sum(variable**2), global_step=step)
        session.run(tf1.global_variables_initializer())
        slot = optimizer.get_slot(variable, "rms")
        slot.load(np.full([3, 2], 0.25, "float32"), session)
        for _ in range(4):
            session.run(train)
        recorder.close()
    migration.assert_equivalent(
        path,
        tf1.train.RMSPropOptimizer(0.1, momentum=0.9),
        rtol=0,
        atol=0,
    )
    migration.assert_equivalent(
        path,
        keras_rmsprop.RMSprop(0.1, momentum=0.9, epsilon=1e-10, update_rule="tf1"),
        rtol=0,
        atol=0,
    )


def test_bad_input_is_refused_by_name(tmp_path):
    path = record(tmp_path / "run", keras.optimizers.RMSprop(0.01), variables())
    ours = keras_rmsprop.RMSprop(0.01)
    for arguments, message in (
        ({"steps": 13}, "`steps` must be at most 12"),
        ({"data": (np.ones(3), np.ones(3))}, "`data` says nothing"),
        ({"name_map": {"a": "b"}}, "`name_map` says nothing"),
    ):
        with pytest.raises(ValueError, match=message):
            migration.compare(path, ours, **arguments)
    with pytest.raises(ValueError, match="there is no such file"):
        migration.compare(str(tmp_path / "none"), ours)
    with pytest.raises(ValueError, match="`name_map` can only be given"):
        migration.compare(ours, ours, name_map={"a": "b"})
    with open(path, "r+b") as file:
        file.truncate(60)
    with pytest.raises(ValueError, match="is not a valid recording"):
        migration.compare(path, ours)


def test_the_command_takes_a_recording(tmp_path, capsys):
    from keras_rmsprop.migration import cli

    def command(*words):
        status = cli._main(cli._parse(["keras-rmsprop", "compare", *words]))
        return status, *capsys.readouterr()

    path = record(tmp_path / "run", keras.optimizers.RMSprop(0.01), variables())
    picture = str(tmp_path / "picture.png")
    status, out, _ = command(path, "keras-rmsprop:learning_rate=0.01")
    assert status == 0 and "12 steps on the gradients recorded in" in out
    status, out, _ = command(
        path, "keras-rmsprop:learning_rate=0.02", "--plot", picture
    )
    assert status == 1 and "learning rate" in out
    assert os.path.getsize(picture) > 1000


def test_a_rate_set_while_training_is_not_advised_away(tmp_path):
    path, trained = str(tmp_path / "run"), variables()
    recorder = record_rmsprop.Recorder(path, steps=6)
    optimizer = recorder.wrap(tf_keras.optimizers.RMSprop(0.1))
    for step in range(6):
        if step == 3:
            optimizer.learning_rate.assign(0.01)
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in trained])
    recorder.close()
    found = migration.compare(path, keras_rmsprop.RMSprop(0.1, update_rule="keras2"))
    assert "learning_rate=<recorded_rates>" in found.remedy.call


def test_last_steps_without_values_are_never_called_equivalent(tmp_path):
    path, trained = str(tmp_path / "run"), variables()
    recorder = record_rmsprop.Recorder(path, steps=50, values_every=3)
    optimizer = recorder.wrap(tf_keras.optimizers.legacy.RMSprop(0.1, momentum=0.5))
    for _ in range(5):
        optimizer.apply_gradients([(tf.ones_like(v), v) for v in trained])
    recorder.close()

    def candidate(last):
        rate = keras.optimizers.schedules.PiecewiseConstantDecay([2], [0.1, last])
        return keras_rmsprop.RMSprop(rate, momentum=0.5, update_rule="legacy")

    assert migration.compare(path, candidate(0.1)).equivalent
    found = migration.compare(path, candidate(100.0))
    assert not found.equivalent and found.unjudged == 2
    assert "Not judged: the last 2 steps" in found.report()
    assert "ends early" in found.report()


def test_gradients_that_come_and_go_are_replayed_on_every_class(tmp_path):
    path, (a, b) = str(tmp_path / "run"), variables()
    recorder = record_rmsprop.Recorder(path, steps=4)
    optimizer = recorder.wrap(tf_keras.optimizers.RMSprop(0.1))
    row = tf.IndexedSlices(tf.ones((1, *b.shape[1:])), [0], b.shape)
    for second in (None, tf.ones_like(b), row, None):
        optimizer.apply_gradients([(tf.ones_like(a), a), (second, b)])
    recorder.close()
    candidates = (
        keras_rmsprop.legacy.RMSprop(0.1, sparse_updates="lazy"),
        tf_keras.optimizers.legacy.RMSprop(0.1),
        lambda: compat_v1.train.RMSPropOptimizer(0.1),
        lambda: tf.compat.v1.train.RMSPropOptimizer(0.1),
    )
    for candidate in candidates:
        assert len(migration.compare(path, candidate).steps) == 4
