"""Tests of other backends than TensorFlow run in processes of their own."""

import keras

if keras.backend.backend() == "tensorflow":
    collect_ignore = ["each"]
