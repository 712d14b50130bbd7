"""What is TensorFlow's own in `keras_rmsprop.RMSprop`: the step, and tracked lists."""
