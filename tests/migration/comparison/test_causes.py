"""Each ingredient in turn is planted as the only difference, and has to be named."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl.testing import parameterized
from migration.comparison import workbench

import keras_rmsprop
from compat_v1.train import RMSPropOptimizer as CompatTF1
from keras_rmsprop import RMSprop, UpdateRule
from keras_rmsprop.migration import compare
from keras_rmsprop.migration.comparison.attribution import ROUNDING, UNEXPLAINED
from keras_rmsprop.update_rule import LEGACY

Stock = keras.optimizers.RMSprop
StockTF1 = tf.compat.v1.train.RMSPropOptimizer
StockLegacy = tf_keras.optimizers.legacy.RMSprop
Schedule = keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.5)


def decaying_with_the_global_step():
    step = tf.compat.v1.train.get_or_create_global_step()
    return StockTF1(tf.compat.v1.train.exponential_decay(0.01, step, 5, 0.5))


def comparing(reference, candidate, model="dense", data="dense_data", **arguments):
    return compare(
        reference,
        candidate,
        model=getattr(workbench, f"{model}_model"),
        data=getattr(workbench, data)(),
        **{"steps": 15, **arguments},
    )


# Of an optimizer as planted, and one that lacks only that.
PLANTED = {
    "epsilon value": (RMSprop(0.01, epsilon=1e-3), RMSprop(0.01)),
    "epsilon placement": (
        StockLegacy(0.01, epsilon=1e-2),
        RMSprop(0.01, epsilon=1e-2),
    ),
    "initial accumulator": (StockTF1(0.01, epsilon=1e-7), Stock(0.01)),
    "momentum": (RMSprop(0.01, momentum=0.5), RMSprop(0.01, momentum=0.4)),
    "discount": (RMSprop(0.01, rho=0.5), RMSprop(0.01)),
    "centered": (RMSprop(0.01, centered=True), RMSprop(0.01)),
    "learning rate": (RMSprop(0.02), RMSprop(0.01)),
    "learning-rate evaluation": (RMSprop(Schedule), RMSprop(0.01)),
    "clipping": (Stock(0.01, clipvalue=0.1), Stock(0.01)),
    "weight decay": (RMSprop(0.01, weight_decay=0.1), RMSprop(0.01)),
}


class CausesTest(parameterized.TestCase):
    @parameterized.named_parameters(
        (cause.replace(" ", "_"), cause, *pair) for cause, pair in PLANTED.items()
    )
    def test_what_was_planted_is_named_and_mended(self, cause, reference, candidate):
        found = comparing(reference, candidate)
        self.assertFalse(found.equivalent)
        self.assertEqual([named.name for named in found.causes], [cause])
        self.assertLess(found.causes[0].remaining_alone, 1e-5)
        self.assertTrue(found.remedy.equivalent)

    @parameterized.named_parameters(
        ("clipnorm", "clipnorm"), ("global_clipnorm", "global_clipnorm")
    )
    def test_clipping_by_norm_is_named(self, argument):
        found = comparing(StockLegacy(0.01, **{argument: 0.1}), StockLegacy(0.01))
        self.assertEqual([cause.name for cause in found.causes], ["clipping"])

    def test_sparse_updates_are_named(self):
        found = comparing(
            RMSprop(0.01),
            RMSprop(0.01, sparse_updates="dense"),
            model="table",
            data="distinct",
        )
        self.assertEqual([cause.name for cause in found.causes], ["sparse updates"])

    def test_duplicate_indices_are_named(self):
        found = comparing(
            Stock(0.01),
            RMSprop(0.01, sparse_updates="dense"),
            model="table",
            data="duplicates",
        )
        self.assertEqual([cause.name for cause in found.causes], ["duplicate indices"])
        # Ours always sums them first, and the report does not promise otherwise.
        self.assertFalse(found.remedy.equivalent)
        self.assertIn("use the reference itself", found.report())

    def test_clipping_before_duplicates_are_summed_is_named(self):
        arguments = {"momentum": 0.9, "clipnorm": 0.1}
        sums_first = dataclasses.replace(LEGACY, name="other", clips_slices="summed")
        found = comparing(
            StockLegacy(0.01, **arguments),
            RMSprop(0.01, update_rule=sums_first, **arguments),
            model="table",
            data="duplicates",
        )
        self.assertEqual([cause.name for cause in found.causes], ["duplicate indices"])
        self.assertIn("update_rule='legacy'", found.remedy.call)
        self.assertEqual(found.remedy.max_ulp, 0)

    @parameterized.parameters(
        {},
        {"momentum": 0.9, "clipnorm": 0.1},
        {"centered": True, "weight_decay": 0.01},
    )
    def test_keras_2_is_explained_and_equalled_to_the_bit(self, **arguments):
        rate = tf_keras.optimizers.schedules.ExponentialDecay(0.01, 5, 0.5)
        found = comparing(
            tf_keras.optimizers.RMSprop(rate, **arguments),
            RMSprop(0.01, sparse_updates="dense"),
            model="table",
            data="duplicates",
        )
        self.assertIn(
            "learning-rate evaluation", [cause.name for cause in found.causes]
        )
        self.assertNotIn("unexplained", [cause.name for cause in found.causes])
        self.assertIn("ExponentialDecay(", found.reference)
        self.assertIn("update_rule='keras2'", found.remedy.call)
        self.assertEqual(found.remedy.max_ulp, 0)

    def test_decay_of_legacy_is_a_matter_of_evaluation(self):
        found = comparing(
            StockLegacy(0.01, decay=0.1), RMSprop(0.01, update_rule="legacy")
        )
        self.assertEqual(
            [cause.name for cause in found.causes], ["learning-rate evaluation"]
        )
        self.assertIn("InverseTimeDecay", found.remedy.call)
        self.assertEqual(found.remedy.max_ulp, 0)

    def test_a_rate_of_the_global_step_is_evaluated_in_every_step(self):
        ours = {"update_rule": "tf1", "epsilon": 1e-10}
        found = comparing(decaying_with_the_global_step, RMSprop(0.01, **ours))
        self.assertEqual(
            [cause.name for cause in found.causes], ["learning-rate evaluation"]
        )
        found = comparing(decaying_with_the_global_step, RMSprop(Schedule, **ours))
        self.assertTrue(found.equivalent)

    def test_a_callable_is_evaluated_once_by_tf1_in_its_graph(self):
        rates = iter([0.01, 0.01, 0.05])
        found = comparing(
            StockTF1(lambda: next(rates)),
            RMSprop(0.01, update_rule="tf1", epsilon=1e-10),
        )
        self.assertEqual(found.max_ulp, 0)

    def test_several_causes_are_found_together_the_greatest_first(self):
        found = comparing(StockTF1(0.01, epsilon=1e-3), Stock(0.01))
        self.assertEqual(
            [cause.name for cause in found.causes],
            ["initial accumulator", "epsilon value"],
        )
        first, second = found.causes
        self.assertGreater(first.remaining, second.remaining)
        self.assertLess(second.remaining, 1e-5)

    def test_what_differs_without_effect_is_no_cause(self):
        found = comparing(
            RMSprop(0.01, epsilon=1e-3, clipvalue=1e6),
            RMSprop(0.01, weight_decay=0.0, sparse_updates="dense"),
        )
        self.assertEqual([cause.name for cause in found.causes], ["epsilon value"])

    def test_rounding_alone_is_named_where_no_tolerance_is_left(self):
        arguments = {"momentum": 0.9, "centered": True}
        found = comparing(
            Stock(0.01, **arguments), StockLegacy(0.01, **arguments), rtol=0, atol=0
        )
        self.assertFalse(found.equivalent)
        self.assertLess(found.max_abs_difference, 1e-4)
        self.assertEqual([cause.name for cause in found.causes], [ROUNDING])

    def test_a_negative_centered_variance_is_named(self):
        ones = np.ones((8, 1), "float32")

        def constant_gradient():
            model = keras.Sequential(
                [keras.Input((1,)), keras.layers.Dense(1, use_bias=False)]
            )
            model.compile(loss=lambda y, predicted: 0.1 * predicted)
            return model

        found = compare(
            StockLegacy(0.01, centered=True),
            keras_rmsprop.legacy.RMSprop(0.01, centered=True),
            model=constant_gradient,
            data=(ones, ones),
            steps=150,
        )
        self.assertEqual(found.max_abs_difference, np.inf)
        self.assertEqual([cause.name for cause in found.causes], [ROUNDING])
        self.assertIn("variance rounds below zero", found.report())

    def test_what_the_simulation_lacks_is_not_explained(self):
        found = comparing(RMSprop(0.01, gradient_accumulation_steps=2), RMSprop(0.01))
        self.assertEqual([cause.name for cause in found.causes], [UNEXPLAINED])
        self.assertIn("gradient_accumulation_steps", found.report())
        self.assertIsNone(found.remedy)

    def test_a_subclass_that_steps_otherwise_is_not_explained(self):
        class Half(RMSprop):
            def update_step(self, gradient, variable, learning_rate):
                super().update_step(gradient, variable, learning_rate / 2)

        found = comparing(RMSprop(0.01, epsilon=1e-3), Half(0.01))
        self.assertEqual([cause.name for cause in found.causes], [UNEXPLAINED])
        self.assertIn("of the candidate", found.report())


class EquivalentTest(parameterized.TestCase):
    @parameterized.named_parameters(
        (
            "tf1_and_modern",
            StockTF1(0.01, momentum=0.9),
            RMSprop(0.01, momentum=0.9, epsilon=1e-10, update_rule="tf1"),
        ),
        ("tf1_and_ours", StockTF1(0.01), CompatTF1(0.01)),
        ("rate_as_a_tensor", StockTF1(tf.constant(0.01)), CompatTF1(0.01)),
        ("centered", StockTF1(0.01, centered=True), CompatTF1(0.01, centered=True)),
        ("legacy_and_modern", StockLegacy(0.01), RMSprop(0.01, update_rule="legacy")),
        (
            "legacy_and_ours",
            StockLegacy(0.01, momentum=0.9, clipnorm=0.1, decay=0.01),
            keras_rmsprop.legacy.RMSprop(0.01, momentum=0.9, clipnorm=0.1, decay=0.01),
        ),
        (
            "loss_scale",
            RMSprop(0.01, loss_scale_factor=8.0),
            RMSprop(0.01),
        ),
    )
    def test_twins_have_the_same_bits(self, reference, candidate):
        found = comparing(reference, candidate)
        self.assertTrue(found.equivalent)
        self.assertEqual(found.max_ulp, 0)
        self.assertEmpty(found.causes)
        self.assertIsNone(found.remedy)

    def test_sparse_twins_have_the_same_bits(self):
        found = comparing(
            StockLegacy(0.01),
            RMSprop(0.01, update_rule="legacy", sparse_updates="dense"),
            model="table",
            data="duplicates",
        )
        self.assertEqual(found.max_ulp, 0)

    def test_stock_keras_and_ours_are_equivalent(self):
        self.assertTrue(comparing(Stock(0.01), RMSprop(0.01)).equivalent)

    @parameterized.named_parameters(
        (name, name) for name in ("float16", "bfloat16", "float64")
    )
    def test_other_dtypes(self, dtype):
        model = workbench.dense_model(dtype)
        data = workbench.dense_data(dtype)
        ours = RMSprop(0.01, epsilon=1e-10, update_rule="tf1")
        found = compare(StockTF1(0.01), ours, model=model, data=data, steps=10)
        self.assertEqual((found.dtype, found.max_ulp), (dtype, 0))
        found = compare(StockTF1(0.01), Stock(0.01), model=model, data=data, steps=10)
        self.assertEqual(found.causes[0].name, "initial accumulator")

    def test_a_rule_of_ones_own(self):
        rule = UpdateRule("mine", 0.5, "always", "always", 1e-7, "lazy", False)
        found = comparing(RMSprop(0.01, update_rule=rule), RMSprop(0.01))
        self.assertEqual(
            [cause.name for cause in found.causes], ["initial accumulator"]
        )
        self.assertTrue(found.remedy.equivalent)
