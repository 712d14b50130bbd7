"""Training as users train: `fit`, loops of their own, and what goes around a step."""

import copy
import functools
import pickle
import shutil
import subprocess
import sys

import backend_programs as programs
import keras
import numpy as np
import pytest

import keras_rmsprop

BACKEND = keras.backend.backend()


def data(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(96, 6)).astype("float32")
    return x, (x @ rng.normal(size=(6, 1))).astype("float32")


def model(dtype=None):
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu", dtype=dtype),
            keras.layers.Dense(1, dtype=dtype),
        ]
    )


def fitted(optimizer, epochs=3, net=None, **compiling):
    net = net or model()
    net.compile(optimizer, "mse", **compiling)
    history = net.fit(*data(), batch_size=16, epochs=epochs, shuffle=False, verbose=0)
    return net, history.history["loss"]


def loss_and_gradients(net, x, y):
    """Returns a loss and gradients, as a loop of the backend's own takes them."""
    if BACKEND == "torch":
        net.zero_grad()
        loss = ((net(x) - keras.ops.convert_to_tensor(y)) ** 2).mean()
        loss.backward()
        return loss, [v.value.grad for v in net.trainable_variables]
    import jax

    def loss_of(values):
        predicted, _ = net.stateless_call(
            values, [v.value for v in net.non_trainable_variables], x
        )
        return ((predicted - y) ** 2).mean()

    return jax.value_and_grad(loss_of)([v.value for v in net.trainable_variables])


