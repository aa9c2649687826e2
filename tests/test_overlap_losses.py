"""The formulas of overlap losses: derivatives, edges, identities; compounds in one pass and apart; the boundary loss."""

import contextlib
import itertools

import mpmath
import pytest
import torch

import losskit
from losskit.contract.patterns import OVERLAP_HANDLING
from losskit.engines.torch.elementwise import bound
from losskit.losses.segmentation import focal_tversky, log_cosh_dice, mcc, tversky

ENGINES = ("cpu", "torch")


def engine_of(name, plain):
    """An engine forced; but a call that is made of PyTorch operations in part (`plain`) takes what losskit chooses."""
    return contextlib.nullcontext() if plain and name == "cpu" else losskit.use_engine(name)


POINTS = [  # intersection, prediction, target, count
    (3.0, 5.5, 4.0, 20.0),
    (0.25, 1e-6, 4.0, 20.0),
    (0.0, 3.0, 4.0, 20.0),
    (4.0, 4.0, 4.0, 20.0),  # perfect
    (4.0 - 1e-9, 4.0, 4.0, 20.0),
    (1e8 - 3.0, 1e8, 1e8 + 7.0, 1e9),
    (0.0, 0.0, 4.0, 20.0),  # nothing found
    (0.0, 3.0, 0.0, 20.0),  # nothing there
    (0.0, 0.0, 0.0, 20.0),  # neither
    (4.0, 20.0, 4.0, 20.0),  # everything found
    (3.0, 3.0, 20.0, 20.0),  # everything there
    (20.0, 20.0, 20.0, 20.0),  # both
]
FORMULAS = [
    (tversky.formula, (0.3, 0.7, 0.0, 0.0)),
    (tversky.formula, (1.0, 1.0, 1.0, 1.0)),
    (focal_tversky.formula, (0.75, 0.3, 0.7, 0.0, 0.0)),
    (focal_tversky.formula, (0.75, 0.3, 0.7, 1.0, 1.0)),
    (focal_tversky.formula, (1.5, 0.5, 0.5, 0.0, 1e-3)),
    (log_cosh_dice.formula, (0.5, 0.5, 0.0, 0.0)),
    (log_cosh_dice.formula, (0.5, 0.5, 0.5, 0.5)),
    (mcc.formula, (0.0, 0.0)),
    (mcc.formula, (1.0, 1.0)),
    (mcc.formula, (0.0, 1e-3)),
]


def values(formula, params, sums):
    """Value and derivatives on float64 tensors, and autograd's derivatives of the value."""
    leaves = [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in sums]
    value, *given = bound(formula)(*leaves, *params)
    own = torch.autograd.grad(value, leaves[:3], allow_unused=True) if value.requires_grad else (None,) * 3
    return value, [torch.as_tensor(g, dtype=torch.float64) for g in given], [torch.zeros(()).double() if g is None else g for g in own]


@pytest.mark.parametrize("sums", POINTS, ids=str)
@pytest.mark.parametrize(("formula", "params"), FORMULAS, ids=lambda x: x.__module__.rpartition(".")[2] if callable(x) else str(x))
def test_a_formulas_derivatives_are_those_of_its_value(formula, params, sums):
    value, given, own = values(formula, params, sums)
    assert value.isfinite()
    for a, b in zip(given, own, strict=True):
        assert a.isfinite() and b.isfinite()
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-14)


BOOKS = [
    ("jaccard_loss", {"smooth": 0.0}),
    ("jaccard_loss", {"smooth": (0.5, 1.0)}),
    ("focal_tversky_loss", {"smooth": 0.0}),
    ("focal_tversky_loss", {"gamma": 0.5, "alpha": 0.5, "beta": 0.5, "smooth": 1e-3}),
    ("log_cosh_dice_loss", {"smooth": 0.0}),
    ("mcc_loss", {}),
    ("mcc_loss", {"smooth": 2.0}),
]
INSIDE = [p for p in POINTS if 0 < p[0] < min(p[1], p[2]) and max(p[1], p[2]) < p[3]]


def described(name, settings):
    """The formula that a loss runs, and its parameters."""
    loss, seen = losskit.LOSSES[name], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(loss.function.__globals__, "overlap_loss", lambda formula, params, *a, **k: seen.append((formula, params)))
        loss.function(None, None, task="binary", **settings)
    return seen[0]


