"""Hyperparameters of an optimizer, as its graph computes them."""

import keras

from keras_rmsprop.migration.state.readers.saver.decays import Decays
from keras_rmsprop.migration.state.readers.saver.evaluation import Unknown, decimal


class Hyperparameters:
    """Reads the hyperparameters of an optimizer from a graph.

    Args:
        graph: A `Graph`.
        evaluation: An `Evaluation` with the variables of a checkpoint.

    Attributes:
        values: Dictionary of numbers, or of schedules as Keras serializes them.
        not_read: List of what is neither, in words.
        used: Names of the variables that hold hyperparameters.
        step: Name of the variable that a schedule follows, or None.
    """

    def __init__(self, graph, evaluation):
        self._graph = graph
        self._evaluation = evaluation
        self.values = {}
        self.not_read = []
        self.used = []
        self.step = None

    def read(self, name, tensors, step):
        """Reads one.

        Args:
            name: The argument's name.
            tensors: The tensors that the kernels take for it, at least one.
            step: Name of the variable that counts the optimizer's steps, or None.
        """
        constants = {self._evaluation.constant(tensor) for tensor in tensors}
        if len(constants) == 1 and None not in constants:
            self.values[name] = decimal(constants.pop())
        elif len(tensors) > 1:
            self._refuse(name, f"{len(tensors)} different tensors of the graph")
        else:
            (tensor,) = tensors
            variable = self._graph.variable(tensor)
            if variable is None and name == "learning_rate":
                self._read_schedule(tensor, step)
            else:
                self._read_number(name, tensor, variable)

    def _read_number(self, name, tensor, variable):
        try:
            value = decimal(self._evaluation.value(tensor))
        except Unknown as error:
            self._refuse(name, f"{self._named(tensor)}, which depends on {error}")
            return
        if variable is None:
            self._refuse(name, self._named(tensor), value)
        else:
            self.values[name] = value
            self.used.append(variable)

    def _read_schedule(self, tensor, step):
        try:
            now = decimal(self._evaluation.value(tensor))
        except Unknown as error:
            self._refuse(
                "learning_rate", f"{self._named(tensor)}, which depends on {error}"
            )
            return
        decays = Decays(self._graph, self._evaluation)
        found = decays.find(tensor)
        if found is None:
            self._refuse("learning_rate", self._named(tensor), now)
            return
        schedule, counter, why = found
        if step not in (None, counter):
            why = (
                f"it follows the counter {counter!r} and not {step!r}; "
                f"`global_step={counter!r}` makes that the step count"
            )
        if why:
            what = f"{type(schedule).__name__} {schedule.get_config()}, but {why}"
            self._refuse("learning_rate", what, now)
            return
        self.step = counter
        self.values["learning_rate"] = keras.optimizers.schedules.serialize(
            decays.rounding(schedule)
        )

    def _refuse(self, name, what, now=None):
        text = f"{name}: {what}"
        if now is not None:
            text += f"; it was {now!r} at the checkpoint's step"
        self.not_read.append(f"{text}; give {name}=...")

    def _named(self, tensor):
        name = self._graph.source(tensor, casts=True)[0]
        node = self._graph.nodes.get(name)
        if node is None:
            return f"a tensor that is not in the graph ({name!r})"
        inputs = [self._graph.source(each, casts=True)[0] for each in node.inputs[:4]]
        of = f" of {', '.join(map(repr, inputs))}" if inputs else ""
        return f"a tensor of the graph ({name!r}, {node.op}{of})"
