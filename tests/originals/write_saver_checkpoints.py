"""Writes checkpoints with TF1's own `Saver`, and beside them what the session held.

Runs in TensorFlow 1.4 to 1.15, not in the environment of this library; README.md in
`checkpoints` has the commands. Each case becomes a zip file of what `Saver` wrote, and
`expected.npz` with

- `value/NAME`, `rms/NAME`, `momentum/NAME`, `mg/NAME`: variables and their slots when
  the checkpoint was written, as the session told,
- `step`: the number of steps,
- `gradient/I/NAME`, `after/NAME`: the gradients of the steps that followed, and where
  the run that never stopped was after them,
- `other/NAME`: what else the model has.
"""

import os
import shutil
import sys
import tempfile
import zipfile

import numpy as np
import tensorflow as tf

VERSION = tf.__version__
CASES = {}
SLOTS = ("rms", "mg", "momentum")


def case(function):
    CASES[function.__name__] = function
    return function


class Run(object):
    """A session that trains variables on gradients which are fed."""

    def __init__(self, directory, shapes=(("w", (3, 2)), ("b", (2,))), resource=False):
        self.directory = directory
        self.rng = np.random.RandomState(3)
        self.expected = {}
        with tf.variable_scope("", use_resource=resource):
            self.variables = [
                tf.get_variable(n, dtype=tf.float64, initializer=self.rng.randn(*shape))
                for n, shape in shapes
            ]
            self.step = tf.train.get_or_create_global_step()
        self.feeds = [tf.placeholder(tf.float64, v.shape) for v in self.variables]
        self.pairs = list(zip(self.feeds, self.variables))

    def train(self, optimizer, update, names=None, saver=None, more=(), **save):
        """Takes three steps, saves, and takes four."""
        names = names or [v.op.name for v in self.variables]
        saver = saver or tf.train.Saver()
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for _ in range(3):
                self._take(session, update)
            for name, variable in zip(names, self.variables):
                self.expected["value/" + name] = session.run(variable)
                for slot in SLOTS:
                    held = optimizer and optimizer.get_slot(variable, slot)
                    if held is not None:
                        self.expected[slot + "/" + name] = session.run(held)
            for variable in more:
                self.expected["other/" + variable.op.name] = session.run(variable)
            self.expected["step"] = session.run(self.step)
            saver.save(session, os.path.join(self.directory, "model.ckpt"), 3, **save)
            for i in range(4):
                gradients = self._take(session, update)
                for name, gradient in zip(names, gradients):
                    self.expected["gradient/%d/%s" % (i, name)] = gradient
            for name, variable in zip(names, self.variables):
                self.expected["after/" + name] = session.run(variable)
        self.keep()

    def keep(self):
        np.savez(os.path.join(self.directory, "expected.npz"), **self.expected)

    def _take(self, session, update):
        gradients = [self.rng.randn(*v.shape.as_list()) for v in self.variables]
        session.run(update, dict(zip(self.feeds, gradients)))
        return gradients


def rmsprop(rate=0.05, **options):
    options.setdefault("decay", 0.8)
    options.setdefault("momentum", 0.9)
    options.setdefault("epsilon", 1e-6)
    return tf.train.RMSPropOptimizer(rate, **options)


@case
def adam_named_opt(directory):
    run = Run(directory)
    optimizer = tf.train.AdamOptimizer(0.05, name="opt")
    run.train(None, optimizer.apply_gradients(run.pairs, run.step))


@case
def adamw(directory):
    run = Run(directory)
    optimizer = tf.contrib.opt.AdamWOptimizer(0.01, 0.05, name="opt")
    run.train(None, optimizer.apply_gradients(run.pairs, run.step))


@case
def swapping_saver(directory):
    run = Run(directory)
    inner = rmsprop()
    optimizer = tf.contrib.opt.MovingAverageOptimizer(inner, average_decay=0.5)
    update = optimizer.apply_gradients(run.pairs, run.step)
    # A second one, whose keys are the names.
    tf.train.Saver(name="plain")
    run.train(inner, update, saver=optimizer.swapping_saver())


@case
def renamed(directory):
    run = Run(directory)
    optimizer = rmsprop(centered=True)
    update = optimizer.apply_gradients(run.pairs, run.step)
    keys = dict(("model/" + v.op.name, v) for v in tf.global_variables())
    run.train(optimizer, update, saver=tf.train.Saver(keys))


