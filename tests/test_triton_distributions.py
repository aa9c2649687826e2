"""Rows with distributions on the Triton engine against textbook expressions in float64; where it runs, as `on_triton.py` says."""

import math

import pytest
import torch
from cases import thorough, thorough_rows
from distribution_cases import INF, NAN, SHAPES, agree, by_few, by_shape, close, drawn, every, exact, found
from held import held
from on_triton import DEVICE, surroundings  # noqa: F401

from losskit.engines.call import Distributions
from losskit.engines.triton import distributions as engine
from losskit.losses.classification import cross_entropy, entropy

pytestmark = pytest.mark.filterwarnings("ignore:All-NaN slice")  # how NumPy takes the maximum under the interpreter


@by_shape
def test_agrees_with_the_textbook(shape):
    for case in every(shape[1]).values():
        agree(case, *drawn(case, shape))


@pytest.mark.parametrize("name", ["few even planes", "even planes", "even tall planes"])
def test_planes_of_even_size(name):
    """What is known of where planes begin is nothing that is known of their number."""
    case = every(SHAPES[name][1])["kl of logs"]
    agree(case, *drawn(case, SHAPES[name]))


@pytest.mark.thorough
@by_few
def test_agrees_with_the_textbook_in_float64(shape):
    for name in ("kl of logs", "js", "soft", "positions", "focal labels"):
        case = every(shape[1])[name]
        agree(case, *drawn(case, shape, torch.float64))


@by_few
def test_absent_items_get_exact_zeros_whatever_they_hold(shape):
    for number, (name, case) in enumerate(every(shape[1]).items()):
        x, t = drawn(case, shape)
        items = x.select(1, 0).shape
        absent = torch.zeros(items, dtype=torch.bool)
        absent[0] = absent[-1] = True
        absent.view(-1)[1] = False
        factor = (~absent, torch.where(absent, 0.0, torch.rand(items) + 0.5), torch.where(absent, 0.0, torch.rand(items) - 2.0).double())[number % 3]
        bad = (NAN, INF, -INF)[number % 3]
        x.movedim(1, -1)[absent] = bad
        if case.call.kind == "distribution":
            t.movedim(1, -1)[absent] = bad
        elif case.call.kind == "position":
            t[absent] = bad
        if name == "soft labels":
            t[absent], factor = -7, None
        elif name == "focal labels":
            t[absent] = 10**6
        got = agree(case._replace(call=case.call._replace(factor=factor, ignore=-7)), x, t)
        assert got.value[absent].eq(0).all() and got.lse[absent].eq(0).all()
        for g in (got.by_input, got.by_target, got.weighed_input, got.weighed_target):
            assert g is None or g.movedim(1, -1)[absent].eq(0).all()
        assert got.by_input.movedim(1, -1)[~absent].ne(0).any() or shape[1] == 1
        nothing = engine.run(case.call._replace(factor=torch.zeros(items)), (x, t), wants=(True, False))
        assert nothing.total == 0 and nothing.gradients[0].eq(0).all()


@by_few
def test_only_what_is_wanted_is_written(shape):
    for case in (every(shape[1])[name] for name in ("kl", "positions", "soft labels")):
        call, (x, t) = case.call, drawn(case, shape)
        before, soft = x.clone(), call.kind == "distribution"
        full = engine.run(call, (x, t), by_products=True, wants=(True, soft))
        each, bare = engine.run(call, (x, t), each=True), engine.run(call, (x, t))
        one = engine.run(call, (x, t), incoming=torch.tensor(1.0).expand(full.value.shape), wants=(True, False))
        assert each.value.equal(full.value) and bare.total.equal(full.total) and one.gradients[0].equal(full.gradients[0])
        assert (held(each), held(bare), held(one)) == ({"value"}, {"total"}, {"gradient 0"})
        assert x.equal(before)
        if soft:
            assert engine.run(call, (x, t), wants=(False, True)).gradients[1].equal(full.gradients[1])


@by_few
def test_labels_out_of_range_are_nan_in_their_item_only(shape):
    for name in ("soft labels", "focal labels"):
        case = every(shape[1])[name]
        x, t = drawn(case, shape)
        t.view(-1)[0], t.view(-1)[-1] = shape[1], -1
        bad = (t < 0) | (t >= shape[1])
        got, should = found(case.call, x, t), exact(case, x, torch.where(bad, 0, t))
        assert got.total.isnan() and got.value[bad].isnan().all() and got.by_input.movedim(1, -1)[bad].isnan().all()
        close(got.value[~bad], should.value[~bad], 2e-6)
        close(got.by_input.movedim(1, -1)[~bad], should.by_input.movedim(1, -1)[~bad], 2e-6)
        close(got.lse, should.lse, 2e-6)


