"""Tables in several shards train, are clipped and are saved as one variable is.

Here all shards lie in one process; `test_parameter_servers.py` has servers.
"""

import os
import pathlib
import tempfile
import zipfile

import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized
from faces import combinations

import keras_rmsprop
from keras_rmsprop import legacy
from keras_rmsprop.sharding import ShardedVariable

CHECKPOINTS = pathlib.Path(__file__).parents[1] / "originals" / "checkpoints"
ROWS, STEPS = 11, 6
MODERN = {
    "modern": keras_rmsprop.RMSprop,
    "modern_tf1": lambda rate, **arguments: keras_rmsprop.RMSprop(
        rate, momentum=0.9, centered=True, update_rule="tf1", **arguments
    ),
}
LEGACY = {
    "legacy": lambda rate, **arguments: legacy.RMSprop(
        rate, sparse_updates="lazy", **arguments
    ),
    "legacy_momentum": lambda rate, **arguments: legacy.RMSprop(
        rate, momentum=0.9, centered=True, **arguments
    ),
}
OPTIMIZERS = {**MODERN, **LEGACY}
STATEFUL = {
    "averages": lambda rate: keras_rmsprop.RMSprop(
        rate, update_rule="tf1", use_ema=True, ema_overwrite_frequency=2
    ),
    "accumulation": lambda rate: keras_rmsprop.RMSprop(
        rate, update_rule="tf1", gradient_accumulation_steps=2
    ),
    **{name: make for name, make in OPTIMIZERS.items() if name != "modern"},
}


def table(shards, dtype="float32"):
    """Returns a table in so many shards, or a variable."""
    values = np.random.default_rng(0).normal(size=(ROWS, 4)).astype(dtype)
    if shards == 1:
        return tf.Variable(values, name="table")
    parts = np.array_split(values, shards)
    return ShardedVariable(
        [tf.Variable(part, name=f"table/part_{i}") for i, part in enumerate(parts)],
        name="table",
    )


def train(optimizer, variable, first=0, last=STEPS):
    """Trains with slices of which some share an index, given for each shard."""
    shards = getattr(variable, "variables", variable)
    for index in range(first, last):
        rows = np.random.default_rng(index).integers(0, ROWS, size=8)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.embedding_lookup(variable, rows) ** 2)
        optimizer.apply_gradients([(tape.gradient(loss, shards), variable)])
    return variable.numpy()


class TrainingTest(parameterized.TestCase):
    @parameterized.named_parameters(
        combinations(make=OPTIMIZERS, shards={"2": 2, "3": 3})
    )
    def test_a_table_trains_as_one_variable(self, make, shards):
        whole = train(make(0.05), table(1))
        np.testing.assert_array_equal(train(make(0.05), table(shards)), whole)

    @parameterized.named_parameters(combinations(make=OPTIMIZERS))
    def test_shards_by_themselves_train_as_the_table(self, make):
        optimizer, variable = make(0.05), table(3)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.embedding_lookup(variable, [0, 5, 5, 9]) ** 2)
        shards = variable.variables
        optimizer.apply_gradients(zip(tape.gradient(loss, shards), shards))
        other, as_table = make(0.05), table(3)
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(tf.nn.embedding_lookup(as_table, [0, 5, 5, 9]) ** 2)
        grads = tape.gradient(loss, as_table.variables)
        other.apply_gradients([(grads, as_table)])
        np.testing.assert_array_equal(variable.numpy(), as_table.numpy())

    @parameterized.named_parameters(combinations(make=OPTIMIZERS))
    def test_a_gradient_of_the_whole_table_is_split(self, make):
        rng = np.random.default_rng(1)
        dense = tf.constant(rng.normal(size=(ROWS, 4)), tf.float32)
        slices = tf.IndexedSlices(
            tf.constant(rng.normal(size=(5, 4)), tf.float32),
            tf.constant([10, 0, 4, 4, 7]),
        )
        results = []
        for shards in (1, 3):
            optimizer, variable = make(0.05), table(shards)
            for gradient in (dense, slices, dense):
                optimizer.apply_gradients([(gradient, variable)])
            results.append(variable.numpy())
        np.testing.assert_array_equal(*results)

    @parameterized.named_parameters(
        combinations(
            make=OPTIMIZERS,
            argument={"clipnorm": "clipnorm", "global_clipnorm": "global_clipnorm"},
        )
    )
    def test_the_norm_that_is_clipped_is_that_of_the_table(self, make, argument):
        clipping = {argument: 0.5}
        whole = train(make(0.05, **clipping), table(1))
        parts = train(make(0.05, **clipping), table(3))
        np.testing.assert_allclose(parts, whole, rtol=1e-5, atol=1e-6)
        unclipped = train(make(0.05), table(1))
        self.assertGreater(np.max(np.abs(whole - unclipped)), 1e-3)

    @parameterized.named_parameters(combinations(make=LEGACY))
    def test_minimize_takes_tables(self, make):
        results = []
        for shards in (1, 3):
            optimizer, variable = make(0.05), table(shards)
            optimizer.minimize(
                lambda v=variable: tf.reduce_sum(tf.convert_to_tensor(v) ** 2),
                [variable],
            )
            results.append(variable.numpy())
        np.testing.assert_array_equal(*results)


