"""Passes as operators: a compiled graph runs the loops that eager calls run, in one graph, with the same bits; where it does not, there is a reason.

What PyTorch makes of graphs is its own business: operations run as they stand, but for one test.
"""

from functools import partial
from typing import Any

import pytest
import torch
import torch.autograd.forward_ad as fwAD
from compiled import KINDS, SHOWN, TOTAL, Loss, corners, drawn, fresh, graphs, labels, operators_in, results, thorough  # noqa: F401
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import losskit
from losskit.engines import operators

pytestmark = pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations


@pytest.mark.parametrize("kind", [*SHOWN, *thorough])
def test_the_same_bits_in_one_graph_for_all_shapes(kind: str) -> None:
    """Also the second and third shape, for which nothing is compiled again."""
    loss, operands = KINDS[kind]
    for how in ({}, {"reduction": "none"}) if kind in ("rows", "overlap", "pairs", "margins", "ranked", "both") else ({},):
        counter = CompileCounterWithBackend("aot_eager")
        step = partial(loss, **how)
        compiled = torch.compile(step, fullgraph=True, dynamic=True, backend=counter)
        for items in (6, 11, 40):
            for got, expected in zip(results(compiled, operands(items)), results(step, operands(items)), strict=True):
                assert torch.equal(got, expected), (how, items, (got - expected).abs().max())
        assert graphs(counter) == 1


@pytest.mark.thorough
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_the_same_bits_in_other_dtypes(kind: str, dtype: torch.dtype) -> None:
    loss, operands = KINDS[kind]
    for reduction in ("mean", "none"):
        step = partial(loss, reduction=reduction)
        compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
        for got, expected in zip(results(compiled, operands(9), dtype), results(step, operands(9), dtype), strict=True):
            if kind == "overlap":  # whose arithmetic between sums and loss is compiled, in another order
                torch.testing.assert_close(got, expected, rtol=1e-14, atol=1e-16)
            else:
                assert torch.equal(got, expected), (reduction, (got - expected).abs().max())


def test_a_schedule_compiles_once_more() -> None:
    """The first other value makes the number one that may vary; those after it find the graph."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(lambda x, t, gamma: losskit.focal_loss(x, t, gamma=gamma), fullgraph=True, backend=counter)
    x, t = drawn(6, 5), drawn(6, 5).sigmoid()
    for gamma in (1.5, 2.25, 2.5, 3.1):
        found, wanted = (results(partial(function, gamma=gamma), (x, t)) for function in (compiled, losskit.focal_loss))
        for got, expected in zip(found, wanted, strict=True):
            assert torch.equal(got, expected)
    assert graphs(counter) == 2


@pytest.mark.sparse(2)
@pytest.mark.parametrize(("kind", "found"), [("products", TOTAL), ("both", ["losskit.each.default", "losskit.by_each.default"])])
def test_scores_are_in_no_graph(kind: str, found: list[str]) -> None:
    loss, operands = KINDS[kind]
    assert operators_in(loss, *operands(6)) == found


def test_small_passes_stay_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of sizes that are fixed; `use_engine` decides otherwise, in both directions."""
    loss, operands = KINDS["rows"]
    assert operators_in(loss, *operands(6)) == TOTAL
    with losskit.use_engine("torch"):
        assert operators_in(loss, *operands(6)) == []
    monkeypatch.setattr(operators, "SMALL", 1000)
    assert operators_in(loss, *operands(6)) == []
    with losskit.use_engine("cpu"):
        assert operators_in(loss, *operands(6)) == TOTAL


def test_an_engine_that_is_forced_runs_or_raises() -> None:
    """Not: is left out in silence."""
    x, w = drawn(6, 5), drawn(6).abs().requires_grad_()
    wide = lambda x, t: losskit.dice_loss(x[None].expand(1, operators.WIDE + 1, 5), t[None, 1:], task="multiclass")  # noqa: E731
    for loss in (
        wide,
        lambda x, t: losskit.lovasz_loss(x.double(), t, task="multiclass"),
        lambda x, t: losskit.cross_entropy(x, t, sample_weight=w, return_parts=True)[0],
    ):
        with losskit.use_engine("cpu"), pytest.raises(Exception, match=r"EngineError.*cannot run this loss: in a compiled graph it is one pass"):
            torch.compile(loss, fullgraph=True, backend="eager")(x[:1] if loss is wide else x, torch.tensor([0, 1, 2, 3, 4, 0]))
    with losskit.use_engine("cpu"):
        for kind in ("pairs", "both"):
            loss, operands = KINDS[kind]
            assert "losskit.each.default" in operators_in(loss, *operands(6)), kind


