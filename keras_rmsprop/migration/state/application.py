"""Giving a state to an optimizer: matching, checking, and only then writing."""

import collections
import dataclasses

import keras
import numpy as np

from keras_rmsprop import mistakes
from keras_rmsprop.migration.state import contradictions, holders, live, matching

# Of each kind of problem so many are printed, and so much of each.
_MOST = 4
_WIDTH = 400


def apply(
    state,
    optimizer,
    variables,
    name_map=None,
    *,
    restore_values=False,
    session=None,
    global_step=None,
    allow=(),
):
    """Does what `OptimizerState.apply_to` documents.

    Returns:
        A list of the names in `state.others` that no variable took.
    """
    allowed = contradictions.checked(allow)
    target = holders.adapter(optimizer, session)
    trained, untrained = _variables(variables)
    if not restore_values:
        untrained = []
    matches = matching.match(
        *([(live.name_of(v), v.shape) for v in each] for each in (trained, untrained)),
        state,
        name_map,
        _names_as_code(variables, trained),
    )
    moves = _moves(state, matches, [*trained, *untrained])
    slots = {move.name: move.slots for move in moves if move.slots is not None}
    counters = [c for c in (target.iterations, global_step) if c is not None]
    problems = [
        *matches.problems,
        *contradictions.find(state, target, slots, allowed),
        *_array_problems(moves, restore_values, allowed),
        *_counter_problems(state, counters, global_step),
        *target.loss_scale_problems(state.loss_scale),
        *_building_problems(target, trained),
        *_session_problems([*trained, *untrained, *counters], session),
    ]
    if problems:
        raise ValueError(_message(state, optimizer, problems, matches.advice))

    target.build(trained)
    pairs = [(c, np.asarray(state.iterations, live.dtype_of(c))) for c in counters]
    pairs += target.loss_scale_pairs(state.loss_scale)
    for move in moves:
        if restore_values:
            pairs.append((move.variable, move.value))
        if move.slots is None:
            continue
        for slot, variable in target.slots(move.variable).items():
            # What the source lacks and the checks let pass is an unread momentum.
            missing = np.zeros_like(next(iter(move.slots.values())))
            pairs.append((variable, move.slots.get(slot, missing)))
    target.write(pairs)
    return matches.unused


def _names_as_code(given, trained):
    """Returns Python for the names of the trained variables, for messages."""
    attribute = "path" if isinstance((*trained, None)[0], keras.Variable) else "name"
    is_model = hasattr(given, "trainable_variables")
    owner = "model.trainable_variables" if is_model else "variables"
    return f"[v.{attribute} for v in {owner}]"


def _variables(given):
    """Returns the variables that are trained, and those of a model that are not."""
    untrained = []
    if hasattr(given, "trainable_variables"):
        # Of Keras' variables without those of metrics and random generators; other
        # modules make no such difference.
        untrained = getattr(given, "non_trainable_weights", None)
        if untrained is None:
            untrained = getattr(given, "non_trainable_variables", ())
        given = list(given.trainable_variables)
        if not given:
            raise ValueError(
                "The model has no trainable variables: build it before it takes a "
                "state, by calling it on a batch or giving it an Input."
            )
    trained = mistakes.list_of_variables("variables", given)
    untrained = list(untrained)
    for variable in (*trained, *untrained):
        if not mistakes.is_variable(variable):
            raise TypeError(
                "`variables` must be a model, or a list of variables. Received a list "
                f"with {variable!r} of type {type(variable).__name__}"
            )
    return trained, untrained


@dataclasses.dataclass
class _Move:
    """What one variable gets.

    Attributes:
        variable: The variable.
        name: Its name in the state.
        slots: Dictionary of arrays by slot, or None if it is not trained.
        value: Its value; None if the source has none.
    """

    variable: object
    name: str
    slots: dict | None
    value: np.ndarray | None


def _moves(state, matches, variables):
    moves = []
    for index, name in matches.names.items():
        slots, value = None, state.others.get(name)
        if name in state.variables:
            held = state.variables[name]
            slots = {slot: np.asarray(each) for slot, each in held.slots.items()}
            value = held.value
        value = None if value is None else np.asarray(value)
        moves.append(_Move(variables[index], name, slots, value))
    return moves


