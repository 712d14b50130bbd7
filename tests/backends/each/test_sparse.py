"""Sparse gradients: JAX's `BCOO`, PyTorch's COO tensors, and what has none."""

import backend_programs as programs
import keras
import numpy as np
import pytest

import keras_rmsprop
from keras_rmsprop.core import reference
from keras_rmsprop.update_rule import UpdateRule

BACKEND = keras.backend.backend()
ROWS, COLUMNS = 9, 4


def slices(values, indices, shape=(ROWS, COLUMNS)):
    """Returns a sparse gradient."""
    values, indices = np.asarray(values, "float32"), np.asarray(indices)
    if BACKEND == "jax":
        from jax.experimental import sparse

        return sparse.BCOO((values, indices[:, None]), shape=shape)
    import torch

    return torch.sparse_coo_tensor(indices[None], values, shape)


def table():
    return programs.variables(shapes=((ROWS, COLUMNS),))[0]


@pytest.mark.parametrize("arguments", ["plain", "centered_momentum"])
@pytest.mark.parametrize("rule", programs.RULES)
def test_rows_follow_the_reference_and_others_rest(rule, arguments):
    arguments = programs.ARGUMENTS[arguments]
    momentum = arguments.get("momentum", 0.0)
    variable, rng = table(), np.random.default_rng(0)
    optimizer = keras_rmsprop.RMSprop(0.01, epsilon=1e-3, update_rule=rule, **arguments)
    rule = UpdateRule.get(rule)
    expected = variable.numpy()
    state = reference.initial_slots(
        rule, expected, momentum=momentum, centered="centered" in arguments
    )
    before = variable.numpy()
    for _ in range(20):
        indices = rng.integers(0, 6, 5)
        indices[1] = indices[0]
        values = rng.normal(size=(5, COLUMNS)).astype("float32")
        optimizer.apply([slices(values, indices)], [variable])
        expected, state = reference.step(
            rule,
            expected,
            state,
            values,
            indices=indices,
            learning_rate=0.01,
            momentum=momentum,
            epsilon=1e-3,
        )
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(variable.numpy()[6:], before[6:])
    for slot in optimizer.variables[2:]:
        fill = rule.initial_mean_square if slot.name.endswith("velocity") else 0
        np.testing.assert_array_equal(slot.numpy()[6:], fill)


@pytest.mark.parametrize(
    "arguments",
    [
        {"sparse_updates": "dense"},
        {"gradient_accumulation_steps": 2},
    ],
)
def test_dense_treatment_and_accumulation_take_slices_as_dense(arguments):
    values, indices = np.ones((3, COLUMNS)), [4, 1, 4]
    dense = np.zeros((ROWS, COLUMNS), "float32")
    np.add.at(dense, indices, values)
    results = []
    for gradient in (slices(values, indices), dense):
        variable = table()
        optimizer = keras_rmsprop.RMSprop(0.01, momentum=0.9, **arguments)
        for _ in range(4):
            optimizer.apply([gradient], [variable])
        results.append(variable.numpy())
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("name", ["clipnorm", "clipvalue", "global_clipnorm"])
def test_slices_are_clipped_as_the_dense_gradient(name):
    values, indices = np.ones((3, COLUMNS)), [4, 1, 4]
    dense = np.zeros((ROWS, COLUMNS), "float32")
    np.add.at(dense, indices, values)
    results = []
    for gradient in (slices(values, indices), dense):
        variable = table()
        keras_rmsprop.RMSprop(0.01, epsilon=0.1, **{name: 0.5}).apply(
            [gradient], [variable]
        )
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_a_loss_scale_divides_slices():
    results = []
    for scale, factor in ((None, 1.0), (8.0, 8.0)):
        variable = table()
        keras_rmsprop.RMSprop(0.01, loss_scale_factor=scale).apply(
            [slices(factor * np.ones((2, COLUMNS)), [4, 1])], [variable]
        )
        results.append(variable.numpy())
    np.testing.assert_allclose(*results, rtol=1e-6)


def test_what_names_no_rows_is_refused():
    values, variable = np.ones(2, "float32"), table()
    if BACKEND == "jax":
        from jax.experimental import sparse

        places = np.array([[0, 1], [2, 3]])
        gradient = sparse.BCOO((values, places), shape=(ROWS, COLUMNS))
    else:
        import torch

        places = np.array([[0, 2], [1, 3]])
        gradient = torch.sparse_coo_tensor(places, values, (ROWS, COLUMNS))
    optimizer = keras_rmsprop.RMSprop(0.1)
    with pytest.raises(ValueError, match="must name rows.*sparse_updates='dense'"):
        optimizer.apply([gradient], [variable])
    keras_rmsprop.RMSprop(0.1, sparse_updates="dense").apply([gradient], [variable])
    assert (variable.numpy() != table().numpy()).sum() == 2


def embedding_model():
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [
            keras.Input((2,), dtype="int32"),
            keras.layers.Embedding(ROWS, COLUMNS),
            keras.layers.Flatten(),
            keras.layers.Dense(1),
        ]
    )


def fit(optimizer):
    model = embedding_model()
    model.compile(optimizer, "mse")
    x = np.array([[0, 1], [2, 3]] * 4)
    model.fit(x, np.ones((8, 1)), batch_size=2, verbose=0)
    return model


def test_an_embedding_under_lazy_updates_warns_that_all_rows_decay():
    with pytest.warns(UserWarning, match="Every row of .*embeddings will decay"):
        fit(keras_rmsprop.RMSprop(0.01))


@pytest.mark.filterwarnings("error:Every row")
def test_an_embedding_under_dense_updates_and_other_models_do_not():
    fit(keras_rmsprop.RMSprop(0.01, sparse_updates="dense"))
    keras_rmsprop.RMSprop(0.01).build([table()])


@pytest.mark.skipif(BACKEND != "torch", reason="its gradients are sparse on PyTorch")
def test_a_sparse_embedding_of_pytorch_is_updated_lazily():
    import torch

    layer = keras.layers.TorchModuleWrapper(
        torch.nn.Embedding(ROWS, COLUMNS, sparse=True)
    )
    (variable,) = layer.trainable_variables
    before = variable.numpy().copy()
    optimizer = keras_rmsprop.RMSprop(0.1, momentum=0.9)
    for _ in range(2):
        layer.zero_grad()
        layer(torch.tensor([3, 5, 3])).sum().backward()
        assert variable.value.grad.is_sparse
        optimizer.apply([variable.value.grad], [variable])
    moved = (variable.numpy() != before).any(axis=1)
    assert moved.nonzero()[0].tolist() == [3, 5]


@pytest.mark.skipif(BACKEND != "jax", reason="only JAX compiles steps")
def test_sparse_steps_compile():
    import jax

    results = []
    for wrap in (lambda f: f, jax.jit):
        variable = table()
        optimizer = keras_rmsprop.RMSprop(0.01, momentum=0.9, clipnorm=1.0)
        optimizer.build([variable])
        state = [v.value for v in optimizer.variables]
        (value,), _ = wrap(optimizer.stateless_apply)(
            state, [slices(np.ones((3, COLUMNS)), [4, 1, 4])], [variable.value]
        )
        results.append(np.asarray(value))
    np.testing.assert_allclose(*results, rtol=1e-6)