LABELLED: dict[str, tuple[Loss, tuple[int, ...]]] = {  # a loss of labels, and the shapes of what comes before them
    "rows": (losskit.cross_entropy, (6, 5)),
    "rows, each": (lambda x, t: losskit.cross_entropy(x, t, reduction="none"), (6, 5)),
    "overlap": (lambda x, t: losskit.dice_loss(x, t, task="multiclass"), (1, 5, 6)),
    "products": (lambda h, t: losskit.linear_cross_entropy(h, drawn(5, 4), t), (6, 4)),
    "other rows": (lambda x, t: losskit.generalized_cross_entropy(x, t, q=0.7), (6, 5)),
    "margins": (losskit.multi_margin_loss, (6, 5)),
    "ranked": (lambda x, t: losskit.lovasz_loss(x, t, task="multiclass"), (1, 5, 6)),
    "parts": (lambda x, t: losskit.cross_entropy(x, t, return_parts=True)[0], (6, 5)),
    "parts, each": (lambda x, t: losskit.cross_entropy(x, t, return_parts=True, reduction="none")[0], (6, 5)),
    "parts of products": (lambda h, t: losskit.linear_log_prob(h, drawn(5, 4), t, return_parts=True)[0], (6, 4)),
}


@pytest.mark.sparse(3)
@pytest.mark.parametrize("name", LABELLED)
def test_labels_that_are_none_raise(name: str) -> None:
    """The compiler lets no check look at numbers; the operator looks at them itself, before a loop would read and write beside its memory."""
    loss, shape = LABELLED[name]
    step, leaf = torch.compile(loss, fullgraph=True, backend="aot_eager"), drawn(*shape).requires_grad_()
    t = torch.tensor([0, 1, 2, 3, 4, 0]).reshape(1, 6)[0 if len(shape) == 2 else slice(1)]
    for label in (-1, 5):
        wrong = t.index_fill(-1, torch.tensor(5), label)
        with pytest.raises(ValueError, match=rf"target must hold labels from 0 to 4 .* got {label} at index"):
            step(leaf, wrong)
    assert step(leaf, t).isfinite().all()


def test_what_has_no_fused_pass_is_no_operator() -> None:
    """A softmax of more classes than a tile holds; errors in float64, which are not sorted."""
    from losskit.engines.call import Overlap, Ranked
    from losskit.engines.cpu.overlap import too_wide
    from losskit.engines.cpu.ranked import takes

    x = drawn(1, operators.WIDE + 1, 1)
    assert not too_wide(Overlap("softmax", "label"), x[:, 1:]) and too_wide(Overlap("softmax", "label"), x)
    for call in (Ranked("softmax", "label"), Ranked("hinge", "number"), Ranked("softmax", "label", joint=True)):
        for y in (x, x[:, 1:], x[:, 1:].double(), x[:, :2, :0]):
            assert takes(call, y) == operators.has_loops("ranked", call, y)
    wide = lambda x, t: losskit.dice_loss(x, t, task="multiclass")  # noqa: E731
    assert operators_in(wide, drawn(1, operators.WIDE + 1, 2), torch.tensor([[0, 7]])) == []
    loss, operands = KINDS["ranked"]
    assert operators_in(lambda x, t: loss(x.double(), t), *operands(4)) == []


