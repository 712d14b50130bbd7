"""TensorFlow, without which training on JAX and PyTorch works, and little else."""


class TensorFlowFor:
    """A context of imports that says what needs TensorFlow where that is missing.

    Args:
        what: Name of what is imported.

    Example:

    >>> with TensorFlowFor("keras_rmsprop.legacy"):
    ...     raise ModuleNotFoundError("deep inside", name="tensorflow")
    Traceback (most recent call last):
        ...
    ModuleNotFoundError: keras_rmsprop.legacy needs TensorFlow, which is not \
installed: `pip install tensorflow`. Without it keras_rmsprop.RMSprop trains on JAX \
and PyTorch.
    """

    def __init__(self, what):
        self._what = what

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback) -> None:
        if isinstance(error, ModuleNotFoundError) and error.name == "tensorflow":
            raise ModuleNotFoundError(
                f"{self._what} needs TensorFlow, which is not installed: "
                "`pip install tensorflow`. Without it keras_rmsprop.RMSprop trains on "
                "JAX and PyTorch.",
                name="tensorflow",
            ) from None
