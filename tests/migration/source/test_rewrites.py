"""Code before and after, and code that must stay as it is."""

import textwrap

import libcst as cst
from absl.testing import absltest, parameterized

from keras_rmsprop.migration.source import upgrade_source

_ALL = ("initial-accumulator", "epsilon-placement", "sparse-gradients")
_TF1 = 'update_rule="tf1"'
_LEGACY = 'update_rule="legacy", sparse_updates="dense"'
_KERAS2 = 'update_rule="keras2", sparse_updates="dense"'
_HALF = "learning_rate=0.1, rho=.9"


def _code(text):
    return textwrap.dedent(text).lstrip("\n")


def _reasons(upgrade, kind="left alone"):
    return [each for each in upgrade.findings if each.kind == kind]


class SpellingsTest(parameterized.TestCase):
    """Every way to reach the class, by its import and its use."""

    @parameterized.parameters(
        ("import tensorflow as tf", "tf.train.RMSPropOptimizer"),
        ("import tensorflow as tf", "tf.compat.v1.train.RMSPropOptimizer"),
        ("import tensorflow.compat.v1 as tf", "tf.train.RMSPropOptimizer"),
        ("from tensorflow.compat import v1 as tf", "tf.train.RMSPropOptimizer"),
        ("from tensorflow.compat import v1", "v1.train.RMSPropOptimizer"),
        ("import tensorflow", "tensorflow.train.RMSPropOptimizer"),
        ("import tensorflow.compat.v1.train as t", "t.RMSPropOptimizer"),
        ("import tensorflow.compat.v2 as tf", "tf.compat.v1.train.RMSPropOptimizer"),
    )
    def test_tf1_is_found_and_its_module_stays_imported(self, line, name):
        upgrade = upgrade_source(f"{line}\nopt = {name}(0.1)\nmodel.compile(opt)\n")
        self.assertEqual(
            upgrade.code,
            f"{line}\nimport keras_rmsprop\n"
            f"opt = keras_rmsprop.RMSprop(learning_rate=0.1, epsilon=1e-10, {_TF1})\n"
            "model.compile(opt)\n",
        )

    @parameterized.parameters(
        ("from tensorflow import train", "train.RMSPropOptimizer"),
        ("from tensorflow.compat.v1 import train as t", "t.RMSPropOptimizer"),
        (
            "from tensorflow.python.training.rmsprop import RMSPropOptimizer",
            "RMSPropOptimizer",
        ),
        ("from tensorflow.python.training import rmsprop", "rmsprop.RMSPropOptimizer"),
    )
    def test_tf1_is_found_and_its_import_makes_room(self, line, name):
        upgrade = upgrade_source(f"{line}\nopt = {name}(0.1)\nmodel.compile(opt)\n")
        self.assertEqual(
            upgrade.code,
            "import keras_rmsprop\n"
            f"opt = keras_rmsprop.RMSprop(learning_rate=0.1, epsilon=1e-10, {_TF1})\n"
            "model.compile(opt)\n",
        )

    @parameterized.parameters(
        ("import tensorflow as tf", "tf.keras.optimizers.RMSprop"),
        ("import tensorflow as tf", "tf.keras.optimizers.legacy.RMSprop"),
        ("import tensorflow as tf", "tf.optimizers.RMSprop"),
        ("import tensorflow as tf", "tf.compat.v1.keras.optimizers.RMSprop"),
        ("import tensorflow as tf", "tf.compat.v2.optimizers.RMSprop"),
        ("import tensorflow.compat.v1 as tf", "tf.keras.optimizers.legacy.RMSprop"),
        ("import tensorflow.keras.optimizers as o", "o.RMSprop"),
        ("import tensorflow.keras", "tensorflow.keras.optimizers.RMSprop"),
        ("import tensorflow.keras as K", "K.optimizers.RMSprop"),
        ("from tensorflow import keras", "keras.optimizers.RMSprop"),
        ("import keras", "keras.optimizers.RMSprop"),
        ("import keras", "keras.optimizers.rmsprop"),
        ("import keras", "keras.optimizers.legacy.RMSprop"),
        ("import keras.optimizers", "keras.optimizers.RMSprop"),
    )
    def test_keras_is_found(self, line, name):
        upgrade = upgrade_source(f"{line}\nopt = {name}(0.1)\n")
        self.assertEqual(
            upgrade.code,
            f"{line}\nimport keras_rmsprop\n"
            f"opt = keras_rmsprop.RMSprop(learning_rate=0.1, {_LEGACY})\n",
        )

    @parameterized.parameters(
        ("from keras.optimizers import RMSprop", "RMSprop"),
        ("from keras.optimizers import RMSprop as X", "X"),
        ("from keras.optimizers import rmsprop", "rmsprop"),
        ("from tensorflow.keras import optimizers", "optimizers.RMSprop"),
        ("from tensorflow.keras.optimizers import legacy", "legacy.RMSprop"),
        ("from tensorflow.keras.optimizers.legacy import RMSprop", "RMSprop"),
        (
            "from tensorflow.python.keras.optimizer_v2.rmsprop import RMSprop",
            "RMSprop",
        ),
    )
    def test_a_keras_import_that_nothing_needs_makes_room(self, line, name):
        upgrade = upgrade_source(f"{line}\nopt = {name}(lr=0.1)\n")
        self.assertEqual(
            upgrade.code,
            "import keras_rmsprop\n"
            f"opt = keras_rmsprop.RMSprop(learning_rate=0.1, {_LEGACY})\n",
        )

    @parameterized.parameters(
        ("import keras", "keras.optimizers.rmsprop_v2.RMSprop", _LEGACY),
        ("import keras", "keras.api._v2.keras.optimizers.legacy.RMSprop", _LEGACY),
        ("import keras", "keras.src.optimizers.legacy.rmsprop.RMSprop", _LEGACY),
        ("import tensorflow_core as tf", "tf.keras.optimizers.RMSprop", _LEGACY),
        (
            "import tensorflow as tf",
            "tf.contrib.keras.optimizers.RMSprop",
            f"epsilon=1e-08, {_LEGACY}",
        ),
        (
            "import keras",
            "keras._tf_keras.keras.optimizers.RMSprop",
            'sparse_updates="dense"',
        ),
        (
            "import keras",
            "keras.src.optimizers.rmsprop.RMSprop",
            'sparse_updates="dense"',
        ),
        ("import keras", "keras.api.optimizers.RMSprop", 'sparse_updates="dense"'),
        (
            "import tensorflow as tf",
            "tf.keras.optimizers.experimental.RMSprop",
            'update_rule="keras2", sparse_updates="dense"',
        ),
    )
    def test_modules_by_their_other_names_are_known(self, line, name, added):
        upgrade = upgrade_source(f"{line}\nopt = {name}(0.1)\n")
        self.assertEqual(
            upgrade.code.splitlines()[-1],
            f"opt = keras_rmsprop.RMSprop(learning_rate=0.1, {added})",
        )

    def test_modules_bound_to_another_name_are_followed(self):
        before = _code("""
            import tensorflow as tf
            K = tf.keras
            optimizers = K.optimizers
            opt = optimizers.RMSprop(lr=0.1)
            """)
        self.assertIn("opt = keras_rmsprop.RMSprop(", upgrade_source(before).code)

    def test_imports_that_agree_on_every_path_are_followed(self):
        before = _code("""
            try:
                import tensorflow.compat.v1 as tf
            except ImportError:
                import tensorflow as tf
            opt = tf.train.RMSPropOptimizer(0.1)
            model.compile(opt)
            """)
        self.assertIn("opt = keras_rmsprop.RMSprop(", upgrade_source(before).code)


