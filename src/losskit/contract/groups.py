"""Sums over the ranks of a process group."""

from typing import Any

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup


class Joined(torch.autograd.Function):
    """The sum over the ranks. Every rank computes the same loss from it, so the gradient by its own part is the gradient by the sum, without more traffic."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        total = x.clone()
        distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None]:
        return incoming, None


class Entered(torch.autograd.Function):
    """A tensor that every rank of a group holds, and multiplies by a part of its own: the gradient is the sum over the ranks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: ProcessGroup) -> Tensor:
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None]:
        total = incoming.float() if incoming.dtype.itemsize == 2 else incoming.clone()
        distributed.all_reduce(total, group=ctx.group)
        return total.to(incoming.dtype), None


def entered(x: Tensor, group: ProcessGroup | None) -> Tensor:
    """A tensor that all ranks hold, on its way to what is spread over them."""
    return x if group is None or not isinstance(x, Tensor) else Entered.apply(x, group)  # type: ignore[no-untyped-call]


def checked(name: str, group: ProcessGroup | int | None) -> None:
    """A process group, or none; one without this rank is refused."""
    if group is None:
        return
    if group is distributed.GroupMember.NON_GROUP_MEMBER:
        raise ValueError(f"{name} is a group without this rank: call the loss on the ranks of the group alone")
    if not isinstance(group, ProcessGroup):
        raise TypeError(f"{name} must be a torch.distributed.ProcessGroup, got {type(group).__name__}: for all ranks, try torch.distributed.group.WORLD")


def gathered(x: Tensor, group: ProcessGroup) -> Tensor:
    """What each rank holds, in the order of the ranks, along a new first axis."""
    found = [torch.empty_like(x) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(found, x.contiguous(), group=group)
    return torch.stack(found)


def joined(x: Tensor, group: ProcessGroup | None) -> Tensor:
    """The sum over the ranks of a group; without one, `x` itself."""
    if group is None:
        return x
    total: Tensor = Joined.apply(x, group)  # type: ignore[no-untyped-call]
    return total
