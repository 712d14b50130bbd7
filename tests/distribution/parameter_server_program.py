"""The coordinator of a parameter-server cluster, which trains in many ways.

What it trains, with its slots, goes to a file, beside what one machine makes of the
same steps. Each way is tried for itself; of one that fails the traceback is kept.
To have a worker killed or started it asks its parent, by a line of output.
"""

import json
import os
import sys
import traceback

import keras
import numpy as np
import tensorflow as tf

import keras_rmsprop
from keras_rmsprop import legacy

STEPS = 6
ROWS = 11
OPTIMIZERS = {
    "modern": keras_rmsprop.RMSprop,
    "modern_dense": lambda rate: keras_rmsprop.RMSprop(
        rate, momentum=0.9, sparse_updates="dense"
    ),
    "modern_tf1": lambda rate: keras_rmsprop.RMSprop(
        rate, momentum=0.9, centered=True, update_rule="tf1"
    ),
    "legacy": lambda rate: legacy.RMSprop(rate, sparse_updates="lazy"),
    "legacy_momentum": lambda rate: legacy.RMSprop(rate, momentum=0.9, centered=True),
}
BEYOND_THE_UPDATE = {
    "modern_clipnorm": lambda rate: keras_rmsprop.RMSprop(rate, clipnorm=0.1),
    "modern_global": lambda rate: keras_rmsprop.RMSprop(rate, global_clipnorm=0.1),
    "legacy_clipnorm": lambda rate: legacy.RMSprop(rate, 0.9, 0.9, clipnorm=0.1),
    "legacy_global": lambda rate: legacy.RMSprop(rate, 0.9, 0.9, global_clipnorm=0.1),
    "modern_accumulating": lambda rate: keras_rmsprop.RMSprop(
        rate, gradient_accumulation_steps=2
    ),
    "modern_averaging": lambda rate: keras_rmsprop.RMSprop(
        rate, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2
    ),
}
WAYS = {}


def way(function):
    WAYS[function.__name__] = function
    return function


class Run:
    """A model, its optimizer and the steps that train it, under a strategy or none."""

    def __init__(self, make, strategy=None, tables=False):
        self.strategy = strategy or tf.distribute.get_strategy()
        self.coordinator = strategy and tf.distribute.coordinator.ClusterCoordinator(
            strategy
        )
        rng = np.random.default_rng(0)
        shapes = {"table": (ROWS, 4), "weight": (4, 3), "bias": ()}
        with self.strategy.scope():
            self.variables = {
                name: tf.Variable(rng.normal(size=shape).astype("float32"), name=name)
                for name, shape in shapes.items()
            }
            self.optimizer = make(0.05)
        held = self.variables.values()
        parts = [getattr(v, "variables", v) for v in held]
        # Shards as they are, or the tables, for which a tape wants their shards.
        self.trained = list(held) if tables else tf.nest.flatten(parts)
        sources = parts if tables else self.trained
        table, weight, bias = held

        def replica_step(rows, target):
            with tf.GradientTape() as tape:
                hidden = tf.reduce_sum(tf.nn.embedding_lookup(table, rows), axis=1)
                output = hidden @ tf.convert_to_tensor(weight) + bias
                loss = tf.reduce_mean((output - target) ** 2)
            grads = tape.gradient(loss, sources)
            self.optimizer.apply_gradients(zip(grads, self.trained))
            return loss

        @tf.function
        def step(rows, target):
            return self.strategy.run(replica_step, (rows, target))

        self.step = step

    def train(self, first=0, last=STEPS, together=False):
        for index in range(first, last):
            batch = batch_of(index)
            if self.coordinator is None:
                self.step(*batch)
                continue
            self.coordinator.schedule(self.step, batch)
            if not together:
                self.coordinator.join()
        if self.coordinator:
            self.coordinator.join()
        return self

    def build(self):
        with self.strategy.scope():
            self.optimizer.build(self.trained)
        return self

    def checkpoint(self):
        return tf.train.Checkpoint(optimizer=self.optimizer, **self.variables)

    def values(self):
        """Returns variables and slots, those of tables in one piece."""
        slots = {}
        for name, variable in self.variables.items():
            for slot in slot_names(self.optimizer):
                parts = [
                    slot_of(self.optimizer, part, slot)
                    for part in getattr(variable, "variables", [variable])
                ]
                whole = np.concatenate(parts) if len(parts) > 1 else parts[0].numpy()
                slots[f"{name}/{slot}"] = whole
        values = {name: v.numpy() for name, v in self.variables.items()}
        return {**values, **slots, "steps": np.array(self.optimizer.iterations)}


def batch_of(index):
    rng = np.random.default_rng(index)
    return (
        tf.constant(rng.integers(0, ROWS, size=(4, 3))),
        tf.constant(rng.normal(size=(4, 3)), tf.float32),
    )


def slot_names(optimizer):
    if isinstance(optimizer, legacy.Optimizer):
        return optimizer.get_slot_names()
    names = {
        "_velocities": "velocity",
        "_momentums": "momentum",
        "_average_gradients": "average_gradient",
    }
    return [name for held, name in names.items() if getattr(optimizer, held)]


def slot_of(optimizer, variable, slot):
    if isinstance(optimizer, legacy.Optimizer):
        return optimizer.get_slot(variable, slot)
    name = variable.name.replace("/", "_").replace(":", "_")
    (found,) = (v.value for v in optimizer.variables if v.name == f"{name}_{slot}")
    return found


def partitioned(cluster, shards):
    """Returns a strategy that makes so many shards of each variable."""
    return tf.distribute.ParameterServerStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            cluster, task_type="chief", task_id=0, rpc_layer="grpc"
        ),
        tf.distribute.experimental.partitioners.FixedShardsPartitioner(shards),
    )