@case
def v1_format(directory):
    run = Run(directory)
    optimizer = rmsprop()
    update = optimizer.apply_gradients(run.pairs, run.step)
    saver = tf.train.Saver(write_version=tf.train.SaverDef.V1)
    run.train(optimizer, update, saver=saver)


@case
def v1_sharded(directory):
    run = Run(directory)
    optimizer = rmsprop()
    update = optimizer.apply_gradients(run.pairs, run.step)
    saver = tf.train.Saver(write_version=tf.train.SaverDef.V1, sharded=True)
    run.train(optimizer, update, saver=saver)


def conditional(directory, resource):
    run = Run(directory, resource=resource)
    optimizer = rmsprop(tf.train.exponential_decay(0.05, run.step, 4, 0.9))
    finite = tf.reduce_all([tf.reduce_all(tf.is_finite(g)) for g in run.feeds])
    update = tf.cond(
        finite,
        lambda: tf.group(optimizer.apply_gradients(run.pairs, run.step)),
        lambda: tf.no_op(),
    )
    run.train(optimizer, update)


@case
def cond_of_references(directory):
    conditional(directory, resource=False)


@case
def cond_of_resources(directory):
    conditional(directory, resource=True)


@case
def cond_of_functions(directory):
    tf.enable_control_flow_v2()
    try:
        conditional(directory, resource=True)
    finally:
        tf.disable_control_flow_v2()


@case
def while_loop(directory):
    run = Run(directory)
    optimizer = rmsprop()

    def body(i):
        with tf.control_dependencies([optimizer.apply_gradients(run.pairs, run.step)]):
            return i + 1

    update = tf.while_loop(lambda i: i < 1, body, [0], back_prop=False)
    run.train(optimizer, update)


@case
def opt_1(directory):
    run = Run(directory)
    optimizer = rmsprop(name="opt_1")
    update = optimizer.apply_gradients(run.pairs, run.step)
    run.train(optimizer, update, write_meta_graph=False)


@case
def partitions(directory):
    """Parts of a variable, whose slots a partitioned scope names on their own."""
    run = Run(directory)
    partitioner = tf.fixed_size_partitioner(2)
    parts = list(
        tf.get_variable(
            "parts",
            (5, 2),
            dtype=tf.float64,
            initializer=tf.random_normal_initializer(seed=1),
            partitioner=partitioner,
        )
    )
    optimizer = rmsprop()
    feeds = [tf.placeholder(tf.float64, part.shape) for part in parts]
    with tf.variable_scope("training", partitioner=partitioner):
        update = optimizer.apply_gradients(list(zip(feeds, parts)), run.step)
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for _ in range(3):
            gradients = [run.rng.randn(*part.shape.as_list()) for part in parts]
            session.run(update, dict(zip(feeds, gradients)))
        held = [("value", parts)]
        held += [(s, [optimizer.get_slot(p, s) for p in parts]) for s in SLOTS[::2]]
        for slot, variables in held:
            values = session.run(variables)
            run.expected[slot + "/parts"] = np.concatenate(values)
        for variable in run.variables:
            run.expected["other/" + variable.op.name] = session.run(variable)
        run.expected["step"] = session.run(run.step)
        tf.train.Saver().save(session, os.path.join(directory, "model.ckpt"), 3)
    run.keep()


@case
def estimator(directory):
    features = {"x": np.random.RandomState(0).rand(32, 3).astype("float32")}
    labels = np.arange(32) % 2
    classifier = tf.estimator.DNNClassifier(
        [4],
        [tf.feature_column.numeric_column("x", (3,))],
        model_dir=directory,
        optimizer=tf.train.RMSPropOptimizer(0.05, momentum=0.9),
        config=tf.estimator.RunConfig(tf_random_seed=1),
    )
    classifier.train(
        tf.estimator.inputs.numpy_input_fn(features, labels, 8, shuffle=False), steps=4
    )
    for name in os.listdir(directory):
        if not name.startswith("model.ckpt-4") and name != "checkpoint":
            path = os.path.join(directory, name)
            shutil.rmtree(path) if os.path.isdir(path) else os.remove(path)
    expected = {"step": np.int64(4)}
    for name in classifier.get_variable_names():
        variable, _, slot = name.partition("/t_0/RMSProp")
        if name != "global_step":
            kind = "momentum" if slot else "rms" if variable != name else "value"
            expected[kind + "/" + variable] = classifier.get_variable_value(name)
    np.savez(os.path.join(directory, "expected.npz"), **expected)


