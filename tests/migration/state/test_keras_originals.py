"""Files of TensorFlow 2.9, Keras 2.15, 3.0 and 3.3 are read and gone on from."""

import functools

import keras
import numpy as np
import pytest
from migration.state import keras_originals, runs

import keras_rmsprop
from keras_rmsprop import migration

# Kind and rule of each file.
FILES = {
    "tf2.9.3/rmsprop/checkpoint": ("legacy", "legacy"),
    "tf2.9.3/rmsprop/saved_model": ("legacy", "legacy"),
    "tf2.9.3/rmsprop/model.h5": ("legacy", "legacy"),
    "tf2.9.3/plain/checkpoint": ("legacy", "legacy"),
    "tf2.9.3/scaled/checkpoint": ("legacy", "legacy"),
    "tf2.9.3/scaled/model.h5": ("legacy", "legacy"),
    "tf2.9.3/custom/checkpoint": ("legacy", None),
    "tf2.9.3/custom/model.h5": ("legacy", None),
    "tf2.15.1/rmsprop/checkpoint": ("keras2", "keras2"),
    "tf2.15.1/rmsprop/saved_model": ("keras2", "keras2"),
    "tf2.15.1/rmsprop/model.h5": ("keras2", "keras2"),
    "tf2.15.1/rmsprop/model.keras": ("keras2", "keras2"),
    "tf2.15.1/rmsprop/model.weights.h5": ("keras", None),
    "tf2.15.1/average/checkpoint": ("keras2", "keras2"),
    "tf2.15.1/average/model.h5": ("keras2", "keras2"),
    "tf2.15.1/scaled/checkpoint": ("keras2", "keras2"),
    "tf2.15.1/scaled/model.h5": ("keras2", "keras2"),
    "tf2.15.1/scaled/model.keras": ("keras2", "keras2"),
    "keras3.0.5/rmsprop/model.h5": ("keras", "keras"),
    "keras3.0.5/rmsprop/model.keras": ("keras", "keras"),
    "keras3.0.5/rmsprop/model.weights.h5": ("keras", None),
    "keras3.0.5/scaled/model.keras": ("keras", "keras"),
    "keras3.3.3/rmsprop/of_model": ("keras", None),
    "keras3.3.3/rmsprop/optimizer_only": ("keras", None),
    "keras3.3.3/scaled/of_model": ("keras", None),
    "keras3.3.3/scaled/optimizer_only": ("keras", None),
}


def read(file, model=None):
    options = {}
    if file.endswith((".keras", ".weights.h5")):
        options["variables"] = model or keras_originals.model()
    if file.endswith(".weights.h5"):
        options["centered"] = True
    return migration.read_state(keras_originals.path(file), **options)


@pytest.mark.parametrize("file", FILES)
def test_a_file_gives_what_its_run_held(file):
    state = read(file)
    expected = keras_originals.expected(file.rpartition("/")[0])
    assert (state.kind, state.update_rule) == FILES[file]
    assert state.iterations == expected["iterations"] == 5
    names = [keras_originals.bare(name) for name in state.variables]
    assert names == [keras_originals.bare(name) for name in expected["order"]]
    for name, variable in zip(names, state.variables.values()):
        slots = {
            key.split("/")[1]: array
            for key, array in expected.items()
            if key.startswith("slot/") and keras_originals.bare(key) == name
        }
        assert set(variable.slots) == set(slots)
        for slot, array in slots.items():
            runs.assert_same_bits({slot: variable.slots[slot]}, {slot: array})
        value = keras_originals.part(expected, "value")[name]
        runs.assert_same_bits({name: variable.value}, {name: value})
    others = keras_originals.part(expected, "other")
    if "optimizer_only" in file:
        others = {}
    found = {keras_originals.bare(name): array for name, array in state.others.items()}
    assert set(found) == set(others)
    for name, array in others.items():
        runs.assert_same_bits({name: found[name]}, {name: array})


