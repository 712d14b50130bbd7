"""A state fits an optimizer as a whole, or nothing is written."""

import dataclasses
import time

import hypothesis
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st
from migration.state import runs

import keras_rmsprop
from keras_rmsprop import migration
from keras_rmsprop.migration.state import OptimizerState, VariableState


def state_of(shapes, slots=("rms",), dtype="float32", iterations=4, **held):
    """Returns a state whose arrays are all different."""
    variables = {}
    for index, (name, shape) in enumerate(shapes.items()):
        arrays = {
            slot: np.full(shape, 10 * index + i + 1, dtype)
            for i, slot in enumerate(slots)
        }
        variables[name] = VariableState(arrays, np.full(shape, -index, dtype))
    return OptimizerState(variables, iterations=iterations, hyperparameters=held)


def variable(path, shape=(2,), dtype="float32"):
    made = keras.Variable(np.zeros(shape), dtype=dtype, name=path.rpartition("/")[2])
    made._path = path
    return made


def rms_of(optimizer):
    return [int(v.numpy().flat[0]) for v in optimizer._velocities]


@pytest.mark.parametrize(
    "names, paths, name_map, order",
    [
        # By name, with and without :0, whatever the order.
        (["a", "b"], ["b", "a"], None, [1, 0]),
        (["a:0", "b:0"], ["b", "a"], None, [1, 0]),
        # By name without outer scopes, on either side.
        (["a/w", "b/w"], ["model/b/w", "model/a/w"], None, [1, 0]),
        (["tower/a/w", "tower/b/w"], ["b/w", "a/w"], None, [1, 0]),
        # By map, and what remains by shape.
        (["a", "b"], ["x", "y"], {"x": "b"}, [1, 0]),
        (["a:0", "b:0"], ["x:0", "y"], {"x": "b", "y": "a"}, [1, 0]),
        # By position, where names are positions.
        (["0", "1"], ["x", "y"], None, [0, 1]),
    ],
)
def test_variables_of_one_shape_are_matched(names, paths, name_map, order):
    state = state_of(dict.fromkeys(names, (2,)))
    optimizer = keras_rmsprop.RMSprop()
    variables = [variable(p.removesuffix(":0")) for p in paths]
    state.apply_to(optimizer, variables, name_map, restore_values=True)
    assert rms_of(optimizer) == [10 * i + 1 for i in order]
    assert [float(v.numpy()[0]) for v in variables] == [-i for i in order]
    assert int(optimizer.iterations) == 4


def test_variables_without_common_names_are_matched_by_unique_shape():
    optimizer = keras_rmsprop.RMSprop()
    variables = [variable("x", (3, 2)), variable("y", (3,))]
    state_of({"a": (3,), "b": (3, 2)}).apply_to(optimizer, variables)
    assert rms_of(optimizer) == [11, 1]