class ArgumentsTest(parameterized.TestCase):
    """What becomes of the arguments, for each generation and target."""

    @parameterized.parameters(
        ("0.1, 0.8", f"learning_rate=0.1, rho=0.8, epsilon=1e-10, {_TF1}"),
        ("lr, epsilon=e", f"learning_rate=lr, epsilon=e, {_TF1}"),
        ("a.lr * 2, epsilon=e", f"learning_rate=a.lr * 2, epsilon=e, {_TF1}"),
        (
            "0.1, .9, .5, 1e-8, False, True, 'n'",
            "learning_rate=0.1, rho=.9, momentum=.5, epsilon=1e-8, centered=True, "
            + f"name='n', {_TF1}",
        ),
        (
            "0.1, use_locking=True, decay = d",
            f"learning_rate=0.1, rho = d, epsilon=1e-10, {_TF1}",
        ),
        ("0.1,", f"learning_rate=0.1, epsilon=1e-10, {_TF1},"),
    )
    def test_tf1_to_keras_rmsprop(self, before, after):
        code = f"import tensorflow as tf\nx = tf.train.RMSPropOptimizer({before})\n"
        upgrade = upgrade_source(f"{code}model.compile(x)\n")
        self.assertEqual(
            upgrade.code.splitlines()[-2], f"x = keras_rmsprop.RMSprop({after})"
        )

    @parameterized.parameters(
        ("", _LEGACY),
        ("lr=0.1, rho=r", f"learning_rate=0.1, rho=r, {_LEGACY}"),
        ("0.1, momentum=0.9", 'learning_rate=0.1, momentum=0.9, update_rule="legacy"'),
        (
            "0.1, .9, m",
            'learning_rate=0.1, rho=.9, momentum=m, update_rule="legacy", '
            + 'sparse_updates="lazy" if m else "dense"',
        ),
        ("0.1, decay=0.", f"learning_rate=0.1, {_LEGACY}"),
        ("0.1, epsilon=None", f"learning_rate=0.1, epsilon=1e-07, {_LEGACY}"),
        ("0.1, epsilon=0", f"learning_rate=0.1, epsilon=1e-07, {_LEGACY}"),
        ("0.1, clipnorm=1.", f"learning_rate=0.1, clipnorm=1., {_LEGACY}"),
        (
            "lr=0.1, decay=1e-6",
            "learning_rate=keras.optimizers.schedules.InverseTimeDecay("
            "initial_learning_rate=0.1, decay_steps=1, decay_rate=1e-6), " + _LEGACY,
        ),
        (
            "decay=args.decay",
            "learning_rate=keras.optimizers.schedules.InverseTimeDecay("
            "initial_learning_rate=0.001, decay_steps=1, decay_rate=args.decay), "
            + _LEGACY,
        ),
    )
    def test_legacy_to_keras_rmsprop(self, before, after):
        code = f"import keras\nopt = keras.optimizers.legacy.RMSprop({before})\n"
        self.assertEqual(
            upgrade_source(code).code.splitlines()[-1],
            f"opt = keras_rmsprop.RMSprop({after})",
        )

    @parameterized.parameters(
        ("lr=0.1", f"learning_rate=0.1, epsilon=1e-08, {_LEGACY}"),
        ("0.1, .8, 1e-6", f"learning_rate=0.1, rho=.8, epsilon=1e-6, {_LEGACY}"),
        ("epsilon=None", f"epsilon=1e-07, {_LEGACY}"),
        ("learning_rate=0.1", f"learning_rate=0.1, {_LEGACY}"),
    )
    def test_the_class_of_2017_to_keras_rmsprop(self, before, after):
        code = f"import keras\nopt = keras.optimizers.RMSprop({before})\n"
        self.assertEqual(
            upgrade_source(code, assume="tf1.4").code.splitlines()[-1],
            f"opt = keras_rmsprop.RMSprop({after})",
        )

    @parameterized.parameters(
        ("0.1", "tf2.10", f"learning_rate=0.1, {_LEGACY}"),
        ("0.1", "keras3", 'learning_rate=0.1, sparse_updates="dense"'),
        ("0.1", "keras2", f"learning_rate=0.1, {_KERAS2}"),
        ("lr=0.1", "keras2", f"learning_rate=0.1, {_LEGACY}"),
        ("lr=0.1", "keras3", f"learning_rate=0.1, {_LEGACY}"),
        ("0.1, use_ema=True", "keras2", f"learning_rate=0.1, use_ema=True, {_KERAS2}"),
        ("0.1, jit_compile=False", "tf2.10", f"learning_rate=0.1, {_KERAS2}"),
        (
            "0.1, loss_scale_factor=2",
            "keras2",
            'learning_rate=0.1, loss_scale_factor=2, sparse_updates="dense"',
        ),
        ("0.1, .9, None, 0.", "tf2.10", f"{_HALF}, epsilon=1e-07, {_LEGACY}"),
        (
            "lr=0.1, rho=.9, epsilon=None",
            "tf2.10",
            f"{_HALF}, epsilon=1e-07, {_LEGACY}",
        ),
        (
            "0.1, weight_decay=1e-4",
            "tf2.10",
            'learning_rate=0.1, weight_decay=1e-4, sparse_updates="dense"',
        ),
    )
    def test_arguments_decide_before_the_assumption(self, before, assume, after):
        code = f"import keras\nopt = keras.optimizers.RMSprop({before})\n"
        self.assertEqual(
            upgrade_source(code, assume=assume).code.splitlines()[-1],
            f"opt = keras_rmsprop.RMSprop({after})",
        )

    @parameterized.parameters(
        ("tf.train.RMSPropOptimizer", "0.1, *a, **k", "compat_v1.train.{}", ""),
        (
            "tf.keras.optimizers.legacy.RMSprop",
            "lr=0.1, decay=1e-6",
            "keras_rmsprop.legacy.{}",
            ', sparse_updates="dense"',
        ),
        (
            "tf.keras.optimizers.legacy.RMSprop",
            "0.1, 0.9, 0.5",
            "keras_rmsprop.legacy.{}",
            "",
        ),
        (
            "tf.compat.v1.keras.optimizers.RMSprop",
            "0.1",
            "compat_v1.keras.optimizers.{}",
            ', sparse_updates="dense"',
        ),
    )
    def test_compat_keeps_the_arguments(self, name, arguments, target, added):
        code = f"import tensorflow as tf\nopt = {name}({arguments})\n"
        target = target.format(name.split(".")[-1])
        module = target.rpartition(".")[0].removesuffix(".legacy")
        self.assertEqual(
            upgrade_source(code, to="compat").code,
            f"import tensorflow as tf\nimport {module}\n"
            f"opt = {target}({arguments}{added})\n",
        )

    def test_compat_has_the_class_of_2017(self):
        code = "import keras\nopt = keras.optimizers.RMSprop(lr=0.1)\n"
        self.assertEqual(
            upgrade_source(code, to="compat", assume="tf1.4").code.splitlines()[-1],
            "opt = compat_v1.keras.optimizer_v1.RMSprop(lr=0.1)",
        )

    @parameterized.parameters(
        (
            "tf.train.RMSPropOptimizer(0.1)",
            "keras.optimizers.RMSprop(learning_rate=0.1, epsilon=1e-10)",
        ),
        (
            "tf.keras.optimizers.legacy.RMSprop(lr=0.1)",
            "keras.optimizers.RMSprop(learning_rate=0.1)",
        ),
        (
            "tf.keras.optimizers.legacy.RMSprop()",
            "keras.optimizers.RMSprop(learning_rate=0.001)",
        ),
        (
            "tf.keras.optimizers.RMSprop(lr=0.1)",
            "tf.keras.optimizers.RMSprop(learning_rate=0.1)",
        ),
    )
    def test_stock_keras_takes_what_the_user_gives_up(self, before, after):
        code = f"import tensorflow as tf\nopt = {before}\nmodel.compile(opt)\n"
        upgrade = upgrade_source(code, to="keras", accept=_ALL)
        self.assertEqual(upgrade.code.splitlines()[-2], f"opt = {after}")

    @parameterized.parameters(
        ("tf.train.RMSPropOptimizer(0.1)", ["initial-accumulator", "sparse-gradients"]),
        (
            "tf.keras.optimizers.legacy.RMSprop(0.1)",
            ["epsilon-placement", "sparse-gradients"],
        ),
        (
            "tf.keras.optimizers.legacy.RMSprop(0.1, momentum=0.9)",
            ["sparse-gradients"],
        ),
    )
    def test_stock_keras_is_refused_where_numerics_would_change(self, call, causes):
        code = f"import tensorflow as tf\nopt = {call}\nmodel.compile(opt)\n"
        upgrade = upgrade_source(code, to="keras")
        self.assertFalse(upgrade.changed)
        [reason] = _reasons(upgrade)
        self.assertIn(f"`--accept {','.join(causes)}`", reason.message)
        self.assertEqual(reason.line, 2)
        self.assertTrue(upgrade_source(code, to="keras", accept=causes).changed)


