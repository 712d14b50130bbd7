"""`tf.train.RMSPropOptimizer` and `tf.compat.v1.train.RMSPropOptimizer`."""

import functools

from keras_rmsprop.migration.source import following, names, rewrites, sharing, uses
from keras_rmsprop.migration.source.source_file import Undecided

_SIGNATURE = (
    "learning_rate",
    "decay",
    "momentum",
    "epsilon",
    "use_locking",
    "centered",
    "name",
)


@rewrites.handles(names.TF1)
def rewrite(construction):
    if construction.to == "compat":
        construction.refuse(uses.compiled)
        # The signatures are the same, so the arguments need no look.
        construction.become("compat_v1.train", "compat_v1.train.RMSPropOptimizer")
        return
    construction.refuse(uses.tf1_only)
    if construction.to == "keras":
        construction.refuse(
            functools.partial(sharing.shared, follow=following.follow_beyond)
        )
    arguments = construction.arguments(_SIGNATURE)
    if "learning_rate" not in arguments:
        raise Undecided("`learning_rate` is missing")
    if construction.is_computed(arguments.value("learning_rate")):
        raise Undecided(
            "its learning rate is computed by TensorFlow: a TF1 optimizer evaluates "
            "it at every step, and a Keras optimizer takes no tensor"
        )
    construction.accept_differences({"initial-accumulator", "sparse-gradients"})
    if arguments.literal("use_locking", False) is not False:
        construction.note("`use_locking` has no counterpart in Keras and is dropped")

    def edit(arguments):
        arguments.drop("use_locking")
        arguments.rename("decay", "rho")
        if "epsilon" not in arguments:
            arguments.add("epsilon", "1e-10")
        if construction.to == "keras-rmsprop":
            arguments.add("update_rule", '"tf1"')

    construction.become_modern(_SIGNATURE, edit)