@by_few
def test_positions_outside_are_nan_in_their_item_only_and_rounding_is_forgiven(shape):
    case, classes = every(shape[1])["positions"], shape[1]
    x, t = drawn(case, shape)
    for wrong, near in ((classes - 1 + 0.01, (classes - 1) * (1 + 2e-7)), (-0.01, -1e-7), (NAN, 0.0), (INF, 0.0), (-INF, 0.0)):
        t.view(-1)[0], t.view(-1)[-1] = wrong, near
        bad = torch.zeros(t.shape, dtype=torch.bool)
        bad.view(-1)[0] = True
        got, should = found(case.call, x, t), exact(case, x, torch.where(bad, 0.0, t.clamp(0, classes - 1)))
        assert got.total.isnan() and got.value[bad].isnan().all() and got.by_input.movedim(1, -1)[bad].isnan().all()
        close(got.value[~bad], should.value[~bad], 2e-6)
        close(got.by_input.movedim(1, -1)[~bad], should.by_input.movedim(1, -1)[~bad], 2e-6)
        close(got.lse, should.lse, 2e-6)


def test_a_small_share_of_a_bin_keeps_its_digits():
    """A position of 1e-10 beside a sure bin costs 1e-10 times the distance of the scores."""
    x = torch.zeros(1, 3)
    x[:, 0] = 60.0
    got = found(Distributions(cross_entropy.soft, (1.0, 0.0), kind="position"), x, torch.tensor([1e-10]))
    assert got.value.item() == pytest.approx(60e-10, rel=1e-6)
    assert got.by_input[0, 1].item() == pytest.approx(-1e-10, rel=1e-6)


@by_few
def test_nan_shows_in_its_item_only(shape):
    for case in (every(shape[1])[name] for name in ("js", "soft labels")):
        x, t = drawn(case, shape)
        x[1, -1] = NAN
        bad = x.isnan().any(1)
        got = found(case.call, x, t)
        assert got.value.isnan().equal(bad) and got.by_input.isnan().any(1).equal(bad)


