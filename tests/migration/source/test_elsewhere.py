"""TF1 optimizers that are kept where other modules of a project may read them."""

import os
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from keras_rmsprop.migration.source import upgrade_paths

_ALL = ("initial-accumulator", "epsilon-placement", "sparse-gradients")
_TF = "import tensorflow as tf\n"
_NEW = "tf.train.RMSPropOptimizer(0.1)"
_CONSTANT = {"config.py": f"{_TF}opt = {_NEW}\n"}
_IN_PACKAGE = {"p/__init__.py": "", "p/config.py": _CONSTANT["config.py"]}
_SET = f"  def __init__(self): self.opt = {_NEW}\n"
_BASE = {"base.py": f"{_TF}class Base:\n{_SET}"}
_BASE_THAT_COMPILES = f"{_BASE['base.py']}  def f(self): self.m.compile(self.opt)\n"
_SUB = {"a.py": f"{_TF}from base import Base\nclass A(Base):\n{_SET}"}
_OF_CLASS = {"a.py": f"{_TF}class C:\n  OPT = {_NEW}\n"}
_COMPILES = "from config import opt\na.compile(opt)\n"


class ElsewhereTest(parameterized.TestCase):
    def _written(self, files):
        root = self.enter_context(tempfile.TemporaryDirectory())
        for name, code in files.items():
            path = os.path.join(root, name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w") as file:
                file.write(code)
        return root

    def _upgraded(self, files, **options):
        """Returns the `Upgrade` of the only file that mentions RMSProp."""
        [file] = upgrade_paths([self._written(files)], **options)
        return file.upgrade

    @parameterized.parameters(
        {"t.py": "from config import opt\nm.compile(opt)\n"},
        {"t.py": "import config as c\nm.compile(optimizer=c.opt)\n"},
        {"t.py": "import config\nconfig.opt.apply_gradients(pairs)\n"},
        {"t.py": "from config import *\nm.compile(opt)\n"},
        {"t.py": "def f(a):\n  import config\n  g(a.opt)\n  m.compile(config.opt)"},
        {"b.py": "from config import opt as o\n", "c.py": "import b\nm.compile(b.o)\n"},
        {"t.py": _COMPILES, "u.py": _COMPILES},
        {"t.py": _COMPILES, "other.py": "def f(x): x.opt.minimize(l)\n"},
    )
    def test_a_constant_is_rewritten_where_all_that_read_it_would_be(self, **files):
        upgrade = self._upgraded(_CONSTANT | files)
        self.assertTrue(upgrade.changed)

    @parameterized.parameters(
        ({"t.py": "import config\n"}, "which the project never reads"),
        ({"t.py": "from config import opt\nopt.minimize(l)\n"}, "line 2 of t.py"),
        ({"t.py": "import config as c\nc.opt.minimize(l)\n"}, "`.minimize`"),
        ({"t.py": "from config import *\nopt.minimize(l)\n"}, "`.minimize`"),
        (
            {"b.py": "from config import *\n", "t.py": "import b\nb.opt.minimize(l)\n"},
            "line 2 of t.py",
        ),
        (
            {"b.py": "from config import opt as o\n", "t.py": "import b\nb.o.lr\n"},
            "line 2 of t.py",
        ),
        ({"t.py": "def f():\n  from config import opt\n  opt.lr\n"}, "line 3 of t.py"),
        ({"t.py": "import config\nm.compile(config.opt)\nf(config)\n"}, "line 3 of t"),
        (
            {"t.py": "c = importlib.import_module('config')\nc.opt.minimize(l)\n"},
            "line 2 of t.py",
        ),
        ({"t.py": "from config import opt\nprint 'x'\n"}, "`t.py` cannot be read"),
        (
            {
                "t.ipynb": '{"cells": [{"cell_type": "code", "source": '
                '"from config import opt\\nopt.minimize(l)"}]}'
            },
            "cell 1, line 2 of t.ipynb",
        ),
    )
    def test_a_constant_stays_for_any_other_reading(self, files, reason):
        upgrade = self._upgraded(_CONSTANT | files)
        self.assertFalse(upgrade.changed)
        [finding] = upgrade.findings
        self.assertIn(reason, finding.message)

    @parameterized.parameters(
        ({"t.py": f"{_COMPILES}b.compile(opt)\n"}, ", in line 2 of t.py and line 3"),
        ({"t.py": _COMPILES, "u.py": _COMPILES, "main.py": "import t, u\n"}, ""),
    )
    def test_a_constant_for_several_models_is_nothing_for_stock_keras(
        self, files, where
    ):
        files = _CONSTANT | files
        self.assertTrue(self._upgraded(files).changed)
        upgrade = self._upgraded(files, to="keras", accept=_ALL)
        self.assertFalse(upgrade.changed)
        [finding] = upgrade.findings
        self.assertIn(f"serves several models{where}", finding.message)

    @parameterized.parameters(
        ({"p/t.py": "from . import config\nm.compile(config.opt)\n"}, True),
        ({"p/t.py": "from .config import opt\nm.compile(opt)\n"}, True),
        ({"p/q/t.py": "from ..config import (\n  opt)\nm.compile(opt)\n"}, True),
        ({"t.py": "import p.config\nm.compile(p.config.opt)\n"}, True),
        ({"t.py": "import p.config\np.config.opt.minimize(l)\n"}, False),
        ({"p/t.py": "from .config import opt\nopt.minimize(l)\n"}, False),
        (
            {"p/__init__.py": "from . import config\nm.compile(config.opt)\n"}
            | {"t.py": "import p\np.config.opt.minimize(l)\n"},
            False,
        ),
        (
            {"p/__init__.py": "from .config import opt\n"}
            | {"t.py": "import p\np.opt.minimize(l)\n"},
            False,
        ),
        (
            {"p/__init__.py": "from .config import opt\n"}
            | {"t.py": "from p import opt\nm.compile(opt)\n"},
            True,
        ),
        # Its own `config`, which has nothing to do with that of the package.
        ({"q/config.py": "", "q/t.py": "from config import opt\nopt.lr\n"}, False),
    )
    def test_modules_of_packages_are_followed(self, files, changed):
        self.assertEqual(self._upgraded(_IN_PACKAGE | files).changed, changed)

    @parameterized.parameters(
        (_SUB, "class Base:\n  def f(self): self.m.compile(self.opt)\n", True),
        (_SUB, "class Base:\n  def f(self): self.opt.minimize(l)\n", False),
        (
            _SUB,
            "import x\nclass Base(x.Y):\n  def f(self): m.compile(self.opt)\n",
            False,
        ),
        (_SUB, "class Base: pass\n", False),
    )
    def test_a_base_in_another_module_reads_the_attribute(self, files, base, changed):
        self.assertEqual(self._upgraded(files | {"base.py": base}).changed, changed)

    @parameterized.parameters(
        ("from base import Base\nclass A(Base):\n{}m.compile(self.opt)\n", True),
        ("import base\nclass A(base.Base):\n{}self.opt.minimize(l)\n", False),
        ("from base import Base as B\nclass A(B):\n{}self.opt.minimize(l)\n", False),
        ("import base\nB = base.Base\nclass A(B):\n{}self.opt.minimize(l)\n", False),
        ("import base\nb = base.Base()\nb.opt.minimize(l)\n", False),
        ("import base\ngetattr(base.Base(), 'opt').minimize(l)\n", False),
    )
    def test_who_uses_a_class_reads_its_attribute(self, code, changed):
        code = code.format("  def f(self): ")
        self.assertEqual(self._upgraded(_BASE | {"a.py": code}).changed, changed)

    @parameterized.parameters(
        ("import base\nclass X:\n  def f(self): self.opt.minimize(l)\n", True),
        ("import base, numpy\nnumpy.opt.minimize(l)\n", True),
        ("class X:\n  def f(x): x.opt.minimize(l)\n", True),
        (
            "import base\nclass X:\n  def f(self): self.opt.minimize(l)\n"
            "class Y(X, base.Base): pass\n",
            False,
        ),
    )
    def test_other_classes_have_their_own(self, code, changed):
        files = {"base.py": _BASE_THAT_COMPILES, "a.py": code}
        self.assertEqual(self._upgraded(files).changed, changed)

    @parameterized.parameters(
        ("from a import C\nm.compile(C.OPT)\n", True),
        ("from a import C\nC.OPT.minimize(l)\n", False),
        ("from a import C\nclass D(C):\n  def f(self): self.OPT.minimize(l)\n", False),
    )
    def test_a_constant_of_a_class_is_an_attribute(self, code, changed):
        self.assertEqual(self._upgraded(_OF_CLASS | {"b.py": code}).changed, changed)

    @parameterized.parameters(
        ({"t.py": "from made import make\nm.compile(make())\n"}, True),
        ({"t.py": "import made\nm.compile(made.make())\n"}, True),
        ({"t.py": "from made import make\nmake().minimize(l)\n"}, False),
        ({"t.py": "import made\nf(made.make)\nm.compile(made.make())\n"}, False),
        ({"t.py": "import made\nmade.make()\ng(made)\n"}, False),
        (
            {"b.py": "from made import make as new\n"}
            | {"t.py": "import b\nb.new().minimize(l)\n"},
            False,
        ),
        ({"t.py": "from made import make\na.compile(make()); b.compile(make())"}, True),
        (
            {"t.py": "from made import make\no = make()\na.compile(o); b.compile(o)"},
            True,
        ),
        ({}, False),
    )
    def test_what_a_function_makes_goes_where_it_is_called(self, files, changed):
        made = {"made.py": f"{_TF}def make():\n  opt = {_NEW}\n  return opt\n"}
        self.assertEqual(self._upgraded(made | files).changed, changed)

    def test_compat_takes_none_that_another_module_compiles(self):
        upgrade = self._upgraded(_CONSTANT | {"t.py": _COMPILES}, to="compat")
        self.assertFalse(upgrade.changed)
        [finding] = upgrade.findings
        self.assertIn("line 2 of t.py", finding.message)

    @parameterized.parameters(
        ({"p/b.py": "from .a import RMSprop\n"}, True),
        ({"b.py": "import p.a\nopt = p.a.RMSprop\n"}, True),
        ({"b.py": "from p.a import *\nRMSprop\n"}, True),
        ({"b.py": "from p.c import RMSprop\n"}, False),
        ({"b.py": "import p.a\n"}, False),
    )
    def test_an_import_stays_where_others_import_it_from_here(self, files, stays):
        line = "from keras.optimizers import RMSprop\n"
        files = {"p/a.py": f"{line}x = RMSprop(lr=0.1)\n", "p/c.py": ""} | files
        root = self._written(files)
        codes = {
            os.path.basename(each.path): each.upgrade.code
            for each in upgrade_paths([root])
        }
        self.assertEqual(line in codes["a.py"], stays)

    def test_other_files_are_read_only_where_something_is_kept(self):
        files = {"a.py": f"{_TF}m.compile({_NEW})\n", "b.py": "import a\n"}
        with mock.patch("keras_rmsprop.migration.source.project._bytes_of") as read:
            self.assertTrue(self._upgraded(files).changed)
        read.assert_not_called()


if __name__ == "__main__":
    absltest.main()
