"""The class of TensorFlow 2.11 to 2.15, where Keras 2 had the API of Keras 3."""

from keras_rmsprop.migration.source import names, rewrites
from keras_rmsprop.migration.source.construction import KERAS_SIGNATURE

# What follows took other places from version to version.
_SIGNATURE = KERAS_SIGNATURE[:5]
_KEYWORDS = ("jit_compile", "name", *KERAS_SIGNATURE[5:12])


@rewrites.handles(names.KERAS2)
def rewrite(construction):
    if construction.to == "compat":
        return  # It has no older API to be kept.
    arguments = construction.arguments(_SIGNATURE, _KEYWORDS)
    construction.accept_differences({"sparse-gradients"})
    if "jit_compile" in arguments:
        construction.note("`jit_compile` is dropped: Keras 3 compiles with the model")

    def edit(arguments):
        arguments.drop("jit_compile")
        if construction.to == "keras-rmsprop":
            arguments.add("update_rule", '"keras2"')
            arguments.add("sparse_updates", '"dense"')

    construction.become_modern(_SIGNATURE, edit)