@pytest.mark.parametrize("shape", [(3, 6), (2, 6, 2), *thorough([(1, 9000), (1, 600, 9)])], ids=str)
def test_a_score_of_minus_infinity_deletes_its_class(shape):
    classes = shape[1]
    gone = torch.arange(classes) % 3 == 1
    gone[: classes // 2] = True  # also nothing but such classes for a while
    for name, case in every(classes).items():
        if case.call.kind in ("label", "position"):
            continue
        call = case.call._replace(weight=None, square=0.0, link=case.call.link if case.call.shift else None)
        if name == "soft":
            call = call._replace(params=(1.0, 0.0))
        x, t = drawn(case, shape)
        fewer = x[:, ~gone], t
        x[:, gone] = -INF
        if call.kind == "distribution":
            t[:, gone] = -INF if name == "kl of logs" else 0.0
            fewer = x[:, ~gone], t[:, ~gone]
        wanted = {"wants": (True, call.kind == "distribution"), "by_products": True}
        got, should = engine.run(call, (x, t), **wanted), engine.run(call, (*(v.contiguous() for v in fewer),), **wanted)
        assert got.gradients[0][:, gone].eq(0).all()
        close(got.value, should.value, 2e-6)
        close(got.lse, should.lse, 2e-6)
        close(got.gradients[0][:, ~gone], should.gradients[0], 2e-6)
        if call.kind == "distribution":
            close(got.gradients[1][:, ~gone], should.gradients[1], 2e-6)
    assert engine.run(call, (torch.full(shape, -INF), t), each=True).value.isnan().all()


def test_an_infinite_score_is_read_as_the_largest_number():
    for shape in ((3, 6), (2, 5000)):
        for name in ("kl", "entropy"):
            case = every(shape[1])[name]
            call = case.call if case.call.shift else case.call._replace(link=None, square=0.0)
            x, t = drawn(case, shape)
            x[0, 1] = x[1, 2] = x[1, 4] = INF
            got, should = found(call, x, t), found(call, x.clamp(max=torch.finfo(x.dtype).max), t)
            for g, e in zip(got, should, strict=True):
                torch.testing.assert_close(g, e, rtol=0, atol=0, equal_nan=True)
            if name == "entropy":
                torch.testing.assert_close(got.value[:2].reshape(2, -1)[:, 0], torch.tensor([0.0, math.log(2)]))


@pytest.mark.parametrize("dtype", [torch.float32, *thorough([torch.float64])])
def test_confident_items_keep_their_digits(dtype):
    for shape in ((4, 10), (1, 5000), (2, 10, 3), (1, 300, 9)):
        x = torch.zeros(shape, dtype=dtype)
        x[:, 3] = 40.0
        others = (shape[1] - 1) * math.exp(-40.0)
        t = torch.zeros_like(x)
        t[:, 3] = 1.0
        got = found(Distributions(cross_entropy.soft, (1.0, 0.0)), x, t)
        torch.testing.assert_close(got.value, torch.full_like(got.value, others), rtol=1e-6, atol=0)
        torch.testing.assert_close(got.by_input[:, 3], torch.full_like(got.value, -others), rtol=1e-6, atol=0)
        got = found(Distributions(entropy.formula, kind="none"), x, torch.empty(0))
        torch.testing.assert_close(got.value, torch.full_like(got.value, 41 * others), rtol=1e-6, atol=0)
        torch.testing.assert_close(got.by_input[:, 3], torch.full_like(got.value, -40 * others), rtol=1e-6, atol=0)


def test_rising_scores_and_equal_ones():
    """A new largest score in every block; or the first of equal ones, which counts once."""
    for shape in ((1, 9000), (1, 600, 9)):
        rising = torch.linspace(-60, 60, shape[1]).reshape(1, -1, *(1,) * (len(shape) - 2)).expand(shape).contiguous()
        for x in (rising, rising.flip(1), rising.round().clamp(max=3.0)):
            case = every(shape[1])["kl" if x is rising else "entropy"]
            agree(case, x, drawn(case, shape)[1], 8e-6)  # differences of scores near 120, rounded


LAYOUTS = {
    "channels last": (lambda: torch.empty(2, 5, 3, 4, memory_format=torch.channels_last), 1),
    "transposed": (lambda: torch.empty(10, 7).T, 1),
    "transposed image": (lambda: torch.empty(2, 5, 3, 4).transpose(2, 3), 1),
    "with gaps": (lambda: torch.empty(7, 10, 2)[..., 0], 1),
    "classes first": (lambda: torch.empty(10, 7), 0),
    "classes last": (lambda: torch.empty(3, 4, 10), 2),
    "one item": (lambda: torch.empty(10), 0),
}


@pytest.mark.sparse(4)
@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name):
    make, dim = LAYOUTS[name]
    like = make()
    for case in (every(like.shape[dim])[name] for name in ("soft", "soft labels", "positions", "entropy")):
        case = case._replace(call=case.call._replace(dim=dim))
        x, t = drawn(case, tuple(like.shape))
        lying = like.copy_(x)
        got = agree(case, lying, t)  # the target lies otherwise
        items = tuple(got.value.shape)
        again = agree(case, x, torch.empty_like(like).copy_(t) if t.shape == like.shape else t.clone())
        torch.testing.assert_close(got.value, again.value)
        if items and t.shape != (0,):
            factor = torch.rand(items[::-1]).permute(*range(len(items))[::-1])
            agree(case._replace(call=case.call._replace(factor=factor)), lying, t.transpose(0, -1).contiguous().transpose(0, -1))
    assert engine.run(every(5)["js"].call, (torch.zeros(2, 5).T.contiguous().T, torch.ones(1, 5).expand(2, 5)), wants=(False, True)).gradients[1].shape == (
        2,
        5,
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, *thorough([torch.float16])])
@by_few
def test_half_precision(shape, dtype):
    for case in (every(shape[1])[name] for name in ("kl", "js", "positions", "focal labels")):
        x, t = drawn(case, shape, dtype)
        agree(case, x, t, rounded=torch.finfo(dtype).eps)  # the interpreter cuts bfloat16 off


def test_input_and_target_of_different_dtypes():
    """Not float64 and bfloat16: GPUs write the one as the other, the interpreter does not."""
    half, brain, single, double = torch.float16, torch.bfloat16, torch.float32, torch.float64
    case = every(5)["soft"]
    x, t = drawn(case, (2, 5, 4))
    for a, b in ((half, single), (single, half), (brain, half), (brain, single), (single, brain), (single, double), (double, half), (brain, double)):
        got = found(case.call, x.to(a), t.to(b))
        should = exact(case, x.to(a), t.to(b))
        assert got.by_input.dtype is a and got.by_target.dtype is b and got.value.dtype is (double if a is double else single)
        close(got.value, should.value, 2e-6)
        close(got.by_input, should.by_input, 2e-6, torch.finfo(a).eps)
        close(got.by_target, should.by_target, 2e-6, torch.finfo(b).eps)


