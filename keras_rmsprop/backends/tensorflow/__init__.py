"""What is TensorFlow's own in `keras_rmsprop.RMSprop`.

Native variables and `tf.IndexedSlices`, graphs and their assertions,
`tf.distribute`, and how checkpoints see an optimizer.
"""