@pytest.mark.parametrize("sums", POINTS, ids=str)
@pytest.mark.parametrize(("name", "settings"), BOOKS, ids=str)
def test_formulas_against_the_textbook(name, settings, sums):
    loss = losskit.LOSSES[name]
    value, given, _ = values(*described(name, settings), sums)
    own = {k: v for k, v in (loss.settings | settings).items() if k not in OVERLAP_HANDLING}
    with mpmath.mp.workdps(60):
        arguments = [mpmath.mpf(v) for v in sums]
        assert abs(value.item() - loss.textbook(mpmath.mp, *arguments, **own)) <= 1e-12
        for place, slope in enumerate(given if sums in INSIDE else ()):

            def book(v):
                return loss.textbook(mpmath.mp, *arguments[:place], v, *arguments[place + 1 :], **own)  # noqa: B023

            exact = mpmath.diff(book, arguments[place], h=mpmath.mpf(10) ** -25)
            assert slope.item() == pytest.approx(float(exact), rel=1e-6, abs=1e-14)


def hard(n, c, items, seed=0, classes=None):
    draw = torch.Generator().manual_seed(seed)
    x = 2.0 * torch.randn(n, c, *items, generator=draw)
    return x.requires_grad_(), torch.randint(0, classes or c, (n, *items), generator=draw)


def grad(value, x):
    return torch.autograd.grad(value, x)[0]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("more", [{}, {"over": "batch", "empty": "mass"}, {"average": "micro", "over": "batch", "smooth": 0.0}], ids=str)
def test_identities(engine, more):
    x, t = hard(3, 4, (5, 7))
    common = dict(task="multiclass") | more
    with losskit.use_engine(engine):
        dice, jaccard = losskit.dice_score(x, t, **common), losskit.jaccard_score(x, t, **common)
        each = common | {"average": "none"} if more.get("average") != "micro" else common
        d, j = losskit.dice_score(x, t, **each), losskit.jaccard_score(x, t, **each)
        if common.get("empty") != "mass":
            torch.testing.assert_close(j, d / (2 - d))
        assert jaccard.item() < dice.item()
        torch.testing.assert_close(losskit.jaccard_loss(x, t, **common), losskit.tversky_loss(x, t, alpha=1.0, beta=1.0, **common))
        first = losskit.focal_tversky_loss(x, t, gamma=1.0, **common)
        torch.testing.assert_close(first, losskit.tversky_loss(x, t, alpha=0.3, beta=0.7, **common))
        losses = losskit.dice_loss(x, t, **each)
        if common.get("empty") != "mass":
            torch.testing.assert_close(losskit.log_cosh_dice_loss(x, t, **each), losses.double().cosh().log().float(), rtol=1e-5, atol=1e-7)


def test_mcc_is_the_correlation():
    x, t = hard(1, 1, (40,), classes=2)
    p = torch.sigmoid(x[0, 0].double())
    with losskit.use_engine("torch"):
        whole = losskit.mcc_loss((p > 0.5).float()[None], t, task="binary", from_logits=False)
    truth = torch.corrcoef(torch.stack([(p > 0.5).double(), t[0].double()]))[0, 1]
    assert whole.item() == pytest.approx(1 - truth.item(), abs=1e-6)


def test_a_loss_of_exactly_nothing_has_a_finite_gradient():
    p = torch.tensor([[1.0, 1.0, 0.0]], requires_grad=True)
    for engine in ENGINES:
        for gamma in (0.3, 0.75, 2.0):
            with losskit.use_engine(engine):
                value = losskit.focal_tversky_loss(p, torch.tensor([[1, 1, 0]]), task="binary", gamma=gamma, from_logits=False)
            assert value == 0 and not grad(value, p).any()


