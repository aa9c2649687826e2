"""Sums over the ranks of a process group, and what the ranks tell each other before they compute."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar, get_args
from zlib import crc32

import torch
from torch import Tensor, distributed
from torch.distributed import ProcessGroup

from losskit.engines import dispatch
from losskit.engines.private import compiling

Gradients = Literal["averaged", "summed"]
POSITIVES: Final = "positives"
TOLD = 32  # numbers, of which a telling has fewer


@dataclass(frozen=True, eq=False)
class Ranks:
    """The ranks of a distributed training over whose items "mean" is taken: `normalizer=losskit.Ranks()`.

    Each rank returns its own items' part of the mean over all ranks' items, whatever each holds: one rank may have many, another none. The parts of the ranks average
    to the loss of all, or add up to it, as `gradients` says, and so do the gradients of the parameters.

    Args:
        normalizer: this rank's part of the denominator; the denominator is the sum over the ranks. A number >= 0 or a 0-d tensor, as the losses' `normalizer`, or
            "positives", for `focal_loss`: at least 1 over all ranks. None: how many items count, or their weights added up.
        group: the process group; None is all ranks. Where `torch.distributed` is not initialised, this process is the only rank.
        gradients: what becomes of the gradients of parameters afterwards. "averaged": `DistributedDataParallel` and FSDP divide their sum by the number of ranks, so the
            loss is multiplied by it here. "summed": nobody divides.

    Raises:
        TypeError, ValueError: for what is not listed here. A group without this rank is refused.

    When to use:
        Several ranks whose items are not equally many: padded sentences, masks, labels that are ignored, weights, boxes, positives. Without it each rank divides by its
        own count, and an item of a rank with few counts for more than that of a rank with many.

    Edge cases:
        One small sum over the ranks per loss, before the pass, of two numbers in float64: all ranks of the group must call the loss alike. If no rank has anything
        to count, the loss is 0. Weights of items may have a gradient: their part of the denominator takes a second sum in the backward.
        What one rank refuses before the pass is raised on all; on GPUs, where looking would wait for the device, the loss of the others is NaN. Numbers out of
        their range, which are seen in the result, are raised where they are.
        Losses of overlap, such as Dice, are no means of items: they take `process_group=`.

    Differs from torch:
        There one adds up the count with `all_reduce`, and divides the sum of each rank by it, by hand.

    Example:
        >>> import torch, losskit
        >>> x, t = torch.tensor([1.0, 2.0, 4.0]), torch.zeros(3)
        >>> losskit.mse_loss(x, t, normalizer=losskit.Ranks())  # one process alone: its own count
        tensor(7.)
    """

    normalizer: float | Tensor | Literal["positives"] | None = None
    group: ProcessGroup | None = None
    gradients: Gradients = "averaged"

    def __post_init__(self) -> None:
        if self.gradients not in get_args(Gradients):
            raise ValueError(f"gradients must be one of {', '.join(map(repr, get_args(Gradients)))}, got {self.gradients!r}")
        if isinstance(self.normalizer, ProcessGroup):
            raise TypeError('normalizer must be a number, a 0-d tensor or "positives", got a process group: try losskit.Ranks(group=...)')
        if isinstance(self.normalizer, str) and self.normalizer != POSITIVES:
            raise ValueError(f'normalizer must be a number, a 0-d tensor or "positives", got {self.normalizer!r}')
        checked("group", self.group)

    def denominator(self, own: float | Tensor, device: torch.device, least: float = 0.0) -> Tensor:
        """The sum over the ranks of what each would divide by, at `least` so much; over the number of ranks, if gradients are averaged."""
        real = torch.float32 if device.type == "mps" else torch.float64
        count = own.to(real) if isinstance(own, Tensor) else torch.full((), own, dtype=real, device=device)
        if self.all is not None:
            count = met(count, self.all)
        return count.clamp(min=least) / self.divided

    @property
    def all(self) -> ProcessGroup | None:
        """The group; none if this process is alone."""
        alone = self.group is None and not (distributed.is_available() and distributed.is_initialized())
        return None if alone else self.group or distributed.group.WORLD

    @property
    def divided(self) -> int:
        """What gradients are divided by afterwards."""
        return distributed.get_world_size(self.all) if self.gradients == "averaged" and self.all is not None else 1


Group = ProcessGroup | Ranks


@dataclass
class Meeting:
    """How often the ranks of a call meet, and have met."""

    due: int
    made: int = 0


meeting: ContextVar[Meeting | None] = ContextVar("losskit_meeting", default=None)
Told = TypeVar("Told", bound=tuple[float, ...])  # numbers that each rank tells the others; as made without arguments, that it refuses its input


class Refused(RuntimeError):
    """Another rank has refused its input: raised here, so that nobody waits for it."""

    at: Meeting | None = None  # where that was told; none if the ranks of some other group told it


@contextmanager
def refusals_told(group: ProcessGroup | None, input: Tensor, refusal: tuple[float, ...]) -> Iterator[None]:
    """What is raised here, before the ranks have met, is told to the others."""
    try:
        yield
    except (Refused, dispatch.Answer):
        raise
    except Exception:
        if group is not None and not dispatch.asked():
            exchanged(group, input, refusal)
        raise


def exchanged(group: ProcessGroup, input: Tensor, mine: tuple[float, ...]) -> list[list[float]]:
    """What every rank tells, after what kind of telling it is: all kinds are of one length, so that ranks whose calls differ find out."""
    device = input.device if isinstance(input, Tensor) else torch.device("cpu")
    kind = float(crc32(f"{type(mine).__module__}.{type(mine).__qualname__}".encode()) >> 8)  # exact in float32
    rest = (0.0,) * (TOLD - 1 - len(mine))
    told = torch.tensor((kind, *mine, *rest), dtype=torch.float32 if device.type == "mps" else torch.float64, device=device)
    return gathered(told, group).tolist()


def meet(group: ProcessGroup, input: Tensor, mine: Told) -> list[Told]:
    """What every rank tells."""
    found = exchanged(group, input, mine)
    if len({each[0] for each in found}) > 1:
        raise ValueError("the ranks of the process group must call the same loss with the same arguments, and some have called another one or given others")
    kind: Any = type(mine)
    return [kind(*each[1 : 1 + len(mine)]) for each in found]


def met(count: Tensor, group: ProcessGroup) -> Tensor:
    """The sum over the ranks, if none has refused its input. Where looking at a number would wait for a GPU, or break a graph, it is NaN then."""
    compiled = compiling()
    looks, here = count.is_cpu and not compiled, None if compiled else meeting.get()
    if here is not None:
        here.made += 1
    pair = joined(entered(torch.stack((count, torch.zeros_like(count))), group), group)  # on which each rank's own loss depends: its gradient is a sum, too
    total, refused = pair[0], pair[1]
    if not looks:
        return torch.where(refused > 0, torch.nan, total)
    if refused.item():
        error = Refused("another rank has refused its input: see what it raises")
        error.at = here
        raise error
    return total


def agree(group: ProcessGroup, like: Tensor) -> None:
    """Before sums are joined on the CPU: none of the ranks has refused its input. (On a GPU that would be a wait: there the others wait for a rank that raises.)"""
    if like.is_cpu and not compiling():
        met(torch.zeros((), dtype=torch.float64, device="cpu"), group)


@contextmanager
def meets(given: Group, tensors: Sequence[Tensor], agrees: bool, due: int = 1) -> Iterator[None]:
    """A call whose ranks meet, so many times as are `due`: in `met`, or if it `agrees` in `agree`. What it raises before is told to the others, who would wait for it."""
    if meeting.get() is not None or dispatch.asked():  # a loss that is made of another; nothing is computed
        yield
        return
    here = Meeting(due)
    token = meeting.set(here)
    try:
        yield
    except Exception as error:
        told = isinstance(error, Refused) and error.at is here
        if here.made < here.due and not told:  # what ranks of another group have told, such as those that share the classes, is news to these
            refuse(given, tensors, agrees)
        raise
    finally:
        meeting.reset(token)


def refuse(given: Group, tensors: Sequence[Tensor], agrees: bool) -> None:
    """Tells the others, where they meet next, that this rank does not come."""
    group = given.all if isinstance(given, Ranks) else given
    device = next((x.device for x in tensors if not x.is_cpu), torch.device("cpu"))
    if isinstance(group, ProcessGroup) and device.type != "meta" and (device.type == "cpu" or not agrees):
        distributed.all_reduce(torch.tensor([0.0, 1.0], dtype=torch.float32 if device.type == "mps" else torch.float64, device=device), group=group)


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


class Assembled(torch.autograd.Function):
    """Parts of the first axis, put together; each may be of any size, so each is sent by its rank to all, and its gradient added up where it belongs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, sizes: tuple[int, ...], group: ProcessGroup) -> Tensor:
        ctx.sizes, ctx.group = sizes, group
        found = x.new_empty((sum(sizes), *x.shape[1:]))
        for rank, part in enumerate(found.split(sizes)):
            if rank == distributed.get_rank(group):
                part.copy_(x)
            if part.numel():
                distributed.broadcast(part, distributed.get_global_rank(group, rank), group=group)
        return found

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:
        own = incoming[:0]
        for rank, part in enumerate(incoming.split(ctx.sizes)):
            part = part.to(torch.float32 if part.dtype.itemsize == 2 else part.dtype, copy=True, memory_format=torch.contiguous_format)
            if part.numel():
                distributed.reduce(part, distributed.get_global_rank(ctx.group, rank), group=ctx.group)
            if rank == distributed.get_rank(ctx.group):
                own = part.to(incoming.dtype)
        return own, None, None


