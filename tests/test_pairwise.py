"""All pairs of boxes: the aligned losses on every pair, at every size of tile; the best of each row."""

import contextlib
from fractions import Fraction
from functools import partial

import pytest
import torch
from cases import thorough_rows
from claims import claim

import losskit
from losskit import best_match, pairwise_iou
from losskit.engines.cpu.core import files

KINDS = ("iou", "giou", "diou", "ciou")
LOSS = {"iou": losskit.iou_loss, "giou": losskit.giou_loss, "diou": losskit.diou_loss, "ciou": losskit.ciou_loss}
NAN, INF = float("nan"), float("inf")


def boxes(*shape, seed=0, dtype=torch.float32, wrong=0.0):
    """Boxes that meet now and then, a share of them out of order."""
    generator = torch.Generator().manual_seed(seed)
    place, size = (torch.rand(*shape, 2, generator=generator) for _ in range(2))
    size = torch.where(torch.rand(*shape, 1, generator=generator) < wrong, -size, size)
    return torch.cat((4 * place, 4 * place + size + size.sign() * 0.1), -1).to(dtype)


def written(x, form):
    """Boxes given by their corners, in another form."""
    size = x[..., 2:] - x[..., :2]
    return {"xyxy": x, "xywh": torch.cat((x[..., :2], size), -1), "cxcywh": torch.cat((x[..., :2] + size / 2, size), -1)}[form]


def aligned(a, b, kind, form="xyxy"):
    """The loss of every pair in float64, by PyTorch operations."""
    shape = (*a.shape[:-1], b.shape[-2], 4)
    with losskit.use_engine("torch"):
        return 1 - LOSS[kind](a.double().unsqueeze(-2).expand(shape), b.double().unsqueeze(-3).expand(shape), box_format=form, reduction="none")


