"""What is compared: for each loss the sides, as functions of input and target that return a scalar."""

import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from losskit.contract.registry import Loss
from losskit.engines.torch.elementwise import bound

Side = Callable[[Tensor, Tensor], Tensor]

TORCHVISION_OPERATORS = (
    "roi_align _roi_align_backward ps_roi_align _ps_roi_align_backward roi_pool _roi_pool_backward ps_roi_pool _ps_roi_pool_backward "
    "nms qnms qroi_align deform_conv2d _deform_conv2d_backward"
)
OPERATORS = torch.library.Library("torchvision", "FRAGMENT")  # must live as long as the process


def torchvision_focal() -> Side | None:
    """torchvision's sigmoid focal loss; None where torchvision is not installed.

    Its compiled operators have no CPU build for every torch; the loss needs none of them, only that their names exist.
    """
    try:
        from torchvision.ops import sigmoid_focal_loss
    except ImportError:
        return None
    except RuntimeError:
        for module in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[module]
        for name in TORCHVISION_OPERATORS.split():
            OPERATORS.define(f"{name}(Tensor x) -> Tensor")
        from torchvision.ops import sigmoid_focal_loss

    def torchvision(x: Tensor, t: Tensor) -> Tensor:
        return sigmoid_focal_loss(x, t, alpha=0.25, gamma=2.0, reduction="mean")  # type: ignore[no-any-return]

    return torchvision


def focal_composite(x: Tensor, t: Tensor) -> Tensor:
    """The focal loss as it is commonly written."""
    p = torch.sigmoid(x)
    ce = F.binary_cross_entropy_with_logits(x, t, reduction="none")
    p_t = p * t + (1 - p) * (1 - t)
    alpha_t = 0.25 * t + 0.75 * (1 - t)
    return (alpha_t * ce * (1 - p_t) ** 2.0).mean()


def composite(loss: Loss) -> Side:
    """torch's own function where it has one, else the formula's value in PyTorch operations under autograd, as a user would write it."""
    arguments = dict(loss.arguments[0])
    if loss.name == "focal_loss":
        return focal_composite
    if loss.torch is not None:
        function: Any = getattr(F, loss.torch)
        return lambda x, t: function(x, t, **arguments)
    formula, params = captured(loss, arguments)
    value = bound(formula)
    return lambda x, t: value(x, t, *params)[0].mean()


def captured(loss: Loss, arguments: dict[str, Any]) -> tuple[Callable[..., Any], tuple[float, ...]]:
    """The formula and parameters a loss runs for some arguments."""
    from losskit.engines.torch import elementwise as plain

    seen: list[Any] = []
    original = plain.total

    def spy(call: Any, operands: tuple[Tensor, ...], scale: Any) -> Tensor:
        seen.append(call)
        return original(call, operands, scale)

    plain.total = spy
    try:
        empty = torch.empty(0, device="meta")
        loss.function(empty, empty, **arguments)
    finally:
        plain.total = original
    return seen[0].formula, seen[0].params


def sides(loss: Loss, compiled: bool) -> dict[str, Side]:
    """The sides for one loss, ours first."""
    arguments = dict(loss.arguments[0])
    theirs = composite(loss)
    result: dict[str, Side] = {"losskit": lambda x, t: loss.function(x, t, **arguments), "torch": theirs}
    if compiled:
        torch._dynamo.reset()
        result["torch.compile"] = torch.compile(theirs, fullgraph=True, dynamic=True)
    if loss.name == "focal_loss":
        peer = torchvision_focal()
        if peer is not None:
            result["torchvision"] = peer
    return result