def assembled(x: Tensor, sizes: tuple[int, ...], group: ProcessGroup) -> Tensor:
    """What each rank holds, of these sizes along the first axis, on its way to what is spread over the ranks."""
    return Assembled.apply(x, sizes, group)  # type: ignore[no-any-return, no-untyped-call]


class Multiplied(torch.autograd.Function):
    """A number as it is, its gradient times another."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, by: float) -> Tensor:
        ctx.by = by
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None]:
        return incoming * ctx.by, None


def group_of(name: str, given: Group | None) -> ProcessGroup | None:
    """The group of an argument whose parts of the gradient add up, unless it is given as `Ranks`, see `finished`."""
    if given is None:
        return None
    if not isinstance(given, Ranks):
        checked(name, given)
        return given
    if given.normalizer is not None:
        raise ValueError(f"{name} has no denominator of its own, for the sums of the ranks are joined: leave normalizer out of losskit.Ranks")
    return given.all


def finished(value: Tensor, given: Group | None) -> Tensor:
    """A loss that every rank has whole, with its part of the gradient: times the number of ranks, where gradients are averaged afterwards."""
    ranks = given.divided if isinstance(given, Ranks) else 1
    return value if ranks == 1 else Multiplied.apply(value, float(ranks))  # type: ignore[no-untyped-call]


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