@pytest.mark.parametrize("scale", [0.25, torch.tensor(0.0), *thorough([torch.tensor(0.25), torch.tensor(0.25, dtype=torch.float64), 0.0])], ids=str)
def test_scale(scale):
    scale = scale.to(DEVICE) if isinstance(scale, torch.Tensor) else scale
    for shape in ((3, 10), (2, 5000), (2, 5, 3, 4)):
        case = every(shape[1])["soft"]
        x, t = drawn(case, shape)
        if scale == 0:
            x[0], t[-1] = NAN, INF
        got = engine.run(case.call, (x, t), scale=scale, wants=(True, True))
        if scale == 0:
            assert got.total == 0 and got.gradients[0].eq(0).all() and got.gradients[1].eq(0).all()
            continue
        should = exact(case, x, t)
        for g, e in ((got.total, should.total), (got.gradients[0], should.by_input), (got.gradients[1], should.by_target)):
            close(g, 0.25 * e, 2e-6)


@pytest.mark.parametrize(("shape", "scale"), [((3, 10), 0.5), ((2, 5, 3, 4), torch.tensor(0.5)), *thorough_rows([((2, 5000), 0.5)])], ids=str)
def test_rescaled(shape, scale):
    scale = scale.to(DEVICE) if isinstance(scale, torch.Tensor) else scale
    for name in ("soft", "soft labels"):
        case = every(shape[1])[name]
        (x, t), soft = drawn(case, shape), case.call.kind == "distribution"
        should = exact(case, x, t)
        given = engine.run(case.call, (x, t), scale=scale, wants=(True, soft))
        for factor in (1.0, -3.0):
            marked = given.gradients[0].clone()
            marked[0, 0] = 7.0  # a mark: nothing is written for a factor of 1
            by_target = given.gradients[1].clone() if soft else None
            got = engine.rescaled((marked, by_target), torch.tensor(factor), case.call, (x, t), scale, (True, soft))
            assert got[0] is marked and got[1] is by_target and marked[0, 0].eq(7.0).all() == (factor == 1.0)
            again = engine.rescaled(None, torch.tensor(factor), case.call, (x, t), scale, (True, soft))
            for g, e in (*zip(again, (should.by_input, should.by_target), strict=True), (got[1], should.by_target)):
                if g is not None:
                    close(g, e * (0.5 * factor), 2e-6)
            if factor != 1.0:
                torch.testing.assert_close(marked, again[0])


def test_half_precision_gradients_do_not_underflow_under_loss_scaling():
    case = every(100)["kl"]
    x, t = drawn(case, (16, 100), torch.float16)
    given = engine.run(case.call, (x, t), scale=1e-6, wants=(True, False)).gradients[0], None
    got, _ = engine.rescaled(given, torch.tensor(2.0**16), case.call, (x, t), 1e-6, (True, False))
    torch.testing.assert_close(got.double(), exact(case, x, t).by_input * 1e-6 * 2.0**16, rtol=1e-3, atol=1.2e-7)


def test_no_items():
    for shape in ((0, 10), (0, 5, 3), (2, 5, 0)):
        items = shape[0], *shape[2:]
        for case in every(shape[1]).values():
            soft = case.call.kind == "distribution"
            x, t = torch.empty(shape), torch.empty(shape if soft else items, dtype=torch.float32 if soft else torch.int64)
            got = engine.run(case.call, (x, t), by_products=True, wants=(True, soft))
            assert got.total == 0 and got.gradients[0].shape == shape and got.value.shape == got.lse.shape == items
            engine.run(case.call, (x, t), incoming=torch.ones(()).expand(items), wants=(True, False))
            given = got.gradients[0], got.gradients[1]
            assert engine.rescaled(given, torch.tensor(2.0), case.call, (x, t), 1.0, (True, soft)) is given


def test_same_bits_every_time():
    for shape in ((600, 10), (2, 5000), (2, 19, 12, 12)):
        case = every(shape[1])["js"]
        x, t = drawn(case, shape)
        a, b = (engine.run(case.call, (x, t), wants=(True, True)) for _ in range(2))
        assert a.total.equal(b.total) and a.gradients[0].equal(b.gradients[0]) and a.gradients[1].equal(b.gradients[1])
