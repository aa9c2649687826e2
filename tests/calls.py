"""Calls of everything that takes tensors and gives a number, out of the registry: what tests of a fresh process, another default device, ... go through."""

from collections.abc import Callable, Iterator, Mapping
from functools import wraps
from itertools import product
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor

import losskit
from losskit import LOSSES, Loss
from losskit.contract.tensors import whole as whole_of
from losskit.pairwise import Kind
from losskit.testing import BoxSubject, OverlapSubject, RowSubject, WindowSubject, inputs
from losskit.testing.boxes import is_boxes
from losskit.testing.overlap import is_overlap, variants
from losskit.testing.rows import is_rows
from losskit.testing.vectors import subject_kind


class Call(NamedTuple):
    """A public function, what it is called with, and a name that tells this call from the others."""

    name: str
    function: Callable[..., Any]
    tensors: tuple[Tensor, ...]
    settings: Mapping[str, Any]
    to_target: bool = True  # whether it has a gradient to the target, if that is of floating point

    def __call__(self, function: Callable[..., Any] | None = None) -> list[Tensor]:
        """The tensors that it gives, then the gradients of those attached to the graph; `function` stands in for its own."""
        wants = [x.is_floating_point() and (i == 0 or self.to_target) for i, x in enumerate(self.tensors)]
        tensors = [x.detach().clone().requires_grad_(want) for x, want in zip(self.tensors, wants, strict=True)]
        found = flat((self.function if function is None else function)(*tensors, **self.settings))
        attached = [x for x in found if x.requires_grad]
        incoming = [torch.ones_like(x) for x in attached]
        grads = torch.autograd.grad(attached, [x for x in tensors if x.requires_grad], incoming) if attached else ()
        return [*(x.detach() for x in found), *grads]


def flat(found: Any) -> list[Tensor]:
    """The tensors of a result, whether it is one or holds some."""
    return [found] if isinstance(found, Tensor) else [x for part in found or () for x in flat(part)]


def batch(loss: Loss, settings: Mapping[str, Any], soft: bool = False) -> tuple[Tensor, ...]:
    """An ordinary input and target of a loss, in the form that its settings ask for."""
    if is_boxes(loss):
        return BoxSubject(loss.function, loss, settings).batch()
    if loss.pattern == "windows":
        return WindowSubject(loss.function, loss, settings).batch()
    if loss.pattern == "vectors":
        return subject_kind(loss)(loss.function, loss, settings).batch()
    if loss.pattern == "linear":
        x, t = RowSubject(loss.function, LOSSES["cross_entropy"], settings).batch()
        return x[:, :3], torch.randn((x.shape[1], 3), generator=torch.Generator().manual_seed(6)), t
    if is_overlap(loss) or loss.pattern in ("ranked", "operations"):
        x, t = OverlapSubject(loss.function, loss, settings, soft=soft).batch()
        if loss.pattern == "operations":
            return x, torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
        return x, t.round() if t.is_floating_point() and loss.pattern == "ranked" else t
    if is_rows(loss, settings):
        x, t = RowSubject(loss.function, loss, settings).batch()
        return (x,) if loss.target == "none" else (x, t)
    return inputs.batch(loss, settings)


def has_slope(loss: Loss) -> bool:
    """Whether there is a derivative by the target."""
    return loss.target != "position" and loss.pattern != "ranked"


def of_loss(loss: Loss, settings: Mapping[str, Any]) -> Iterator[Call]:
    """The loss, with every task that it has."""
    for given, soft in variants(loss, settings) if is_overlap(loss) else [(dict(settings), False)]:
        shown = ", ".join(f"{k}={v}" for k, v in given.items()) + (", soft" if soft else "")
        yield Call(f"{loss.name}({shown})", loss.function, batch(loss, given, soft), inputs.as_arguments(given), has_slope(loss))


def scores() -> Iterator[Call]:
    """The scores beside the losses."""
    for loss in LOSSES.values():
        settings = {"task": "multiclass"} if is_overlap(loss) else {}
        yield from (Call(score.__name__, score, batch(loss, settings), settings) for score in loss.scores)


def others() -> Iterator[Call]:
    """What is public and no loss of the registry."""
    boxes = batch(LOSSES["iou_loss"], {})
    yield from (Call(f"pairwise_iou({kind})", losskit.pairwise_iou, boxes, {"kind": kind}) for kind in get_args(Kind))
    yield from (Call(f"best_match({kind})", losskit.best_match, boxes, {"kind": kind}) for kind in get_args(Kind))
    for task, extra in product(("multiclass", "binary"), (None, "cross_entropy", "focal")):
        settings = {"task": task, "extra": extra}
        yield Call(f"overlap_sums({task}, {extra})", losskit.overlap_sums, batch(LOSSES["dice_loss"], {"task": task}), settings)
    yield from products()
    yield Call("WIoUv3Loss", losskit.WIoUv3Loss(), boxes, {})
    yield Call("degenerate_boxes", losskit.degenerate_boxes, boxes[:1], {})
    logits = batch(LOSSES["binary_cross_entropy_with_logits"], {})
    yield Call("BinaryCrossEntropyLoss", losskit.BinaryCrossEntropyLoss(from_logits=True), logits, {})
    space = [torch.cat((x[:, :2], x[:, :1], x[:, 2:], x[:, 2:3]), -1) for x in boxes]
    yield from (Call(f"{name} in space", getattr(losskit, name), tuple(space), {}) for name in ("iou_loss", "giou_loss", "diou_loss", "iou", "giou", "diou"))