class CompileStringTest(parameterized.TestCase):
    @parameterized.parameters(
        "optimizer='rmsprop'", '"RMSprop"', "loss='mse', optimizer='RMSProp'"
    )
    def test_becomes_the_optimizer_with_its_defaults(self, arguments):
        code = f"import keras\nmodel.compile({arguments})\n"
        after = upgrade_source(code).code
        self.assertIn(f"keras_rmsprop.RMSprop({_LEGACY})", after)
        self.assertNotIn("'rmsprop'", after.lower())

    @parameterized.parameters(
        ("compat", "tf2.10", 'keras_rmsprop.legacy.RMSprop(sparse_updates="dense")'),
        ("compat", "tf1.4", "compat_v1.keras.optimizer_v1.RMSprop()"),
        ("keras-rmsprop", "keras3", 'keras_rmsprop.RMSprop(sparse_updates="dense")'),
        (
            "keras-rmsprop",
            "tf1.4",
            f"keras_rmsprop.RMSprop(epsilon=1e-08, {_LEGACY})",
        ),
    )
    def test_follows_target_and_assumption(self, to, assume, after):
        code = "import keras\nmodel.compile('rmsprop')\n"
        self.assertEqual(
            upgrade_source(code, to=to, assume=assume).code.splitlines()[-1],
            f"model.compile({after})",
        )


class NamedTest(parameterized.TestCase):
    """Optimizers that are given by a name or a configuration."""

    @parameterized.parameters(
        "model.compile('rmsprop' if x else {})",
        "model.compile({} if x else 'adam')",
        "model.compile(optimizer=o or {})",
        "model.compile(**{{'optimizer': {}, 'loss': 'mse'}})",
        "optimizer = {}\nmodel.compile(optimizer)",
        "def f():\n    o = {} if x else 'adam'\n    model.compile(o, 'mse')",
    )
    def test_strings_are_rewritten_where_they_reach_compile(self, code):
        code = f"import keras\n{code}\n".replace("'rmsprop'", "{}")
        before = code.format(*["'rmsprop'"] * 2)
        upgrade = upgrade_source(before)
        after = code.format(*[f"keras_rmsprop.RMSprop({_LEGACY})"] * 2)
        after = after.replace("import keras\n", "import keras\nimport keras_rmsprop\n")
        self.assertEqual(upgrade.code, after)
        self.assertEmpty(_reasons(upgrade))

    @parameterized.parameters(
        "def f(o):\n    m.compile(optimizer=o)\nf({0})",
        "def f(x, *, o=0):\n    m.compile(o)\nf(1, o={0} if x else 0)\nf(2, o={0})",
        "def f(o, /):\n    if x: m.compile(o or 'adam')\nf({0})\nf({0})",
    )
    def test_strings_reach_compile_by_a_parameter_too(self, code):
        code = f"import keras\n{{1}}{code}\n"
        new = f"keras_rmsprop.RMSprop({_LEGACY})"
        upgrade = upgrade_source(code.format("'rmsprop'", ""))
        self.assertEqual(upgrade.code, code.format(new, "import keras_rmsprop\n"))
        self.assertEmpty(_reasons(upgrade))

    @parameterized.parameters(
        "def f(o='rmsprop'):\n    m.compile(o)",
        "def f(o):\n    print(o)\n    m.compile(o)\nf('rmsprop')",
        "def f(o):\n    m.compile(o)\n    n.compile(o)\nf('rmsprop')",
        "def f(o):\n    for m in ms: m.compile(o)\nf('rmsprop')",
        "def f(o):\n    g = lambda: m.compile(o)\nf('rmsprop')",
        "def f(o):\n    o = o or 'adam'\n    m.compile(o)\nf('rmsprop')",
        "def f(*o):\n    m.compile(o)\nf('rmsprop')",
        "def f(x, o):\n    m.compile(o)\nf(*x, 'rmsprop')",
        "@cached\ndef f(o):\n    m.compile(o)\nf('rmsprop')",
        "import re\ndef f(o):\n    re.compile(o)\nf('rmsprop')",
        "class A:\n  def f(s, o): s.m.compile(o)\n  def g(s): s.f('rmsprop')",
        "def f(o):\n    m.compile(o)\nmap(f, ['rmsprop'])",
        "o = 'rmsprop'\nprint(o)\nmodel.compile(o)",
        "o = 'rmsprop'\ndef f(): model.compile(o)",
        "o = 'rmsprop'\nfor m in models:\n    m.compile(o)",
    )
    def test_strings_that_are_used_otherwise_too_stay(self, code):
        code = f"import keras\n{code}\n"
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        self.assertLen(_reasons(upgrade), 1)

    @parameterized.parameters(
        "model.compile({})",
        "model.compile(optimizer=keras.optimizers.get({}))",
        "opt = keras.optimizers.deserialize({})",
    )
    def test_configurations_become_calls(self, code):
        config = "{'class_name': 'RMSprop', 'config': {'lr': 0.1, 'rho': r}}"
        upgrade = upgrade_source(f"import keras\n{code.format(config)}\n")
        self.assertIn(
            f"keras_rmsprop.RMSprop(learning_rate=0.1, rho=r, {_LEGACY})", upgrade.code
        )
        self.assertNotIn("class_name", upgrade.code)
        self.assertNotIn("optimizers.get", upgrade.code)

    @parameterized.parameters(
        "{'class_name': name, 'config': {'lr': 0.1}, 'o': 'rmsprop'}",
        "{'class_name': 'RMSprop', 'config': config}",
        "{'class_name': 'RMSprop', 'config': {**config}}",
    )
    def test_configurations_that_are_not_all_there_stay(self, config):
        code = f"import keras\nmodel.compile({config})\n"
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        self.assertLen(_reasons(upgrade), 1)

    @parameterized.parameters(
        "x = ['rmsprop', 'adam']",
        "x = {'optimizer': 'rmsprop'}",
        "hp.Choice('optimizer', ['rmsprop', 'adam'])",
        "parser.add_argument('--optimizer', default='rmsprop')",
        "flags.DEFINE_string('optimizer', 'RMSProp', 'which')",
        "model.compile(optimizer={{choice(['rmsprop', 'adam'])}})",
        "def f():\n    return 'rmsprop'",
        "train(optimizer='rmsprop')",
    )
    def test_other_strings_are_reported(self, code):
        code = f"import keras\n{code}\n"
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        [finding] = _reasons(upgrade)
        self.assertIn("may reach Keras as an optimizer from here", finding.message)

    def test_other_strings_are_reported_once(self):
        code = "import keras\nx = ['rmsprop']\ny = 'rmsprop'\n\nf('rmsprop')\n"
        [finding] = _reasons(upgrade_source(code))
        self.assertEqual(finding.line, 2)
        self.assertEndsWith(finding.message, "; so it may in line 3, line 5")

    @parameterized.parameters(
        "tf.contrib.layers.optimize_loss(l, s, 0.1, 'RMSProp')",
        "tf.estimator.DNNClassifier(optimizer='RMSProp')",
    )
    def test_strings_that_mean_the_tf1_class_are_told_apart(self, code):
        [finding] = _reasons(upgrade_source(f"import tensorflow as tf\n{code}\n"))
        self.assertIn("means TF1's class", finding.message)

    @parameterized.parameters(
        "if x == 'rmsprop': pass",
        "x['rmsprop']",
        "x = {'rmsprop': 1}",
        "print('rmsprop')",
        "tf.name_scope('rmsprop')",
        "raise ValueError('rmsprop')",
        "f(name='RMSprop')",
        "__all__ = ['RMSprop']",
        "def f(name='RMSprop'): pass",
    )
    def test_strings_that_name_no_optimizer_stay_without_a_word(self, code):
        code = f"import tensorflow as tf\n{code}\n"
        self.assertEmpty(upgrade_source(code).findings)