def ask(request):
    print(f"request {request}", flush=True)
    sys.stdin.readline()


@way
def slots_made_in_the_function(cluster, folder):
    strategy = partitioned(cluster, 2)
    for name, make in {**OPTIMIZERS, **BEYOND_THE_UPDATE}.items():
        run = Run(make, strategy).train()
        yield name, {"cluster": run.values(), "alone": Run(make).train().values()}
        if name in BEYOND_THE_UPDATE:
            continue
        devices = {}
        for index, shard in enumerate(run.trained):
            slots = [
                slot_of(run.optimizer, shard, slot)
                for slot in slot_names(run.optimizer)
            ]
            devices[str(index)] = np.array([each.device for each in [shard, *slots]])
        graph = run.step.get_concrete_function(*batch_of(0)).graph
        ops = np.array([(op.type, op.device) for op in graph.get_operations()])
        yield name, {"devices": devices, "graph": {"ops": ops}}


@way
def tables_passed(cluster, folder):
    strategy = partitioned(cluster, 2)
    for name in ("modern_tf1", "legacy_momentum"):
        make = OPTIMIZERS[name]
        run = Run(make, strategy, tables=True).build().train()
        yield name, {"cluster": run.values(), "alone": Run(make).train().values()}


class DoesNothing(keras.optimizers.Optimizer):
    def apply(self, grads, trainable_variables=None):
        pass


def keras_model(make, strategy=None):
    """Returns the variables of a Keras model after some steps of a custom loop."""
    strategy = strategy or tf.distribute.get_strategy()
    keras.utils.set_random_seed(0)
    with strategy.scope():
        layers = [keras.layers.Embedding(ROWS, 4), keras.layers.Flatten()]
        model = keras.Sequential([keras.Input((3,)), *layers, keras.layers.Dense(3)])
        optimizer = make(0.05)

    def replica_step(rows, target):
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean((model(rows, training=True) - target) ** 2)
        sources = [getattr(v.value, "variables", v.value) for v in variables]
        optimizer.apply_gradients(zip(tape.gradient(loss, sources), variables))

    @tf.function
    def step(rows, target):
        strategy.run(replica_step, (rows, target))

    scheduled = isinstance(strategy, tf.distribute.ParameterServerStrategy)
    for index in range(STEPS):
        if scheduled:
            coordinator = tf.distribute.coordinator.ClusterCoordinator(strategy)
            coordinator.schedule(step, batch_of(index))
            coordinator.join()
        else:
            step(*batch_of(index))
    return {v.name: v.numpy() for v in model.trainable_variables}


@way
def keras_models(cluster, folder):
    for shards in (1, 2):
        strategy = partitioned(cluster, shards)
        for name in ("modern", "legacy"):
            make = OPTIMIZERS[name]
            yield (
                f"{name}_of_{shards}",
                {
                    "cluster": keras_model(make, strategy),
                    "alone": keras_model(make),
                },
            )


@way
def keras_fit(cluster, folder):
    with partitioned(cluster, 1).scope():
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(DoesNothing(0.1), "mse")
    try:
        model.fit(np.ones((4, 4)), np.ones((4, 1)), verbose=0)
        error = ""
    except Exception as raised:
        error = str(raised)
    yield "does_nothing", {"fit": {"error": np.array(error)}}


@way
def shards_of_another_number(cluster, folder):
    for name in ("modern_tf1", "legacy_momentum"):
        make = OPTIMIZERS[name]
        run = Run(make, partitioned(cluster, 2)).train(0, 3)
        path = run.checkpoint().write(os.path.join(folder, name))
        three = Run(make, partitioned(cluster, 3)).build()
        three.checkpoint().read(path).assert_consumed()
        before_slots = Run(make, partitioned(cluster, 3))
        status = before_slots.checkpoint().read(path)
        before_slots.train(3)
        status.assert_consumed()
        alone = Run(make).build()
        alone.checkpoint().read(path).assert_consumed()
        back = alone.checkpoint().write(os.path.join(folder, f"{name}-alone"))
        two = Run(make, partitioned(cluster, 2)).build()
        two.checkpoint().read(back).assert_consumed()
        yield (
            name,
            {
                "alone": Run(make).train().values(),
                "three": three.train(3).values(),
                "before_slots": before_slots.values(),
                "from_cluster_to_one": alone.train(3).values(),
                "and_back": two.train(3).values(),
            },
        )


@way
def workers_at_once(cluster, folder):
    for name in ("modern", "legacy"):
        run = Run(OPTIMIZERS[name], partitioned(cluster, 2)).train(0, 1)
        run.train(1, 60, together=True)
        yield name, {"cluster": run.values()}


@way
def a_worker_killed_and_started(cluster, folder):
    strategy = partitioned(cluster, 2)
    for name in ("modern", "legacy"):
        run = Run(OPTIMIZERS[name], strategy).train(0, 2)
        ask("kill 1")
        run.train(2, 4)
        ask("start 1")
        ask("kill 0")
        ask("start 0")
        run.train(4, 6)
        alone = Run(OPTIMIZERS[name]).train()
        yield name, {"cluster": run.values(), "alone": alone.values()}


def main(addresses, folder, *chosen):
    tf.config.threading.set_intra_op_parallelism_threads(1)
    cluster = tf.train.ClusterSpec(json.loads(addresses))
    results = {}
    for name in chosen or WAYS:
        try:
            for case, groups in WAYS[name](cluster, folder):
                for group, values in groups.items():
                    for key, value in values.items():
                        results[f"{name}:{case}:{group}:{key}"] = value
        except Exception:
            results[f"{name}:error"] = np.array(traceback.format_exc())
    np.savez(os.path.join(folder, "results.npz"), **results)
    # Past the coordinators' threads, which wait for workers that may be gone.
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
