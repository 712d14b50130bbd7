"""A state goes to the variables it belongs to, or nowhere."""

import re

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from keras_rmsprop.migration.state import OptimizerState, VariableState, matching


def state_of(shapes, others=None):
    return OptimizerState(
        {
            name: VariableState({"rms": np.ones(shape, "float32")})
            for name, shape in shapes.items()
        },
        others={name: np.ones(s, "float32") for name, s in (others or {}).items()},
    )


def match(paths, names, name_map=None, shape=(8, 8)):
    """Matches variables of one shape; returns names in the state by path."""
    found = matching.match(
        [(path, shape) for path in paths],
        [],
        state_of(dict.fromkeys(names, shape)),
        name_map,
    )
    return {paths[i]: name for i, name in found.names.items()}, found


def layers(*names):
    return [f"{name}/kernel" for name in names]


@pytest.mark.parametrize(
    "paths, names",
    [
        # A model that was built after another one of its kind.
        (["dense_1", "dense_2", "dense_3"], ["dense", "dense_1", "dense_2"]),
        (["dense", "dense_1", "dense_2"], ["dense_1", "dense_2", "dense_3"]),
        # A layer that got a name, so that the count of the others moved.
        (["hidden", "dense"], ["dense", "dense_1"]),
        (["dense", "dense_1"], ["dense", "hidden"]),
        # The same names in another order than the source's.
        (["dense_1", "dense"], ["dense", "dense_1"]),
        (["m/dense_1", "m/dense"], ["dense", "dense_1"]),
        # One equal name does not make the others belong together.
        (["a", "b"], ["a", "c"]),
        (["a/dense", "b/dense"], ["c/dense_1", "d/dense"]),
    ],
)
def test_counted_names_and_leftovers_decide_nothing(paths, names):
    paths, names = layers(*paths), layers(*names)
    pairs, found = match(paths, names)
    assert len(pairs) < len(paths) and found.problems
    # What it prints can be pasted, and settles it in order.
    (pasted,) = re.findall(r"name_map=(\{.*\})", found.advice, re.DOTALL)
    pairs, found = match(paths, names, eval(pasted))
    assert not found.problems and len(pairs) == len(paths)


@pytest.mark.parametrize(
    "paths, names",
    [
        (["dense", "dense_1", "dense_2"], ["dense", "dense_1", "dense_2"]),
        (["m/dense", "m/dense_1"], ["dense", "dense_1"]),
        (["sequential_1/a", "sequential_1/b"], ["sequential/b", "sequential/a"]),
        (["sequential_1/dense", "x"], ["x", "dense"]),
        # What does not repeat is not told apart by its counter.
        (["dense_7", "embedding_2"], ["embedding", "dense"]),
        # A checkpoint without a graph lists names by their letters.
        (
            [f"dense_{i}" for i in range(1, 13)],
            sorted(f"dense_{i}" for i in range(1, 13)),
        ),
        # An inner scope that is also an outer one.
        (["dense", "inner/dense"], ["dense", "inner/dense"]),
    ],
)
def test_names_that_leave_one_way_settle_it(paths, names):
    pairs, found = match(layers(*paths), layers(*names))
    assert not found.problems and not found.advice
    for path, name in pairs.items():
        layer, stored = path.split("/")[-2], name.split("/")[-2]
        assert layer == stored or layer.startswith(f"{stored}_")


def test_unique_shapes_are_judged_over_all_and_settle_their_scopes():
    # The kernels have one place each; so their layers, and so the biases.
    shapes = [(4, 8), (8, 8), (8, 2)]
    source, trained = {}, []
    for i, shape in enumerate(shapes):
        name = f"dense_{i}" if i else "dense"
        source.update({f"{name}/kernel": shape, f"{name}/bias": shape[1:]})
        trained += [
            (f"dense_{i + 1}/kernel", shape),
            (f"dense_{i + 1}/bias", shape[1:]),
        ]
    found = matching.match(trained, [], state_of(source))
    assert not found.problems
    assert [found.names[i] for i in range(6)] == list(source)