# what gives more than a loss: a function, and operands
MORE: dict[str, tuple[Loss, tuple[Tensor, ...]]] = {
    "parts": (lambda x, t: losskit.cross_entropy(x, t, return_parts=True), (drawn(9, 5), labels(9, 5))),
    "parts, none": (
        lambda x, t: losskit.cross_entropy(x, t, weight=torch.arange(1.0, 6.0), return_parts=True, reduction="none"),
        (drawn(2, 5, 3), labels(6, 5).reshape(2, 3)),
    ),
    "parts of distributions": (lambda x, t: losskit.cross_entropy(x, t.softmax(1), return_parts=True), (drawn(9, 5), drawn(9, 5) * 2)),
    "parts of products": (lambda x, w, t: losskit.linear_cross_entropy(x, w, t, return_parts=True), (drawn(9, 4), drawn(7, 4), labels(9, 7))),
    "parts of products, none": (
        lambda x, w, t: losskit.linear_cross_entropy(x, w, t, return_parts=True, reduction="none"),
        (drawn(9, 4), drawn(7, 4), labels(9, 7)),
    ),
    "tokens, none": (
        lambda x, w, t: losskit.linear_log_prob(x, w, t, return_parts=True, top_k=2, softcap=3.0, temperature=0.8),
        (drawn(9, 4), drawn(7, 4), labels(9, 7)),
    ),
    "entropies, none": (lambda x, w, t: losskit.linear_log_prob(x, w, t, return_parts=True, chunk=4), (drawn(9, 4), drawn(7, 4), labels(9, 7))),
    "best match": (lambda a, b: losskit.best_match(a, b, "giou"), (corners(9), corners(6))),
}


@pytest.mark.sparse(8)
@pytest.mark.parametrize("name", MORE)
def test_by_products_come_with_the_operator(name: str) -> None:
    """The same as in eager calls, without a graph; the pass is made once."""
    loss, operands = MORE[name]
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for dtype in (torch.float32, torch.bfloat16):
        for got, expected in zip(results(compiled, operands, dtype), results(loss, operands, dtype), strict=True):
            assert torch.equal(got, expected) and got.dtype is expected.dtype
    torch.compiler.reset()
    found = operators_in(loss, *operands)
    passes = {"best match": ["losskit.best.default", "losskit.each.default", "losskit.by_each.default"]}
    assert found == passes.get(name, ["losskit.each.default", "losskit.by_each.default"] if "none" in name else TOTAL)


@pytest.mark.parametrize("name", ["parts", *(pytest.param(name, marks=pytest.mark.thorough) for name in ("parts of distributions", "best match"))])
def test_by_products_of_all_shapes(name: str) -> None:
    """In one graph; a number of items is none of its constants."""
    loss, operands = MORE[name]
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(loss, fullgraph=True, dynamic=True, backend=counter)
    for left_out in (0, 2, 3):
        given = tuple(x[left_out:].clone() for x in operands)
        for got, expected in zip(results(compiled, given), results(loss, given), strict=True):
            assert torch.equal(got, expected)
    assert graphs(counter) == 1


def test_a_best_match_without_gradients_is_one_pass() -> None:
    b = corners(6)
    with torch.no_grad():
        counter = CompileCounterWithBackend("aot_eager")
        step = torch.compile(lambda a, b: tuple(losskit.best_match(a, b)), fullgraph=True, dynamic=True, backend=counter)
        for items in (9, 7, 4):
            for got, expected in zip(step(corners(items), b), losskit.best_match(corners(items), b), strict=True):
                assert torch.equal(got, expected)
    assert graphs(counter) == 1
    assert [node.target for node in counter.graphs[-1].graph.nodes if "losskit" in str(node.target)] == [torch.ops.losskit.best]


@pytest.mark.sparse(3)
@pytest.mark.parametrize("items", [pytest.param(0, marks=pytest.mark.thorough), 1])
@pytest.mark.parametrize("kind", ["elementwise", "rows", "overlap", *("pairs", "margins", "ranked", "both")])
def test_no_item_or_one(kind: str, items: int) -> None:
    """One loss of a row alone has no axes at all."""
    loss, operands = KINDS[kind]
    given = operands(1)
    if not items:
        given = tuple(x[..., :0] if kind in ("overlap", "ranked") else x[:0] if x.dim() else x for x in given)
    for reduction in ("mean", "none"):
        step = partial(loss, reduction=reduction)
        compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
        for got, expected in zip(results(compiled, given), results(step, given), strict=True):
            assert got.shape == expected.shape and torch.equal(got.nan_to_num(9.0), expected.nan_to_num(9.0))
    if kind == "rows":
        row = (given[0].reshape(-1)[:5], torch.tensor(3)) if items else given
        step = partial(losskit.cross_entropy, reduction="none")
        assert torch.equal(torch.compile(step, fullgraph=True, backend="aot_eager")(*row), step(*row))


