"""The operators of passes by themselves: PyTorch's own check of them, derivatives of derivatives, plans."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from cases import subjects_of
from compiled import KINDS, Loss, corners, drawn, fresh, labels, operators_in  # noqa: F401
from torch import Tensor

import losskit
from losskit import LOSSES
from losskit.engines import operators
from losskit.engines.call import Call
from losskit.engines.protocol import PATTERNS

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations


def of_boxes(formula: Any) -> Any:
    from losskit.contract.boxes import written_out
    from losskit.engines.call import Boxes

    return Boxes(written_out(formula, 2))


def calls() -> dict[str, Callable[[], Any]]:
    """A call of each kind of pass."""
    from losskit.contract.tokens import TokenLook
    from losskit.engines.both import Both
    from losskit.engines.call import Beside, Looked, Overlap, Product, Ranked, Rows
    from losskit.losses.classification.cross_entropy import formula as negative_log
    from losskit.losses.classification.entropy import formula as entropy
    from losskit.losses.classification.multi_margin import FORMS
    from losskit.losses.detection.giou import formula as giou
    from losskit.losses.regression.mse import formula as mse

    def row(classes: int) -> Any:
        return Rows(negative_log, (), torch.arange(1.0, 1.0 + classes).double())

    return {
        "elementwise": lambda: Call(mse, (), (drawn(3, 4).double().abs(),)),
        "rows": lambda: row(4),
        "boxes": lambda: of_boxes(giou),
        "pairs": lambda: of_boxes(giou),
        "overlap": lambda: Overlap("softmax", "label"),
        "products": lambda: Product("rows", row(7), False, 3),
        "margins": lambda: Beside(FORMS[2], (1.5, 0.25), torch.tensor([True] * 5 + [False])),
        "ranked": lambda: Ranked("softmax", "label"),
        "looked": lambda: Looked(Product("rows", row(7), False, 3), TokenLook(entropy, 2)),
        "both": lambda: Both(negative_log, "torch", torch.tensor([True] * 4 + [False]), None),
    }


CALLS = calls()


def arguments(kind: str, each: bool, parts: int = 0) -> tuple[Any, tuple[Any, ...]]:
    """An operator, and what a graph calls it with."""
    from losskit.engines import registered

    x, t, head = drawn(6, 4).double().requires_grad_(), labels(6, 7), drawn(7, 4).double().requires_grad_()
    sets = drawn(5, 4).double().requires_grad_(), drawn(6, 4)[1:].double().sin().requires_grad_(), torch.tensor(0.7).double().requires_grad_()
    operands: tuple[Tensor, ...] = {
        "elementwise": (drawn(3, 4).double().requires_grad_(), drawn(3, 4).double().cos().requires_grad_()),
        "rows": (x, t % 4),
        "boxes": (corners(4).double().requires_grad_(), corners(5)[1:].double()),
        "pairs": (corners(4).double().requires_grad_(), (corners(5)[2:].double() + torch.linspace(0.1, 0.4, 4)).requires_grad_()),
        "overlap": (drawn(2, 3, 4).double().requires_grad_(), labels(8, 3).reshape(2, 4)),
        "products": (x, head, t),
        "looked": (x, head, t),
        "margins": (x, t % 4),
        "ranked": (drawn(2, 3, 4).requires_grad_(), labels(8, 3).reshape(2, 4)),
        "both": sets,
    }[kind]
    call = CALLS[kind]()
    plan, numbers, tensors, wants = operators.split(kind, call, operands)
    shape = operators.shape_of(kind, call, operands)
    if each:
        return registered.each, (plan, numbers, list(operands), tensors, wants, shape, parts)
    return registered.total, (plan, numbers, list(operands), tensors, operators.in_graph(0.25), wants, shape if parts else [], parts)


CHECKED = [
    *(("elementwise", False, 0), ("rows", True, 0), ("boxes", True, 0), ("overlap", True, 0), ("products", False, 0)),
    *(("pairs", True, 0), ("margins", True, 0), ("ranked", True, 0), ("both", True, 0), ("looked", True, 0), ("rows", False, 3), ("rows", True, 3)),
]


@pytest.mark.sparse(12)
@pytest.mark.parametrize(("kind", "each", "parts"), CHECKED)
def test_pytorchs_own_check_of_operators(kind: str, each: bool, parts: int) -> None:
    """Schema, registration of autograd, shapes of fakes, and the traced graph, with shapes that may vary."""
    operator, given = arguments(kind, each, parts)
    torch.library.opcheck(operator, given)


def test_pytorchs_own_check_of_the_best_match() -> None:
    from losskit.engines import registered

    _, (plan, numbers, operands, tensors, *_) = arguments("pairs", True)
    torch.library.opcheck(registered.best, (plan, numbers, [x.detach() for x in operands], tensors))


@pytest.mark.sparse(4)
@pytest.mark.parametrize(
    ("kind", "each"),
    [
        *(("elementwise", False), ("elementwise", True), ("rows", False), ("overlap", True), ("products", False)),
        *(("pairs", True), ("margins", True), ("both", True), ("looked", True)),
    ],
)
def test_second_derivatives_of_an_operator(kind: str, each: bool) -> None:
    """Through plain operations, and so are those after them."""
    operator, (plan, numbers, operands, *rest) = arguments(kind, each)
    wanted = [x for x in operands if x.requires_grad]

    def value(*leaves: Tensor) -> Tensor:
        given = iter(leaves)
        found = operator(plan, numbers, [next(given) if x.requires_grad else x for x in operands], *rest)
        return found[0] if isinstance(found, (list, tuple)) else found

    assert torch.autograd.gradcheck(value, wanted)
    assert torch.autograd.gradgradcheck(value, wanted)


def test_second_derivatives_of_sorted_errors() -> None:
    """Those of eager calls: what is sorted has no float64 to be differentiated by differences."""
    loss, operands = KINDS["ranked"]
    x, t = operands(9)
    found = []
    for step in (torch.compile(loss, fullgraph=True, backend="eager"), loss):
        leaf = x.clone().requires_grad_()
        (first,) = torch.autograd.grad(step(leaf, t), leaf, create_graph=True)
        found.append(torch.autograd.grad((first * x.cos()).sum(), leaf)[0])
    torch.testing.assert_close(*found, rtol=1e-5, atol=1e-7)
    assert bool(found[0].any())


def test_a_formula_without_a_wanted_derivative_has_no_plan() -> None:
    """Which compiled code may ask for: a learned parameter of a loss that gives it none is computed by plain operations, which have one."""
    from losskit.losses.regression.mse import formula as mse

    parts = operators.apart(Call(mse, ()), [], [])
    assert operators.planned("elementwise", parts, (True, True))
    assert not operators.planned("elementwise", parts, (True, True, True))


def test_a_plan_of_another_process() -> None:
    operator, (_, *rest) = arguments("elementwise", False)
    with pytest.raises(RuntimeError, match=r"rows_0 was compiled in another process.*: call torch.compile here"):
        operator("rows_0", *rest)


def test_every_pattern_has_operators() -> None:
    assert set(PATTERNS) <= set(KINDS)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name, loss in LOSSES.items() if loss.pattern in ("elementwise", "rows", "boxes", "overlap", "ranked")])
def test_every_loss(name: str) -> None:
    """Whatever its formula and settings: the same bits as eager calls, in one graph, and an operator in it wherever eager calls run fused."""
    s = subjects_of(LOSSES[name])[0]
    batch = s.batch(s.items)
    fused = losskit.engine_for(s, *batch).engine == "cpu"

    def found(step: Loss) -> list[Tensor]:
        leaves = s.fresh(*(z.clone() for z in batch))
        value = step(*leaves)
        return [value.detach(), *torch.autograd.grad(value, [z for z in leaves if z.requires_grad])]

    compiled = torch.compile(lambda x, t: s(x, t), fullgraph=True, backend="aot_eager")
    for got, expected in zip(found(compiled), found(s), strict=True):
        torch.testing.assert_close(got, expected, rtol=0.0 if fused and s.loss.pattern != "overlap" else 1e-5, atol=0.0 if fused else 1e-7)
    if fused:
        torch.compiler.reset()
        assert any(each.startswith("losskit.") for each in operators_in(lambda x, t: s(x, t.detach()), *batch))


def test_gradients_that_nobody_wants_are_not_computed() -> None:
    """The other side of a product, of pairs; the slopes of errors, which are as large as the input."""
    from losskit.engines import registered, values

    x, y, heat = drawn(5, 4), drawn(5, 4).sin(), torch.tensor(0.1)
    for name, operands in (("both", (x, y.clone().requires_grad_(), heat)), ("pairs", (corners(5), corners(4).requires_grad_()))):
        call = CALLS[name]()
        plan, numbers, tensors, wants = operators.split(name, call, operands)
        shape = operators.shape_of(name, call, operands)
        value, *left = registered.each(plan, numbers, [z.detach() for z in operands], tensors, wants, shape, 0)
        found = registered.by_each(plan, numbers, [z.detach() for z in operands], tensors, left, torch.ones_like(value), wants)
        assert [bool(g.numel()) for g in found] == [z.requires_grad for z in operands]
    scores, t = drawn(2, 3, 4), labels(8, 3).reshape(2, 4)
    for wanted in (False, True):
        left = values.of("ranked").run(CALLS["ranked"](), (scores, t), (wanted, False))[1]
        assert left.numel() == (scores.numel() if wanted else 0)
