"""What a type checker has to complain about, line by line. Never run."""

import keras_rmsprop
from compat_v1.train import RMSPropOptimizer
from keras_rmsprop import UpdateRule, legacy, migration

keras_rmsprop.RMSProp(0.01)  # The name is RMSprop.
migration.resumes("run")
migration.resume()
UpdateRule.got("tf1")
RMSPropOptimizer(decay=0.9)
keras_rmsprop.RMSprop(rho="fast")
keras_rmsprop.RMSprop(update_rule=3)
legacy.RMSprop(centered="yes")
RMSPropOptimizer(0.1, lr=0.1)
migration.read_state("run").select(3)
