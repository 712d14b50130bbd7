"""`resume` and `keras-rmsprop inspect`: from a file to training that goes on."""

import argparse
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from migration.state import runs

import keras_rmsprop
from keras_rmsprop import migration
from keras_rmsprop.migration.commands import inspect, reading
from keras_rmsprop.migration.state import VariableState

tf1 = tf.compat.v1


def model_of(first=None, second=None):
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name=first),
            keras.layers.Dense(4, name=second),
        ]
    )


def tf1_run(directory, scopes=("first", "second"), **options):
    """Trains in a TF1 graph; returns the prefix of its checkpoint, and the values."""
    with tf.Graph().as_default(), tf1.Session() as session:
        tf1.set_random_seed(0)
        x = tf.ones((2, 3))
        for scope in scopes:
            with tf1.variable_scope(scope):
                kernel = tf1.get_variable("kernel", (x.shape[1], 4))
                bias = tf1.get_variable("bias", (4,))
            x = tf.matmul(x, kernel) + bias
        step = tf1.train.RMSPropOptimizer(0.05, momentum=0.9, **options).minimize(
            tf.reduce_sum(x**2), tf1.train.get_or_create_global_step()
        )
        session.run(tf1.global_variables_initializer())
        for _ in range(3):
            session.run(step)
        prefix = tf1.train.Saver().save(session, str(directory / "model.ckpt"))
        return prefix, session.run(tf1.trainable_variables())


def test_one_call_reads_makes_and_fills(tmp_path):
    prefix, values = tf1_run(tmp_path)
    model = model_of("first", "second")
    resumed = migration.resume(tmp_path, model)
    optimizer, not_carried = resumed
    state = migration.read_state(prefix)
    made = migration.arguments(state, keras_rmsprop.RMSprop)
    assert not_carried == made.not_carried
    twin = keras_rmsprop.RMSprop(**made.arguments, name=optimizer.name)
    assert optimizer.get_config() == twin.get_config()
    found = migration.read_state(optimizer)
    for ours, theirs in zip(found.variables.values(), state.variables.values()):
        runs.assert_same_bits(ours.slots, theirs.slots)
    for variable, value in zip(model.variables, values):
        np.testing.assert_array_equal(variable, value)
    assert not model.compiled and int(optimizer.iterations) == 3
    assert repr(resumed).startswith("Resumed after step 3 with\nkeras_rmsprop.RMSprop(")
    assert "momentum=0.9" in repr(resumed)


def test_a_run_that_is_resumed_into_the_legacy_class_or_with_other_arguments(tmp_path):
    model = model_of("first", "second")
    old = keras_rmsprop.legacy.RMSprop(0.05, momentum=0.9, decay=0.5)
    old.build(model.trainable_variables)
    old.iterations.assign(7)
    path = tmp_path / "state.npz"
    migration.read_state(old, variables=model.trainable_variables).save(path)
    optimizer, _ = migration.resume(path, model, optimizer=keras_rmsprop.legacy.RMSprop)
    assert (optimizer.get_config()["decay"], int(optimizer.iterations)) == (0.5, 7)
    optimizer, _ = migration.resume(
        path, model, 0.25, decay=0.0, momentum=0.5, epsilon=1e-3, iterations=9
    )
    assert (optimizer.momentum, optimizer.epsilon) == (0.5, 1e-3)
    assert (float(optimizer.learning_rate), int(optimizer.iterations)) == (0.25, 9)


def test_it_stops_where_the_pieces_would_and_leaves_the_model_as_it_was(tmp_path):
    _, values = tf1_run(tmp_path, ("dense", "dense_1"))
    for path in tmp_path.glob("*.meta"):
        path.unlink()
    keras.backend.clear_session()
    keras.layers.Dense(1)
    model = model_of()
    before = [v.numpy() for v in model.variables]
    with pytest.raises(ValueError, match="does not hold learning_rate, rho, momentum"):
        migration.resume(tmp_path, model)
    told = {"learning_rate": 0.05, "rho": 0.9, "momentum": 0.9, "epsilon": 1e-10}
    # The kernels are of shapes of their own, so that the biases follow their layers.
    migration.resume(tmp_path, model, **told)
    for variable, value in zip(model.variables, values):
        np.testing.assert_array_equal(variable, value)
    model.set_weights(before)
    with pytest.raises(ValueError, match="Nothing was written"):
        migration.resume(tmp_path, keras.Sequential(model.layers[:1]), **told)
    for variable, value in zip(model.variables, before):
        np.testing.assert_array_equal(variable, value)


