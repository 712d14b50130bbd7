"""Versions that projects pin."""

import os
import tempfile

from absl.testing import absltest, parameterized

from keras_rmsprop.migration.source import evidence, upgrade_paths


class PinsTest(parameterized.TestCase):
    @parameterized.parameters(
        ("tensorflow==1.4.1", "tf1.4"),
        ("tensorflow-gpu==1.15", "tf2.10"),
        ("tensorflow>=2.1,<2.4", "tf2.10"),
        ("tensorflow ~= 2.10.0", "tf2.10"),
        ("tensorflow[and-cuda]==2.13.*", "keras2"),
        ("tensorflow>=2.16", "keras3"),
        ("  - tensorflow=2.3", "tf2.10"),
        ('tensorflow = "^2.3"', None),
        ('tensorflow = "~=2.12.1"', "keras2"),
        ('install_requires=["tensorflow<=1.8", "six"]', None),
        ('install_requires=["tensorflow>=1.3,<=1.8", "six"]', "tf1.4"),
        ("Keras==2.0.8", "tf1.4"),
        ("keras==2.2.4", "tf2.10"),
        ("keras>=3", "keras3"),
        ("keras-tuner==1.0", None),
        ("tensorflow-probability==0.7", None),
        ("tensorflow", None),
        ("tensorflow>=2", None),
        ("tf-keras==2.15", None),
    )
    def test_give_a_generation_where_they_allow_one_only(self, text, expected):
        self.assertEqual(
            [era for era, _ in evidence.of_pins(text)], [expected] * bool(expected)
        )


class NearbyTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = self.enter_context(tempfile.TemporaryDirectory())
        self._write("p/src/a.py", "import keras\nkeras.optimizers.RMSprop(0.1)\n")

    def _write(self, name, text):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(text)

    def _upgrade(self, path="p", **options):
        [file] = upgrade_paths([os.path.join(self.root, path)], **options)
        return file.upgrade

    @parameterized.parameters("p/requirements.txt", "p/src/setup.py", "p/src/setup.cfg")
    def test_pins_of_the_project_come_before_the_assumption(self, name):
        self._write(name, "tensorflow==2.13.0\n")
        upgrade = self._upgrade(assume="tf1.4")
        self.assertIn('update_rule="keras2"', upgrade.code)
        self.assertIn("because of tensorflow==2.13.0 in ", upgrade.findings[0].message)

    def test_pins_above_what_was_named_are_nobodys_business(self):
        self._write("requirements.txt", "tensorflow==2.13.0\n")
        self.assertIn('update_rule="legacy"', self._upgrade().code)
        self.assertIn('update_rule="keras2"', self._upgrade(".").code)

    def test_the_nearest_pins_count(self):
        self._write("p/requirements.txt", "tensorflow==2.13.0\n")
        self._write("p/src/requirements.txt", "tensorflow==2.3\n")
        self.assertIn('update_rule="legacy"', self._upgrade().code)

    def test_pins_that_disagree_say_nothing(self):
        self._write("p/requirements.txt", "tensorflow==2.13.0\nkeras==2.3\n")
        self.assertNotIn("because of", self._upgrade().findings[0].message)


if __name__ == "__main__":
    absltest.main()
