"""Every source of state, written by the optimizers that shipped, reads back exactly."""

import contextlib

import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from migration.state import runs

import keras_rmsprop
from keras_rmsprop import migration

tf1 = tf.compat.v1


@pytest.fixture(params=list(runs.OPTIONS), scope="module")
def options(request):
    return runs.OPTIONS[request.param]


@contextlib.contextmanager
def tf1_training(**options):
    """Yields a session after 3 steps, with bystanders of all sorts, and its run."""
    with tf.Graph().as_default(), tf1.Session() as session:
        variables = [
            tf1.get_variable(name, initializer=value)
            for name, value in runs.start().items()
        ]
        grads = [tf.constant(g) for g in next(runs.gradients(0, 1))]
        pairs = list(zip(grads, variables))
        average = tf.train.ExponentialMovingAverage(0.9)
        optimizer = runs.MAKE["shipped_tf1"](**options)
        steps = [
            optimizer.apply_gradients(pairs, tf1.train.get_or_create_global_step()),
            tf1.train.AdamOptimizer(0.1).apply_gradients(pairs),
            tf1.train.MomentumOptimizer(0.1, 0.9).apply_gradients(pairs),
            tf1.train.AdadeltaOptimizer(0.1).apply_gradients(pairs),
            average.apply(variables),
        ]
        session.run(tf1.global_variables_initializer())
        for _ in range(3):
            session.run(steps)
        yield session, optimizer, variables


def truth(session, optimizer, variables):
    """Returns slots and values by variable name, as the optimizer tells them."""
    found = {}
    for variable in variables:
        slots = {
            slot: optimizer.get_slot(variable, slot)
            for slot in ("rms", "mg", "momentum")
        }
        slots = {k: session.run(v) for k, v in slots.items() if v is not None}
        found[variable.op.name] = (slots, session.run(variable))
    return found


def assert_is(state, expected):
    assert set(state.variables) == set(expected)
    for name, (slots, value) in expected.items():
        runs.assert_same_bits(state.variables[name].slots, slots)
        runs.assert_same_bits({name: state.variables[name].value}, {name: value})


@pytest.mark.parametrize("meta", [True, False], ids=["graph", "names_only"])
@pytest.mark.parametrize("name", ["RMSProp", "Mine"])
def test_a_saver_checkpoint(options, meta, name, tmp_path):
    with tf1_training(name=name, **options) as (session, optimizer, variables):
        expected = truth(session, optimizer, variables)
        prefix = tf1.train.Saver().save(
            session, str(tmp_path / "model"), global_step=3, write_meta_graph=meta
        )
    for source in (prefix, str(tmp_path), f"{prefix}.index"):
        state = migration.read_state(source)
        assert_is(state, expected)
        assert (state.iterations, state.kind, state.update_rule) == (3, "tf1", "tf1")
        assert state.hyperparameters["centered"] == options.get("centered", False)
    if meta:
        assert state.hyperparameters == {
            "learning_rate": 0.05,
            "decay": 0.8,
            "momentum": 0.0,
            "epsilon": 1e-6,
            "centered": False,
            **options,
        }