@pytest.mark.filterwarnings("ignore:You are saving")
def test_equal_layers_of_another_count_ask_for_a_map_that_can_be_pasted(tmp_path):
    def three_layers():
        layers = [keras.layers.Dense(3) for _ in range(3)]
        return keras.Sequential([keras.Input((3,)), *layers])

    keras.backend.clear_session()
    old = three_layers()
    old.compile(keras.optimizers.RMSprop(0.05, momentum=0.9), "mse")
    old.fit(np.eye(3), np.ones((3, 3)), verbose=0)
    old.save(tmp_path / "old.h5")
    keras.backend.clear_session()
    keras.layers.Dense(1)
    new = three_layers()
    with pytest.raises(ValueError, match="Nothing was written") as error:
        migration.resume(tmp_path / "old.h5", new)
    (pasted,) = re.findall(r"name_map=(\{.*\})", str(error.value), re.DOTALL)
    assert not np.array_equal(new.weights[0], old.weights[0])
    optimizer, _ = migration.resume(tmp_path / "old.h5", new, name_map=eval(pasted))
    for ours, theirs in zip(new.weights, old.weights):
        np.testing.assert_array_equal(ours, theirs)
    # Without the step count and the learning rate.
    for ours, theirs in zip(optimizer.variables[2:], old.optimizer.variables[2:]):
        np.testing.assert_array_equal(ours, theirs)


def test_a_momentum_that_the_call_gives_counts_as_told(tmp_path):
    tf1_run(tmp_path)
    for path in tmp_path.glob("*.meta"):
        path.unlink()
    optimizer, _ = migration.resume(
        tmp_path,
        model_of("first", "second"),
        0.05,
        rho=0.9,
        momentum=0.0,
        epsilon=1e-10,
    )
    assert optimizer.momentum == 0.0


def test_what_was_not_carried_is_named(tmp_path):
    tf1_run(tmp_path)
    state = migration.read_state(tmp_path)
    state.others["shadow"] = np.ones(2, "float32")
    state.not_read = ("a table of words",)
    state.save(tmp_path / "state.npz")
    resumed = migration.resume(tmp_path / "state.npz", model_of("first", "second"))
    assert set(resumed.not_carried) == {"shadow", "a table of words"}
    assert "not carried over: shadow: no variable of the model" in repr(resumed)


def run(*arguments):
    parser = argparse.ArgumentParser()
    inspect.add_arguments(parser)
    return inspect.main(parser.parse_args([str(a) for a in arguments]))


def recipe(printed):
    """Returns the lines of Python that were printed."""
    (code,) = re.findall(
        r"(    from keras_rmsprop.*?)\n    # model", printed, re.DOTALL
    )
    return re.sub("^    ", "", code, flags=re.MULTILINE)


def test_what_inspect_prints_goes_on(tmp_path, capsys):
    prefix, values = tf1_run(tmp_path)
    assert run(prefix) == 0
    printed = capsys.readouterr().out
    for text in (
        "is a TF1 Saver checkpoint.",
        "iterations: 3",
        "first/kernel   (3, 4)  float32  rms, momentum  yes",
        "    rho=0.9,",
        "    update_rule='tf1',",
    ):
        assert text in printed
    assert "It does not hold" not in printed
    model = model_of("first", "second")
    names = {"model": model}
    exec(recipe(printed), names)
    assert int(names["optimizer"].iterations) == 3
    np.testing.assert_array_equal(model.variables[0], values[0])


