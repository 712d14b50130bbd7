"""What a type checker has to complain about, line by line. Never run."""

import keras_rmsprop
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import UpdateRule, migration

keras_rmsprop.RMSProp(0.01)  # The name is RMSprop.
migration.resumes("run")
migration.resume()
UpdateRule.got("tf1")
RMSPropOptimizer(decay=0.9)
