"""The step on PyTorch: in place, a block of elements at a time."""

import collections

import keras
import torch

from keras_rmsprop.backends import arrays
from keras_rmsprop.core import formula

# How many elements are updated at once: what the formula needs in between then stays
# in a processor's cache. Small variables are updated together, large ones in parts.
BLOCK = 1 << 17
# Below how many elements it costs more to call an operation than to take part in one.
SMALL = 1 << 13
# A device that has to be told of each operation has less to be told of.
DEVICE_BLOCK = 1 << 22


class Step(arrays.Step):
    """How `keras_rmsprop.RMSprop` takes a step; sparse gradients are COO tensors."""

    @torch.no_grad()
    def apply(self, grads, trainable_variables=None):
        super().apply(grads, trainable_variables)

    apply.__doc__ = arrays.Step.apply.__doc__

    def _look_up(self):
        super()._look_up()
        self._kinds = {
            id(v): (v.value.shape, v.value.dtype, v.value.device)
            for v in self._trainable_variables
        }

    def _fits_as_it_is(self, gradient, variable):
        # What most gradients are is found out first: all that is done for each
        # variable shows in steps of many small ones.
        return (
            self.built
            and isinstance(gradient, torch.Tensor)
            and gradient.layout is torch.strided
            and (gradient.shape, gradient.dtype, gradient.device)
            == self._kinds.get(id(variable))
        )

    def stateless_apply(self, optimizer_variables, grads, trainable_variables):
        # Steps are taken in place, which what was passed in does not expect.
        return super().stateless_apply(
            [torch.clone(value) for value in optimizer_variables],
            grads,
            [torch.clone(value) for value in trainable_variables],
        )

    def _apply_weight_decay(self, variables):
        if self.weight_decay is None:
            return
        # Keras' own rounds the share that is kept, which loses most of a small decay.
        for variable in filter(self._use_weight_decay, variables):
            rate = keras.ops.cast(self.learning_rate, variable.dtype)
            variable.value.sub_(variable.value * self.weight_decay * rate)

    def _update_dense(self, rule, numbers, rate, grads, variables, slots):
        groups = collections.defaultdict(list)
        for gradient, variable, held in zip(grads, variables, slots):
            value = variable.value
            row = value, gradient, *(s.value for s in held if s is not None)
            groups[value.dtype, value.device].append(row)
        kinds = [
            name for name, slot in zip(slots[0]._fields, slots[0]) if slot is not None
        ]
        for (dtype, device), rows in groups.items():
            hyper, has_epsilon = _scalars(rule, numbers, rate, dtype)

            def step(gradient, *held, hyper=hyper, has_epsilon=has_epsilon):
                held = arrays.Slots(**dict(zip(kinds, held)))
                rounding = arrays.rounding(rule, held)
                new, step = formula.update(
                    OPERATIONS, rounding, held, gradient, hyper, has_epsilon
                )
                return step, *(each for each in new if each is not None)

            _in_blocks(step, rows, BLOCK if device.type == "cpu" else DEVICE_BLOCK)

    def _update_rows(self, rule, numbers, rate, gradient, variable, slots):
        gradient, value = gradient.coalesce(), variable.value
        hyper, has_epsilon = _scalars(rule, numbers, rate, value.dtype)
        indices = gradient.indices()[0]
        held = slots.map(lambda slot: slot.value[indices])
        rounding = arrays.rounding(rule, held)
        new, step = formula.update(
            OPERATIONS, rounding, held, gradient.values(), hyper, has_epsilon
        )
        for slot, each in zip(slots, new):
            if slot is not None:
                slot.value.index_copy_(0, indices, each)
        value.index_copy_(0, indices, value[indices] - step)

    _is_sparse = staticmethod(
        lambda gradient: (
            isinstance(gradient, torch.Tensor) and gradient.layout is not torch.strided
        )
    )
    _densified = staticmethod(lambda gradient: gradient.to_dense())
    _names_rows = staticmethod(
        lambda gradient: (
            gradient.layout is torch.sparse_coo and gradient.sparse_dim() == 1
        )
    )
    _values = staticmethod(lambda g: g._values() if Step._is_sparse(g) else g)
    _summed = staticmethod(lambda g: g.coalesce() if Step._is_sparse(g) else g)

    @staticmethod
    def _with_values(gradient, values):
        return torch.sparse_coo_tensor(
            gradient._indices(),
            values,
            gradient.shape,
            is_coalesced=gradient.is_coalesced(),
            check_invariants=False,  # They are those of the gradient.
        )


OPERATIONS = formula.Operations(
    square=torch.square,
    sqrt=torch.sqrt,
    rsqrt=torch.rsqrt,
    where=torch.where,
    zeros_like=torch.zeros_like,
    clip=torch.clip,
    isfinite=torch.isfinite,
    greatest=lambda tensor: (
        torch.finfo(tensor.dtype).max if tensor.dtype.is_floating_point else None
    ),
)


def _scalars(rule, numbers, rate, dtype):
    name = keras.backend.standardize_dtype(dtype)
    hyper, has_epsilon = arrays.scalars(rule, *numbers, name)
    return hyper._replace(learning_rate=rate.to(dtype)), has_epsilon


def _in_blocks(step, rows, size):
    """Takes a step for each row, of about so many elements at a time.

    Args:
        step: Takes the gradient and slots, returns what to subtract from the variable
            and the new slots.
        rows: Lists of tensors of one dtype: a variable, its gradient, its slots.
        size: How many elements.
    """
    small, elements = [], 0
    for row in rows:
        if row[0].numel() >= min(size, SMALL):
            _in_parts(step, row, size)
            continue
        if elements + row[0].numel() > size:
            _together(step, small)
            small, elements = [], 0
        small.append(row)
        elements += row[0].numel()
    if small:
        _together(step, small)


def _in_parts(step, row, size):
    """Takes the step of one large variable."""
    variable, gradient, *slots = row
    if all(tensor.is_contiguous() for tensor in (variable, *slots)):
        parts = (tensor.reshape(-1).split(size) for tensor in row)
    else:
        parts = ([tensor] for tensor in row)
    for value, gradient, *held in zip(*parts):
        taken, *new = step(gradient, *held)
        value.sub_(taken)
        for slot, each in zip(held, new):
            slot.copy_(each)


def _together(step, rows):
    """Takes the step of small variables as that of one."""
    variables, *columns = zip(*rows)
    # Private, but what PyTorch's own data parallelism packs gradients with, since 0.4.
    packed = map(torch._utils._flatten_dense_tensors, columns)
    taken, *new = (
        torch._utils._unflatten_dense_tensors(each, variables) for each in step(*packed)
    )
    torch._foreach_sub_(variables, taken)
    for slots, each in zip(columns[1:], new):
        torch._foreach_copy_(slots, each)
