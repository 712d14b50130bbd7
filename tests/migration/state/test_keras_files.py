"""What Keras' files hold besides slots, and which are no files of RMSprop's."""

import json
import shutil

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from migration.state import keras_originals, runs

import keras_rmsprop
from keras_rmsprop import migration

FILES = ["m.keras", "m.h5", "m.weights.h5", "m.weights.json", "checkpoint"]
pytestmark = pytest.mark.filterwarnings("ignore:You are saving")


def model_of(optimizer, library=keras, fit=True):
    model = library.Sequential(
        [
            library.Input((3,)),
            library.layers.Dense(4, name="first"),
            library.layers.BatchNormalization(name="norm"),
            library.layers.Dense(4, name="second"),
            library.layers.Dense(4),
        ]
    )
    model.compile(optimizer, "mse")
    if fit:
        data = np.random.default_rng(0).normal(size=(8, 7)).astype("float32")
        model.fit(data[:, :3], data[:, 3:], verbose=0, batch_size=4, shuffle=False)
    return model


def saved(model, name, folder):
    """Saves a model and returns the path to read."""
    path = folder / name
    if name == "checkpoint":
        tf.train.Checkpoint(model=model).save(str(path / "c"))
    elif name.endswith(".json"):
        model.save_weights(path, max_shard_size=2e-7)
    elif ".weights" in name:
        model.save_weights(path)
    else:
        model.save(path)
    return path


def read(path, model):
    options = {"variables": model} if path.suffix in (".keras", ".json") else {}
    if ".weights" in path.name:
        options = {"variables": model, "centered": False}
    return migration.read_state(path, **options)


@pytest.mark.parametrize("name", FILES)
def test_values_of_the_whole_model_are_read(name, tmp_path):
    model = model_of(keras_rmsprop.RMSprop(0.01, momentum=0.9))
    state = read(saved(model, name, tmp_path), model)
    assert list(state.variables) == [v.path for v in model.trainable_variables]
    for variable in model.trainable_variables:
        value = state.variables[variable.path].value
        runs.assert_same_bits({"": value}, {"": variable.numpy()})
    untrained = {v.path: v.numpy() for v in model.non_trainable_variables}
    assert {v.rpartition("/")[2] for v in untrained} == {
        "moving_mean",
        "moving_variance",
    }
    runs.assert_same_bits({n: state.others[n] for n in untrained}, untrained)
    assert set(state.others) == set(untrained)


def test_values_are_found_in_nested_models_and_layers_of_layers(tmp_path):
    inner = keras.Sequential(
        [keras.Input((4, 3)), keras.layers.Dense(4), keras.layers.Dropout(0.5, seed=1)]
    )
    inputs = keras.Input((4, 3))
    hidden = keras.layers.Bidirectional(keras.layers.LSTM(2, return_sequences=True))
    x = hidden(inner(keras.layers.Dense(3)(inputs)))
    x = keras.layers.MultiHeadAttention(2, 2)(x, x)
    model = keras.Model(inputs, keras.layers.Dense(1)(x))
    model.compile(keras_rmsprop.RMSprop(0.01), "mse")
    model.fit(np.ones((2, 4, 3)), np.ones((2, 4, 1)), verbose=0)
    model.save(tmp_path / "m.keras")
    state = migration.read_state(tmp_path / "m.keras", variables=model)
    for variable in model.trainable_variables:
        value = state.variables[variable.path].value
        runs.assert_same_bits({"": value}, {"": variable.numpy()})


def test_a_model_of_another_structure_leaves_values_unread(tmp_path):
    model = model_of(keras.optimizers.RMSprop())
    path = saved(model, "m.keras", tmp_path)
    other = keras.Sequential(
        [
            keras.Input((3,)),
            *(keras.layers.Dense(4, name=f"d{i}") for i in range(3)),
        ]
    )
    with pytest.raises(ValueError, match="could be no optimizer over these"):
        migration.read_state(path, variables=other)
    state = migration.read_state(path, variables=model.trainable_variables)
    assert all(each.value is None for each in state.variables.values())
    assert "the values of the variables" in state.not_read[0]


def scaled(inner=keras_rmsprop.RMSprop, **options):
    return keras.optimizers.LossScaleOptimizer(
        inner(0.01, momentum=0.9, **options), initial_scale=64.0, dynamic_growth_steps=3
    )


