"""SSIM: against its definition, against scikit-image, and what masks, sizes and half precision do to pictures."""

import mpmath
import pytest
import torch
from cases import thorough
from claims import claim
from skimage.metrics import structural_similarity

import losskit
from losskit import LOSSES

BOTH = (losskit.ssim_loss, losskit.l1_ssim_loss)


def pictures(*shape, seed=0, dtype=torch.float32, noise=0.1):
    draw = torch.Generator().manual_seed(seed)
    t = torch.rand(shape, generator=draw, dtype=torch.float64)
    return (t + noise * torch.randn(shape, generator=draw, dtype=torch.float64)).to(dtype), t.to(dtype)


def measured(x, t, function=losskit.ssim_loss, **settings):
    """Value, and gradients by both."""
    x, t = x.detach().clone().requires_grad_(), t.detach().clone().requires_grad_()
    value = function(x, t, **{"data_range": 1.0} | settings)
    incoming = torch.linspace(0.5, 1.5, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), *torch.autograd.grad(value, (x, t), incoming)


def exact(loss, x, t, **settings):
    """The textbook's loss of one picture, at 50 digits."""
    rows = [[[mpmath.mpf(v) for v in row] for row in picture.double().tolist()] for picture in (x, t)]
    with mpmath.workdps(50):
        return float(loss.textbook(mpmath.mp, *rows, **settings))


@pytest.mark.parametrize(
    ("loss", "settings"),
    [(loss, settings) for loss in LOSSES.of("windows").values() for settings in loss.arguments],
    ids=lambda v: getattr(v, "name", None) or str(v),
)
@pytest.mark.parametrize("level", [0.0, 0.9])
def test_value_and_gradient_are_the_textbooks(loss, settings, level):
    require_textbook(loss, loss.function, settings, level)


