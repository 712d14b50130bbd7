"""`ShardedVariable`: a table whose rows lie on several parameter servers.

Optimizers train its shards, which are variables like any other. What belongs to the
table as a whole (its gradient, its norm, its place in a checkpoint) is known here.
"""

import contextlib
import itertools

import keras
import tensorflow as tf

from keras_rmsprop.gradients import checked_gradient

# What `tf.Variable` makes under a `variable_partitioner`; the class has no other name.
ShardedVariable = tf.__internal__.distribute.ShardedVariable


def native_of(variable):
    """Returns the variable behind a Keras variable; anything else as it is."""
    return variable.value if isinstance(variable, keras.Variable) else variable


def shards_of(variable):
    """Returns the list of the shards of a variable; one that has none is its only one.

    Args:
        variable: A `tf.Variable`, `keras.Variable` or `ShardedVariable`.

    Example:

    >>> table = ShardedVariable([tf.Variable([[1.0], [2.0]]), tf.Variable([[3.0]])])
    >>> [shard.shape[0] for shard in shards_of(table)]
    [2, 1]
    """
    table = native_of(variable)
    return list(table.variables) if isinstance(table, ShardedVariable) else [variable]


def table_of(variable):
    """Returns the `ShardedVariable` that a variable is a shard of, or None."""
    # Where TensorFlow, since 2.4, and Keras 2's optimizers look for it.
    container = getattr(variable, "_sharded_container", None)
    return container and container()


def joined(shards, name):
    """Returns the `ShardedVariable` of some variables, one and the same each time."""
    table = table_of(shards[0])
    if table is None:
        with tf.init_scope():
            table = ShardedVariable(shards, name=name)
        shards[0]._keras_rmsprop_table = table  # They themselves refer to it weakly.
    return table


def expanded(variables):
    """Returns a list of variables with shards in the place of each table."""
    return list(itertools.chain.from_iterable(map(shards_of, variables)))


def pairs_of_shards(grads_and_vars):
    """Returns a list of `(gradient, variable)`, with shards in the place of tables.

    Args:
        grads_and_vars: Iterable of such pairs. The gradient of a `ShardedVariable` is
            a list with one for each shard, as a `tf.GradientTape` returns it for
            `variable.variables`, or one of the whole table.

    Raises:
        ValueError: If a gradient and its table do not fit.
    """
    pairs = []
    for gradient, variable in grads_and_vars:
        shards = shards_of(variable)
        if shards[0] is variable:
            pairs.append((gradient, variable))
        else:
            pairs += zip(_split(gradient, variable, shards), shards)
    return pairs


def _split(gradient, table, shards):
    """Returns a list with the gradient of each shard."""
    if gradient is None:
        return [None] * len(shards)
    if isinstance(gradient, (list, tuple)):
        if len(gradient) != len(shards):
            raise ValueError(
                f"The gradient of the sharded variable {table.name!r} must be a list "
                f"with one for each of its {len(shards)} shards. Received: a list of "
                f"{len(gradient)}"
            )
        return gradient
    gradient = checked_gradient(gradient, table)
    rows = [shard.shape[0] for shard in shards]
    if not isinstance(gradient, tf.IndexedSlices):
        return tf.split(gradient, rows)
    ends = tf.cast(list(itertools.accumulate(rows)), gradient.indices.dtype)
    owner = tf.searchsorted(ends, gradient.indices, side="right")
    # One out of range is out of the range of a shard, too, and found there.
    owner = tf.minimum(owner, len(shards) - 1)
    indices = gradient.indices - tf.gather(ends - rows, owner)
    return [
        tf.IndexedSlices(*parts)
        for parts in zip(
            tf.dynamic_partition(gradient.values, owner, len(shards)),
            tf.dynamic_partition(indices, owner, len(shards)),
        )
    ]


def clipped_by_norm(grads, variables, norm):
    """Returns gradients none of which exceeds a norm; those of a table have only one.

    Args:
        grads: List of tensors or `tf.IndexedSlices`.
        variables: List of their variables, with shards in the place of tables.
        norm: Float.
    """
    groups = {}
    for index, variable in enumerate(variables):
        table = table_of(variable)
        groups.setdefault(id(variable if table is None else table), []).append(index)
    clipped = list(grads)
    for group in groups.values():
        if len(group) == 1:
            clipped[group[0]] = tf.clip_by_norm(grads[group[0]], norm)
        else:
            parts, _ = tf.clip_by_global_norm([grads[i] for i in group], norm)
            for index, part in zip(group, parts):
                clipped[index] = part
    return clipped


def with_tables(children, variables):
    """Returns what a checkpoint holds of an optimizer, with tables in place of shards.

    TensorFlow saves a `ShardedVariable` in one piece, under the name of a variable, and
    restores it into any number of shards, one included. What an optimizer has for each
    shard is joined likewise.

    Args:
        children: Dictionary of what the optimizer tracks, by name. Lists as long as
            that of its variables hold something for each of them.
        variables: List of the optimizer's variables.
    """
    natives = list(map(native_of, variables))
    places = {id(variable): place for place, variable in enumerate(natives)}
    tables = {id(table): table for table in map(table_of, natives) if table is not None}
    parts = [[places.get(id(s)) for s in table.variables] for table in tables.values()]
    parts = [each for each in parts if None not in each]  # The others are no wholes.
    wholes = {}
    for name, child in children.items():
        if not isinstance(child, list) or len(child) != len(variables):
            continue
        for each in parts if name != "_variables" else ():
            held = [child[index] for index in each]
            if all(isinstance(native_of(part), tf.Variable) for part in held):
                whole = joined(list(map(native_of, held)), native_of(held[0]).name)
                wholes.update((id(part), whole) for part in held)
    if not wholes:
        return children
    return {name: _joined_list(child, wholes) for name, child in children.items()}


def _joined_list(child, wholes):
    if not isinstance(child, list):
        return child
    held = [wholes.get(id(each), each) for each in child]
    held = list({id(each): each for each in held}.values())
    # A checkpoint asks several times, and has to be told of one and the same list.
    known = getattr(child, "_keras_rmsprop_joined", None)
    if known is None or list(map(id, known)) != list(map(id, held)):
        known = tf.__internal__.tracking.wrap(held)
        child._keras_rmsprop_joined = known
    return known


@contextlib.contextmanager
def restored_as_tables(optimizer, variables):
    """Restores what a block makes for shards only after it, in one piece for a table.

    A checkpoint that was read before an optimizer had slots waits for them, and would
    restore tables into their first shards. Where TensorFlow lets it wait is documented
    nowhere, and was there in 2.19, the oldest supported.
    """
    if not any(map(table_of, map(native_of, variables))):
        yield
        return
    holders = {None: optimizer, "_variables": optimizer._variables}
    waiting = {}
    for name, holder in holders.items():
        if isinstance(holder, tf.__internal__.tracking.Trackable):
            waiting[name] = dict(holder._deferred_dependencies)
            holder._deferred_dependencies.clear()
    yield
    children = optimizer._trackable_children()
    for name, positions in waiting.items():
        holder = optimizer if name is None else children[name]
        holder._deferred_dependencies.update(positions)
        for child_name, child in holder._trackable_children().items():
            holder._handle_deferred_dependencies(name=child_name, trackable=child)
