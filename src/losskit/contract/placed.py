"""Losses of DTensors, whose parts lie on the ranks of a mesh: the same number as of whole tensors, as a DTensor that every rank has whole.

Where a loss can be had from the parts, nothing is gathered: of scores whose classes are spread over one axis of the mesh (`class_group=`), and of items that are
(`losskit.Ranks`). Otherwise every rank gathers what is spread, and computes the whole loss. Gradients lie as the tensors do. A plain tensor beside DTensors is whole,
and the same on every rank.
"""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard

from losskit.contract import checks, groups
from losskit.contract.groups import POSITIVES, Ranks
from losskit.contract.public import over_ranks
from losskit.contract.registry import LOSSES, Loss
from losskit.engines import dispatch
from losskit.engines.call import real_dtype

Given = Mapping[str, Any]


def loss_of(function: Callable[..., Any], args: tuple[Any, ...], kwargs: Given) -> Any:
    """What a loss gives, as DTensors."""
    bound = inspect.signature(function).bind(*args, **kwargs)
    given, name = bound.arguments, function.__name__
    placed = {key: x for key, x in given.items() if isinstance(x, DTensor)}
    for key, x in given.items():
        if isinstance(x, Ranks) or (key in ("class_group", "process_group") and x is not None):
            raise TypeError(
                f"{name} of DTensors needs no {'losskit.Ranks' if isinstance(x, Ranks) else key}, for their mesh says which ranks hold what: leave it out"
            )
    if dispatch.asked():  # nothing is computed, nor gathered
        dispatch.choice([x.to_local() for x in placed.values()])
    mesh = mesh_of(placed)
    bound.apply_defaults()
    for way in (of_classes, of_items, of_samples):
        if name in LOSSES and (found := way(function, LOSSES[name], bound.arguments, mesh)) is not None:
            return found
    return whole(function(**{key: gathered(x) for key, x in given.items()}), mesh)


def mesh_of(placed: Mapping[str, DTensor]) -> DeviceMesh:
    """The mesh that all lie on, this rank among it."""
    (first, x), *others = placed.items()
    for name, y in others:
        if y.device_mesh != x.device_mesh:
            raise ValueError(f"{first} and {name} lie on two meshes, {x.device_mesh} and {y.device_mesh}: redistribute one of them")
    if x.device_mesh.get_coordinate() is None:
        raise ValueError(f"{first} lies on a mesh without this rank, {x.device_mesh}: call the loss on the ranks of the mesh alone")
    return x.device_mesh


def on(mesh: DeviceMesh, axis: int | None = None, there: Placement | None = None) -> list[Placement]:
    """Replicated, but for one axis of the mesh."""
    return [there if k == axis and there is not None else Replicate() for k in range(mesh.ndim)]


def gathered(x: Any) -> Any:
    """All of a DTensor, on every rank; its gradient is that of every rank's loss, which is the same one."""
    return x.redistribute(placements=on(x.device_mesh)).to_local(grad_placements=on(x.device_mesh)) if isinstance(x, DTensor) else x


def whole(found: Any, mesh: DeviceMesh) -> Any:
    """What every rank has computed alike."""
    if isinstance(found, Tensor):
        return DTensor.from_local(found, mesh, on(mesh), run_check=False)
    if isinstance(found, tuple):
        parts = [whole(each, mesh) for each in found]
        return type(found)(*parts) if hasattr(found, "_fields") else tuple(parts)
    return found


def spread(x: Any, axis: int) -> int | None:
    """The one axis of its mesh over which a DTensor is spread along an axis of its own; None if it is spread otherwise, or not at all."""
    if not isinstance(x, DTensor):
        return None
    axes = [k for k, p in enumerate(x.placements) if not p.is_replicate()]
    return axes[0] if len(axes) == 1 and type(x.placements[axes[0]]) is Shard and x.placements[axes[0]] == Shard(axis) else None


def everywhere(given: Given, *apart: str) -> bool:
    """Whether all DTensors but those named are whole on every rank."""
    return all(p.is_replicate() for name, x in given.items() if isinstance(x, DTensor) and name not in apart for p in x.placements)


