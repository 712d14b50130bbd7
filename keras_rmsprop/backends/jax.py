"""The step on JAX: pure functions, compiled."""

import functools

import jax
import jax.numpy as jnp
from jax.experimental import sparse

from keras_rmsprop.backends import arrays
from keras_rmsprop.core import formula


class Step(arrays.Step):
    """How `keras_rmsprop.RMSprop` takes a step; sparse gradients are `BCOO`."""

    def _update_dense(self, rule, numbers, rate, grads, variables, slots):
        if isinstance(grads[0], jax.core.Tracer) and not self._traced:
            self._traced = True  # From now on, to set `rho` may come too late.
        held = [each.map(lambda slot: slot.value) for each in slots]
        values = [variable.value for variable in variables]
        for variable, each, (value, new) in zip(
            variables, slots, _dense_steps(rule, numbers, rate, grads, values, held)
        ):
            _assign(variable, each, value, new)

    def _update_rows(self, rule, numbers, rate, gradient, variable, slots):
        held = slots.map(lambda slot: slot.value)
        _assign(
            variable,
            slots,
            *_rows_step(rule, numbers, rate, gradient, variable.value, held),
        )

    # JAX donates what `fit` trains, and refuses to do so twice with one array. A
    # variable and its average therefore never share one, as in Keras they do.
    def _overwrite_model_variables_with_average_value(self, trainable_variables):
        for variable, average in self._with_averages(trainable_variables):
            variable.assign(jnp.copy(average.value))

    _is_sparse = staticmethod(lambda gradient: isinstance(gradient, sparse.JAXSparse))
    _values = staticmethod(lambda g: g.data if isinstance(g, sparse.JAXSparse) else g)
    _densified = staticmethod(lambda gradient: gradient.todense())

    @staticmethod
    def _with_values(gradient, values):
        return sparse.BCOO((values, gradient.indices), shape=gradient.shape)

    @staticmethod
    def _names_rows(gradient):
        return (
            isinstance(gradient, sparse.BCOO)
            and gradient.n_batch == 0
            and gradient.n_sparse == 1
        )

    @staticmethod
    def _summed(gradient):
        if not isinstance(gradient, sparse.BCOO):
            return gradient
        # Of a length that does not depend on values. Freed places hold zeros and an
        # index past the end.
        return gradient.sum_duplicates(nse=gradient.nse)


OPERATIONS = formula.Operations(
    square=jnp.square,
    plus_square=lambda array, x, factor: array + factor * jnp.square(x),
    minus_square=lambda array, x: array - jnp.square(x),
    sqrt=lambda array, spent: jnp.sqrt(array),
    rsqrt=jax.lax.rsqrt,
    where=jnp.where,
    zeros_like=jnp.zeros_like,
    clip=jnp.clip,
    isfinite=jnp.isfinite,
    greatest=lambda array: (
        float(jnp.finfo(array.dtype).max)
        if jnp.issubdtype(array.dtype, jnp.floating)
        else None
    ),
)


# Eager steps are compiled, too: each operation for itself costs more than a program
# for all variables. In a function that JAX compiles they are part of that.
@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _dense_steps(rule, numbers, rate, grads, values, slots):
    """Returns the new value and the new `Slots` of each variable."""
    steps = []
    for gradient, value, held in zip(grads, values, slots):
        new, value = _updated(rule, numbers, rate, gradient, held, value)
        steps.append((value, new))
    return steps


@functools.partial(jax.jit, static_argnums=(0, 1), inline=True)
def _rows_step(rule, numbers, rate, gradient, value, slots):
    """Returns the new value and the new `Slots` of a variable whose rows change."""
    gradient = Step._summed(gradient)
    indices = gradient.indices[:, 0]

    def rows(array):
        return array.at[indices].get(mode="clip")

    def with_rows(array, new):
        return array.at[indices].set(new, mode="drop")

    held = slots.map(rows)
    new, value_rows = _updated(rule, numbers, rate, gradient.data, held, rows(value))
    changed = [
        None if old is None else with_rows(old, each) for old, each in zip(slots, new)
    ]
    return with_rows(value, value_rows), type(slots)(*changed)


def _updated(rule, numbers, rate, gradient, slots, value):
    hyper, has_epsilon = arrays.scalars(rule, *numbers, gradient.dtype.name)
    hyper = hyper._replace(learning_rate=rate.astype(gradient.dtype))
    rounding = arrays.rounding(rule, slots)
    arguments = OPERATIONS, rounding, slots, gradient, hyper, has_epsilon, value
    if jax.default_backend() == "cpu" and not _is_split(value):
        return formula.update_by_one(*arguments, _after)
    return formula.update(*arguments)


def _is_split(array):
    """Whether an array's type says how devices share it: then JAX takes no element."""
    spec = getattr(getattr(array.aval, "sharding", None), "spec", ())
    return any(part is not None for part in spec)


def _after(array, other):
    # Times 1, which XLA cannot know: it does not see that the one bit is shifted out.
    bit = jnp.any(other[(slice(1),) * other.ndim] != 0).astype(int)
    return array * (1 + (bit >> 1)).astype(array.dtype)


def _assign(variable, slots, value, new):
    variable.assign(value)
    for slot, each in zip(slots, new):
        if slot is not None:
            slot.assign(each)
