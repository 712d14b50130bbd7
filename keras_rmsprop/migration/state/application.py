"""Giving a state to an optimizer: matching, checking, and only then writing."""

import numpy as np

from keras_rmsprop.migration.state import holders, live


def apply(state, optimizer, variables, name_map, restore_values, session, global_step):
    """Does what `OptimizerState.apply_to` documents."""
    target = holders.adapter(optimizer, session)
    variables = list(variables)
    names, problems = match(state, variables, name_map)
    matched = [(v, n) for v, n in zip(variables, names) if n is not None]
    problems += _slot_problems(state, target, matched)
    problems += _building_problems(target, variables)
    problems += target.loss_scale_problems(state.loss_scale)
    if restore_values:
        problems += [
            f"missing: the source holds no value of {name!r}, so that "
            "restore_values=True cannot restore it"
            for _, name in matched
            if state.variables[name].value is None
        ]
    counters = [c for c in (target.iterations, global_step) if c is not None]
    if counters and state.iterations is None:
        problems.append(
            "missing: the source does not tell the number of steps; set "
            "`state.iterations`"
        )
    if problems:
        raise ValueError(
            f"The state{_of(state)} does not fit {type(optimizer).__name__!r} and its "
            "variables. Nothing was written.\n"
            + "\n".join(f"- {problem}" for problem in problems)
        )

    target.build(variables)
    pairs = [(counter, np.asarray(state.iterations)) for counter in counters]
    pairs += target.loss_scale_pairs(state.loss_scale)
    for variable, name in matched:
        held = state.variables[name]
        for slot, slot_variable in target.slots(variable).items():
            # What the source lacks and the checks let pass is an unread momentum.
            missing = np.zeros_like(next(iter(held.slots.values())))
            pairs.append((slot_variable, held.slots.get(slot, missing)))
        if restore_values:
            pairs.append((variable, held.value))
    target.write(pairs)


def match(state, variables, name_map=None):
    """Finds the state of each variable.

    Args:
        state: An `OptimizerState`.
        variables: List of variables.
        name_map: Dictionary of names in the state by names of variables, or None.

    Returns:
        A list with the name in the state for each variable, None where there is
        none; and a list of what is ambiguous, missing or left over, in words.
    """
    return _Matching(state, variables).run(dict(name_map or {}))


class _Matching:
    """Variables (by their index) and names in the state that are still to be paired."""

    def __init__(self, state, variables):
        self.state = state
        self.paths = [live.name_of(variable) for variable in variables]
        self.shapes = [tuple(variable.shape) for variable in variables]
        self.names = [None] * len(variables)
        self.open = list(range(len(variables)))
        self.left = list(state.variables)
        self.problems = []

    def run(self, name_map):
        self._by_map({_bare(key): name for key, name in name_map.items()})
        if not name_map and self.state.is_positional:
            self._by_position()
        else:
            self._by_one_to_one(lambda i, name: self.paths[i] == _bare(name))
            self._by_one_to_one(
                lambda i, name: (
                    _is_scoped(self.paths[i], _bare(name)) and self._fits(i, name)
                )
            )
            self._by_one_to_one(self._fits)
        self._report()
        return self.names, self.problems

    def _fits(self, index, name):
        return self.shapes[index] == self.state.variables[name].shape

    def _pair(self, index, name):
        self.open.remove(index)
        self.left.remove(name)
        if self._fits(index, name):
            self.names[index] = name
        else:
            self.problems.append(
                f"shape: variable {self.paths[index]!r} has shape "
                f"{self.shapes[index]}, the state of {name!r} has "
                f"{self.state.variables[name].shape}"
            )

    def _by_map(self, name_map):
        for path, name in name_map.items():
            found = [i for i in self.open if self.paths[i] == path]
            names = [n for n in self.left if n == name or _bare(n) == _bare(name)]
            if len(found) != 1:
                self.problems.append(
                    f"name_map: {path!r} names {len(found)} of the variables "
                    f"{self.paths}"
                )
            elif len(names) != 1:
                self.problems.append(
                    f"name_map: {name!r} names {len(names)} of the states left, "
                    f"{self.left}"
                )
            else:
                self._pair(found[0], names[0])

    def _by_position(self):
        if len(self.open) == len(self.left):
            for index, name in zip(list(self.open), list(self.left)):
                self._pair(index, name)

    def _by_one_to_one(self, goes_with):
        """Pairs what goes with one open counterpart only, which goes with it only."""
        choices = {i: [n for n in self.left if goes_with(i, n)] for i in self.open}
        taken = [name for names in choices.values() for name in names]
        for index, names in choices.items():
            if len(names) == 1 and taken.count(names[0]) == 1:
                self._pair(index, names[0])

    def _report(self):
        choices = {i: [n for n in self.left if self._fits(i, n)] for i in self.open}
        mentioned = set()
        for index, names in choices.items():
            variable = f"variable {self.paths[index]!r} of shape {self.shapes[index]}"
            if names:
                self.problems.append(
                    f"ambiguous: {variable} could go with {_listed(names)}; decide "
                    "with `name_map`"
                )
                mentioned.update(names)
            else:
                self.problems.append(f"missing: there is no state for {variable}")
        for name in self.left:
            if name not in mentioned:
                self.problems.append(
                    f"left over: there is no variable for the state of {name!r} of "
                    f"shape {self.state.variables[name].shape}"
                )