def part(x: Tensor, like: DTensor, mesh_axis: int, axis: int) -> Tensor:
    """What this rank holds of a whole tensor that is spread as another is along its first axis, or along this one."""
    size, ranks = x.shape[axis], like.device_mesh.size(mesh_axis)
    step = -(-size // ranks)
    start = min(step * like.device_mesh.get_local_rank(mesh_axis), size)
    return x.narrow(axis, start, min(step, size - start))


def of_classes(function: Callable[..., Any], loss: Loss, given: Given, mesh: DeviceMesh) -> Any:
    """Of scores, or of a head, whose classes are spread: `class_group`. None where that does not offer what is asked for."""
    if "class_group" not in given:
        return None
    x, names = given["input"], ["input"]
    if "linear_weight" in given:
        x, names = given["linear_weight"], ["linear_weight", "linear_bias"]
    dim, target, weight = given.get("dim", 0), given["target"], given["weight"]
    axis = dim % x.dim() if isinstance(x, Tensor) and x.dim() > 1 and isinstance(dim, int) else 0
    mesh_axis = spread(x, axis)
    plain = not given.get("inplace") and given.get("from_logits", True) and not given.get("log_input") and given.get("sequence_dim") is None
    if mesh_axis is None or not plain or not isinstance(target, Tensor):
        return None
    more: dict[str, Any] = {}
    hidden = given["input"]
    if x is not hidden and isinstance(hidden, DTensor):  # hidden states may be spread along an axis of theirs, as sequence parallelism leaves them
        along = next((k for k in range(hidden.dim() - 1) if spread(hidden, k) == mesh_axis), None)
        names, more = ([*names, "input"], {"sequence_dim": along}) if along is not None else (names, {})
    last = target.dim() - 1 if x is not hidden else axis
    soft = target.is_floating_point() and target.dim() == hidden.dim() and target.shape[last] == x.shape[axis]
    if soft and spread(target, last) == mesh_axis:
        names = [*names, "target"]
    elif target.is_floating_point() and not (soft and everywhere({"target": target}) and not target.requires_grad):
        return None
    if not everywhere(given, *names):
        return None
    local = {name: y.to_local() if name in names and isinstance(y, DTensor) else gathered(y) for name, y in given.items()} | more
    if soft and "target" not in names:
        local["target"] = part(local["target"], x, mesh_axis, last)
    bias = given.get("linear_bias")
    if bias is not None and spread(bias, 0) != mesh_axis:
        if not everywhere({"linear_bias": bias}) or bias.requires_grad:
            return None
        local["linear_bias"] = part(local["linear_bias"], x, mesh_axis, 0)
    if weight is not None:
        own = checks.numbers("weight", local["weight"], real_dtype(x.dtype), local[names[0]].device)
        if own.shape != x.shape[axis : axis + 1] or own.requires_grad:
            return None
        local["weight"] = part(own, x, mesh_axis, 0)
    return whole(function(**local | {"class_group": mesh.get_group(mesh_axis)}), mesh)


ITEMS = ("target", "mask", "sample_weight")  # tensors with a number, or a row, per item
OTHERS = ("weight", "alpha", "pos_weight", "linear_weight", "linear_bias", "normalizer")  # and those without


def of_batch(loss: Loss, given: Given) -> tuple[int, dict[str, Any]] | None:
    """The axis of the mesh over which the batch is spread, and of all arguments what this rank holds; None if anything is spread otherwise, or might be."""
    x: Any = given.get("input")
    mesh_axis, dim, task = spread(x, 0), given.get("dim", 1), given.get("task")
    labelled = loss.pattern in ("rows", "linear", "boxes") or task == "multiclass"  # an item has several numbers and one label
    apart = labelled or task == "multilabel"
    if mesh_axis is None or x.dim() < 1 + apart or not isinstance(dim, int) or (apart and dim % x.dim() == 0) or given.get("shift"):
        return None
    local: dict[str, Any] = {}
    for name, y in given.items():
        local[name] = y
        if not isinstance(y, Tensor):
            continue
        per_item = y.dim() in ((x.dim(), x.dim() - 1) if labelled else (x.dim(),)) and y.shape[0] == x.shape[0]
        if per_item and (name == "input" or name in ITEMS or not apart):
            if isinstance(y, DTensor):
                local[name] = y.redistribute(placements=on(y.device_mesh, mesh_axis, Shard(0))).to_local()
            elif y.requires_grad:
                return None
            else:
                local[name] = part(y, x, mesh_axis, 0)
        elif name == "target" or (y.dim() == x.dim() and y.shape[0] != 1 and name not in OTHERS) or (apart and name not in OTHERS and y.numel() != 1):
            return None  # it does not fit, or it is not known how: all of it says best
        elif isinstance(y, DTensor):  # each rank finds a part of its gradient
            local[name] = y.redistribute(placements=on(y.device_mesh)).to_local(grad_placements=on(y.device_mesh, mesh_axis, Partial()))
        elif y.requires_grad:
            return None
    return mesh_axis, local


def of_items(function: Callable[..., Any], loss: Loss, given: Given, mesh: DeviceMesh) -> Any:
    """Of items that are spread along their first axis: `losskit.Ranks`. Afterwards the ranks meet, so that what one refuses leaves nobody waiting."""
    asked = given.get("reduction")
    known = loss.pattern in ("elementwise", "rows", "linear", "boxes") and "normalizer" in given and isinstance(asked, str)
    if not known or given.get("return_parts") or given.get("inplace") or (found := of_batch(loss, given)) is None:
        return None
    mesh_axis, local = found
    group, counts = mesh.get_group(mesh_axis), asked == "mean" and given["normalizer"] in (None, POSITIVES)
    if counts:
        local["normalizer"] = Ranks(given["normalizer"], group=group, gradients="summed")
    with groups.meets(group, [local["input"]], agrees=True, due=1 + counts):
        value = function(**local)
        groups.agree(group, local["input"])
    if asked == "none":
        shape = torch.Size((given["input"].shape[0], *value.shape[1:]))
        stride = torch.empty(shape, dtype=value.dtype, device="meta").stride()
        return DTensor.from_local(value.contiguous(), mesh, on(mesh, mesh_axis, Shard(0)), run_check=False, shape=shape, stride=stride)
    return DTensor.from_local(value, mesh, on(mesh, mesh_axis, Partial()), run_check=False).redistribute(placements=on(mesh))


def of_samples(function: Callable[..., Any], loss: Loss, given: Given, mesh: DeviceMesh) -> Any:
    """Of samples whose sums are joined in any case: `process_group`."""
    if loss.pattern != "overlap" or given.get("over") != "batch" or (found := of_batch(loss, given)) is None:
        return None
    mesh_axis, local = found
    return whole(over_ranks(function, (), local | {"process_group": mesh.get_group(mesh_axis)}), mesh)
