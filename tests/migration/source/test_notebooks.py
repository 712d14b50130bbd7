"""Notebooks and files with magics: code changes, everything else stays."""

import copy
import json

import hypothesis
from absl.testing import absltest, parameterized
from hypothesis import strategies as st

from keras_rmsprop.migration.source import upgrade_source
from keras_rmsprop.migration.source.notebooks import upgrade_notebook
from keras_rmsprop.migration.source.options import Options

_LEGACY = 'update_rule="legacy", sparse_updates="dense"'


def _notebook(*sources, **layout):
    """A notebook of code cells; a source that starts with '#md' is Markdown."""
    layout = {"indent": 1, "ensure_ascii": False, **layout}
    cells = [
        {
            "cell_type": "markdown" if source.startswith("#md") else "code",
            "metadata": {},
            "source": source.splitlines(keepends=True),
            "outputs": [{"text": ["RMSprop(lr=0.1)\n"]}],
            "id": f"cell-{index}",
        }
        for index, source in enumerate(sources)
    ]
    return json.dumps({"cells": cells, "metadata": {}, "nbformat": 4}, **layout) + "\n"


def _sources(notebook):
    return ["".join(cell["source"]) for cell in json.loads(notebook)["cells"]]


def _upgrade(notebook, **options):
    return upgrade_notebook(notebook, Options(**options))


class RewrittenTest(parameterized.TestCase):
    @parameterized.parameters(
        (
            ["from keras.optimizers import RMSprop", "opt = RMSprop(lr=0.1)"],
            ["import keras_rmsprop", "opt = keras_rmsprop.RMSprop({})"],
        ),
        (
            ["#md Why", "%matplotlib inline\nimport keras\n", "K = keras.optimizers"]
            + ["!ls\nopt = K.RMSprop(lr=0.1)\n!ls"],
            ["#md Why", "%matplotlib inline\nimport keras\nimport keras_rmsprop\n"]
            + ["K = keras.optimizers", "!ls\nopt = keras_rmsprop.RMSprop({})\n!ls"],
        ),
        (
            ["%%time\nimport keras\nkeras.optimizers.RMSprop(lr=0.1)"],
            ["%%time\nimport keras\nimport keras_rmsprop\n"]
            + ["keras_rmsprop.RMSprop({})"],
        ),
        (
            ["import keras", "%%bash\nls 'a", "opt = keras.optimizers.RMSprop(lr=0.1)"],
            ["import keras\nimport keras_rmsprop", "%%bash\nls 'a"]
            + ["opt = keras_rmsprop.RMSprop({})"],
        ),
        (
            ["import keras", "print 'of Python 2'", "keras.optimizers.RMSprop(lr=0.1)"],
            ["import keras\nimport keras_rmsprop", "print 'of Python 2'"]
            + ["keras_rmsprop.RMSprop({})"],
        ),
        (
            ["import keras; print 'x'\nfrom keras import optimizers\nprint 'y'"]
            + ["optimizers.RMSprop(lr=0.1)"],
            ["import keras; print 'x'\nimport keras_rmsprop\nprint 'y'"]
            + ["keras_rmsprop.RMSprop({})"],
        ),
        (
            ["files = !ls\nx = ('%d'\n % 3)\ns = '''\n!no\n'''\nkeras?\nimport keras\n"]
            + ["if x:\n    !pip install a \\\n      b\n    %time f()\n"]
            + ["keras.optimizers.RMSprop(lr=0.1)"],
            ["files = !ls\nx = ('%d'\n % 3)\ns = '''\n!no\n'''\nkeras?\nimport keras\n"]
            + ["import keras_rmsprop\n"]
            + ["if x:\n    !pip install a \\\n      b\n    %time f()\n"]
            + ["keras_rmsprop.RMSprop({})"],
        ),
    )
    def test_names_are_followed_from_cell_to_cell(self, before, after):
        after = "".join(after).format(f"learning_rate=0.1, {_LEGACY}")
        self.assertEqual("".join(_sources(_upgrade(_notebook(*before)).code)), after)

    @parameterized.parameters(
        {"indent": 1},
        {"indent": None},
        {"indent": "\t"},
        {"separators": (",", ":")},
        {"ensure_ascii": True},
    )
    def test_the_layout_of_the_json_stays(self, **layout):
        notebook = _notebook("é = 1\nimport keras", "keras.optimizers.RMSprop(lr=1.)")
        before = _notebook(*_sources(notebook), **layout)
        after = _upgrade(before).code
        self.assertEqual(after, _notebook(*_sources(after), **layout))
        self.assertIn("keras_rmsprop.RMSprop(", after)

    def test_sources_may_be_single_strings(self):
        notebook = json.loads(
            _notebook("import keras", "keras.optimizers.RMSprop(lr=1)")
        )
        for cell in notebook["cells"]:
            cell["source"] = "".join(cell["source"])
        after = json.loads(_upgrade(json.dumps(notebook)).code)
        self.assertEqual(
            after["cells"][0]["source"], "import keras\nimport keras_rmsprop"
        )

    def test_notebooks_of_format_3_are_known(self):
        cells = json.loads(_notebook("import keras", "keras.optimizers.RMSprop(lr=1)"))
        for cell in cells["cells"]:
            cell["input"] = cell.pop("source")
        text = json.dumps({"worksheets": [{"cells": cells["cells"]}], "nbformat": 3})
        self.assertIn("keras_rmsprop.RMSprop(", _upgrade(text).code)

    def test_findings_name_cell_and_line(self):
        upgrade = _upgrade(
            _notebook("#md", "import keras\n", "x = 1\nkeras.optimizers.RMSprop(0.1)")
        )
        self.assertEqual(
            [(each.kind, each.cell, each.line) for each in upgrade.findings],
            [("assumed", 3, 2), ("rewritten", 3, 2)],
        )
        self.assertStartsWith(upgrade.findings[0].at("a.ipynb"), "a.ipynb:cell 3:2: ")

    def test_messages_name_cell_and_line(self):
        [finding] = _upgrade(
            _notebook(
                "import tensorflow as tf\nopt = tf.train.RMSPropOptimizer(0.1)",
                "opt.minimize(loss)",
            )
        ).findings
        self.assertIn("`.minimize` in cell 2, line 1", finding.message)

    def test_a_file_with_magics_is_rewritten(self):
        before = "%matplotlib inline\nimport keras\nkeras.optimizers.RMSprop(lr=0.1)\n"
        self.assertEqual(
            upgrade_source(before).code,
            "%matplotlib inline\nimport keras\nimport keras_rmsprop\n"
            f"keras_rmsprop.RMSprop(learning_rate=0.1, {_LEGACY})\n",
        )


