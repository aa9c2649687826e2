"""Losses of overlap and losses of items of one call share one pass, whatever they are; and each is what it is alone, with its gradient."""

from typing import Any

import pytest
import torch
from cases import thorough_rows
from torch import Tensor

import losskit
from losskit import LOSSES, LossModule
from losskit.contract import together
from losskit.contract.together import Offer, losses
from losskit.engines import fused

HOSTS = [loss.module for loss in LOSSES.of("overlap").values() if not loss.module.startswith(("DiceCE", "DiceFocal"))]
LABELLED: list[tuple[str, dict[str, Any]]] = [
    ("CrossEntropyLoss", {}), ("CrossEntropyLoss", {"weight": [1.0, 0.0, 2.0, 0.5]}), ("CrossEntropyLoss", {"z_loss": 0.1}),
    ("FocalLoss", {"task": "multiclass"}), ("FocalLoss", {"task": "multiclass", "gamma": 1.5, "alpha": [1.0, 2.0, 0.5, 1.0]}),
    ("PolyLoss", {}), ("GeneralizedCrossEntropyLoss", {}), ("SymmetricCrossEntropyLoss", {}),
]  # fmt: skip
NUMBERS: list[tuple[str, dict[str, Any]]] = [
    ("BCEWithLogitsLoss", {}), ("FocalLoss", {"task": "binary"}), ("FocalLoss", {"task": "multilabel", "gamma": 1.5, "alpha": 0.25}),
    ("BCEWithLogitsLoss", {"label_smoothing": 0.1}), ("QualityFocalLoss", {}), ("VarifocalLoss", {}),
]  # fmt: skip
PAIRS = [("multiclass", *pair) for pair in LABELLED] + [(task, *pair) for pair in NUMBERS for task in ("binary", "multilabel")]