@pytest.mark.parametrize(
    "state, paths, arguments, name_map, messages",
    [
        (
            state_of({"a": (2,), "b": (2,), "c": (4,)}),
            {"x": (2,), "y": (2,), "z": (5,)},
            {},
            None,
            [
                "ambiguous: variable 'x' of shape (2,) could go with 'a', 'b'",
                "ambiguous: variable 'y' of shape (2,) could go with 'a', 'b'",
                "missing: there is no state for variable 'z' of shape (5,)",
                "left over: there is no variable for the state of 'c' of shape (4,)",
            ],
        ),
        (
            state_of({"a": (2,)}),
            {"a": (3,)},
            {},
            None,
            ["shape: variable 'a' has shape (3,), the state of 'a' has (2,)"],
        ),
        (
            state_of({"0": (2,), "1": (3,)}),
            {"x": (3,), "y": (2,)},
            {},
            None,
            ["shape: variable 'x' has", "shape: variable 'y' has"],
        ),
        (
            state_of({"a": (2,), "b": (2,)}),
            {"a": (2,), "b": (2,)},
            {},
            {"nothing": "a", "a": "nowhere"},
            ["name_map: 'nothing' names 0 of", "name_map: 'nowhere' names 0 of"],
        ),
        (
            state_of({"a": (2,)}),
            {"a": (2,)},
            {"centered": True, "momentum": 0.9, "use_ema": True},
            None,
            [
                "missing: the optimizer has a slot 'mg' and the source none, for 'a'",
                "missing: the optimizer has a slot 'momentum'",
                "missing: the optimizer has a slot 'average'",
            ],
        ),
        (
            state_of({"a": (2,)}, ("rms", "mg", "momentum"), momentum=0.9),
            {"a": (2,)},
            {},
            None,
            [
                "left over: the source has a slot 'mg' and the optimizer none",
                "left over: the source has a slot 'momentum'",
            ],
        ),
        (
            state_of({"a": (2,)}, dtype="float64", iterations=None),
            {"a": (2,)},
            {},
            None,
            [
                "dtype: variable 'a' is float32, 'rms' of 'a' is float64",
                "missing: the source does not tell the number of steps",
            ],
        ),
    ],
    ids=["names", "shape", "positions", "name_map", "wanted", "unwanted", "dtype"],
)
def test_all_that_does_not_fit_is_listed_and_nothing_is_written(
    state, paths, arguments, name_map, messages
):
    optimizer = keras_rmsprop.RMSprop(**arguments)
    variables = [variable(path, shape) for path, shape in paths.items()]
    with pytest.raises(ValueError) as error:
        state.apply_to(optimizer, variables, name_map, restore_values=True)
    assert "Nothing was written" in str(error.value)
    assert str(error.value).count("\n- ") == len(messages)
    for message in messages:
        assert message in str(error.value)
    assert not optimizer.built and int(optimizer.iterations) == 0
    assert not any(np.any(v.numpy()) for v in variables)


def test_values_that_the_source_lacks_cannot_be_restored():
    state = state_of({"a": (2,)})
    state.variables["a"] = VariableState(state.variables["a"].slots)
    with pytest.raises(ValueError, match="the source holds no value of 'a'"):
        state.apply_to(keras_rmsprop.RMSprop(), [variable("a")], restore_values=True)


def test_an_optimizer_built_on_other_variables_is_refused():
    a, b = variable("a"), variable("b")
    optimizer = keras_rmsprop.RMSprop()
    optimizer.build([a, b])
    with pytest.raises(ValueError, match="built also on the variable 'b'"):
        state_of({"a": (2,)}).apply_to(optimizer, [a])
    with pytest.raises(ValueError, match="built without the variable 'c'"):
        state_of({"a": (2,), "b": (2,), "c": (2,)}).apply_to(
            optimizer, [a, b, variable("c")]
        )
    assert rms_of(optimizer) == [0, 0]


def test_an_unread_momentum_slot_is_dropped_and_a_needed_one_is_not_made_up():
    slots = ("rms", "momentum")
    optimizer = keras_rmsprop.RMSprop()
    state_of({"a": (2,)}, slots, momentum=0.0).apply_to(optimizer, [variable("a")])
    with pytest.raises(ValueError, match="may only be dropped if"):
        state_of({"a": (2,)}, slots).apply_to(keras_rmsprop.RMSprop(), [variable("a")])
    target = keras_rmsprop.RMSprop(update_rule="tf1")
    state_of({"a": (2,)}).apply_to(target, [variable("a")])
    assert not np.any(target._momentums[0].numpy())


def test_a_part_of_a_state_is_selected_for_a_part_of_a_model():
    state = state_of({"generator/w": (2,), "discriminator/w": (2,)})
    optimizer = keras_rmsprop.RMSprop()
    state.select("discriminator/").apply_to(optimizer, [variable("discriminator/w")])
    assert rms_of(optimizer) == [11]
    with pytest.raises(ValueError, match="must select variables of the state"):
        state.select(["nobody"])


def test_half_precision_states_fit_half_precision_variables():
    for dtype in ("bfloat16", "float16"):
        bits = tf.as_dtype(dtype).as_numpy_dtype
        optimizer = keras_rmsprop.RMSprop()
        state_of({"a": (2,)}, dtype=bits).apply_to(
            optimizer, [variable("a", dtype=dtype)]
        )
        assert optimizer._velocities[0].dtype == dtype
        assert rms_of(optimizer) == [1]