@pytest.mark.parametrize("meta", [True, False], ids=["graph", "names_only"])
@pytest.mark.parametrize(
    "scope, partitioner",
    [("", tf1.fixed_size_partitioner(2)), ("training", None)],
    ids=["partitions", "scope"],
)
def test_partitioned_variables_and_scoped_slots(scope, partitioner, meta, tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        parts = tf1.get_variable("parts", shape=(5, 2), partitioner=partitioner)
        with tf1.variable_scope(scope):
            step = tf1.train.RMSPropOptimizer(0.1).minimize(
                tf.reduce_sum(tf.convert_to_tensor(parts) ** 2)
            )
        session.run(tf1.global_variables_initializer())
        session.run(step)
        value = session.run(tf.convert_to_tensor(parts))
        prefix = tf1.train.Saver().save(
            session, str(tmp_path / "m"), write_meta_graph=meta
        )
    state = migration.read_state(prefix)
    assert state.iterations is None
    assert {n: v.shape for n, v in state.variables.items()} == {"parts": (5, 2)}
    np.testing.assert_array_equal(state.variables["parts"].value, value)


@pytest.mark.parametrize("meta", [True, False], ids=["graph", "names_only"])
def test_which_of_two_optimizers_has_to_be_told(meta, tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        v = tf1.get_variable("v", shape=(2,))
        for name, centered in (("RMSProp", False), ("Second", True)):
            tf1.train.RMSPropOptimizer(0.1, name=name, centered=centered).minimize(
                tf.reduce_sum(v**2)
            )
        tf1.get_variable("steps", initializer=np.int64(4))
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(
            session, str(tmp_path / "m"), write_meta_graph=meta
        )
    with pytest.raises(ValueError, match="(?s)'RMSProp'.*'Second'.*optimizer_name"):
        migration.read_state(prefix)
    state = migration.read_state(prefix, optimizer_name="Second", global_step="steps")
    assert list(state.variables["v"].slots) == ["rms", "mg", "momentum"]
    assert state.iterations == 4
    with pytest.raises(ValueError, match="centered=False"):
        migration.read_state(prefix, optimizer_name="Second", centered=False)
    with pytest.raises(ValueError, match=r"one of \['steps'\]"):
        migration.read_state(prefix, optimizer_name="Second", global_step="v")


def saved_after(minimize, prefix):
    """Builds a graph over `g` and `d`, and returns the prefix of its checkpoint."""
    with tf.Graph().as_default(), tf1.Session() as session:
        g, d = (tf1.get_variable(name, shape=(2,)) for name in "gd")
        minimize(g, d)
        session.run(tf1.global_variables_initializer())
        return tf1.train.Saver().save(session, str(prefix))


def test_two_optimizers_of_one_name_go_by_their_operations(tmp_path):
    def minimize(g, d):
        for variable, rate in ((g, 0.1), (d, 0.2)):
            tf1.train.RMSPropOptimizer(rate).minimize(
                tf.reduce_sum((g * d) ** 2), var_list=[variable]
            )

    prefix = saved_after(minimize, tmp_path / "m")
    with pytest.raises(ValueError, match="'RMSProp' .*'RMSProp_1' "):
        migration.read_state(prefix)
    state = migration.read_state(prefix, optimizer_name="RMSProp_1")
    assert list(state.variables) == ["d"]
    assert state.hyperparameters["learning_rate"] == 0.2


def test_an_optimizer_that_minimizes_two_losses_is_one(tmp_path):
    def minimize(g, d):
        optimizer = tf1.train.RMSPropOptimizer(0.1)
        optimizer.minimize(tf.reduce_sum(g**2))
        optimizer.minimize(tf.reduce_sum((g * d) ** 2))

    prefix = saved_after(minimize, tmp_path / "m")
    assert set(migration.read_state(prefix).variables) == {"g", "d"}


def test_a_directory_that_was_moved_is_read(tmp_path):
    def minimize(g, d):
        tf1.train.RMSPropOptimizer(0.1).minimize(tf.reduce_sum((g * d) ** 2))

    (tmp_path / "old").mkdir()
    saved_after(minimize, tmp_path / "old" / "m")
    (tmp_path / "old").rename(tmp_path / "new")
    assert set(migration.read_state(tmp_path / "new").variables) == {"g", "d"}


def test_a_checkpoint_without_rmsprop_says_so(tmp_path):
    with tf.Graph().as_default(), tf1.Session() as session:
        v = tf1.get_variable("v", shape=(2,))
        tf1.train.AdamOptimizer().minimize(tf.reduce_sum(v**2))
        session.run(tf1.global_variables_initializer())
        prefix = tf1.train.Saver().save(session, str(tmp_path / "m"))
    with pytest.raises(ValueError, match="trains with ResourceApplyAdam, and"):
        migration.read_state(prefix)


def test_a_tf1_optimizer_in_an_object_checkpoint(options, tmp_path):
    with tf1_training(**options) as (session, optimizer, variables):
        expected = truth(session, optimizer, variables)
        checkpoint = tf1.train.Checkpoint(
            optimizer=optimizer,
            variables=variables,
            step=tf1.train.get_global_step(),
        )
        prefix = checkpoint.save(str(tmp_path / "c"), session=session)
    state = migration.read_state(prefix)
    assert_is(state, expected)
    assert (state.iterations, state.kind) == (3, "tf1")


@pytest.mark.parametrize("name", ["shipped_tf1", "tf1"])
def test_an_eager_tf1_optimizer_alive_and_in_a_checkpoint(name, options, tmp_path):
    variables = runs.tf_variables(runs.start())
    optimizer = runs.MAKE[name](**options)
    runs.train(optimizer, variables, 0, 3)
    live = migration.read_state(optimizer, variables=variables)
    assert live.iterations is None
    runs.assert_same_state(migration.read_state(optimizer), live, values=False)
    step = tf.Variable(3, dtype=tf.int64, name="global_step")
    prefix = tf.train.Checkpoint(o=optimizer, v=variables, s=step).save(
        str(tmp_path / "c")
    )
    state = migration.read_state(str(tmp_path))
    live.iterations = 3
    runs.assert_same_state(state, live)
    assert migration.read_state(prefix, global_step="s").iterations == 3


@pytest.mark.parametrize("name", ["shipped_legacy", "legacy"])
def test_an_optimizer_v2_alive_and_in_a_checkpoint(name, options, tmp_path):
    variables = runs.tf_variables(runs.start())
    optimizer = runs.MAKE[name](**options)
    runs.train(optimizer, variables, 0, 3)
    live = migration.read_state(optimizer, variables=variables)
    assert (live.iterations, live.kind, live.update_rule) == (3, "legacy", "legacy")
    runs.assert_same_state(migration.read_state(optimizer), live, values=False)
    tf.train.Checkpoint(o=optimizer, v=variables).save(str(tmp_path / "c"))
    state = migration.read_state(str(tmp_path))
    runs.assert_same_state(state, live)
    assert state.kind == "legacy"
    assert state.hyperparameters["rho"] == 0.8


@pytest.mark.parametrize("name", ["shipped_keras", "modern", "modern_tf1"])
def test_a_keras_3_optimizer_alive_and_in_a_checkpoint(name, options, tmp_path):
    variables = runs.keras_variables(runs.start())
    optimizer = runs.MAKE[name](**options)
    runs.train(optimizer, variables, 0, 3)
    live = migration.read_state(optimizer)
    assert live.iterations == 3
    assert live.update_rule == ("tf1" if name == "modern_tf1" else "keras")
    tf.train.Checkpoint(o=optimizer).save(str(tmp_path / "c"))
    state = migration.read_state(str(tmp_path))
    # The file has the names the variables were made with.
    for found, expected in zip(state.variables.values(), live.variables.values()):
        runs.assert_same_bits(found.slots, expected.slots)
        runs.assert_same_bits({"": found.value}, {"": expected.value})
    assert state.iterations == 3


def layers_of(library, optimizer):
    model = library.Sequential(
        [
            library.layers.Input((3,)),
            library.layers.Dense(4),
            library.layers.BatchNormalization(),
            library.layers.Dense(4),
            library.layers.Dense(4),
        ]
    )
    model.compile(optimizer, "mse")
    data = np.random.default_rng(0).normal(size=(8, 7)).astype("float32")
    model.fit(data[:, :3], data[:, 3:], verbose=0, batch_size=4)
    return model


LEGACY = {
    "shipped": tf_keras.optimizers.legacy.RMSprop,
    "since_2_11": tf_keras.optimizers.RMSprop,
}


@pytest.mark.parametrize("cls", LEGACY.values(), ids=LEGACY)
def test_a_tf_keras_model_in_every_format(cls, options, tmp_path):
    model = layers_of(tf_keras, cls(0.01, **options))
    variables = model.trainable_variables
    expected = {
        v.name.removesuffix(":0"): (v.numpy(), slots_in(model.optimizer, v, i))
        for i, v in enumerate(variables)
    }
    model.save(str(tmp_path / "model.h5"))
    tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint" / "c"))
    model.save(str(tmp_path / "saved_model"), save_format="tf")
    for source in ("model.h5", "checkpoint", "saved_model"):
        state = migration.read_state(tmp_path / source)
        assert state.iterations == 2
        assert list(state.variables) == list(expected), source
        for name, (value, slots) in expected.items():
            runs.assert_same_bits(state.variables[name].slots, slots)
            runs.assert_same_bits({"": state.variables[name].value}, {"": value})
    if cls is LEGACY["since_2_11"]:
        model.save(tmp_path / "model.keras")
        state = migration.read_state(tmp_path / "model.keras", variables=variables)
        for name, (_, slots) in zip(state.variables, expected.values()):
            runs.assert_same_bits(state.variables[name].slots, slots)


def slots_in(optimizer, variable, index):
    if isinstance(optimizer, LEGACY["shipped"]):
        names = [
            n for n in ("rms", "mg", "momentum") if n in optimizer.get_slot_names()
        ]
        return {name: optimizer.get_slot(variable, name).numpy() for name in names}
    lists = {
        "rms": optimizer._velocities,
        "mg": optimizer._average_gradients,
        "momentum": optimizer._momentums,
    }
    return {name: each[index].numpy() for name, each in lists.items() if len(each)}


KERAS = {
    "stock": keras.optimizers.RMSprop,
    "ours": keras_rmsprop.RMSprop,
    "ours_tf1": lambda *a, **k: keras_rmsprop.RMSprop(*a, update_rule="tf1", **k),
}


@pytest.mark.parametrize("make", KERAS.values(), ids=KERAS)
@pytest.mark.filterwarnings("ignore:You are saving")
def test_a_keras_3_model_in_every_format(make, options, tmp_path):
    model = layers_of(keras, make(0.01, **options))
    live = migration.read_state(model.optimizer)
    variables = model.trainable_variables
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    model.save(tmp_path / "model.h5")
    tf.train.Checkpoint(model=model).save(str(tmp_path / "checkpoint" / "c"))

    for source in ("model.h5", "checkpoint"):
        runs.assert_same_state(migration.read_state(tmp_path / source), live)
    named = migration.read_state(tmp_path / "model.keras", variables=variables)
    runs.assert_same_state(named, live, values=False)
    assert named.update_rule == live.update_rule
    positional = migration.read_state(tmp_path / "model.keras")
    assert positional.is_positional
    successor = make(0.01, **options)
    positional.apply_to(successor, variables)
    runs.assert_same_state(migration.read_state(successor), live)

    weights = migration.read_state(
        tmp_path / "model.weights.h5",
        variables=variables,
        centered=options.get("centered", False),
    )
    runs.assert_same_state(weights, live, values=False)


def test_a_weights_file_that_does_not_tell_lists_what_it_could_be(tmp_path):
    model = layers_of(keras, keras.optimizers.RMSprop(0.01, momentum=0.9))
    path = tmp_path / "model.weights.h5"
    # So many steps that the momentum of some variable is no mean of squares, but that
    # of no variable could be told from a mean gradient.
    model.save_weights(path)
    with pytest.raises(ValueError, match="(?s)rms, momentum.* or .*rms, mg.*centered"):
        migration.read_state(path)
    state = migration.read_state(path, centered=False)
    assert list(state.variables["0"].slots) == ["rms", "momentum"]


def test_a_schedule_leaves_no_learning_rate_in_the_file(tmp_path):
    schedule = keras.optimizers.schedules.InverseTimeDecay(0.1, 10, 0.5)
    model = layers_of(keras, keras.optimizers.RMSprop(schedule))
    model.save(tmp_path / "model.keras")
    live = migration.read_state(model.optimizer)
    state = migration.read_state(
        tmp_path / "model.keras", variables=model.trainable_variables
    )
    runs.assert_same_state(state, live, values=False)


def test_the_legacy_face_in_keras_3_files(options, tmp_path):
    model = layers_of(keras, keras_rmsprop.legacy.RMSprop(0.01, **options))
    variables = model.trainable_variables
    live = migration.read_state(model.optimizer, variables=variables)
    model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")
    for source, hint in (
        ("model.keras", {}),
        ("model.weights.h5", {"centered": options.get("centered", False)}),
    ):
        state = migration.read_state(tmp_path / source, variables=variables, **hint)
        runs.assert_same_state(state, live, values=False)
        assert (state.kind, state.update_rule) == ("legacy", "legacy")


def test_of_several_optimizers_in_an_object_checkpoint_one_has_to_be_chosen(tmp_path):
    variables = runs.keras_variables(runs.start())
    first, second = (runs.MAKE["shipped_keras"]() for _ in range(2))
    runs.train(first, variables, 0, 1)
    runs.train(second, variables, 0, 2)
    adam = keras.optimizers.Adam()
    adam.build(variables)
    prefix = tf.train.Checkpoint(a=first, b=second, c=adam).save(str(tmp_path / "c"))
    with pytest.raises(ValueError, match=r"2 RMSProp optimizers: \['a', 'b'\]"):
        migration.read_state(prefix)
    assert migration.read_state(prefix, optimizer_name="b").iterations == 2


def test_variables_of_one_name_need_to_be_told_apart(tmp_path):
    variables = [tf.Variable([1.0]), tf.Variable([2.0])]
    optimizer = tf1.train.RMSPropOptimizer(0.1)
    optimizer.apply_gradients([(tf.constant([1.0]), v) for v in variables])
    with pytest.raises(ValueError, match=r"are named \['Variable'\]"):
        migration.read_state(optimizer)
    # In a checkpoint they have paths.
    prefix = tf.train.Checkpoint(o=optimizer, v=variables).save(str(tmp_path / "c"))
    assert list(migration.read_state(prefix).variables) == ["v/0", "v/1"]


@pytest.mark.parametrize(
    "source, options, error, message",
    [
        (3, {}, TypeError, "must be a path or an optimizer"),
        ("/nowhere/model", {}, FileNotFoundError, "no file or checkpoint"),
        (".", {}, ValueError, "holds no checkpoint"),
        (keras.optimizers.Adam(), {}, TypeError, "must be an RMSProp optimizer"),
        (keras.optimizers.RMSprop(), {}, ValueError, "has no slots yet"),
        (keras.optimizers.RMSprop(), {"centered": True}, ValueError, "says nothing"),
    ],
)
def test_what_is_no_source_is_refused(
    source, options, error, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        migration.read_state(source, **options)


def test_a_graph_optimizer_without_a_session_is_refused():
    with (
        tf1_training() as (_, optimizer, variables),
        pytest.raises(ValueError, match="`session` must be given"),
    ):
        migration.read_state(optimizer, variables=variables)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_half_precision_in_keras_3_files(dtype, name, tmp_path):
    layer = keras.layers.Dense(2, dtype=dtype)
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(keras.optimizers.RMSprop(0.1), "mse")
    model.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    (model.save_weights if "weights" in name else model.save)(tmp_path / name)
    live = migration.read_state(model.optimizer)
    state = migration.read_state(tmp_path / name, variables=model.trainable_variables)
    runs.assert_same_state(state, live, values=False)
    assert {v.slots["rms"].dtype.name for v in state.variables.values()} == {dtype}