@case
def batch_norm(directory):
    """Moving statistics, moving averages, another optimizer, a rate in a variable."""
    run = Run(directory)
    inputs = tf.constant(run.rng.randn(8, 2))
    tf.layers.batch_normalization(inputs, training=True, name="norm")
    statistics = [v for v in tf.global_variables() if "moving_" in v.op.name]
    table = tf.get_variable("table", initializer=np.arange(4), trainable=False)
    rate = tf.get_variable("rate", initializer=np.float32(0.03), trainable=False)
    optimizer = rmsprop(rate)
    averages = tf.train.ExponentialMovingAverage(0.9)
    gradients = list(zip(run.feeds[:1], run.variables[:1]))
    update = tf.group(
        optimizer.apply_gradients(run.pairs, run.step),
        tf.train.AdamOptimizer(0.01).apply_gradients(gradients),
        averages.apply(run.variables),
        *tf.get_collection(tf.GraphKeys.UPDATE_OPS),
    )
    gamma = [v for v in tf.trainable_variables() if v.op.name.startswith("norm/")]
    run.train(optimizer, update, more=statistics + [table] + gamma)


def decays(step):
    """Returns learning rates by name."""
    train = tf.train
    values = [0.1, 0.05, 0.003, 1e-4]
    found = {
        "exponential": train.exponential_decay(0.005, step, 41, 0.9),
        "exponential_stairs": train.exponential_decay(0.005, step, 41, 0.9, True),
        "natural": train.natural_exp_decay(0.01, step, 100, 0.3),
        "natural_stairs": train.natural_exp_decay(0.01, step, 41, 0.3, True),
        "inverse": train.inverse_time_decay(0.01, step, 41, 0.3),
        "inverse_stairs": train.inverse_time_decay(0.01, step, 41, 0.3, True),
        "polynomial": train.polynomial_decay(0.01, step, 100),
        "square": train.polynomial_decay(0.01, step, 41, 0.001, 2.0),
        "root": train.polynomial_decay(0.01, step, 100, 0.001, 0.5),
        "power": train.polynomial_decay(0.01, step, 100, 0.001, 0.9),
        "cycle": train.polynomial_decay(0.01, step, 30, 0.001, 1.5, cycle=True),
        "piecewise": train.piecewise_constant(step, [20, 60, 100], values),
        "halves": train.exponential_decay(0.005, step, 64, 0.5),
    }
    if hasattr(train, "cosine_decay"):
        found["cosine"] = train.cosine_decay(0.01, step, 100)
        found["cosine_alpha"] = train.cosine_decay(0.01, step, 41, 0.1)
    # These are none of the above.
    found["cube"] = train.polynomial_decay(0.01, step, 41, 0.001, 3.0)
    found["floored"] = tf.maximum(found["exponential"], 0.004)
    found["fed"] = tf.placeholder_with_default(np.float32(0.01), ())
    return found


@case
def rates(directory):
    """Many optimizers of one graph, each with a learning rate that decays."""
    step = tf.train.get_or_create_global_step()
    feed = tf.placeholder(tf.int64, ())
    go_to = step.assign(feed)
    v = tf.get_variable("v", initializer=np.float32([1.0]))
    found = decays(step)
    for name, rate in sorted(found.items()):
        tf.train.RMSPropOptimizer(rate, name=name).apply_gradients([(tf.ones([1]), v)])
    steps = list(range(0, 130)) + list(range(130, 2000, 61))
    expected = {"steps": steps, "step": np.int64(83)}
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for name, rate in found.items():
            values = []
            for each in steps:
                session.run(go_to.op, {feed: each})
                values.append(session.run(rate))
            expected["rate/" + name] = np.array(values)
        session.run(go_to.op, {feed: 83})
        tf.train.Saver().save(session, os.path.join(directory, "model.ckpt"), 83)
    np.savez(os.path.join(directory, "expected.npz"), **expected)


def main(out, names):
    for name in names:
        directory = tempfile.mkdtemp()
        with tf.Graph().as_default():
            CASES[name](directory)
        path = os.path.join(out, "%s-%s.zip" % (name, VERSION))
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(os.listdir(directory)):
                archive.write(os.path.join(directory, file), file)
        shutil.rmtree(directory)
        print(path, os.path.getsize(path))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:] or sorted(CASES))