@pytest.mark.parametrize("name", [*FILES, "live"])
@pytest.mark.parametrize("inner", [keras.optimizers.RMSprop, keras_rmsprop.RMSprop])
def test_a_run_with_loss_scaling_goes_on_bit_for_bit(name, inner, tmp_path):
    model = model_of(scaled(inner))
    source = model.optimizer
    if name == "live":
        state = migration.read_state(source)
    else:
        state = read(saved(model, name, tmp_path), model)
    assert state.iterations == 2
    held = {n: state.loss_scale[n] for n in ("dynamic_scale", "step_counter")}
    assert held == {"dynamic_scale": 64.0, "step_counter": 2}
    values = [v.numpy() for v in model.trainable_variables]
    target = scaled(inner)
    twin = model_of(target, fit=False)
    variables = twin.trainable_variables
    names = {v.path: name for v, name in zip(variables, state.variables)}
    state.apply_to(target, variables, names)
    for variable, value in zip(variables, values):
        variable.assign(value)
    grads = [np.full(v.shape, 64.0, "float32") for v in variables]
    for optimizer, trained in (
        (source, model.trainable_variables),
        (target, variables),
    ):
        for _ in range(2):
            optimizer.apply(list(map(tf.constant, grads)), trained)
    for a, b in zip(source.variables, target.variables):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(model.trainable_variables, variables):
        np.testing.assert_array_equal(a, b)
    assert float(target.dynamic_scale.numpy()) == 128.0


@pytest.mark.parametrize(
    "scale, message",
    [
        ({"dynamic_scale": 0.0, "step_counter": 1}, "must be a number > 0"),
        ({"dynamic_scale": float("nan"), "step_counter": 1}, "must be a number > 0"),
        ({"dynamic_scale": "2", "step_counter": 1}, "must be a number > 0"),
        ({"dynamic_scale": 8.0, "step_counter": 3}, "below the optimizer's dynamic"),
        ({"dynamic_scale": 8.0, "step_counter": -1}, "below the optimizer's dynamic"),
    ],
)
def test_a_loss_scale_that_is_none_is_refused_before_anything_is_written(
    scale, message
):
    state = migration.read_state(model_of(scaled()).optimizer)
    state.loss_scale = scale
    target = scaled()
    variables = model_of(target, fit=False).trainable_variables
    names = {v.path: name for v, name in zip(variables, state.variables)}
    with pytest.raises(ValueError, match=message):
        state.apply_to(target, variables, names)
    assert not target.built


def test_a_state_without_a_loss_scale_leaves_the_one_of_the_optimizer():
    state = migration.read_state(
        model_of(keras_rmsprop.RMSprop(momentum=0.9)).optimizer
    )
    target = scaled()
    variables = model_of(target, fit=False).trainable_variables
    names = {v.path: name for v, name in zip(variables, state.variables)}
    state.apply_to(target, variables, names)
    assert float(target.dynamic_scale.numpy()) == 64.0
    assert int(target.inner_optimizer.iterations.numpy()) == 2


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m.weights.h5"])
@pytest.mark.parametrize("cls", ["Adagrad", "Adam", "SGD", "Adadelta"])
def test_other_optimizers_are_refused(name, cls, tmp_path):
    path = saved(model_of(getattr(keras.optimizers, cls)()), name, tmp_path)
    with pytest.raises(ValueError, match=rf"(?i)'{cls}(_\d+)?', not of RMSprop"):
        migration.read_state(path)


