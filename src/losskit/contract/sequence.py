"""Hidden states whose items are spread over the ranks of a group along one axis: gathered for the head, whose gradient to them goes back to whom they belong."""

from typing import Any, NamedTuple
from zlib import crc32

from torch import Tensor
from torch.distributed import ProcessGroup

from losskit.contract import products, reduce
from losskit.contract.groups import Refused, assembled, meet, refusals_told
from losskit.engines import dispatch


class Part(NamedTuple):
    """What a rank tells the others of its part: whether it refuses it, its size along the axis, what it must have in common with theirs."""

    refuses: float = 1.0
    size: float = 0.0
    axis: float = 0.0
    shape: float = 0.0  # of the other axes, as one number
    dtype: float = 0.0  # its name, as one number
    followed: float = 0.0  # whether it requires a gradient


def whole(input: Tensor, linear_weight: Tensor, linear_bias: Tensor | None, group: ProcessGroup | None, axis: Any) -> Tensor:
    """The hidden states of all ranks, in their order. In the backward each rank gets the sum over the ranks of the gradient to its own."""
    if group is None:
        raise ValueError("sequence_dim names the axis along which hidden states are spread over class_group: give class_group, or leave sequence_dim out")
    if dispatch.asked():  # nothing is sent
        dispatch.choice((input, linear_weight))
    with refusals_told(group, input, Part()):
        products.checked(input, linear_weight, linear_bias)
        if isinstance(axis, bool) or not isinstance(axis, int):
            raise TypeError(f"sequence_dim must be an integer, or None, got {type(axis).__name__}: {axis!r}")
        if not -input.dim() <= axis < input.dim() or axis % input.dim() == input.dim() - 1:
            raise ValueError(
                f"sequence_dim must be an axis of the items of input, whose shape is {tuple(input.shape)}, and the last one is the width; got {axis}"
            )
        axis %= input.dim()
        shape = hash((*input.shape[:axis], *input.shape[axis + 1 :])) % (1 << 52)
        mine = Part(0.0, input.shape[axis], axis, shape, crc32(str(input.dtype).encode()) >> 8, reduce.needs_gradient(input))
    parts = meet(group, input, mine)
    for other, each in enumerate(parts):
        if each.refuses:
            raise Refused(f"rank {other} of class_group has refused its input: see what it raises")
    if any(each[2:] != parts[0][2:] for each in parts):
        raise ValueError(
            f"the ranks of class_group must hold hidden states of one shape but for sequence_dim={axis}, of one dtype, that all require a gradient or none: got "
            f"{tuple(input.shape)}, {input.dtype}, requires_grad={input.requires_grad} on this rank"
        )
    sizes = tuple(int(each.size) for each in parts)
    return assembled(input.movedim(axis, 0), sizes, group).movedim(0, axis)
