"""What a comparison returns, tells and writes, and what it leaves alone."""

import json
import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized
from migration.comparison.workbench import dense_data, dense_model

from compat_v1.keras import optimizer_v1
from keras_rmsprop import RMSprop, legacy
from keras_rmsprop.migration import assert_equivalent, compare
from keras_rmsprop.migration.comparison import workloads
from keras_rmsprop.migration.comparison.differences import (
    absolute_difference,
    ulp_distance,
)

PNG = b"\x89PNG\r\n\x1a\n"


def stock_tf1(**arguments):
    return tf.compat.v1.train.RMSPropOptimizer(0.01, **arguments)


@pytest.fixture(scope="module")
def differing():
    return compare(
        stock_tf1(epsilon=1e-3),
        keras.optimizers.RMSprop(0.01),
        model=dense_model(),
        data=dense_data(),
        steps=12,
    )


def test_figures_fit_together(differing):
    assert not differing.equivalent
    assert differing.first_divergence == 1
    assert len(differing.steps) == 12
    assert [figures.name for figures in differing.variables] == [
        "dense/first/kernel",
        "dense/first/bias",
        "dense/second/kernel",
        "dense/second/bias",
    ]
    greatest = max(differing.variables, key=lambda f: f.max_abs_difference)
    assert greatest.max_abs_difference == differing.max_abs_difference
    at_its_step = differing.steps[greatest.max_abs_step - 1]
    assert at_its_step.max_abs_difference == differing.max_abs_difference
    assert max(f.max_ulp for f in differing.variables) == differing.max_ulp
    assert differing.reference_loss == differing.steps[-1].reference_loss
    assert differing.reference_loss != differing.candidate_loss
    assert differing.steps[0].reference_loss == differing.steps[0].candidate_loss


def test_the_report_tells_how_many_how_much_where_what_was_allowed_and_why(differing):
    report = differing.report()
    worst = max(differing.variables, key=lambda f: f.max_abs_difference)
    for text in (
        "not equivalent",
        "reference: tf.compat.v1.train.RMSPropOptimizer(learning_rate=0.01",
        "candidate: keras.optimizers.RMSprop(learning_rate=0.01",
        "12 steps on the model 'dense', float32",
        "Mismatched elements: 31 / 31 (100.0%), the first at step 1",
        f"difference: {differing.max_abs_difference:.6g} (up to 1e-05 allowed),\n"
        f"  in {worst.name!r} at index {worst.max_abs_index}, "
        f"step {worst.max_abs_step}\n",
        "(up to 0.0001 allowed)",
        "initial accumulator",
        "1e-07 -> 0.001",
        "alone leaves",
    ):
        assert text in report
    last = report[report.index("To make them equal") :]
    assert "keras_rmsprop.RMSprop(\n    learning_rate=0.01,\n    rho=0.9" in last
    assert "epsilon=0.001" in last and "update_rule='tf1'" in last
    assert "by 0 at most (0 ULP)" in last


def test_the_proposed_call_is_the_one_that_was_measured(differing):
    import keras_rmsprop  # noqa: F401, for `eval`

    proposed = eval(differing.remedy.call)
    assert_equivalent(
        stock_tf1(epsilon=1e-3),
        proposed,
        model=dense_model(),
        data=dense_data(),
        steps=12,
        rtol=0,
        atol=0,
    )


def test_json_loads_back(differing, tmp_path):
    differing.to_json(tmp_path / "found.json")
    read = json.loads((tmp_path / "found.json").read_text())
    assert read["equivalent"] is False
    assert read["max_abs_difference"] == differing.max_abs_difference
    assert read["causes"][0]["name"] == "initial accumulator"
    assert len(read["steps"]) == 12 and len(read["variables"]) == 4
    assert os.listdir(tmp_path) == ["found.json"]


def test_json_is_valid_where_training_blew_up(tmp_path):
    found = compare(
        RMSprop(1e30),
        RMSprop(0.01),
        model=dense_model(),
        data=dense_data(),
        steps=5,
    )
    assert found.max_abs_difference == np.inf
    assert [cause.name for cause in found.causes] == ["learning rate"]
    found.to_json(tmp_path / "found.json")
    read = json.loads((tmp_path / "found.json").read_text(), parse_constant=pytest.fail)
    assert read["max_abs_difference"] == "inf"
    found.plot(tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(PNG)


def test_a_failed_write_leaves_the_earlier_file(differing, tmp_path, monkeypatch):
    path = tmp_path / "found.json"
    path.write_text("earlier")
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError()))
    with pytest.raises(OSError):
        differing.to_json(path)
    assert path.read_text() == "earlier"
    assert os.listdir(tmp_path) == ["found.json"]