def test_passes_leave_what_they_were_given() -> None:
    """A backward that is gone through twice gives the same twice: what the forward left for it is not written over."""
    loss, operands = KINDS["ranked"]
    x, t = operands(9)
    step = torch.compile(loss, fullgraph=True, backend="eager")
    for dtype in (torch.float32, torch.bfloat16):
        leaf = x.to(dtype).requires_grad_()
        value = step(leaf, t)
        first, second = (torch.autograd.grad(value, leaf, retain_graph=True)[0] for _ in range(2))
        assert torch.equal(first, second) and first.dtype is dtype


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float16, marks=pytest.mark.thorough)], ids=str)
def test_half_precision_in_the_middle_of_a_graph(dtype: torch.dtype) -> None:
    """Gradients have the dtype that the rest of the graph was compiled for."""
    x, inner, head, t = (y.to(dtype) if y.is_floating_point() else y for y in (drawn(6, 4), drawn(4, 4), drawn(7, 4), labels(6, 7)))
    loss = lambda x, inner, head: losskit.linear_cross_entropy(x @ inner, head, t)  # noqa: E731
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    for got, expected in zip(results(compiled, (x, inner, head), dtype), results(loss, (x, inner, head), dtype), strict=True):
        assert got.dtype is expected.dtype
        torch.testing.assert_close(got, expected, rtol=2e-2, atol=1e-3)


def test_exported_programs_are_plain() -> None:
    """They run where losskit is not."""

    class Model(torch.nn.Module):
        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return losskit.cross_entropy(x, t)

    x, t = drawn(6, 5), labels(6, 5)
    program = torch.export.export(Model(), (x, t))
    assert "losskit" not in str(program.graph)
    torch.testing.assert_close(program.module()(x, t), losskit.cross_entropy(x, t))


@pytest.mark.thorough
def test_transforms_in_a_graph_are_plain() -> None:
    x, t = drawn(6, 5), drawn(6, 5)
    step = torch.compile(lambda x, t: torch.func.vmap(torch.func.grad(losskit.mse_loss))(x, t), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(step(x, t), 2 * (x - t) / 5)


LEARNED: dict[str, tuple[Loss, tuple[Tensor, ...]]] = {
    "of elements": (lambda x, t, w: losskit.mse_loss(x, t, sample_weight=w), (drawn(6, 5), drawn(6, 5) * 2, drawn(6, 5).abs())),
    "of each class": (
        lambda x, t, w: losskit.binary_cross_entropy_with_logits(x, t.detach().sigmoid(), weight=w, reduction="none"),
        (drawn(6, 5), drawn(6, 5) * 2, drawn(5).abs()),
    ),
    "of rows": (lambda x, t, w: losskit.cross_entropy(x, t, sample_weight=w), (drawn(9, 5), labels(9, 5), drawn(9).abs())),
    "of classes": (lambda x, t, w: losskit.cross_entropy(x, t, weight=w, label_smoothing=0.1), (drawn(9, 5), labels(9, 5), drawn(5).abs())),
    "of distributions": (lambda x, t, w: losskit.kl_divergence(x, t.softmax(1), sample_weight=w), (drawn(9, 5), drawn(9, 5) * 2, drawn(9).abs())),
    "of boxes": (lambda x, t, w: losskit.giou_loss(x, t, sample_weight=w), (corners(9), corners(10)[1:], drawn(9).abs())),
    "of classes, beside a label": (lambda x, t, w: losskit.multi_margin_loss(x, t, weight=w), (drawn(9, 5), labels(9, 5), drawn(5).abs())),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "of rows" else pytest.mark.thorough) for name in LEARNED])