def test_training_needs_no_tensorflow(tmp_path):
    code = f"""
import sys
sys.modules["tensorflow"] = None  # As if it were not installed.
import keras, keras_rmsprop, numpy as np
model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
model.compile(keras_rmsprop.RMSprop(update_rule="tf1", centered=True), "mse")
model.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)
model.save({str(tmp_path / "model.keras")!r})
loaded = keras.models.load_model({str(tmp_path / "model.keras")!r})
assert int(loaded.optimizer.iterations) == 1
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "name",
    ["weight_decay", "overwriting_average", "accumulation_average_decay", "loss_scale"],
)
def test_fit_agrees_with_stock_keras(name):
    arguments = programs.AROUND[name]
    # On PyTorch Keras rounds what is kept of a variable, a millionth of it at once.
    rounds = name == "weight_decay" and BACKEND == "torch"
    tolerance = 1e-4 if rounds else 2e-6
    ours, losses = fitted(keras_rmsprop.RMSprop(0.01, momentum=0.9, **arguments))
    stock, _ = fitted(keras.optimizers.RMSprop(0.01, momentum=0.9, **arguments))
    assert losses[-1] < losses[0]
    for mine, theirs in zip(ours.get_weights(), stock.get_weights()):
        np.testing.assert_allclose(mine, theirs, rtol=tolerance, atol=tolerance)


def test_fit_agrees_with_a_loop_of_ones_own():
    fit, _ = fitted(keras_rmsprop.RMSprop(0.01, momentum=0.9), epochs=1)
    net, optimizer = model(), keras_rmsprop.RMSprop(0.01, momentum=0.9)
    x, y = data()
    for start in range(0, 96, 16):
        rows = slice(start, start + 16)
        _, grads = loss_and_gradients(net, x[rows], y[rows])
        optimizer.apply(grads, net.trainable_variables)
    for mine, theirs in zip(net.get_weights(), fit.get_weights()):
        np.testing.assert_allclose(mine, theirs, rtol=2e-6, atol=2e-6)


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX compiles steps")
def test_what_a_compiled_step_no_longer_sees_is_warned_of():
    net, _ = fitted(keras_rmsprop.RMSprop(0.01), epochs=1)
    with pytest.warns(UserWarning, match="keeps the former `rho`"):
        net.optimizer.rho = 0.5


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX compiles steps")
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rule", ["keras", "keras2", "legacy", "tf1"])
def test_centered_steps_overwrite_arrays_without_copies(rule, momentum):
    import jax

    variable = keras.Variable(np.ones(1 << 16, "float32"))
    optimizer = keras_rmsprop.RMSprop(
        0.01, momentum=momentum, centered=True, update_rule=rule
    )
    optimizer.build([variable])

    # JAX has results take the places of donated arrays of their shape, in order.
    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def step(trained, held, grads):
        return optimizer.stateless_apply(held, grads, trained)

    held = [each.value for each in optimizer.variables]
    compiled = step.lower([variable.value], held, [variable.value]).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 1 << 16


@pytest.mark.parametrize("rule", ["keras", "keras2"])
def test_fit_goes_on_after_averages_became_the_variables(rule):
    net, _ = fitted(keras_rmsprop.RMSprop(0.01, use_ema=True, update_rule=rule))
    averages = net.optimizer._model_variables_moving_average
    for weight, average in zip(net.get_weights(), averages):
        np.testing.assert_array_equal(weight, average.numpy())
    net.fit(*data(), batch_size=16, verbose=0)


@pytest.mark.parametrize("rule", ["legacy", "tf1"])
def test_rules_learn_compiled_and_not(rule):
    results = []
    # PyTorch compiles models by way of C++.
    for compiled in (
        (True, False) if BACKEND == "jax" or shutil.which("g++") else (False,)
    ):
        net, losses = fitted(
            keras_rmsprop.RMSprop(0.01, update_rule=rule, centered=True),
            jit_compile=compiled,
        )
        assert losses[-1] < losses[0]
        results.append(net.get_weights())
    for values in zip(*results):
        np.testing.assert_allclose(values[0], values[-1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "bfloat16"])
def test_half_precision_learns(policy):
    net, losses = fitted(keras_rmsprop.RMSprop(0.01), net=model(policy))
    assert losses[-1] < losses[0]


def test_a_loss_scale_optimizer_skips_steps_that_overflow():
    scaled = keras.optimizers.LossScaleOptimizer(
        keras_rmsprop.RMSprop(0.01, momentum=0.9), initial_scale=2.0
    )
    net, losses = fitted(scaled, net=model("mixed_float16"))
    assert losses[-1] < losses[0]
    before = net.get_weights()
    if BACKEND == "torch":
        # JAX decides so in `stateless_apply`.
        scaled.apply(
            [keras.ops.full(v.shape, np.inf) for v in net.trainable_variables],
            net.trainable_variables,
        )
    else:
        trained, _ = scaled.stateless_apply(
            [v.value for v in scaled.variables],
            [keras.ops.full(v.shape, np.inf) for v in net.trainable_variables],
            [v.value for v in net.trainable_variables],
        )
        net.set_weights(list(map(np.asarray, trained)))
    for old, new in zip(before, net.get_weights()):
        np.testing.assert_array_equal(old, new)


def test_schedules_callables_and_callbacks_set_the_rate():
    schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 6, 0.5, staircase=True)
    with_schedule, _ = fitted(keras_rmsprop.RMSprop(schedule), epochs=2)
    callback = keras.callbacks.LearningRateScheduler(lambda epoch: 0.01 * 0.5**epoch)
    net = model()
    net.compile(keras_rmsprop.RMSprop(0.01), "mse")
    net.fit(
        *data(), batch_size=16, epochs=2, shuffle=False, verbose=0, callbacks=[callback]
    )
    called, _ = fitted(keras_rmsprop.RMSprop(lambda: 0.01), epochs=1)
    plain, _ = fitted(keras_rmsprop.RMSprop(0.01), epochs=1)
    for pair in ((with_schedule, net), (called, plain)):
        for one, other in zip(*(each.get_weights() for each in pair)):
            np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-6)


def test_an_own_update_step_is_called():
    class Reversed(keras_rmsprop.RMSprop):
        def update_step(self, gradient, variable, learning_rate):
            super().update_step(-gradient, variable, learning_rate)

    variable = keras.Variable([1.0, 2.0])
    Reversed(0.1).apply([keras.ops.ones(2)], [variable])
    assert (variable.numpy() > [1.0, 2.0]).all()


def test_new_variables_are_taken_on():
    first, second = programs.variables(shapes=((3,), (2,)))
    optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9)
    optimizer.apply([np.ones(3, "float32")], [first])
    optimizer.apply([np.ones(3, "float32"), np.ones(2, "float32")], [first, second])
    names = [v.name.rpartition("_")[2] for v in optimizer.variables[2:]]
    assert names == ["velocity", "velocity", "momentum", "momentum"]


def test_copies_carry_the_state():
    net, _ = fitted(keras_rmsprop.RMSprop(0.01, momentum=0.9, update_rule="tf1"))
    held = [v.numpy() for v in net.optimizer.variables]
    for other in (
        copy.deepcopy(net.optimizer),
        pickle.loads(pickle.dumps(net.optimizer)),
    ):
        other.build(net.trainable_variables)
        for mine, theirs in zip(held, other.variables):
            np.testing.assert_array_equal(mine, theirs.numpy())


@pytest.mark.parametrize("arguments", ["plain", "centered_momentum"])
@pytest.mark.parametrize("rule", ["keras", "legacy", "tf1"])
def test_steps_stay_finite_where_a_denominator_vanishes(rule, arguments):
    optimizer = keras_rmsprop.RMSprop(
        0.01,
        rho=0.0 if arguments == "plain" else 0.9,
        epsilon=1e-50,
        update_rule=rule,
        **programs.ARGUMENTS[arguments],
    )
    steady = 1000 * (1 + 1e-6 * np.random.default_rng(0).normal(size=(100, 200)))
    held = [
        keras.Variable(np.ones(200), dtype="float32"),
        keras.Variable(np.ones(4), dtype="float32"),
        keras.Variable(np.ones(4), dtype="float16"),
    ]
    odd = np.array([0.0, 1e-30, 0.5, -2.0])
    for gradient in steady:
        optimizer.apply(
            [gradient.astype("float32"), odd.astype("float32"), odd.astype("float16")],
            held,
        )
    for variable in (*held, *optimizer.variables):
        assert np.isfinite(np.asarray(variable.numpy(), "float64")).all()
    assert (held[1].numpy()[2:] != 1).all()


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("rule", ["keras", "keras2", "legacy", "tf1"])
def test_elements_without_a_variance_rest_while_their_means_decay(rule, momentum):
    (variable,) = programs.variables(shapes=((3,),))
    before = variable.numpy()
    optimizer = keras_rmsprop.RMSprop(
        0.1, momentum=momentum, centered=True, update_rule=rule
    )
    optimizer.build([variable])
    # Only of the last element is a mean of squares less than a squared mean.
    for held, values in (
        (optimizer._velocities, [1, 4, 1]),
        (optimizer._average_gradients, [0, 1, 2]),
    ):
        held[0].assign(keras.ops.array(values, "float32"))
    optimizer.apply([keras.ops.array([1.0, 2.0, 2.0])], [variable])
    (mean_square,) = optimizer._velocities
    (mean,) = optimizer._average_gradients
    np.testing.assert_allclose(mean_square.numpy(), [1, 4, 0.9], rtol=1e-6)
    np.testing.assert_allclose(mean.numpy(), [0.1, 1.1, 1.8], rtol=1e-6)
    for held in optimizer._momentums:
        assert (held.numpy() != 0).tolist() == [True, True, False]
    assert (variable.numpy() != before).tolist() == [True, True, False]


@pytest.mark.parametrize(
    "gradient, named",
    [
        (np.ones(3, "float32"), "shape"),
        (np.ones(2, "int32"), "dtype"),
        (np.ones(2, "complex64"), "dtype"),
    ],
)
def test_bad_gradients_are_refused_before_anything_changes(gradient, named):
    variables = [keras.Variable([1.0, 2.0]), keras.Variable([1.0, 2.0])]
    optimizer = keras_rmsprop.RMSprop(0.1)
    with pytest.raises(ValueError, match=f"gradient of variable .* of {named}"):
        optimizer.apply([np.ones(2, "float32"), gradient], variables)
    assert not optimizer.built and variables[0].numpy()[0] == 1.0


def test_what_is_no_keras_variable_is_refused():
    native = keras.Variable([1.0]).value
    with pytest.raises(TypeError, match="must hold variables.*`keras.Variable`"):
        keras_rmsprop.RMSprop().apply([np.ones(1, "float32")], [native])


def test_stateless_steps_leave_what_they_are_given():
    (variable,) = programs.variables(shapes=((3,),))
    optimizer = keras_rmsprop.RMSprop(0.1)
    optimizer.build([variable])
    given = [keras.ops.ones(3)]
    state = [keras.ops.copy(v.value) for v in optimizer.variables]
    before = [np.array(keras.ops.convert_to_numpy(s)) for s in state]
    trained, new = optimizer.stateless_apply(state, [keras.ops.ones(3)], given)
    assert keras.ops.convert_to_numpy(given[0])[0] == 1
    assert keras.ops.convert_to_numpy(trained[0])[0] < 1
    for old, held in zip(before, state):
        np.testing.assert_array_equal(old, keras.ops.convert_to_numpy(held))
    assert int(new[0]) == 1


@pytest.mark.skipif(BACKEND != "torch", reason="blocks are of PyTorch")
def test_large_strided_and_small_variables_are_updated_alike(monkeypatch):
    import torch

    from keras_rmsprop.backends import torch as backend

    monkeypatch.setattr(backend, "CPU", backend.Blocks(64, 64, 64))
    rng = np.random.default_rng(0)
    shapes = ((20, 13), (5,), (3, 4), (), (64,), (0,), (7, 9))
    starts = [rng.normal(size=s).astype("float32") for s in shapes]
    grads = [rng.normal(size=s).astype("float32") for s in shapes]
    results = []
    for strided in (False, True):
        variables = [keras.Variable(s) for s in starts]
        given = [torch.tensor(g) for g in grads]
        if strided:
            first = variables[0].value
            first.data = first.data.t().contiguous().t()
            given = [g.t().contiguous().t() if g.ndim == 2 else g for g in given]
        optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9, centered=True)
        for _ in range(3):
            optimizer.apply(given, variables)
        results.append([v.numpy() for v in (*variables, *optimizer.variables)])
    alone = []
    for start, gradient in zip(starts, grads):
        variable = keras.Variable(start)
        optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9, centered=True)
        for _ in range(3):
            optimizer.apply([gradient], [variable])
        alone.append(variable.numpy())
    for one, other in zip(*results):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(results[0], alone):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="blocks are of PyTorch")
@pytest.mark.parametrize("rule", ["keras", "keras2", "legacy", "tf1"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("centered", [False, True])
@pytest.mark.parametrize("epsilon", [0.0, 1e-7])
def test_a_step_in_blocks_is_that_of_the_whole(
    rule, momentum, centered, epsilon, monkeypatch
):
    from keras_rmsprop.backends import torch as backend

    def trained():
        (variable,) = programs.variables(shapes=((100, 7),))
        optimizer = keras_rmsprop.RMSprop(
            0.1, 0.5, momentum, epsilon, centered=centered, update_rule=rule
        )
        rng = np.random.default_rng(0)
        for _ in range(5):
            # Ones: a variance of zero, where elements of a centered step rest.
            gradient = rng.normal(size=(100, 7)).astype("float32")
            gradient[30:50] = 1
            gradient[50:60] = 0
            optimizer.apply([keras.ops.array(gradient)], [variable])
        return [v.numpy() for v in (variable, *optimizer.variables)]

    whole = trained()
    monkeypatch.setattr(backend, "CPU", backend.Blocks(64, 64, 64))
    assert all(np.isfinite(value).all() for value in whole)
    for one, other in zip(whole, trained()):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.skipif(BACKEND != "torch", reason="slots lie together on PyTorch")
def test_small_slots_are_updated_as_one_wherever_they_lie():
    from keras_rmsprop.backends import torch as backend

    shapes = ((3, 4), (5,), (), (0,), (2, 2))
    rng = np.random.default_rng(0)
    grads = [[rng.normal(size=s).astype("float32") for s in shapes] for _ in range(4)]
    grads[1][1] = None

    def trained(moved=()):
        variables = [keras.Variable(np.ones(s, "float32")) for s in shapes]
        optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9, centered=True)
        optimizer.build(variables)
        slots = [slot._value for slot in optimizer._velocities if slot.shape != (0,)]
        assert backend._as_one(slots) is not None
        for index in moved:
            slots[index].data = slots[index].data.clone()
            assert backend._as_one(slots) is None
        for each in grads:
            optimizer.apply(each, variables)
        return [v.numpy() for v in (*variables, *optimizer.variables)]

    expected = trained()
    for moved in ((0,), (1, 2)):
        for one, other in zip(trained(moved), expected):
            np.testing.assert_array_equal(one, other)


def test_variables_without_elements_keep_their_shapes():
    variables = [keras.Variable(np.ones(s, "float32")) for s in ((3, 0), (0, 2), (2,))]
    optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9)
    for _ in range(2):
        optimizer.apply([keras.ops.ones(v.shape) for v in variables], variables)
    other = copy.deepcopy(optimizer)
    other.build(variables)
    for one, copied in zip(optimizer.variables, other.variables):
        assert one.numpy().shape == tuple(one.shape)
        np.testing.assert_array_equal(one.numpy(), copied.numpy())
