"""A run that is moved to another API in the middle goes on as if it had not been."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from migration.state import runs

import keras_rmsprop
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import migration

tf1 = tf.compat.v1

# Source, target: the same formula and the same rounding, so the same bits.
EXACT = [
    ("shipped_tf1", "modern_tf1"),
    ("shipped_tf1", "tf1"),
    ("modern_tf1", "shipped_tf1"),
    ("tf1", "shipped_tf1"),
    ("tf1", "modern_tf1"),
    ("modern_tf1", "tf1"),
    ("shipped_keras2", "modern_keras2"),
    ("modern_keras2", "shipped_keras2"),
    ("shipped_legacy", "modern_legacy"),
    ("shipped_legacy", "legacy"),
    ("modern_legacy", "shipped_legacy"),
    ("legacy", "shipped_legacy"),
    ("legacy", "modern_legacy"),
    ("modern_legacy", "legacy"),
]
CLOSE = [("shipped_keras", "modern"), ("modern", "shipped_keras")]


def moved_run(source, target, options, via=None):
    """Returns the values after 20 steps of `source`, and with its last 12 moved."""
    variables = runs.variables_for(source, runs.start())
    optimizer = runs.MAKE[source](**options)
    runs.train(optimizer, variables, 0, 8)
    state = migration.read_state(optimizer, variables=variables)
    if state.iterations is None:
        state.iterations = 8
    if via is not None:
        state.save(via)
        state = migration.OptimizerState.load(via)
    runs.train(optimizer, variables, 8, 20)

    zeros = {name: np.zeros_like(value) for name, value in runs.start().items()}
    moved = runs.variables_for(target, zeros)
    successor = runs.MAKE[target](**options)
    state.apply_to(successor, moved, restore_values=True)
    runs.train(successor, moved, 8, 20)
    return runs.values_of(variables), runs.values_of(moved), successor


@pytest.mark.parametrize("options", runs.OPTIONS.values(), ids=runs.OPTIONS)
@pytest.mark.parametrize("source, target", EXACT)
def test_a_run_moved_between_equal_rules_gives_the_same_bits(
    source, target, options, tmp_path
):
    stayed, moved, successor = moved_run(source, target, options, tmp_path / "state")
    runs.assert_same_bits(moved, stayed)
    if hasattr(successor, "iterations"):
        assert int(successor.iterations) == 20


@pytest.mark.parametrize("options", runs.OPTIONS.values(), ids=runs.OPTIONS)
@pytest.mark.parametrize("source, target", CLOSE)
def test_a_run_moved_between_keras_3_and_ours_stays_within_rounding(
    source, target, options
):
    stayed, moved, _ = moved_run(source, target, options)
    for name, value in stayed.items():
        np.testing.assert_allclose(moved[name], value, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("options", runs.OPTIONS.values(), ids=runs.OPTIONS)
@pytest.mark.parametrize(
    "source", [tf1.train.RMSPropOptimizer, RMSPropOptimizer], ids=["shipped", "ours"]
)
@pytest.mark.parametrize("target", ["modern_tf1", "tf1"])
def test_a_saver_checkpoint_is_resumed_bit_for_bit(source, target, options, tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = [
            tf1.get_variable(name, initializer=value)
            for name, value in runs.start().items()
        ]
        feeds = [tf1.placeholder(v.dtype, v.shape) for v in variables]
        step = source(0.05, decay=0.8, epsilon=1e-6, **options).apply_gradients(
            list(zip(feeds, variables)), tf1.train.get_or_create_global_step()
        )
        session.run(tf1.global_variables_initializer())
        for index, grads in enumerate(runs.gradients(0, 20)):
            if index == 8:
                prefix = tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
            session.run(step, dict(zip(feeds, grads)))
        stayed = dict(zip(runs.SHAPES, session.run(variables)))

    state = migration.read_state(prefix)
    assert state.iterations == 8
    zeros = {name: np.zeros_like(value) for name, value in stayed.items()}
    moved = runs.variables_for(target, zeros)
    successor = runs.MAKE[target](**options)
    state.apply_to(successor, moved, restore_values=True)
    runs.train(successor, moved, 8, 20)
    runs.assert_same_bits(runs.values_of(moved), stayed)


@pytest.mark.parametrize("created", [False, True], ids=["before_slots", "after_slots"])
@pytest.mark.parametrize(
    "cls", [tf1.train.RMSPropOptimizer, RMSPropOptimizer], ids=["shipped", "ours"]
)
def test_a_state_is_applied_in_a_graph_and_read_from_its_session(cls, created):
    variables = runs.keras_variables(runs.start())
    source = runs.MAKE["modern_tf1"](centered=True)
    runs.train(source, variables, 0, 8)
    state = migration.read_state(source)
    with tf.Graph().as_default() as graph, tf1.Session() as session:
        inside = [
            tf1.get_variable(name, shape=shape) for name, shape in runs.SHAPES.items()
        ]
        global_step = tf1.train.get_or_create_global_step()
        optimizer = cls(0.05, decay=0.8, epsilon=1e-6, centered=True)
        if created:
            grads = [tf.zeros_like(v) for v in inside]
            optimizer.apply_gradients(list(zip(grads, inside)))
            graph.finalize()
        state.apply_to(
            optimizer,
            inside,
            session=session,
            global_step=global_step,
            restore_values=True,
        )
        assert session.run(global_step) == 8
        found = migration.read_state(optimizer, session=session)
    found.iterations = 8
    runs.assert_same_state(found, state)


@pytest.mark.parametrize("name", ["legacy", "shipped_legacy"])
def test_a_state_is_applied_to_an_optimizer_v2_in_a_graph(name):
    variables = runs.tf_variables(runs.start())
    source = runs.MAKE["legacy"](momentum=0.9)
    runs.train(source, variables, 0, 8)
    state = migration.read_state(source, variables=variables)
    with tf.Graph().as_default(), tf1.Session() as session:
        inside = [tf1.get_variable(n, shape=s) for n, s in runs.SHAPES.items()]
        optimizer = runs.MAKE[name](momentum=0.9)
        state.apply_to(optimizer, inside, session=session, restore_values=True)
        for variable, expected in zip(inside, state.variables.values()):
            for slot, value in expected.slots.items():
                found = session.run(optimizer.get_slot(variable, slot))
                runs.assert_same_bits({slot: found}, {slot: value})
        assert session.run(optimizer.iterations) == 8


def test_tf1_s_momentum_slot_starts_at_zero_where_momentum_is_0():
    variables = runs.keras_variables(runs.start())
    optimizer = runs.MAKE["modern"]()
    runs.train(optimizer, variables, 0, 3)
    successor = runs.MAKE["modern_tf1"]()
    state = migration.read_state(optimizer)
    state.apply_to(successor, variables, allow=["update_rule"])
    assert all(not np.any(m.numpy()) for m in successor._momentums)


def test_moving_averages_and_accumulated_gradients_move_along():
    options = {"use_ema": True, "gradient_accumulation_steps": 3}
    stayed, moved, successor = moved_run("shipped_keras", "modern", options)
    for name, value in stayed.items():
        np.testing.assert_allclose(moved[name], value, rtol=1e-6, atol=1e-6)
    assert int(successor.variables[0]) == 20


@pytest.mark.parametrize(
    "write, read",
    [
        (keras.optimizers.RMSprop, keras_rmsprop.RMSprop),
        (keras_rmsprop.RMSprop, keras.optimizers.RMSprop),
    ],
    ids=["stock_to_ours", "ours_to_stock"],
)
def test_keras_state_files_are_interchangeable(write, read, tmp_path):
    def model_of(cls):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        model.compile(cls(0.01, momentum=0.9, centered=True), "mse")
        return model

    path = str(tmp_path / "model.weights.h5")
    model, other = model_of(write), model_of(read)
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.save_weights(path)
    other.optimizer.build(other.trainable_variables)
    other.load_weights(path)
    for actual, expected in zip(other.optimizer.variables, model.optimizer.variables):
        np.testing.assert_array_equal(actual, expected)
