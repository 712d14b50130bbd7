"""Checkpoints that TF1 wrote itself are read right, resumed exactly, or refused."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from migration.state import originals

import keras_rmsprop
from keras_rmsprop import migration
from keras_rmsprop.migration.schedules import TF1Schedule

RESUMED = (
    "swapping_saver-1.15.5",
    "renamed-1.15.5",
    "v1_format-1.15.5",
    "v1_sharded-1.4.1",
    "v1_sharded-1.15.5",
    "cond_of_references-1.15.5",
    "cond_of_resources-1.15.5",
    "cond_of_functions-1.15.5",
    "while_loop-1.15.5",
)
HYPERPARAMETERS = {
    "learning_rate": 0.05,
    "decay": 0.8,
    "momentum": 0.9,
    "epsilon": 1e-6,
    "centered": False,
}


@pytest.mark.parametrize(
    "name", (*RESUMED, "partitions-1.15.5", "estimator-1.15.5", "batch_norm-1.15.5")
)
def test_the_state_is_what_the_session_held(name, tmp_path):
    expected = originals.unpacked(name, tmp_path)
    state = migration.read_state(tmp_path)
    originals.assert_state_is(state, expected)
    others = originals.under(expected, "other")
    assert set(state.others) == set(others)
    for other, value in others.items():
        originals.assert_same(state.others[other], value)
    assert set(state.hyperparameters) == set(HYPERPARAMETERS)


@pytest.mark.parametrize("in_graph", [False, True], ids=["eager", "function"])
@pytest.mark.parametrize("name", RESUMED)
def test_a_resumed_run_ends_where_the_one_that_never_stopped_did(
    name, in_graph, tmp_path
):
    expected = originals.unpacked(name, tmp_path)
    state = migration.read_state(tmp_path)
    names = list(state.variables)
    variables = [
        keras.Variable(np.zeros(v.shape), dtype="float64", name=n.replace("/", "."))
        for n, v in state.variables.items()
    ]
    arguments = migration.arguments(state, keras_rmsprop.RMSprop).arguments
    optimizer = keras_rmsprop.RMSprop(**arguments)
    state.apply_to(
        optimizer,
        variables,
        {v.path: n for v, n in zip(variables, names)},
        restore_values=True,
    )

    def step(*gradients):
        optimizer.apply(list(gradients), variables)

    step = tf.function(step) if in_graph else step
    for i in range(4):
        step(*(tf.constant(expected[f"gradient/{i}/{name}"]) for name in names))
    for name, variable in zip(names, variables):
        originals.assert_same(variable.numpy(), expected[f"after/{name}"])


@pytest.mark.parametrize("name", ["adam_named_opt-1.15.5", "adamw-1.15.5"])
def test_adam_is_refused_by_its_graph(name, tmp_path):
    originals.unpacked(name, tmp_path)
    for options in ({}, {"optimizer_name": "opt"}):
        with pytest.raises(ValueError, match="trains with ApplyAdam, and with no RMSP"):
            migration.read_state(tmp_path, **options)


@pytest.mark.parametrize("name", ["adam_named_opt-1.15.5", "adamw-1.15.5"])
def test_adam_is_refused_by_its_counters_without_a_graph(name, tmp_path):
    originals.unpacked(name, tmp_path)
    (tmp_path / "model.ckpt-3.meta").unlink()
    for options in ({}, {"optimizer_name": "opt"}):
        with pytest.raises(ValueError, match="'opt' may be an Adam, .*'beta1_power'"):
            migration.read_state(tmp_path, **options)


def saved(values, directory, **save):
    """Saves variables of these values, by name, and returns the prefix."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        for name, value in values.items():
            tf1.get_variable(name, initializer=value)
        session.run(tf1.global_variables_initializer())
        save = {"write_meta_graph": False, **save}
        return tf1.train.Saver().save(session, str(directory / "m"), **save)


ONES = np.ones(2, "float32")


