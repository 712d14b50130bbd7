"""`migration.arguments`: optimizers made of translated arguments train alike."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from migration.state import runs

import compat_v1.train
import keras_rmsprop
from compat_v1.keras import optimizer_v1
from keras_rmsprop import migration
from keras_rmsprop.migration import translation

tf1 = tf.compat.v1
TARGETS = {
    "keras_rmsprop.RMSprop": keras_rmsprop.RMSprop,
    "keras_rmsprop.legacy.RMSprop": keras_rmsprop.legacy.RMSprop,
    "compat_v1.train.RMSPropOptimizer": compat_v1.train.RMSPropOptimizer,
    "keras.optimizers.RMSprop": keras.optimizers.RMSprop,
}


def steps_of(optimizer, is_keras, sparse=False, last=12):
    """Returns the values of the variables after some steps."""
    make = runs.keras_variables if is_keras else runs.tf_variables
    variables = make(runs.start())
    for grads in runs.gradients(0, last):
        grads = [tf.constant(g) for g in grads]
        if sparse:
            grads[2] = tf.IndexedSlices(
                grads[2][:2], tf.constant([1, 4]), tf.constant([5, 3])
            )
        optimizer.apply_gradients(list(zip(grads, variables)))
    return runs.values_of(variables)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("options", runs.OPTIONS.values(), ids=runs.OPTIONS)
@pytest.mark.parametrize("source", ["shipped_tf1", "shipped_legacy"])
def test_what_shipped_and_the_modern_face_train_to_the_same_bits(
    source, options, sparse
):
    optimizer = runs.MAKE[source](**options)
    found = migration.arguments(optimizer, keras_rmsprop.RMSprop)
    twin = keras_rmsprop.RMSprop(**found.arguments)
    runs.assert_same_bits(
        steps_of(twin, True, sparse), steps_of(optimizer, False, sparse)
    )


@pytest.mark.parametrize("source", list(runs.MAKE))
@pytest.mark.parametrize("target", list(TARGETS))
def test_every_optimizer_translates_into_every_target(source, target):
    options = {"momentum": 0.9, "centered": True}
    optimizer = runs.MAKE[source](**options)
    found = migration.arguments(optimizer, TARGETS[target])
    assert found == migration.arguments(optimizer, target)
    TARGETS[target](**found.arguments)
    rho = "decay" if target.startswith("compat_v1") else "rho"
    wanted = {"learning_rate": 0.05, rho: 0.8, "epsilon": 1e-6, **options}
    assert {k: found.arguments[k] for k in wanted} == wanted
    assert f"{target}(" in repr(found)


@pytest.mark.parametrize("name", ["tf1", "legacy", "modern", "modern_tf1"])
def test_our_own_optimizers_translate_into_themselves(name):
    optimizer = runs.MAKE[name](momentum=0.5)
    found = migration.arguments(optimizer, type(optimizer))
    assert found.not_carried == {}
    twin = type(optimizer)(**found.arguments)
    is_keras = name.startswith("modern")
    runs.assert_same_bits(steps_of(twin, is_keras), steps_of(optimizer, is_keras))


def test_defaults_that_differ_are_spelled_out():
    found = migration.arguments(("tf1", {"learning_rate": 0.1}), keras_rmsprop.RMSprop)
    assert found.arguments == {
        "learning_rate": 0.1,
        "rho": 0.9,
        "momentum": 0.0,
        "epsilon": 1e-10,
        "centered": False,
        "weight_decay": None,
        "clipnorm": None,
        "clipvalue": None,
        "global_clipnorm": None,
        "use_ema": False,
        "ema_momentum": 0.99,
        "ema_overwrite_frequency": None,
        "loss_scale_factor": None,
        "gradient_accumulation_steps": None,
        "update_rule": "tf1",
        "sparse_updates": "lazy",
    }
    assert list(found.not_carried) == ["name"]
    found = migration.arguments(("keras_2017", {}), keras_rmsprop.RMSprop)
    wanted = {
        "learning_rate": 0.001,
        "epsilon": 1e-8,
        "update_rule": "legacy",
        "sparse_updates": "dense",
    }
    assert {k: found.arguments[k] for k in wanted} == wanted


def test_the_class_of_2017_translates_into_the_modern_face():
    optimizer = optimizer_v1.RMSprop(lr=0.05, rho=0.8)
    found = migration.arguments(optimizer, keras_rmsprop.RMSprop)
    assert list(found.not_carried) == ["name"]
    twin = keras_rmsprop.RMSprop(**found.arguments)
    runs.assert_same_bits(steps_of(twin, True, True), steps_of(optimizer, False, True))


@pytest.mark.parametrize(
    "source, target, lost",
    [
        (
            ("tf1", {"learning_rate": 0.1, "use_locking": True}),
            "keras_rmsprop.RMSprop",
            {"use_locking", "name"},
        ),
        (
            ("tf1", {"learning_rate": tf.constant(0.1)}),
            "keras_rmsprop.RMSprop",
            {"learning_rate", "name"},
        ),
        (
            ("tf1", {}),
            "keras_rmsprop.legacy.RMSprop",
            {"learning_rate", "name", "initial mean square", "epsilon placement"},
        ),
        (
            ("legacy", {"decay": 0.1, "clipnorm": 1.0}),
            "compat_v1.train.RMSPropOptimizer",
            {
                "decay",
                "clipnorm",
                "name",
                "initial mean square",
                "epsilon placement",
                "sparse_updates",
            },
        ),
        (
            ("legacy", {"momentum": 0.9}),
            "keras.optimizers.RMSprop",
            {"name", "sparse_updates"},
        ),
        (
            ("keras2", {"use_ema": True, "ema_overwrite_frequency": None}),
            "keras.optimizers.RMSprop",
            {"name", "moving average"},
        ),
        (
            ("keras", {"weight_decay": 0.1, "use_ema": True}),
            "keras_rmsprop.legacy.RMSprop",
            {"weight_decay", "use_ema", "epsilon placement"},
        ),
        (
            (
                "keras",
                {"learning_rate": keras.optimizers.schedules.CosineDecay(1.0, 9)},
            ),
            "compat_v1.train.RMSPropOptimizer",
            {"learning_rate", "initial mean square", "sparse_updates"},
        ),
    ],
)
def test_what_cannot_carry_over_is_listed_with_its_reason(source, target, lost):
    found = migration.arguments(source, target)
    assert set(found.not_carried) == lost
    assert all(len(why) > 20 for why in found.not_carried.values())


@pytest.mark.parametrize("use_ema", [False, True])
def test_keras_2_trains_on_as_the_rule_of_its_name(use_ema):
    optimizer = tf_keras.optimizers.RMSprop(0.05, use_ema=use_ema, weight_decay=0.1)
    found = migration.arguments(optimizer, keras_rmsprop.RMSprop)
    assert set(found.not_carried) == {"name"}
    assert found.arguments["ema_overwrite_frequency"] == (100 if use_ema else None)
    twin = keras_rmsprop.RMSprop(**found.arguments)
    runs.assert_same_bits(steps_of(twin, True), steps_of(optimizer, False))


def test_legacy_decay_becomes_the_schedule_that_gives_the_same_bits():
    optimizer = tf_keras.optimizers.legacy.RMSprop(0.05, decay=0.3)
    found = migration.arguments(optimizer, keras_rmsprop.RMSprop)
    twin = keras_rmsprop.RMSprop(**found.arguments)
    runs.assert_same_bits(steps_of(twin, True), steps_of(optimizer, False))


def test_a_tf_keras_schedule_becomes_keras_own():
    schedule = tf_keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)
    optimizer = tf_keras.optimizers.legacy.RMSprop(schedule)
    found = migration.arguments(optimizer, keras_rmsprop.RMSprop)
    assert isinstance(
        found.arguments["learning_rate"], keras.optimizers.schedules.ExponentialDecay
    )
    twin = keras_rmsprop.RMSprop(**found.arguments)
    ours, theirs = steps_of(twin, True), steps_of(optimizer, False)
    for name, value in theirs.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-6, atol=1e-6)


def test_a_state_gives_what_it_holds_and_names_what_it_does_not():
    variables = runs.keras_variables(runs.start())
    optimizer = runs.MAKE["modern_tf1"](momentum=0.9)
    runs.train(optimizer, variables, 0, 1)
    state = migration.read_state(optimizer)
    found = migration.arguments(state, keras_rmsprop.RMSprop)
    assert found.arguments["update_rule"] == "tf1"
    assert found.not_carried == {}
    del state.hyperparameters["epsilon"], state.hyperparameters["momentum"]
    with pytest.raises(
        ValueError, match="does not hold momentum, epsilon, and"
    ) as error:
        migration.arguments(state, keras_rmsprop.RMSprop, rho=0.5)
    assert "    epsilon=...,  # 1e-07 by default" in str(error.value)
    with pytest.raises(ValueError, match="does not hold epsilon"):
        # What the message shows, with one `...` left.
        migration.arguments(state, keras_rmsprop.RMSprop, momentum=0.9, epsilon=...)
    found = migration.arguments(state, keras_rmsprop.RMSprop, momentum=0.9, epsilon=1.0)
    assert (found.arguments["momentum"], found.arguments["epsilon"]) == (0.9, 1.0)
    assert found.not_carried == {}


def state_with(slots=("rms",), **fields):
    variable = migration.VariableState(dict.fromkeys(slots, np.ones(2, "float32")))
    return migration.OptimizerState({"v": variable}, iterations=1, **fields)


@pytest.mark.parametrize(
    "state, unknown",
    [
        (
            state_with(("rms", "momentum"), kind="tf1", update_rule="tf1"),
            {"learning_rate", "rho", "momentum", "epsilon"},
        ),
        (
            state_with(
                ("rms", "mg"),
                kind="legacy",
                update_rule="legacy",
                hyperparameters={"learning_rate": 0.1, "decay": 0.0, "rho": 0.9},
            ),
            {"epsilon", "clipnorm", "clipvalue", "global_clipnorm"},
        ),
        (
            state_with(
                ("rms", "average"),
                hyperparameters={"learning_rate": 0.1},
            ),
            {
                "rho",
                "epsilon",
                "clipnorm",
                "clipvalue",
                "global_clipnorm",
                "weight_decay",
                "ema_momentum",
                "ema_overwrite_frequency",
                "loss_scale_factor",
                "update_rule",
                "sparse_updates",
            },
        ),
        (
            state_with(
                update_rule="keras",
                hyperparameters={"name": "x", "rho": 0.9, "epsilon": 1e-7},
            ),
            {"learning_rate"},
        ),
        (
            state_with(
                kind="legacy",
                update_rule="legacy",
                hyperparameters={"lr": 0.1, "rho": 0.9, "decay": 0.0, "epsilon": 1e-8},
            ),
            set(),
        ),
    ],
    ids=["tf1_names", "legacy_checkpoint", "keras_checkpoint", "schedule", "2017"],
)
def test_every_default_that_could_differ_is_asked_for(state, unknown):
    target = keras_rmsprop.RMSprop
    usual = translation.needed(state, target)
    assert set(usual) == unknown
    # A rate that float32 holds.
    given = {**usual, **({"learning_rate": 0.125} if "learning_rate" in usual else {})}
    for name in unknown:
        others = {key: value for key, value in given.items() if key != name}
        with pytest.raises(ValueError, match=f"does not hold {name}, and"):
            migration.arguments(state, target, **others)
    twin = target(**migration.arguments(state, target, **given).arguments)
    assert all(twin.get_config()[name] == given[name] for name in given)


def test_a_given_argument_goes_by_the_names_of_either_side():
    state = state_with(("rms", "momentum"), kind="tf1", update_rule="tf1")
    rest = {"learning_rate": 0.1, "momentum": 0.0, "epsilon": 1e-10}
    for name in ("rho", "decay"):
        found = migration.arguments(state, keras_rmsprop.RMSprop, **{name: 0.7}, **rest)
        assert found.arguments["rho"] == 0.7
    # TF1's rho, or what divides the learning rate?
    with pytest.raises(ValueError, match="decay=0.7, which is rho or time_decay"):
        migration.arguments(state, keras_rmsprop.legacy.RMSprop, decay=0.7, **rest)
    with pytest.raises(ValueError, match="given once"):
        migration.arguments(state, keras_rmsprop.RMSprop, rho=0.7, decay=0.7, **rest)
    with pytest.raises(ValueError, match="no argument `beta`"):
        migration.arguments(state, keras_rmsprop.RMSprop, beta=1, **rest)


@pytest.mark.parametrize(
    "rate",
    [
        {
            "module": "a.project",
            "class_name": "Warmup",
            "registered_name": "a>Warmup",
            "config": {"steps": 9},
        },
        {"module": "keras.layers", "class_name": "Dense", "config": {"units": 1}},
        {"class_name": "ExponentialDecay", "config": {"nothing": 1}},
        {"class_name": None},
    ],
    ids=["custom", "no_schedule", "wrong_arguments", "nothing"],
)
def test_a_schedule_that_cannot_be_made_is_not_carried_and_never_a_default(rate):
    state = state_with(
        update_rule="keras",
        hyperparameters={
            "name": "x",
            "rho": 0.9,
            "epsilon": 1e-7,
            "learning_rate": rate,
        },
    )
    found = migration.arguments(state, keras_rmsprop.RMSprop)
    assert "it is a schedule" in found.not_carried["learning_rate"]
    assert repr(rate["class_name"]) in repr(found).replace("\n    ", " ")
    with pytest.raises(ValueError, match="cannot be given to keras_rmsprop.RMSprop"):
        keras_rmsprop.RMSprop(**found.arguments)
    found = migration.arguments(state, keras_rmsprop.RMSprop, learning_rate=0.2)
    assert found.arguments["learning_rate"] == 0.2 and found.not_carried == {}


def test_arguments_are_shown_as_python():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)
    found = migration.arguments(
        ("keras", {"learning_rate": schedule, "name": "x"}), keras_rmsprop.RMSprop
    )
    shown = eval(repr(found), {"keras": keras, "keras_rmsprop": keras_rmsprop})
    twin = keras_rmsprop.RMSprop(**found.arguments)
    assert shown.get_config() == twin.get_config()


@pytest.mark.parametrize(
    "source, target, error, message",
    [
        (("tf2", {}), "keras_rmsprop.RMSprop", ValueError, "generation must be one of"),
        (("tf1", {"rho": 1}), "keras_rmsprop.RMSprop", ValueError, "no argument `rho`"),
        (("tf1", {}), "keras.optimizers.Adam", ValueError, "`target` must be one of"),
        (("tf1", {}), keras.optimizers.Adam, ValueError, "`target` must be one of"),
        (3, "keras_rmsprop.RMSprop", TypeError, "`source` must be an optimizer"),
    ],
)
def test_what_is_unknown_is_refused(source, target, error, message):
    with pytest.raises(error, match=message):
        migration.arguments(source, target)


def test_what_a_reader_could_tell_of_an_unknown_rate_is_passed_on():
    state = migration.OptimizerState(
        {"w": migration.VariableState({"rms": np.ones(2), "momentum": np.ones(2)})},
        kind="tf1",
        update_rule="tf1",
        hyperparameters={"decay": 0.9, "momentum": 0.9, "epsilon": 1e-10},
        not_read=("learning_rate: it was 0.00295 at the checkpoint's step", "other: x"),
    )
    with pytest.raises(ValueError, match="it was 0.00295 at the checkpoint's") as error:
        migration.arguments(state, keras_rmsprop.RMSprop)
    assert "other" not in str(error.value)
