"""What people mistake works, or is an error that says what to do next."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras

import keras_rmsprop
from compat_v1.keras import optimizer_v1
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import legacy, migration

FACES = {
    "keras": keras_rmsprop.RMSprop,
    "legacy": legacy.RMSprop,
    "2017": optimizer_v1.RMSprop,
    "tf1": lambda **arguments: RMSPropOptimizer(**{"learning_rate": 0.1, **arguments}),
}
V2 = [name for name in FACES if name != "tf1"]
# Of an argument that is none, per optimizer, the one that was meant.
MEANT = [
    ("lr", {"keras": "learning_rate", "tf1": "learning_rate"}),
    ("learning_rate", {"2017": "lr"}),
    ("centred", {"keras": "centered", "legacy": "centered", "tf1": "centered"}),
    ("alpha", {"keras": "rho", "legacy": "rho", "2017": "rho", "tf1": "decay"}),
    ("rho", {"tf1": "decay"}),
    ("eps", dict.fromkeys(FACES, "epsilon")),
    ("momentun", {"keras": "momentum", "legacy": "momentum", "tf1": "momentum"}),
    ("clip_norm", {"keras": "clipnorm", "legacy": "clipnorm", "2017": "clipnorm"}),
    ("epsilom", dict.fromkeys(FACES, "epsilon")),
]


def model(inputs=2):
    return keras.Sequential([keras.Input((inputs,)), keras.layers.Dense(1)])


def state(of=None):
    optimizer = keras_rmsprop.RMSprop(0.1)
    optimizer.build((of or model()).trainable_variables)
    return migration.read_state(optimizer)


@pytest.mark.parametrize(
    "face,name,meant",
    [(face, name, meant) for name, by in MEANT for face, meant in by.items()],
)
def test_an_unknown_argument_is_answered_by_the_one_that_was_meant(face, name, meant):
    with pytest.raises((TypeError, ValueError)) as error:
        FACES[face](**{name: 0.5})
    message = f"no argument `{name}`. Did you mean `{meant}`? Received: {name}=0.5"
    assert message in str(error.value)


@pytest.mark.parametrize("face", FACES)
def test_an_argument_like_no_other_is_answered_by_those_that_there_are(face):
    with pytest.raises((TypeError, ValueError), match=r"It takes .*epsilon.* nesterov"):
        FACES[face](nesterov=True)


def test_an_argument_of_a_subclass_is_one_that_can_be_meant():
    class Named(keras_rmsprop.RMSprop):
        def __init__(self, temperature=1.0, **kwargs):
            super().__init__(**kwargs)

    with pytest.raises(ValueError, match="Named has.*mean `temperature`"):
        Named(temprature=2.0)


def test_decay_is_told_as_both_that_it_may_be():
    with pytest.raises(ValueError, match="`rho`.*InverseTimeDecay.*decay=0.9"):
        keras_rmsprop.RMSprop(decay=0.9)
    assert keras_rmsprop.RMSprop(decay=None).rho == 0.9


@pytest.mark.parametrize("face,decay", [("legacy", 0.9), ("2017", 0.99), ("tf1", 1e-6)])
def test_a_decay_that_looks_like_that_of_another_api_warns(face, decay):
    with pytest.warns(UserWarning, match=f"decay={decay}"):
        FACES[face](decay=decay)


@pytest.mark.parametrize("face", V2)
def test_gradients_and_variables_swapped_in_apply(face):
    gradient, variable = tf.ones(2), tf.Variable([1.0, 2.0])
    with pytest.raises((TypeError, NotImplementedError), match="Gradients come first"):
        FACES[face]().apply([variable], [gradient])


@pytest.mark.parametrize("kind", [tf.Variable, keras.Variable])
@pytest.mark.parametrize("face", FACES)
def test_gradients_and_variables_swapped_in_pairs(face, kind):
    gradient, variable = tf.ones(2), kind([1.0, 2.0])
    with pytest.raises((TypeError, NotImplementedError), match="Gradients come first"):
        FACES[face]().apply_gradients([(variable, gradient)])


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "wrong", [lambda g, v: (g, v), lambda g, v: ([g], [v]), lambda g, v: [g]]
)
def test_what_are_no_pairs_is_answered_by_what_makes_them(face, wrong):
    with pytest.raises(TypeError, match=r"`zip\(gradients, variables\)` makes them"):
        FACES[face]().apply_gradients(wrong(tf.ones(2), tf.Variable([1.0, 2.0])))


@pytest.mark.parametrize("face", ["keras", "tf1"])
def test_no_pairs_at_all_are_answered_by_what_causes_that(face):
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="not built"):
        FACES[face]().apply_gradients(zip([], unbuilt.trainable_variables))


@pytest.mark.parametrize("face", ["legacy", "2017"])
def test_no_pairs_at_all_change_nothing_as_in_optimizer_v2(face):
    optimizer = FACES[face]()
    optimizer.apply_gradients([])
    assert optimizer.iterations == 0


@pytest.mark.parametrize("face", V2)
@pytest.mark.parametrize("method", ["build", "apply"])
def test_a_model_or_a_single_variable_is_no_list_of_variables(face, method):
    def call(variables):
        optimizer = FACES[face]()
        arguments = [[tf.ones(2)]] if method == "apply" else []
        getattr(optimizer, method)(*arguments, variables)

    with pytest.raises(TypeError, match="a model. Give its `trainable_variables`"):
        call(model())
    with pytest.raises(TypeError, match=r"`\[variable\]`"):
        call(tf.Variable([1.0, 2.0]))
    with pytest.raises(TypeError, match="None of type NoneType"):
        FACES[face]().build(None)
    with pytest.raises((TypeError, NotImplementedError), match="of type ndarray"):
        call([np.ones(2)])


@pytest.mark.parametrize("face", ["legacy", "2017", "tf1"])
def test_a_model_is_no_var_list(face):
    with pytest.raises((TypeError, ValueError), match="Give its `trainable_variables`"):
        FACES[face]().minimize(lambda: tf.constant(1.0), var_list=model())


def test_a_keras_variable_is_answered_by_what_is_behind_it():
    variable = keras.Variable([1.0, 2.0])
    optimizer = RMSPropOptimizer(0.1)
    with pytest.raises(TypeError, match=r"`variable.value`.*update_rule='tf1'"):
        optimizer.apply_gradients([(tf.ones(2), variable)])
    optimizer.apply_gradients([(tf.ones(2), variable.value)])
    assert float(variable[0]) < 1.0


@pytest.mark.parametrize("face", V2)
def test_variables_of_another_model_are_taken_on(face):
    optimizer = FACES[face]()
    for each in (model(2), model(3)):
        each.compile(optimizer, "mse")
        inputs = np.ones((4, each.input_shape[1]))
        before = each.get_weights()[0]
        each.fit(inputs, np.ones((4, 1)), verbose=0)
        assert np.any(each.get_weights()[0] != before)


def test_a_model_of_keras_3_says_which_optimizer_it_takes():
    with pytest.raises(ValueError, match=r"`keras_rmsprop.RMSprop`, with update_rule="):
        model().compile(RMSPropOptimizer(0.1), "mse")


@pytest.mark.parametrize("face", V2)
def test_a_model_of_tf_keras_says_which_optimizer_it_takes(face):
    other = tf_keras.Sequential([tf_keras.layers.Dense(1, input_shape=(2,))])
    with pytest.raises(ValueError, match="tf_keras takes its own"):
        other.compile(FACES[face](), "mse")
    variables = other.trainable_variables
    before = variables[0].numpy()
    FACES[face]().apply_gradients([(tf.ones_like(v), v) for v in variables])
    assert np.all(variables[0].numpy() < before)
    other.compile(RMSPropOptimizer(0.1), "mse")
    other.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)


SOURCES = {
    "path": ("run/ckpt", r"arguments\(read_state\('run/ckpt'\), ...\).*resume"),
    "generation": ("tf1", r"\('tf1', \{'learning_rate': ...\}\)"),
    "arguments": ({"decay": 0.5}, r"\('tf1', \{'decay': 0.5\}\)"),
    "class": (keras_rmsprop.RMSprop, "Make an optimizer of this class"),
    "number": (("tf1", 0.1), r"a pair of a generation and arguments"),
}


@pytest.mark.parametrize("source,advice", SOURCES.values(), ids=SOURCES)
def test_what_is_no_source_of_arguments_is_answered_by_what_makes_one(source, advice):
    with pytest.raises(TypeError, match=advice):
        migration.arguments(source, keras_rmsprop.RMSprop)


def test_a_model_is_no_source_but_has_one():
    with pytest.raises(TypeError, match="`model.optimizer`"):
        migration.arguments(model(), keras_rmsprop.RMSprop)
    with pytest.raises(TypeError, match=r"read_state\(model.optimizer"):
        migration.read_state(model())
    with pytest.raises(TypeError, match="has been read"):
        migration.read_state(state())


TARGETS = {
    "keras": "'keras_rmsprop.RMSprop' or 'keras.optimizers.RMSprop'",
    "legacy": "'keras_rmsprop.legacy.RMSprop'",
    "tf1": "'compat_v1.train.RMSPropOptimizer'",
    "keras_rmsprop.RMSProp": "'keras_rmsprop.RMSprop'",
}


@pytest.mark.parametrize("target,meant", TARGETS.items(), ids=TARGETS)
def test_a_generation_is_answered_by_the_classes_that_have_its_api(target, meant):
    with pytest.raises(ValueError, match=re.escape(f"Did you mean {meant}?")):
        migration.arguments(state(), target)


def test_an_optimizer_as_a_target_is_answered_by_its_class():
    with pytest.raises(ValueError, match="Give its class"):
        migration.arguments(state(), keras_rmsprop.RMSprop())


def test_names_of_arguments_are_mended_in_migration_too():
    with pytest.raises(ValueError, match="'tf1' has no argument `lr`.*`learning_rate`"):
        migration.arguments(("tf1", {"lr": 0.1}), keras_rmsprop.RMSprop)
    with pytest.raises(ValueError, match="mean `centered`"):
        migration.arguments(state(), keras_rmsprop.RMSprop, centred=True)
    with pytest.raises(ValueError, match="rho or time_decay"):
        migration.arguments(("tf1", {}), legacy.RMSprop, decay=0.5)


def test_a_state_is_applied_to_an_optimizer_first_and_a_model_second():
    trained = model()
    held, optimizer = state(trained), keras_rmsprop.RMSprop()
    with pytest.raises(TypeError, match="optimizer comes first, and then the model"):
        held.apply_to(trained, optimizer)
    with pytest.raises(TypeError, match="Make an optimizer of it"):
        held.apply_to(keras_rmsprop.RMSprop, trained)
    with pytest.raises(TypeError, match=r"`\[variable\]`"):
        held.apply_to(optimizer, trained.trainable_variables[0])
    with pytest.raises(TypeError, match="None of type NoneType"):
        held.apply_to(optimizer, None)
    assert held.apply_to(optimizer, trained) is optimizer


def test_a_path_comes_before_the_model_and_the_optimizer_is_a_class(tmp_path):
    trained = model()
    path = tmp_path / "state.npz"
    state(trained).save(path)
    with pytest.raises(TypeError, match="path, and comes before the model"):
        migration.resume(trained, path)
    with pytest.raises(TypeError, match=r"read_state\(old\).apply_to"):
        migration.resume(keras_rmsprop.RMSprop(), trained)
    with pytest.raises(TypeError, match="Received: RMSprop.* of type RMSprop"):
        migration.resume(path, keras_rmsprop.RMSprop(), restore_values=False)
    for wrong in (keras_rmsprop.RMSprop(), "keras_rmsprop.RMSprop"):
        with pytest.raises(TypeError, match="`optimizer` must be a class"):
            migration.resume(path, trained, optimizer=wrong)


def test_a_directory_or_another_file_says_what_reads_it(tmp_path):
    with pytest.raises(IsADirectoryError, match="`migration.read_state`"):
        migration.OptimizerState.load(tmp_path)
    with pytest.raises(IsADirectoryError, match="file in it that the recorder wrote"):
        migration.read_recording(tmp_path)
    model().save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="`migration.read_state` reads"):
        migration.OptimizerState.load(tmp_path / "model.keras")