@pytest.mark.parametrize("file", [file for file in FILES if "/scaled/" in file])
def test_the_loss_scale_is_read_or_said_to_be_missing(file):
    state = read(file)
    expected = keras_originals.expected(file.rpartition("/")[0])
    if "dynamic_scale" in state.loss_scale:
        assert state.loss_scale["dynamic_scale"] == expected["scale"] == 2048.0
        assert state.loss_scale["step_counter"] == expected["good_steps"] == 1
    else:
        # tf_keras writes it to its checkpoints only.
        assert file.startswith("tf2") and "checkpoint" not in file
        assert any("the loss scale" in text for text in state.not_read)
        assert state.loss_scale["initial_scale"] == 1024.0


@pytest.mark.parametrize("file", FILES)
def test_a_file_gives_the_configuration_that_it_holds(file):
    state = read(file)
    whole = {"rho": 0.8, "epsilon": 1e-6, "momentum": 0.9}
    if "/custom/" in file:
        whole = {}
    elif file.endswith(("checkpoint", "of_model", "optimizer_only", ".weights.h5")):
        assert "epsilon" not in state.hyperparameters
        return
    held = {name: state.hyperparameters[name] for name in whole}
    assert held == pytest.approx(whole)
    assert state.hyperparameters["learning_rate"] == pytest.approx(0.05)


LEGACY = [file for file in FILES if "tf2.9.3" in file and "/custom/" not in file]


@pytest.mark.parametrize("file", LEGACY)
@pytest.mark.parametrize("api", ["legacy", "modern"])
def test_an_optimizer_v2_run_goes_on_bit_for_bit(file, api):
    run = file.rpartition("/")[0]
    options = keras_originals.RATE if "plain" in run else keras_originals.FULL
    if api == "legacy":
        decay = 0.01 if "/rmsprop" in run else 0.0
        optimizer = keras_rmsprop.legacy.RMSprop(decay=decay, **options)
    else:
        if "/rmsprop" in run:
            rate = keras.optimizers.schedules.InverseTimeDecay(0.05, 1, 0.01)
            options = {**options, "learning_rate": rate}
        optimizer = keras_rmsprop.RMSprop(update_rule="legacy", **options)
    model = keras_originals.model()
    variables = model.trainable_variables
    read(file).apply_to(optimizer, model, restore_values=True)
    keras_originals.train_on(optimizer, variables)
    after = keras_originals.part(keras_originals.expected(run), "after")
    runs.assert_same_bits(keras_originals.values(variables), after)


@pytest.mark.parametrize("file", ["custom/checkpoint", "custom/model.h5"])
def test_an_optimizer_v2_of_ones_own_goes_on_bit_for_bit(file):
    model = keras_originals.model()
    variables = model.trainable_variables
    optimizer = keras_originals.Momentous()
    state = read(f"tf2.9.3/{file}")
    state.apply_to(optimizer, model, restore_values=True)
    keras_originals.train_on(optimizer, variables)
    after = keras_originals.part(keras_originals.expected("tf2.9.3/custom"), "after")
    runs.assert_same_bits(keras_originals.values(variables), after)
    live = migration.read_state(optimizer, variables=variables)
    assert (live.kind, live.update_rule, live.iterations) == ("legacy", None, 10)
    assert [list(v.slots) for v in live.variables.values()] == [["m", "v"]] * 4


def test_a_state_only_fits_an_optimizer_with_its_slots():
    variables = keras_originals.model().trainable_variables
    with pytest.raises(ValueError, match="(?s)a slot 'rms' and the source none"):
        read("tf2.9.3/custom/checkpoint").apply_to(
            keras_rmsprop.legacy.RMSprop(), variables
        )
    with pytest.raises(ValueError, match="(?s)a slot 'm' and the source none"):
        read("tf2.9.3/rmsprop/checkpoint").apply_to(
            keras_originals.Momentous(), variables
        )


def going_on(file, make):
    """Returns state, optimizer and model after the steps that followed the file."""
    run = file.rpartition("/")[0]
    options = dict(keras_originals.FULL)
    if "/average" in run:
        options.update(centered=False, use_ema=True, ema_momentum=0.9)
        options["ema_overwrite_frequency"] = 100
    optimizer = make(**options)
    if "/scaled" in run:
        optimizer = keras.optimizers.LossScaleOptimizer(
            optimizer, initial_scale=1024.0, dynamic_growth_steps=4
        )
    model = keras_originals.model()
    state = read(file, model)
    state.apply_to(optimizer, model, restore_values=True)
    keras_originals.train_on(
        optimizer,
        model.trainable_variables,
        lambda: optimizer.dynamic_scale.numpy() if "/scaled" in run else 1.0,
    )
    return state, optimizer, model