@pytest.mark.parametrize(
    "slots, message",
    [
        ({"opt": -ONES, "opt_1": ONES}, "'w/opt' .* is negative in places"),
        ({"opt": ONES * np.nan, "opt_1": ONES}, "'w/opt' .* is not finite"),
        ({"opt": ONES}, "has 0 optimizers"),
        ({f"opt{i}": ONES for i in ("", "_1", "_2", "_3")}, "'opt' has 4 slots"),
        ({"Adam": ONES, "Adam_1": ONES}, "'Adam' has the name of another"),
        ({"opt": ONES, "opt_1": ONES, "opt_1_1": ONES}, "2 optimizers .*'opt_1'"),
    ],
)
def test_names_that_do_not_tell_are_refused(slots, message, tmp_path):
    values = {"w": ONES, **{f"w/{name}": value for name, value in slots.items()}}
    with pytest.raises(ValueError, match=message):
        migration.read_state(saved(values, tmp_path))


def test_a_variable_without_its_slots_refuses_by_names(tmp_path):
    values = {"v": ONES, "w": ONES, "v/opt": ONES, "w/opt": ONES, "w/opt_1": ONES}
    with pytest.raises(ValueError, match=r"'opt' has 1 or 2 slots, as \['v/opt'\]"):
        migration.read_state(saved(values, tmp_path))


def test_a_run_that_diverged_is_read_by_name_if_asked_for(tmp_path):
    values = {"w": ONES, "w/opt": ONES * np.nan, "w/opt_1": ONES}
    prefix = saved(values, tmp_path)
    state = migration.read_state(prefix, optimizer_name="opt")
    assert np.isnan(state.variables["w"].slots["rms"]).all()


def test_a_name_that_ends_in_a_number_is_found_without_a_graph(tmp_path):
    expected = originals.unpacked("opt_1-1.15.5", tmp_path)
    state = migration.read_state(tmp_path)
    originals.assert_state_is(state, expected)
    assert state.hyperparameters == {"centered": False}
    assert "no .meta file" in state.not_read[0]
    same = migration.read_state(tmp_path, optimizer_name="opt_1")
    originals.assert_state_is(same, expected)


@pytest.mark.parametrize(
    "name", ["renamed-1.15.5", "estimator-1.15.5", "v1_sharded-1.15.5"]
)
def test_names_tell_the_same_as_the_graph(name, tmp_path):
    expected = originals.unpacked(name, tmp_path)
    (meta,) = tmp_path.glob("*.meta")
    meta.unlink()
    state = migration.read_state(tmp_path)
    bare = {
        key.replace("/model/", "/").removeprefix("model/"): value
        for key, value in expected.items()
    }
    state.variables = {
        key.removeprefix("model/"): value for key, value in state.variables.items()
    }
    originals.assert_state_is(state, bare)


def test_without_a_graph_averages_may_have_been_swapped(tmp_path):
    originals.unpacked("swapping_saver-1.15.5", tmp_path)
    (tmp_path / "model.ckpt-3.meta").unlink()
    state = migration.read_state(tmp_path)
    assert any("swapping_saver" in text for text in state.not_read)


def test_a_graph_in_which_nothing_trains_says_that_names_were_used(tmp_path):
    values = {"w": ONES, "w/RMSProp": ONES, "w/RMSProp_1": ONES}
    state = migration.read_state(saved(values, tmp_path, write_meta_graph=True))
    assert list(state.variables) == ["w"]
    assert "nothing trains in the graph" in state.not_read[0]


def test_the_graph_of_another_checkpoint_is_refused(tmp_path):
    originals.unpacked("v1_format-1.15.5", tmp_path)
    prefix = saved({"w": ONES, "w/opt": ONES, "w/opt_1": ONES}, tmp_path)
    shutil.copy(tmp_path / "model.ckpt-3.meta", f"{prefix}.meta")
    with pytest.raises(ValueError, match="is the graph of another checkpoint.*'b'"):
        migration.read_state(prefix)


