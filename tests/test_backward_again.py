"""Two backwards through one graph give the same bits, whatever comes in: the first has a gradient at hand, the second computes it again."""

from contextlib import nullcontext

import pytest
import torch
from calls import KINDS, of_loss
from cases import SUBJECTS, named, thorough, thorough_rows
from torch.utils.checkpoint import checkpoint

import losskit
from losskit import LOSSES
from losskit.testing.boxes import HELD
from losskit.testing.subject import Subject

INCOMING = (1.0, 0.7, -3.0, 0.0)
# what a backward does with a gradient at hand depends on the pattern and on whether it is rounded, not on the formula: one loss of each pattern, all its settings
# in float32, and in every dtype where a loop is short
SHORT = ("smooth_l1_loss", "giou_loss")
ONE_A_PATTERN = ("smooth_l1_loss", "cross_entropy", "kl_divergence", "dice_ce_loss", "lovasz_loss", "giou_loss")
WAYS = ("huber_loss", "giou_loss", "lovasz_loss")  # what is kept: by a pass, and by one over sorted errors; not a matter of the formula
FUSED_ON_GPU = tuple(name for name in ONE_A_PATTERN if name != "lovasz_loss")
CASES = [
    s.with_dtype(dtype)
    for s in SUBJECTS
    for dtype in (torch.float32, torch.bfloat16, torch.float64, torch.float16)
    if s.loss.name in ONE_A_PATTERN and (dtype is torch.float32 or (s.settings is s.loss.arguments[0] and (dtype is torch.bfloat16 or s.loss.name in SHORT)))
]


FIRST = [s for s in CASES if s.dtype is torch.float32 and s.settings is s.loss.arguments[0]]


@pytest.mark.parametrize(
    "s",
    [*(s for s in FIRST if s.loss.name in SHORT), *thorough(s for s in CASES if s not in FIRST or s.loss.name not in SHORT)],
    ids=lambda s: f"{named(s)} {str(s.dtype)[6:]}",
)
def test_same_bits(s: Subject) -> None:
    """Both gradients where there are two."""
    require_same_bits(s)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy, of lanes that are not stored
@pytest.mark.parametrize("s", [s for s in FIRST if s.loss.name == "smooth_l1_loss"] + thorough(s for s in FIRST if s.loss.name in FUSED_ON_GPU[1:]), ids=named)
def test_same_bits_on_a_gpu(s: Subject) -> None:
    """Under Triton's interpreter."""
    with losskit.use_engine("triton"):
        require_same_bits(s)


def require_same_bits(s: Subject) -> None:
    """Three backwards through one graph."""
    x, *rest = s.batch()
    leaves = [x.requires_grad_()]
    if s.loss.pattern in ("elementwise", "boxes", "windows", "vectors"):
        leaves += [t.requires_grad_() for t in rest if t.is_floating_point()]
    incoming = torch.ones_like(s(x, *rest))
    for size in INCOMING:
        graph = s(x, *rest)
        first, *others = [torch.autograd.grad(graph, leaves, incoming * size, retain_graph=True) for _ in range(3)]
        for other in others:
            for name, a, b in zip(s.loss.tensors, first, other, strict=False):
                assert torch.equal(a, b), f"incoming {size}, gradient to {name}: {int((a != b).sum())} of {a.numel()} numbers differ"


CHECKED = [s for s in SUBJECTS if s.settings is s.loss.arguments[0] and s.loss.name not in HELD]


@pytest.mark.sparse(3)
@pytest.mark.parametrize(
    "s", [*(s for s in CHECKED if s.loss.name not in FUSED_ON_GPU), *thorough(s for s in CHECKED if s.loss.name in FUSED_ON_GPU)], ids=named
)
def test_gradcheck_of_a_weighted_loss(s: Subject) -> None:
    """PyTorch's own check runs each backward twice and compares bits. (Not of losses that hold a factor constant, which differ from their derivative on purpose.)"""
    x, *rest = s.with_dtype(torch.float64).batch()
    x.requires_grad_()
    with losskit.use_engine("cpu" if s.loss.name in FUSED_ON_GPU else "torch"):
        assert torch.autograd.gradcheck(lambda x: 0.7 * s(x, *rest), x, fast_mode=True)


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        *((name, "torch") for name in (*KINDS, "triplet_margin_loss", "ssim_loss")),
        *((name, None) for name in WAYS),
        *thorough_rows((name, None) for name in (*KINDS, "triplet_margin_loss", "ssim_loss") if name not in WAYS),
    ],
)
def test_what_a_backward_asks_for_once(name: str, engine: str | None) -> None:
    """`torch.utils.checkpoint` makes what was kept again, and hands it out once: a backward that asks twice raises."""
    call = next(of_loss(LOSSES[name], LOSSES[name].arguments[0] | KINDS.get(name, {})))

    def kept_by_nobody(*tensors: torch.Tensor, **settings: object) -> object:
        return checkpoint(lambda *z: call.function(*z, **settings), *tensors, use_reentrant=False)

    with losskit.use_engine(engine) if engine else nullcontext():
        torch.testing.assert_close(call(kept_by_nobody), call())
