"""The class of Keras 2.11 and later, which Keras 3 still has."""

from keras_rmsprop.migration.source import names, old_keras, rewrites
from keras_rmsprop.migration.source.construction import KERAS_SIGNATURE


@rewrites.handles(names.KERAS)
def rewrite(construction):
    if construction.to != "keras-rmsprop":
        return  # It has no older API to be kept, and is what stock Keras has.
    arguments = construction.arguments(KERAS_SIGNATURE)
    clips = any(name in arguments for name in old_keras.CLIPPING)
    what = "clips and squares" if clips else "squares"
    construction.note(
        f"Keras {what} the rows of duplicate indices before it sums them, "
        "keras_rmsprop sums first: embeddings may differ there"
    )

    def edit(arguments):
        arguments.add("sparse_updates", '"dense"')

    construction.become_modern(KERAS_SIGNATURE, edit)