class StockTest(parameterized.TestCase):
    @parameterized.parameters(
        ("tf.train.RMSPropOptimizer(0.1, epsilon=0)", "tf2.10"),
        ("tf.keras.optimizers.RMSprop(0.1, .9, 0.0)", "tf1.4"),
    )
    def test_no_epsilon_stays_for_it_would_be_read_as_the_default(self, call, assume):
        code = f"import tensorflow as tf\nmodel.compile({call})\n"
        upgrade = upgrade_source(code, to="keras", accept=_ALL, assume=assume)
        self.assertEqual(upgrade.code, code)
        [finding] = _reasons(upgrade)
        self.assertIn("write a small number", finding.message)

    def test_what_sets_a_rate_is_found_by_another_name_too(self):
        code = (
            "import keras\nfrom keras.callbacks import ReduceLROnPlateau as Reduce\n"
            "model.compile(keras.optimizers.RMSprop(lr=0.1, decay=1e-6))\n"
        )
        [note] = _reasons(upgrade_source(code), "note")
        self.assertIn("`ReduceLROnPlateau` in line 2 cannot set", note.message)


class LayoutTest(parameterized.TestCase):
    """Formatting and comments."""

    @parameterized.parameters(
        (
            """
            import keras
            opt = keras.optimizers.RMSprop(
                lr=0.1,  # found by search
                # the default
                rho=0.9  # not tuned
            )  # done
            """,
            """
            import keras
            import keras_rmsprop
            opt = keras_rmsprop.RMSprop(
                learning_rate=0.1,  # found by search
                # the default
                rho=0.9,  # not tuned
                update_rule="legacy",
                sparse_updates="dense"
            )  # done
            """,
        ),
        (
            """
            import keras
            opt = keras.optimizers.RMSprop(
                lr=0.1,
            )
            """,
            """
            import keras
            import keras_rmsprop
            opt = keras_rmsprop.RMSprop(
                learning_rate=0.1,
                update_rule="legacy",
                sparse_updates="dense",
            )
            """,
        ),
        (
            """
            import tensorflow as tf
            def f():
                opt = tf.train.RMSPropOptimizer(0.1,
                                                0.8,  # decay
                                                use_locking=True,  # slow
                                                name="x")
            """,
            """
            import tensorflow as tf
            import keras_rmsprop
            def f():
                opt = keras_rmsprop.RMSprop(learning_rate=0.1,
                                            rho=0.8,  # decay
                                            # slow
                                            name="x",
                                            epsilon=1e-10,
                                            update_rule="tf1")
            """,
        ),
        (
            """
            import tensorflow as tf
            opt = tf.train.RMSPropOptimizer(
                0.1,
                use_locking=False,  # never
            )
            model.compile(opt)
            """,
            """
            import tensorflow as tf
            import keras_rmsprop
            opt = keras_rmsprop.RMSprop(
                learning_rate=0.1,
                # never
                epsilon=1e-10,
                update_rule="tf1",
            )
            model.compile(opt)
            """,
        ),
    )
    def test_calls_keep_their_layout_and_comments(self, before, after):
        self.assertEqual(upgrade_source(_code(before)).code, _code(after))

    @parameterized.parameters(
        (
            """
            # Licence.
            \"\"\"Doc.\"\"\"
            from __future__ import annotations

            import os

            # Optimizers.
            from keras.optimizers import Adam, RMSprop

            opt = RMSprop(lr=0.1)
            """,
            """
            # Licence.
            \"\"\"Doc.\"\"\"
            from __future__ import annotations

            import os

            # Optimizers.
            from keras.optimizers import Adam
            import keras_rmsprop

            opt = keras_rmsprop.RMSprop(learning_rate=0.1, {})
            """,
        ),
        (
            """
            \"\"\"Doc.\"\"\"

            def f():
                from keras.optimizers import RMSprop
                return RMSprop(lr=0.1)
            """,
            """
            \"\"\"Doc.\"\"\"

            def f():
                from keras.optimizers import RMSprop
                import keras_rmsprop
                return keras_rmsprop.RMSprop(learning_rate=0.1, {})
            """,
        ),
        (
            """
            import os; import keras; opt = keras.optimizers.RMSprop(lr=0.1)
            """,
            """
            import keras_rmsprop
            import os; import keras; opt = keras_rmsprop.RMSprop(learning_rate=0.1, {})
            """,
        ),
        (
            """
            import keras_rmsprop
            # Ours.
            from keras.optimizers import RMSprop
            import sys
            opt = RMSprop(lr=0.1)
            """,
            """
            import keras_rmsprop
            # Ours.
            import sys
            opt = keras_rmsprop.RMSprop(learning_rate=0.1, {})
            """,
        ),
        (
            """
            from keras.optimizers import (
                SGD,
                RMSprop,
            )
            opt = RMSprop(lr=0.1)
            """,
            """
            from keras.optimizers import (
                SGD,
            )
            import keras_rmsprop
            opt = keras_rmsprop.RMSprop(learning_rate=0.1, {})
            """,
        ),
        (
            """
            from keras.optimizers import RMSprop  # noqa: E402
            opt = RMSprop(lr=0.1)
            """,
            """
            from keras.optimizers import RMSprop  # noqa: E402
            import keras_rmsprop
            opt = keras_rmsprop.RMSprop(learning_rate=0.1, {})
            """,
        ),
        (
            """
            from keras.optimizers import RMSprop
            __all__ = ["RMSprop"]
            opt = RMSprop(lr=0.1)
            """,
            """
            from keras.optimizers import RMSprop
            import keras_rmsprop
            __all__ = ["RMSprop"]
            opt = keras_rmsprop.RMSprop(learning_rate=0.1, {})
            """,
        ),
        (
            """
            from keras.optimizers import RMSprop
            opt = RMSprop(lr=0.1)
            kinds = [RMSprop]
            """,
            """
            from keras.optimizers import RMSprop
            import keras_rmsprop
            opt = keras_rmsprop.RMSprop(learning_rate=0.1, {})
            kinds = [RMSprop]
            """,
        ),
    )
    def test_imports_are_added_and_taken_out_in_place(self, before, after):
        after = _code(after).format(_LEGACY)
        self.assertEqual(upgrade_source(_code(before)).code, after)

    def test_imports_of_a_package_stay_when_asked_to(self):
        code = "from keras.optimizers import RMSprop\nopt = RMSprop(lr=0.1)\n"
        upgrade = upgrade_source(code, keep_imports=True)
        self.assertStartsWith(upgrade.code, "from keras.optimizers import RMSprop\n")

    @parameterized.parameters("\n", "\r\n")
    def test_line_ends_are_those_of_the_file(self, end):
        code = end.join(["import keras", "x = keras.optimizers.RMSprop(lr=1.)", ""])
        after = upgrade_source(code).code
        self.assertEqual(after.count(end), 3)
        self.assertEqual(after.replace(end, "").count("\n"), 0)