def test_progress_is_silent_off_terminals(capfd):
    compare(RMSprop(0.01), RMSprop(0.02), model=dense_model, data=dense_data(), steps=3)
    assert "step" not in "".join(capfd.readouterr())


def test_plot_makes_a_picture(differing, tmp_path):
    differing.plot(tmp_path / "found.png")
    assert (tmp_path / "found.png").read_bytes().startswith(PNG)


def test_assert_equivalent_raises_the_report():
    data = {"model": dense_model(), "data": dense_data(), "steps": 5}
    ours = RMSprop(0.01, epsilon=1e-10, update_rule="tf1")
    assert_equivalent(stock_tf1(), ours, **data)
    with pytest.raises(AssertionError, match="(?s)not equivalent.*epsilon value"):
        assert_equivalent(stock_tf1(epsilon=1e-2), ours, **data)


def test_model_and_optimizers_stay_as_they_are():
    model = dense_model()
    model.compile(optimizer=RMSprop(0.5), loss="mse")
    x, y = dense_data()
    model.fit(x, y, verbose=0)
    optimizer = RMSprop(0.01)
    variable = keras.Variable(1.0)
    optimizer.apply([tf.constant(0.5)], [variable])
    watched = [*model.variables, *model.optimizer.variables, *optimizer.variables]
    before = [each.numpy() for each in watched]
    found = compare(optimizer, RMSprop(0.02), model=model, data=(x, y), steps=3)
    assert found.steps[0].max_abs_difference > 0
    for each, expected in zip(watched, before):
        np.testing.assert_array_equal(each.numpy(), expected)


def test_dropout_and_batch_normalization_are_the_same_for_both():
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5, seed=1),
            keras.layers.Dense(1),
        ]
    )
    model.compile(loss="mse")
    found = compare(
        stock_tf1(),
        RMSprop(0.01, epsilon=1e-10, update_rule="tf1"),
        model=model,
        data=dense_data(),
        steps=6,
    )
    assert found.max_ulp == 0
    # The mask changes from step to step although the batches repeat.
    losses = [step.reference_loss for step in found.steps]
    assert len(set(losses)) == 6


def test_without_sparse_differences_digits_are_trained():
    found = compare(RMSprop(0.01), RMSprop(0.01), steps=2)
    assert found.workload == "digits"
    assert all(figures.name.startswith("digits") for figures in found.variables)


def test_with_sparse_differences_text_is_trained_too():
    found = compare(
        RMSprop(0.01), RMSprop(0.01, sparse_updates="dense"), steps=6, rtol=0, atol=0
    )
    assert found.workload == "digits and text"
    worst = {figures.name: figures.max_abs_difference for figures in found.variables}
    assert worst["digits_hidden/kernel"] == 0
    assert worst["text_embedding/embeddings"] > 0
    assert found.causes[0].name == "sparse updates"


def test_text_batches_repeat_words_and_leave_words_out():
    _, batches = workloads.digits_and_text()
    (_, contexts), _ = batches[0]
    assert len(np.unique(contexts)) < contexts.size
    assert len(np.unique(contexts)) < 400


def test_batches_repeat_and_generators_are_not_read_past_their_need():
    x, y = dense_data()
    taken = []

    def endless():
        while True:
            taken.append(1)
            yield x[:8], y[:8]

    compare(RMSprop(), RMSprop(), model=dense_model(), data=endless(), steps=3)
    assert len(taken) == 3
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(32)
    found = compare(RMSprop(), RMSprop(), model=dense_model(), data=dataset, steps=5)
    assert len(found.steps) == 5


