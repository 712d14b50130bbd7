"""Training programs for every RMSProp class there has been.

`record.py` runs them with the classes that shipped, one at a time, and the tests
with this library's, many at once: a recording and its replay differ in nothing else.
For TensorFlow from 1.4 on, Keras 3 on any backend, and Python from 3.5 on.
"""

import platform

import numpy as np

try:
    import tensorflow as tf
except ImportError:  # Keras 3 on another backend.
    tf = None
try:
    import keras

    keras = keras if hasattr(keras, "Variable") else None
except ImportError:  # Keras 2 as part of TensorFlow.
    keras = None
if keras is not None and keras.backend.backend() != "tensorflow":
    tf = None
try:
    if tf is None:
        raise ImportError
    import tf_keras
except ImportError:
    tf_keras = None

STEPS = 60
EAGER_STEPS = 20  # Where nothing is compiled, steps take long.
SNAPSHOTS = (1, 2, 3, 20, 60)
# Of the variables of each problem. Start values and gradients are taken from one
# pool of numbers, variable by variable.
SHAPES = {
    "dense": [(7, 5)],
    "sparse": [(7, 5)],
    "distinct": [(7, 5)],
    "steady": [(7, 5)],
    "scalar": [()],
    "rank3": [(2, 3, 4)],
    "pair": [(7, 5), (5,)],
}
POOL = 40
PICKED = 6  # Slices in a sparse gradient.
# Of sparse gradients, where a row may come twice or does not.
INDICES = {"sparse": "indices", "distinct": "distinct_indices"}


def problem_arrays():
    """Returns what problems are made of, the same numbers under every NumPy."""
    # `RandomState` is frozen, and this uses nothing of the C library's mathematics.
    random = np.random.RandomState(2017)
    scales = 2.0 ** np.floor(random.uniform(-4, 3, (STEPS, 1)))
    indices = np.floor(random.uniform(0, 6, (STEPS, PICKED))).astype(np.int64)
    indices[:, 1] = indices[:, 0]
    return {
        "start": random.uniform(-1, 1, POOL),
        "gradients": scales * random.uniform(-1, 1, (STEPS, POOL)),
        "indices": indices,
        "distinct_indices": np.argsort(random.uniform(0, 1, (STEPS, 7)))[:, :PICKED],
        "rates": 0.02 * random.uniform(0.1, 1, STEPS),
    }


class Problem(object):
    """The start and the gradients of one training.

    Attributes:
        key: What equals where gradients do.
    """

    def __init__(self, arrays, name, dtype, index_dtype=None):
        self._arrays = arrays
        self._shapes = SHAPES[name]
        self._dtype = dtype
        self._index_dtype = index_dtype
        self._name = name
        self.key = "%s %s %s" % (name, dtype, index_dtype)
        self.dtype = dtype

    def start(self):
        """Returns the first values, one for each variable."""
        return self._cut(self._arrays["start"], self._shapes)

    def gradients(self, step):
        """Returns the gradients, or values of slices and then their indices."""
        pool = self._arrays["gradients"][step]
        if self._name == "steady":
            # So nearly constant that variances round below zero.
            pool = 10 * (1 + 1e-6 * pool)
        if self._index_dtype is None:
            return self._cut(pool, self._shapes)
        slices = self._cut(pool, [(PICKED,) + s[1:] for s in self._shapes])
        indices = self._arrays[INDICES[self._name]][step]
        return slices + [indices.astype(self._index_dtype)]

    def rate(self, step):
        """Returns the learning rate to feed."""
        return self._arrays["rates"][step]

    def as_gradients(self, tensors):
        """Returns `gradients`, as tensors, in the form that optimizers take."""
        if self._index_dtype is None:
            return tensors
        indices = tensors[-1]
        return [
            tf.IndexedSlices(values, indices, tf.constant(shape, self._index_dtype))
            for values, shape in zip(tensors, self._shapes)
        ]

    def _cut(self, pool, shapes):
        cut, offset = [], 0
        for shape in shapes:
            size = int(np.prod(shape))
            part = pool[offset : offset + size].reshape(shape)
            cut.append(part.astype(self._dtype))
            offset += size
        return cut