def test_a_map_of_one_variable_settles_its_layer():
    trained = [(f"dense_{i}/{v}", (8,)) for i in (1, 2) for v in ("gamma", "beta")]
    untrained = [(f"dense_{i}/moving_mean", (8,)) for i in (1, 2)]
    names = [f"{d}/{v}" for d in ("dense", "dense_1") for v in ("gamma", "beta")]
    state = state_of(
        dict.fromkeys(names, (8,)),
        {"dense/moving_mean": (8,), "dense_1/moving_mean": (8,), "shadow": (8,)},
    )
    name_map = {"dense_1/gamma": "dense/gamma", "dense_2/gamma": "dense_1/gamma"}
    found = matching.match(trained, untrained, state, name_map)
    assert not found.problems and found.unused == ["shadow"]
    assert [found.names[i] for i in range(6)] == [
        *names,
        "dense/moving_mean",
        "dense_1/moving_mean",
    ]


def test_explicit_names_of_other_shapes_are_not_paired_crosswise():
    state = state_of({"hidden/w": (8, 8), "out/w": (8, 4)})
    found = matching.match([("m/hidden/w", (8, 4)), ("m/out/w", (8, 8))], [], state)
    assert not found.names and all(p.startswith("shape: ") for p in found.problems)


# Random models, of which the program that reads has others than the one that wrote.

kinds = st.sampled_from(["dense", "conv2d", "lstm"])
shapes = st.sampled_from([(8, 8), (8, 4)])
given_names = st.none() | st.sampled_from(["hidden", "out", "block_1", "block_2", "a"])


@st.composite
def two_programs(draw):
    """Two programs' names for one model, in order: `(paths, names, shapes)`."""
    model = draw(st.lists(st.tuples(kinds, shapes), min_size=1, max_size=6))
    sides = []
    # Which layers have names of their own is alike but for one, which got a name.
    named = [draw(given_names) for _ in model]
    named = [n if n not in named[:i] else None for i, n in enumerate(named)]
    renamed = draw(st.integers(-1, len(model) - 1))
    scopes = draw(st.lists(st.sampled_from(["m", "sequential"]), max_size=2))
    for side in range(2):
        counters = {
            kind: draw(st.integers(0, 3)) for kind in ("dense", "conv2d", "lstm")
        }
        prefix = "".join(
            f"{s}{draw(st.sampled_from(['', '_1']))}/"
            for s in (scopes if side else draw(st.just(scopes) | st.just([])))
        )
        names = []
        for i, (kind, _) in enumerate(model):
            name = named[i]
            if i == renamed and side:
                name = "fresh" if name is None else None
            if name is None:
                name = f"{kind}_{counters[kind]}" if counters[kind] else kind
                counters[kind] += 1 + draw(st.integers(0, 1) if side else st.just(0))
            names.append(f"{prefix}{name}")
        sides.append(names)
    hypothesis.assume(all(len(set(side)) == len(side) for side in sides))
    return (*sides, [shape for _, shape in model])


@hypothesis.given(two_programs(), st.booleans(), st.data())
@hypothesis.settings(max_examples=300, deadline=None)
def test_a_pairing_is_complete_and_right_or_an_error(programs, with_biases, data):
    paths, names, model = programs
    trained, source, truth = [], {}, {}
    for path, name, shape in zip(paths, names, model):
        parts = [("kernel", shape), ("bias", shape[1:])][: 1 + with_biases]
        for part, part_shape in parts:
            trained.append((f"{path}/{part}", part_shape))
            source[f"{name}/{part}"] = part_shape
            truth[f"{path}/{part}"] = f"{name}/{part}"
    if data.draw(st.booleans(), label="by letters"):
        source = dict(sorted(source.items()))
    found = matching.match(trained, [], state_of(source))
    if found.problems:
        # The map that it asks for settles it.
        found = matching.match(trained, [], state_of(source), truth)
    assert not found.problems
    assert {trained[i][0]: name for i, name in found.names.items()} == truth