def contents(optimizer, variables):
    """Returns the bits of an optimizer and variables."""
    return [v.numpy().tobytes() for v in (*optimizer.variables, *variables)]


DAMAGES = {
    "shape": lambda a: np.zeros((3,), a.dtype),
    "rank": lambda a: a[None],
    "scalar": lambda a: a.reshape(-1)[0],
    "dtype": lambda a: a.astype("float64"),
    "integers": lambda a: a.astype("int32"),
    "texts": lambda a: a.astype("str"),
    "objects": lambda a: a.astype(object),
    "list": lambda a: a.tolist(),
    "nan": lambda a: a * np.nan,
    "missing": None,
}


@hypothesis.given(
    st.sampled_from(["a", "b", "c", "m"]),
    st.sampled_from(["rms", "momentum", "value"]),
    st.sampled_from(list(DAMAGES)),
)
@hypothesis.settings(max_examples=120, deadline=None)
def test_one_wrong_array_anywhere_leaves_everything_as_it_was(name, slot, damage):
    shapes = {"a": (2,), "b": (4, 2), "c": (2, 2)}
    state = state_of(shapes, ("rms", "momentum"), momentum=0.9)
    model = model_of(
        [variable(each, shape) for each, shape in shapes.items()],
        [variable("m", (5,))],
    )
    state.others["m"] = np.ones(5, "float32")
    optimizer = keras_rmsprop.RMSprop(momentum=0.9)
    optimizer.build(model.trainable_variables)
    if name == "m":
        arrays, slot = state.others, "m"
    else:
        held = state.variables[name]
        arrays = {**held.slots, "value": held.value}
    if DAMAGES[damage] is None:
        del arrays[slot]
    else:
        arrays[slot] = DAMAGES[damage](arrays[slot])
    if name != "m":
        value = arrays.pop("value", None)
        state.variables[name] = VariableState(arrays, value)
    everything = model.trainable_variables + model.non_trainable_weights
    before = contents(optimizer, everything)
    try:
        state.apply_to(optimizer, model, restore_values=True)
    except ValueError as error:
        assert "Nothing was written" in str(error)
        assert contents(optimizer, everything) == before
    else:
        # The same numbers in a list that has the right dtype by chance.
        raise AssertionError(damage)


@dataclasses.dataclass
class model_of:  # noqa: N801 (made like a value)
    """As much of a model as is looked at."""

    trainable_variables: list
    non_trainable_weights: list


@pytest.mark.parametrize("steps", [-1, 1.5, True, "4", 2**63, ..., None])
def test_a_number_of_steps_that_is_none_is_refused(steps):
    optimizer, a = keras_rmsprop.RMSprop(), variable("a")
    with pytest.raises(ValueError, match="Nothing was written"):
        state_of({"a": (2,)}, iterations=steps).apply_to(optimizer, [a])
    assert not optimizer.built


def test_variables_given_twice_and_what_are_no_variables_are_refused():
    a = variable("a")
    with pytest.raises(ValueError, match="'a' is given 2 times"):
        state_of({"a": (2,), "b": (2,)}).apply_to(keras_rmsprop.RMSprop(), [a, a])
    with pytest.raises(TypeError, match="must be a model, or a list of variables"):
        state_of({"a": (2,)}).apply_to(keras_rmsprop.RMSprop(), [np.zeros(2)])
    with pytest.raises(ValueError, match="has no trainable variables: build it"):
        state_of({"a": (2,)}).apply_to(
            keras_rmsprop.RMSprop(), keras.Sequential([keras.layers.Dense(2)])
        )


