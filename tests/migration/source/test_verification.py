"""Verification: both classes train, and what is said of it is true."""

from unittest import mock

from absl.testing import absltest, parameterized

from keras_rmsprop.migration.source import upgrade_source, verification

_CODE = "import tensorflow as tf\nmodel.compile({})\n"


def _verified(code, **options):
    upgrade = upgrade_source(_CODE.format(code), **options)
    return [
        (each.line, each.kind, each.message) for each in verification.verify(upgrade)
    ]


class VerificationTest(parameterized.TestCase):
    @parameterized.parameters(
        ("tf.train.RMSPropOptimizer(0.01, .8, centered=True)", "tf2.10"),
        ("tf.keras.optimizers.legacy.RMSprop(lr=0.01, decay=0.1)", "tf2.10"),
        ("tf.keras.optimizers.RMSprop(0.01, momentum=0.5)", "keras2"),
        ("'rmsprop'", "tf2.10"),
    )
    def test_what_is_rewritten_trains_as_what_shipped(self, call, assume):
        [(line, kind, message)] = _verified(call, assume=assume)
        self.assertEqual((line, kind), (2, "verified"))
        self.assertRegex(message, "^(0 ULP|rounding).* for 20 steps$")

    def test_what_is_given_up_is_named(self):
        accept = ["initial-accumulator", "sparse-gradients"]
        call = "tf.train.RMSPropOptimizer(0.01)"
        [(_, kind, message)] = _verified(call, to="keras", accept=accept)
        self.assertEqual(kind, "differs")
        self.assertIn("accumulator", message)

    @parameterized.parameters(
        ("tf.train.RMSPropOptimizer(rate)", "`rate` is no literal"),
        ("tf.train.RMSPropOptimizer(f(0.1))", "`f(...)` is no literal"),
        ("tf.keras.optimizers.RMSprop(lr=0.1, momentum=m)", "`m` is no literal"),
        ("tf.keras.optimizers.RMSprop(0.1, .9, None)", "nothing that can be installed"),
    )
    def test_what_cannot_be_tried_is_said(self, call, reason):
        [(_, kind, message)] = _verified(call)
        self.assertEqual(kind, "not verified")
        self.assertIn(reason, message)

    def test_a_missing_library_is_named(self):
        with mock.patch.dict("sys.modules", {"tf_keras": None}):
            [(_, kind, message)] = _verified("tf.keras.optimizers.RMSprop(lr=0.123)")
        self.assertEqual(kind, "not verified")
        self.assertIn("`tf_keras.optimizers.legacy.RMSprop` is not installed", message)


if __name__ == "__main__":
    absltest.main()
