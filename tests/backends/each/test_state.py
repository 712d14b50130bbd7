"""State that moves between backends: see `backend_states`, which also reads it back."""

import os
import pathlib

import backend_states as states
import keras
import numpy as np
import pytest

import keras_rmsprop
from keras_rmsprop import migration


def test_a_run_saved_on_tensorflow_goes_on_here():
    states.check_files(os.environ["FILES"])


def test_a_run_saved_here_goes_on_here_and_waits_for_tensorflow():
    states.write_files(os.environ["WRITTEN"])
    states.check_files(os.environ["WRITTEN"])


def test_a_tf1_checkpoint_goes_on_here():
    folder = pathlib.Path(os.environ["FILES"])
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="hidden")])
    optimizer = keras_rmsprop.RMSprop(
        0.01, momentum=0.9, epsilon=1e-10, update_rule="tf1"
    )
    state = migration.read_state(folder / "tf1")
    state.apply_to(optimizer, model, restore_values=True)
    assert int(optimizer.iterations) == 5
    for grads in states.tf1_gradients()[5:]:
        optimizer.apply(
            list(map(keras.ops.convert_to_tensor, grads)), model.trainable_variables
        )
    with np.load(folder / "tf1.npz") as file:
        for variable in model.trainable_variables:
            np.testing.assert_allclose(
                variable.numpy(), file[variable.name], rtol=1e-6, atol=1e-6
            )


def test_recordings_are_compared_with_optimizers_of_this_backend():
    files = pathlib.Path(__file__).parents[2] / "migration" / "recording" / "files"
    recording = files / "tf2.15.1-fit.rmsprop"
    same = migration.compare(
        recording, keras_rmsprop.RMSprop(0.01, update_rule="keras2")
    )
    assert same.equivalent
    other = migration.compare(recording, keras_rmsprop.RMSprop(0.01, epsilon=1e-3))
    assert [cause.name for cause in other.causes] == ["epsilon value"]


def test_live_comparison_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match="KERAS_BACKEND=tensorflow"):
        migration.compare(keras_rmsprop.RMSprop(), keras_rmsprop.RMSprop())


def test_state_of_another_shape_is_refused_before_anything_changes():
    made = states.model()
    made.optimizer.build(made.trainable_variables)
    weights = [v.numpy() + 1 for v in made.optimizer.variables]
    weights[-1] = np.zeros((7, 7))
    with pytest.raises(ValueError, match="array of shape"):
        made.optimizer.set_weights(weights)
    assert int(made.optimizer.variables[0]) == 0