def test_variables_of_a_graph_are_refused_without_its_session():
    with tf.Graph().as_default():
        inside = tf.compat.v1.get_variable("a", shape=(2,))
        optimizer = tf.compat.v1.train.RMSPropOptimizer(0.1)
        with pytest.raises(ValueError, match="must be given for variables in a TF1"):
            state_of({"a": (2,)}, ("rms", "momentum")).apply_to(optimizer, [inside])
    with (
        tf.compat.v1.Session(graph=tf.Graph()) as session,
        pytest.raises(ValueError, match="some variables are not in its graph"),
    ):
        state_of({"a": (2,)}).apply_to(optimizer, [inside], session=session)


@pytest.mark.parametrize(
    "made, told, allowed",
    [
        ({"rho": 0.8}, {"rho": 0.9}, "rho"),
        ({"epsilon": 1e-7}, {"epsilon": 1e-10}, "epsilon"),
        ({"clipnorm": 1.0}, {"clipnorm": None}, "clipnorm"),
        ({"weight_decay": None}, {"weight_decay": 0.01}, "weight_decay"),
        ({"sparse_updates": "lazy"}, {"sparse_updates": "dense"}, "sparse_updates"),
        ({"momentum": 0.9, "update_rule": "tf1"}, {"momentum": 0.5}, "momentum"),
        ({"momentum": 0.0, "update_rule": "tf1"}, {"momentum": 0.9}, "momentum"),
    ],
)
def test_an_optimizer_that_contradicts_the_state_is_refused_unless_told(
    made, told, allowed
):
    state = state_of({"a": (2,)}, ("rms", "momentum"), **{"momentum": 0.0, **told})
    with pytest.raises(ValueError, match=f"- {allowed}: the source trained with"):
        state.apply_to(keras_rmsprop.RMSprop(**made), [variable("a")])
    state.apply_to(keras_rmsprop.RMSprop(**made), [variable("a")], allow=[allowed])


def test_what_float32_rounds_or_nothing_reads_is_no_contradiction():
    state = state_of(
        {"a": (2,)}, rho=float(np.float32(0.9)), weight_decay=0, ema_momentum=0.5
    )
    state.apply_to(keras_rmsprop.RMSprop(rho=0.9), [variable("a")])


def test_another_rule_is_refused_unless_told():
    state = dataclasses.replace(state_of({"a": (2,)}), update_rule="tf1")
    with pytest.raises(ValueError, match="update_rule: the source trained with 'tf1'"):
        state.apply_to(keras_rmsprop.RMSprop(), [variable("a")])
    state.apply_to(keras_rmsprop.RMSprop(), [variable("a")], allow="update_rule")
    with pytest.raises(ValueError, match="`allow` must name what may differ, of rho"):
        state.apply_to(keras_rmsprop.RMSprop(), [variable("a")], allow=["all"])


def test_a_momentum_that_nothing_tells_is_not_given_to_an_optimizer_without():
    state = state_of({"a": (2,)}, ("rms", "momentum"))
    optimizer = keras_rmsprop.RMSprop(update_rule="tf1")
    with pytest.raises(
        ValueError, match="- momentum: the optimizer's is 0, the source"
    ):
        state.apply_to(optimizer, [variable("a")])
    state.hyperparameters["momentum"] = 0.0
    state.apply_to(optimizer, [variable("a")])


def test_damaged_slots_are_refused_unless_told():
    for name, number in (("nan", np.nan), ("negative", -1.0)):
        state = state_of({"a": (2,), "b": (4,)})
        state.variables["b"].slots["rms"][1] = number
        variables = [variable("a"), variable("b", (4,))]
        with pytest.raises(ValueError, match=f"- {name}: 'rms' of 'b'"):
            state.apply_to(keras_rmsprop.RMSprop(), variables)
        optimizer = keras_rmsprop.RMSprop()
        state.apply_to(optimizer, variables, allow=[name])
        np.testing.assert_array_equal(optimizer._velocities[1][1], number)


def normalized(name):
    return keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, name="hidden"),
            keras.layers.BatchNormalization(name=name),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(2, name="out"),
        ]
    )


def state_of_model(model):
    optimizer = keras_rmsprop.RMSprop()
    model.compile(optimizer, "mse")
    data = np.random.default_rng(0).normal(size=(8, 5)).astype("float32")
    model.fit(data[:, :3], data[:, 3:], verbose=0)
    state = migration.read_state(optimizer)
    state.others = {v.path: v.numpy() for v in model.non_trainable_weights}
    return state


