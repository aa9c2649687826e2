"""Bad input: each error's type and message; nothing is changed, nothing crashes."""

import contextlib
import math

import pytest
import torch

import losskit

X, T = torch.zeros(2, 3), torch.ones(2, 3)
P = torch.full((2, 3), 0.5)
INF, NAN = math.inf, math.nan
bce, focal, l1, smooth, huber = losskit.binary_cross_entropy_with_logits, losskit.focal_loss, losskit.l1_loss, losskit.smooth_l1_loss, losskit.huber_loss

BAD = [
    # shapes: the message shows both, and the one-line fix
    (l1, (X, T[:1]), {}, ValueError, r"target has shape \(1, 3\) but input has shape \(2, 3\).*nothing is broadcast. Try target.expand_as\(input\)"),
    (l1, (X.reshape(6, 1), T.reshape(6)), {}, ValueError, r"target has shape \(6,\) but input has shape \(6, 1\).*Try target.unsqueeze\(1\)"),
    (losskit.balanced_l1_loss, (X, T), {"alpha": 0.01}, ValueError, "gamma must be at most 80 times alpha, got gamma=1.5 and alpha=0.01"),
    (losskit.wing_loss, (X, T), {"epsilon": 0.0}, ValueError, "epsilon must be > 0, got 0.0"),
    (l1, (X.reshape(6), T.reshape(6, 1)), {}, ValueError, r"Try target.squeeze\(1\)"),
    (l1, (X, T.reshape(3, 2)), {}, ValueError, r"Try target.movedim\(0, 1\), if its axes are in another order"),
    (l1, (X, T.reshape(6)), {}, ValueError, r"Try target.reshape\(input.shape\)"),
    (l1, (X, torch.ones(5)), {}, ValueError, "Check that both come from the same batch"),
    (l1, (X[0, 0], T[0]), {}, ValueError, r"input has shape \(\)"),
    # not tensors, wrong dtypes
    (l1, ([1.0, 2.0], T), {}, TypeError, r"input must be a torch.Tensor, got list: try torch.as_tensor\(input\)"),
    (l1, (X, [[1.0]]), {}, TypeError, "target must be a torch.Tensor, got list"),
    (
        l1,
        (X.long(), T),
        {},
        TypeError,
        r"input must be a floating-point tensor, got torch.int64, and target is torch.float32: if they are swapped, exchange them; else try input.float\(\)",
    ),
    (l1, (X.to(torch.complex64), T), {}, TypeError, "input must be a real tensor, got torch.complex64"),
    (l1, (X, T.to(torch.complex64)), {}, TypeError, "target must be a real tensor, got torch.complex64"),
    (l1, (X.to_sparse(), T), {}, TypeError, r"input must be a dense tensor, got layout torch.sparse_coo: try input.to_dense\(\)"),
    (l1, (X, T.to_sparse()), {}, TypeError, r"target must be a dense tensor, got layout torch.sparse_coo: try target.to_dense\(\)"),
    (l1, (X, T), {"mask": T.bool().to_sparse()}, TypeError, r"mask must be a dense tensor.*try mask.to_dense\(\)"),
    (l1, (X, T), {"sample_weight": T.to_sparse()}, TypeError, r"sample_weight must be a dense tensor.*try sample_weight.to_dense\(\)"),
    (losskit.kl_divergence, (X, (T / 3).to_sparse()), {}, TypeError, "target must be a dense tensor"),
    # reductions, normalizers
    (l1, (X, T), {"reduction": "average"}, ValueError, "reduction must be one of 'none', 'mean', 'sum'; got 'average'"),
    (l1, (X, T), {"reduction": None}, ValueError, "reduction must be one of .* got None"),
    (l1, (X, T), {"normalizer": 3.0, "reduction": "sum"}, ValueError, 'normalizer replaces the denominator of reduction="mean"'),
    (l1, (X, T), {"normalizer": 3.0, "reduction": "none"}, ValueError, "normalizer replaces the denominator"),
    (l1, (X, T), {"normalizer": -1.0}, ValueError, "normalizer must be >= 0, got -1.0"),
    (l1, (X, T), {"normalizer": NAN}, ValueError, "normalizer must not be NaN, got nan"),
    (l1, (X, T), {"normalizer": INF}, ValueError, "normalizer must be finite, got inf"),
    (l1, (X, T), {"normalizer": 1e-40}, ValueError, r"normalizer must be within float32's range \(1e-37 to 1e37\), got 1e-40"),
    (l1, (X, T), {"normalizer": torch.tensor(1e-300, dtype=torch.float64)}, ValueError, "normalizer must be within float32's range"),
    (l1, (X, T), {"normalizer": torch.ones(1)}, ValueError, r"got shape \(1,\) and torch.float32: try normalizer.squeeze\(\)"),
    (l1, (X, T), {"normalizer": torch.tensor(-2.0)}, ValueError, "normalizer must be >= 0, got -2.0"),
    (l1, (X, T), {"normalizer": torch.ones(2)}, ValueError, r"a number or a 0-d tensor, got shape \(2,\) and torch.float32: try normalizer.sum\(\)"),
    (l1, (X, T), {"normalizer": torch.tensor(2.0, requires_grad=True)}, ValueError, "normalizer must not require a gradient"),
    (l1, (X, T), {"normalizer": "positives"}, TypeError, "normalizer must be a number, got str"),
    (focal, (X, T), {"normalizer": "negatives"}, ValueError, "normalizer must be one of 'positives'; got 'negatives'"),
    # masks and weights
    (l1, (X, T), {"mask": T}, TypeError, r"mask must be a bool tensor \(True = counts\), got torch.float32: try mask.bool\(\)"),
    (l1, (X, T), {"mask": [True]}, TypeError, "mask must be a torch.Tensor, got list"),
    (l1, (X, T), {"mask": torch.ones(2, dtype=torch.bool)}, ValueError, r"mask has shape \(2,\), which does not broadcast.*try mask.reshape\(-1, 1\)"),
    (
        l1,
        (X, T),
        {"sample_weight": torch.ones(2)},
        ValueError,
        r"sample_weight has shape \(2,\), .*For one value per sample, try sample_weight.reshape\(-1, 1\)",
    ),
    (l1, (X, T), {"sample_weight": torch.ones(4)}, ValueError, r"sample_weight has shape \(4,\), which does not broadcast to the input's shape \(2, 3\)"),
    (l1, (X, T), {"sample_weight": torch.ones(1, 2, 3)}, ValueError, "which does not broadcast"),
    (l1, (X, T), {"sample_weight": torch.tensor([1.0, NAN, 1.0])}, ValueError, r"sample_weight must be finite, got nan at index \(0, 1\)"),
    (l1, (X, T), {"sample_weight": torch.tensor([1.0, INF, 1.0])}, ValueError, "sample_weight must be finite, got inf"),
    (l1, (X, T), {"sample_weight": torch.ones(3, dtype=torch.complex64)}, TypeError, "sample_weight must be a real tensor"),
    (l1, (X, T), {"sample_weight": 2.0}, TypeError, "sample_weight must be a torch.Tensor, got float"),
    (bce, (X, T), {"weight": torch.tensor([NAN])}, ValueError, "weight must be finite, got nan"),
    (
        bce,
        (X, T),
        {"pos_weight": torch.ones(2)},
        ValueError,
        r"pos_weight has shape \(2,\), and a vector holds one number per class: the input's shape \(2, 3\) has 3 along axis 1",
    ),
    (bce, (X, T), {"pos_weight": torch.ones(2, 4)}, ValueError, r"pos_weight has shape \(2, 4\), which does not broadcast"),
    (bce, (X, T), {"weight": torch.ones(2)}, ValueError, r"weight has shape \(2,\).*For one number per sample, try weight.reshape\(-1, 1\)"),
    (bce, (X, T), {"pos_weight": torch.tensor([INF])}, ValueError, "pos_weight must be finite, got inf"),
    # domains
    (bce, (X, T + 0.5), {}, ValueError, r"target must lie in \[0, 1\].* got 1.5 at index \(0, 0\): targets are probabilities or 0/1 labels"),
    (bce, (X, 2 * T.long()), {}, ValueError, r"target must lie in \[0, 1\].* got 2 at index"),
    (bce, (X, -T), {"reduction": "none"}, ValueError, r"target must lie in \[0, 1\].* got -1"),
    (focal, (X, T + 1e-5), {}, ValueError, r"target must lie in \[0, 1\]"),
    (losskit.binary_cross_entropy, (P + 1, T), {}, ValueError, r"input must lie in \[0, 1\].* got 1.5 .*for logits, call binary_cross_entropy_with_logits"),
    (focal, (P - 1, T), {"from_logits": False}, ValueError, r"input must lie in \[0, 1\].* got -0.5"),
    # numbers
    (smooth, (X, T), {"beta": -1.0}, ValueError, "beta must be >= 0, got -1.0"),
    (smooth, (X, T), {"beta": NAN}, ValueError, "beta must not be NaN, got nan"),
    (smooth, (X, T), {"beta": INF}, ValueError, "beta must be finite, got inf"),
    (smooth, (X, T), {"beta": "1"}, TypeError, "beta must be a number, a tensor or a list of numbers, got str"),
    (smooth, (X, T), {"beta": torch.tensor(1)}, TypeError, r"beta must be a floating-point tensor, got torch.int64: try beta.float\(\)"),
    (huber, (X, T), {"delta": 0.0}, ValueError, "delta must be > 0, got 0.0"),
    (losskit.charbonnier_loss, (X, T), {"eps": 0.0}, ValueError, "eps must be > 0, got 0.0"),
    (losskit.quantile_loss, (X, T), {"quantile": 1.0}, ValueError, "quantile must be > 0 and < 1, got 1.0"),
    (losskit.quantile_loss, (X, T), {"quantile": 0.0}, ValueError, "quantile must be > 0 and < 1, got 0.0"),
    (losskit.barron_loss, (X, T), {"alpha": INF}, ValueError, "alpha must be < inf, got inf"),
    (losskit.barron_loss, (X, T), {"alpha": NAN}, ValueError, "alpha must not be NaN, got nan"),
    (losskit.barron_loss, (X, T), {"scale": 0.0}, ValueError, "scale must be > 0, got 0.0"),
    (bce, (X, T), {"label_smoothing": 1.5}, ValueError, "label_smoothing must be >= 0 and <= 1, got 1.5"),
    (focal, (X, T), {"gamma": -0.5}, ValueError, "gamma must be >= 0, got -0.5"),
    (focal, (X, T), {"gamma": 10**400}, ValueError, "gamma must be within float32's range .*got a number too large"),
    (losskit.barron_loss, (X, T), {"alpha": -(10**400)}, ValueError, "alpha must be within float32's range"),
    (focal, (X, T), {"gamma": True}, TypeError, "gamma must be a number, got bool"),
    (focal, (X, T), {"alpha": 1.5}, ValueError, "alpha must be >= 0 and <= 1, got 1.5"),
    (focal, (X, T), {"alpha": -0.1}, ValueError, "alpha must be >= 0 and <= 1, got -0.1"),
    (focal, (X, T), {"task": "multi"}, ValueError, "task must be one of 'binary', 'multilabel', 'multiclass'; got 'multi'"),
    (focal, (X[0], T[0]), {"task": "multilabel"}, ValueError, 'task="multilabel" needs an input of shape'),
]


