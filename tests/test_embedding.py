"""Losses of embeddings: torch, contract, derivatives, transforms, compiler, messages. Their textbooks and laws: `test_vector_laws.py`."""

import inspect
import itertools
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from claims import claim

import losskit

TRIPLET = [
    {},
    {"margin": 0.3, "p": 1.0, "eps": 0.0},
    {"margin": 2.5, "p": 3.0, "swap": True},
    {"margin": 0.7, "p": math.inf, "eps": 0.01, "swap": True},
    {"margin": 1.5, "p": 1.5},
]
COSINE = [{}, {"margin": 0.3}, {"margin": -0.5}]
CALLS = [("triplet_margin_loss", settings) for settings in TRIPLET] + [("cosine_embedding_loss", settings) for settings in COSINE]
FIRST = [CALLS[2], CALLS[-1]]
MODULES = {"triplet_margin_loss": "TripletMarginLoss", "cosine_embedding_loss": "CosineEmbeddingLoss"}
calls = pytest.mark.parametrize(("name", "settings"), CALLS, ids=lambda v: v if isinstance(v, str) else "-".join(map(str, v.values())) or "plain")
first = pytest.mark.parametrize(("name", "settings"), FIRST, ids=lambda v: v if isinstance(v, str) else "")


def batch(name, *shape, dtype=torch.float64, seed=0):
    """Vectors that require gradients, and the labels beside them where the loss has some."""
    draw = torch.Generator().manual_seed(seed)
    count = 3 if name == "triplet_margin_loss" else 2
    vectors = [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(count)]
    labels = [] if count == 3 else [2 * torch.randint(0, 2, shape[:-1], generator=draw) - 1]
    return vectors, labels


def measured(function, vectors, labels, **settings):
    """Value, and gradients by all vectors of an incoming gradient that differs by item."""
    value = function(*vectors, *labels, **settings)
    incoming = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), *torch.autograd.grad(value, vectors, incoming)


def close(found, wanted, **tolerance):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, check_dtype=False, **tolerance)


@calls
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_torch(name, settings, reduction):
    for shape in ((9, 4), (4,), (1, 1)):
        vectors, labels = batch(name, *shape)
        theirs = getattr(F, name)
        close(
            measured(getattr(losskit, name), vectors, labels, reduction=reduction, **settings),
            measured(theirs, vectors, labels, reduction=reduction, **settings),
        )
        module = getattr(losskit, MODULES[name])(reduction=reduction, **settings)
        close(measured(module, vectors, labels), measured(theirs, vectors, labels, reduction=reduction, **settings))


def test_names_and_defaults_are_torchs():
    for name, module in MODULES.items():
        for theirs, ours in ((getattr(F, name), getattr(losskit, name)), (getattr(torch.nn, module), getattr(losskit, module))):
            theirs, ours = inspect.signature(theirs).parameters, inspect.signature(ours).parameters
            assert set(theirs) - set(ours) == {"size_average", "reduce"}
            assert all(theirs[p].default == ours[p].default for p in set(theirs) & set(ours))


@pytest.mark.sparse(2)
@calls
def test_derivatives(name, settings):
    vectors, labels = batch(name, 5, 4, seed=3)
    mask, weight = torch.tensor([True, True, False, True, True]), torch.rand(5, dtype=torch.float64, requires_grad=True)

    def loss(weight, *vectors):
        return getattr(losskit, name)(*vectors, *labels, mask=mask, sample_weight=weight, **settings)

    with warnings.catch_warnings(action="ignore"):
        torch.autograd.gradcheck(loss, (weight, *vectors))
        torch.autograd.gradgradcheck(loss, (weight, *vectors), atol=1e-4)