def batch(task: str, masked: bool) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Scores, targets and a mask, of whose targets some are ignored."""
    draw = torch.Generator().manual_seed(3)
    x = torch.randn(3, 4, 9, generator=draw) * 3
    target = torch.randint(0, 4, (3, 9), generator=draw) if task == "multiclass" else (torch.randn(3, 4, 9, generator=draw) > 0).float()
    if task == "multiclass":
        target[0, 2] = -100
    return x, target, {"mask": torch.rand(target.shape, generator=draw) > 0.3} if masked else {}


def values(parts: list[LossModule], x: Tensor, target: Tensor, given: dict[str, Tensor], shared: bool) -> tuple[Tensor, Tensor]:
    """Both losses, and the gradient of a sum of them with unequal weights."""
    leaf = x.clone().requires_grad_()
    found = losses(parts, (leaf, target), given) if shared else [part(leaf, target, **given) for part in parts]
    return torch.stack(found).detach(), torch.autograd.grad(found, leaf, [torch.tensor(0.7), torch.tensor(-1.3)])[0]


def require_same(parts: list[LossModule], task: str, masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways agree to the last digits, and the second loss has no pass of its own."""
    x, target, given = batch(task, masked)
    took: list[Any] = []
    whole = together.Company.extra
    monkeypatch.setattr(together.Company, "extra", lambda self, *args: took.append(whole(self, *args)) or took[-1])
    one, two = values(parts, x, target, given, True), values(parts, x, target, given, False)
    assert len(took) == 1 and took[0] is not None
    torch.testing.assert_close(one[0], two[0], rtol=5e-7, atol=0.0)
    torch.testing.assert_close(one[1], two[1], rtol=2e-6, atol=3e-7 * float(two[1].abs().max()))


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("task", "guest", "settings"), PAIRS)
def test_as_apart(task: str, guest: str, settings: dict[str, Any], masked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [losskit.DiceLoss(task=task), getattr(losskit, guest)(**settings)]  # type: ignore[arg-type]
    with losskit.use_engine("torch"):
        require_same(parts, task, masked, monkeypatch)


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("task", ["multiclass", "multilabel"])
def test_every_loss_of_overlap_takes_another_along(host: str, task: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    guest = losskit.CrossEntropyLoss() if task == "multiclass" else losskit.BCEWithLogitsLoss()
    with losskit.use_engine("torch"):
        require_same([getattr(losskit, host)(task=task), guest], task, True, monkeypatch)


@pytest.mark.chosen
@pytest.mark.parametrize(("task", "guest", "settings"), [PAIRS[1], PAIRS[8], *thorough_rows([*PAIRS[2:8], *PAIRS[9:]])])
def test_in_loops(task: str, guest: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    require_same([losskit.DiceLoss(task=task), getattr(losskit, guest)(**settings)], task, True, monkeypatch)  # type: ignore[arg-type]


@pytest.mark.chosen
def test_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the CPU: the sums of both come from one loop, the gradient from another; as of `dice_ce_loss`."""
    x, target, _ = batch("multiclass", False)
    passes: list[str] = []
    for name, kind in (("finished", fused.finished), ("total", fused.total)):
        monkeypatch.setattr(fused, name, lambda *args, name=name, kind=kind: passes.append(name) or kind(*args))
    found = losses([losskit.CrossEntropyLoss(), losskit.DiceLoss(task="multiclass")], (x.requires_grad_(), target), {})
    assert passes == ["finished"]
    loss, parts = losskit.dice_ce_loss(x, target, task="multiclass", return_parts=True)
    assert [each.item() for each in found] == [parts.ce.item(), parts.dice.item()]
    gradient = torch.autograd.grad(sum(found), x, retain_graph=True)[0]
    assert torch.equal(gradient, torch.autograd.grad(loss, x)[0])
    again = torch.autograd.grad(sum(found), x, create_graph=True)[0]
    torch.testing.assert_close(again, gradient)


@pytest.mark.parametrize(
    ("task", "host", "guest"),
    [
        ("multiclass", {"from_logits": False}, {}),
        ("multiclass", {"ignore_index": 3}, {}),
        ("multiclass", {}, {"ignore_index": 0}),
        ("multiclass", {}, {"label_smoothing": 0.1}),
        ("multiclass", {}, {"temperature": 2.0}),
        ("multiclass", {}, {"softcap": 5.0}),
        ("multiclass", {}, {"reduction": losskit.TopK(0.5)}),
        ("multiclass", {}, {"reduction": "sum"}),
        ("binary", {}, {"pos_weight": [2.0]}),
        ("binary", {}, {"ignore_index": 0}),
    ],
)
def test_apart_where_they_do_not_mean_the_same(task: Any, host: dict[str, Any], guest: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    x, target, given = batch(task, True)
    x, target = x.softmax(1) if host.get("from_logits") is False else x, target.clamp(min=0)
    parts = [losskit.DiceLoss(task=task, **host), (losskit.CrossEntropyLoss if task == "multiclass" else losskit.BCEWithLogitsLoss)(**guest)]
    extra = together.Company.extra
    monkeypatch.setattr(together.Company, "extra", lambda self, *args: refuse() if extra(self, *args) else None)
    with losskit.use_engine("torch"):
        one, two = values(parts, x, target, given, True), values(parts, x, target, given, False)
    assert torch.equal(one[0], two[0]) and torch.equal(one[1], two[1])


def refuse() -> None:
    raise AssertionError("these two mean different items, or scores")


def test_two_of_each() -> None:
    """Each loss of overlap takes one other along; who is left has a pass of its own."""
    x, target, given = batch("multiclass", True)
    parts = [
        losskit.CrossEntropyLoss(),
        losskit.DiceLoss(task="multiclass"),
        losskit.PolyLoss(),
        losskit.FocalLoss(task="multiclass"),
        losskit.JaccardLoss(task="multiclass"),
    ]
    with losskit.use_engine("torch"):
        for found, part in zip(losses(parts, (x, target), given), parts, strict=True):
            torch.testing.assert_close(found, part(x, target, **given))


@pytest.mark.parametrize(
    "loss", [loss for loss in LOSSES.values() if loss.pattern in ("rows", "elementwise") and "task" not in loss.required], ids=lambda loss: loss.name
)
def test_whoever_is_asked_answers(loss: losskit.Loss) -> None:
    """Each loss goes along, or gives what it always gives."""
    from contexts import CONTEXTS

    for context in CONTEXTS:
        if context.loss is loss and "reduction" in loss.settings:
            tensors, offer = context.tensors(), Offer()
            found = context(*tensors, normalizer=offer)
            assert offer.second is not None if found is offer else torch.equal(found, context(*tensors))


def test_compounds_take_no_other_along() -> None:
    x, target, given = batch("multiclass", True)
    parts = [losskit.DiceCELoss(task="multiclass"), losskit.CrossEntropyLoss()]
    for found, part in zip(losses(parts, (x, target), given), parts, strict=True):
        torch.testing.assert_close(found, part(x, target, **given))


@pytest.mark.chosen
@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
@pytest.mark.parametrize("size", [4, 96])
def test_in_one_graph(size: int) -> None:
    """Plain operations, and an operator."""
    torch._dynamo.reset()
    draw = torch.Generator().manual_seed(0)
    x, target = torch.randn(2, 5, size, size, generator=draw), torch.randint(0, 5, (2, size, size), generator=draw)
    parts = [losskit.DiceLoss(task="multiclass"), losskit.CrossEntropyLoss()]
    work = lambda x: sum(losses(parts, (x, target), {}))  # noqa: E731
    leaves = [x.clone().requires_grad_() for _ in range(2)]
    passes: list[str] = []

    def backend(graph: Any, inputs: Any) -> Any:
        passes.extend(str(node.target) for node in graph.graph.nodes if "losskit" in str(node.target))
        return graph.forward

    found = [torch.compile(work, backend=backend, fullgraph=True)(leaves[0]), work(leaves[1])]
    assert len(passes) == (size == 96)
    torch.testing.assert_close(*found)
    torch.testing.assert_close(*(torch.autograd.grad(value, leaf)[0] for value, leaf in zip(found, leaves, strict=True)))


class Halved(losskit.CrossEntropyLoss):
    def forward(self, input, target, **given):
        return super().forward(input / 2, target, **given)


class TenTimes(losskit.Sum):
    def forward(self, *tensors, **given):
        return 10 * super().forward(*tensors, **given)


def hooked(loss):
    loss.register_forward_hook(lambda module, given, value: 3 * value)
    return loss


def before(loss):
    loss.register_forward_pre_hook(lambda module, given: (given[0] / 2, given[1]))
    return loss


@pytest.mark.parametrize(
    "part",
    [
        Halved,
        lambda: hooked(losskit.CrossEntropyLoss()),
        lambda: before(losskit.CrossEntropyLoss()),
        lambda: TenTimes({"a": losskit.CrossEntropyLoss()}),
        lambda: hooked(losskit.Sum({"a": losskit.CrossEntropyLoss()})),
        lambda: hooked(losskit.DeepSupervision(losskit.CrossEntropyLoss())),
    ],
)
def test_what_does_more_than_its_loss_is_called(part):
    """A class of one's own, or a hook: its pass is shared with nobody, and a sum of it is no sum of its parts."""
    x, t = torch.randn(2, 3, 4), torch.randint(0, 3, (2, 4))
    dice, other = losskit.DiceLoss(task="multiclass"), part()
    expected = dice(x, t) + other(x, t)
    torch.testing.assert_close(losskit.Sum({"dice": dice, "other": other})(x, t), expected)
    torch.testing.assert_close((dice + other)(x, t), expected)
    torch.testing.assert_close((0.5 * other)(x, t), 0.5 * other(x, t))
    host = before(losskit.DiceLoss(task="multiclass"))
    torch.testing.assert_close((host + losskit.CrossEntropyLoss())(x, t), host(x, t) + losskit.CrossEntropyLoss()(x, t))


def test_an_ignored_number_of_one_loss_is_none_of_the_other():
    x, t = torch.randn(2, 4), torch.tensor([[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 1.0]])
    for ignored in (0, 1):
        both = losskit.DiceLoss(task="binary", ignore_index=ignored) + losskit.BCEWithLogitsLoss()
        both(x, t)
        torch.testing.assert_close(both.parts["binary_cross_entropy_with_logits"], losskit.BCEWithLogitsLoss()(x, t))
    marked = t.masked_fill(t == 0, -100.0)
    both = losskit.DiceLoss(task="binary") + losskit.MSELoss()
    both(x, marked)
    torch.testing.assert_close(both.parts["mse"], losskit.MSELoss()(x, marked))


def test_a_formula_with_many_settings_has_a_pass_of_its_own():
    from losskit.contract import together
    from losskit.engines.cpu.overlap import loops

    assert together.MAX_PARAMS == loops.MAX_PARAMS
    x, t = torch.randn(2, 5), torch.randint(0, 2, (2, 5)).float()
    barron = losskit.BarronLoss(alpha=1.0, scale=1.0)
    torch.testing.assert_close((losskit.DiceLoss(task="binary") + barron)(x, t), losskit.DiceLoss(task="binary")(x, t) + barron(x, t))


@pytest.mark.chosen
@pytest.mark.parametrize("weight", [None, [0.0, 1.0, 3.0]])
def test_an_infinite_loss_is_of_its_own_class(weight):
    """A class that is ruled out by -inf: its label costs infinity, or nothing where its weight is 0; no NaN comes of it in the other classes' sums."""
    x, t = torch.tensor([[[-torch.inf, 1.0], [0.5, 0.2], [0.3, -1.0]]]), torch.tensor([[0, 1]])
    dice, ce = losskit.DiceLoss(task="multiclass"), losskit.CrossEntropyLoss(weight=weight)
    expected = dice(x, t) + ce(x, t)
    assert expected.isinf() == (weight is None)
    torch.testing.assert_close((dice + ce)(x, t), expected)
    torch.testing.assert_close(losskit.dice_ce_loss(x, t, task="multiclass"), dice(x, t) + losskit.cross_entropy(x, t))
