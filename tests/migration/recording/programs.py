"""Small programs of every era, which record themselves where they are asked to.

It runs under any TensorFlow from 1.4 on, beside `record_rmsprop.py`:

    keras-rmsprop recorder > record_rmsprop.py
    python programs.py PROGRAM OUT.rmsprop

The last line that it prints is the CRC-32 of all variables at the end. Without OUT the
program trains without a recorder, to the same line.
"""

import sys
import tempfile
import zlib

import numpy as np
import tensorflow as tf

STEPS = 12
tf1 = getattr(tf.compat, "v1", tf)


def batches():
    """Returns a batch of ids, features and labels for each step."""
    random = np.random.RandomState(0)
    # Few ids, so that batches repeat some and leave others out.
    return [
        (
            random.randint(0, 7, size=6).astype(np.int32),
            random.normal(size=(6, 4)).astype(np.float32),
            random.normal(size=(6, 1)).astype(np.float32),
        )
        for _ in range(STEPS)
    ]


def initial(*shape):
    """Returns the values that a variable starts from."""
    return np.random.RandomState(sum(shape)).normal(size=shape).astype(np.float32)


def final(values):
    """Returns the CRC-32 of a list of arrays."""
    checksum = 0
    for value in values:
        checksum = zlib.crc32(np.ascontiguousarray(value).tobytes(), checksum)
    return checksum & 0xFFFFFFFF


def tf1_graph(ids, features, labels, use_resource=False):
    """Builds the loss of a small network with an embedding."""
    with tf1.variable_scope("net", use_resource=use_resource):
        table = tf1.get_variable("table", initializer=initial(9, 4))
        kernel = tf1.get_variable("kernel", initializer=initial(8, 1))
        bias = tf1.get_variable("bias", initializer=np.zeros(1, np.float32))
        # Has no gradient.
        tf1.get_variable("unused", initializer=initial(2, 2))
    rows = tf.nn.embedding_lookup(table, ids)
    predicted = tf.matmul(tf.concat([rows, tf.tanh(features)], 1), kernel) + bias
    return tf.reduce_mean(tf.square(predicted - labels))


def placeholders():
    """Returns the inputs of a TF1 graph."""
    return (
        tf1.placeholder(tf.int32, [None], name="ids"),
        tf1.placeholder(tf.float32, [None, 4], name="features"),
        tf1.placeholder(tf.float32, [None, 1], name="labels"),
    )


def session(recorder, monitored=False):
    """A TF1 graph, an optimizer with momentum, a learning rate that decays."""
    with tf.Graph().as_default():
        inputs = placeholders()
        loss = tf1_graph(*inputs)
        step = tf1.train.get_or_create_global_step()
        rate = tf1.train.exponential_decay(0.05, step, 5, 0.9)
        optimizer = tf1.train.RMSPropOptimizer(rate, momentum=0.9)
        if recorder:
            optimizer = recorder.wrap(optimizer)
            recorder.batch(*inputs)
        train = optimizer.minimize(loss, global_step=step)
        variables = tf1.global_variables()
        if monitored:
            opened = tf1.train.MonitoredTrainingSession()
        else:
            opened = tf1.Session()
            opened.run(tf1.global_variables_initializer())
        with opened as running:
            for batch in batches():
                _, values = running.run([train, loss], dict(zip(inputs, batch)))
            values = running.run(variables, dict(zip(inputs, batch)))
        return final(values)


def monitored(recorder):
    """The same in a `MonitoredTrainingSession`."""
    return session(recorder, monitored=True)


def centered(recorder):
    """A TF1 graph with resource variables and a centered optimizer, resumed."""
    with tf.Graph().as_default():
        inputs = placeholders()
        loss = tf1_graph(*inputs, use_resource=True)
        step = tf1.train.get_or_create_global_step()
        optimizer = tf1.train.RMSPropOptimizer(0.01, decay=0.8, centered=True)
        if recorder:
            recorder.wrap(optimizer)
        train = optimizer.minimize(loss, step)
        variables, saver = tf1.global_variables(), tf1.train.Saver()
        path = tempfile.mkdtemp() + "/model"
        with tf1.Session() as running:
            # Not recorded: it runs the optimizer's own operation.
            running.run(tf1.global_variables_initializer())
            for variable in variables:
                if variable.name.startswith("net/") and "/RMSProp" in variable.name:
                    running.run(variable.assign(tf.ones_like(variable) * 0.25))
            running.run(step.assign(3))
            saver.save(running, path)
        with tf1.Session() as running:
            saver.restore(running, path)
            for batch in batches():
                running.run(train, dict(zip(inputs, batch)))
            return final(running.run(variables))