class Program(object):
    """An optimizer: how it is made, takes a step and shows its slots.

    Attributes:
        placeholder: That of the learning rate, or None.
        afterwards: In a graph, an operation to run after each step, or None.
    """

    placeholder = None
    afterwards = None

    def __init__(self, cls, problem, arguments, schedules):
        arguments = dict(arguments)
        self._minimizes = arguments.pop("minimize", False)
        arguments["learning_rate"] = _rate(arguments["learning_rate"], schedules)
        self._optimizer = cls(**arguments)

    def variable(self, value):
        """Returns a variable to train outside graphs."""
        return tf.Variable(value)

    def step(self, gradients, variables):
        """Takes a step; in a graph, returns its operation."""
        if self._minimizes:
            return self._optimizer.minimize(
                lambda: _loss(gradients, variables), variables
            )
        return self._optimizer.apply_gradients(list(zip(gradients, variables)))

    def slots(self, variables):
        """Returns lists of slots by name."""
        return {
            name: [self._optimizer.get_slot(variable, name) for variable in variables]
            for name in self._optimizer.get_slot_names()
        }


class TF1Program(Program):
    """`tf.train.RMSPropOptimizer`."""

    def __init__(self, cls, problem, arguments, schedules):
        arguments = dict(arguments)
        rate = arguments["learning_rate"]
        self.placeholder = self._global_step = None
        if rate == "placeholder":
            rate = self.placeholder = v1().placeholder(tf.float32, ())
        elif rate == "exponential_decay":
            self._global_step = tf.Variable(
                np.int64(0), trainable=False, dtype=tf.int64
            )
            rate = v1().train.exponential_decay(0.02, self._global_step, 7, 0.9)
        arguments["learning_rate"] = _rate(rate, schedules)
        self._optimizer = cls(**arguments)

    def step(self, gradients, variables):
        return self._optimizer.apply_gradients(
            list(zip(gradients, variables)), global_step=self._global_step
        )


class Keras2017Program(Program):
    """`tf.keras.optimizers.RMSprop` of TensorFlow 1.4 to 1.12."""

    def __init__(self, cls, problem, arguments, schedules):
        # Its hyperparameters have Keras' dtype, which has to be the gradients'.
        arguments = dict(arguments)
        self._counts_last = arguments.pop("counts_last", False)
        backend = tf.keras.backend
        before = backend.floatx()
        backend.set_floatx(problem.dtype)
        self._optimizer = cls(**arguments)
        backend.set_floatx(before)

    def step(self, gradients, variables):
        updates = self._optimizer.get_updates(
            loss=_loss(gradients, variables), params=variables
        )
        if self._counts_last:
            # What shipped increments the step count in the first of its updates.
            self.afterwards = updates.pop(0)
        return tf.group(*updates)

    def slots(self, variables):
        return {"rms": list(self._optimizer.weights)}


class KerasProgram(Program):
    """`RMSprop` of Keras 2.11 to 2.15."""

    _LISTS = {
        "velocity": "_velocities",
        "momentum": "_momentums",
        "average_gradient": "_average_gradients",
        "average": "_model_variables_moving_average",
    }

    def slots(self, variables):
        held = {
            name: getattr(self._optimizer, attribute, None)
            for name, attribute in self._LISTS.items()
        }
        return {name: list(slots) for name, slots in held.items() if slots}


class Keras3Program(KerasProgram):
    """`RMSprop` of Keras 3."""

    def variable(self, value):
        return keras.Variable(value, dtype=value.dtype.name)


PROGRAMS = {
    "tf1": TF1Program,
    "keras2017": Keras2017Program,
    "legacy": Program,
    "keras2": KerasProgram,
    "keras3": Keras3Program,
}


def _loss(gradients, variables):
    """Returns a loss that has the given gradients, to the bit."""
    return sum(
        tf.reduce_sum(tf.gather(variable, gradient.indices) * gradient.values)
        if isinstance(gradient, tf.IndexedSlices)
        else tf.reduce_sum(variable * gradient)
        for gradient, variable in zip(gradients, variables)
    )


def _rate(rate, schedules):
    """Returns the learning rate that an argument in a recording stands for."""
    if isinstance(rate, dict):
        arguments = dict(rate)
        return getattr(schedules, arguments.pop("schedule"))(**arguments)
    return (lambda: 0.02) if isinstance(rate, str) else rate


# Each mode trains a list of pairs, of a function without arguments that returns a
# program, and a `Problem`. It returns for each pair the values of its variables, one
# list for each of `SNAPSHOTS`, and the slots at the end, lists by name.


