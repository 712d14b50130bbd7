"""Checkpoints of Keras 2 models are restored into `legacy.Optimizer`, or refused."""

import copy

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from migration.state import keras_originals, runs

from keras_rmsprop import legacy, migration

SHIPPED = keras_originals.path("tf2.9.3/rmsprop/checkpoint")


def rmsprop(**options):
    return legacy.RMSprop(decay=0.01, **{**keras_originals.FULL, **options})


def restored_values(variables):
    values = keras_originals.part(keras_originals.expected("tf2.9.3/rmsprop"), "value")
    for variable in variables:
        variable.assign(values[keras_originals.bare(variable.path)])


@pytest.mark.parametrize("tracks_model", [True, False])
@pytest.mark.parametrize("built", [True, False])
def test_a_run_of_tensorflow_2_9_goes_on_bit_for_bit(tracks_model, built):
    model, optimizer = keras_originals.model(), rmsprop()
    variables = model.trainable_variables
    if built:
        optimizer.build(variables)
    tracked = {"model": model} if tracks_model else {}
    status = tf.train.Checkpoint(optimizer=optimizer, **tracked).restore(SHIPPED)
    restored_values(variables)
    keras_originals.train_on(optimizer, variables)
    status.expect_partial()
    after = keras_originals.part(keras_originals.expected("tf2.9.3/rmsprop"), "after")
    runs.assert_same_bits(keras_originals.values(variables), after)


def test_a_compiled_function_goes_on_with_what_was_restored():
    model, optimizer = keras_originals.model(), rmsprop()
    variables = model.trainable_variables
    optimizer.build(variables)

    @tf.function
    def step(grads):
        optimizer.apply(grads, variables)

    step([tf.zeros(v.shape) for v in variables])
    tf.train.Checkpoint(optimizer=optimizer).restore(SHIPPED).expect_partial()
    slots = keras_originals.part(keras_originals.expected("tf2.9.3/rmsprop"), "slot/mg")
    for variable in variables:
        found = optimizer.get_slot(variable, "mg").numpy()
        runs.assert_same_bits(
            {"": found}, {"": slots[keras_originals.bare(variable.path)]}
        )


def test_an_optimizer_of_ones_own_is_restored():
    model, optimizer = keras_originals.model(), keras_originals.Momentous()
    path = keras_originals.path("tf2.9.3/custom/checkpoint")
    status = tf.train.Checkpoint(model=model, optimizer=optimizer).restore(path)
    variables = model.trainable_variables
    values = keras_originals.part(keras_originals.expected("tf2.9.3/custom"), "value")
    for variable in variables:
        variable.assign(values[keras_originals.bare(variable.path)])
    keras_originals.train_on(optimizer, variables)
    status.expect_partial()
    after = keras_originals.part(keras_originals.expected("tf2.9.3/custom"), "after")
    runs.assert_same_bits(keras_originals.values(variables), after)


@pytest.mark.parametrize(
    "file, options, message",
    [
        ("tf2.9.3/rmsprop/optimizer_only", {}, "it holds no slots, because it was"),
        ("tf2.9.3/rmsprop/checkpoint", {"centered": False}, "has the slots"),
        ("tf2.9.3/plain/checkpoint", {}, "has the slots"),
        ("tf2.15.1/rmsprop/checkpoint", {}, "no optimizer of this API"),
        ("keras3.3.3/rmsprop/optimizer_only", {}, "no optimizer of this API"),
    ],
)
@pytest.mark.parametrize("built", [True, False])
def test_slots_that_are_not_there_are_an_error(file, options, message, built):
    optimizer = rmsprop(**options)
    variables = keras_originals.model().trainable_variables
    if built:
        optimizer.build(variables)
    path = keras_originals.path(file)
    tf.train.Checkpoint(optimizer=optimizer).restore(path).expect_partial()
    before = [v.numpy() for v in variables]
    with pytest.raises(ValueError, match=message):
        keras_originals.train_on(optimizer, variables)
    for variable, value in zip(variables, before):
        np.testing.assert_array_equal(variable, value)


def test_what_cannot_be_restored_can_be_applied():
    model = keras_originals.model()
    optimizer = rmsprop()
    state = migration.read_state(SHIPPED)
    variables = model.trainable_variables
    state.apply_to(optimizer, model, restore_values=True)
    keras_originals.train_on(optimizer, variables)
    after = keras_originals.part(keras_originals.expected("tf2.9.3/rmsprop"), "after")
    runs.assert_same_bits(keras_originals.values(variables), after)


def layers(library, names, shape=4):
    model = library.Sequential(
        [library.Input((shape,))]
        + [library.layers.Dense(shape, name=name) for name in names]
    )
    return model


def checkpoint_of(model, folder):
    """Trains a tf_keras model by a step and returns its checkpoint."""
    optimizer = tf_keras.optimizers.legacy.RMSprop(0.01)
    variables = model.trainable_variables
    random = np.random.default_rng(0)
    grads = [random.normal(size=v.shape).astype("float32") for v in variables]
    optimizer.apply_gradients(list(zip(map(tf.constant, grads), variables)))
    checkpoint = tf.train.Checkpoint(model=model, optimizer=optimizer)
    slots = [optimizer.get_slot(v, "rms").numpy() for v in variables]
    return checkpoint.write(str(folder / "c")), slots


