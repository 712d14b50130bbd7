"""Files of a run that goes on elsewhere, written and read on any backend."""

import pathlib

import keras
import numpy as np

from keras_rmsprop import RMSprop, migration

ARGUMENTS = {
    "learning_rate": 0.01,
    "momentum": 0.9,
    "centered": True,
    "update_rule": "tf1",
    "use_ema": True,
    "gradient_accumulation_steps": 2,
    "name": "opt",
}
KINDS = ("model.keras", "model.weights.h5", "state.rmsprop")
TF1_SHAPES = {"hidden/kernel": (3, 2), "hidden/bias": (2,)}


def model():
    """Returns a compiled model, the same on every backend."""
    made = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="hidden"),
            keras.layers.Dense(1, name="out"),
        ],
        name="model",
    )
    rng = np.random.default_rng(0)
    made.set_weights([rng.normal(size=w.shape) for w in made.get_weights()])
    made.compile(RMSprop(**ARGUMENTS), "mse")
    return made


def train(made):
    """Trains an odd number of steps, so that a sum of gradients is left."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(28, 3)), rng.normal(size=(28, 1))
    made.fit(x, y, batch_size=4, shuffle=False, verbose=0)


def values(made):
    """Returns all that has been trained, without the averages' end in the weights."""
    return [v.numpy() for v in (*made.trainable_variables, *made.optimizer.variables)]


def write_files(folder):
    """Trains, saves in all `KINDS`, trains on, and saves what that came to."""
    folder = pathlib.Path(folder)
    made = model()
    train(made)
    made.save(folder / "model.keras")
    made.save_weights(folder / "model.weights.h5")
    migration.read_state(made.optimizer).save(folder / "state.rmsprop")
    before = values(made)
    train(made)
    count = len(before)
    np.savez(
        folder / "values.npz",
        **{f"before{i}": value for i, value in enumerate(before)},
        **{f"after{i}": value for i, value in enumerate(values(made))},
        count=count,
    )


def read(folder, kind):
    """Returns a model as it was saved."""
    path = pathlib.Path(folder) / kind
    if kind == "model.keras":
        return keras.models.load_model(path)
    made = model()
    if kind == "model.weights.h5":
        made.optimizer.build(made.trainable_variables)
        made.load_weights(path)
    else:
        migration.read_state(path).apply_to(made.optimizer, made, restore_values=True)
    return made


def check_files(folder):
    """Reads all `KINDS` and trains on, to where the run that wrote them came."""
    with np.load(pathlib.Path(folder) / "values.npz") as file:
        count = int(file["count"])
        before, after = (
            [file[f"{when}{i}"] for i in range(count)] for when in ("before", "after")
        )
    for kind in KINDS:
        made = read(folder, kind)
        assert type(made.optimizer) is RMSprop
        assert made.optimizer.get_config() == model().optimizer.get_config()
        for found, expected in zip(values(made), before, strict=True):
            np.testing.assert_array_equal(found, expected)
        train(made)
        for found, expected in zip(values(made), after, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def tf1_gradients():
    """Returns of each of ten steps a list of arrays."""
    rng = np.random.default_rng(2)
    return [
        [rng.normal(size=s).astype("float32") for s in TF1_SHAPES.values()]
        for _ in range(10)
    ]


def write_tf1_checkpoint(folder):
    """Trains in TF1, saves a checkpoint after step 5, and goes on to step 10."""
    import tensorflow as tf

    tf1 = tf.compat.v1
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = [
            tf1.get_variable(name, initializer=np.ones(shape, "float32"))
            for name, shape in TF1_SHAPES.items()
        ]
        feeds = [tf1.placeholder(tf.float32, v.shape) for v in variables]
        step = tf1.train.RMSPropOptimizer(0.01, momentum=0.9).apply_gradients(
            list(zip(feeds, variables)), tf1.train.get_or_create_global_step()
        )
        saver = tf1.train.Saver()
        session.run(tf1.global_variables_initializer())
        for index, grads in enumerate(tf1_gradients()):
            if index == 5:
                saver.save(session, str(pathlib.Path(folder) / "tf1"))
            session.run(step, dict(zip(feeds, grads)))
        kernel, bias = session.run(variables)
        np.savez(pathlib.Path(folder) / "tf1.npz", kernel=kernel, bias=bias)
