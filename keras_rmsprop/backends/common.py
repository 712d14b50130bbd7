"""What the steps of all backends have in common."""

import warnings
from typing import Any

from keras_rmsprop import arguments, mistakes
from keras_rmsprop.annotations import GradsAndVars


class Step:
    """The part of a step that asks for no backend.

    A backend's `Step` is one of these and stands before `keras.optimizers.Optimizer`
    among the bases of `keras_rmsprop.RMSprop`.
    """

    def apply_gradients(self, grads_and_vars: GradsAndVars) -> Any:
        """Applies one step.

        Args:
            grads_and_vars: Iterable of pairs of a gradient, as `apply` takes it, and
                a variable.

        Returns:
            The variable that counts steps.

        Raises:
            TypeError: If they are no such pairs.
            ValueError: If there are none, or gradients and variables do not fit.
        """
        pairs = mistakes.pairs(grads_and_vars)
        if not pairs:
            raise ValueError(mistakes.NO_PAIRS)
        self.apply(*zip(*pairs))
        return self._iterations

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Applies one gradient to one variable.

        Args:
            gradient: Array of the variable's shape, or a sparse gradient.
            variable: The variable.
            learning_rate: Float or scalar array.
        """
        self._update([gradient], [variable], learning_rate)

    def _variables_for(self, grads, variables):
        """Returns the variables that gradients are for, as many of them."""
        if variables is None and not self.built:
            raise ValueError(
                "`trainable_variables` must be given until the optimizer is built. "
                "Received: trainable_variables=None"
            )
        if variables is None:
            variables = self._trainable_variables
        variables = mistakes.list_of_variables("trainable_variables", variables)
        if len(grads) != len(variables):
            raise ValueError(
                "`grads` must have one gradient for each variable. Received: "
                f"{len(grads)} gradients for {len(variables)} variables"
            )
        return variables

    def _check_variables(self, grads, variables):
        for gradient, variable in zip(grads, variables):
            if not mistakes.is_variable(variable):
                raise TypeError(
                    mistakes.no_variable("trainable_variables", variable, gradient)
                )
            arguments.check_dtype(variable)

    def _take_on(self, variables):
        """Makes slots for variables that have none."""
        if not self.built or self._unknown(variables):
            self.build(variables)
        some_missing = len(variables) < len(self._trainable_variables)
        if self.gradient_accumulation_steps and some_missing:
            warnings.warn(
                "This step leaves out variables that others train, while "
                "`gradient_accumulation_steps` counts the steps of all together: "
                "variables that are left out of every step that applies gradients "
                "never move. Make one optimizer for each model.",
                stacklevel=5,
            )

    def _unknown(self, variables):
        """Returns those variables that the optimizer has no slots for, each once."""
        known = self._trainable_variables_indices
        unknown = {self._var_key(v): v for v in variables}
        return [v for key, v in unknown.items() if key not in known]

    def _with_averages(self, variables):
        """Returns pairs of a variable and its moving average, where it has one."""
        known = self._trainable_variables_indices
        indices = [known.get(self._var_key(variable)) for variable in variables]
        averages = self._model_variables_moving_average
        return [
            (variable, averages[index])
            for variable, index in zip(variables, indices)
            if index is not None and averages[index] is not None
        ]

    def _update_model_variables_moving_average(self, trainable_variables):
        if self.update_rule.average_start == "first_step":
            super()._update_model_variables_moving_average(trainable_variables)
            return
        discount = self.ema_momentum
        for variable, average in self._with_averages(trainable_variables):
            average.assign(discount * average + (1 - discount) * variable)
