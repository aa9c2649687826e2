"""The benchmark of segmentation: ours, PyTorch operations on one mask per class, `torch.compile` of them, the peer and the floor. `python -m losskit.bench.overlap --help`.

As in `losskit.bench`: forward and backward, sides in turns, medians, ratios only. The floor reads the logits twice and writes as many bytes once: a sum
and `torch.add(x, 1.0)`. Peers that are not installed are left out (`make bench` installs them).
"""

import importlib.util
import sys
import types
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit.bench import cases
from losskit.bench.report import MEMORY
from losskit.bench.run import settle_memory
from losskit.bench.sides import torchvision_focal

Side = Callable[[Tensor, Tensor], Tensor]


class Case(NamedTuple):
    """Logits of a shape, and what is to be reached: at most this share of another side's time."""

    name: str
    loss: str
    shape: tuple[int, ...]
    targets: dict[str, float]
    labels: torch.dtype = torch.uint8
    at_a_time: int = 1


CASES = (
    Case("Dice + CE, (2, 14, 96, 96, 96), uint8 labels", "dice_ce", (2, 14, 96, 96, 96), {"MONAI": 1 / 7, "torch.compile": 1 / 2.5}),
    Case("Dice, (2, 14, 96, 96, 96), uint8 labels", "dice", (2, 14, 96, 96, 96), {"MONAI": 1 / 4}),
    Case("binary Dice + BCE, (8, 1, 512, 512)", "binary", (8, 1, 512, 512), {"smp": 1 / 6}, torch.float32),
    Case("Lovasz softmax, (4, 21, 256, 256)", "lovasz", (4, 21, 256, 256), {"smp": 1.0, "kornia": 1.0}, torch.int64),
    Case("Dice + CE, (2, 4, 32, 32)", "dice_ce", (2, 4, 32, 32), {"MONAI": 1 / 3}, torch.int64),
    Case("Dice + CE, (2, 4, 32, 32), a hundred calls at a time", "dice_ce", (2, 4, 32, 32), {"MONAI": 1 / 3}, torch.int64, 100),
)
VOLUME = Case("Dice + CE, (1, 105, 128, 128, 128) bfloat16, uint8 labels", "dice_ce", (1, 105, 128, 128, 128), {})


def masks(x: Tensor, t: Tensor) -> Tensor:
    """Labels as one mask per class, by comparison: without the int64 tensor of `one_hot`, and the compiler fuses it."""
    return (t[:, None] == torch.arange(x.shape[1]).reshape(-1, *(1,) * (t.dim() - 1))).to(x.dtype)


def soft_dice(p: Tensor, t: Tensor) -> Tensor:
    """Dice loss as it is commonly written."""
    axes = tuple(range(2, p.dim()))
    return (1 - (2 * (p * t).sum(axes) + 1e-5) / (p.sum(axes) + t.sum(axes) + 1e-5)).mean()


def dice_ce(x: Tensor, t: Tensor) -> Tensor:
    """Dice and cross-entropy that share the logarithms and the masks."""
    log_p, truth = x.log_softmax(1), masks(x, t)
    return soft_dice(log_p.exp(), truth) - (log_p * truth).sum() / t.numel()


def lovasz(x: Tensor, t: Tensor) -> Tensor:
    """Lovasz softmax as its authors publish it, over the batch, on the classes that are there."""
    losses = []
    p = x.softmax(1).movedim(1, -1).reshape(-1, x.shape[1])
    labels = t.reshape(-1)
    for c in labels.unique():
        truth = (labels == c).to(p.dtype)
        errors, order = (truth - p[:, c]).abs().sort(descending=True)
        sorted_truth = truth[order]
        total = sorted_truth.sum()
        jaccard = 1 - (total - sorted_truth.cumsum(0)) / (total + (1 - sorted_truth).cumsum(0))
        losses.append(torch.dot(errors, torch.cat((jaccard[:1], jaccard[1:] - jaccard[:-1]))))
    return torch.stack(losses).mean()


COMPOSITES: dict[str, Side] = {
    "dice_ce": dice_ce,
    "dice": lambda x, t: soft_dice(x.softmax(1), masks(x, t)),
    "binary": lambda x, t: soft_dice(x.sigmoid(), t) + F.binary_cross_entropy_with_logits(x, t),
    "lovasz": lovasz,
}
OURS: dict[str, Side] = {
    "dice_ce": lambda x, t: losskit.dice_ce_loss(x, t, task="multiclass", smooth=1e-5),
    "dice": lambda x, t: losskit.dice_loss(x, t, task="multiclass", smooth=1e-5),
    "binary": lambda x, t: losskit.dice_ce_loss(x, t, task="binary", smooth=1e-5),
    "lovasz": lambda x, t: losskit.lovasz_loss(x, t, task="multiclass", over="batch"),
}