@pytest.mark.parametrize("weights", ["square", "simple", "uniform"])
@pytest.mark.parametrize("over", ["sample", "batch"])
def test_generalized_dice_against_the_textbook(weights, over):
    x, t = hard(2, 4, (30,), classes=3)  # the last class is absent
    p = x.detach().double().softmax(1)
    hit = torch.nn.functional.one_hot(t, 4).movedim(-1, 1).double()
    i, p, t_mass = ((v.sum(-1) if over == "sample" else v.sum((0, -1))[None]) for v in (p * hit, p, hit))
    loss = losskit.LOSSES["generalized_dice_loss"]
    with mpmath.mp.workdps(30):
        book = [loss.textbook(mpmath.mp, *([mpmath.mpf(v) for v in s.tolist()] for s in row), 30, weights, 0.0) for row in zip(i, p, t_mass, strict=True)]
    for engine in ENGINES:
        with losskit.use_engine(engine):
            value = losskit.generalized_dice_loss(x, t, task="multiclass", volume_weight=weights, over=over)
        assert value.item() == pytest.approx(float(sum(book) / len(book)), rel=1e-6)


COMPOUNDS = [
    ("dice_ce_loss", {"dice_weight": 0.5, "ce_weight": 2.0}),
    ("dice_focal_loss", {"dice_weight": 0.5, "focal_weight": 2.0}),
    ("dice_focal_loss", {"gamma": 0.0, "alpha": 0.25}),
    ("dice_focal_loss", {"gamma": 1.5, "alpha": 0.75}),
]


def apart(name, settings, x, t, task, **more):
    """The two losses by the public functions, weighed and added."""
    handled = ("weight", "mask", "ignore_index", "from_logits")
    common = {k: more[k] for k in handled if k in more}
    first = losskit.dice_loss(x, t, task=task, **more)
    multiclass = task == "multiclass"
    if not multiclass:
        kept = t != common.pop("ignore_index", -100)
        mask = common.pop("mask", None)
        common["mask"] = kept if mask is None else kept & mask
        if "weight" in common:
            common["weight"] = common["weight"][:, None]
    if name == "dice_ce_loss":
        if multiclass:
            second = losskit.cross_entropy(x, t, **common)
        else:
            of = losskit.binary_cross_entropy_with_logits if common.pop("from_logits", True) else losskit.binary_cross_entropy
            second = of(x, t, **common)
        return settings.get("dice_weight", 1.0) * first + settings.get("ce_weight", 1.0) * second
    common.pop("weight", None)
    own = {k: settings[k] for k in ("gamma", "alpha") if k in settings}
    second = losskit.focal_loss(x, t, task=task if multiclass else "binary", **own, **common)
    return settings.get("dice_weight", 1.0) * first + settings.get("focal_weight", 1.0) * second


# one pass of each second loss is compiled (its own formulas are compiled for its own laws); of probabilities and of soft labels the two are apart
ONE_PASS = COMPOUNDS[0], COMPOUNDS[3]
IN_PIECES = [("dice_ce_loss", "multiclass", False), ("dice_ce_loss", "soft", True)]
ONE_BY_ONE = [
    (name, settings, task, from_logits, engine)
    for engine in ENGINES
    for name, settings in COMPOUNDS
    for task in ("multiclass", "multilabel", "soft")
    for from_logits in (True, False)
    if not (name == "dice_focal_loss" and task == "soft" and from_logits)
    and (engine == "torch" or (from_logits and task != "soft" and (name, settings) in ONE_PASS) or (name, task, from_logits) in IN_PIECES)
]


@pytest.mark.parametrize(("name", "settings", "task", "from_logits", "engine"), ONE_BY_ONE, ids=str)
def test_compounds_are_the_sum_of_their_parts(name, settings, task, from_logits, engine):
    x, t = hard(3, 4, (9,))
    t[0, :3] = 7  # ignored
    mask = torch.arange(9).expand(3, 9) != 4
    if task == "soft":
        t = torch.rand(3, 4, 9, generator=torch.Generator().manual_seed(1)).softmax(1)
    elif task == "multilabel":
        t = (torch.rand(3, 4, 9, generator=torch.Generator().manual_seed(1)) < 0.4).long()
        t[0, 1, :3] = 7
        mask = mask[:, None].expand(3, 4, 9)
    if not from_logits:
        x = (x.softmax(1) if task != "multilabel" else x.sigmoid()).detach().requires_grad_()
    task = "multiclass" if task == "soft" else task
    more = dict(mask=mask, ignore_index=-100 if t.is_floating_point() else 7, from_logits=from_logits)
    if name == "dice_ce_loss":
        more["weight"] = torch.tensor([0.5, 2.0, 1.0, 1.5])
    with engine_of(engine, plain=not from_logits):
        value, parts = losskit.LOSSES[name].function(x, t, task=task, return_parts=True, **settings, **more)
    with losskit.use_engine("torch"):
        expected = apart(name, settings, x, t, task, **more)
    torch.testing.assert_close(value, expected, rtol=2e-6, atol=1e-7)
    torch.testing.assert_close(grad(value * 1.7, x), grad(expected * 1.7, x), rtol=1e-5, atol=1e-8)
    first, second = parts
    weights = [settings.get(k, 1.0) for k in ("dice_weight", "ce_weight" if name == "dice_ce_loss" else "focal_weight")]
    torch.testing.assert_close(weights[0] * first + weights[1] * second, value.detach(), rtol=2e-6, atol=1e-7)
    assert not first.requires_grad and first.dtype is torch.float32


