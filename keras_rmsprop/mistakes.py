"""What is said to somebody who mistook one thing for another.

Argument names of other libraries and generations, gradients and variables in each
other's place, a model where its variables are asked for: here is how they are
recognised, and what the error says to do next.
"""

import difflib
import functools
import inspect
import numbers
import typing

_Init = typing.TypeVar("_Init", bound=typing.Callable)
# What other libraries, and other generations, call an argument.
_ELSEWHERE = {
    "lr": ["learning_rate"],
    "learning_rate": ["lr"],
    "alpha": ["rho", "decay"],
    "rho": ["decay"],
    "eps": ["epsilon"],
}
_TWO_DECAYS = (
    "TF1's `decay`, the discount of the means, is `rho` here. OptimizerV2's, how fast "
    "the learning rate falls, is a schedule: `learning_rate=keras.optimizers.schedules."
    "InverseTimeDecay(learning_rate, decay_steps=1, decay_rate=decay)`."
)
NO_PAIRS = (
    "`grads_and_vars` must hold a gradient and variable. Received: none. Of a model "
    "that is not built `trainable_variables` is empty: call it on a batch first, or "
    "give it an Input."
)


def parameters(cls, last):
    """Returns the arguments that a class and its bases take, as `inspect` has them.

    Args:
        cls: The class.
        last: That of its bases whose arguments are the last.

    Example:

    >>> import keras_rmsprop
    >>> parameters(keras_rmsprop.RMSprop, keras_rmsprop.RMSprop)["rho"].default
    0.9
    """
    found = {}
    for base in cls.__mro__[: cls.__mro__.index(last) + 1]:
        if "__init__" in vars(base):
            own = list(inspect.signature(base.__init__).parameters.values())[1:]
            found.update({each.name: each for each in own if each.name not in found})
    return {
        name: each
        for name, each in found.items()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    }


def unknown_arguments(owner, unknown, allowed):
    """Returns the text of an error about arguments that nothing has.

    Args:
        owner: Name of what has no such arguments.
        unknown: Dictionary of their values by name.
        allowed: The names that it has.

    Example:

    >>> print(unknown_arguments("RMSprop", {"lr": 0.1}, ["learning_rate", "rho"]))
    RMSprop has no argument `lr`. Did you mean `learning_rate`? Received: lr=0.1
    """
    return "\n".join(
        f"{owner} has no argument `{name}`. {_advice(name, list(allowed))} "
        f"Received: {name}={value!r}"
        for name, value in unknown.items()
    )


def _advice(name, allowed):
    if name == "decay" and "rho" in allowed:
        return _TWO_DECAYS
    meant = [other for other in _ELSEWHERE.get(name, ()) if other in allowed]
    meant = meant or difflib.get_close_matches(name, allowed, n=1)
    if meant:
        return f"Did you mean `{meant[0]}`?"
    return f"It takes {', '.join(sorted(allowed))}."


def names_unknown_arguments(init: _Init) -> _Init:
    """Makes an `__init__` without `**kwargs` say what was meant by an unknown one."""
    signature = inspect.signature(init)

    @functools.wraps(init)
    def checked(self, *args, **kwargs):
        unknown = {k: v for k, v in kwargs.items() if k not in signature.parameters}
        if unknown:
            allowed = list(signature.parameters)[1:]
            owner = type(self).__name__
            raise TypeError(unknown_arguments(owner, unknown, allowed))
        init(self, *args, **kwargs)

    checked.__signature__ = signature  # type: ignore[attr-defined]
    return typing.cast(_Init, checked)


def is_discount(decay):
    """Whether this is what people choose for TF1's `decay`, a discount."""
    return isinstance(decay, numbers.Real) and 0.8 <= decay < 1


def is_variable(value):
    """Whether this is a variable, of Keras or TensorFlow, sharded or not."""
    # A slice of a `tf.Variable` has `assign` alone, an optimizer no shape.
    return hasattr(value, "assign_add") and hasattr(value, "shape")


def is_model(value):
    """Whether this is a model, or a layer, which has variables and is none."""
    return hasattr(value, "trainable_variables")


def list_of_variables(argument, given):
    """Returns a list of what was given as variables.

    Raises:
        TypeError: If it is a model, or a single variable, or nothing to iterate over.
    """
    if isinstance(given, (list, tuple)):
        return list(given)
    if is_model(given):
        received = "a model. Give its `trainable_variables`"
    elif is_variable(given):
        received = "a single variable. Put it into a list: `[variable]`"
    elif hasattr(given, "__iter__"):
        return list(given)
    else:
        received = f"{given!r} of type {type(given).__name__}"
    raise TypeError(f"`{argument}` must be a list of variables. Received: {received}")


def pairs(grads_and_vars):
    """Returns a list of pairs of gradient and variable.

    Raises:
        TypeError: If they are no pairs.
    """
    found = list(grads_and_vars)
    for pair in found:
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            raise TypeError(
                "`grads_and_vars` must hold pairs `(gradient, variable)`, as "
                f"`zip(gradients, variables)` makes them. Received: {pair!r}"
            )
    return found


def no_variable(argument, variable, gradient=None):
    """Returns the text of an error about something that is no variable.

    Args:
        argument: Name of the argument.
        variable: What was given as a variable.
        gradient: What was given as its gradient.
    """
    text = (
        f"`{argument}` must hold variables to update (`keras.Variable`, on TensorFlow "
        f"also `tf.Variable`). Received: {variable!r} of type "
        f"{type(variable).__name__}"
    )
    if is_variable(gradient):
        text += (
            ", with a variable in the place of its gradient. Gradients come first: "
            "`apply(gradients, variables)` or "
            "`apply_gradients(zip(gradients, variables))`"
        )
    return text