class StaysTest(parameterized.TestCase):
    @parameterized.parameters(
        (_notebook("%time opt = RMSprop(0.1)"), "no Python 3 mentions RMSProp"),
        (_notebook("%%writefile a.py\nopt = RMSprop(0.1)"), "mentions RMSProp"),
        (_notebook("print 'RMSprop'"), "no Python 3 mentions RMSProp"),
        ('{"cells": ["RMSprop"]}', "no notebook that can be read"),
        ('{"cells": [', "no notebook that can be read"),
        ("[1, 2]", "no notebook that can be read"),
        (
            '{"cells": [], "metadata": {"kernelspec": {"language": "R"}}}',
            "a notebook in r",
        ),
    )
    def test_what_is_not_handled_is_reported_and_stays(self, text, reason):
        upgrade = _upgrade(text)
        self.assertEqual(upgrade.code, text)
        [finding] = upgrade.findings
        self.assertEqual(finding.kind, "not handled")
        self.assertIn(reason, finding.message)

    def test_an_import_that_a_hidden_line_needs_stays(self):
        before = [
            "from keras.optimizers import RMSprop",
            "opt = RMSprop(lr=0.1)",
            "%time f(RMSprop)",
        ]
        after = _sources(_upgrade(_notebook(*before)).code)
        self.assertStartsWith(after[0], before[0])

    def test_markdown_outputs_and_metadata_are_nobodys_business(self):
        text = _notebook("#md import keras; keras.optimizers.RMSprop(lr=0.1)", "x = 1")
        self.assertEqual(_upgrade(text).code, text)
        self.assertEmpty(_upgrade(text).findings)


_LINES = st.sampled_from(
    [
        "import keras",
        "from keras.optimizers import RMSprop",
        "from keras.optimizers import Adam, RMSprop  # é",
        "opt = RMSprop(lr=0.1)  # \u2028 odd",
        "model.compile('rmsprop')",
        "if x:\n    opt = keras.optimizers.RMSprop(\n        lr=0.1,\n    )",
        "%matplotlib inline",
        "!pip install keras",
        "# hidden cell 1",
        "# hidden 0",
        "pass  # hidden 0",
        "x = '''\n%no magic\n'''",
        "print 'two'",
        "def f(:",
        "",
        "    y = 1",
        '"""Doc."""',
        "from __future__ import division",
    ]
)
_CELLS = st.builds(
    lambda first, lines, last: first + "\n".join(lines) + last,
    st.sampled_from(["", "", "%%time\n", "%%bash\n", "%%capture out\n", "#md "]),
    st.lists(_LINES, max_size=4),
    st.sampled_from(["", "\n", "\n\n"]),
)
_OPTIONS = st.fixed_dictionaries(
    {
        "to": st.sampled_from(["keras-rmsprop", "compat"]),
        "assume": st.sampled_from(["tf1.4", "tf2.10", "keras2", "keras3"]),
    }
)


class PropertiesTest(absltest.TestCase):
    @hypothesis.settings(max_examples=150, deadline=None)
    @hypothesis.given(
        st.lists(_CELLS, max_size=5),
        _OPTIONS,
        st.sampled_from([1, None, "\t"]),
        st.booleans(),
    )
    def test_only_sources_of_code_cells_change_byte_for_byte(
        self, sources, options, indent, ensure_ascii
    ):
        layout = {"indent": indent, "ensure_ascii": ensure_ascii}
        before = _notebook(*sources, **layout)
        after = _upgrade(before, **options).code
        expected = json.loads(before)
        for old, new in zip(expected["cells"], json.loads(after)["cells"], strict=True):
            if old["cell_type"] == "code":
                old["source"] = copy.deepcopy(new["source"])
        # The same layout means that nothing but these values is another.
        self.assertEqual(after, json.dumps(expected, **layout) + "\n")

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(st.lists(_CELLS, max_size=5), _OPTIONS)
    def test_a_second_upgrade_changes_nothing(self, sources, options):
        once = _upgrade(_notebook(*sources), **options).code
        self.assertEqual(_upgrade(once, **options).code, once)

    @hypothesis.settings(max_examples=100, deadline=None)
    @hypothesis.given(st.lists(_CELLS, max_size=5), _OPTIONS)
    def test_magics_shell_lines_and_comments_stay(self, sources, options):
        before = "\n".join(sources)
        after = "\n".join(_sources(_upgrade(_notebook(*sources), **options).code))
        for line in ("%matplotlib inline", "!pip install keras", "print 'two'"):
            self.assertEqual(after.count(line), before.count(line))
        for comment in ("# hidden cell 1", "# hidden 0", "# é", "%%time", "%%bash"):
            self.assertEqual(after.count(comment), before.count(comment))


if __name__ == "__main__":
    absltest.main()