def on_a_rank(rank, path):
    """Each rank has a part of the batch: the loss is that of all, the gradient that of all by its own part.

    In PyTorch operations: ranks join sums, which every engine hands over alike (for loops see test_overlap_distributed.py).
    """
    torch.distributed.init_process_group("gloo", init_method=f"file://{path}", rank=rank, world_size=2)
    part = slice(0, 1) if rank == 0 else slice(1, 3)
    for name, over in itertools.product(("dice_ce_loss", "dice_focal_loss"), ("sample", "batch")):
        for from_logits, soft in ((True, False), (False, False), (True, True)):  # in one pass; apart, of probabilities; apart, of soft labels
            x, t = hard(3, 4, (9,))
            t[0, :3] = -100
            x = (x if from_logits else x.softmax(1)).detach().requires_grad_()
            target = t if not soft else torch.nn.functional.one_hot(t.clamp(min=0), 4).movedim(-1, 1) * 1.0
            function = losskit.LOSSES[name].function
            more = dict(task="multiclass", from_logits=from_logits, over=over, weight=torch.tensor([0.5, 2.0, 1.0, 1.5]))
            own = x.detach()[part].requires_grad_()
            with losskit.use_engine("torch"):
                expected = function(x, target, **more)
                value, parts = function(own, target[part], process_group=torch.distributed.group.WORLD, return_parts=True, **more)
            torch.testing.assert_close(value, expected)
            torch.testing.assert_close(sum(parts), expected.detach())
            torch.testing.assert_close(grad(value, own), grad(expected, x)[part])
    torch.distributed.destroy_process_group()


@pytest.mark.thorough
def test_compounds_over_ranks(tmp_path):
    torch.multiprocessing.spawn(on_a_rank, (str(tmp_path / "meeting"),), nprocs=2)


@pytest.mark.sparse(2)
@pytest.mark.parametrize(("from_logits", "engine"), [(True, "torch"), (False, "torch"), (True, "cpu")], ids=["logits", "probabilities", "one pass"])
@pytest.mark.parametrize("name", ["dice_ce_loss", "dice_focal_loss"])
def test_compounds_along_another_axis(name, from_logits, engine):
    x = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(3)).sigmoid().requires_grad_()
    t, mask, function = (x > 0.6).long(), torch.rand(2, 5) < 0.7, losskit.LOSSES[name].function
    for task in ("multilabel", "multiclass"):
        if task == "multiclass":
            x, t = (x / x.sum(1, keepdim=True)).detach().requires_grad_(), t.argmax(1)
        more = dict(task=task, from_logits=from_logits, weight=torch.tensor([1.0, 2.0, 0.5]), mask=mask)
        with engine_of(engine, plain=not from_logits):
            value = function(x, t, **more)
            other = function(x.movedim(1, -1), t if task == "multiclass" else t.movedim(1, -1), dim=-1, **more)
        torch.testing.assert_close(other, value)
        torch.testing.assert_close(grad(other, x), grad(value, x))


@pytest.mark.parametrize("engine", ENGINES)
def test_soft_focal_targets_are_the_expected_loss(engine):
    x, t = hard(2, 3, (5,))
    hit = torch.nn.functional.one_hot(t, 3).movedim(-1, 1)
    settings = {"task": "multiclass", "gamma": 1.5, "alpha": torch.tensor([1.0, 2.0, 0.5])}
    with losskit.use_engine(engine):
        labels = losskit.dice_focal_loss(x, t, **settings)
    with losskit.use_engine("torch"):
        soft = losskit.dice_focal_loss(x, hit, **settings)
    torch.testing.assert_close(labels, soft)
    torch.testing.assert_close(grad(labels, x), grad(soft, x))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", ["dice_ce_loss", "dice_focal_loss"])