class StaysTest(parameterized.TestCase):
    """Code that must stay as it is."""

    @parameterized.parameters(
        "from torch.optim import RMSprop\nopt = RMSprop(lr=0.1)\n",
        "from .optimizers import RMSprop\nopt = RMSprop(lr=0.1)\n",
        "class RMSprop: pass\nopt = RMSprop(lr=0.1)\n",
        "import keras_rmsprop\nopt = keras_rmsprop.RMSprop(0.1)\n",
        "import keras_rmsprop\nopt = keras_rmsprop.legacy.RMSprop(0.1)\n",
        "import compat_v1.train\nopt = compat_v1.train.RMSPropOptimizer(0.1)\n",
        "import keras, re\nre.compile('rmsprop')\n",
        "import keras\nopt = keras.optimizers.Adam(lr=0.1)\n",
        "import keras\nif name == 'rmsprop': pass\n",
        "import keras\n# keras.optimizers.RMSprop(lr=0.1)\n",
        "import keras\n'''keras.optimizers.RMSprop(lr=0.1)'''\n",
        "import keras\nclass A:\n    RMSprop = 1\nx.RMSprop(lr=0.1)\n",
        "import tensorflow as tf\ngetattr(tf.train, 'AdamOptimizer')\n",
        "",
    )
    def test_other_code_stays_without_a_word(self, code):
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        self.assertEmpty(upgrade.findings)

    @parameterized.parameters(
        ("tf.train.RMSPropOptimizer(**kwargs)", "`**kwargs`"),
        ("tf.train.RMSPropOptimizer(*args)", "`*args`"),
        ("tf.train.RMSPropOptimizer()", "`learning_rate` is missing"),
        ("tf.train.RMSPropOptimizer(0.1).minimize(loss)", "`.minimize`"),
        ("return tf.train.RMSPropOptimizer(0.1)", "is returned"),
        ("train(tf.train.RMSPropOptimizer(0.1))", "is passed to `train`"),
        (
            "opt = tf.train.RMSPropOptimizer(0.1)\n    opt.get_slot(v, 'rms')",
            "`.get_slot`",
        ),
        (
            "opt = tf.train.RMSPropOptimizer(0.1)\n"
            + "    op = opt.apply_gradients(pairs, global_step=step)",
            "`.apply_gradients`",
        ),
        (
            "self.opt = tf.train.RMSPropOptimizer(0.1)\n    self.opt.minimize(loss)",
            "`.minimize`",
        ),
        (
            "rate = tf.train.exponential_decay(1., s, 9, .9)\n"
            + "    opt = tf.train.RMSPropOptimizer(rate)",
            "computed by TensorFlow",
        ),
        ("getattr(tf.train, name)(0.1)", "look up RMSProp by its name"),
        ("kind = tf.train.RMSPropOptimizer", "used as a value"),
        ("class Mine(tf.keras.optimizers.RMSprop): pass", "is subclassed"),
        ("tf.keras.optimizers.RMSprop.from_config(c)", "attribute `from_config`"),
        ("x: tf.keras.optimizers.RMSprop = None", "annotation"),
        ("tf.keras.optimizers.RMSprop(lr=0.1, learning_rate=0.1)", "both `lr` and"),
        ("tf.keras.optimizers.RMSprop(lr=0.1, unheard_of=0.1)", "`unheard_of`"),
        ("tf.keras.optimizers.RMSprop(0.1, 0.9, 1e-8)", "third positional"),
        ("tf.keras.optimizers.RMSprop(0.1, momentum=m())", "momentum"),
        ("tf.keras.optimizers.RMSprop(0.1, 0.9, rho=0.8)", "`rho` is given twice"),
        (
            "tf.keras.optimizers.legacy.RMSprop(0.1, clipnorm=1., clipvalue=1.)",
            "only one of `clipnorm` and `clipvalue`",
        ),
        (
            "tf.keras.optimizers.RMSprop(schedules.A(0.1), decay=0.1)",
            "make one learning-rate schedule of both",
        ),
        (
            "opt = tf.keras.optimizers.RMSprop(lr=0.1)\n    opt.get_updates(l, p)",
            "`.get_updates`",
        ),
        ("x = f'{tf.keras.optimizers.RMSprop(lr=0.1)}'", "inside an f-string"),
        ("tf.keras.optimizers.get(name or 'rmsprop')", "the string 'rmsprop'"),
        ("optimizer = 'rmsprop'", "the string 'rmsprop'"),
        ("Classifier(optimizer='rmsprop')", "the string 'rmsprop'"),
        ("def g(optimizer='rmsprop'): pass", "the string 'rmsprop'"),
        ("other.train.RMSPropOptimizer(0.1)", "what `other.train"),
        (
            "keras_rmsprop = 1\n    opt = tf.train.RMSPropOptimizer(0.1)",
            "the name `keras_rmsprop` means something else",
        ),
        (
            "opt = (tf.train  # old\n        .RMSPropOptimizer)(0.1)",
            "a comment inside the name",
        ),
    )
    def test_what_cannot_be_decided_stays_and_is_reported(self, body, reason):
        code = (
            "import tensorflow as tf\n"
            "from tensorflow.keras.optimizers import schedules\n"
            f"def f(other, **kwargs):\n    {body}\n"
            "# Such as RMSProp.\n"
        )
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        [finding] = _reasons(upgrade)
        self.assertIn(reason, finding.message)
        self.assertBetween(finding.line, 4, code.count("\n"))

    @parameterized.parameters(
        "from keras.optimizers import *\nopt = RMSprop(lr=0.1)\n",
        "import tf_keras\nopt = tf_keras.optimizers.RMSprop(0.1)\n",
        "import tf_keras\nmodel.compile('rmsprop')\n",
        "def f(model):\n    model.compile(optimizer='rmsprop')\n",
        "import tensorflow as tf\ndef f(tf):\n    tf.train.RMSPropOptimizer(0.1)\n",
        "try:\n    from keras.optimizers import RMSprop\n"
        "except ImportError:\n    RMSprop = None\nopt = RMSprop(0.1)\n",
    )
    def test_classes_of_unclear_origin_stay_and_are_reported(self, code):
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        self.assertLen(_reasons(upgrade), 1)

    @parameterized.parameters(
        "opt = keras.optimizers.RMSprop(0.1)",
        "opt = keras.optimizers.RMSprop(0.1, 0.9, weight_decay=1e-4)",
        "model.compile('rmsprop')",
    )
    def test_stock_keras_stays_stock_keras(self, code):
        code = f"import keras\n{code}\n"
        self.assertEqual(upgrade_source(code, to="keras", assume="keras3").code, code)
        self.assertEqual(upgrade_source(code, to="compat", assume="keras3").code, code)

    def test_what_is_keras_3s_already_stays_whatever_is_given_up(self):
        code = "import keras\nopt = keras.optimizers.RMSprop(0.1, 0.9, 0.5)\n"
        self.assertEqual(upgrade_source(code, to="keras", accept=_ALL).code, code)


class TF1UsesTest(parameterized.TestCase):
    @parameterized.parameters(
        "model.compile(opt, 'mse')",
        "model.compile(loss='mse', optimizer=opt)",
        "opt.apply_gradients(zip(gradients, variables))",
        "other = opt\nmodel.compile(other)",
        "model.compile(opt if x else None)",
        "model.compile(x or opt)",
        "def f(o): model.compile(o)\nf(opt)",
        "def f():\n  def g(): return opt\n  model.compile(g())",
        "if (o := opt): model.compile(o)",
    )
    def test_uses_that_both_apis_share_are_no_obstacle(self, use):
        code = f"import tensorflow as tf\nopt = tf.train.RMSPropOptimizer(0.1)\n{use}\n"
        self.assertIn("opt = keras_rmsprop.RMSprop(", upgrade_source(code).code)

    @parameterized.parameters(
        "opt.minimize(loss, global_step=step)",
        "op = opt.apply_gradients(pairs)",
        "opt.compute_gradients(loss)",
        "wrap(opt)",
    )
    def test_compat_does_not_mind_the_tf1_api(self, use):
        code = f"import tensorflow as tf\nopt = tf.train.RMSPropOptimizer(0.1)\n{use}\n"
        self.assertFalse(upgrade_source(code).changed)
        self.assertIn(
            "opt = compat_v1.train.RMSPropOptimizer(0.1)\n",
            upgrade_source(code, to="compat").code,
        )


class LearningRateTest(parameterized.TestCase):
    """Code that sets the learning rate of what is rewritten."""

    @parameterized.parameters(
        (
            "K.set_value(model.optimizer.lr, 0.5)",
            "`model.optimizer.learning_rate = 0.5`",
        ),
        ("x = K.get_value(m.optimizer.lr)", "`float(m.optimizer.learning_rate)`"),
        (
            "def f(m):\n    keras.backend.set_value(m.optimizer.learning_rate, x)",
            "`m.optimizer.learning_rate = x`",
        ),
        ("model.optimizer.lr = 0.5", "`model.optimizer.learning_rate`"),
        ("self.m.optimizer.lr.assign(0.5)", "`self.m.optimizer.learning_rate`"),
    )
    def test_by_the_backend_or_by_its_old_name_is_noted(self, line, instead):
        code = f"import keras\nopt = keras.optimizers.RMSprop(lr=0.1)\n{line}\n"
        [finding] = _reasons(upgrade_source(code), "note")
        self.assertIn(f"write {instead}", finding.message)
        self.assertEqual(finding.line, code.count("\n"))
        self.assertEmpty(_reasons(upgrade_source(code, to="compat"), "note"))
        code = code.replace("RMSprop", "Adam")
        self.assertEmpty(_reasons(upgrade_source(code), "note"))

    def test_by_a_callback_is_noted_where_decay_becomes_a_schedule(self):
        code = (
            "import keras\nopt = keras.optimizers.RMSprop(lr=0.1, decay=0.1)\n"
            "def f():\n    keras.callbacks.ReduceLROnPlateau(monitor='loss')\n"
        )
        [finding] = _reasons(upgrade_source(code), "note")
        self.assertIn("which `ReduceLROnPlateau` in line 4 cannot set", finding.message)
        code = code.replace("decay=0.1", "decay=0.")
        self.assertEmpty(_reasons(upgrade_source(code), "note"))