def copied(x):
    return x.clone() if isinstance(x, torch.Tensor) else x


@pytest.mark.parametrize(("loss", "tensors", "arguments", "error", "message"), BAD, ids=[f"{b[0].__name__}-{i}" for i, b in enumerate(BAD)])
@pytest.mark.parametrize("gradient", [False, True])
def test_error(loss, tensors, arguments, error, message, gradient):
    x, t = (copied(z) for z in tensors)
    before = [copied(z) for z in (x, t)]
    if gradient and isinstance(x, torch.Tensor) and x.is_floating_point() and x.layout is torch.strided:
        x = x.requires_grad_()
    force = contextlib.nullcontext() if gradient else losskit.use_engine("torch")
    with force, pytest.raises(error, match=message):
        loss(x, t, **arguments)
    for now, then in zip((x, t), before, strict=True):
        assert torch.equal(*(z.detach().to_dense() for z in (now, then))) if isinstance(now, torch.Tensor) else now == then


def test_a_bad_value_under_the_mask_is_no_error():
    mask = torch.tensor([True, True, False])
    t = torch.tensor([[0.0, 1.0, 7.0]] * 2)
    assert torch.equal(bce(X, t, mask=mask), bce(X[:, :2], t[:, :2]))
    with pytest.raises(ValueError, match=r"got 7.0 at index \(0, 2\)"):
        bce(X, t, mask=~mask)