def test_weights_that_learn_have_their_gradient(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the way of eager calls, with their bits; also where a small pass is plain."""
    loss, operands = LEARNED[name]
    expected = results(loss, operands)
    for got, wanted in zip(results(torch.compile(loss, fullgraph=True, backend="aot_eager"), operands), expected, strict=True):
        assert torch.equal(got, wanted)
    torch.compiler.reset()
    assert any(each.startswith("losskit.") for each in operators_in(loss, *operands))
    monkeypatch.setattr(operators, "SMALL", 1 << 30)
    monkeypatch.setattr(operators, "SMALL_ELEMENTWISE", 1 << 30)
    torch.compiler.reset()
    assert not any(each.startswith("losskit.") for each in operators_in(loss, *operands))
    for got, wanted in zip(results(torch.compile(loss, fullgraph=True, backend="eager"), operands), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


def test_a_sum_over_an_items_scores_is_made_with_them() -> None:
    """Scores that are each by themselves are in no graph, also where each item has a loss."""
    step = lambda x, y: losskit.siglip_loss(x, y, 10.0, -10.0, reduction="none")  # noqa: E731
    x, y = drawn(6, 4), drawn(7, 4)[1:]
    assert operators_in(step, x, y) == ["losskit.each.default", "losskit.by_each.default"]
    for got, expected in zip(results(torch.compile(step, fullgraph=True, backend="aot_eager"), (x, y)), results(step, (x, y)), strict=True):
        assert torch.equal(got, expected)


AROUND: dict[str, tuple[Loss, tuple[Tensor, ...]]] = {
    "rows": (lambda x: losskit.cross_entropy(x, torch.tensor([0, 2, -100, 4])), (drawn(4, 5),)),
    "margins": (lambda x: losskit.multi_margin_loss(x, torch.tensor([0, 2, 1, 4]), reduction="none"), (drawn(4, 5),)),
    "both": (lambda x: losskit.clip_loss(x, x.cos(), 3.0), (drawn(4, 3),)),
    "ranked": (lambda x: losskit.lovasz_loss(x, torch.tensor([[0, 2, 1, 1]]), task="multiclass"), (drawn(1, 3, 4),)),
    "overlap": (lambda x: losskit.dice_loss(x, torch.tensor([[0, 2, 1, 1]]), task="multiclass"), (drawn(1, 3, 4),)),
}


@pytest.mark.sparse(4)
@pytest.mark.parametrize("name", AROUND)
def test_forward_mode_goes_through_a_graph(name: str) -> None:
    """As plain operations, which have such derivatives; a call outside before it takes the operator."""
    loss, (x,) = AROUND[name]
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), loss(x))
    with fwAD.dual_level():
        found, expected = (fwAD.unpack_dual(f(fwAD.make_dual(x, x.sin()))).tangent for f in (compiled, loss))
    torch.testing.assert_close(found, expected)


@pytest.mark.sparse(4)
@pytest.mark.parametrize("name", AROUND)
def test_a_batch_of_gradients(name: str) -> None:
    loss, (x,) = AROUND[name]
    found = []
    for step in (torch.compile(loss, fullgraph=True, backend="eager"), loss):
        leaf = x.clone().requires_grad_()
        value = step(leaf)
        incoming = torch.stack([torch.full_like(value, k) for k in (1.0, -0.5, 3.0)])
        found.append(torch.autograd.grad(value, leaf, incoming, is_grads_batched=True)[0])
    torch.testing.assert_close(*found)


def test_what_nobody_reads_again_is_not_kept() -> None:
    """What looked at scores is left for the caller."""
    x, w, t = drawn(6, 4).requires_grad_(), drawn(7, 4), labels(6, 7)
    value, _ = torch.compile(lambda x: losskit.linear_log_prob(x, w, t, return_parts=True, top_k=3), fullgraph=True, backend="eager")(x)
    node: Any = value.grad_fn
    kept: list[Any] = []
    while node is not None:
        kept += [y.shape for y in getattr(node, "saved_tensors", ())]
        node = next((following for following, _ in node.next_functions if following is not None), None)
    assert torch.Size((6, 4)) in kept and torch.Size((6, 3)) not in kept


def test_exported_programs_with_masks_and_constants() -> None:
    y = drawn(6, 5)

    class Model(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return losskit.huber_loss(x, y, mask=x > 0) + losskit.mse_loss(x, y, sample_weight=x.detach().abs())

    x = drawn(6, 5).cos()
    program = torch.export.export(Model(), (x,))
    assert "losskit" not in str(program.graph)
    torch.testing.assert_close(program.module()(x), Model()(x))