def test_a_whole_model_takes_the_values_of_what_is_not_trained():
    old, new = normalized("norm"), normalized("renamed")
    state = state_of_model(old)
    state.others["shadow/of/nothing"] = np.ones(7, "float32")
    with pytest.warns(UserWarning, match="also holds 'shadow/of/nothing', which"):
        state.apply_to(keras_rmsprop.RMSprop(), new, restore_values=True)
    for ours, theirs in zip(new.weights, old.weights):
        np.testing.assert_array_equal(ours, theirs)
    # A list of variables leaves the others where they are, and says so.
    third = normalized("norm")
    with pytest.warns(UserWarning, match="also holds .*moving_mean'.* and .*stay as"):
        state.apply_to(
            keras_rmsprop.RMSprop(), third.trainable_variables, restore_values=True
        )
    assert not np.any(third.layers[1].moving_mean)


def test_what_is_not_trained_has_to_be_held_if_a_model_is_restored():
    state = state_of_model(normalized("norm"))
    state.others.popitem()
    new = normalized("norm")
    with pytest.raises(
        ValueError, match="no value of the untrained variable 'seq.*var"
    ):
        state.apply_to(keras_rmsprop.RMSprop(), new, restore_values=True)
    state.apply_to(keras_rmsprop.RMSprop(), new)
    new.layers[0].trainable = False
    with pytest.raises(ValueError, match="missing: there is no value of the untrained"):
        state.apply_to(keras_rmsprop.RMSprop(), new, restore_values=True)


@pytest.mark.parametrize("map_of", [None, dict.fromkeys(["x", "y"], "z")])
def test_an_error_fits_a_screen_however_many_variables_there_are(map_of):
    names = [f"scope/layer_{i}/kernel" for i in range(2000)]
    state = state_of(dict.fromkeys(names, (2,)))
    paths = [f"model/layer_{i + 1}/kernel" for i in range(2000)]
    variables = [Named(path, (2,)) for path in paths]
    started = time.process_time()
    with pytest.raises(ValueError) as error:
        state.apply_to(keras_rmsprop.RMSprop(), variables, map_of)
    assert time.process_time() - started < 10
    message = str(error.value)
    assert len(message) < 4000 and message.count("\n") < 40
    pasted = message.partition("name_map=")[2]
    held = {"dict": dict, "zip": zip, "variables": variables, "state": state}
    assert eval(pasted, held) == dict(zip(paths, names))


class Named:
    """A variable that costs nothing to make."""

    def __init__(self, path, shape):
        self.name = self.path = path
        self.shape, self.dtype = shape, tf.float32

    def assign(self, value):
        raise AssertionError(value)

    assign_add = assign


def test_many_variables_take_less_than_twice_what_keras_takes():
    shapes = {f"layer_{i}/kernel": (2,) for i in range(500)}
    state = state_of(shapes, ("rms", "momentum"), momentum=0.9)
    variables = [variable(path, shape) for path, shape in shapes.items()]

    def seconds(call, *arguments, **options):
        started = time.process_time()
        call(*arguments, **options)
        return time.process_time() - started

    # In turn, and the least of three: garbage of other tests is collected at any time.
    stock, ours = [], []
    for _ in range(3):
        stock.append(seconds(keras.optimizers.RMSprop(momentum=0.9).build, variables))
        optimizer = keras_rmsprop.RMSprop(momentum=0.9)
        ours.append(seconds(state.apply_to, optimizer, variables, restore_values=True))
    assert min(ours) < 2 * min(stock)


def test_what_is_no_rmsprop_is_refused():
    with pytest.raises(TypeError, match="must be an RMSProp optimizer"):
        state_of({"a": (2,)}).apply_to(keras.optimizers.Adam(), [variable("a")])


def test_the_shared_runs_name_variables_as_the_state_does():
    names = list(runs.SHAPES)
    assert [v.path for v in runs.keras_variables(runs.start())] == names