def estimator(recorder):
    """An Estimator with batch normalization."""

    def model_fn(features, labels, mode):
        normalized = tf1.layers.batch_normalization(
            features["x"], training=mode == tf.estimator.ModeKeys.TRAIN
        )
        predicted = tf1.layers.dense(
            normalized, 1, kernel_initializer=tf1.constant_initializer(initial(4, 1))
        )
        loss = tf1.losses.mean_squared_error(labels, predicted)
        optimizer = tf1.train.RMSPropOptimizer(0.01)
        if recorder:
            optimizer = recorder.wrap(optimizer)
            recorder.model(tf1.global_variables())
            recorder.batch(features, labels)
        with tf.control_dependencies(tf1.get_collection(tf1.GraphKeys.UPDATE_OPS)):
            train = optimizer.minimize(loss, tf1.train.get_global_step())
        return tf.estimator.EstimatorSpec(mode, loss=loss, train_op=train)

    def input_fn():
        _, x, y = map(np.stack, zip(*batches()))
        data = tf1.data.Dataset.from_tensor_slices(({"x": x}, y))
        return (
            tf1.data.make_one_shot_iterator(data).get_next()
            if hasattr(tf1.data, "make_one_shot_iterator")
            else data.make_one_shot_iterator().get_next()
        )

    config = tf.estimator.RunConfig(tf_random_seed=1, save_summary_steps=None)
    trained = tf.estimator.Estimator(model_fn, tempfile.mkdtemp(), config)
    trained.train(input_fn)
    names = sorted(trained.get_variable_names())
    return final([trained.get_variable_value(name) for name in names])


def keras_model(keras):
    """Builds a small network with batch normalization."""
    layers = keras.layers
    model = keras.models.Sequential(
        [
            layers.Dense(5, activation="tanh", input_shape=(4,)),
            layers.BatchNormalization(),
            layers.Dense(1),
        ]
    )
    model.layers[0].set_weights([initial(4, 5), np.zeros(5, np.float32)])
    model.layers[2].set_weights([initial(5, 1), np.zeros(1, np.float32)])
    return model


def _fit(recorder, keras, optimizer, **options):
    model = keras_model(keras)
    if recorder:
        optimizer = recorder.wrap(optimizer)
        has_batches = hasattr(model, "train_step")
        recorder.model(model, batches=has_batches)
    model.compile(optimizer=optimizer, loss="mse", **options)
    _, x, y = map(np.concatenate, zip(*batches()))
    model.fit(x, y, batch_size=6, epochs=1, shuffle=False, verbose=0)
    return final(model.get_weights())


def fit(recorder):
    """`fit` of a Keras model, with the class that this version has as its own."""
    keras = tf.keras
    optimizer = keras.optimizers.RMSprop(0.01)
    return _fit(recorder, keras, optimizer)


def fit_decay(recorder):
    """`fit` with the optimizer's `decay`, momentum and clipping."""
    keras = tf.keras
    if hasattr(keras.optimizers, "legacy"):
        optimizers = keras.optimizers.legacy
    else:
        optimizers = keras.optimizers
    arguments = {"decay": 0.1, "clipvalue": 0.5}
    if not tf.__version__.startswith(("1.4.", "1.12.")):
        arguments["momentum"] = 0.9
    return _fit(recorder, keras, optimizers.RMSprop(0.01, **arguments))


def loop(recorder):
    """A custom loop in a `tf.function`, with an embedding and a schedule."""
    table = tf.Variable(initial(9, 4), name="table")
    kernel = tf.Variable(initial(8, 1), name="kernel")
    schedule = tf.keras.optimizers.schedules.ExponentialDecay(0.05, 5, 0.9)
    optimizer = tf.keras.optimizers.RMSprop(schedule, momentum=0.9, centered=True)
    if recorder:
        optimizer = recorder.wrap(optimizer)

    @tf.function
    def step(ids, features, labels):
        with tf.GradientTape() as tape:
            rows = tf.nn.embedding_lookup(table, ids)
            predicted = tf.matmul(tf.concat([rows, tf.tanh(features)], 1), kernel)
            loss = tf.reduce_mean(tf.square(predicted - labels))
        gradients = tape.gradient(loss, [table, kernel])
        if recorder:
            recorder.loss(loss)
            recorder.batch(ids, features, labels)
        optimizer.apply_gradients(zip(gradients, [table, kernel]))

    for batch in batches():
        step(*map(tf.constant, batch))
    return final([table.numpy(), kernel.numpy()])


def eager(recorder):
    """A custom loop executed eagerly."""
    kernel = tf.Variable(initial(4, 1), name="kernel")
    optimizer = tf.keras.optimizers.RMSprop(0.01, momentum=0.9)
    if recorder:
        optimizer = recorder.wrap(optimizer)
    for _, features, labels in batches():
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(tf.matmul(features, kernel) - labels))
        if recorder:
            recorder.loss(loss)
            recorder.batch(features, labels)
        optimizer.apply_gradients([(tape.gradient(loss, kernel), kernel)])
    return final([kernel.numpy()])


def main(name, path=None):
    """Runs a program of this name."""
    recorder = None
    if path:
        import record_rmsprop

        recorder = record_rmsprop.Recorder(path, steps=STEPS)
    print(globals()[name](recorder))


if __name__ == "__main__":
    main(*sys.argv[1:])