@pytest.mark.parametrize("file", [f for f in FILES if f.startswith("tf2.15")])
def test_a_run_of_keras_2_goes_on_bit_for_bit(file):
    make = functools.partial(keras_rmsprop.RMSprop, update_rule="keras2")
    _, _, model = going_on(file, make)
    expected = keras_originals.expected(file.rpartition("/")[0])
    after = keras_originals.part(expected, "after")
    runs.assert_same_bits(keras_originals.values(model.trainable_variables), after)
    others = keras_originals.part(expected, "other")
    runs.assert_same_bits(keras_originals.values(model.non_trainable_variables), others)


# Its optimizer does not know the variables that it does not train.
WHOLE = [f for f in FILES if f.startswith("keras3") and "optimizer_only" not in f]


@pytest.mark.parametrize("file", WHOLE)
@pytest.mark.parametrize("make", [keras.optimizers.RMSprop, keras_rmsprop.RMSprop])
def test_a_run_of_keras_3_goes_on_within_rounding(file, make):
    state, optimizer, model = going_on(file, make)
    expected = keras_originals.expected(file.rpartition("/")[0])
    after = keras_originals.part(expected, "after")
    for name, value in keras_originals.values(model.trainable_variables).items():
        np.testing.assert_allclose(value, after[name], rtol=1e-6, atol=1e-6)
    if "/scaled/" in file:
        assert state.loss_scale["dynamic_scale"] == 2048.0
        # One step since it grew, and five more: it grew again at the third.
        assert optimizer.dynamic_scale.numpy() == 4096.0
        assert optimizer.step_counter.numpy() == 2


def test_a_checkpoint_of_an_optimizer_alone_goes_on():
    optimizer = keras_rmsprop.RMSprop(**keras_originals.FULL)
    variables = keras_originals.model().trainable_variables
    state = read("keras3.3.3/rmsprop/optimizer_only")
    state.apply_to(optimizer, variables, restore_values=True)
    keras_originals.train_on(optimizer, variables)
    expected = keras_originals.expected("keras3.3.3/rmsprop")
    after = keras_originals.part(expected, "after")
    for name, value in keras_originals.values(variables).items():
        np.testing.assert_allclose(value, after[name], rtol=1e-6, atol=1e-6)


CONFIGURED = [
    file
    for file in FILES
    if file.endswith(("saved_model", ".keras", "model.h5"))
    and not {"custom", "scaled"} & set(file.split("/"))
]


@pytest.mark.parametrize("file", CONFIGURED)
def test_one_call_goes_on_from_a_file_that_holds_all(file):
    model = keras_originals.model()
    optimizer, _ = migration.resume(keras_originals.path(file), model)
    keras_originals.train_on(optimizer, model.trainable_variables)
    expected = keras_originals.expected(file.rpartition("/")[0])
    found = keras_originals.values(model.trainable_variables)
    after = keras_originals.part(expected, "after")
    if file.startswith("tf2"):
        runs.assert_same_bits(found, after)
    else:
        for name, value in found.items():
            np.testing.assert_allclose(value, after[name], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "file, message",
    [
        ("tf2.9.3/rmsprop/optimizer_only", "only saves slots together"),
        ("tf2.15.1/legacy/model.keras", "holds no optimizer state"),
    ],
)
def test_files_without_slots_are_refused(file, message):
    with pytest.raises(ValueError, match=message):
        migration.read_state(keras_originals.path(file))


@pytest.mark.parametrize("file", FILES)
def test_all_that_was_read_is_saved_and_loaded(file, tmp_path):
    state = read(file)
    state.save(tmp_path / "state.npz")
    loaded = migration.OptimizerState.load(tmp_path / "state.npz")
    runs.assert_same_state(loaded, state)
    runs.assert_same_bits(loaded.others, state.others)
    assert (loaded.loss_scale, loaded.not_read) == (state.loss_scale, state.not_read)