@calls
@pytest.mark.parametrize("bad", [math.nan, math.inf, 0.0])
def test_what_is_absent_is_as_good_as_deleted(name, settings, bad):
    function = getattr(losskit, name)
    vectors, labels = batch(name, 3, 4, 5)
    mask = torch.rand(3, 4, generator=torch.Generator().manual_seed(1)) < 0.6
    weight = torch.rand(3, 4, dtype=torch.float64).masked_fill(torch.eye(3, 4, dtype=torch.bool), 0.0)
    counts = mask & (weight != 0)
    assert 0 < counts.sum() < 12
    broken = [torch.where(counts[..., None], x.detach(), bad).requires_grad_() for x in vectors]
    labels = [torch.where(counts, t, 7) for t in labels]
    kept = [x.detach()[counts].requires_grad_() for x in vectors]
    for reduction, more in (("mean", {}), ("sum", {}), ("mean", {"normalizer": 3.5}), ("mean", {"normalizer": torch.tensor(2.0)})):
        value, *grads = measured(function, broken, labels, mask=mask, sample_weight=weight, reduction=reduction, **more, **settings)
        wanted, *slopes = measured(function, kept, [t[counts] for t in labels], sample_weight=weight[counts], reduction=reduction, **more, **settings)
        close([value], [wanted])
        for g, s in zip(grads, slopes, strict=True):
            torch.testing.assert_close(g[counts], s)
            assert not g[~counts].any()
    each, *grads = measured(function, broken, labels, mask=mask, sample_weight=weight, reduction="none", **settings)
    assert each.shape == (3, 4) and not each[~counts].any() and all(not g[~counts].any() for g in grads)
    torch.testing.assert_close(each[counts], function(*kept, *[t[counts] for t in labels], reduction="none", **settings) * weight[counts])


@calls
def test_nothing_to_count(name, settings):
    function = getattr(losskit, name)
    for shape, more in (((0, 4), {}), ((2, 0, 3), {}), ((3, 4), {"mask": torch.zeros(3, dtype=torch.bool)}), ((3, 4), {"normalizer": 0})):
        for reduction in ("mean",) if "normalizer" in more else ("mean", "sum"):
            value, *grads = measured(function, *batch(name, *shape), reduction=reduction, **more, **settings)
            assert value == 0 and all(not g.any() and g.isfinite().all() for g in grads)
    assert function(*itertools.chain(*batch(name, 0, 4)), reduction="none", **settings).shape == (0,)


@calls
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32_and_gradients_are_rounded_once(name, settings, dtype):
    vectors, labels = batch(name, 6, 5, dtype=dtype)
    wide = [x.detach().float().requires_grad_() for x in vectors]
    value, *grads = measured(getattr(losskit, name), vectors, labels, reduction="none", **settings)
    wanted, *slopes = measured(getattr(losskit, name), wide, labels, reduction="none", **settings)
    assert value.dtype is torch.float32 and torch.equal(value, wanted)
    assert all(g.dtype is dtype and torch.equal(g, s.to(dtype)) for g, s in zip(grads, slopes, strict=True))
    mixed = [vectors[0].detach().double(), *vectors[1:]]
    assert getattr(losskit, name)(*mixed, *labels, **settings).dtype is torch.float64


@pytest.mark.sparse(2)
@calls
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_transforms_and_compiler(name, settings):
    function = getattr(losskit, name)
    vectors, labels = batch(name, 3, 4, 5)
    plain, mask = [x.detach() for x in vectors], torch.tensor([True, False, True, True])

    def loss(*operands):
        return function(*operands, mask=mask, **settings)

    wanted = torch.stack([loss(*(x[i] for x in (*plain, *labels))) for i in range(3)])
    torch.testing.assert_close(torch.func.vmap(loss)(*plain, *labels), wanted)
    grads = torch.func.vmap(torch.func.grad(loss, argnums=tuple(range(len(plain)))))(*plain, *labels)
    close(grads, torch.autograd.grad(sum(loss(*(x[i] for x in (*vectors, *labels))) for i in range(3)), vectors))
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    close(measured(compiled, vectors, labels), measured(loss, vectors, labels))


@first
def test_inference_tensors_and_strides(name, settings):
    vectors, labels = batch(name, 6, 5)
    with torch.inference_mode():
        held = vectors[1].detach() + 0.0
    value, slope = measured(lambda x, *rest: getattr(losskit, name)(x, held, *rest, **settings), vectors[:1], [*vectors[2:], *labels])
    wanted, slopes, *_ = measured(getattr(losskit, name), vectors, labels, **settings)
    close([value, slope], [wanted, slopes])
    strided = [x.detach().T.contiguous().T.requires_grad_() for x in vectors]
    close(measured(getattr(losskit, name), strided, labels, **settings), measured(getattr(losskit, name), vectors, labels, **settings))


