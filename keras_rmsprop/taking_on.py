"""How an optimizer takes variables on: as a whole, or not at all.

Whatever is raised while slots are made (an interrupt, a lack of memory) finds the
optimizer as it was, because they are made in a twin of it, and what the twin came to
hold becomes the optimizer's in a single operation of Python.
"""

import collections
import functools

import keras

from keras_rmsprop import mistakes
from keras_rmsprop.backends.current import tracking


def as_a_whole(build):
    """Makes a `build` take on all variables that are new, or none of them.

    Args:
        build: Method of an optimizer that creates slots for a list of variables.

    Returns:
        A method that does the same in a twin, under a lock, and has the optimizer
        take over the outcome. Of variables already known nothing is made.
    """

    @functools.wraps(build)
    def whole(optimizer, variables):
        if optimizer._is_twin:
            build(optimizer, variables)
        else:
            variables = mistakes.list_of_variables("variables", variables)
            for variable in variables:
                if not mistakes.is_variable(variable):
                    raise TypeError(mistakes.no_variable("variables", variable))
            _take_on(optimizer, tracking.expanded(variables))

    return whole


def _take_on(optimizer, variables):
    with optimizer._building, tracking.outside_functions(optimizer):
        if optimizer.built:
            variables = optimizer._unknown(variables)
            if not variables:
                return
        twin = _built_twin(optimizer, variables)
        if optimizer.built:
            twin = _joined(optimizer, twin)
        twin._is_twin = False
        vars(optimizer).update(vars(twin))


def _built_twin(optimizer, variables):
    twin = tracking.twin(optimizer)
    twin._is_twin = True
    if optimizer.built:
        tracking.set_variables(twin, [])
        twin.built = False
        twin._is_later = True
    else:
        twin._common = frozenset(map(id, optimizer.variables))
    with tracking.restored_as_tables(twin, variables):
        twin.build(variables)
    if twin._copied is not None:
        twin._copied.give(twin)
        twin._copied = None
    return twin


def _joined(optimizer, part):
    """Returns a twin of the optimizer that also holds the slots of `part`."""
    whole = tracking.twin(optimizer)
    names = _slot_lists(optimizer, part)
    trained = [*optimizer._trainable_variables, *part._trainable_variables]
    tracking.set_list(whole, "_trainable_variables", trained)
    for name in names:
        held = [*getattr(optimizer, name), *getattr(part, name)]
        tracking.set_slots(whole, name, held)
    # Under this name checkpoints number all variables through. As those of fewer
    # variables count otherwise, it is left with what belongs to no variable; the
    # slots are found in their lists.
    slots = {id(slot) for name in names for slot in getattr(optimizer, name)}
    common = [held for held in optimizer._variables if id(held) not in slots]
    tracking.set_slots(whole, "_variables", common)
    tracking.set_variables(whole, _in_order(optimizer, part, names))
    for index, variable in enumerate(trained):
        whole._trainable_variables_indices[whole._var_key(variable)] = index
    whole._look_up()
    return whole


def _slot_lists(optimizer, part):
    """Returns the names of the lists that have an entry for each trained variable.

    Those of subclasses are among them, as `add_optimizer_variables` returns them.
    """
    counts = len(optimizer._trainable_variables), len(part._trainable_variables)
    return [
        name
        for name, added in vars(part).items()
        if name not in ("_variables", "_trainable_variables")
        and isinstance(added, list)
        and all(isinstance(v, (keras.Variable, type(None))) for v in added)
        and (len(getattr(optimizer, name)), len(added)) == counts
    ]


def _in_order(optimizer, part, names):
    """Returns all variables in the order of an optimizer that had them at once."""
    places = {id(held): place for place, held in enumerate(optimizer._variables)}
    following = collections.defaultdict(list)
    for name in names:
        last = max(
            (places[id(slot)] for slot in getattr(optimizer, name) if slot is not None),
            default=len(places) - 1,
        )
        following[last] += [slot for slot in getattr(part, name) if slot is not None]
    return [
        variable
        for place, held in enumerate(optimizer._variables)
        for variable in (held, *following[place])
    ]