def test_what_else_is_there_is_listed(tmp_path):
    originals.unpacked("batch_norm-1.15.5", tmp_path)
    state = migration.read_state(tmp_path)
    assert state.hyperparameters == {**HYPERPARAMETERS, "learning_rate": 0.03}
    assert sorted(state.not_read) == [
        "counters: 'beta1_power', 'beta2_power'",
        "moving averages or slots of other optimizers: 'b/ExponentialMovingAverage', "
        "'w/ExponentialMovingAverage'",
        "slots of another optimizer (ApplyAdam): 'w/Adam', 'w/Adam_1'",
    ]


def rates(version, directory):
    """Returns the recorded steps, and the recorded rates by optimizer."""
    expected = originals.unpacked(f"rates-{version}", directory)
    return expected["steps"], originals.under(expected, "rate")


def values_of(schedule, steps, in_graph):
    counter = tf.Variable(0, dtype="int64")

    def compute():
        return schedule(counter)

    compute = tf.function(compute, autograph=False) if in_graph else compute
    values = []
    for step in steps:
        counter.assign(step)
        values.append(compute().numpy())
    return np.array(values)


# The decays that are not one of `tf.train`'s, or round in their own way.
UNKNOWN = {"floored", "fed"}
ROUNDED = {"1.4.1": set(), "1.12.3": {"cube"}, "1.15.5": {"cube"}}


@pytest.mark.parametrize("version", ROUNDED)
def test_decays_become_schedules_of_the_same_bits(version, tmp_path):
    steps, recorded = rates(version, tmp_path)
    assert len(recorded) >= 15
    for name in set(recorded) - UNKNOWN - ROUNDED[version]:
        state = migration.read_state(tmp_path, optimizer_name=name)
        assert state.iterations == 83
        arguments = migration.arguments(state, keras_rmsprop.RMSprop).arguments
        schedule = arguments["learning_rate"]
        for in_graph in (False, True):
            actual = values_of(schedule, steps[::3], in_graph)
            originals.assert_same(actual, recorded[name][::3])


@pytest.mark.parametrize("version", ROUNDED)
def test_other_rates_are_told_and_have_to_be_given(version, tmp_path):
    steps, recorded = rates(version, tmp_path)
    at_83 = list(steps).index(83)
    for name in UNKNOWN | ROUNDED[version]:
        state = migration.read_state(tmp_path, optimizer_name=name)
        assert set(state.hyperparameters) == set(HYPERPARAMETERS) - {"learning_rate"}
        text = state.not_read[0]
        assert text.endswith("give learning_rate=...")
        if name == "fed":
            assert "depends on 'PlaceholderWithDefault'" in text
        else:
            now = float(str(recorded[name][at_83]))
            assert f"it was {now!r} at the checkpoint's step" in text


def decay_of_today(step):
    return tf.compat.v1.train.polynomial_decay(0.1, step, 41, 0.01, 1.5, cycle=True)


def stairs_of_today(step):
    return tf.compat.v1.train.exponential_decay(0.1, step, 41, 0.5, staircase=True)


def pieces_of_today(step):
    return tf.compat.v1.train.piecewise_constant(step, [4, 9], [0.3, 0.2, 0.1])


def own_pieces(step):
    return tf.cond(step < 7, lambda: tf.constant(0.5), lambda: tf.constant(0.25))


def own_pieces_by_where(step):
    return tf.where((step >= 3) & (step < 7), 0.5, 0.25)


