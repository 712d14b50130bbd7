"""OptimizerV2's `RMSprop`: `tf.keras.optimizers.legacy` and TF 2.0 to 2.10."""

import libcst as cst

from keras_rmsprop.migration.source import (
    names,
    old_keras,
    rewrites,
    sharing,
    source_file,
    tree,
    uses,
)

_SIGNATURE = ("learning_rate", "rho", "momentum", "epsilon", "centered", "name")
_KEYWORDS = ("lr", "decay", *old_keras.CLIPPING)


@rewrites.handles(names.LEGACY)
def rewrite(construction):
    construction.refuse(uses.old_get_updates)
    if construction.to == "compat":
        construction.arguments(
            _SIGNATURE, (*_KEYWORDS, "gradient_aggregator", "gradient_transformers")
        )
        if construction.is_spelled_compat_v1:
            module = "compat_v1.keras.optimizers"
            expression = "compat_v1.keras.optimizers.RMSprop"
        else:
            module, expression = "keras_rmsprop", "keras_rmsprop.legacy.RMSprop"

        def edit(arguments):
            _write_out_epsilon(arguments)
            _write_out_sparse_updates(arguments)

        construction.become(module, expression, _SIGNATURE, edit, by_name=False)
        return
    construction.refuse(uses.legacy_only)
    if construction.to == "keras":
        construction.refuse(sharing.shared)
    arguments = construction.arguments(_SIGNATURE, _KEYWORDS)
    old_keras.check_for_modern(construction, arguments)
    momentum = arguments.literal("momentum", 0.0)
    construction.accept_differences(
        {"sparse-gradients"}
        if _is_positive(momentum)
        else {"epsilon-placement", "sparse-gradients"}
    )

    def edit(arguments):
        _write_out_epsilon(arguments)
        old_keras.modernize_learning_rate(arguments)
        if construction.to == "keras-rmsprop":
            arguments.add("update_rule", '"legacy"')
            _write_out_sparse_updates(arguments)

    construction.become_modern(_SIGNATURE, edit)


def _write_out_epsilon(arguments):
    """OptimizerV2 takes its default for any false epsilon, 0 included."""
    if not arguments.literal("epsilon", 1e-7):
        arguments.replace("epsilon", cst.Float("1e-07"))


def _write_out_sparse_updates(arguments):
    """Lazy, our default, is what shipped with momentum; without, it was dense."""
    momentum = arguments.literal("momentum", 0.0)
    if _is_positive(momentum):
        return
    if momentum == 0:
        arguments.add("sparse_updates", '"dense"')
        return
    expression = arguments.value("momentum")
    name = tree.dotted(expression)
    if name is None:
        raise source_file.Undecided(
            "whether it uses momentum cannot be seen, and sparse gradients were "
            "treated by that: give `momentum` as a number or a name"
        )
    arguments.add("sparse_updates", f'"lazy" if {name} else "dense"')


def _is_positive(value):
    return isinstance(value, (int, float)) and value > 0
