"""The Keras class of 2017: `lr`, no momentum, epsilon outside the square root."""

import libcst as cst

from keras_rmsprop.migration.source import names, old_keras, rewrites, sharing, uses

_SIGNATURE = ("lr", "rho", "epsilon", "decay")
_KEYWORDS = ("clipnorm", "clipvalue", "name")


@rewrites.handles(names.OPTIMIZER_V1)
def rewrite(construction):
    construction.refuse(uses.old_get_updates)
    if construction.to == "compat":
        module = "compat_v1.keras.optimizer_v1"
        construction.become(module, f"{module}.RMSprop")
        return
    construction.refuse(uses.legacy_only)
    if construction.to == "keras":
        construction.refuse(sharing.shared)
    arguments = construction.arguments(_SIGNATURE, _KEYWORDS)
    old_keras.check_for_modern(construction, arguments)
    construction.accept_differences({"epsilon-placement", "sparse-gradients"})

    def edit(arguments):
        if "epsilon" not in arguments:
            arguments.add("epsilon", "1e-08")
        elif arguments.literal("epsilon", None) is None:
            arguments.replace("epsilon", cst.Float("1e-07"))
        old_keras.modernize_learning_rate(arguments)
        if construction.to == "keras-rmsprop":
            arguments.add("update_rule", '"legacy"')
            arguments.add("sparse_updates", '"dense"')

    construction.become_modern(_SIGNATURE, edit)