def incoming_for(m, seed=3):
    return torch.randn(m.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(m.dtype)


def gradients(similarity, a, b, incoming=None):
    """Value and gradients of both, as they come."""
    a, b = a.detach().requires_grad_(), b.detach().requires_grad_()
    m = similarity(a, b)
    return m.detach(), *torch.autograd.grad(m, (a, b), incoming_for(m) if incoming is None else incoming)


def check(found, expected, tolerance=2e-6):
    """Within a tolerance of the largest number."""
    for x, y in zip(found, expected, strict=True):
        assert x.shape == y.shape
        assert (x.double() - y.double()).abs().max() <= tolerance * y.abs().max().clamp(min=1)


def compare(a, b, kind="iou", form="xyxy", tolerance=2e-6):
    check(gradients(lambda a, b: pairwise_iou(a, b, kind, form), a, b), gradients(lambda a, b: aligned(a, b, kind, form), a, b), tolerance)


@pytest.mark.parametrize(("kind", "engine"), [*((kind, "torch") for kind in KINDS), (KINDS[0], "cpu"), *thorough_rows((kind, "cpu") for kind in KINDS[1:])])
def test_every_pair_is_the_aligned_loss(kind, engine):
    with losskit.use_engine(engine):
        found = gradients(lambda a, b: pairwise_iou(a, b, kind), boxes(83, wrong=0.2), boxes(70, seed=1, wrong=0.2))
    check(found, gradients(lambda a, b: aligned(a, b, kind), boxes(83, wrong=0.2), boxes(70, seed=1, wrong=0.2)))


@pytest.mark.parametrize("n, m", [(1, 1), (15, 17), (64, 256), (65, 257), (3, 4099), (300, 1), (8200, 5)])  # around groups, blocks, stretches and tiles
def test_sizes(n, m):
    compare(boxes(n), boxes(m, seed=1), tolerance=1e-5)


def test_batches():
    a, b = boxes(3, 70, wrong=0.1), boxes(3, 260, seed=1)
    compare(a, b)
    whole, each = pairwise_iou(a, b), [pairwise_iou(x, y) for x, y in zip(a, b, strict=True)]
    assert torch.equal(whole, torch.stack(each))
    match = best_match(a, b)
    assert torch.equal(match.value, torch.stack([best_match(x, y).value for x, y in zip(a, b, strict=True)]))
    assert torch.equal(match.index, torch.stack([best_match(x, y).index for x, y in zip(a, b, strict=True)]))
    four = pairwise_iou(a[None], b[None])
    assert torch.equal(four, whole[None])


@pytest.mark.thorough
@pytest.mark.parametrize(
    "dtype, form, tolerance",
    [(torch.float16, "xywh", 1e-3), *thorough_rows([(torch.float64, "cxcywh", 1e-14)])],  # how a dtype is read, and a form, are apart
    ids=["half", "double"],
)
def test_dtypes_and_forms(dtype, form, tolerance):
    a, b = written(boxes(50), form).to(dtype), written(boxes(40, seed=1), form).to(dtype)
    value, by_a, by_b = gradients(lambda a, b: pairwise_iou(a, b, box_format=form), a, b)
    real = torch.float64 if dtype is torch.float64 else torch.float32
    assert value.dtype is real and by_a.dtype is by_b.dtype is dtype
    expected = gradients(lambda a, b: aligned(a, b, "iou", form), a, b, incoming_for(value).double())
    check((value,), expected[:1], 2e-6 if real is torch.float32 else 1e-14)  # half-precision boxes are computed in float32
    check((by_a, by_b), expected[1:], tolerance)
    match = best_match(a, b, box_format=form)
    assert match.value.dtype is real
    assert torch.equal(match.value, value.amax(1)) and torch.equal(match.index, value.argmax(1))


@pytest.mark.thorough
def test_mixed_dtypes():
    a, b = boxes(20), boxes(9, seed=1)
    double = partial(pairwise_iou, box_format="cxcywh")
    assert double(a, b.double()).dtype is torch.float64
    assert torch.equal(pairwise_iou(a.half(), b), pairwise_iou(a.half().float(), b))
    _, by_a, by_b = gradients(double, a, b.double())
    assert by_a.dtype is torch.float32 and by_b.dtype is torch.float64
    assert best_match(a.double().requires_grad_(), b, box_format="cxcywh").value.dtype is torch.float64


def test_against_exact_arithmetic():
    generator = torch.Generator().manual_seed(0)
    corner, size = (torch.randint(low, 7, (40, 2), generator=generator) for low in (0, 1))
    whole = torch.cat((corner, corner + size), -1)
    iou, giou = pairwise_iou(whole.float(), whole.float()), pairwise_iou(whole.float(), whole.float(), "giou")
    for i, (x0, y0, x1, y1) in enumerate(whole.tolist()):
        for j, (u0, v0, u1, v1) in enumerate(whole.tolist()):
            both = max(min(x1, u1) - max(x0, u0), 0) * max(min(y1, v1) - max(y0, v0), 0)
            union = (x1 - x0) * (y1 - y0) + (u1 - u0) * (v1 - v0) - both
            around = (max(x1, u1) - min(x0, u0)) * (max(y1, v1) - min(y0, v0))
            exact = Fraction(both, union)
            assert abs(iou[i, j].item() - exact) <= Fraction(1, 1 << 22)
            assert abs(giou[i, j].item() - (exact - 1 + Fraction(union, around))) <= Fraction(1, 1 << 21)


def hard(dtype=torch.float32):
    """Points, lines, boxes out of order, of all sizes, near and far."""
    shapes = [[0, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 0], [0.25, 0.25, 0.5, 0.75], [-1, -1, 2, 2]]
    base = torch.tensor(shapes, dtype=torch.float64)
    scaled = [base * scale + shift for scale in (1e-40, 1e-6, 1.0, 1e6, 1e18) for shift in (0.0, 1e-6, 3.0, 1e6)]
    return torch.cat(scaled).to(dtype)


@pytest.mark.sparse(3)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["cpu", "torch"])
@claim("pairwise_iou", "Every finite box has finite similarities")
def test_degenerate_boxes(kind, engine):
    x = hard()
    with losskit.use_engine(engine):
        value, by_a, by_b = gradients(lambda a, b: pairwise_iou(a, b, kind), x, x)
        match = best_match(x, x, kind)
    assert value.isfinite().all() and by_a.isfinite().all() and by_b.isfinite().all() and match.value.isfinite().all()
    ordered = (x[:, 2:] >= x[:, :2]).all(1)
    assert (value.diagonal()[ordered] == 1).all() and (value[ordered] <= 1).all()
    assert (match.value[ordered] == 1).all()


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@claim("pairwise_iou", "Boxes that coincide have 1")
def test_boxes_apart_have_exactly_nothing_in_common(engine):
    a, b = boxes(64), boxes(64, seed=1) + 7.0
    with losskit.use_engine(engine):
        value = pairwise_iou(a, b)
        match = best_match(a, b)
    assert torch.equal(value, torch.zeros(64, 64)) and not value.signbit().any()
    assert torch.equal(match.value, torch.zeros(64)) and torch.equal(match.index, torch.zeros(64, dtype=torch.int64))