def test_a_bad_value_is_found_wherever_it_is():
    x, t = torch.zeros(300_000), torch.zeros(300_000)
    t[234_567] = 1.25
    with pytest.raises(ValueError, match=r"got 1.25 at index \(234567,\)"):
        bce(x, t)


def test_rounding_outside_the_unit_interval_is_read_as_its_end():
    p = torch.tensor([1 + 5e-7, -5e-7], requires_grad=True)
    value = losskit.binary_cross_entropy(p, torch.tensor([1.0, 0.0]), reduction="none")
    assert value.tolist() == [0.0, 0.0]
    assert torch.isfinite(torch.autograd.grad(value.sum(), p)[0]).all()


def test_a_nan_is_no_error():
    assert torch.isnan(bce(torch.tensor([NAN, 0.0]), torch.tensor([1.0, 1.0])))
    assert torch.isnan(bce(torch.tensor([0.0]), torch.tensor([NAN])))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3, 0, 2)])
def test_small_and_empty_shapes(shape):
    for reduction, expected in (("none", shape), ("mean", ()), ("sum", ())):
        x = torch.zeros(shape, requires_grad=True)
        value = l1(x, torch.ones(shape), reduction=reduction)
        assert value.shape == expected
        (grad,) = torch.autograd.grad(value.sum(), x)
        assert grad.shape == shape and torch.equal(grad, torch.full(shape, -1.0))