@claim("triplet_margin_loss", "A distance of 0 has the gradient 0")
@claim("triplet_margin_loss", "At exactly the margin the loss and its gradient are 0")
@claim("triplet_margin_loss", "At exactly the margin torch's gradient is")
@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 4.0, math.inf])
def test_triplets_at_kinks(p):
    same = [torch.ones(2, 3, requires_grad=True) for _ in range(3)]
    value, *grads = measured(losskit.triplet_margin_loss, same, [], eps=0.0, p=p, swap=True)
    assert value == 1 and not any(g.any() for g in grads)
    leaf = same[0]
    (g,) = torch.autograd.grad(losskit.triplet_margin_loss(leaf, *same[1:], eps=0.0, p=p), leaf, create_graph=True)
    assert not torch.autograd.grad(g.sum(), leaf)[0].any()
    at = [torch.tensor([[v]], requires_grad=True) for v in (0.0, 1.0, 2.0)]
    value, *grads = measured(losskit.triplet_margin_loss, at, [], eps=0.0, p=p)
    assert value == 0 and not any(g.any() for g in grads)
    _, *theirs = measured(F.triplet_margin_loss, at, [], eps=0.0, p=p)
    assert any(g.any() for g in theirs)


@claim("triplet_margin_loss", "Vectors of 1e30 or of 1e-30 keep their digits")
@claim("triplet_margin_loss", "A vector with NaN or an infinite number costs NaN")
@claim("triplet_margin_loss", "In float32, torch's squares of 1e30 are infinite")
def test_triplets_of_any_size():
    vectors, _ = batch("triplet_margin_loss", 4, 5, dtype=torch.float32)
    each, *slopes = measured(losskit.triplet_margin_loss, vectors, [], eps=0.0, margin=1.0, reduction="none")
    assert each.shape == (4,) and (each >= 0).all() and losskit.triplet_margin_loss(*vectors).shape == ()
    for size in (1e30, 1e-30):
        sized = [(x.detach() * size).requires_grad_() for x in vectors]
        value, *grads = measured(losskit.triplet_margin_loss, sized, [], eps=0.0, margin=size, reduction="none")
        close([value / size, *grads], [each, *slopes], rtol=1e-5, atol=1e-5)
    assert not F.triplet_margin_loss(*((x * 1e30) for x in vectors), reduction="none").isfinite().all()
    for bad in (math.nan, math.inf):
        broken = vectors[0].detach().clone()
        broken[1, 2] = bad
        assert losskit.triplet_margin_loss(broken, *vectors[1:], reduction="none").isnan().tolist() == [False, True, False, False]


@claim("triplet_margin_loss", "Of p=inf, the largest differences share the gradient")
def test_ties_of_the_largest_difference():
    a, b, c = (torch.tensor([row], requires_grad=True) for row in ([1.0, -1.0, 0.5], [0.0, 0.0, 0.0], [9.0, 9.0, 9.0]))
    _, _, g, _ = measured(losskit.triplet_margin_loss, (a, b, c), [], eps=0.0, p=math.inf, margin=20.0)
    torch.testing.assert_close(g, torch.tensor([[-0.25, 0.25, 0.0]]))  # half of the incoming gradient each


@claim("triplet_margin_loss", "Shapes must be equal: torch broadcasts")
@claim("triplet_margin_loss", "`p` below 1, which is no norm, is refused")
def test_what_torch_takes_and_we_refuse():
    a, b = torch.randn(3, 4), torch.randn(1, 4)
    assert F.triplet_margin_loss(a, a, b).isfinite() and F.triplet_margin_loss(a, a, a.flip(0), p=0.5).isfinite()
    with pytest.raises(ValueError, match=r"negative has shape \(1, 4\) but anchor has shape \(3, 4\): they must be equal, nothing is broadcast"):
        losskit.triplet_margin_loss(a, a, b)
    with pytest.raises(ValueError, match=r"p must be >= 1, got 0.5"):
        losskit.triplet_margin_loss(a, a, a.flip(0), p=0.5)


X = torch.randn(3, 4)
BAD = [
    ("CosineEmbeddingLoss", {"margin": 1.5}, ValueError, "margin must be >= -1 and <= 1, got 1.5"),
    ("CosineEmbeddingLoss", {"margin": True}, TypeError, "margin must be a number"),
    ("CosineEmbeddingLoss", {"reduction": "average"}, ValueError, "reduction must be one of"),
    ("TripletMarginLoss", {"margin": 0.0}, ValueError, "margin must be > 0, got 0.0"),
    ("TripletMarginLoss", {"margin": "wide"}, TypeError, "margin must be a number"),
    ("TripletMarginLoss", {"eps": -1.0}, ValueError, "eps must be >= 0"),
    ("TripletMarginLoss", {"p": math.nan}, ValueError, "p must not be NaN"),
    ("TripletMarginLoss", {"swap": 1}, TypeError, "swap must be True or False"),
    ("TripletMarginLoss", {"reduction": "average"}, ValueError, "reduction must be one of"),
]