def in_ref_graph(pairs):
    """Trains the variables of TF1, in a graph and session."""
    return _in_graph(pairs, use_resource=False)


def in_resource_graph(pairs):
    """Trains resource variables, in a graph and session."""
    return _in_graph(pairs, use_resource=True)


def eagerly(pairs):
    """Trains eagerly, on any backend."""
    return _train(pairs, lambda steps: steps, EAGER_STEPS)


def in_function(pairs):
    """Trains in a `tf.function`."""
    return _train(pairs, tf.function(autograph=False), STEPS)


def modes():
    """Returns the modes that there are here, by name."""
    found = {}
    if tf is None or hasattr(v1(), "enable_eager_execution"):
        found["eager"] = eagerly
    if tf is not None:
        found["graph_ref"] = in_ref_graph
        found["graph_resource"] = in_resource_graph
    if hasattr(tf, "function"):
        found["function"] = in_function
    return found


def _in_graph(pairs, use_resource):
    with tf.Graph().as_default(), v1().Session() as session:
        tensors = {
            key: [v1().placeholder(array.dtype, array.shape) for array in arrays]
            for key, arrays in _gradients(pairs, 0).items()
        }
        trained = []
        for i, (make, problem) in enumerate(pairs):
            program, variables = make(), []
            for j, value in enumerate(problem.start()):
                name = "v%d_%d" % (i, j)
                variables.append(
                    v1().get_variable(
                        name, initializer=value, use_resource=use_resource
                    )
                )
            trained.append((program, problem, variables))
        steps = [
            program.step(problem.as_gradients(tensors[problem.key]), variables)
            for program, problem, variables in trained
        ]
        afterwards = [p.afterwards for p, _, _ in trained if p.afterwards is not None]
        slots = [program.slots(variables) for program, _, variables in trained]
        session.run(v1().global_variables_initializer())
        values = [[] for _ in pairs]
        for step in range(STEPS):
            feed = {}
            for key, arrays in _gradients(pairs, step).items():
                feed.update(zip(tensors[key], arrays))
            for program, problem, _ in trained:
                if program.placeholder is not None:
                    feed[program.placeholder] = problem.rate(step)
            session.run(steps, feed)
            session.run(afterwards, feed)
            if step + 1 in SNAPSHOTS:
                now = session.run([variables for _, _, variables in trained])
                for kept, new in zip(values, now):
                    kept.append(new)
        return list(zip(values, session.run(slots)))


def _train(pairs, compiled, count):
    trained = []
    for make, problem in pairs:
        program = make()
        variables = [program.variable(value) for value in problem.start()]
        trained.append((program, problem, variables))

    @compiled
    def steps(tensors):
        for program, problem, variables in trained:
            program.step(problem.as_gradients(tensors[problem.key]), variables)

    values = [[] for _ in pairs]
    for step in range(count):
        gradients = _gradients(pairs, step).items()
        steps({key: [_tensor(array) for array in arrays] for key, arrays in gradients})
        if step + 1 in SNAPSHOTS:
            for kept, (_, _, variables) in zip(values, trained):
                kept.append([_array(variable) for variable in variables])
    slots = [
        {
            name: [_array(slot) for slot in slots]
            for name, slots in program.slots(variables).items()
        }
        for program, _, variables in trained
    ]
    return list(zip(values, slots if count == STEPS else [{}] * len(pairs)))


def _gradients(pairs, step):
    """Returns one step's gradients of all problems, by their key."""
    problems = {problem.key: problem for _, problem in pairs}
    return {key: problem.gradients(step) for key, problem in problems.items()}


def _tensor(array):
    return keras.ops.convert_to_tensor(array) if tf is None else tf.constant(array)


def _array(variable):
    if tf is None:
        return keras.ops.convert_to_numpy(variable)
    return variable.numpy()


def v1():
    """Returns TensorFlow's TF1 part."""
    return getattr(tf.compat, "v1", tf)


def versions():
    """Returns the versions of what computes here, by name."""
    found = {"python": platform.python_version(), "numpy": np.__version__}
    if keras is not None:
        found["keras"] = keras.__version__
        backend = found["backend"] = keras.backend.backend()
        found[backend] = __import__(backend).__version__
    if tf_keras is not None:
        found["tf_keras"] = tf_keras.__version__
    if tf is not None:
        found["tensorflow"] = tf.__version__
    return found