def _array_problems(moves, restore_values, allowed):
    """What arrays are missing, of a wrong shape or dtype, or damaged, in words."""
    problems = []
    for move in moves:
        arrays = {
            slot: (f"{slot!r}", array) for slot, array in (move.slots or {}).items()
        }
        if restore_values and move.value is None:
            problems.append(
                f"missing: the source holds no value of {move.name!r}, so that "
                "restore_values=True cannot restore it"
            )
        elif restore_values:
            arrays["value"] = ("the value", move.value)
        for slot, (what, array) in arrays.items():
            found = _array_problem(
                move, slot, f"{what} of {move.name!r}", array, allowed
            )
            if found:
                # The others of a variable are mostly wrong in the same way.
                problems.append(found)
                break
    return problems


def _array_problem(move, slot, what, array, allowed):
    """Returns what is wrong with one array, or None."""
    path, shape = live.name_of(move.variable), tuple(move.variable.shape)
    dtype = live.dtype_of(move.variable)
    if array.dtype != dtype:
        return f"dtype: variable {path!r} is {dtype.name}, {what} is {array.dtype.name}"
    if array.shape != shape:
        return f"shape: variable {path!r} has shape {shape}, {what} has {array.shape}"
    return contradictions.of_numbers(what, slot, array, allowed)


def _counter_problems(state, counters, global_step):
    problems = []
    if global_step is not None and (
        not hasattr(global_step, "assign")
        or tuple(global_step.shape) != ()
        or live.dtype_of(global_step).kind not in "iu"
    ):
        return [
            "global_step: it must be a variable that holds one integer. "
            f"Received: global_step={global_step!r}"
        ]
    steps = state.iterations
    if counters and steps is None:
        return [
            "missing: the source does not tell the number of steps; set "
            "`state.iterations`"
        ]
    for counter in counters:
        most = np.iinfo(live.dtype_of(counter)).max
        if (
            type(steps) is bool
            or not isinstance(steps, (int, np.integer))
            or not 0 <= steps <= most
        ):
            problems.append(
                f"iterations: they must be an integer from 0 to {most}. "
                f"Received: state.iterations={steps!r}"
            )
    return problems[:1]


def _building_problems(target, variables):
    """What an optimizer that is built already says against these variables."""
    given = collections.Counter(id(variable) for variable in variables)
    names = {id(variable): live.name_of(variable) for variable in variables}
    problems = [
        f"left over: the variable {names[key]!r} is given {count} times"
        for key, count in given.items()
        if count > 1
    ]
    known = target.known_variables()
    if target.kind != "keras" or not known:
        return problems
    held = {id(variable) for variable in known}
    for key, name in names.items():
        if key not in held:
            problems.append(
                f"left over: the optimizer was built without the variable {name!r}"
            )
    for variable in known:
        if id(variable) not in given:
            problems.append(
                "missing: the optimizer was built also on the variable "
                f"{live.name_of(variable)!r}"
            )
    return problems


def _session_problems(variables, session):
    """Where the variables live, if that is not where they would be written."""
    # An eager variable has no graph.
    graphs = {id(g): g for g in (live.graph_of(v) for v in variables)}.values()
    if session is None and any(graph is not None for graph in graphs):
        return ["session: it must be given for variables in a TF1 graph"]
    if session is not None and any(graph is not session.graph for graph in graphs):
        return ["session: some variables are not in its graph"]
    return []


def _message(state, optimizer, problems, advice):
    """Returns the text of an error, which fits a screen."""
    kinds = collections.defaultdict(list)
    for problem in problems:
        kinds[problem.partition(":")[0]].append(problem)
    lines = []
    for kind, texts in kinds.items():
        for text in texts[:_MOST]:
            lines.append(f"- {text if len(text) <= _WIDTH else text[:_WIDTH] + '...'}")
        if len(texts) > _MOST:
            lines.append(f"  and {len(texts) - _MOST} more that are {kind!r}")
    origin = f" of {state.origin}" if state.origin else ""
    return "\n".join(
        [
            f"The state{origin} does not fit {type(optimizer).__name__!r} and its "
            "variables. Nothing was written.",
            *lines,
            *([advice] if advice else []),
        ]
    )