@pytest.mark.parametrize(("name", "settings", "kind", "text"), BAD)
def test_bad_settings_raise_when_they_are_set(name, settings, kind, text):
    with pytest.raises(kind, match=text):
        getattr(losskit, name)(**settings)
    module = getattr(losskit, name)()
    before = repr(module)
    ((setting, value),) = settings.items()
    with pytest.raises(kind, match=text):
        setattr(module, setting, value)
    assert repr(module) == before
    module.margin = 0.25
    assert "margin=0.25" in repr(module) and type(module)(**module.settings).settings == module.settings


@pytest.mark.parametrize(
    ("tensors", "kind", "text"),
    [
        ((X.tolist(), X, X), TypeError, r"anchor must be a torch.Tensor, got list: try torch.as_tensor\(anchor\)$"),
        ((X, X.tolist(), X), TypeError, r"positive must be a torch.Tensor, got list: try torch.as_tensor\(positive, device=anchor.device\)$"),
        ((X, X.long(), X), TypeError, r"positive must be a floating-point tensor, got torch.int64: try positive.float\(\)"),
        ((X, X, X[:2]), ValueError, r"negative has shape \(2, 4\) but anchor has shape \(3, 4\): they must be equal, nothing is broadcast$"),
        ((X[0], X[0], X), ValueError, r"Try anchor.expand\(3, 4\), if one for many of negative is meant"),
        ((X[:, :0],) * 3, ValueError, r"anchor must hold vectors of at least one number along its last axis.*got shape \(3, 0\)"),
        ((X[0, 0],) * 3, ValueError, r"anchor must hold vectors.*got shape \(\)"),
        ((X, X, X.to("meta")), ValueError, "negative is on meta"),
    ],
)
def test_bad_triplets(tensors, kind, text):
    with pytest.raises(kind, match=text):
        losskit.triplet_margin_loss(*tensors)


@claim("cosine_embedding_loss", "A vector of zeros has no direction")
@claim("cosine_embedding_loss", "Equal vectors with t = 1 cost exactly 0")
@claim("cosine_embedding_loss", "At a cosine of exactly `margin` the gradient is 0")
def test_pairs_without_direction_and_at_kinks():
    x, y = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.0, 0.0]]), torch.tensor([[1.0, 2.0], [0.0, 0.0], [0.0, 0.0]])
    for label, margin, wanted in ((1, 0.0, 1.0), (-1, 0.0, 0.0), (-1, -0.5, 0.5)):
        pair = [x.clone().requires_grad_(), y.clone().requires_grad_()]
        value, *grads = measured(losskit.cosine_embedding_loss, pair, [torch.full((3,), label)], margin=margin, reduction="none")
        assert value.tolist() == [wanted] * 3 and not any(g.any() for g in grads)
        (g,) = torch.autograd.grad(losskit.cosine_embedding_loss(*pair, torch.full((3,), label), margin=margin), pair[0], create_graph=True)
        assert not torch.autograd.grad(g.sum(), pair[0])[0].any()
    vectors, _ = batch("cosine_embedding_loss", 50, 7, dtype=torch.float32)
    same = [vectors[0], vectors[0].detach().clone().requires_grad_()]
    value, *grads = measured(losskit.cosine_embedding_loss, same, [torch.ones(50)])
    assert value == 0 and not any(g.any() for g in grads)
    each = losskit.cosine_embedding_loss(vectors[0], -vectors[0], torch.ones(50), reduction="none")
    assert each.shape == (50,) and (each <= 2 + 1e-6).all() and (each >= 2 - 1e-6).all()
    at = [torch.tensor([[1.0, 0.0]], requires_grad=True), torch.tensor([[0.0, 1.0]], requires_grad=True)]
    value, *grads = measured(losskit.cosine_embedding_loss, at, [torch.tensor([-1])])
    assert value == 0 and not any(g.any() for g in grads)


