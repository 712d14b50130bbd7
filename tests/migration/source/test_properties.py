"""What holds for any code at all."""

import ast
from unittest import mock

from absl.testing import absltest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_rmsprop.migration.source import relevance, upgrade_source

_IMPORTS = {
    "import tensorflow as tf": [
        "tf.train.RMSPropOptimizer",
        "tf.keras.optimizers.RMSprop",
        "tf.keras.optimizers.legacy.RMSprop",
        "tf.compat.v1.keras.optimizers.RMSprop",
    ],
    "from keras.optimizers import Adam, RMSprop  # two": ["RMSprop"],
    "from tensorflow.keras import optimizers": ["optimizers.RMSprop"],
    "import keras": ["keras.optimizers.RMSprop", "keras.optimizers.rmsprop"],
    "from torch.optim import RMSprop as Other": ["Other"],
}
_ARGUMENTS = [
    "0.1",
    "lr=0.1",
    "learning_rate=rate",
    "learning_rate=args.rate * 2",
    "lr=tf.constant(0.1)",
    "decay=0.9",
    "decay=1e-6",
    "rho=0.8",
    "momentum=0.9",
    "momentum=args.momentum",
    "epsilon=None",
    "centered=True",
    "use_locking=True",
    "clipnorm=1.0",
    "name='x'",
    "*rest",
    "**kwargs",
]
_SEPARATORS = [", ", ",", ",  # why\n        ", ",\n        # what\n        "]
_USES = [
    "{}",
    "opt = {}",
    "self.opt = {}",
    "model.compile(optimizer={})",
    "model.compile({}, 'mse')",
    "return {}",
    "{}.minimize(loss)",
    "opt = {} if rate else None",
    "model.compile('rmsprop')",
    "opts = [{}]",
    'print(f"{{{}}}")',
    "opt.apply_gradients(pairs)",
]
# Statements of several lines that may have to do with the optimizers of programs.
_BYSTANDERS = [
    "def g(x):\n    return x + 1\n",
    "def train(opt):\n    opt.minimize(loss)\n",
    "def build():\n    model.compile(opt)\n",
    "for i in range(3):\n    f(i)\n",
    "class A:\n    def f(self):\n        self.opt.get_slot(v, 'rms')\n\n"
    "    def g(self):\n        return [\n            1\n        ]\n",
    "class B(A):\n    x = (\n        1)\n\n    def f(self): f(self); g(\n  1)\n",
    "def h():\n    global opt\n    opt = None\n",
    "def keras_rmsprop():\n    pass\n",
    "opt = wrap(\n    opt\n)\n",
    "def k(RMSprop, tf):\n    return tf\n",
    "def n():\n    import keras\n    keras.x(nb_epoch=1)\n",
    "rate = tf.constant(\n    1.0\n)\n",
    "x = (\n  1); y = (\n  2\n)\n",
    "@f\n@g\ndef opts():\n    pass\n",
]
_OPTIONS = st.fixed_dictionaries(
    {
        "to": st.sampled_from(["keras-rmsprop", "keras", "compat"]),
        "assume": st.sampled_from(["tf1.4", "tf2.10", "keras2", "keras3"]),
        "accept": st.sets(
            st.sampled_from(
                ["initial-accumulator", "epsilon-placement", "sparse-gradients"]
            )
        ),
        "keep_imports": st.booleans(),
    }
)


@st.composite
def _calls(draw, names):
    arguments = draw(st.lists(st.sampled_from(_ARGUMENTS), max_size=4, unique=True))
    arguments.sort(key=lambda each: ("=" in each, each.startswith("**")))
    inside = arguments[0] if arguments else ""
    for each in arguments[1:]:
        inside += draw(st.sampled_from(_SEPARATORS)) + each
    around = draw(st.sampled_from(["{}", "\n        {}\n    ", "\n        {},\n    "]))
    if not inside or "#" in inside.rpartition("\n")[2]:
        around = "{}"
    name = draw(st.sampled_from(names))
    return draw(st.sampled_from(_USES)).format(f"{name}({around.format(inside)})")


@st.composite
def _programs(draw):
    lines = draw(st.lists(st.sampled_from(list(_IMPORTS)), min_size=1, unique=True))
    names = [name for line in lines for name in _IMPORTS[line]]
    calls = draw(st.lists(_calls(names), min_size=1, max_size=4))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    body = [f"    {call}  # end" for call in calls]
    code = "\n".join(['"""Doc."""', *lines, "", "def f(self):", *body, ""])
    return code.replace("\n", end)


def _parses(code):
    try:
        ast.parse(code)
    except SyntaxError:
        return False
    return True


class PropertiesTest(absltest.TestCase):
    @settings(max_examples=150, deadline=None)
    @given(_programs().filter(_parses), _OPTIONS)
    def test_a_second_upgrade_changes_nothing(self, code, options):
        once = upgrade_source(code, **options)
        twice = upgrade_source(once.code, **options)
        self.assertEqual(twice.code, once.code)

    @settings(max_examples=150, deadline=None)
    @given(_programs().filter(_parses), _OPTIONS)
    def test_the_result_parses_and_keeps_every_comment(self, code, options):
        after = upgrade_source(code, **options).code
        ast.parse(after)
        for comment in ("# why", "# what", "# two", "# end"):
            self.assertEqual(after.count(comment), code.count(comment))
        self.assertEqual("\r\n" in code, "\r\n" in after)

    @settings(max_examples=80, deadline=None)
    @given(
        st.lists(_programs(), min_size=1, max_size=3),
        st.lists(st.sampled_from(_BYSTANDERS), max_size=6),
        st.randoms(use_true_random=False),
        _OPTIONS,
    )
    def test_what_is_left_out_as_irrelevant_makes_no_difference(
        self, programs, bystanders, random, options
    ):
        pieces = [*programs, *bystanders]
        random.shuffle(pieces)
        code = "\n".join(pieces).replace("\r\n", "\n")
        if not _parses(code):
            return
        found = upgrade_source(code, **options)
        with mock.patch.object(relevance.Relevance, "others", lambda self: []):
            self.assertEqual(upgrade_source(code, **options), found)

    @settings(max_examples=100, deadline=None)
    @given(st.text(), _OPTIONS)
    def test_text_without_rmsprop_stays(self, text, options):
        if "rmsprop" not in text.lower():
            self.assertEqual(upgrade_source(text, **options).code, text)

    @settings(max_examples=50, deadline=None)
    @given(_programs().filter(_parses), _OPTIONS)
    def test_code_without_rmsprop_stays(self, code, options):
        for name in ("RMSPropOptimizer", "RMSprop", "rmsprop"):
            code = code.replace(name, "Adam")
        self.assertEqual(upgrade_source(code, **options).code, code)


if __name__ == "__main__":
    absltest.main()
