"""Sharded training: four devices give what one does."""

import keras
import numpy as np
import pytest

import keras_rmsprop

jax = pytest.importorskip("jax")
pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "jax", reason="Keras distributes on JAX"
)
DISTRIBUTIONS = ("data", "model")


@pytest.fixture(autouse=True)
def no_distribution_stays():
    yield
    keras.distribution.set_distribution(None)


def distribution(name):
    devices = [f"cpu:{index}" for index in range(4)]
    if name == "data":
        return keras.distribution.DataParallel(devices=devices)
    mesh = keras.distribution.DeviceMesh((2, 2), ["batch", "model"], devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*kernel"] = (None, "model")
    return keras.distribution.ModelParallel(
        layout_map=layout, batch_dim_name="batch", auto_shard_dataset=False
    )


def trained(name, **arguments):
    keras.distribution.set_distribution(None if name is None else distribution(name))
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8), keras.layers.Dense(4)]
    )
    optimizer = keras_rmsprop.RMSprop(0.01, name="opt", **arguments)
    model.compile(optimizer, "mse")
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(64, 6)), rng.normal(size=(64, 4))
    model.fit(x, y, batch_size=16, epochs=3, shuffle=False, verbose=0)
    return model


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(
    "arguments",
    [
        {"update_rule": "tf1", "momentum": 0.9, "centered": True},
        {"use_ema": True, "global_clipnorm": 1.0, "weight_decay": 0.01},
    ],
)
def test_four_devices_give_what_one_does(name, arguments):
    assert len(jax.devices()) == 4
    one, four = trained(None, **arguments), trained(name, **arguments)
    for single, sharded in zip(one.get_weights(), four.get_weights()):
        np.testing.assert_allclose(single, sharded, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_slots_are_laid_out_like_their_variables(name):
    model = trained(name, momentum=0.9, centered=True)
    optimizer = model.optimizer
    split = 0
    for index, variable in enumerate(model.trainable_variables):
        expected = variable.value.sharding
        split += "model" in expected.spec
        for held in (
            optimizer._velocities,
            optimizer._momentums,
            optimizer._average_gradients,
        ):
            slot = held[index].value
            assert slot.sharding.is_equivalent_to(expected, slot.ndim)
            assert len(slot.sharding.device_set) == 4
    assert split == (0 if name == "data" else 2)


@pytest.mark.parametrize("jit", [False, True])
def test_arrays_whose_types_say_how_they_are_split_take_centered_steps(jit):
    from jax.sharding import NamedSharding, PartitionSpec

    kinds = getattr(jax.sharding, "AxisType", None)
    if kinds is None:
        pytest.skip("this JAX has no such types")
    mesh = jax.make_mesh((4,), ("part",), axis_types=(kinds.Explicit,))
    variable = keras.Variable(np.ones((8, 2), "float32"))
    optimizer = keras_rmsprop.RMSprop(0.01, momentum=0.9, centered=True)
    optimizer.build([variable])
    state = [each.value for each in optimizer.variables]
    gradient = np.arange(16, dtype="float32").reshape(8, 2)
    step = jax.jit(optimizer.stateless_apply) if jit else optimizer.stateless_apply
    (expected,), _ = step(state, [gradient], [variable.value])

    def split(array):
        return jax.device_put(array, NamedSharding(mesh, PartitionSpec("part")))

    with jax.set_mesh(mesh):
        held = [split(each) if each.ndim else each for each in state]
        (received,), _ = step(held, [split(gradient)], [split(variable.value)])
    np.testing.assert_allclose(received, expected, rtol=1e-6)