class EvidenceTest(parameterized.TestCase):
    """What the file shows of its time comes before what is assumed."""

    @parameterized.parameters(
        ("model.fit(x, nb_epoch=3)", "tf1.4", "`nb_epoch` in line 4"),
        ("model.predict_classes(x)", "tf2.10", "`predict_classes` in line 4"),
        ("from keras.layers.core import Dense", "tf2.10", "`keras.layers.core.Dense`"),
        ("import tensorflow as tf\ntf.placeholder(x)", "tf2.10", "`tf.placeholder`"),
        ("from keras import ops", "keras3", "`keras.ops` in line 4"),
        ("from keras.src import ops", "keras3", "`keras.src.ops` in line 4"),
        (
            "import os\nos.environ['KERAS_BACKEND'] = 'jax'",
            "keras3",
            '`KERAS_BACKEND="jax"`',
        ),
        (
            "os.environ['KERAS_BACKEND'] = 'theano'",
            "tf2.10",
            '`KERAS_BACKEND="theano"`',
        ),
    )
    def test_decides(self, line, era, why):
        code = f"import keras\nopt = keras.optimizers.RMSprop(0.1)\n\n{line}\n"
        plain = code.replace(line, "pass")
        for assume in ("tf1.4", "tf2.10", "keras3"):
            upgrade = upgrade_source(code, assume=assume)
            self.assertEqual(
                upgrade.code.replace(line, "pass"),
                upgrade_source(plain, assume=era).code,
            )
            [finding] = _reasons(upgrade, "assumed")
            self.assertIn(f", because of {why}", finding.message)

    @parameterized.parameters(("tf1.4", True), ("tf2.10", True), ("keras2", False))
    def test_keras_src_is_younger_than_what_was_before(self, assume, decides):
        code = "import keras\nfrom keras.src import layers\nm.compile('rmsprop')\n"
        [finding] = _reasons(upgrade_source(code, assume=assume), "assumed")
        self.assertEqual("because of `keras.src` in line 2" in finding.message, decides)

    @parameterized.parameters(
        "tf.compat.v1.placeholder(x)", "other.placeholder(x)", "from mine import ops"
    )
    def test_is_not_seen_where_it_is_none(self, line):
        code = (
            "import keras\nimport tensorflow as tf\n"
            f"opt = keras.optimizers.RMSprop(0.1)\n{line}\n"
        )
        [finding] = _reasons(upgrade_source(code), "assumed")
        self.assertNotIn("because of", finding.message)

    def test_equal_assumptions_are_said_once(self):
        code = "import keras\n" + "keras.optimizers.RMSprop(0.1)\n" * 8
        [finding] = _reasons(upgrade_source(code), "assumed")
        self.assertEqual(finding.line, 2)
        self.assertEndsWith(finding.message, "(7 more: lines 3, 4, 5, 6, 7, ...)")


class ClassAsValueTest(parameterized.TestCase):
    @parameterized.parameters(
        "kinds = {{'rmsprop': {}}}",
        "make = functools.partial({}, decay=0.9)",
        "def f(kind={}): pass",
        "class A:\n    kind = {}",
        "if isinstance(x, {}): pass",
        "def f(x: {}): pass",
        "class Mine({}):\n    def minimize(self, loss): return 1",
        "class Mine({}):\n    def __init__(self): super().__init__(0.1)",
    )
    def test_compat_has_the_same_class_for_tf1(self, use):
        code = f"import tensorflow as tf\n{use.format('tf.train.RMSPropOptimizer')}\n"
        upgrade = upgrade_source(code, to="compat")
        self.assertEqual(
            upgrade.code,
            "import tensorflow as tf\nimport compat_v1.train\n"
            f"{use.format('compat_v1.train.RMSPropOptimizer')}\n",
        )
        self.assertEmpty(_reasons(upgrade))
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        [finding] = _reasons(upgrade)
        self.assertIn("`--to compat` has the same class", finding.message)

    def test_compat_has_the_same_class_for_that_of_2017(self):
        code = "import tensorflow as tf\nkind = tf.contrib.keras.optimizers.RMSprop\n"
        upgrade = upgrade_source(code, to="compat")
        self.assertIn("kind = compat_v1.keras.optimizer_v1.RMSprop\n", upgrade.code)

    @parameterized.parameters(
        "class Mine(tf.train.RMSPropOptimizer):\n    def _apply_dense(self): pass",
        "class Mine(tf.train.RMSPropOptimizer):\n    def f(self): return self._lr",
        "tf.train.RMSPropOptimizer = Mine\nopt = tf.train.RMSPropOptimizer(0.1)",
        "mock.patch('tensorflow.train.RMSPropOptimizer')",
        "def f(x: 'tf.train.RMSPropOptimizer'): pass",
        "mock.patch('keras.optimizers.RMSprop')",
        "kind = tf.keras.optimizers.RMSprop",
        "class Mine(tf.keras.optimizers.legacy.RMSprop): pass",
    )
    def test_what_is_not_the_same_stays(self, use):
        code = f"import tensorflow as tf\n{use}\n"
        upgrade = upgrade_source(code, to="compat")
        self.assertEqual(upgrade.code, code)
        self.assertLen(_reasons(upgrade), 1)

    def test_no_target_is_advised_for_a_subclass_that_uses_what_is_private(self):
        code = (
            "import tensorflow as tf\n"
            "class Mine(tf.train.RMSPropOptimizer):\n    def f(self): return self._lr\n"
        )
        for to in ("keras-rmsprop", "compat"):
            [finding] = _reasons(upgrade_source(code, to=to))
            self.assertIn("by what is private: no class here has", finding.message)


class LazyImportsTest(parameterized.TestCase):
    @parameterized.parameters(
        (
            """
            def f():
                import tensorflow as tf
                return tf.keras.optimizers.RMSprop(lr=0.1)
            """,
            """
            def f():
                import tensorflow as tf
                import keras_rmsprop
                return keras_rmsprop.RMSprop({})
            """,
        ),
        (
            """
            def f():
                if x:
                    import tensorflow as tf
                    K = tf.keras
                    return K.optimizers.RMSprop(lr=0.1)
            """,
            """
            def f():
                if x:
                    import tensorflow as tf
                    import keras_rmsprop
                    K = tf.keras
                    return keras_rmsprop.RMSprop({})
            """,
        ),
        (
            """
            def f():
                import keras  # slow
                def g():
                    return lambda: keras.optimizers.RMSprop(lr=0.1)
            """,
            """
            def f():
                import keras  # slow
                import keras_rmsprop
                def g():
                    return lambda: keras_rmsprop.RMSprop({})
            """,
        ),
        (
            """
            import keras
            def f():
                import keras
                return keras.optimizers.RMSprop(lr=0.1)
            x = keras.optimizers.RMSprop(lr=0.1)
            """,
            """
            import keras
            import keras_rmsprop
            def f():
                import keras
                return keras_rmsprop.RMSprop({0})
            x = keras_rmsprop.RMSprop({0})
            """,
        ),
        (
            """
            def f(): import keras; return keras.optimizers.RMSprop(lr=0.1)
            """,
            """
            import keras_rmsprop
            def f(): import keras; return keras_rmsprop.RMSprop({})
            """,
        ),
    )
    def test_stay_in_their_functions(self, before, after):
        after = _code(after).format(f"learning_rate=0.1, {_LEGACY}")
        upgrade = upgrade_source(_code(before))
        self.assertEqual(upgrade.code, after)
        self.assertFalse(upgrade_source(after).changed)


