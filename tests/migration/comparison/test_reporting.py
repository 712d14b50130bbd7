"""What a comparison says first, what can be pasted from it, and what it draws."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from migration.comparison.workbench import dense_data, dense_model

import keras_rmsprop
from keras_rmsprop import RMSprop
from keras_rmsprop.migration import compare, kinds, spelling, tables
from keras_rmsprop.migration.comparison import plotting
from keras_rmsprop.migration.comparison.attribution import Cause


def comparing(reference, candidate, **arguments):
    return compare(
        reference,
        candidate,
        **{"model": dense_model, "data": dense_data(), "steps": 8, **arguments},
    )


@pytest.fixture(scope="module")
def two_causes():
    return comparing("tf1:learning_rate=0.01,epsilon=1e-3", "keras:learning_rate=0.01")


def test_it_begins_with_what_explains_how_much(two_causes):
    first, second = two_causes.causes
    percent = int(100 * (1 - first.remaining / two_causes.max_abs_difference))
    assert two_causes.summary == (
        "The candidate starts its mean square at 0 instead of 1; that explains "
        f"{percent} % of the difference, and epsilon value the rest."
    )
    told = two_causes.report().partition("\n\n")[0].replace("\n", " ")
    assert told == two_causes.summary


def test_a_cause_alone_explains_the_difference():
    found = comparing(RMSprop(0.01), RMSprop(0.02))
    assert found.summary == (
        "The candidate has a learning rate of 0.02 instead of 0.01; that explains the "
        "difference."
    )


def test_causes_that_explain_little_alone_are_named_together(two_causes):
    first, second = two_causes.causes
    little = dataclasses.replace(first, remaining=0.9 * two_causes.max_abs_difference)
    assert dataclasses.replace(two_causes, causes=(little, second)).summary == (
        "The candidate starts its mean square at 0 instead of 1 and has an epsilon of "
        "1e-07 instead of 0.001; together that explains the difference."
    )


@pytest.mark.parametrize(
    "reference, candidate, told",
    [
        (RMSprop(0.01), RMSprop(0.01), "Both train alike, to the bit."),
        (RMSprop(0.01), RMSprop(0.01 + 1e-8), "Both train alike: at most "),
        (
            RMSprop(0.01, gradient_accumulation_steps=2),
            RMSprop(0.01),
            "The two differ, and what makes them differ was not found.",
        ),
    ],
)
def test_what_else_may_come_of_it_is_told_in_a_sentence(reference, candidate, told):
    assert comparing(reference, candidate).report().startswith(told)


def test_units_in_the_last_place_stand_only_where_they_say_something(two_causes):
    before, after = two_causes.report().split("To make them equal")
    assert "ULP" not in before
    assert "(0 ULP)" in after
    assert "ULP" in comparing(RMSprop(0.01), RMSprop(0.01)).report()


def test_all_lines_fit_80_columns_and_no_name_is_lost(two_causes):
    name = "a_layer_with_a_name/" * 6 + "kernel"
    figures = dataclasses.replace(two_causes.variables[0], name=name)
    found = dataclasses.replace(two_causes, variables=(figures,))
    lines = found.report().splitlines()
    assert max(len(line) for line in lines if repr(name) not in line) < 80
    table = "".join(line.split("  ")[0] for line in lines)
    assert name in table.replace(" ", "")


def test_a_table_that_fits_is_left_as_it_is():
    assert list(tables.table(["a", "b"], [["1", "x y"]])) == [
        "a  b",
        "-  ---",
        "1  x y",
    ]


@pytest.mark.parametrize(
    "reference, candidate",
    [
        ("tf1:learning_rate=0.01,momentum=0.9", "keras"),
        ("legacy:learning_rate=0.01,decay=0.1", "keras"),
        (
            keras.optimizers.RMSprop(
                keras.optimizers.schedules.ExponentialDecay(0.01, 3, 0.5)
            ),
            "tf1",
        ),
        ("legacy:clipnorm=1.0,clipvalue=0.1", "keras"),
        (
            RMSprop(
                0.01,
                update_rule=dataclasses.replace(
                    keras_rmsprop.UpdateRule.get("tf1"), initial_mean_square=0.5
                ),
            ),
            "keras",
        ),
    ],
)
def test_the_remedy_runs_as_it_stands_in_the_report(reference, candidate):
    found = comparing(reference, candidate)
    report = found.report()
    assert found.remedy.code in report
    names = {}
    exec(found.remedy.code, names)
    if isinstance(reference, str):
        reference = kinds.build(reference)
    again = comparing(reference, names["optimizer"])
    assert again.max_abs_difference == found.remedy.max_abs_difference
    assert again.equivalent


def test_what_cannot_be_written_is_left_to_fill_in():
    code = spelling.code("keras_rmsprop.RMSprop", {"learning_rate": lambda: 0.1})
    assert "    learning_rate=...,\n" in code
    code = spelling.code("keras_rmsprop.RMSprop", {"learning_rate": tf.constant(0.1)})
    assert "    learning_rate=...,\n" in code


def test_text_means_in_python_what_it_means_on_the_command_line():
    found = comparing("compat:learning_rate=0.01", "keras-rmsprop:learning_rate=0.01")
    assert found.reference.startswith("compat_v1.train.RMSPropOptimizer(learning_rate=")
    assert found.candidate.startswith("keras_rmsprop.RMSprop(learning_rate=0.01")


@pytest.mark.parametrize("kind", kinds.CLASSES)
def test_every_kind_has_a_default_for_each_argument(kind):
    optimizer = kinds.build(kind)
    assert type(optimizer).__name__ == kinds.CLASSES[kind].rpartition(".")[2]


def test_a_class_stands_for_what_it_makes_without_arguments():
    found = comparing(keras.optimizers.RMSprop, RMSprop)
    assert found.reference.startswith("keras.optimizers.RMSprop(learning_rate=0.001")
    assert found.equivalent


@pytest.mark.parametrize(
    "pair, message",
    [
        (("adam", "keras"), "text that begins with one of keras, keras2"),
        (("keras", "adam"), "`candidate`: an optimizer given as text must start with"),
        (("keras", __file__), "a recording can only be the reference"),
        (("keras:rho=7", "keras-rmsprop:rho=7"), "`candidate`: keras-rmsprop: `rho`"),
        ((tf.compat.v1.train.RMSPropOptimizer, "keras"), "needs no arguments"),
        ((keras.optimizers.Adam, "keras"), "must be an RMSProp optimizer"),
    ],
)
def test_what_stands_for_no_optimizer_is_refused(pair, message):
    with pytest.raises(ValueError, match=message):
        comparing(*pair)


def test_a_file_with_the_name_of_a_kind_is_a_recording(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tf1").write_bytes(b"no recording")
    with pytest.raises(ValueError, match="recording"):
        compare("tf1", "keras")


def test_batches_have_the_size_that_is_asked_for():
    sizes = []

    class Seen(keras.layers.Layer):
        def call(self, x):
            tf.py_function(lambda x: sizes.append(len(x)), [x], [])
            return x

    model = keras.Sequential([keras.Input((4,)), Seen(), keras.layers.Dense(1)])
    model.compile(loss="mse", jit_compile=False)
    arguments = {"model": model, "data": dense_data(), "steps": 2}
    compare("keras", "keras", batch_size=16, **arguments)
    assert set(sizes) == {16}
    sizes.clear()
    compare("keras", "keras", **arguments)
    assert set(sizes) == {32}


def test_batches_of_the_built_in_data_have_it_too():
    small, usual = (
        compare("keras", "keras-rmsprop", steps=2, batch_size=size)
        for size in (8, None)
    )
    assert small.reference_loss != usual.reference_loss


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"batch_size": 0}, "`batch_size` must be an integer >= 1"),
        ({"batch_size": 8, "data": [dense_data()]}, "`batch_size` can only be given"),
    ],
)
def test_a_size_that_cannot_be_had_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        comparing("keras", "keras", **arguments)


def test_it_shows_what_it_is(two_causes):
    shown = repr(two_causes)
    assert shown.startswith("<Comparison of tf.compat.v1.train.RMSPropOptimizer(")
    assert shown.endswith(f", 8 steps: {two_causes.summary}>")


def test_what_is_left_without_a_cause_is_known_step_by_step(two_causes):
    for cause in two_causes.causes:
        assert list(cause.remaining_by_step) == list(range(1, 9))
        assert max(cause.remaining_by_step.values()) == cause.remaining


def test_the_picture_has_a_panel_for_each_cause_and_says_what_explains(two_causes):
    figure = plotting.figure_of(two_causes)
    assert figure.get_suptitle().replace("\n", " ") == two_causes.summary
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == 4
    assert "reference's initial accumulator (0 → 1)" in titles[1]
    assert "reference's epsilon value (1e-07 → 0.001)" in titles[2]
    for axes, cause in zip(figure.axes[1:], two_causes.causes):
        drawn = axes.lines[1].get_ydata()
        np.testing.assert_array_equal(drawn, list(cause.remaining_by_step.values()))
        assert axes.get_ylim() == figure.axes[0].get_ylim()


def test_lines_differ_without_colour(two_causes):
    for axes in plotting.figure_of(two_causes).axes:
        styles = [
            (line.get_linestyle(), line.get_marker(), line.get_linewidth())
            for line in axes.lines
        ]
        assert len(set(styles)) == len(styles)


def test_a_cause_without_steps_has_no_panel(two_causes):
    found = dataclasses.replace(two_causes, causes=(Cause("unexplained"),))
    assert len(plotting.figure_of(found).axes) == 2


def test_an_optimizer_that_fails_is_named():
    # Keras 3 divides slices by what is centered, which has other rows.
    both = (f"{kind}:momentum=0.9,centered=True" for kind in ("tf1", "keras"))
    with pytest.raises(ValueError, match="RMSprop cannot take a step in this training"):
        compare(*both, steps=5)
