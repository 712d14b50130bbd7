"""The step of `keras_rmsprop.RMSprop` on each backend of Keras."""
