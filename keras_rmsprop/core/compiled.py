"""XLA programs over many variables.

The training kernels pass over memory three times and ordinary ops more often; what
XLA compiled passes once for each variable that it writes.
"""

import tensorflow as tf

# From how many elements on programs pay for their compilation and launch.
MINIMUM_ELEMENTS = 1 << 20
# How many sets of variables one optimizer compiles for, before it stops. One is
# usual; steps that each leave out other variables would compile without end.
MAXIMUM_SETS = 4
# In how many programs a set is updated side by side: while one is being launched,
# which costs some microseconds for each variable, another computes.
PROGRAMS_PER_SET = 2


class Programs:
    """The compiled programs of one optimizer, one for each set of variables.

    Variables are captured when a program is traced, so that a call passes only
    gradients: to pass a variable costs more than to update a small one.
    """

    def __init__(self):
        self._programs = {}

    def run(self, rule, updates, hyper, apply_each):
        """Applies updates of one dtype by compiled programs, if that pays.

        XLA's rounding is its own, so rules that promise the shipped bits do
        without, and so do half precision dtypes, in which it would show.

        Args:
            rule: An `UpdateRule`.
            updates: List of `(variable, slots, gradient)`.
            hyper: `Hyperparameters`, cast to the variables' dtype.
            apply_each: Takes `rule`, `updates` and `hyper`; what is compiled.

        Returns:
            Whether it did.
        """
        variables = [variable for variable, _, _ in updates]
        key = (rule.name, tuple(map(id, variables)))
        if key not in self._programs:
            if len(self._programs) == MAXIMUM_SETS or not _pays(rule, variables):
                return False
            self._programs[key] = [
                (
                    places,
                    _program(rule, [updates[place] for place in places], apply_each),
                )
                for places in _shares(variables)
            ]
        for places, program in self._programs[key]:
            program([updates[place][-1] for place in places], hyper)
        return True


def _program(rule, updates, apply_each):
    variables, slots, _ = zip(*updates)

    @tf.function(jit_compile=True, autograph=False)
    def program(gradients, hyper):
        apply_each(rule, list(zip(variables, slots, gradients)), hyper)

    return program


def _shares(variables):
    """Returns the places of the variables in lists of about as many elements."""
    sizes = [variable.shape.num_elements() for variable in variables]
    shares = [[] for _ in variables[:PROGRAMS_PER_SET]]
    filled = [0] * len(shares)
    for place in sorted(range(len(sizes)), key=sizes.__getitem__, reverse=True):
        least = filled.index(min(filled))
        shares[least].append(place)
        filled[least] += sizes[place]
    return shares


def _pays(rule, variables):
    return (
        not rule.bitwise
        and variables[0].dtype in (tf.float32, tf.float64)
        and sum(v.shape.num_elements() for v in variables) >= MINIMUM_ELEMENTS
        and len({v.device for v in variables}) == 1
    )