@claim("pairwise_iou", "A box of a out of order")
def test_disorder_has_its_price_in_a_and_none_in_b():
    square = torch.tensor([[0.0, 0.0, 2.0, 2.0]])
    turned = square[:, [2, 1, 0, 3]]
    for kind in KINDS:
        assert pairwise_iou(turned, square, kind).item() < pairwise_iou(torch.tensor([[1.0, 0.0, 1.0, 2.0]]), square, kind).item()
        assert pairwise_iou(square, turned, kind).item() == 1.0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ["cpu", "torch"])
@claim("pairwise_iou", "NaN in a box is NaN")
@claim("best_match", "NaN is larger than every number")
def test_nan_is_seen(kind, engine):
    a, b = boxes(20), boxes(30, seed=1)
    with losskit.use_engine(engine):
        for place in range(4):
            broken = b.clone()
            broken[17, place] = NAN
            value = pairwise_iou(a, broken, kind)
            assert value[:, 17].isnan().all() and value[:, :17].isfinite().all() and value[:, 18:].isfinite().all()
            broken[25, place] = NAN
            match = best_match(a, broken, kind)
            assert match.value.isnan().all() and (match.index == 17).all()
            match = best_match(broken, a, kind)
            assert match.value.isnan().nonzero().flatten().tolist() == [17, 25] and match.index[17] == 0


def test_same_bits_for_any_number_of_threads():
    a, b = boxes(9000), boxes(150, seed=1)
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        match, of_match, of_partner = gradients(lambda a, b: best_match(a, b).value, a, b)
        results.append((*gradients(pairwise_iou, a, b), *best_match(a, b), match, of_match, of_partner))
    for other in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(results[0], other, strict=True))


def test_non_contiguous_boxes():
    a, b = boxes(40), boxes(30, seed=1)
    strided = torch.zeros(40, 9)
    strided[:, 1::2] = a
    expected = gradients(pairwise_iou, a, b)
    assert all(torch.equal(x, y) for x, y in zip(gradients(pairwise_iou, strided[:, 1::2], b.t().contiguous().t()), expected, strict=True))
    shared = a.expand(2, 40, 4)
    assert torch.equal(pairwise_iou(shared, torch.stack((b, b))), torch.stack((expected[0], expected[0])))


@pytest.mark.parametrize(
    "incoming",
    [lambda m: m.t().contiguous().t(), lambda m: m[:1, :1].expand(m.shape), lambda m: m[:, :1].expand(m.shape), lambda m: m.repeat_interleave(2, 1)[:, ::2]],
    ids=["transposed", "one number", "one per row", "every other"],
)
def test_non_contiguous_incoming_gradients(incoming):
    a, b = boxes(70), boxes(300, seed=1)
    w = incoming(incoming_for(torch.empty(70, 300)))
    assert not w.is_contiguous()
    found, expected = gradients(pairwise_iou, a, b, w), gradients(pairwise_iou, a, b, w.contiguous())
    assert all(torch.equal(x, y) for x, y in zip(found, expected, strict=True))


def test_incoming_gradients_of_batches_in_any_layout():
    a, b = boxes(2, 20), boxes(2, 30, seed=1)
    w = incoming_for(torch.empty(2, 30, 20)).mT
    found = gradients(pairwise_iou, a, b, w)
    for k in range(2):
        assert all(torch.equal(x[k], y) for x, y in zip(found, gradients(pairwise_iou, a[k], b[k], w[k].contiguous()), strict=True))


@pytest.mark.thorough
def test_one_gradient_alone_is_the_same():
    a, b = boxes(70), boxes(30, seed=1)
    _, by_a, by_b = gradients(pairwise_iou, a, b)
    for x, y, expected in ((a.clone().requires_grad_(), b, by_a), (a, b.clone().requires_grad_(), by_b)):
        m = pairwise_iou(x, y)
        m.backward(incoming_for(m))
        assert torch.equal((x if x.requires_grad else y).grad, expected)


