"""One loss at several resolutions, and a loss for each head of a dictionary."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from claims import claim
from torch import Tensor, nn
from torch.nn.functional import interpolate

import losskit
from losskit import DeepSupervision, PerHead
from losskit.compose.supervision import halving, resized

DRAW = torch.Generator().manual_seed(0)
LABELS = torch.randint(0, 4, (2, 12, 10), generator=DRAW)
SIZES = ((12, 10), (6, 5), (3, 5), (2, 1))
OUTPUTS = [torch.randn(2, 4, *size, generator=DRAW).requires_grad_() for size in SIZES]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64, torch.bool, torch.float32], ids=str)
@pytest.mark.parametrize("size", [(6, 5), (12, 10), (4, 10), (5, 7), (1, 1), (17, 23)])
def test_positions_are_the_nearest(dtype: torch.dtype, size: tuple[int, int]) -> None:
    """As torch's "nearest-exact", of any dtype."""
    labels = LABELS.to(dtype)
    found = resized(labels, size)
    assert found.dtype is dtype and torch.equal(found, interpolate(LABELS.to(dtype)[:, None].double(), size, mode="nearest-exact")[:, 0].to(dtype))


def test_large_labels_stay_what_they_are() -> None:
    """Through float32 they would not."""
    labels = torch.arange(2**24, 2**24 + 8)[None]
    assert resized(labels, (4,)).tolist() == [[2**24 + 1, 2**24 + 3, 2**24 + 5, 2**24 + 7]]


@pytest.mark.parametrize(("count", "wanted"), [(1, [1.0]), (2, [1.0, 0.0]), (3, [2 / 3, 1 / 3, 0.0]), (5, [8 / 15, 4 / 15, 2 / 15, 1 / 15, 0.0])])
@claim("DeepSupervision", "The weights, and where labels are read")
@claim("DeepSupervision", "One output has the weight 1")
def test_weights_halve(count: int, wanted: list[float]) -> None:
    assert list(halving(count)) == pytest.approx(wanted)


@claim("DeepSupervision", "An output of weight 0 is not computed")
@claim("DeepSupervision", "Under DistributedDataParallel")
@pytest.mark.parametrize("weights", [None, [1.0, 0.0, 0.5, 0.25]])
def test_as_written_out(weights: list[float] | None) -> None:
    """Value, gradient with an incoming one, and parts; with mask and weights of items, resized likewise."""
    loss = DeepSupervision(losskit.CrossEntropyLoss(ignore_index=3), weights)
    mask, weight = torch.rand(2, 12, 10, generator=DRAW) > 0.3, torch.rand(2, 12, 1, generator=DRAW)
    found = loss(OUTPUTS, LABELS, mask=mask, sample_weight=weight)
    wanted = torch.zeros(())
    for place, (x, size, share) in enumerate(zip(OUTPUTS, SIZES, weights or halving(4), strict=True)):
        if share:
            down = lambda y, size: interpolate(y[:, None].float(), size, mode="nearest-exact")[:, 0]  # noqa: E731
            value = losskit.cross_entropy(
                x, down(LABELS, size).long(), ignore_index=3, mask=down(mask, size) != 0, sample_weight=down(weight.expand(2, 12, 10), size)
            )
            assert loss.parts[str(place)].item() == pytest.approx(share * value.item(), rel=1e-6)
            wanted = wanted + share * value
    torch.testing.assert_close(found, wanted)
    steps = [torch.autograd.grad(value, OUTPUTS, torch.tensor(-0.7), allow_unused=True) for value in (found, wanted)]
    for place, (a, b) in enumerate(zip(*steps, strict=True)):
        assert (a is None) == (b is None) == (not (weights or halving(4))[place])
        if a is not None:
            torch.testing.assert_close(a, b)


def test_of_a_sum_each_output_is_one_pass() -> None:
    loss = DeepSupervision(losskit.DiceLoss(task="multiclass") + 0.5 * losskit.CrossEntropyLoss())
    found = loss(OUTPUTS, LABELS)
    assert list(loss.parts) == [f"{place}/{name}" for place in range(3) for name in ("dice", "cross_entropy")]
    small = DeepSupervision(losskit.DiceCELoss(task="multiclass", ce_weight=0.5))
    torch.testing.assert_close(found, small(OUTPUTS, LABELS))
    torch.testing.assert_close(sum(loss.parts.values(), torch.zeros(())), found.detach())