def restored(path, model):
    optimizer = legacy.RMSprop(0.01)
    tf.train.Checkpoint(optimizer=optimizer).restore(path).expect_partial()
    optimizer.build(model.trainable_variables)
    return [optimizer.get_slot(v, "rms").numpy() for v in model.trainable_variables]


@pytest.mark.parametrize(
    "names",
    [
        ["dense", "dense_1", "dense_2"],
        # Two of three names are there too, of other layers.
        ["dense_1", "dense_2", "dense_3"],
        ["dense_8", "dense_9", "dense_10"],
    ],
)
def test_a_counter_in_a_name_is_no_evidence(names, tmp_path):
    path, slots = checkpoint_of(
        layers(tf_keras, ["dense", "dense_1", "dense_2"]), tmp_path
    )
    for found, expected in zip(restored(path, layers(keras, names)), slots):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    "names, message",
    [
        (["dense_1", "dense", "dense_2"], "in different orders"),
        (["a", "dense_1", "dense_2"], "'dense/kernel' is where .*a/kernel' would be"),
        (["dense", "dense_1"], "has slots of 6 variables, and there are 4"),
    ],
)
def test_layers_that_may_be_others_are_refused(names, message, tmp_path):
    path, _ = checkpoint_of(layers(tf_keras, ["dense", "dense_1", "dense_2"]), tmp_path)
    with pytest.raises(ValueError, match=message):
        restored(path, layers(keras, names))


def test_a_model_of_another_shape_is_refused(tmp_path):
    path, _ = checkpoint_of(layers(tf_keras, ["dense", "dense_1"]), tmp_path)
    with pytest.raises(ValueError, match="has slots of the shapes"):
        restored(path, layers(keras, ["dense", "dense_1"], 5))


def test_layers_of_nested_models_are_found_in_the_model_s_order(tmp_path):
    def nested(library):
        inner = layers(library, ["dense", "dense_1"])
        return library.Sequential(
            [library.Input((4,)), inner, library.layers.Dense(4, name="dense_2")]
        )

    # In the checkpoint's own order the outer layer is the first.
    path, slots = checkpoint_of(nested(tf_keras), tmp_path)
    for found, expected in zip(restored(path, nested(keras)), slots):
        np.testing.assert_array_equal(found, expected)


def test_variables_of_one_name_are_refused(tmp_path):
    variables = [tf.Variable([1.0, 2.0]), tf.Variable([3.0, 4.0])]
    source = legacy.RMSprop(0.01)
    source.apply_gradients([(tf.constant([1.0, 1.0]), v) for v in variables])
    path = tf.train.Checkpoint(o=source, v=variables).save(str(tmp_path / "c"))
    target = legacy.RMSprop(0.01)
    tf.train.Checkpoint(o=target).restore(path).expect_partial()
    with pytest.raises(ValueError, match="2 variables of one shape are named"):
        target.build([tf.Variable([0.0, 0.0]), tf.Variable([0.0, 0.0])])


def test_of_two_optimizers_the_one_with_these_variables_is_restored(tmp_path):
    a, b = (tf.Variable([1.0, 2.0], name=name) for name in "ab")
    pair = {name: legacy.RMSprop(0.01) for name in "ab"}
    for variable, optimizer, factor in ((a, pair["a"], 1.0), (b, pair["b"], 2.0)):
        optimizer.apply_gradients([(tf.constant([factor, factor]), variable)])
    path = tf.train.Checkpoint(v=[a, b], **pair).save(str(tmp_path / "c"))
    for name, other in (("a", pair["a"]), ("b", pair["b"])):
        target, variable = legacy.RMSprop(0.01), tf.Variable([0.0, 0.0], name=name)
        tf.train.Checkpoint(**{name: target}).restore(path).expect_partial()
        target.build([variable])
        np.testing.assert_array_equal(
            target.get_slot(variable, "rms"),
            other.get_slot({"a": a, "b": b}[name], "rms"),
        )


def test_a_checkpoint_from_before_the_first_step_misses_nothing(tmp_path):
    source = legacy.RMSprop(0.01)
    assert int(source.iterations) == 0
    path = tf.train.Checkpoint(o=source).save(str(tmp_path / "c"))
    target, variable = legacy.RMSprop(0.01), tf.Variable([1.0])
    tf.train.Checkpoint(o=target).restore(path).expect_partial()
    target.apply_gradients([(tf.constant([1.0]), variable)])
    assert int(target.iterations) == 1


def test_an_optimizer_that_was_restored_can_be_copied(tmp_path):
    optimizer = rmsprop()
    tf.train.Checkpoint(optimizer=optimizer).restore(SHIPPED).expect_partial()
    twin = copy.deepcopy(optimizer)
    variables = keras_originals.model().trainable_variables
    twin.build(variables)
    slots = keras_originals.part(
        keras_originals.expected("tf2.9.3/rmsprop"), "slot/rms"
    )
    for variable in variables:
        found = twin.get_slot(variable, "rms").numpy()
        runs.assert_same_bits(
            {"": found}, {"": slots[keras_originals.bare(variable.path)]}
        )
