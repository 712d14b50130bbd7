"""Reads a live optimizer."""

from keras_rmsprop import mistakes
from keras_rmsprop.migration.state import holders
from keras_rmsprop.migration.state.optimizer_state import OptimizerState, VariableState


def read(optimizer, variables=None, session=None):
    """Reads the state of an optimizer, ours or shipped.

    Args:
        optimizer: The optimizer.
        variables: List of the variables to read, or their model. Defaults to all it
            has slots for.
        session: Session that holds the variables of a TF1 graph.

    Returns:
        An `OptimizerState`.
    """
    source = holders.adapter(optimizer, session)
    if mistakes.is_model(variables):
        variables = variables.trainable_variables
    rows = source.rows(variables)
    names = [name for name, _, _ in rows]
    unknown = [name for name, _, slots in rows if not slots]
    if unknown:
        raise ValueError(f"The optimizer has no slots for {unknown}.")
    if not rows:
        raise ValueError(
            "The optimizer has no slots yet: it has taken no step and was not built."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(
            f"Several variables of the optimizer are named {twice}, and a state knows "
            "them by their names. Name them apart, or pass some as `variables`."
        )
    variables = {}
    for name, variable, slots in rows:
        arrays = dict(zip(slots, source.read(slots.values())))
        value = None if variable is None else source.read([variable])[0]
        variables[name] = VariableState(arrays, value)
    counter = source.iterations
    return OptimizerState(
        variables=variables,
        iterations=None if counter is None else int(source.read([counter])[0]),
        kind=source.kind,
        update_rule=source.update_rule,
        hyperparameters=source.hyperparameters(),
        loss_scale=source.loss_scale(),
        origin=f"a live {type(optimizer).__module__}.{type(optimizer).__qualname__}",
    )