def require_textbook(loss, function, settings, level=0.0):
    """Of a small picture of a level, the value and one derivative."""
    size = (33, 32) if settings.get("multi_scale") else (7, 6)
    x, t = pictures(1, 1, *size, noise=0.01)
    x, t = level + (1 - level) * x, level + (1 - level) * t
    value, slope, _ = measured(x, t, reduction="none", function=function, **settings)
    wanted = exact(loss, x[0, 0], t[0, 0], **settings)
    assert abs(value.item() - wanted) <= loss.tolerance * wanted
    place, step = (0, 0, size[0] // 2, size[1] // 2), 2.0**-10
    up, down = (x.double().index_put(tuple(torch.tensor(i) for i in place), x[place].double() + s) for s in (step, -step))
    numerical = 0.5 * (exact(loss, up[0, 0], t[0, 0], **settings) - exact(loss, down[0, 0], t[0, 0], **settings)) / (2 * step)
    assert abs(slope[place].item() - numerical) <= 2e-3 * slope.abs().max().item()


@claim("ssim_loss", "`structural_similarity` is one minus this")
@pytest.mark.parametrize(("size", "scale"), [((24, 27), 1.0), ((12, 13, 14), 1.0), ((24, 27), 255.0)])
def test_scikit_image(size, scale):
    x, t = (scale * y for y in pictures(2, 2, *size))
    found = losskit.ssim_loss(x, t, data_range=scale, reduction="none")
    inside = (slice(5, -5),) * len(size)
    for n in range(2):
        for c in range(2):
            pair = (y[n, c].double().numpy() for y in (x, t))
            _, each = structural_similarity(*pair, data_range=scale, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, full=True)
            assert abs(found[n, c].item() - (1 - each[inside].mean())) < 1e-6


@claim("ssim_loss", "Equal pictures cost exactly 0")
@claim("l1_ssim_loss", "Equal pictures cost exactly 0")
@pytest.mark.parametrize("function", BOTH)
def test_equal_pictures(function):
    _, t = pictures(2, 3, 14, 13)
    value, slope, _ = measured(t, t, reduction="none", function=function)
    assert not value.any() and not slope.any()


@claim("l1_ssim_loss", "Theirs is a uniform window of 3")
def test_monodepth():
    """As the authors' code has it: means by average pooling, variances as differences of squares."""
    x, t = (y.clamp(0, 1) for y in pictures(2, 3, 12, 13, dtype=torch.float64))
    pool = lambda y: torch.nn.functional.avg_pool2d(y, 3, 1)  # noqa: E731
    mx, mt = pool(x), pool(t)
    vx, vt, both = pool(x * x) - mx * mx, pool(t * t) - mt * mt, pool(x * t) - mx * mt
    alike = (2 * mx * mt + 0.01**2) * (2 * both + 0.03**2) / ((mx**2 + mt**2 + 0.01**2) * (vx + vt + 0.03**2))
    wanted = 0.85 * ((1 - alike) / 2).clamp(0, 1).mean() + 0.15 * (x - t).abs().mean()
    torch.testing.assert_close(losskit.l1_ssim_loss(x, t, data_range=1.0, window="uniform", window_size=3), wanted)


@claim("l1_ssim_loss", "weigh MS-SSIM with 0.84")
@claim("l1_ssim_loss", "Zhao et al")
def test_over_scales_it_is_halved_too():
    x, t = pictures(1, 1, 32, 32)
    settings = {"data_range": 1.0, "window_size": 2, "multi_scale": True}
    wanted = 0.42 * losskit.ssim_loss(x, t, **settings) + 0.16 * (x - t).abs().mean()
    torch.testing.assert_close(losskit.l1_ssim_loss(x, t, ssim_weight=0.84, **settings), wanted)


@claim("ssim_loss", "Only whole windows count")
@pytest.mark.parametrize(
    ("settings", "size", "box"), [({"window_size": 4}, (12, 11), (2, 9, 1, 8)), ({"window_size": 2, "multi_scale": True}, (64, 64), (16, 64, 16, 48))]
)
@pytest.mark.parametrize("function", BOTH)
def test_a_mask_of_a_rectangle_cuts_it_out(settings, size, box, function):
    x, t = pictures(2, 3, *size, dtype=torch.float64)
    top, bottom, left, right = box
    mask = torch.zeros(size, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    cut = (..., slice(top, bottom), slice(left, right))
    spoiled = [torch.where(mask, y, bad) for y, bad in ((x, torch.nan), (t, torch.inf))]
    value, *slopes = measured(*spoiled, function, mask=mask, reduction="none", **settings)
    wanted, *others = measured(x[cut], t[cut], function, reduction="none", **settings)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-14)
    for slope, other in zip(slopes, others, strict=True):
        torch.testing.assert_close(slope[cut], other, rtol=1e-10, atol=1e-14)
        assert not slope[..., ~mask].any()


@claim("ssim_loss", "A picture with no whole window left by the mask is absent")
@claim("l1_ssim_loss", "A picture with no whole window left by the mask is absent")
@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("way", ["mask", "sample_weight"])
@pytest.mark.parametrize("graph", [False, True])
def test_a_picture_left_out(way, graph, function):
    x, t = pictures(2, 2, 9, 8)
    x[1, 0] = torch.nan
    keep = torch.tensor([[True, True], [False, True]])
    extra = {"mask": keep[..., None, None]} if way == "mask" else {"sample_weight": keep.float()}
    x.requires_grad_()
    value = function(x, t, data_range=1.0, window_size=5, **extra)
    (slope,) = torch.autograd.grad(value, x, create_graph=graph)
    rest = function(x.detach()[keep][:, None], t[keep][:, None], data_range=1.0, window_size=5)
    torch.testing.assert_close(value.detach(), rest)
    assert not slope[1, 0].any() and slope[keep].all()


@claim("ssim_loss", "With multi_scale, a scale on which pictures are not alike at all")
def test_opposite_pictures_over_scales():
    _, t = pictures(1, 1, 32, 32)
    value, slope, _ = measured(1 - t, t, window_size=2, multi_scale=True)
    assert value == 1 and not slope.any()


@claim("ssim_loss", "Halving leaves out the last row")
def test_odd_sizes_over_scales():
    x, t = pictures(1, 1, 33, 32, dtype=torch.float64)
    x = x.requires_grad_()
    (slope,) = torch.autograd.grad(losskit.ssim_loss(x, t, data_range=1.0, window_size=2, multi_scale=True), x)
    assert slope[..., -1, :].abs().max() < slope.abs().max()


def test_levels_are_taken_off():
    """Bright and nearly flat: float32 as good as its inputs. Written as E[x^2] - E[x]^2 it is off by percents."""
    x, t = pictures(1, 1, 24, 24, noise=0.3, dtype=torch.float64)
    x, t = (0.999 + 1e-3 * y for y in (x, t))
    x, t = x.float(), t.float()
    value, slope, _ = measured(x, t)
    wanted, exact_slope, _ = measured(x.double(), t.double())
    assert abs(value.item() - wanted.item()) <= 1e-6 * wanted.item()
    assert (slope.double() - exact_slope).abs().max() <= 1e-6 * exact_slope.abs().max()


@pytest.mark.parametrize("extra", [{}, *thorough([{"mask": torch.arange(72).reshape(9, 8) > 9}, {"multi_scale": True, "window_size": 1}])], ids=str)
def test_second_derivatives(extra):
    x, t = pictures(1, 2, *((16, 17) if "multi_scale" in extra else (9, 8)), dtype=torch.float64)
    settings = {"data_range": 1.0, "window_size": 4, "reduction": "none"} | extra

    def loss(a, b):
        return losskit.ssim_loss(a, b, **settings)

    assert torch.autograd.gradcheck(loss, (x.requires_grad_(), t.requires_grad_()))
    if "multi_scale" not in extra:
        assert torch.autograd.gradgradcheck(loss, (x, t))
    again = torch.autograd.grad(loss(x, t).sum(), (x, t), create_graph=True)
    torch.testing.assert_close(torch.autograd.grad(loss(x, t).sum(), (x, t)), tuple(y.detach() for y in again))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch.func.jvp's own
def test_transforms():
    x, t = pictures(3, 2, 9, 8, dtype=torch.float64)

    def loss(a, b):
        return losskit.ssim_loss(a, b, data_range=1.0, window_size=4)

    batched = torch.func.vmap(torch.func.grad(loss))(x[:, None], t[:, None])
    single = torch.stack([measured(a[None], b[None], window_size=4)[1] / 0.5 for a, b in zip(x, t, strict=True)])
    torch.testing.assert_close(batched, single)
    _, tangent = torch.func.jvp(lambda a: loss(a, t), (x,), (t,))
    torch.testing.assert_close(tangent, (measured(x, t, window_size=4)[1] / 0.5 * t).sum())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("function", BOTH)
def test_half_precision_is_rounded_once(dtype, function):
    for settings in ({"window_size": 4}, {"window_size": 2, "multi_scale": True}):
        x, t = (y.to(dtype) for y in pictures(1, 2, 33, 32))
        value, *slopes = measured(x, t, function, **settings)
        wanted, *others = measured(x.float(), t.float(), function, **settings)
        assert value.dtype is torch.float32 and torch.equal(value, wanted)
        assert all(a.dtype is dtype and torch.equal(a, b.to(dtype)) for a, b in zip(slopes, others, strict=True))


def test_layouts_and_blocks():
    x, t = pictures(5, 3, 300, 301)
    value, *slopes = measured(x, t)
    for form in (torch.channels_last, torch.contiguous_format):
        other, *more = measured(x.contiguous(memory_format=form), t.mT.contiguous().mT)
        torch.testing.assert_close((value, *slopes), (other, *more))


@pytest.mark.parametrize("shape", [(0, 3, 11, 12), (2, 0, 11, 12), (1, 1, 11, 11), (0, 1, 11, 11, 11)])
def test_small(shape):
    x, t = torch.rand(shape), torch.rand(shape)
    value, slope, _ = measured(x, t)
    assert value.isfinite() and slope.shape == x.shape and bool(value) == bool(x.numel())


def test_a_constant_window_of_one_position_knows_brightness_only():
    x, t = pictures(1, 1, 1, 1)
    c1 = 0.01**2
    wanted = 1 - (2 * x * t + c1) / (x * x + t * t + c1)
    torch.testing.assert_close(losskit.ssim_loss(x, t, data_range=1.0, window_size=1), wanted.mean())


@pytest.mark.parametrize("threads", [1, 2])
def test_threads(threads):
    before = torch.get_num_threads()
    x, t = pictures(1, 1, 400, 401)
    wanted = measured(x, t)
    torch.set_num_threads(threads)
    try:
        assert all(torch.equal(a, b) for a, b in zip(measured(x, t), wanted, strict=True))
    finally:
        torch.set_num_threads(before)


BAD = [
    ((2, 3), {}, r"input must have shape \(N, C, H, W\) or"),
    ((3, 12, 12), {}, r"try input.unsqueeze\(0\)"),
    ((1, 1, 12, 10), {}, "at least 11 along each axis: try window_size=10"),
    ((1, 1, 100, 100), {"multi_scale": True}, "at least 176 along each axis: try window_size=6 or multi_scale=False"),
    ((1, 1, 12, 12), {"data_range": 0.0}, "data_range must be > 0"),
    ((1, 1, 12, 12), {"sigma": 2.0, "window": "uniform"}, "leave sigma out"),
    ((1, 1, 12, 12), {"window_size": 0}, "window_size must be >= 1"),
    ((1, 1, 12, 12), {"window_size": 4, "sigma": 0.001}, "try window_size=5"),
    ((4, 3, 12, 12), {"sample_weight": torch.ones(4)}, r"try sample_weight.reshape\(-1, 1\)"),
]


@pytest.mark.parametrize(("shape", "settings", "message"), BAD)
def test_bad_input(shape, settings, message):
    with pytest.raises(ValueError, match=message):
        losskit.ssim_loss(torch.rand(shape), torch.rand(shape), **{"data_range": 1.0} | settings)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own
@pytest.mark.thorough
@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize(
    "settings",
    [{}, {"mask": torch.arange(40)[:, None] < 33, "sample_weight": torch.tensor([[1.0, 0.0], [0.5, 2.0]])}, {"window_size": 2, "multi_scale": True}],
    ids=("plain", "mask", "scales"),
)
def test_compiled(function, settings):
    x, t = pictures(2, 2, 40, 36)
    compiled = torch.compile(lambda a, b, **more: function(a, b, **more), fullgraph=True, backend="eager")
    for got, wanted in zip(measured(x, t, compiled, **settings), measured(x, t, function, **settings), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-8)


def test_in_space():
    x, t = pictures(1, 1, 6, 7, 6, dtype=torch.float64)
    mask = torch.ones(6, 7, 6, dtype=torch.bool)
    mask[0] = False
    assert torch.autograd.gradcheck(lambda a: losskit.ssim_loss(a, t, data_range=1.0, window_size=5, mask=mask), (x.requires_grad_(),))
    flat = t[..., :1].expand_as(t)  # alike along the last axis: what one of its planes is
    plane = losskit.ssim_loss(x[..., 0].detach(), t[..., 0], data_range=1.0, window_size=5)
    torch.testing.assert_close(losskit.ssim_loss(x[..., :1].detach().expand_as(x), flat, data_range=1.0, window_size=5), plane)


@claim("ssim_loss", "Values a billion billion times `data_range` overflow")
def test_overflow():
    x, t = pictures(1, 1, 12, 12)
    assert losskit.ssim_loss(x * 1e20, t, data_range=1.0).isnan()
    torch.testing.assert_close(losskit.ssim_loss(x * 1e30, t * 1e30, data_range=1e30), losskit.ssim_loss(x, t, data_range=1.0), rtol=1e-5, atol=0)


def test_less_is_kept_than_by_a_composite():
    """Input and target, no map beside them but the gradient."""
    x, t = pictures(2, 3, 64, 64)
    sizes: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda y: (sizes.__setitem__(y.data_ptr(), y.nbytes), y)[1], lambda y: y):
        losskit.ssim_loss(x.requires_grad_(), t, data_range=1.0)
    assert sum(sizes.values()) <= x.nbytes + t.nbytes + 1024