def products() -> Iterator[Call]:
    """Losses of a product, and products made whole."""
    draw = torch.Generator().manual_seed(5)
    hidden, head, bias = (torch.randn(shape, generator=draw) for shape in ((5, 3), (4, 3), (4,)))
    labels = torch.randint(4, (5,), generator=draw)
    for function in (losskit.linear_cross_entropy, losskit.linear_log_prob):
        yield Call(f"{function.__name__}, bias", function, (hidden, head, labels), {"linear_bias": bias, "chunk": 2})
    yield Call("linear_log_prob, parts", losskit.linear_log_prob, (hidden, head, labels), {"chunk": 2, "return_parts": True, "top_k": 2})
    yield Call("linear_cross_entropy, next", losskit.linear_cross_entropy, (hidden, head, labels), {"shift": True, "return_parts": True})
    for function in (losskit.linear_scores, losskit.linear_probabilities):
        yield Call(function.__name__, whole(function), (hidden, head, bias), {})
    taught = {"input": hidden, "linear_weight": head}
    yield Call("kl_divergence of products", distilled, (hidden, head), taught)


def whole(function: Callable[..., Any]) -> Callable[..., Any]:
    """What it gives, as numbers: in a compiled graph it is a product like any other."""

    @wraps(function)
    def made(*tensors: Tensor, **settings: Any) -> Tensor:
        return whole_of(function(*tensors, **settings))

    return made


def distilled(x: Tensor, weight: Tensor, **teacher: Tensor) -> Tensor:
    """A loss of two products."""
    return losskit.kl_divergence(losskit.linear_scores(x, weight, chunk=2), losskit.linear_probabilities(**teacher, temperature=2.0))


KINDS = {  # one loss of each way into an engine
    "huber_loss": {},
    "binary_cross_entropy_with_logits": {"pos_weight": [3.0]},
    "cross_entropy": {"weight": [0.5, 2.0, 1.0, 1.5]},
    "focal_loss": {"task": "multiclass", "alpha": 0.25},
    "kl_divergence": {},
    "entropy": {},
    "distribution_focal_loss": {},
    "giou_loss": {},
    "boundary_loss": {"task": "multiclass"},
    "dice_ce_loss": {"task": "multiclass"},
    "tversky_loss": {"task": "binary"},
    "lovasz_loss": {"task": "multiclass"},
}


def options() -> Iterator[Call]:
    """Masks, weights, denominators, reductions, dtypes, and no items, of each kind of loss."""
    for name, settings in KINDS.items():
        call = next(of_loss(LOSSES[name], settings))
        items = call.tensors[1].shape if len(call.tensors) > 1 else call.tensors[0].shape[:1]
        if name == "giou_loss":
            items = items[:-1]
        elif name in ("kl_divergence", "boundary_loss"):
            items = (items[0], *items[2:])
        draw = torch.Generator().manual_seed(2)
        mask = torch.rand(items, generator=draw) < 0.6
        extras = {"masked": {"mask": mask}, "all masked": {"mask": mask & False}, "normalized": {"normalizer": torch.tensor(3.0)}}
        if "reduction" in LOSSES[name].settings:
            extras |= {
                "weighted": {"mask": mask, "sample_weight": torch.rand(items, generator=draw)},
                "each": {"reduction": "none"},
                "sum": {"reduction": "sum"},
            }
        for what, extra in extras.items():
            yield call._replace(name=f"{name}, {what}", settings={**call.settings, **extra})
        for dtype in (torch.float64, torch.bfloat16):
            tensors = tuple(y.to(dtype) if y.is_floating_point() else y for y in call.tensors)
            yield call._replace(name=f"{name}, {dtype}", tensors=tensors)
        yield call._replace(name=f"{name}, no items", tensors=tuple(y[:0] for y in call.tensors))


def one_each() -> list[Call]:
    """Every public function once, with its by-products where it has some."""
    found = []
    for loss in LOSSES.values():
        call = next(of_loss(loss, loss.arguments[0]))
        found.append(call._replace(settings={**call.settings, "return_parts": True}) if "return_parts" in loss.settings else call)
    last = {call.function: call for call in others() if "in space" not in call.name}
    return [*found, *scores(), *last.values()]


def all_settings() -> list[Call]:
    """Every public function with all the settings that the registry names."""
    found = [call for loss in LOSSES.values() for settings in (*loss.arguments, *loss.rows) for call in of_loss(loss, settings)]
    made = Call("distance_map", losskit.distance_map, batch(LOSSES["dice_loss"], {"task": "multiclass"})[1:], {"num_classes": 3})
    parts = [call for call in one_each() if "return_parts" in call.settings]
    return [*found, *(call._replace(name=f"{call.name} with parts") for call in parts), *scores(), *others(), *options(), made]
