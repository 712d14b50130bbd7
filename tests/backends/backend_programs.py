"""Training programs in Keras alone, which every backend runs alike."""

import keras
import numpy as np

import keras_rmsprop

RULES = ("keras", "keras2", "legacy", "tf1")
ARGUMENTS = {
    "plain": {},
    "momentum": {"momentum": 0.9},
    "centered": {"centered": True},
    "centered_momentum": {"centered": True, "momentum": 0.9},
}
# What Keras does around the update.
AROUND = {
    "clipnorm": {"clipnorm": 1.0},
    "clipvalue": {"clipvalue": 0.5},
    "global_clipnorm": {"global_clipnorm": 2.0},
    "weight_decay": {"weight_decay": 0.01},
    "average": {"use_ema": True, "ema_momentum": 0.9},
    "overwriting_average": {
        "use_ema": True,
        "ema_momentum": 0.9,
        "ema_overwrite_frequency": 7,
    },
    "accumulation": {"gradient_accumulation_steps": 3},
    "accumulation_average_decay": {
        "gradient_accumulation_steps": 2,
        "use_ema": True,
        "ema_overwrite_frequency": 3,
        "weight_decay": 0.01,
        "clipnorm": 1.0,
    },
    "loss_scale": {"loss_scale_factor": 8.0},
    "missing_gradients": {
        "use_ema": True,
        "ema_momentum": 0.9,
        "ema_overwrite_frequency": 2,
    },
}
# All of it with one rule, and with others where they go other ways.
AROUND_OF = {
    "keras": tuple(AROUND),
    "keras2": ("average", "overwriting_average", "missing_gradients"),
    "tf1": ("global_clipnorm", "accumulation_average_decay"),
}
SHAPES = ((6, 4), (4,), ())


def cases():
    """Returns arguments of optimizers by name."""
    found = {
        f"{rule}-{name}": {"update_rule": rule, **arguments}
        for rule in RULES
        for name, arguments in ARGUMENTS.items()
    }
    for rule, names in AROUND_OF.items():
        for name in names:
            found[f"{rule}-{name}"] = {
                "update_rule": rule,
                "momentum": 0.9,
                **AROUND[name],
            }
    return found


def gradients(steps=200, shapes=SHAPES, dtype="float32", seed=1):
    """Returns of each step a list of arrays."""
    rng = np.random.default_rng(seed)
    return [[rng.normal(size=s).astype(dtype) for s in shapes] for _ in range(steps)]


def variables(shapes=SHAPES, dtype="float32", seed=0):
    """Returns variables of reproducible values."""
    rng = np.random.default_rng(seed)
    return [keras.Variable(rng.normal(size=s), dtype=dtype) for s in shapes]


def values(variables):
    """Returns the values of variables as arrays."""
    return [np.array(keras.ops.convert_to_numpy(v.value)) for v in variables]


def trained(name, arguments):
    """Returns all that a program of `cases` trains: variables and optimizer's."""
    held = variables()
    optimizer = keras_rmsprop.RMSprop(0.01, epsilon=1e-5, **arguments)
    optimizer.build(held)
    apply = stepper(optimizer, held)
    # What Keras does around the update is rounded in more places.
    steps = 60 if name.partition("-")[2] in AROUND else 200
    for step, grads in enumerate(gradients(steps)):
        if name.endswith("missing_gradients"):
            grads[step % 3] = None
        apply([g if g is None else keras.ops.convert_to_tensor(g) for g in grads])
    return values([*held, *optimizer.variables])


def stepper(optimizer, variables):
    """Returns a function that takes a step, in the way that is usual for a backend."""
    if keras.backend.backend() != "jax":
        return lambda grads: optimizer.apply(grads, variables)
    import jax

    compiled = jax.jit(optimizer.stateless_apply)

    def step(grads):
        held = [v.value for v in optimizer.variables], [v.value for v in variables]
        trained, state = compiled(held[0], grads, held[1])
        for variable, value in zip(
            [*variables, *optimizer.variables], [*trained, *state]
        ):
            variable.assign(value)

    return step