@claim("cosine_embedding_loss", "Vectors of 1e30 or of 1e-30 have the losses of those of 1")
@claim("cosine_embedding_loss", "The same up to rounding for vectors of ordinary length")  # test_torch
@claim("cosine_embedding_loss", "torch adds 1e-12 to each squared length")
@claim("cosine_embedding_loss", "In float32, torch gives 1 - cos of vectors an angle of 1e-4 apart no digit")
def test_cosines_of_any_length_and_of_small_angles():
    vectors, labels = batch("cosine_embedding_loss", 6, 5, dtype=torch.float32)
    each = losskit.cosine_embedding_loss(*vectors, *labels, reduction="none")
    for size in (1e30, 1e-30):
        torch.testing.assert_close(losskit.cosine_embedding_loss(vectors[0] * size, vectors[1] / size, *labels, reduction="none"), each)
    one, short = torch.ones(1), torch.tensor([[1e-8, 0.0]])
    assert F.cosine_embedding_loss(short, short, one) > 0.9 and losskit.cosine_embedding_loss(short, short, one) == 0
    zero = torch.zeros(1, 2, requires_grad=True)
    assert torch.autograd.grad(F.cosine_embedding_loss(zero, torch.ones(1, 2), one), zero)[0].abs().max() > 1e5
    x, y = torch.tensor([[1.0, 1.0]]), torch.tensor([[1.0 - 1e-4, 1.0 + 1e-4]])
    wanted = 1 - 1 / math.sqrt(1 + ((y[0, 1] - y[0, 0]).item() / (y[0, 1] + y[0, 0]).item()) ** 2)
    assert abs(losskit.cosine_embedding_loss(x, y, one).item() / wanted - 1) < 2e-3
    assert abs(F.cosine_embedding_loss(x, y, one).item() / wanted - 1) > 0.5


@claim("cosine_embedding_loss", "A target of 0, as in labels of 0 and 1")
@claim("cosine_embedding_loss", "For labels that are neither -1 nor 1 torch's loss is 0")
@claim("cosine_embedding_loss", "Shapes must be equal: torch broadcasts")
def test_labels():
    for dtype in (torch.int8, torch.int64, torch.float16, torch.float64):
        target = torch.tensor([1, -1, 1], dtype=dtype)
        assert losskit.cosine_embedding_loss(X, X.flip(0), target) == losskit.cosine_embedding_loss(X, X.flip(0), target.float())
    for bad in (0, 2, 0.5):
        target = torch.tensor([1, bad, -1])
        assert F.cosine_embedding_loss(X, X.flip(0), target, reduction="none")[1] == 0
        for reduction in ("none", "mean", "sum"):
            with pytest.raises(ValueError, match=rf"target must be -1 or 1, got {bad:g} at index \(1,\): for labels of 0 and 1, try target \* 2 - 1"):
                losskit.cosine_embedding_loss(X, X.flip(0), target, reduction=reduction)
        mask = torch.tensor([True, False, True])
        assert losskit.cosine_embedding_loss(X, X.flip(0), target, mask=mask).isfinite()
    assert losskit.cosine_embedding_loss(X * math.nan, X, torch.ones(3)).isnan()
    unchecked = torch.func.vmap(lambda t: losskit.cosine_embedding_loss(X[0], X[1], t))(torch.tensor([1, 0]))  # no values to check
    assert unchecked.isnan().tolist() == [False, True]
    assert F.cosine_embedding_loss(X, X[:1], torch.ones(3)).isfinite()
    for y, t, text in (
        (X[:1], torch.ones(3), r"input2 has shape \(1, 4\) but input1 has shape \(3, 4\): .*Try input2.expand\(3, 4\)"),
        (X, torch.ones(3, 1), r"target must hold one label for each pair, shape \(3,\), got shape \(3, 1\): try target.reshape\(3,\)"),
        (X, torch.ones(2), r"target must hold one label for each pair, shape \(3,\), got shape \(2,\)$"),
    ):
        with pytest.raises(ValueError, match=text):
            losskit.cosine_embedding_loss(X, y, t)
    for x, y, t, text in (
        (X, X.tolist(), torch.ones(3), r"input2 must be.*device=input1.device"),
        (X, X, [1, 1, 1], r"target must be a torch.Tensor.*device=input1.device"),
    ):
        with pytest.raises(TypeError, match=text):
            losskit.cosine_embedding_loss(x, y, t)


@first
def test_bad_extras(name, settings):
    vectors, labels = batch(name, 3, 4)
    for extra, kind, text in (
        ({"mask": torch.ones(3)}, TypeError, "mask must be a bool tensor"),
        ({"mask": torch.ones(3, 4, dtype=torch.bool)}, ValueError, r"mask has shape \(3, 4\), which does not broadcast to the unreduced loss's shape \(3,\)"),
        ({"sample_weight": torch.tensor([1.0, -1.0, 1.0])}, ValueError, "sample_weight must not be negative"),
        ({"reduction": "sum", "normalizer": 3}, ValueError, "normalizer replaces the denominator"),
    ):
        with pytest.raises(kind, match=text):
            getattr(losskit, name)(*vectors, *labels, **{**settings, **extra})
    with losskit.use_engine("cpu"), pytest.raises(losskit.EngineError, match="losses of embeddings run in PyTorch operations"):
        getattr(losskit, name)(*vectors, *labels, **settings)