@pytest.mark.parametrize("control_flow", ["v1", "v2"])
@pytest.mark.parametrize(
    "make",
    [decay_of_today, stairs_of_today, pieces_of_today, own_pieces, own_pieces_by_where],
)
def test_decays_of_todays_graphs(make, control_flow, tmp_path):
    tf1 = tf.compat.v1
    steps = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 40, 41, 42, 81, 82, 83, 100]
    is_v2 = tf1.control_flow_v2_enabled()
    switch = {"v1": tf1.disable_control_flow_v2, "v2": tf1.enable_control_flow_v2}
    switch[control_flow]()
    try:
        with tf.Graph().as_default(), tf1.Session() as session:
            v = tf1.get_variable("v", initializer=ONES)
            step = tf1.train.get_or_create_global_step()
            rate = make(step)
            tf1.train.RMSPropOptimizer(rate).apply_gradients([(ONES, v)], step)
            session.run(tf1.global_variables_initializer())
            prefix = tf1.train.Saver().save(session, str(tmp_path / "m"))
            expected = []
            for each in steps:
                step.load(each, session)
                expected.append(session.run(rate))
    finally:
        switch["v2" if is_v2 else "v1"]()
    state = migration.read_state(prefix)
    schedule = keras.optimizers.schedules.deserialize(
        state.hyperparameters["learning_rate"]
    )
    for in_graph in (False, True):
        originals.assert_same(values_of(schedule, steps, in_graph), np.array(expected))


def with_rate(make_rate, directory, **read):
    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        v = tf1.get_variable("v", initializer=ONES)
        step = tf1.train.get_or_create_global_step()
        other = tf1.get_variable("other", initializer=np.int64(5))
        optimizer = tf1.train.RMSPropOptimizer(make_rate(step, other))
        optimizer.apply_gradients([(ONES, v)], step)
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(session, str(directory / "m"))
    return migration.read_state(prefix, **read)


def test_a_decay_by_another_counter_asks_for_that(tmp_path):
    def rate(step, other):
        return tf.compat.v1.train.inverse_time_decay(0.1, other, 10, 0.5)

    state = with_rate(rate, tmp_path)
    assert "learning_rate" not in state.hyperparameters
    assert "follows the counter 'other' and not 'global_step'" in state.not_read[0]
    state = with_rate(rate, tmp_path, global_step="other")
    assert state.iterations == 5 and "learning_rate" in state.hyperparameters


@pytest.mark.parametrize(
    "rate, known",
    [
        (lambda step, other: tf.constant(0.5) * 0.25, 0.125),
        (lambda step, other: 1.0 / (1.0 + tf.cast(step + other, tf.float32)), None),
        (lambda step, other: tf.random.uniform(()), None),
        (
            lambda step, other: tf.compat.v1.train.exponential_decay(
                np.float64(0.1), step, 10, 0.5
            ),
            None,
        ),
        (
            lambda step, other: tf.compat.v1.train.exponential_decay(
                0.1, step * 32, 10, 0.5
            ),
            None,
        ),
    ],
)
def test_only_what_is_understood_becomes_a_learning_rate(rate, known, tmp_path):
    state = with_rate(rate, tmp_path)
    assert state.hyperparameters.get("learning_rate") == known
    assert (known is None) == ("learning_rate:" in "".join(state.not_read))


def test_a_program_without_eager_execution_reads_the_same(tmp_path):
    with tf.Graph().as_default():
        state = with_rate(
            lambda step, other: tf.compat.v1.train.natural_exp_decay(
                0.1, step, 10, 0.5
            ),
            tmp_path,
        )
    schedule = state.hyperparameters["learning_rate"]["config"]["schedule"]
    assert schedule["config"]["decay_rate"] == float(str(tf.exp(-0.5).numpy()))


def test_a_schedule_shows_the_python_that_makes_it():
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 41, 0.5, staircase=True)
    shown = repr(TF1Schedule(decay, optimized=False))
    made = eval(shown, {"keras": keras, "keras_rmsprop": keras_rmsprop})
    assert made.get_config() == TF1Schedule(decay, optimized=False).get_config()


def test_a_schedule_survives_saving_the_model(tmp_path):
    decay = keras.optimizers.schedules.ExponentialDecay(0.1, 41, 0.5, staircase=True)
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.compile(keras_rmsprop.RMSprop(TF1Schedule(decay)), "mse")
    model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
    model.save(tmp_path / "model.keras")
    schedule = keras.models.load_model(tmp_path / "model.keras").optimizer
    assert schedule.get_config()["learning_rate"]["class_name"] == "TF1Schedule"
    assert float(schedule._learning_rate(41)) == np.float32(0.1)
