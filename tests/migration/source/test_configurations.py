"""Gin bindings are rewritten; other configurations are named."""

import os
import tempfile

from absl.testing import absltest, parameterized

from keras_rmsprop.migration.source import (
    configurations,
    upgrade_paths,
    upgrade_source,
)
from keras_rmsprop.migration.source.options import Options

_GIN = """
train.optimizer = @tf.train.RMSPropOptimizer()  # not @tf.train.RMSPropOptimizer
tf.train.RMSPropOptimizer.decay = 0.95
eval/tf.train.RMSPropOptimizer.learning_rate = 0.1
train.other = @tf.train.AdamOptimizer
"""
_AFTER = """
train.optimizer = @compat_v1.train.RMSPropOptimizer()  # not @tf.train.RMSPropOptimizer
compat_v1.train.RMSPropOptimizer.decay = 0.95
eval/compat_v1.train.RMSPropOptimizer.learning_rate = 0.1
train.other = @tf.train.AdamOptimizer
"""


class GinTest(parameterized.TestCase):
    def test_bindings_of_tf1s_class_are_rewritten_to_compat(self):
        upgrade = configurations.upgrade_gin(_GIN, Options(to="compat"))
        self.assertEqual(upgrade.code, _AFTER)
        lines = [each.line for each in upgrade.findings if each.kind == "rewritten"]
        self.assertEqual(lines, [2, 3, 4])
        [note] = [each for each in upgrade.findings if each.kind == "note"]
        self.assertIn("gin.external_configurable(compat_v1.train.", note.message)
        again = configurations.upgrade_gin(_AFTER, Options(to="compat"))
        self.assertEqual(again.code, _AFTER)

    @parameterized.parameters(
        (
            _GIN,
            "keras-rmsprop",
            "only `--to compat` keeps that",
            "(2 more: lines 3, 4)",
        ),
        ("a.b = @tf.keras.optimizers.RMSprop()\n", "compat", "by hand", "by hand"),
    )
    def test_what_is_not_rewritten_stays_and_is_reported(self, code, to, why, where):
        upgrade = configurations.upgrade_gin(code, Options(to=to))
        self.assertEqual(upgrade.code, code)
        [finding] = upgrade.findings
        self.assertEqual(finding.kind, "left alone")
        self.assertIn(why, finding.message)
        self.assertEndsWith(finding.message, where)

    @parameterized.parameters(
        "gin.parse_config({})",
        "gin.parse_config_files_and_bindings(files, [{}])",
    )
    def test_bindings_in_strings_are_rewritten(self, call):
        binding = "'tf.train.RMSPropOptimizer.decay = 0.9\\\\n'"
        code = f"import gin\n{call.format(binding)}\n"
        self.assertEqual(
            upgrade_source(code, to="compat").code,
            code.replace("tf.train", "compat_v1.train"),
        )
        self.assertEqual(upgrade_source(code).code, code)

    @parameterized.parameters(
        ("x.s = 'tf.train.RMSPropOptimizer'  # a name", "not handled"),
        ("x.s = 'rmsprop'", "not handled"),
        ("x.o = [@RMSprop(), 'x']", "left alone"),
        ("RMSprop.lr = 0.1", "left alone"),
        ("x.o = @a/keras.optimizers.legacy.RMSprop", "left alone"),
        ("x.o = @tf.contrib.optimizer_v2.RMSPropOptimizer", "left alone"),
        ('x.s = """\n@tf.train.RMSPropOptimizer\n"""', None),
        ("x.s = 'use @tf.train.RMSPropOptimizer'", None),
        ("x.o = @my.RMSPropOptimizer()", None),
        ("x.o = @torch.optim.RMSprop", None),
        ("x.o = @tf.train.RMSPropOptimizerX", None),
    )
    def test_what_is_no_binding_of_tf1s_class_stays(self, code, kind):
        upgrade = configurations.upgrade_gin(f"a = 1\n{code}\n", Options(to="compat"))
        self.assertFalse(upgrade.changed)
        self.assertEqual(
            [(each.line, each.kind) for each in upgrade.findings],
            [(2, kind)] if kind else [],
        )

    @parameterized.parameters(
        ("s.tag = '#1'; x.o = @{}", "compat_v1.train.RMSPropOptimizer"),
        ("x.o = [@a/b/{}(), @Other()]", "compat_v1.train.RMSPropOptimizer"),
        ("x.s = '\\'#'\nb/{}.decay = %rate", "compat_v1.train.RMSPropOptimizer"),
    )
    def test_bindings_are_found_beside_strings(self, code, after):
        for name in ("RMSPropOptimizer", "tf.compat.v1.train.RMSPropOptimizer"):
            upgrade = configurations.upgrade_gin(
                code.format(name), Options(to="compat")
            )
            self.assertEqual(upgrade.code, code.format(after))

    def test_other_strings_are_no_bindings(self):
        code = "import gin\nprint('tf.train.RMSPropOptimizer.decay = 0.9')\n"
        self.assertFalse(upgrade_source(code, to="compat").changed)


class SettingsTest(parameterized.TestCase):
    @parameterized.parameters(
        "optimizer: RMSProp",
        "  type: rmsprop",
        '"optimizer": "rmsprop",',
        '{"class_name": "RMSprop", "config": {}}',
        "python train.py --optimizer=rmsprop",
        "python train.py --optimizer rmsprop",
        "optimizer_name = tf.train.RMSPropOptimizer",
        "  - rmsprop",
        "values: ['adam', 'rmsprop']",
        "optimizer: [adam, rmsprop]",
        "optim: {name: rmsprop, lr: 1e-3}",
        "_target_: tf.keras.optimizers.RMSprop",
        "solver: rmsprop  # best",
        "optimizer: !RMSProp",
        "optimizer: &o RMSprop",
        "python t.py --opt rmsprop --lr 1",
        'export OPT="rmsprop"',
        'command: ["t.py", "--optimizer", "rmsprop"]',
    )
    def test_are_named_with_their_line(self, line):
        upgrade = configurations.settings(f"a\n{line}\n")
        self.assertFalse(upgrade.changed)
        [finding] = upgrade.findings
        self.assertEqual((finding.line, finding.kind), (2, "not handled"))

    @parameterized.parameters(
        "# optimizer: RMSProp",
        "text: like RMSProp",
        "rmsprop: 1",
        'description: "Trained with RMSProp, and Adam"',
        "image: my/rmsprop:latest",
        "path: /data/rmsprop/x",
        "name: rmsprop_baseline",
        "pip install keras-rmsprop",
    )
    def test_other_mentions_are_none(self, line):
        self.assertEmpty(configurations.settings(f"{line}\n").findings)


class FilesTest(absltest.TestCase):
    def test_directories_are_searched_for_them(self):
        with tempfile.TemporaryDirectory() as root:
            for name, text in (("a.gin", _GIN), ("b.yaml", "optimizer: rmsprop\n")):
                with open(os.path.join(root, name), "w") as file:
                    file.write(text)
            gin, yaml = upgrade_paths([root], to="compat")
            gin.write()
            with open(gin.path) as file:
                self.assertEqual(file.read(), _AFTER)
        self.assertEqual(yaml.upgrade.findings[0].kind, "not handled")
        self.assertEqual(yaml.diff(), "")


if __name__ == "__main__":
    absltest.main()
