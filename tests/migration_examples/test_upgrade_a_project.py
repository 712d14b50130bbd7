"""`upgrade_a_project`: the tool makes `after` of `before`, and both train alike."""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from absl.testing import absltest, parameterized

from keras_rmsprop.migration.source import upgrade_paths

_REPOSITORY = pathlib.Path(__file__).parents[2]
_EXAMPLE = _REPOSITORY / "migration_examples" / "upgrade_a_project"
_NAMES = sorted(path.name for path in (_EXAMPLE / "before").iterdir() if path.is_file())

_RUN = """
import json, runpy, sys
sys.path.insert(0, "")
if sys.argv[1].endswith(".ipynb"):
    with open(sys.argv[1], encoding="utf-8") as file:
        cells = json.load(file)["cells"]
    lines = "\\n".join(
        "".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"
    ).splitlines()
    exec("\\n".join(line for line in lines if not line.startswith("!")))
else:
    runpy.run_path(sys.argv[1], run_name="__main__")
"""
# Keras as it was up to 2.10, where its RMSprop was OptimizerV2's.
_RUN_ON_OLD_KERAS = (
    """
import sys
import tf_keras
tf_keras.optimizers.RMSprop = tf_keras.optimizers.legacy.RMSprop
sys.modules["keras"] = tf_keras
sys.modules["keras.optimizers"] = tf_keras.optimizers
"""
    + _RUN
)


def _upgrade(path, **options):
    for file in upgrade_paths([path], **options):
        if file.upgrade.changed:
            file.write()


def _loss(directory, name, code):
    done = subprocess.run(
        [sys.executable, "-B", "-c", code, name],
        cwd=_EXAMPLE / directory,
        env={
            **os.environ,
            "PYTHONPATH": str(_REPOSITORY),
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "CUDA_VISIBLE_DEVICES": "-1",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return float.fromhex(done.stdout.splitlines()[-1].rpartition(" ")[2])


class UpgradeAProjectTest(parameterized.TestCase):
    def setUp(self):
        super().setUp()
        self.copy = os.path.join(
            self.enter_context(tempfile.TemporaryDirectory()), "after"
        )
        shutil.copytree(_EXAMPLE / "before", self.copy)

    def test_the_two_commands_make_after_of_before(self):
        _upgrade(self.copy)
        for name in ("train_graph.py", "sweep.gin"):
            _upgrade(os.path.join(self.copy, name), to="compat")
        for name in _NAMES:
            with open(os.path.join(self.copy, name), encoding="utf-8") as file:
                self.assertEqual(file.read(), (_EXAMPLE / "after" / name).read_text())

    def test_the_readme_quotes_the_findings(self):
        readme = (_EXAMPLE / "README.md").read_text()
        for file in upgrade_paths([_EXAMPLE / "before"]):
            for finding in file.upgrade.findings:
                if finding.kind != "rewritten":
                    self.assertIn(
                        finding.at(f"after/{os.path.basename(file.path)}"), readme
                    )

    def test_after_needs_no_further_upgrade(self):
        for file in upgrade_paths([_EXAMPLE / "after"]):
            self.assertFalse(file.upgrade.changed)

    @parameterized.parameters(
        ("train_graph.py", _RUN),
        ("train_eager.py", _RUN),
        ("train_keras.py", _RUN_ON_OLD_KERAS),
        ("explore.ipynb", _RUN_ON_OLD_KERAS),
    )
    def test_both_train_to_the_same_loss(self, name, run_before):
        before = _loss("before", name, run_before)
        self.assertBetween(before, 0.0, 0.5)
        self.assertAlmostEqual(_loss("after", name, _RUN), before, delta=1e-5 * before)


if __name__ == "__main__":
    absltest.main()
