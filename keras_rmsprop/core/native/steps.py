"""Steps by the native kernels."""

import collections
import functools

import tensorflow as tf

from keras_rmsprop.core import execution, formula
from keras_rmsprop.core.native import library

# The roundings that the kernels know. Sparse gradients of the others are left to
# TensorFlow's kernels, whose vectorized root is not reproduced.
_DENSE_FORMS = {
    formula.DENSE_KERNEL: "kernel",
    formula.KERAS: "keras",
    formula.LEGACY: "legacy",
}
_SPARSE_FORMS = {formula.KERAS: "keras", formula.LEGACY: "legacy"}
_DTYPES = (tf.float32, tf.float64)


def take_dense(rounding, variable):
    """Whether the kernels are there for a variable with a dense gradient."""
    return rounding in _DENSE_FORMS and _take(variable)


def take_sparse(rounding, variable):
    """Whether the kernels are there for a variable with a sparse gradient."""
    return rounding in _SPARSE_FORMS and _take(variable)


def _take(variable):
    """Whether a variable lies on a CPU of this process, and kernels are built."""
    return (
        variable.dtype in _DTYPES
        and execution.is_on_own_cpu(variable)
        and execution.is_eager_program()
        and not execution.is_compiled()
        and library.ops() is not None
    )


def apply_dense(rounding, variable, slots, gradient, hyper):
    """Applies one step; arguments are those of `ordinary.apply_dense`."""
    return Together(rounding, [variable], [slots]).apply([gradient], hyper)


def apply_sparse(rounding, variable, slots, gradient, indices, hyper):
    """Applies one step to rows whose indices may have duplicates, which it sums."""
    _keep_from_files()
    return library.ops().keras_rmsprop_sparse(
        variable=[variable.handle],
        **_handles([slots]),
        gradient=gradient,
        indices=indices,
        form=_SPARSE_FORMS[rounding],
        **_scalars(hyper, variable.dtype),
    )


class Together:
    """Steps of many variables by few ops, kept ready."""

    def __init__(self, rounding, variables, slots):
        """Takes a list of variables, and the `Slots` of each."""
        groups = collections.defaultdict(list)
        for place, variable in enumerate(variables):
            groups[variable.device, variable.dtype].append(place)
        pack = _packed if tf.executing_eagerly() else list
        self._groups = []
        for (_, dtype), places in groups.items():
            handles = {
                "variables": [variables[place].handle for place in places],
                **_handles([slots[place] for place in places]),
            }
            held = {name: pack(each) for name, each in handles.items()}
            self._groups.append(
                (places, dtype, held | {"form": _DENSE_FORMS[rounding]})
            )

    def apply(self, gradients, hyper):
        """Applies one step.

        Args:
            gradients: List of dense gradients, in the order of the variables.
            hyper: `Hyperparameters`, cast or not.

        Returns:
            The `tf.Operation` that updates, in a graph; None when executed eagerly.
        """
        _keep_from_files()
        dense = library.ops().keras_rmsprop_dense
        done = [
            dense(
                gradients=[gradients[place] for place in places],
                **held,
                **_scalars(hyper, dtype),
            )
            for places, dtype, held in self._groups
        ]
        return done[0] if len(done) == 1 else tf.group(*done)


def _keep_from_files():
    """Has `tf.saved_model.save` refuse the function that is being traced, if one is.

    Its file could not be loaded where these kernels are not. What refuses it is a
    resource that the function captures and that belongs to no object; the message
    shows its name.
    """
    if not tf.executing_eagerly():
        tf.compat.v1.get_default_graph().capture(_resource_that_cannot_be_saved())


@functools.cache
def _resource_that_cannot_be_saved():
    with tf.init_scope(), tf.device("CPU:0"):
        return tf.raw_ops.VarHandleOp(
            dtype=tf.bool,
            shape=[],
            shared_name="native kernels of keras_rmsprop, which a SavedModel cannot "
            f"hold; trace and save this function with {library.VARIABLE}=off",
        )


def _handles(slots):
    return {
        name: [slot.handle for slot in held if slot is not None]
        for name, held in zip(("rms", "mg", "momentum"), zip(*slots))
    }


def _packed(handles):
    """Returns handles as one tensor, in a list.

    To hand hundreds to an op takes longer than to update small variables. Not so in a
    function: there TensorFlow orders what is done with a variable by its handle.
    """
    return [tf.stack(handles)] if len(handles) > 1 else handles


def _scalars(hyper, dtype):
    """Returns the arguments that are the same for all variables of a dtype."""

    def scalar(value):
        # To cast a number is left to the op, which does it faster.
        return value if isinstance(value, (int, float)) else tf.cast(value, dtype)

    share = hyper.one_minus_rho
    return {
        "learning_rate": scalar(hyper.learning_rate),
        "rho": scalar(hyper.rho),
        "one_minus_rho": [] if share is None else [scalar(share)],
        "momentum_discount": scalar(hyper.momentum),
        "epsilon": scalar(hyper.epsilon),
    }
