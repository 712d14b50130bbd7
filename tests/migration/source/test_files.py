"""Files: what is found, what is kept byte for byte, and how it is written."""

import os
import stat
import tempfile
from unittest import mock

from absl.testing import absltest, parameterized

from keras_rmsprop.migration.source import upgrade_paths

_BEFORE = b"import keras\nopt = keras.optimizers.RMSprop(lr=0.1)\n"
_AFTER = (
    b"import keras\nimport keras_rmsprop\nopt = keras_rmsprop.RMSprop("
    b'learning_rate=0.1, update_rule="legacy", sparse_updates="dense")\n'
)


class FilesTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.root = self.enter_context(tempfile.TemporaryDirectory())

    def _write(self, name, data=_BEFORE):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(data)
        return path

    def _read(self, path):
        with open(path, "rb") as file:
            return file.read()

    def test_only_python_files_of_the_project_are_found(self):
        found = [self._write("a.py"), self._write("pkg/b.py")]
        self._write("c.txt")
        self._write(".git/d.py")
        self._write("__pycache__/e.py")
        self._write("env/pyvenv.cfg")
        self._write("env/lib/f.py")
        os.symlink(found[0], os.path.join(self.root, "link.py"))
        os.symlink(self.root, os.path.join(self.root, "loop"))
        self.assertEqual([each.path for each in upgrade_paths([self.root])], found)

    def test_a_file_named_twice_comes_once(self):
        path = self._write("a.py")
        self.assertLen(list(upgrade_paths([path, self.root, path])), 1)

    def test_a_named_file_needs_no_ending(self):
        [file] = upgrade_paths([self._write("train")])
        self.assertTrue(file.upgrade.changed)

    @parameterized.parameters(
        b"",
        b"\xef\xbb\xbf",
        b"# coding: latin-1\n# caf\xe9\n",
        b"#!/usr/bin/env python\n# \xe2\x82\xac\n",
    )
    def test_bytes_before_the_change_stay(self, before):
        path = self._write("a.py", before + _BEFORE)
        [file] = upgrade_paths([path])
        file.write()
        self.assertEqual(self._read(path), before + _AFTER)

    def test_carriage_returns_stay(self):
        path = self._write("a.py", _BEFORE.replace(b"\n", b"\r\n"))
        [file] = upgrade_paths([path])
        file.write()
        self.assertEqual(self._read(path), _AFTER.replace(b"\n", b"\r\n"))

    def test_a_missing_last_line_end_stays_missing(self):
        path = self._write("a.py", _BEFORE[:-1])
        [file] = upgrade_paths([path])
        self.assertEqual(file.diff().count("\\ No newline at end of file"), 2)
        file.write()
        self.assertEqual(self._read(path), _AFTER[:-1])

    @parameterized.parameters(
        (b"\xff\xfe\x00rmsprop", "cannot be decoded"),
        (b"# coding: no-such-code\n" + _BEFORE, "cannot be decoded"),
        (b"# coding: rot13\n" + _BEFORE, "cannot be decoded"),
        (b"print 'rmsprop'\n", "no Python 3"),
        (b"\x00\x01rmsprop", "null bytes"),
        (_BEFORE.replace(b"\n", b"\r"), "line ends"),
    )
    def test_files_not_handled_are_reported_and_stay(self, data, reason):
        path = self._write("a.py", data)
        [file] = upgrade_paths([path])
        self.assertFalse(file.upgrade.changed)
        self.assertEqual(file.diff(), "")
        [finding] = file.upgrade.findings
        self.assertEqual(finding.kind, "not handled")
        self.assertIn(reason, finding.message)

    @parameterized.parameters(
        b"print 'Adam'\n", b"\x00", b"\xff\xfe", b"import keras\n", b""
    )
    def test_files_that_do_not_mention_rmsprop_are_not_parsed(self, data):
        with mock.patch("ast.parse") as parse:
            self.assertEmpty(list(upgrade_paths([self._write("a.py", data)])))
        parse.assert_not_called()

    def test_many_files_are_upgraded_by_several_processes_in_order(self):
        paths = [self._write(f"{index:03}.py") for index in range(70)]
        counts = []

        def progress(upgrades, count):
            counts.append(count)
            return upgrades

        found = list(upgrade_paths([self.root], progress=progress, to="compat"))
        self.assertEqual([each.path for each in found], paths)
        self.assertEqual(counts, [70])
        self.assertIn("keras_rmsprop.legacy.RMSprop(", found[-1].upgrade.code)

    def test_an_unreadable_file_is_an_error_before_anything_else(self):
        self._write("a.py")
        self._write("b.py")
        with mock.patch("os.access", lambda path, mode: not path.endswith("b.py")):
            upgrades = upgrade_paths([self.root])
            with self.assertRaisesRegex(PermissionError, "b.py' is not readable"):
                next(upgrades)

    def test_imports_of_a_package_stay_importable(self):
        code = b"from keras.optimizers import RMSprop\nopt = RMSprop(lr=0.1)\n"
        [file] = upgrade_paths([self._write("__init__.py", code)])
        self.assertIn("import RMSprop", file.upgrade.code)

    def test_writing_keeps_the_mode_and_leaves_no_other_file(self):
        path = self._write("a.py")
        os.chmod(path, 0o751)
        [file] = upgrade_paths([path])
        file.write()
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o751)
        self.assertEqual(os.listdir(self.root), ["a.py"])

    def test_writing_through_a_link_keeps_the_link(self):
        path = self._write("a.py")
        link = os.path.join(self.root, "link.py")
        os.symlink("a.py", link)
        [file] = upgrade_paths([link])
        file.write()
        self.assertTrue(os.path.islink(link))
        self.assertEqual(self._read(path), _AFTER)

    @parameterized.parameters("os.replace", "os.fsync")
    def test_an_interrupted_write_leaves_the_file_as_it_was(self, step):
        path = self._write("a.py")
        [file] = upgrade_paths([path])
        with (
            mock.patch(step, side_effect=KeyboardInterrupt),
            self.assertRaises(KeyboardInterrupt),
        ):
            file.write()
        self.assertEqual(self._read(path), _BEFORE)
        self.assertEqual(os.listdir(self.root), ["a.py"])

    def test_looking_writes_nothing(self):
        path = self._write("a.py")
        list(upgrade_paths([self.root]))
        self.assertEqual(self._read(path), _BEFORE)

    def test_a_missing_path_is_an_error(self):
        with self.assertRaisesRegex(FileNotFoundError, "nowhere.* does not exist"):
            list(upgrade_paths([os.path.join(self.root, "nowhere")]))

    def test_a_pipe_is_an_error(self):
        path = os.path.join(self.root, "pipe")
        os.mkfifo(path)
        with self.assertRaisesRegex(OSError, "neither a file nor a directory"):
            list(upgrade_paths([path]))


if __name__ == "__main__":
    absltest.main()