class LookedUpTest(parameterized.TestCase):
    @parameterized.parameters(
        "tf.contrib.optimizer_v2.RMSPropOptimizer",
        "tf.RMSPropOptimizer",
        "tf.python.train.RMSPropOptimizer",
        "tf.python.keras.optimizer_v1.RMSprop",
        "tf.keras.api._v2.keras.optimizers.RMSprop",
    )
    def test_whatever_else_tensorflow_calls_rmsprop_is_reported(self, name):
        module, _, last = name.replace("tf.", "tensorflow.", 1).rpartition(".")
        for code in (
            f"import tensorflow as tf\nx = {name}(0.1)\n",
            f"from {module} import {last}\nx = {last}(0.1)\n",
            f"from {module} import {last} as new\nx = new(0.1)\n",
            f"import {module} as o\nx = o.{last}\n",
        ):
            for to in ("keras-rmsprop", "compat", "keras"):
                upgrade = upgrade_source(code, to=to)
                self.assertEqual(upgrade.code, code)
                [finding] = _reasons(upgrade)
                self.assertEqual(finding.line, 2)

    def test_the_class_of_contrib_is_told_from_that_of_tf1(self):
        name = "tf.contrib.optimizer_v2.RMSPropOptimizer"
        code = f"import tensorflow as tf\n{name}(0.1)\n"
        [finding] = _reasons(upgrade_source(code))
        self.assertIn("starts its mean square at epsilon", finding.message)

    @parameterized.parameters(
        "tf.contrib.optimizer_v2.RMSPropOptimizer(0.1)",
        "tf.RMSPropOptimizer(0.1)",
        "tf.train.__dict__[name](0.1)",
        "vars(tf.train)['RMSPropOptimizer'](0.1)",
        "eval('RMSprop(lr=0.1)')",
        "RMSPropOptimizer(0.1)",
    )
    def test_is_reported(self, code):
        code = f"import tensorflow as tf\nx = {code}  # RMSProp\ny = 'RMSProp'\n"
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        self.assertIn(2, [finding.line for finding in _reasons(upgrade)])

    @parameterized.parameters(
        "tf.train.__dict__['Adam']",
        "vars(x)[name]",
        "tf.raw_ops.ApplyRMSProp",
        "eval(x)",
    )
    def test_other_things_stay_without_a_word(self, code):
        code = f"import tensorflow as tf\nx = {code}\nif 'rmsprop' in x: pass\n"
        self.assertEmpty(upgrade_source(code).findings)


class UnreadTest(parameterized.TestCase):
    """TF1 optimizers that other code may use, in whatever way."""

    @parameterized.parameters(
        ("opt = {}", "`opt`, which this file never reads"),
        (
            "class A:\n  def __init__(self):\n    self.opt = {}",
            "`self.opt`, which this file never reads",
        ),
        (
            "class A(Base):\n  def f(self): self.o = {}\n  def g(self): print(self.o)",
            "`self.o`, whose class has the base `Base`",
        ),
        ("def make(): return {}\nmake().minimize(loss)", "`.minimize`"),
        ("def use(o): o.minimize(loss)\nuse({})", "`.minimize`"),
        ("g, d = {}, 1\ng.minimize(loss)", "`.minimize`"),
        ("if (o := {}): o.minimize(loss)", "`.minimize`"),
        ("class A:\n  O = {}\nA.O.minimize(l)", "`.minimize`"),
        ("class A(B):\n  O = {}\n  def f(s): m.compile(s.O)", "has the base `B`"),
        (
            "class A(B): pass\nclass C(A):\n  def f(self):\n    self.o = {}\n"
            "    m.compile(self.o)",
            "has the base `B`",
        ),
        (
            "class A:\n  def f(self):\n    self.o = {}\n    m.compile(self.o)\n"
            "a = A()\na.o.minimize(l)",
            "`.minimize`",
        ),
        ("opt = {}\nm.compile(opt)\n%time opt.minimize(l)", "that is no Python names"),
        ("opt = {}\nm.compile(opt)\nglobals()['opt'].minimize(l)", "line 4 looks up"),
        (
            "class A:\n  def f(self):\n    self.o = {}\n    m.compile(self.o)\n"
            "    getattr(self, 'o').minimize(l)",
            "line 6 looks up",
        ),
        ("def f(): return {}\nm.compile(f())\nregister(f)", "is returned in line 2"),
        ("def f(o={}):\n  o.minimize(l)", "`.minimize`"),
    )
    def test_stay_and_say_so(self, code, reason):
        code = code.format("tf.train.RMSPropOptimizer(0.1)")
        code = f"import tensorflow as tf\n{code}\n"
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        [finding] = _reasons(upgrade)
        self.assertIn(reason, finding.message)
        compiled = "compile" in code
        self.assertEqual(upgrade_source(code, to="compat").changed, not compiled)

    @parameterized.parameters(
        "def f():\n  opt = {}",
        "{}",
        "class A:\n  def f(self):\n    self.o = {}\n    m.compile(self.o)",
        "class B: pass\nclass A(B):\n  def f(s):\n    s.o = {}\n    m.compile(s.o)",
    )
    def test_is_not_said_of_what_only_this_file_can_read(self, code):
        code = code.format("tf.train.RMSPropOptimizer(0.1)")
        self.assertTrue(upgrade_source(f"import tensorflow as tf\n{code}\n").changed)

    @parameterized.parameters(
        "import abc\nclass A(abc.ABC):\n  def f(s):\n    s.o = {}\n    m.compile(s.o)",
        "class A:\n  O = {}\n  def f(self): m.compile(self.O)",
        "def f(o={}):\n  m.compile(o)",
    )
    def test_are_followed_through_classes_and_defaults(self, code):
        code = code.format("tf.train.RMSPropOptimizer(0.1)")
        self.assertTrue(upgrade_source(f"import tensorflow as tf\n{code}\n").changed)

    def test_compile_takes_no_tf1_optimizer_so_compat_refuses(self):
        code = (
            "import tensorflow as tf\n"
            "model.compile(optimizer=tf.train.RMSPropOptimizer(0.1))\n"
        )
        upgrade = upgrade_source(code, to="compat")
        self.assertEqual(upgrade.code, code)
        [finding] = _reasons(upgrade)
        self.assertIn("the default target", finding.message)
        self.assertTrue(upgrade_source(code).changed)


class SharingTest(parameterized.TestCase):
    """An optimizer of stock Keras 3 serves one model; all others any number."""

    @parameterized.parameters(
        ("opt = {}", "critic.compile(opt)", "combined.compile(opt)"),
        ("opt = {}", "critic.compile(opt)", "build(opt)"),
        ("opt = {}", "for m in models: m.compile(opt)"),
        ("opt = {}", "for i in x:\n  m = build()\n  m.compile(opt)"),
        ("opt = {}", "for i in x: build().compile(opt)"),
        ("opt = {}", "[m.compile(opt) for m in models]"),
        ("opt = {}", "def f():\n  m = b()\n  m.compile(opt)", "f()", "f()"),
        ("opt = {}", "def f():\n  m = b()\n  m.compile(opt)", "for i in x: f()"),
        ("opt = {}", "def f():\n  m = b()\n  m.compile(opt)", "Classifier(f)"),
        ("opt = {}", "def f(m, o): m.compile(o)", "f(a, opt)", "f(b, opt)"),
        ("opts = [{}, {}]", "for m, o in zip(ms, opts): m.compile(o)"),
        ("opts = dict(a={})", "grid = {{'optimizer': opts}}", "x = {{'o': {}}}"),
        (
            "class A:",
            "  def f(self):\n    self.o = {}\n    self.a.compile(self.o)",
            "  def g(self): self.b.compile(self.o)",
        ),
        (
            "opt = {}",
            "opt.apply_gradients(zip(g, a.trainable_variables))",
            "opt.apply_gradients(zip(h, b.trainable_variables))",
        ),
        ("opt = {}", "a.compile(opt)", "opt.apply_gradients(zip(h, b.weights))"),
        ("class A:\n  o = {}", "  def f(s): a.compile(A.o); b.compile(A.o)"),
        ("class A:\n  o = {}", "  def f(self): a.compile(self.o); b.compile(self.o)"),
        ("def f(o={}):", "  m = b()", "  m.compile(o)", "f()", "f()"),
        ("opt = {}", "def f(): return opt", "a.compile(f()); b.compile(f())"),
        ("def f(): return {}", "opt = f()", "a.compile(opt); b.compile(opt)"),
        (
            "opt = {}",
            "for m in models: opt.apply_gradients(zip(g, m.trainable_variables))",
        ),
    )
    def test_one_for_several_models_is_nothing_for_stock_keras(self, *lines):
        code = (
            "import keras\n"
            + "\n".join(lines).format(*["keras.optimizers.RMSprop(lr=0.1)"] * 2)
            + "\n"
        )
        reasons = _reasons(upgrade_source(code, to="keras", accept=_ALL))
        self.assertNotEmpty(reasons)
        for finding in reasons:
            self.assertIn("serves a single model: construct one", finding.message)
        for to in ("keras-rmsprop", "compat"):
            self.assertTrue(upgrade_source(code, to=to).changed)

    @parameterized.parameters(
        ("opt = {}", "a.compile(opt)", "opt = {}", "b.compile(opt)"),
        ("opt = {}", "if x: a.compile(opt)", "else: b.compile(opt)"),
        ("for i in x:", "  opt = {}", "  m = build()", "  m.compile(opt)"),
        ("def f():", "  opt = {}", "  m = b()", "  m.compile(opt)", "f()", "f()"),
        ("opt = {}", "def f():", "  m = b()", "  m.compile(opt)", "m = f()"),
        ("def f(o):", "  m = b()", "  m.compile(o)", "f({})", "f({})"),
        (
            "opt = {}",
            "for x in data:",
            "  v = m.trainable_variables",
            "  opt.apply_gradients(zip(g, v))",
        ),
        ("opt = {}", "m.compile(opt)", "opt.apply_gradients(zip(g, m.weights))"),
        ("def f(m, o): o.apply_gradients(zip(g, m.weights))", "o = {}")
        + ("f(a, o)", "f(m=a, o=o)"),
        ("opt = {}", "m.compile(opt)", "tf.train.Checkpoint(optimizer=opt, model=m)"),
        ("opt = {}", "m.compile(opt)", "print(opt)", "opt.learning_rate = 2"),
        ("def f(): return {}", "a.compile(f()); b.compile(f())"),
        ("def f():\n  o = {}\n  return o", "for m in ms: m.compile(f())"),
        ("m.compile(**{{'optimizer': {}}})",),
    )
    def test_one_for_each_model_is_rewritten(self, *lines):
        code = (
            "import keras\n"
            + "\n".join(lines).format(*["keras.optimizers.RMSprop(lr=0.1)"] * 2)
            + "\n"
        )
        upgrade = upgrade_source(code)
        self.assertEmpty(_reasons(upgrade))
        self.assertNotIn("keras.optimizers", upgrade.code)