def test_a_schedule_of_ones_own_stays_the_data_that_it_is(tmp_path):
    @keras.saving.register_keras_serializable("tests")
    class Own(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1

        def get_config(self):
            return {"own": 1}

    for name in ("m.keras", "m.h5"):
        path = saved(model_of(keras.optimizers.RMSprop(Own())), name, tmp_path)
        rate = migration.read_state(path).hyperparameters["learning_rate"]
        assert (rate["class_name"], rate["config"]) == ("Own", {"own": 1})


# HDF5 files with more, or less, than is understood.


def edited(file, change, folder):
    """Copies a file of the originals, changes it and returns its path."""
    path = folder / file.rpartition("/")[2]
    shutil.copy(keras_originals.FILES / file, path)
    with h5py.File(path, "r+") as opened:
        change(opened)
    return path


def add_weight(name, shape=(3,), dtype="f4"):
    def change(file):
        group = file["optimizer_weights"]
        group[name] = np.zeros(shape, dtype)
        names = [*group.attrs["weight_names"], name]
        group.attrs["weight_names"] = [str(n).encode() for n in names]

    return change


def set_config(**items):
    def change(file):
        config = json.loads(file.attrs["training_config"])
        config["optimizer_config"]["config"].update(items)
        file.attrs["training_config"] = json.dumps(config)

    return change


@pytest.mark.parametrize(
    "file, change, message",
    [
        (
            "tf2.9.3/rmsprop/model.h5",
            add_weight("RMSprop/last/bias/m:0"),
            r"slots \['m'",
        ),
        ("tf2.9.3/rmsprop/model.h5", add_weight("RMSprop/last/bias/rms"), "two optim"),
        (
            "tf2.9.3/rmsprop/model.h5",
            add_weight("x/last/bias/rms:0"),
            "two slots 'rms'",
        ),
        (
            "tf2.9.3/rmsprop/model.h5",
            add_weight("b/iter:0", ()),
            "several step counters",
        ),
        ("tf2.9.3/rmsprop/model.h5", add_weight("RMSprop/x/mg:0"), "without"),
        (
            "tf2.15.1/average/model.h5",
            add_weight("RMSprop/hat/last/bias:0"),
            "not named",
        ),
        ("tf2.15.1/average/model.h5", add_weight("x/velocity/a:0"), "not named"),
        ("keras3.0.5/rmsprop/model.h5", add_weight("last_bias_vhat"), "not named"),
        ("keras3.0.5/rmsprop/model.h5", add_weight("a/iteration", (2,), "i8"), "steps"),
        ("keras3.0.5/rmsprop/model.h5", add_weight("a/iteration", ()), "steps"),
        ("keras3.0.5/rmsprop/model.h5", set_config(momentum="x"), "no number"),
        (
            "keras3.0.5/rmsprop/model.h5",
            add_weight("x_sequential_last_bias_velocity"),
            "two slots|differ in shape|without",
        ),
        (
            "keras3.0.5/rmsprop/model.h5",
            add_weight("a_velocity", (2,), "i4"),
            "without|no floating",
        ),
    ],
)
def test_weights_that_are_not_understood_are_errors(file, change, message, tmp_path):
    path = edited(file, change, tmp_path)
    with pytest.raises(ValueError, match=message) as error:
        migration.read_state(path)
    assert str(path) in str(error.value)


def test_a_layer_may_be_called_as_a_slot_is(tmp_path):
    model = tf_keras.Sequential(
        [
            tf_keras.layers.InputLayer((3,)),
            tf_keras.layers.Dense(2, name="velocity"),
            tf_keras.layers.Dense(2, name="momentum"),
        ]
    )
    optimizer = tf_keras.mixed_precision.LossScaleOptimizer(
        tf_keras.optimizers.RMSprop(0.01, momentum=0.9)
    )
    model.compile(optimizer, "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    model.save(tmp_path / "m.h5")
    tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint" / "c"))
    inner = optimizer.inner_optimizer
    for name in ("m.h5", "checkpoint"):
        state = migration.read_state(tmp_path / name)
        assert list(state.variables) == [
            f"{layer}/{v}"
            for layer in ("velocity", "momentum")
            for v in ("kernel", "bias")
        ]
        for i, variable in enumerate(state.variables.values()):
            rms, momentum = inner._velocities[i].numpy(), inner._momentums[i].numpy()
            runs.assert_same_bits(variable.slots, {"rms": rms, "momentum": momentum})


def test_divided_weights_are_only_looked_for_beside_their_list(tmp_path):
    model = model_of(keras.optimizers.RMSprop())
    path = saved(model, "m.weights.json", tmp_path)
    assert len(list(tmp_path.iterdir())) > 3
    index = json.loads(path.read_text())
    for wrong, message in (
        ({"a": "../m_00000.weights.h5"}, "no file beside it"),
        ({"a": 3}, "no file beside it"),
        ({"a": "nothing.weights.h5"}, "there is no such file"),
        ({}, "lists no files"),
        ([1], "lists no files"),
    ):
        path.write_text(json.dumps({**index, "weight_map": wrong}))
        with pytest.raises(ValueError, match=message):
            migration.read_state(path)
    path.write_text("{" * 100_000)
    with pytest.raises(ValueError, match=r"m\.weights\.json.*is no JSON"):
        migration.read_state(path)