def test_pairs_to_which_nothing_comes_in_are_absent():
    a, b = boxes(40), boxes(600, seed=1)
    a[3], b[5], b[599] = NAN, NAN, NAN
    w = torch.zeros(40, 600)
    w[7, 300], w[20, 6] = 1.0, -2.0
    _, by_a, by_b = gradients(lambda a, b: pairwise_iou(a, b, "giou"), a, b, w)
    assert by_a.isfinite().all() and by_b.isfinite().all()
    assert by_a.abs().sum(1).nonzero().flatten().tolist() == [7, 20] and by_b.abs().sum(1).nonzero().flatten().tolist() == [6, 300]


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0, 0)])
@claim("best_match", "No boxes in b: value -inf")
def test_no_boxes(engine, shape):
    n, m = shape
    with losskit.use_engine(engine):
        value, by_a, by_b = gradients(pairwise_iou, boxes(n), boxes(m))
        match = best_match(boxes(n), boxes(m))
        of_match, *by_match = gradients(lambda a, b: best_match(a, b).value + 0 * b.sum(), boxes(n), boxes(m))
        assert pairwise_iou(boxes(0, 3), boxes(0, 2)).shape == (0, 3, 2) and best_match(boxes(0, 3), boxes(0, 2)).index.shape == (0, 3)
    assert value.shape == shape and not by_a.any() and not by_b.any() and by_a.shape == (n, 4) and by_b.shape == (m, 4)
    assert match.value.tolist() == of_match.tolist() == [-INF] * n and match.index.tolist() == [-1] * n and match.index.dtype is torch.int64
    assert not any(g.any() for g in by_match)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n, m", [(1, 1), (17, 300), (1025, 7), (8200, 3)])
def test_best_match_is_the_maximum_of_the_matrix(kind, n, m):
    a, b = boxes(n, wrong=0.1), boxes(m, seed=1)
    value, index = best_match(a, b, kind)
    whole = pairwise_iou(a, b, kind)
    assert index.dtype is torch.int64 and (value - whole.amax(1)).abs().max() <= 3e-7
    assert (whole.gather(1, index[:, None])[:, 0] - value).abs().max() <= 3e-7
    with losskit.use_engine("torch"):
        plain = best_match(a.double(), b.double(), kind)
    assert (value - plain.value).abs().max() <= 1e-6
    clear = (lambda top: top[:, 0] - top[:, -1] > 1e-5)(whole.topk(min(m, 2), 1).values) if m > 1 else slice(None)
    assert torch.equal(index[clear], plain.index[clear])


def test_best_match_takes_the_first_of_equals():
    a, b = boxes(100), boxes(7, seed=1)
    match = best_match(a, torch.cat((b, b, b)))
    assert (match.index < 7).all() and torch.equal(match.value, best_match(a, b).value)


def test_best_match_in_blocks(monkeypatch):
    from losskit.engines.torch import pairs

    a, b = boxes(2, 50), boxes(2, 6, seed=1)
    with losskit.use_engine("torch"):
        whole = best_match(a, b)
        monkeypatch.setattr(pairs, "PAIRS", 7 * 12)
        blocks = best_match(a, b)
    assert torch.equal(whole.value, blocks.value) and torch.equal(whole.index, blocks.index)


@pytest.mark.parametrize("engine", ["cpu", "torch"])
def test_the_gradient_of_the_best(engine):
    a, b = boxes(2, 60), boxes(2, 7, seed=1)
    with losskit.use_engine(engine):
        found = gradients(lambda a, b: best_match(a, b, "giou").value, a, b)
    index = best_match(a, b, "giou").index.unsqueeze(-1)
    expected = gradients(lambda a, b: aligned(a, b, "giou").gather(-1, index).squeeze(-1), a, b)
    check(found, expected)


@pytest.mark.parametrize("kind, engine", [("diou", "torch"), *thorough_rows([("iou", None)])])  # not CIoU: its alpha is constant in the derivative alone
def test_higher_derivatives(kind, engine):
    a, b = boxes(4, dtype=torch.float64).requires_grad_(), boxes(3, seed=1, dtype=torch.float64).requires_grad_()
    with losskit.use_engine(engine) if engine else contextlib.nullcontext():
        assert torch.autograd.gradcheck(lambda a, b: pairwise_iou(a, b, kind, "cxcywh"), (a, b))
        assert torch.autograd.gradgradcheck(lambda a, b: pairwise_iou(a, b, kind, "cxcywh"), (a, b))
        assert torch.autograd.gradcheck(lambda a, b: best_match(a, b, kind, "cxcywh").value, (a, b))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