def peers(loss: str) -> dict[str, Side]:
    """The peers that are installed."""
    found: dict[str, Side] = {}
    torchvision_focal()  # makes torchvision importable, which some peers ask for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import monai.losses

            ce, dice = (kind(to_onehot_y=True, softmax=True) for kind in (monai.losses.DiceCELoss, monai.losses.DiceLoss))
            found |= {"dice_ce": {"MONAI": lambda x, t: ce(x, t[:, None])}, "dice": {"MONAI": lambda x, t: dice(x, t[:, None])}}.get(loss, {})
        except ImportError:
            pass
        try:
            bare_package("segmentation_models_pytorch")
            from segmentation_models_pytorch import losses

            both, bce, jaccard = losses.DiceLoss("binary", smooth=1e-5), losses.SoftBCEWithLogitsLoss(), losses.LovaszLoss("multiclass")
            found |= {"binary": {"smp": lambda x, t: both(x, t) + bce(x, t)}, "lovasz": {"smp": jaccard}}.get(loss, {})
        except ImportError:
            pass
        try:
            from kornia.losses import lovasz_softmax_loss

            found |= {"lovasz": {"kornia": lovasz_softmax_loss}}.get(loss, {})
        except ImportError:
            pass
    return found


def bare_package(name: str) -> None:
    """Makes the parts of a package importable without what the package itself imports: models, and what they need."""
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(name)
    sys.modules[name] = package = types.ModuleType(name)
    package.__path__, package.__spec__ = list(spec.submodule_search_locations), spec


def inputs(case: Case, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Logits, a leaf, and labels."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(case.shape, generator=generator).mul_(2.0).to(dtype).requires_grad_()
    if case.loss == "binary":
        return x, torch.rand(case.shape, generator=generator).lt_(0.1).to(case.labels)
    return x, torch.randint(0, case.shape[1], (case.shape[0], *case.shape[2:]), generator=generator, dtype=torch.uint8).to(case.labels)


def steps(case: Case, x: Tensor, t: Tensor, compiled: bool) -> dict[str, Callable[[], object]]:
    """One forward and backward of every side."""

    def step(side: Side) -> Callable[[], object]:
        return cases.training(lambda: side(x.view_as(x), t), x)

    found = {"losskit": step(OURS[case.loss]), "composite": step(COMPOSITES[case.loss])}
    if compiled and case.loss != "lovasz":  # which looks what labels there are
        torch._dynamo.reset()
        found["torch.compile"] = step(torch.compile(COMPOSITES[case.loss], fullgraph=True))
    found[cases.LEAF] = cases.training(lambda: OURS[case.loss](x, t), x)
    found |= {name: step(side) for name, side in peers(case.loss).items()}
    plain = x.detach()
    return found | {"floor": lambda: (plain.sum(), torch.add(plain, 1.0))}


def extra_memory(index: int) -> dict[str, float]:
    """`cases.extra_memory` of a case, or beyond the last of ours alone on the large volume, in units of the gradient."""
    if index < len(CASES):
        x, t = inputs(CASES[index], torch.float32)
        return cases.extra_memory(steps(CASES[index], x, t, compiled=False), x.nbytes, x)
    x, t = inputs(VOLUME, torch.bfloat16)
    ours = {"losskit": steps(VOLUME, x, t, compiled=False)["losskit"]}
    classes, items = VOLUME.shape[1], t.numel()
    tensors = 8 * classes * items + 3 * x.nbytes  # one-hot in int64, then in the logits' dtype, the softmax, the gradient: what a one-hot loss holds at once
    return cases.extra_memory(ours, x.nbytes, x) | {"one-hot, computed": tensors / x.nbytes}


def markdown(results: dict[str, Any]) -> str:
    """The page's part on segmentation."""
    about = results["machine"]
    lines = [
        "# Benchmark: segmentation",
        "",
        f"{about['cpu']}, {about['threads']} threads, Python {about['python']}, torch {about['torch']}, {about['system']}.",
        f"Command: `{about['command']}`.",
        "Forward and backward; medians of interleaved repeats; every figure is a ratio within this run. `floor` is `x.sum()` and `torch.add(x, 1.0)`.",
        f"Memory: {MEMORY[results['memory']]}",
        "",
        *cases.table(results["rows"], "workload", ("composite", "torch.compile", "MONAI", "smp", "kornia")),
        "",
        "Bold: missed.",
        *cases.leaf_lines(results["rows"]),
        *cases.memory_lines(results["extra memory"], "logits"),
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    """The command."""
    options = cases.options("overlap", __doc__)
    warnings.simplefilter("ignore")
    settle_memory(options.memory, 1 << 26)
    rows = []
    for case in CASES:
        for dtype in (torch.float32,) if options.quick or case.loss in ("lovasz", "binary") else (torch.float32, torch.bfloat16):
            x, t = inputs(case, dtype)
            rows.append(cases.measured(case.name, dtype, steps(case, x, t, compiled=not options.quick), case.targets, options.quick, case.at_a_time))
    memory = {} if options.quick else {case.name: cases.memory_apart("overlap", i) for i, case in enumerate((*CASES, VOLUME)) if case.shape[1] in (14, 105)}
    cases.publish("overlap", options, markdown, {"rows": rows, "extra memory": memory})


if __name__ == "__main__":
    main()