class RefusalTest(parameterized.TestCase):
    @parameterized.named_parameters(combinations(make=OPTIMIZERS))
    def test_what_does_not_fit_a_table_is_refused_before_anything_changes(self, make):
        optimizer, variable = make(0.05), table(3)
        before = variable.numpy()
        wrong = {
            "one for each of its 3 shards": [tf.zeros((4, 4))] * 2,
            "must have the variable's shape": tf.zeros((ROWS, 5)),
            "must lie in": tf.IndexedSlices(tf.ones((1, 4)), tf.constant([ROWS])),
        }
        for message, gradient in wrong.items():
            with self.assertRaisesRegex(ValueError, message):
                optimizer.apply_gradients([(gradient, variable)])
        np.testing.assert_array_equal(variable.numpy(), before)

    @parameterized.named_parameters(combinations(make=OPTIMIZERS))
    def test_an_index_out_of_range_fails_in_a_graph(self, make):
        optimizer, variable = make(0.05), table(3)
        before = variable.numpy()
        optimizer.build([variable])

        @tf.function
        def step(indices):
            gradient = tf.IndexedSlices(tf.ones((2, 4)), indices)
            optimizer.apply_gradients([(gradient, variable)])

        for indices in ([0, ROWS], [-1, 0]):
            with self.assertRaises(tf.errors.InvalidArgumentError):
                step(tf.constant(indices))
        np.testing.assert_array_equal(variable.numpy(), before)


class CheckpointTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.folder = self.enter_context(tempfile.TemporaryDirectory())

    def saved(self, optimizer, variable):
        checkpoint = tf.train.Checkpoint(optimizer=optimizer, table=variable)
        return checkpoint.write(os.path.join(self.folder, "checkpoint"))

    def check_goes_on(self, make, path, shards, built):
        """Trains on from a checkpoint and compares with training in one go."""
        optimizer, variable = make(0.05), table(shards)
        if built:
            optimizer.build([variable])
        checkpoint = tf.train.Checkpoint(optimizer=optimizer, table=variable)
        status = checkpoint.read(path)
        resumed = train(optimizer, variable, 3)
        status.assert_consumed()
        np.testing.assert_array_equal(resumed, train(make(0.05), table(1)))

    @parameterized.named_parameters(
        combinations(
            make=STATEFUL,
            shards={"1_to_3": (1, 3), "3_to_1": (3, 1), "3_to_2": (3, 2)},
            built={"built": True, "not_built": False},
        )
    )
    def test_another_number_of_shards_trains_on(self, make, shards, built):
        before, after = shards
        optimizer, variable = make(0.05), table(before)
        train(optimizer, variable, last=3)
        self.check_goes_on(make, self.saved(optimizer, variable), after, built)

    @parameterized.parameters(1, 2)
    def test_slots_that_a_subclass_adds_are_joined(self, shards):
        class WithAnother(keras_rmsprop.RMSprop):
            def build(self, variables):
                super().build(variables)
                self._another = self.add_optimizer_variables(
                    variables, "another", "ones"
                )

        optimizer, variable = WithAnother(0.05), table(3)
        train(optimizer, variable, last=1)
        for slot in optimizer._another:
            slot.assign(2 * slot)
        path = self.saved(optimizer, variable)
        other, restored = WithAnother(0.05), table(shards)
        checkpoint = tf.train.Checkpoint(optimizer=other, table=restored)
        status = checkpoint.read(path)
        other.build([restored])
        status.assert_consumed()
        self.assertEqual(len(other._another), shards)
        for slot in other._another:
            np.testing.assert_array_equal(slot.numpy(), 2 * np.ones(slot.shape))

    @parameterized.named_parameters(combinations(make=OPTIMIZERS))
    def test_shards_taken_on_one_after_another_are_a_table(self, make):
        optimizer, variable = make(0.05), table(3)
        shard = variable.variables[1]
        optimizer.apply_gradients([(tf.ones(shard.shape), shard)])
        optimizer.apply_gradients([(tf.ones(variable.shape), variable)])
        path = self.saved(optimizer, variable)
        other, restored = make(0.05), table(2)
        for each in (optimizer, other):
            each.build([variable if each is optimizer else restored])
        checkpoint = tf.train.Checkpoint(optimizer=other, table=restored)
        checkpoint.read(path)
        for each, trained in ((optimizer, variable), (other, restored)):
            each.apply_gradients([(tf.ones(variable.shape), trained)])
        np.testing.assert_array_equal(restored.numpy(), variable.numpy())

    @parameterized.parameters(1, 2, 3)
    def test_tables_of_tf_keras_are_restored(self, shards):
        arguments = dict(momentum=0.9, centered=True)
        variable = table(3)
        optimizer = tf_keras.optimizers.legacy.RMSprop(0.05, **arguments)
        for index in range(3):
            rows = np.random.default_rng(index).integers(0, ROWS, size=8)
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(tf.nn.embedding_lookup(variable, rows) ** 2)
            grads = tape.gradient(loss, variable.variables)
            optimizer.apply_gradients(zip(grads, variable.variables))
        path = self.saved(optimizer, variable)
        for built in (False, True):
            self.check_goes_on(LEGACY["legacy_momentum"], path, shards, built)

    @parameterized.named_parameters(
        combinations(
            shards={"1": 1, "2": 2, "3": 3}, built={"built": True, "not_built": False}
        )
    )
    def test_what_tensorflow_2_9_saved_trains_on(self, shards, built):
        with zipfile.ZipFile(CHECKPOINTS / "sharded_table-2.9.3.zip") as file:
            file.extractall(self.folder)
        expected = np.load(os.path.join(self.folder, "expected.npz"))
        held, bias = table(shards, "float64"), tf.Variable(np.zeros(4))
        optimizer = legacy.RMSprop(0.05, momentum=0.9, centered=True)
        if built:
            optimizer.build([held, bias])
        checkpoint = tf.train.Checkpoint(optimizer=optimizer, table=held, bias=bias)
        status = checkpoint.read(os.path.join(self.folder, "checkpoint"))
        for index in range(4):
            slices = tf.IndexedSlices(
                tf.constant(expected[f"slices/{index}"]),
                tf.constant(expected[f"rows/{index}"]),
            )
            bias_gradient = tf.constant(expected[f"bias_gradient/{index}"])
            optimizer.apply_gradients([(slices, held), (bias_gradient, bias)])
        status.assert_consumed()
        for name, variable in {"table": held, "bias": bias}.items():
            after = variable.numpy()
            np.testing.assert_array_equal(after, expected[f"after/{name}"])
            for slot in optimizer.get_slot_names():
                after = optimizer.get_slot(variable, slot).numpy()
                np.testing.assert_array_equal(after, expected[f"after/{name}/{slot}"])

    def test_a_slot_of_a_table_is_a_table(self):
        optimizer, variable = LEGACY["legacy"](0.05), table(3)
        with self.assertRaises(KeyError):
            optimizer.get_slot(variable, "rms")
        train(optimizer, variable, last=1)
        slot = optimizer.get_slot(variable, "rms")
        parts = [optimizer.get_slot(shard, "rms") for shard in variable.variables]
        self.assertEqual(slot.shape, variable.shape)
        np.testing.assert_array_equal(slot.numpy(), np.concatenate(parts))
