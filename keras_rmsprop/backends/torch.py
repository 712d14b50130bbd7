"""The step on PyTorch: in place, a block of elements at a time."""

import collections
import dataclasses
from typing import NamedTuple

import keras
import torch
from keras.src.backend.common.stateless_scope import in_stateless_scope

from keras_rmsprop.backends import arrays
from keras_rmsprop.core import formula


class Blocks(NamedTuple):
    """In how many elements at a time variables are updated.

    Attributes:
        part: Of a large variable: what the formula needs in between should stay in a
            cache, and an operation be worth its call. Of 2**17 to 2**24, 2**19 took
            the least time on a CPU.
        together: Of small variables, as if they were one.
        small: Below which it costs more to call an operation than to take part in one.
    """

    part: int
    together: int
    small: int = 1 << 13


# Up to 1 << 15 elements most operations are done by one thread, which takes little
# longer and, on a busy machine, waits for no other.
CPU = Blocks(part=1 << 19, together=1 << 15)
# A device that has to be told of each operation has less to be told of.
DEVICE = Blocks(part=1 << 22, together=1 << 22)


class Step(arrays.Step):
    """How `keras_rmsprop.RMSprop` takes a step; sparse gradients are COO tensors."""

    # Not for the compiler of `jit_compile=True`, which may have the model: of what it
    # does not know, such as steps in blocks, it makes errors.
    @torch.compiler.disable
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
        names = slots[0].names()
        held = ([getattr(each, name) for each in slots] for name in names)
        columns = map(_tensors, (variables, *held))
        groups = collections.defaultdict(list)
        for value, gradient, *held in zip(next(columns), grads, *columns):
            groups[value.dtype, value.device].append((value, gradient, *held))
        for (dtype, device), rows in groups.items():
            hyper, has_epsilon = _scalars(rule, numbers, rate, dtype)

            def step(value, gradient, *held, hyper=hyper, has_epsilon=has_epsilon):
                held = arrays.Slots(**dict(zip(names, held)))
                new, value = _updated(rule, hyper, has_epsilon, held, gradient, value)
                return value, *(each for each in new if each is not None)

            _in_blocks(step, rows, CPU if device.type == "cpu" else DEVICE)

    def _update_rows(self, rule, numbers, rate, gradient, variable, slots):
        gradient, value = gradient.coalesce(), variable.value
        hyper, has_epsilon = _scalars(rule, numbers, rate, value.dtype)
        indices = gradient.indices()[0]
        held = slots.map(lambda slot: slot.value[indices])
        new, rows = _updated(
            rule, hyper, has_epsilon, held, gradient.values(), value[indices]
        )
        for slot, each in zip(slots, new):
            if slot is not None:
                slot.value.index_copy_(0, indices, each)
        value.index_copy_(0, indices, rows)

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


def _can_look(tensor):
    """Whether values can be looked at: on a GPU they would have to be waited for."""
    return tensor.device.type == "cpu"


def _least(tensor):
    return tensor.amin().item() if _can_look(tensor) and tensor.numel() else None


def _magnitude(tensor):
    # A norm takes less time than the greatest of all magnitudes.
    return torch.linalg.vector_norm(tensor).item() if _can_look(tensor) else None


def _plus_quotient(tensor, rate, one, root):
    if isinstance(rate, torch.Tensor):
        return tensor.addcdiv_(rate * one, root)
    return tensor.addcdiv_(one, root, value=rate)


OPERATIONS = formula.Operations(
    square=torch.square,
    plus_square=lambda tensor, x, factor: tensor.addcmul_(x, x, value=factor),
    minus_square=lambda tensor, x: torch.addcmul(tensor, x, x, value=-1),
    sqrt=torch.sqrt,
    rsqrt=torch.rsqrt,
    where=torch.where,
    zeros_like=torch.zeros_like,
    clip=torch.clip,
    isfinite=torch.isfinite,
    greatest=lambda tensor: (
        torch.finfo(tensor.dtype).max if tensor.dtype.is_floating_point else None
    ),
    least=_least,
    magnitude=_magnitude,
    times=torch.Tensor.mul_,
    raised=torch.Tensor.add_,
    discounted=torch.mul,
    plus=lambda tensor, other, factor: tensor.add_(other, alpha=factor),
    toward=torch.lerp,
    minus=torch.Tensor.sub_,
    plus_quotient=_plus_quotient,
)
# Where the former means are not asked for again.
IN_PLACE = dataclasses.replace(
    OPERATIONS, discounted=torch.Tensor.mul_, toward=torch.Tensor.lerp_
)


def _updated(rule, hyper, has_epsilon, slots, gradient, value):
    """Returns what the step makes of slots and a variable, in their memory or new."""
    may_rest = formula.may_rest(OPERATIONS, slots, gradient, has_epsilon)
    ops = OPERATIONS if may_rest else IN_PLACE
    rounding = arrays.rounding(rule, slots)
    return formula.update(ops, rounding, slots, gradient, hyper, has_epsilon, value)


def _tensors(variables):
    """Returns the tensors of variables."""
    # Private: `Variable.value` looks for scopes and devices, twice as long as a small
    # one's step takes. In a scope of `stateless_apply` others stand for them.
    if in_stateless_scope():
        return [variable.value for variable in variables]
    return [variable._value for variable in variables]


def _scalars(rule, numbers, rate, dtype):
    name = keras.backend.standardize_dtype(dtype)
    hyper, has_epsilon = arrays.scalars(rule, *numbers, name)
    rate = rate.to(dtype)
    # Operations take a number along, where it can be known without waiting.
    if _can_look(rate):
        rate = rate.item()
    return hyper._replace(learning_rate=rate), has_epsilon


def _in_blocks(step, rows, blocks):
    """Takes a step for each row, of about so many elements at a time.

    Args:
        step: Takes tensors as in a row, returns the new variable and the new slots. The
            variable may be None: then returns what to subtract from it.
        rows: Lists of tensors of one dtype: a variable, its gradient, its slots.
        blocks: `Blocks`.
    """
    small, elements = [], 0
    for row in rows:
        count = row[0].numel()
        if count >= blocks.small:
            _in_parts(step, row, blocks.part)
            continue
        if elements + count > blocks.together:
            _together(step, small)
            small, elements = [], 0
        small.append(row)
        elements += count
    if small:
        _together(step, small)


def _in_parts(step, row, size):
    """Takes the step of one large variable."""
    variable, gradient, *slots = row
    if row[0].numel() <= size or not all(
        tensor.is_contiguous() for tensor in (variable, *slots)
    ):
        parts = ([tensor] for tensor in row)
    else:
        parts = (tensor.reshape(-1).split(size) for tensor in row)
    for value, gradient, *held in zip(*parts):
        for tensor, new in zip((value, *held), step(value, gradient, *held)):
            if new is not tensor:
                tensor.copy_(new)


def _together(step, rows):
    """Takes the step of small variables as that of one."""
    variables, *columns = zip(*rows)
    # Private, but what PyTorch's own data parallelism packs gradients with, since 0.4.
    packed = map(torch._utils._flatten_dense_tensors, columns)
    taken, *new = (
        torch._utils._unflatten_dense_tensors(each, variables)
        for each in step(None, *packed)
    )
    torch._foreach_sub_(variables, taken)
    for slots, each in zip(columns[1:], new):
        torch._foreach_copy_(slots, each)
