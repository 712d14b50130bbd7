"""The example that holds a port against a recorded TF 1.15 run."""

import os
import subprocess
import sys

FOLDER = os.path.join(
    os.path.dirname(__file__), "..", "..", "migration_examples", "recorded_tf1_run"
)


def test_the_wrong_port_is_named_and_the_right_one_agrees(tmp_path):
    picture = tmp_path / "out.png"
    done = subprocess.run(
        [
            sys.executable,
            os.path.join(FOLDER, "compare_with_recording.py"),
            *("--plot", str(picture)),
        ],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    wrong, right = done.stdout.split("--- The network as it was")
    assert "are not equivalent!" in wrong
    assert "l2=0.001, which only the model has" in wrong
    assert "initial accumulator  0 -> 1" in wrong
    assert "update_rule='tf1'" in wrong
    assert "are equivalent." in right
    assert "the model is ported right" in " ".join(right.split())
    assert picture.stat().st_size > 10_000