@claim("DeepSupervision", "There a data loader resizes")
def test_targets_of_the_shape_of_outputs_and_lists() -> None:
    loss = DeepSupervision(losskit.BCEWithLogitsLoss())
    target = torch.rand(2, 4, 12, 10, generator=DRAW)
    downs = [interpolate(target, size, mode="nearest-exact") for size in SIZES]
    assert loss(OUTPUTS, target) == loss(OUTPUTS, downs) == loss(tuple(OUTPUTS), tuple(downs))
    assert loss(OUTPUTS[0], target) == loss([OUTPUTS[0]], target) == losskit.binary_cross_entropy_with_logits(OUTPUTS[0], target)


def test_inside_other_losses_and_copied() -> None:
    deep = DeepSupervision(losskit.CrossEntropyLoss(), [0.75, 0.25])
    loss = 2 * deep + losskit.DeepSupervision(losskit.DiceLoss(task="multiclass"))
    found = loss(OUTPUTS[:2], LABELS)
    assert list(loss.parts) == ["deep_supervision/0", "deep_supervision/1", "deep_supervision_2/0"]
    assert repr(deep).endswith("weights=[0.75, 0.25])") and repr(deep) in repr(loss)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert twin(OUTPUTS[:2], LABELS) == found and repr(twin) == repr(loss)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
def test_in_one_graph() -> None:
    torch._dynamo.reset()
    loss = DeepSupervision(losskit.DiceLoss(task="multiclass") + losskit.CrossEntropyLoss())
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    found, wanted = compiled(OUTPUTS, LABELS), loss(OUTPUTS, LABELS)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(value, OUTPUTS[:3]) for value in (found, wanted)))


# heads

HEADS: dict[str, Tensor] = {"kind": torch.randn(5, 3, generator=DRAW), "size": torch.randn(5, generator=DRAW), "sure": torch.randn(5, 3, generator=DRAW)}
TARGETS = {"kind": torch.tensor([0, 2, 1, 0, 2]), "size": torch.randn(5, generator=DRAW)}


def objects(outputs: dict[str, Tensor], targets: dict[str, Tensor]) -> Tensor:
    return targets["kind"] > 0


def heads() -> PerHead:
    return PerHead({"kind": losskit.CrossEntropyLoss(), "size": (0.1, losskit.L1Loss()), "sure": (2, losskit.Entropy())}, where={"size": objects})


def test_a_loss_for_each_head() -> None:
    loss = heads()
    x = {name: y.clone().requires_grad_() for name, y in HEADS.items()}
    found = loss(x, TARGETS)
    wanted = {
        "kind": losskit.cross_entropy(x["kind"], TARGETS["kind"]),
        "size": 0.1 * losskit.l1_loss(x["size"], TARGETS["size"], mask=TARGETS["kind"] > 0),
        "sure": 2 * losskit.entropy(x["sure"]),
    }
    total = sum(wanted.values(), torch.zeros(()))
    torch.testing.assert_close(found, total)
    torch.testing.assert_close(loss.parts, {name: value.detach() for name, value in wanted.items()})
    for a, b in zip(*(torch.autograd.grad(value, list(x.values()), torch.tensor(1.7)) for value in (found, total)), strict=True):
        torch.testing.assert_close(a, b)


def test_arguments_for_all_heads_or_some() -> None:
    loss, mask = heads(), torch.tensor([True, False, True, True, True])
    one = loss(HEADS, TARGETS, mask=mask)
    assert one == loss(HEADS, TARGETS, mask={"kind": mask, "size": mask, "sure": mask})
    assert one != loss(HEADS, TARGETS, mask={"kind": mask})