def test_nothing_counts_in_a_compound(name, engine):
    for from_logits in (True, False) if engine == "torch" else (True,):
        x, t = torch.full((2, 3, 4), 1 / 3, requires_grad=True), torch.full((2, 4), -100)
        with engine_of(engine, plain=not from_logits):
            value = losskit.LOSSES[name].function(x, t, task="multiclass", from_logits=from_logits)
        assert value == 0 and not grad(value, x).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, t: losskit.dice_ce_loss(x, t, task="multiclass", average="none"), 'average="none"'),
        (lambda x, t: losskit.dice_ce_loss(x, t, task="multiclass", ce_weight=-1.0), "ce_weight must be >= 0"),
        (lambda x, t: losskit.focal_tversky_loss(x, t, task="multiclass", gamma=0.0), "gamma must be > 0"),
        (lambda x, t: losskit.generalized_dice_loss(x, t, task="multiclass", volume_weight="cube"), "volume_weight must be one of"),
        (lambda x, t: losskit.boundary_loss(x, x, task="multilabel", background=False), "background=False leaves out class 0"),
        (lambda x, t: losskit.boundary_loss(x[:, :1], x[:, :1], task="multiclass"), "has one class along axis 1"),
        (lambda x, t: losskit.overlap_sums(x, t, task="multiclass", extra="dice"), "extra must be one of"),
        (lambda x, t: losskit.overlap_sums(x.softmax(1), t, task="multiclass", from_logits=False, extra="focal"), "from_logits is False"),
        (lambda x, t: losskit.overlap_sums(x, x.softmax(1), task="multiclass", extra="focal"), "needs class labels"),
        (lambda x, t: losskit.overlap_sums(x, 3 * x.sigmoid(), task="multilabel"), r"target must lie in \[0, 1\]"),
    ],
)
@pytest.mark.parametrize("engine", ENGINES)
def test_bad_arguments(call, message, engine):
    with losskit.use_engine(engine), pytest.raises(ValueError, match=message):
        call(*hard(2, 3, (4,)))


@pytest.mark.sparse(3)
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "probabilities"])
@pytest.mark.parametrize("settings", [{"task": "binary"}, {"task": "multilabel"}, {"task": "multiclass"}, {"task": "multiclass", "background": False}], ids=str)
def test_boundary_loss(settings, from_logits, reduction, engine):
    draw = torch.Generator().manual_seed(0)
    x, d = 2.0 * torch.randn(2, 3, 5, generator=draw), 4.0 * torch.randn(2, 3, 5, generator=draw)
    multiclass = settings["task"] == "multiclass"
    if not from_logits:
        x = x.softmax(1) if multiclass else x.sigmoid()
    x.requires_grad_()
    d.requires_grad_()
    mask = torch.rand(2, 5 if multiclass else 1, generator=draw) < 0.7 if multiclass else torch.rand(2, 3, 5, generator=draw) < 0.7
    weight = torch.rand(2, 1, generator=draw) if multiclass else torch.rand(2, 1, 1, generator=draw)
    p = x.double() if not from_logits else x.double().softmax(1) if multiclass else x.double().sigmoid()
    each = p * d.double()
    if multiclass:
        each = (each[:, 1:] if settings.get("background") is False else each).sum(1)
    factor = (mask * weight).expand(each.shape).double()
    expected = {"none": each * factor, "sum": (each * factor).sum(), "mean": (each * factor).sum() / factor.sum()}[reduction]
    with losskit.use_engine(engine):
        value = losskit.boundary_loss(x, d, from_logits=from_logits, mask=mask, sample_weight=weight, reduction=reduction, **settings)
        if reduction == "mean":
            other = losskit.boundary_loss(x, d, from_logits=from_logits, mask=mask, sample_weight=weight, normalizer=3.0, **settings)
            torch.testing.assert_close(other, ((each * factor).sum() / 3.0).float())
    torch.testing.assert_close(value, expected.float(), rtol=1e-5, atol=1e-6)
    incoming = torch.randn(value.shape, generator=draw)
    ours, theirs = torch.autograd.grad(value, (x, d), incoming), torch.autograd.grad(expected, (x, d), incoming.double())
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