def test_transforms():
    a, b = boxes(3, 20), boxes(3, 9, seed=1)
    assert torch.allclose(torch.vmap(pairwise_iou)(a, b), pairwise_iou(a, b), atol=1e-6)
    value, index = torch.vmap(best_match)(a, b)
    assert torch.equal(index, best_match(a, b).index) and torch.allclose(value, best_match(a, b).value, atol=1e-6)
    w = incoming_for(torch.empty(20, 9))
    by_a = torch.func.grad(lambda x: (w * pairwise_iou(x, b[0], "giou")).sum())(a[0])
    assert torch.allclose(by_a, gradients(lambda a, b: pairwise_iou(a, b, "giou"), a[0], b[0], w)[1], atol=1e-5)
    _, tangent = torch.func.jvp(lambda x: (w * pairwise_iou(x, b[0], "giou")).sum(), (a[0],), (torch.ones(20, 4),))
    assert torch.allclose(tangent, by_a.sum(), atol=1e-4)
    many = torch.autograd.grad(pairwise_iou(x := a[0].clone().requires_grad_(), b[0]), x, torch.stack((w, 2 * w)), is_grads_batched=True)[0]
    assert torch.allclose(many[1], 2 * many[0], atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # the compiler's own deprecations
@pytest.mark.thorough
def test_traces_without_a_break():
    a, b = boxes(20).requires_grad_(), boxes(9, seed=1)
    compiled = torch.compile(lambda a, b: (pairwise_iou(a, b, "diou"), *best_match(a, b)), fullgraph=True, backend="eager")
    matrix, value, index = compiled(a, b)
    assert torch.allclose(matrix, pairwise_iou(a, b, "diou"), atol=1e-6) and torch.allclose(value, best_match(a, b).value, atol=1e-6)
    assert torch.equal(index, best_match(a, b).index)
    (by_a,) = torch.autograd.grad(matrix, a, incoming_for(matrix))
    assert torch.allclose(by_a, gradients(lambda a, b: pairwise_iou(a, b, "diou"), a, b)[1], atol=1e-5)


def test_engines():
    a, b = boxes(3), boxes(2)
    assert losskit.engine_for(pairwise_iou, a, b)[0] == "cpu"
    assert pairwise_iou(a.to("meta"), b.to("meta")).shape == (3, 2) and best_match(a.to("meta"), b.to("meta")).value.shape == (3,)


def test_loops_are_kept_on_disk():
    """They raise nothing and call nothing, so that a second process needs no compiler."""
    a = boxes(3).requires_grad_()
    pairwise_iou(a, a).sum().backward()
    best_match(a, a)
    for loop in ("matrix_iou", "gradients_iou", "best_iou", "add_tiles_xyxy_float32"):
        assert list(files.folder().glob(f"pairs_{loop}_*.o")), loop


A, B = boxes(3), boxes(2)
BAD = [
    (([1.0], B), {}, TypeError, r"a must be a torch.Tensor, got list: try torch.as_tensor\(a\)"),
    ((A, None), {}, TypeError, "b must be a torch.Tensor, got NoneType"),
    ((A.long(), B), {}, TypeError, r"a must be boxes of a floating-point dtype, got torch.int64: try a.float\(\)"),
    ((A, B.to(torch.complex64)), {}, TypeError, "b must be a real tensor, got torch.complex64$"),
    ((A.to_sparse(), B), {}, TypeError, r"a must be a dense tensor.*try a.to_dense\(\)"),
    ((A[0], B), {}, ValueError, r"a must hold boxes along its last axis, shape \(N, 4\) or \(B, N, 4\), got shape \(4,\): for a single box, try a\[None\]"),
    ((A, B[:, :3]), {}, ValueError, r"b must hold boxes along its last axis.*got shape \(2, 3\)$"),
    (
        (A, B[None]),
        {},
        ValueError,
        r"a has shape \(3, 4\) and b has shape \(1, 2, 4\): .*nothing is broadcast. Try a.expand\(1, 3, 4\) for boxes that all samples share",
    ),
    ((A.expand(2, 3, 4), B.expand(5, 2, 4)), {}, ValueError, r"a has shape \(2, 3, 4\) and b has shape \(5, 2, 4\).*nothing is broadcast\.$"),
    ((A, B.to("meta")), {}, ValueError, r"b is on meta, where tensors have no values, but a is on cpu: for shapes alone, try a.to\('meta'\)"),
    ((A, B), {"kind": "eiou"}, ValueError, "kind must be one of 'iou', 'giou', 'diou', 'ciou'; got 'eiou'"),
    ((A, B), {"box_format": "yxyx"}, ValueError, "box_format must be one of 'xyxy', 'xywh', 'cxcywh', 'cxcywha'; got 'yxyx'"),
]


@pytest.mark.parametrize("function", [pairwise_iou, best_match])
@pytest.mark.parametrize("arguments, options, error, message", BAD, ids=range(len(BAD)))
def test_bad_input(function, arguments, options, error, message):
    with pytest.raises(error, match=message):
        function(*arguments, **options)
