"""The command: its exit status, and what it prints where."""

import os
import stat
import subprocess
import sys
import tempfile

from absl.testing import absltest, parameterized

_BEFORE = "import keras\nopt = keras.optimizers.RMSprop(0.1)\n"
_REPOSITORY = os.path.abspath(os.path.join(__file__, *[os.pardir] * 4))


class CommandTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = self.enter_context(tempfile.TemporaryDirectory())
        self.path = self._write("a.py", _BEFORE)

    def _write(self, name, code):
        path = os.path.join(self.root, name)
        with open(path, "w") as file:
            file.write(code)
        return path

    def _read(self, path):
        with open(path) as file:
            return file.read()

    def _run(self, *arguments, code=None):
        code = code or "from keras_rmsprop.migration import cli; cli.run()"
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            cwd=self.root,
            env={**os.environ, "PYTHONPATH": _REPOSITORY},
            check=False,
            capture_output=True,
            text=True,
        )
        self.assertNotIn("Traceback", done.stderr)
        return done

    @parameterized.parameters([[]], [["--diff"]])
    def test_without_write_it_prints_a_diff_and_writes_nothing(self, flags):
        done = self._run("upgrade", "a.py", *flags)
        self.assertEqual(done.returncode, 0)
        self.assertStartsWith(done.stdout, "--- a.py\n+++ a.py\n@@ -1,2 +1,3 @@\n")
        self.assertIn("+import keras_rmsprop\n", done.stdout)
        self.assertStartsWith(done.stderr, "a.py:2: assumed: ")
        self.assertEqual(self._read(self.path), _BEFORE)

    def test_check_exits_with_1_until_the_files_are_written(self):
        done = self._run("upgrade", "--check", ".")
        self.assertEqual((done.returncode, done.stdout), (1, "./a.py\n"))
        self.assertEqual(self._read(self.path), _BEFORE)
        self.assertEqual(self._run("upgrade", "--write", ".").returncode, 0)
        self.assertIn("keras_rmsprop.RMSprop(", self._read(self.path))
        done = self._run("upgrade", "--check", ".")
        self.assertEqual((done.returncode, done.stdout), (0, ""))

    def test_what_is_left_alone_does_not_fail_a_check(self):
        self._write("a.py", "import keras\nkind = keras.optimizers.RMSprop\n")
        done = self._run("upgrade", "--check", ".")
        self.assertEqual(done.returncode, 0)
        self.assertStartsWith(done.stderr, "./a.py:2: left alone: ")

    def test_the_report_lists_all_findings(self):
        report = os.path.join(self.root, "report.md")
        self._write("b.py", "print 'rmsprop'\n")
        self.assertEqual(self._run("upgrade", ".", "--report", report).returncode, 0)
        text = self._read(report)
        self.assertIn("- Rewritten: 1\n", text)
        self.assertIn("- `./a.py:2`: `keras.optimizers.RMSprop(0.1)` to ", text)
        self.assertIn("- `./b.py:1`: no Python 3", text)

    def test_targets_and_accepted_differences_are_passed_on(self):
        both = "epsilon-placement,sparse-gradients"
        done = self._run("upgrade", "a.py", "--to", "keras")
        self.assertIn(f"`--accept {both}`", done.stderr)
        self._write("a.py", _BEFORE.replace("RMSprop(0.1", "RMSprop(lr=0.1"))
        done = self._run("upgrade", "a.py", "--to", "keras", "--accept", both)
        self.assertIn("+opt = keras.optimizers.RMSprop(learning_rate=", done.stdout)

    @parameterized.parameters(
        ([], 0, "a.py:2: verified: "),
        (["--to", "keras", "--accept", "sparse-gradients,epsilon-placement"], 1, ""),
    )
    def test_verify_says_whether_both_train_alike(self, flags, status, message):
        self._write("a.py", _BEFORE.replace("RMSprop(0.1", "RMSprop(lr=0.1"))
        done = self._run("upgrade", "a.py", "--verify", *flags)
        self.assertEqual(done.returncode, status)
        self.assertIn(message or "a.py:2: differs: ", done.stderr)

    @parameterized.parameters(
        (["upgrade", "nowhere"], "'nowhere' does not exist"),
        (["upgrade"], "FILE_OR_DIR"),
        (["upgrade", "a.py", "--to", "torch"], "invalid choice: 'torch'"),
        (["upgrade", "a.py", "--accept", "speed"], "accept='speed' is not allowed"),
        (["upgrade", "a.py", "--check", "--write"], "not allowed with argument"),
        (["upgrade", "a.py", "--report", "no/such.md"], "not in an existing dir"),
        (["upgrade", "a.py", "--report", "."], "not a regular file"),
        (["destroy"], "there is no command 'destroy'"),
    )
    def test_wrong_usage_exits_with_2_and_says_why(self, arguments, message):
        done = self._run(*arguments)
        self.assertEqual(done.returncode, 2)
        self.assertIn(message, done.stderr)

    def test_nothing_is_written_when_a_path_is_wrong(self):
        self.assertEqual(self._run("upgrade", "--write", ".", "nowhere").returncode, 2)
        self.assertEqual(self._read(self.path), _BEFORE)

    def test_a_report_never_replaces_what_is_no_file(self):
        pipe = os.path.join(self.root, "pipe")
        os.mkfifo(pipe)
        done = self._run("upgrade", "--write", "a.py", "--report", "pipe")
        self.assertEqual(done.returncode, 2)
        self.assertTrue(stat.S_ISFIFO(os.stat(pipe).st_mode))
        self.assertEqual(self._read(self.path), _BEFORE)

    @parameterized.parameters([["--help"]], [["upgrade", "--help"]])
    def test_help_explains(self, arguments):
        done = self._run(*arguments)
        self.assertEqual(done.returncode, 0)
        self.assertIn("upgrade", done.stdout)

    @parameterized.parameters([["--help"]], [["upgrade", "a.py"]])
    def test_tensorflow_is_not_imported(self, arguments):
        code = (
            "import sys\n"
            "class Guard:\n"
            "  def find_spec(self, name, *_):\n"
            "    if name in ('tensorflow', 'keras'): sys.exit('loads ' + name)\n"
            "sys.meta_path.insert(0, Guard())\n"
            "from keras_rmsprop.migration import cli; cli.run()"
        )
        self.assertEqual(self._run(*arguments, code=code).returncode, 0)

    def test_a_missing_libcst_is_named(self):
        code = (
            "import sys; sys.modules['libcst'] = None\n"
            "from keras_rmsprop.migration import cli; cli.run()"
        )
        done = self._run("upgrade", "a.py", code=code)
        self.assertEqual(done.returncode, 2)
        self.assertIn('pip install -e ".[migration]"', done.stderr)


if __name__ == "__main__":
    absltest.main()