class BadInputTest(parameterized.TestCase):
    @parameterized.named_parameters(
        ("no_optimizer", {"candidate": 3}, "`candidate` must be an RMSProp"),
        ("a_class", {"reference": keras.Model}, "`reference` must be an RMSProp"),
        (
            "another_algorithm",
            {"reference": keras.optimizers.Adam()},
            "`reference` must be an RMSProp",
        ),
        (
            "another_tf1_algorithm",
            {"reference": tf.compat.v1.train.AdamOptimizer()},
            "`reference` must be an RMSProp",
        ),
        (
            "a_builder_of_something_else",
            {"candidate": lambda: "rmsprop"},
            "`candidate` must be an RMSProp",
        ),
        (
            "the_class_of_2017",
            {"candidate": optimizer_v1.RMSprop()},
            "`candidate` must have momentum.*`migration.arguments`",
        ),
        ("no_steps", {"steps": 0}, "`steps` must be an integer >= 1.*steps=0"),
        ("half_a_step", {"steps": 1.5}, "`steps` must.*steps=1.5"),
        ("true_steps", {"steps": True}, "`steps` must.*steps=True"),
        ("negative_rtol", {"rtol": -1.0}, "`rtol` must.*rtol=-1.0"),
        ("nan_atol", {"atol": float("nan")}, "`atol` must.*atol=nan"),
        ("no_model", {"model": None}, "`model` must be given where `data` is"),
        ("no_data", {"data": None}, "`data` must be given where `model` is"),
        ("empty_data", {"data": []}, "`data` must hold at least one batch"),
        (
            "empty_arrays",
            {"data": (np.zeros((0, 4)), np.zeros((0, 1)))},
            "`data` must hold at least one batch",
        ),
        (
            "arrays_of_two_lengths",
            {"data": (np.zeros((3, 4)), np.zeros((2, 1)))},
            r"`data` must hold arrays of one length.*\[2, 3\]",
        ),
        ("no_batches", {"data": 7}, "`data` must be a tuple.*type int"),
        ("no_pairs", {"data": [np.zeros(3)]}, "pairs.*type ndarray"),
        ("no_keras_model", {"model": "model"}, "`model` must be a Keras 3 model"),
        (
            "not_built",
            {"model": keras.Sequential([keras.layers.Dense(1)])},
            "`model` must be built",
        ),
        (
            "no_loss",
            {"model": keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])},
            "`model` must be compiled with a loss",
        ),
    )
    def test_is_refused_by_name(self, arguments, message):
        given = {
            "reference": RMSprop(),
            "candidate": RMSprop(),
            "model": dense_model,
            "data": dense_data(),
            **arguments,
        }
        with self.assertRaisesRegex(ValueError, f"(?s){message}"):
            compare(given.pop("reference"), given.pop("candidate"), **given)

    def test_a_model_with_nothing_to_train(self):
        model = keras.Sequential([keras.Input((4,)), keras.layers.Flatten()])
        model.compile(loss="mse")
        with self.assertRaisesRegex(ValueError, "must have trainable variables"):
            compare(RMSprop(), RMSprop(), model=model, data=dense_data())

    def test_a_model_of_two_dtypes(self):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                keras.layers.Dense(2, dtype="float64"),
                keras.layers.Dense(1, dtype="float32"),
            ]
        )
        model.compile(loss="mse")
        with self.assertRaisesRegex(ValueError, "one floating dtype.*float32, float64"):
            compare(RMSprop(), RMSprop(), model=model, data=dense_data())

    def test_a_rate_from_another_graph(self):
        with tf.Graph().as_default():
            rate = tf.constant(0.1)
            optimizer = tf.compat.v1.train.RMSPropOptimizer(rate)
        with self.assertRaisesRegex(ValueError, "given as a callable that builds it"):
            compare(optimizer, RMSprop(), model=dense_model, data=dense_data())


def test_distance_counts_representable_values():
    a = np.array([1, -1, 0, 0, np.nan, np.inf], np.float32)
    b = np.array([1, -1, -0.0, 1e-45, np.nan, -np.inf], np.float32)
    b[:2] = np.nextafter(b[:2], np.float32(0))
    assert ulp_distance(a, b)[:5].tolist() == [1, 1, 0, 1, 0]
    assert absolute_difference(a, b)[3:].tolist() == [pytest.approx(1e-45), 0, np.inf]
    wide = np.array([-1.0e308]), np.array([1.0e308])
    assert ulp_distance(*wide)[0] > 2**63


@pytest.mark.parametrize("first, then", [("sys", "pass"), ("keras", "m.compare")])
def test_importing_migration_loads_no_optional_library(first, then):
    # Keras itself looks for some of them.
    code = (
        f"import sys, {first}; before = set(sys.modules);"
        f"import keras_rmsprop.migration as m; {then};"
        "print([name for name in ('matplotlib', 'sklearn', 'tqdm', 'libcst',"
        " 'tf_keras', 'compat_v1') if name in set(sys.modules) - before])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "arguments, said",
    [
        ({}, True),
        ({"sparse_updates": "lazy"}, False),
        ({"sparse_updates": "dense"}, False),
        ({"momentum": 0.9}, False),
    ],
)
def test_it_is_said_that_a_reference_is_lazy_by_default(arguments, said):
    found = compare(
        legacy.RMSprop(0.01, **arguments),
        RMSprop(0.01, update_rule="legacy", momentum=arguments.get("momentum", 0.0)),
        model=dense_model(),
        data=dense_data(),
        steps=2,
    )
    assert ("decayed every row" in " ".join(found.report().split())) == said