def test_what_a_file_lacks_is_left_to_fill_in_and_stops_until_it_is(tmp_path, capsys):
    slots = {"rms": np.ones(2, "float32"), "momentum": np.ones(2, "float32")}
    state = migration.OptimizerState({"v": VariableState(slots)}, kind="tf1")
    state.save(tmp_path / "s")
    assert run(tmp_path / "s") == 0
    printed = capsys.readouterr().out
    assert "- the number of steps: --iterations gives it" in printed
    assert "- learning_rate, rho, momentum, epsilon: fill in" in printed
    assert "- the values of the variables" in printed
    code = recipe(printed)
    for line in (
        "    iterations=...,",
        "    restore_values=False,",
        "    learning_rate=...,",
        "    epsilon=...,  # 1e-10 by default",
    ):
        assert f"{line}\n" in code
    variable = keras.Variable(np.zeros(2, "float32"), name="v")
    names = {"model": type("Model", (), {"trainable_variables": [variable]})()}
    for name, value in {
        "learning_rate": 0.1,
        "rho": 0.9,
        "momentum": 0.9,
        "epsilon": 1e-10,
        "iterations": 4,
    }.items():
        with pytest.raises(ValueError, match=name if name == "iterations" else "hold"):
            exec(code, names)
        code = code.replace(f"{name}=...", f"{name}={value}")
    exec(code, names)
    assert int(names["optimizer"].iterations) == 4
    assert run(tmp_path / "s", "--iterations=9") == 0
    assert "    iterations=9,\n" in capsys.readouterr().out


def test_of_several_optimizers_the_option_chooses(tmp_path, capsys):
    variables = runs.keras_variables(runs.start())
    first, second = (runs.MAKE["shipped_keras"]() for _ in range(2))
    for steps, optimizer in enumerate((first, second), 1):
        runs.train(optimizer, variables, 0, steps)
    prefix = tf.train.Checkpoint(a=first, b=second).save(str(tmp_path / "c"))
    assert run(prefix) == 1
    captured = capsys.readouterr()
    assert "is a tf.train.Checkpoint" in captured.out
    assert "['a', 'b']" in captured.err and "--optimizer-name" in captured.err
    assert "optimizer_name" not in captured.err
    assert run(prefix, "--optimizer-name=b") == 0
    printed = capsys.readouterr().out
    assert "iterations: 2" in printed and "    optimizer_name='b',\n" in printed


def test_messages_of_commands_name_options():
    assert reading.in_options(
        "`optimizer_name` must say which. Received: optimizer_name=None, centered=True"
    ) == (
        "--optimizer-name must say which. Received: no --optimizer-name, "
        "--centered=True"
    )


@pytest.mark.parametrize("content", [None, b"hello"])
def test_what_cannot_be_inspected_is_said_in_a_line(content, tmp_path, capsys):
    if content is not None:
        (tmp_path / "x").write_bytes(content)
    assert run(tmp_path / "x") == 1
    captured = capsys.readouterr()
    assert captured.err.startswith("keras-rmsprop inspect: ")
    assert captured.err.count("\n") == 1 and not captured.out


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_what_inspect_prints_of_a_file_without_names_goes_on(name, tmp_path, capsys):
    old = model_of("first", "second")
    old.compile(keras_rmsprop.RMSprop(0.01, momentum=0.9), "mse")
    old.fit(np.ones((4, 3)), np.ones((4, 4)), verbose=0)
    (old.save_weights if "weights" in name else old.save)(tmp_path / name)
    hint = ["--no-centered"] if "weights" in name else []
    assert run(tmp_path / name, *hint) == 0
    printed = capsys.readouterr().out
    code = recipe(printed)
    assert "- the values" not in printed and "restore_values" not in code
    told = {"rho": 0.9, "momentum": 0.9, "epsilon": 1e-7, "update_rule": "'keras'"}
    for argument, value in {**told, "sparse_updates": "'lazy'"}.items():
        code = code.replace(f"{argument}=...", f"{argument}={value}")
    # What is left is of arguments that nothing was given for.
    code = code.replace("=...", "=None")
    names = {"model": model_of("first", "second")}
    exec(code, names)
    for ours, theirs in zip(names["model"].weights, old.weights):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(names["optimizer"].variables, old.optimizer.variables):
        np.testing.assert_array_equal(ours, theirs)


def test_a_loss_scale_that_is_left_behind_is_named(tmp_path):
    old = model_of("first", "second")
    inner = keras_rmsprop.RMSprop(0.01)
    old.compile(keras.optimizers.LossScaleOptimizer(inner), "mse")
    old.fit(np.ones((4, 3)), np.ones((4, 4)), verbose=0)
    old.save(tmp_path / "m.keras")
    _, not_carried = migration.resume(tmp_path / "m.keras", model_of())
    assert "LossScaleOptimizer" in not_carried["loss scale"]
