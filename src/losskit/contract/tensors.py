"""What a tensor argument may be: real numbers in plain sight. Whatever else comes is refused by the argument's name, with the way to such a tensor."""

from typing import Any

import torch
from torch import Tensor
from torch.masked import MaskedTensor

from losskit.engines import dispatch
from losskit.engines.call import real_dtype
from losskit.engines.dispatch import FUSED, PLAIN, STRIDED, EngineName
from losskit.engines.private import compiling
from losskit.engines.scores import Scores, memory_of

FIRST = ("input", "a", "boxes", "labels", "anchor", "input1", "embeddings")  # arguments that all else is made beside
WITHOUT_MASK = ("mask", "normalizer", "a", "b", "boxes", "labels")  # arguments of functions that have no mask, and those that are no items


def check(name: str, x: object, beside: str = "") -> None:
    """A tensor whose memory holds its numbers. A call looks at each of its tensors, so the usual kind is known first. `beside`: the argument whose device it shares."""
    if (type(x) in PLAIN or type(x) is Scores) and x.dtype in FUSED and x.layout is STRIDED and not x.is_nested:  # type: ignore[attr-defined]
        return
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor, got {type(x).__name__}{_made(name, x, beside)}")
    left_out = "" if name in WITHOUT_MASK else ", and give what it leaves out as mask="
    if isinstance(x, MaskedTensor):
        raise TypeError(f"{name} must be a plain tensor, got a MaskedTensor: try {name}.get_data(){left_out}")
    if x.is_nested:
        raise TypeError(f"{name} must be a tensor of one shape, got a nested one: try torch.nested.to_padded_tensor({name}, 0){left_out}")
    if x.layout is not torch.strided:
        raise TypeError(f"{name} must be a dense tensor, got layout {x.layout}: try {name}.to_dense()")
    if x.is_quantized:
        raise TypeError(f"{name} must not be quantised, got {x.dtype}: try {name}.dequantize()")
    if x.is_complex():
        raise TypeError(f"{name} must be a real tensor, got {x.dtype}")
    if x.dtype not in FUSED:
        raise TypeError(f"{name} must have a dtype that losses can be computed in, got {x.dtype}" + (f": try {name}.float()" if x.is_floating_point() else ""))


def _made(name: str, x: object, beside: str) -> str:
    """How to make a tensor of `x`, where it holds numbers."""
    try:
        torch.as_tensor(x, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError):
        return ""
    there = "" if name in FIRST and beside in ("", name) else f", device={beside or ('a' if name == 'b' else 'input')}.device"
    return f": try torch.as_tensor({name}{there})"


def beside(name: str, x: Tensor, other: str, y: Tensor) -> None:
    """Two tensors on one device."""
    if x.device == y.device:
        return
    if x.is_meta or y.is_meta:
        name, other, x, y = (name, other, x, y) if x.is_meta else (other, name, y, x)
        raise ValueError(f"{name} is on meta, where tensors have no values, but {other} is on {y.device}: for shapes alone, try {other}.to('meta')")
    raise ValueError(f"{name} is on {x.device} but {other} is on {y.device}: try {name}.to({other}.device)")


def lasting(x: Tensor) -> Tensor:
    """A tensor that a backward may keep: over the memory of one made in inference mode, which cannot be saved, another is laid."""
    if compiling() or not (torch.is_grad_enabled() and x.is_inference()):
        return x
    if type(x) not in PLAIN:
        return x.clone()
    return torch.empty(0, dtype=x.dtype, device=x.device).set_(x.untyped_storage(), x.storage_offset(), x.shape, x.stride())


def all_lasting(operands: tuple[Tensor, ...], call: Any) -> tuple[tuple[Tensor, ...], Any]:
    """The operands and the other tensors of a call, likewise."""
    if not torch.is_grad_enabled() or compiling():
        return operands, call
    for x in (*operands, *call.tensors()):
        if x.is_inference():
            return tuple(lasting(y) for y in operands), call.holding([lasting(y) for y in call.tensors()])
    return operands, call


def on_engine(operands: tuple[Tensor, ...], call: Any, usual: bool | None = None, products: bool = False) -> tuple[EngineName, tuple[Tensor, ...], Any]:
    """Which engine runs a call, and its operands and other tensors as ones that a backward may keep. `usual`: what `dispatch.usual` says of the first two. `products`: the
    pass takes scores that are never whole, and reads their factors; any other must not find that these can be read.
    """
    if len(operands) == 2 and (dispatch.usual(*operands) if usual is None else usual) and not call.tensors():
        return "cpu", operands, call
    engine, _ = dispatch.choice(memory_of(operands) if products else operands, call.tensors())
    return engine, *all_lasting(operands, call)


def whole(x: Tensor) -> Tensor:
    """An input whose numbers are wanted all at once, which scores that are a product otherwise never are."""
    return x.whole() if type(x) is Scores else x


def shape_alone(x: Tensor) -> Tensor:
    """A tensor for its shape, without a graph."""
    return torch.zeros((), dtype=x.dtype, device=x.device).expand(x.shape) if type(x) is Scores else x.detach()


def widened(x: Tensor) -> Tensor:
    """For a tensor that is read more than once on its way to a loss: in the dtype computed in, so that the shares of its gradient are added up there and rounded once."""
    return x.to(real_dtype(x.dtype)) if x.requires_grad and torch.is_grad_enabled() else x