def test_validate_raises_as_usual_on_cpu():
    with losskit.validate(), pytest.raises(ValueError, match="target must lie in"):
        bce(X, T * 3)


class Named(torch.Tensor):
    """A subclass that holds its numbers as plain tensors do."""


class Wrapped(torch.Tensor):
    """A subclass without numbers of its own: it dispatches operations to a tensor inside."""

    @staticmethod
    def __new__(cls, inside):
        return torch.Tensor._make_wrapper_subclass(cls, inside.shape, dtype=inside.dtype)

    def __init__(self, inside):
        self.inside = inside

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        inner = torch.utils._pytree.tree_map_only(cls, lambda x: x.inside, (args, kwargs or {}))
        return torch.utils._pytree.tree_map_only(torch.Tensor, cls, operation(*inner[0], **inner[1]))


def test_validate_looks_into_subclasses_that_hold_numbers():
    x, t = X.as_subclass(Named), (3 * T).as_subclass(Named)
    assert bce(x, t).isnan()
    with losskit.validate():
        with pytest.raises(ValueError, match=r"target must lie in \[0, 1\].* got 3.0 at index \(0, 0\)"):
            bce(x, t)
        with pytest.raises(ValueError, match=r"sample_weight must be finite, got nan at index \(0, 0\)"):
            l1(x, x, sample_weight=torch.full((2, 1), NAN).as_subclass(Named))
        with pytest.raises(ValueError, match="target must hold labels from 0 to 2"):
            losskit.cross_entropy(x, torch.tensor([0, 7]).as_subclass(Named))
        with pytest.raises(ValueError, match=r"normalizer must be >= 0, got -1.0"):
            l1(x, x, normalizer=torch.tensor(-1.0).as_subclass(Named))
        assert bce(x, T.as_subclass(Named)).isfinite()


def test_validate_leaves_alone_what_holds_no_numbers():
    with losskit.validate():
        assert bce(Wrapped(X), Wrapped(3 * T)).inside.isnan()
        assert torch.func.vmap(bce)(X, 3 * T).isnan().all()
