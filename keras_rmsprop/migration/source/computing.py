"""What of TensorFlow or Keras an expression gets its value from."""

import re

import libcst as cst

from keras_rmsprop.migration.source import following, inheritance, names

_SCHEDULE = re.compile(r"\.schedules\.|\.\w*(Decay|Schedule|Restarts)$")
# What gives a number again, whatever that was made of, or holds several.
_PLAIN = frozenset(
    {"float", "int", "round", "numpy", "item", "eval", "get_value", "HParams"}
)


def is_schedule(qualified_name):
    """Whether something of TensorFlow or Keras is a class of learning-rate schedules.

    Example:

    >>> is_schedule("keras.optimizers.schedules.ExponentialDecay")
    True
    >>> is_schedule("tensorflow.train.exponential_decay")
    False
    """
    return _SCHEDULE.search(qualified_name) is not None


def sources(file, expression):
    """Yields what of TensorFlow or Keras is called for the value of an expression.

    Names, attributes and parameters are followed as far as the file shows what they
    are given.

    Args:
      file: the `SourceFile`.
      expression: the expression.

    Yields:
      Qualified names.
    """
    yield from _sources(file, expression, set())


def _sources(file, expression, seen):
    if expression in seen or isinstance(expression, cst.Lambda):
        return
    seen.add(expression)
    if isinstance(expression, cst.Call):
        if file.may_be_named(expression.func, _PLAIN):
            return
        found = file.qualified(expression.func)
        of_keras = [name for name in found if name.split(".")[0] in names.ROOTS]
        if of_keras:
            yield from of_keras
            return
    for value in _values(file, expression):
        yield from _sources(file, value, seen)
    for child in expression.children:
        if isinstance(child, (cst.BaseExpression, cst.Arg, cst.BaseElement)):
            yield from _sources(file, child, seen)


def _values(file, expression):
    """The expressions that a name or an attribute may have its value from."""
    if isinstance(expression, cst.Attribute):
        return file.values_of_attribute(expression)
    if not isinstance(expression, cst.Name) or not file.is_load(expression):
        return []
    values = file.values_of(expression)
    for bound in file.bindings_of(expression):
        if isinstance(bound, cst.Param):
            values += _given(file, bound)
    return values


def _given(file, parameter):
    """What the calls in this file give for a parameter, and its default."""
    given = [] if parameter.default is None else [parameter.default]
    function = file.function_around(parameter)
    if function is None:
        return given
    called, skipped = function, 0
    if file.is_method(function) and function.name.value == "__init__":
        called, skipped = inheritance.class_around(file, function), 1
    places = following.parameters(function)
    place = next((i for i, each in enumerate(places) if each is parameter), None)
    for load in file.loads_of(called.name):
        call = file.parent(load)
        if isinstance(call, cst.Call) and call.func is load and place is not None:
            given += [
                argument.value
                for index, argument in enumerate(call.args)
                if (argument.keyword is None and index + skipped == place)
                or (argument.keyword and argument.keyword.value == parameter.name.value)
            ]
    return given