def test_heads_inside_other_losses_and_copied() -> None:
    loss = losskit.Sum({"heads": (0.5, heads())})
    found = loss(HEADS, TARGETS)
    assert list(loss.parts) == ["heads/kind", "heads/size", "heads/sure"] and "(size): 0.1 * L1Loss(reduction='mean') where objects" in repr(loss)
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert twin(HEADS, TARGETS) == found and repr(twin) == repr(loss)
    both = PerHead({"kind": losskit.CrossEntropyLoss() + 0.5 * losskit.PolyLoss()})
    both({"kind": HEADS["kind"]}, {"kind": TARGETS["kind"]})
    assert list(both.parts) == ["kind/cross_entropy", "kind/poly"]


X = torch.zeros(1, 2, 4)


@pytest.mark.parametrize(
    ("work", "error", "told"),
    [
        (lambda: DeepSupervision(losskit.dice_loss), TypeError, "part 'loss' must be a loss"),
        (lambda: DeepSupervision(losskit.CrossEntropyLoss(dim=-1)), ValueError, "dim of CrossEntropyLoss must be 1"),
        (lambda: DeepSupervision(losskit.L1Loss(), [1.0, -1.0]), ValueError, r"weights\[1\] must be >= 0"),
        (lambda: DeepSupervision(losskit.L1Loss(), [0.0]), ValueError, "must not all be 0"),
        (lambda: DeepSupervision(losskit.L1Loss(), []), ValueError, "must not all be 0"),
        (lambda: DeepSupervision(losskit.L1Loss(), 0.5), TypeError, "must be a list of numbers"),
        (lambda: DeepSupervision(losskit.L1Loss(), [1.0])([X, X], X), ValueError, "weights has 1 numbers, but there are 2 outputs"),
        (lambda: DeepSupervision(losskit.L1Loss())([], X), TypeError, "list of nothing"),
        (lambda: DeepSupervision(losskit.L1Loss())({"a": X}, X), TypeError, "outputs must be a list of tensors"),
        (lambda: DeepSupervision(losskit.L1Loss())([X, 3], X), TypeError, r"outputs\[1\] must be a tensor"),
        (lambda: DeepSupervision(losskit.L1Loss())([X[0]], X), ValueError, r"shape \(N, C, d1, ...\)"),
        (lambda: DeepSupervision(losskit.L1Loss())([X[..., :2], X], X), ValueError, r"largest first.*try outputs\[::-1\]"),
        (lambda: DeepSupervision(losskit.L1Loss())([X, X], [X]), ValueError, "target is a list of 1, but there are 2 outputs"),
        (lambda: PerHead({}), ValueError, "needs at least one loss"),
        (lambda: heads()(HEADS["kind"], TARGETS["kind"]), TypeError, "takes two dictionaries"),
        (lambda: heads()({"kind": HEADS["kind"]}, TARGETS), ValueError, "outputs has no 'size', 'sure': it has 'kind'"),
        (lambda: heads()(HEADS, {"kind": TARGETS["kind"]}), ValueError, "targets has no 'size'"),
        (lambda: heads()(HEADS | {"more": X}, TARGETS), ValueError, "outputs has 'more', for which there is no loss: the heads are 'kind', 'size', 'sure'"),
        (lambda: heads()(HEADS, TARGETS, mask={"kid": X}), ValueError, "mask has 'kid'"),
    ],
)
def test_refused(work: Callable[[], Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        work()


def test_it_trains() -> None:
    """A net with two outputs learns a picture."""
    torch.manual_seed(0)
    x, t = torch.randn(4, 1, 8, 8), (torch.arange(8)[:, None] > torch.arange(8)).long().expand(4, 8, 8)
    first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 2, 3, padding=1)
    grid = torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")) / 8
    mix = nn.Conv2d(2, 2, 1)
    loss = losskit.DeepSupervision(losskit.DiceLoss(task="multiclass") + losskit.CrossEntropyLoss(), [0.75, 0.25])
    optimizer = torch.optim.Adam([*first.parameters(), *second.parameters(), *mix.parameters()], lr=0.05)
    values = []
    for _ in range(40):
        whole = second(first(x).relu()) + mix(grid[None])
        value = loss([whole, nn.functional.avg_pool2d(whole, 2)], t)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        values.append(value.item())
    assert values[-1] < 0.5 * values[0]
