"""How and where the code at hand is executed."""

import tensorflow as tf


def is_resource(variable):
    """Whether this is a resource variable (and no TF1 reference variable)."""
    return hasattr(variable, "handle")


def is_on_own_cpu(variable):
    """Whether this is a resource variable that lies on a CPU of this process."""
    return (
        is_resource(variable)
        and variable.device.startswith("/job:localhost/")
        and "/device:CPU:" in variable.device
    )


def is_compiled():
    """Whether the code being traced is compiled by XLA (`jit_compile=True`)."""
    if tf.executing_eagerly():
        return False
    # TensorFlow publishes no test for this; Keras and TensorFlow's own ops use
    # this one, which has existed since 2.1.
    from tensorflow.python.ops import control_flow_util

    return control_flow_util.GraphOrParentsInXlaContext(
        tf.compat.v1.get_default_graph()
    )


def is_eager_program():
    """Whether code runs eagerly, or in a function that an eager program calls.

    What a TF1 graph holds may be exported, and has to load where this library is not.
    """
    return tf.executing_eagerly() or tf.compat.v1.executing_eagerly_outside_functions()


def after(operation):
    """Orders what follows after an op; eager ops are in order anyway."""
    return tf.control_dependencies([] if operation is None else [operation])
