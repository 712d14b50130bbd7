"""Whether a ported model is the recorded one: each planted difference is named."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_rmsprop
from keras_rmsprop import migration
from keras_rmsprop.migration.recording import record_rmsprop

STEPS = 6
BATCH = 16


def network(
    initializer="glorot_uniform",
    bias="zeros",
    momentum=0.9,
    regularizer=None,
    reduction="sum_over_batch_size",
    transposed=False,
    seed=0,
):
    """Returns a model of two square layers, batch normalization and an output."""
    keras.utils.set_random_seed(seed)

    class Square(keras.layers.Layer):
        def build(self, shape):
            self.kernel = self.add_weight(
                shape=(8, 8),
                name="kernel",
                initializer=initializer,
                regularizer=regularizer,
            )

        def call(self, x):
            kernel = keras.ops.transpose(self.kernel) if transposed else self.kernel
            return keras.ops.tanh(x @ kernel)

    model = keras.Sequential(
        [
            keras.Input((8,)),
            Square(name="square"),
            keras.layers.BatchNormalization(momentum=momentum, name="norm"),
            keras.layers.Dense(
                3, kernel_initializer=initializer, bias_initializer=bias, name="out"
            ),
        ],
        name="net",
    )
    model.compile(loss=keras.losses.MeanSquaredError(reduction=reduction))
    return model


def batches():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(STEPS, BATCH, 8)).astype("float32")
    y = rng.normal(size=(STEPS, BATCH, 3)).astype("float32")
    return list(zip(x, y))


@pytest.fixture(scope="module", params=[True, False], ids=["batches", "no_batches"])
def with_batches(request):
    return request.param


@pytest.fixture(scope="module")
def path(with_batches, tmp_path_factory):
    """The path of a recorded run of `network(regularizer=...)`."""
    path = str(tmp_path_factory.mktemp("recorded") / "run.rmsprop")
    model = network(regularizer=keras.regularizers.L2(0.05))
    optimizer = keras.optimizers.RMSprop(0.01)
    recorder = record_rmsprop.Recorder(path, steps=STEPS)
    recorder.model(model)
    optimizer = recorder.wrap(optimizer)
    for x, y in batches():
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        recorder.loss(loss)
        if with_batches:
            recorder.batch(x, y)
        optimizer.apply(gradients, model.trainable_variables)
    recorder.close()
    return path


def port_of(path, model, data=None):
    if data is None and migration.read_recording(path):
        first = next(iter(migration.read_recording(path)))
        data = None if first.batch is not None else batches()
    found = migration.compare(path, keras_rmsprop.RMSprop(0.01), model=model, data=data)
    # What the optimizer does with the gradients is another matter.
    assert found.equivalent
    return found.port, "\n".join(found.port.report())


def same(**changed):
    return network(**{"regularizer": keras.regularizers.L2(0.05), **changed})


def test_the_same_model_is_ported_right(path):
    port, report = port_of(path, same(seed=5))
    assert port.agrees and port.steps == STEPS and port.findings == ()
    assert "ported right" in report
    assert port.gradient_difference < 1e-4 and port.loss_difference < 1e-4


def test_a_regularizer_left_out_is_named_with_its_strength(path):
    port, report = port_of(path, same(regularizer=None))
    assert not port.agrees and port.step == 1
    assert port.variable == "net/square/kernel"
    assert "l2=0.05, which the recorded one had" in report
    assert "the model is not the same" in report


def test_a_regularizer_too_much_is_named(path):
    model = same(regularizer=keras.regularizers.L2(0.08))
    _, report = port_of(path, model)
    assert "l2=0.03, which only the model has" in report


def test_another_loss_reduction_is_named_with_its_factor(path):
    # Without the penalty, of which a reduction takes no account.
    port, report = port_of(path, same(reduction="sum", regularizer=None))
    assert not port.agrees
    path_of_plain = path + "-plain"
    plain(path_of_plain)
    port, report = port_of(path_of_plain, network(reduction="sum"))
    assert "loss reduction" in report
    assert (
        f"{1 / (3 * BATCH):.6g} times" in report or f"{1 / BATCH:.6g} times" in report
    )


def plain(path):
    import os

    if os.path.exists(path):
        return
    model = network()
    recorder = record_rmsprop.Recorder(path, steps=STEPS)
    recorder.model(model)
    optimizer = recorder.wrap(keras.optimizers.RMSprop(0.01))
    for x, y in batches():
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        recorder.loss(loss)
        recorder.batch(x, y)
        optimizer.apply(gradients, model.trainable_variables)
    recorder.close()


def test_a_transposed_square_kernel_is_named(path):
    port, report = port_of(path, same(transposed=True))
    assert not port.agrees
    assert "with 'net/square/kernel' transposed" in report


def test_another_momentum_of_batch_normalization_is_named(path):
    port, report = port_of(path, same(momentum=0.99))
    assert not port.agrees and port.variable is None
    assert "moved 10 times as far" in report
    assert "other variables of the model do not" in report


def test_another_initializer_is_named_although_the_model_agrees(path):
    port, report = port_of(path, same(initializer="ones", bias="ones"))
    assert port.agrees
    assert "initializer: 'net/square/kernel' starts with 1 everywhere" in report
    assert "initializer: 'net/out/bias' starts with 1 everywhere" in report
    port, report = port_of(path, same(initializer="random_normal"))
    assert "initializer: 'net/square/kernel' starts with mean" in report


def test_batches_in_another_order_are_named(path):
    data = batches()
    data[0], data[2] = data[2], data[0]
    port, report = port_of(path, same(), data)
    assert not port.agrees and port.step == 1
    assert "data order" in report and "batch 3 of `data`" in report


def test_other_shapes_and_names_are_refused_with_a_way_out(path):
    model = keras.Sequential(
        [keras.Input((8,)), keras.layers.Dense(4, name="other")], name="net"
    )
    model.compile(loss="mse")
    with pytest.raises(ValueError, match="`name_map` decides"):
        migration.compare(path, keras_rmsprop.RMSprop(0.01), model=model)


def test_too_few_batches_are_refused(path):
    with pytest.raises(ValueError, match="a batch for each of the recorded steps"):
        migration.compare(
            path, keras_rmsprop.RMSprop(0.01), model=same(), data=batches()[:2]
        )


def test_equivalence_asks_for_the_model_too(path):
    with pytest.raises(AssertionError, match="But the model is not the same"):
        migration.assert_equivalent(
            path,
            keras_rmsprop.RMSprop(0.01),
            model=same(regularizer=None),
            data=batches(),
        )


def small(scale):
    entered = keras.Input((3,))
    outputs = [
        keras.layers.Rescaling(factor)(
            keras.layers.Dense(1, kernel_initializer="ones", name=name)(entered)
        )
        for name, factor in (("large", 300.0), ("small", scale))
    ]
    model = keras.Model(entered, keras.layers.Add()(outputs), name="sizes")
    model.compile(loss="mse")
    return model


def recorded(path, model, change=lambda gradients: gradients):
    recorder = record_rmsprop.Recorder(path, steps=3)
    optimizer = recorder.wrap(keras.optimizers.RMSprop(0.01))
    width = model.input_shape[-1]
    rng = np.random.default_rng(0)
    for _ in range(3):
        x = rng.normal(size=(8, width)).astype("float32")
        y = x[:, : model.output_shape[-1]] * 5
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x=x, y=y, y_pred=model(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        recorder.loss(loss)
        recorder.batch(x, y)
        optimizer.apply(change(gradients), model.trainable_variables)
    recorder.close()
    return path


def test_a_gradient_that_is_small_beside_others_is_judged_by_itself(tmp_path):
    path = recorded(str(tmp_path / "run"), small(3e-3))
    port, _ = port_of(path, small(3e-3))
    assert port.agrees
    port, report = port_of(path, small(3.2e-3))
    assert not port.agrees or "not judged" in report


def test_statistics_that_are_not_recorded_are_not_called_right(tmp_path):
    path = recorded(str(tmp_path / "run"), network(momentum=0.9))
    _, report = port_of(path, network(momentum=0.5))
    assert "as far as it was judged" in report
    assert "not judged: 'net/norm/moving_mean'" in report


def test_gradients_clipped_by_the_program_are_no_matter_of_reduction(tmp_path):
    path = recorded(
        str(tmp_path / "run"),
        network(),
        lambda gradients: tf.clip_by_global_norm(gradients, 0.1)[0],
    )
    port, report = port_of(path, network())
    assert not port.agrees
    assert "loss reduction" not in report
    assert "clips or scales gradients before" in report


def test_a_loss_that_is_no_number_does_not_agree(tmp_path):
    path = recorded(str(tmp_path / "run"), network())
    model = network()
    model.compile(loss=lambda y, p: keras.losses.mean_squared_error(y, p) * np.nan)
    port, _ = port_of(path, model)
    assert not port.agrees
