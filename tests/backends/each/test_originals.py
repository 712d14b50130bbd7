"""Ours against what TensorFlow 1.15 to today and Keras recorded of themselves."""

import pathlib
import sys

import keras
import numpy as np
import pytest

import keras_rmsprop

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "originals"))
import recordings
from optimizer_programs import SNAPSHOTS, Problem

RULES = {"tf1": "tf1", "legacy": "legacy", "keras2": "keras2", "keras3": "keras"}
FILES = [
    "tensorflow-1.15.5",
    "tensorflow-2.15.1",
    "tensorflow-2.21.0-keras-3.15.1",
    f"keras-3.15.1-{keras.backend.backend()}",
]
# Others are the subject of `test_numerics`, or computed in a graph.
TAKEN = {"rho", "momentum", "epsilon", "centered", "clipvalue", "weight_decay"}


def runs(recording):
    """Yields the dense float32 runs with plain arguments, each once."""
    seen = set()
    for run in recording.metadata["runs"]:
        arguments = dict(run["arguments"])
        arguments.pop("use_locking", None)
        if run["api"] == "tf1" and "decay" in arguments:
            arguments["rho"] = arguments.pop("decay")
        rate = arguments.pop("learning_rate")
        key = run["api"], run["problem"], str(sorted(arguments.items())), str(rate)
        if (
            run["api"] in RULES
            and run["dtype"] == "float32"
            and not run["indices"]
            and run["problem"] != "steady"  # What remains there is rounding.
            and isinstance(rate, float)
            and arguments.keys() <= TAKEN
            and key not in seen
        ):
            seen.add(key)
            default = 1e-10 if run["api"] == "tf1" else 1e-7
            yield run, {"epsilon": default, **arguments, "learning_rate": rate}


@pytest.mark.parametrize("name", FILES)
def test_a_rule_computes_what_its_original_did(name):
    recording = recordings.recordings()[name]
    count = 0
    for run, arguments in runs(recording):
        problem = Problem(recording.inputs, run["problem"], run["dtype"])
        variables = [keras.Variable(value) for value in problem.start()]
        optimizer = keras_rmsprop.RMSprop(update_rule=RULES[run["api"]], **arguments)
        for step in range(SNAPSHOTS[len(run["values"]) - 1]):
            optimizer.apply(problem.gradients(step), variables)
        for variable, expected in zip(variables, recording.values(run)[-1]):
            np.testing.assert_allclose(
                variable.numpy(), expected, rtol=1e-6, atol=1e-6, err_msg=str(run)
            )
        count += 1
    assert count >= 5