class RatesTest(parameterized.TestCase):
    """Learning rates that TensorFlow computes, which Keras 3 does not take."""

    @parameterized.parameters(
        "lr = tf.Variable(0.1)\nopt = {}(lr)",
        "lr = tf.train.exponential_decay(1, s, 2, 3) if x else 0.1\nopt = {}(lr)",
        "def f(lr): return {}(lr)\nopt = f(tf.constant(0.1))",
        "def f(lr=tf.constant(0.1)): return {}(lr)\nopt = f()",
        "class A:\n  def f(self):\n    self.lr = tf.Variable(0)\n    opt = {}(self.lr)",
        "class A:\n  def __init__(self, lr): opt = {}(lr)\nA(tf.Variable(0.1))",
        "class A:\n  def __init__(self, x, lr): opt = {}(lr)\nA(1, lr=tf.Variable(0))",
        "lr = [tf.Variable(0.1)][0]\nopt = {}(lr * 2)",
    )
    def test_stay_with_a_word(self, code):
        for name in ("tf.train.RMSPropOptimizer", "tf.keras.optimizers.RMSprop"):
            before = f"import tensorflow as tf\n{code.format(name)}\nm.compile(opt)\n"
            upgrade = upgrade_source(before)
            self.assertEqual(upgrade.code, before)
            [finding] = _reasons(upgrade)
            self.assertIn("learning rate", finding.message)

    @parameterized.parameters(
        "lr = float(tf.constant(0.1))\nopt = {}(lr)",
        "lr = tf.keras.backend.get_value(x)\nopt = {}(lr)",
        "opt = {}(tf.constant(0.1).numpy())",
        "flags = tf.app.flags\nopt = {}(flags.FLAGS.lr)",
        "def f(lr): return {}(lr)\nopt = f(0.1); x = tf.Variable(0.1)",
    )
    def test_are_numbers_again_by_some_functions(self, code):
        for name in ("tf.train.RMSPropOptimizer", "tf.keras.optimizers.RMSprop"):
            before = f"import tensorflow as tf\n{code.format(name)}\nm.compile(opt)\n"
            self.assertTrue(upgrade_source(before).changed)

    def test_schedules_of_keras_are_taken(self):
        code = (
            "import tensorflow as tf\n"
            "lr = tf.keras.optimizers.schedules.ExponentialDecay(0.1, 2, 0.9)\n"
            "opt = tf.keras.optimizers.RMSprop(lr)\n"
        )
        self.assertTrue(upgrade_source(code).changed)


class LegacyUsesTest(parameterized.TestCase):
    @parameterized.parameters(
        "opt = hvd.DistributedOptimizer({})",
        "opt = {}\nopt = mixed.LossScaleOptimizer(opt)",
        "def make(): return {}\nmake().minimize(loss)",
        "g, d = {}, {}\ng.minimize(loss); d.minimize(loss)",
        "if (o := {}): o.variables()",
        "o = {}\no._set_hyper('rho', 1)",
        "o = {}\nsetattr(o, 'lr', 1)",
        "o = {}\no.apply_gradients(p, experimental_aggregate_gradients=False)",
    )
    def test_the_api_of_optimizer_v2_needs_compat(self, code):
        code = code.format(*["keras.optimizers.legacy.RMSprop(0.1)"] * 2)
        code = f"import keras\n{code}\n"
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        for finding in _reasons(upgrade):
            self.assertIn("only `--to compat` keeps that", finding.message)
        self.assertNotEmpty(_reasons(upgrade))
        self.assertTrue(upgrade_source(code, to="compat").changed)

    def test_get_updates_of_keras_1_is_reported_for_every_target(self):
        code = (
            "import keras\nopt = keras.optimizers.RMSprop(lr=0.1)\n"
            "updates = opt.get_updates(params, constraints, loss)\n"
        )
        for options in ({}, {"to": "compat"}, {"to": "compat", "assume": "tf1.4"}):
            upgrade = upgrade_source(code, **options)
            self.assertEqual(upgrade.code, code)
            [finding] = _reasons(upgrade)
            self.assertIn("`get_updates(loss, params)`", finding.message)
        code = code.replace("params, constraints, loss", "loss, params")
        self.assertTrue(upgrade_source(code, to="compat").changed)


class ReportsTest(parameterized.TestCase):
    def test_assumptions_name_the_line(self):
        code = "import keras\n\nopt = keras.optimizers.RMSprop(0.1)\n"
        [finding] = _reasons(upgrade_source(code), "assumed")
        self.assertEqual(finding.line, 3)
        self.assertIn("OptimizerV2", finding.message)

    def test_nothing_is_assumed_where_the_spelling_decides(self):
        code = "import keras\nopt = keras.optimizers.legacy.RMSprop(0.1)\n"
        self.assertEmpty(_reasons(upgrade_source(code), "assumed"))

    @parameterized.parameters(
        ("print 'hello'\n", 1),
        ("x = 1\nexec 'y = 2' in z\n", 2),
        ("x = (1\n", 1),
        ("x = 1\0\n", 0),
        ("a = 1\n\x0cb = 2\n", 0),
        ("(" * 20000 + ")" * 20000, 1),
        ("-" * 50000 + "1", 0),
        ("x" + "[0]" * 900, 0),
    )
    def test_what_cannot_be_parsed_is_reported_and_stays(self, code, line):
        code += "\nRMSprop\n"
        upgrade = upgrade_source(code)
        self.assertEqual(upgrade.code, code)
        [finding] = upgrade.findings
        self.assertEqual(finding.kind, "not handled")
        self.assertEqual(finding.line, line)

    @parameterized.parameters(
        ({"to": "torch"}, "to='torch' is not allowed; use 'keras-rmsprop', "),
        ({"assume": "tf3"}, "assume='tf3' is not allowed; use 'tf1.4', "),
        ({"accept": ["speed"]}, "accept='speed' is not allowed; use 'initial-acc"),
    )
    def test_unknown_options_are_refused(self, options, message):
        with self.assertRaisesRegex(ValueError, message):
            upgrade_source("", **options)

    def test_one_difference_must_come_in_a_collection_too(self):
        with self.assertRaisesRegex(TypeError, "must be a collection"):
            upgrade_source("", accept="sparse-gradients")

    def test_rewritten_code_parses(self):
        code = "import keras\nopt = keras.optimizers.RMSprop(\n# none\n)\n"
        cst.parse_module(upgrade_source(code).code)


if __name__ == "__main__":
    absltest.main()