def _bare(name):
    return name.removesuffix(":0")


def _is_scoped(path, name):
    """Whether one is the other without outer scopes."""
    return path.endswith(f"/{name}") or name.endswith(f"/{path}")


def _listed(names):
    return ", ".join(map(repr, names))


def _of(state):
    return f" of {state.origin}" if state.origin else ""


def _slot_problems(state, target, matched):
    """What the slots of source and target lack, in words."""
    wanted = target.wanted_slots()
    missing, extra, problems = {}, {}, []
    for variable, name in matched:
        slots = state.variables[name].slots
        for slot in wanted:
            if slot not in slots and not (
                slot == "momentum" and target.momentum() == 0
            ):
                missing.setdefault(slot, []).append(name)
        for slot, value in slots.items():
            if slot not in wanted and not _may_drop(state, slot, value):
                extra.setdefault(slot, []).append(name)
        dtype = np.dtype(live.native(variable).dtype.base_dtype.as_numpy_dtype)
        for slot, value in slots.items():
            if value.dtype != dtype:
                problems.append(
                    f"dtype: variable {live.name_of(variable)!r} is {dtype.name}, "
                    f"{slot!r} of {name!r} is {value.dtype.name}"
                )
    for slot, names in missing.items():
        problems.append(
            f"missing: the optimizer has a slot {slot!r} and the source none, for "
            f"{_listed(names)}"
        )
    for slot, names in extra.items():
        problems.append(
            f"left over: the source has a slot {slot!r} and the optimizer none, for "
            f"{_listed(names)}"
        )
        if slot == "momentum":
            problems[-1] += (
                ". It may only be dropped if the source's momentum was 0; set "
                "`state.hyperparameters['momentum'] = 0` if it was"
            )
    return problems


def _may_drop(state, slot, value):
    # With momentum 0 the slot holds the last step, which no later one reads.
    return slot == "momentum" and (
        state.hyperparameters.get("momentum") == 0 or not np.any(value)
    )


def _building_problems(target, variables):
    """What an optimizer that is built already says against these variables."""
    known = target.known_variables()
    if target.kind != "keras" or not known:
        return []
    problems = []
    given = {id(variable) for variable in variables}
    held = {id(variable) for variable in known}
    for variable in variables:
        if id(variable) not in held:
            problems.append(
                "left over: the optimizer was built without the variable "
                f"{live.name_of(variable)!r}"
            )
    for variable in known:
        if id(variable) not in given:
            problems.append(
                "missing: the optimizer was built also on the variable "
                f"{live.name_of(variable)!r}"
            )
    return problems
