"""The suite notices: formulas, the pattern and the contract of rows are broken on purpose, one word at a time, and the laws of rows must say so.

As in `test_mutations.py` the torch engine runs what is broken: no compiled kernel of the right formula can stand in for it, and what is tested is the laws.
"""

import inspect
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from test_mutations import mutant

import losskit
from losskit.contract import distributions as soft_contract
from losskit.contract import labels, reduce
from losskit.contract import rows as contract
from losskit.contract.registry import LOSSES
from losskit.engines.torch import distributions as soft_plain
from losskit.engines.torch import rows as plain
from losskit.testing import RowSubject, examine


@pytest.fixture(autouse=True)
def plain_engine() -> Iterator[None]:
    with losskit.use_engine("torch"):
        yield


def failures(laws: tuple[str, ...], loss: str, function: Any = None, *, soft: bool = False, **settings: Any) -> set[str]:
    """Which of the laws a function breaks when it claims to be a loss."""
    facts = LOSSES[loss]
    return {f.law for f in examine(RowSubject(function or facts.function, facts, settings, soft=soft), laws) if f.verdict == "fails"}


FOCAL = {"task": "multiclass"}
WEIGHT = [0.5, 2.0, 1.0, 1.5]
BOTH = ("textbook", "error_budget")
FORMULAS: list[tuple[str, str, str, str, dict[str, Any]]] = [
    ("sign of the derivative", "cross_entropy", "return weight * nll, weight, 0.0, 0.0", "return weight * nll, -weight, 0.0, 0.0", {}),
    ("factor 2 in the value", "cross_entropy", "return weight * nll, weight, 0.0, 0.0", "return 2.0 * weight * nll, weight, 0.0, 0.0", {}),
    ("weight squared", "cross_entropy", "return weight * nll, weight, 0.0, 0.0", "return weight * nll, weight * weight, 0.0, 0.0", {"weight": WEIGHT}),
    ("smoothing not shared out", "cross_entropy", "share = smoothing / max(", "share = smoothing * 2.0 / max(", {"label_smoothing": 0.1}),
    ("the label keeps all its mass", "cross_entropy", "params = (1.0 - smoothing, square)", "params = (1.0, square)", {"label_smoothing": 0.1}),
    ("spread without a derivative", "cross_entropy", "keep * weight, 1.0, 2.0 *", "keep * weight, 0.0, 2.0 *", {"label_smoothing": 0.1}),
    ("derivative of the square", "cross_entropy", "1.0, 2.0 * square * weight * lse", "1.0, square * weight * lse", {"z_loss": 0.01}),
    ("square without weight", "cross_entropy", "+ square * weight * lse * lse", "+ square * lse * lse", {"z_loss": 0.01, "weight": WEIGHT}),
    ("slope of the cap dropped", "cross_entropy", "4.0 * e / ((1.0 + e) * (1.0 + e))", "1.0 + 0.0 * e", {"softcap": 5.0}),
    ("sign in the cap", "cross_entropy", "where(x < 0.0, -t, t)", "t", {"softcap": 5.0}),
    ("reciprocal of a probability", "cross_entropy", "-t * reciprocal(p), -log_p", "-t * p, -log_p", {"from_logits": False}),
    ("exponent", "focal_loss", "exp_product(gamma, log_floored(miss))", "exp_product(gamma + 1.0, log_floored(miss))", {**FOCAL, "gamma": 1.5}),
    ("derivative of the factor", "focal_loss", "weight * power * (1.0 + gamma * hit * ratio), 0.0", "weight * power * (1.0 + hit * ratio), 0.0", {**FOCAL, "gamma": 1.5}),
    ("factor 2 of the square", "focal_loss", "(miss + 2.0 * hit * minimum(nll, 1e30))", "(miss + hit * minimum(nll, 1e30))", {**FOCAL, "gamma": 2.0}),
    ("smoothed focal", "focal_loss", "-mass * power * (1.0 + gamma * p * ratio), where(weight", "-mass * power * (1.0 - gamma * p * ratio), where(weight", {**FOCAL, "gamma": 1.5, "label_smoothing": 0.1}),
    ("power of q forgotten", "generalized_cross_entropy", "weight * exp_product(minus_q, nll)", "weight", {"q": 0.7}),
    ("sign of q", "generalized_cross_entropy", "(-q, 1.0 / q)", "(q, 1.0 / q)", {"q": 0.7}),
    ("reverse term flat", "symmetric_cross_entropy", "(alpha + reverse * hit)", "(alpha + reverse)", {}),
    ("sign of log 0", "symmetric_cross_entropy", "-beta * log_zero)", "beta * log_zero)", {}),
    ("temperature not squared", "kl_divergence", "(number * number,)", "(number,)", {"temperature": 3.0}),
    ("slope of the temperature", "kl_divergence", "1.0 / temperature", "1.0", {"temperature": 3.0}),
    ("sign of a term", "entropy", "return part, part - p, 0.0", "return part, -part - p, 0.0", {}),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "old", "new", "settings"), [m[1:] for m in FORMULAS], ids=[m[0] for m in FORMULAS])
def test_broken_formula_is_noticed(loss: str, old: str, new: str, settings: dict[str, Any]) -> None:
    assert not failures(("textbook",), loss, **settings)
    assert failures(BOTH, loss, mutant(loss, old, new), **settings)


SOFT = [
    ("smoothing forgotten", "mass = weight * (t * keep + smooth)", "mass = weight * (t * keep)", "soft_targets"),
    ("sign to the target", "0.0, -weight * keep * logp", "0.0, weight * keep * logp", "target_gradient"),
    ("keep forgotten to the target", "0.0, -weight * keep * logp", "0.0, -weight * logp", "target_gradient"),
]


@pytest.mark.parametrize(("old", "new", "law"), [m[1:] for m in SOFT], ids=[m[0] for m in SOFT])
def test_broken_formula_of_distributions_is_noticed(old: str, new: str, law: str) -> None:
    assert not failures((law,), "cross_entropy", label_smoothing=0.1)
    assert failures((law,), "cross_entropy", mutant("cross_entropy", old, new), label_smoothing=0.1)


def rewritten(module: ModuleType, name: str, old: str, new: str) -> Any:
    """A function of a module with `old` replaced by `new`, at home in the module all the same."""
    source = inspect.getsource(getattr(module, name))
    assert source.count(old) == 1, f"{old!r} occurs {source.count(old)} times in {module.__name__}.{name}"
    made: dict[str, Any] = {}
    exec(compile(source.replace(old, new), module.__file__ or "", "exec"), module.__dict__, made)
    return made[name]


ALL = {"label_smoothing": 0.2, "z_loss": 1e-2, "softcap": 30.0, "weight": WEIGHT}
PATTERN: list[tuple[str, ModuleType, str, str, str, str, dict[str, Any]]] = [
    ("own slope from 1 - p", plain, "parts", "by_nll * miss", "by_nll * (1.0 - hit)", "error_budget", {}),
    ("own share forgotten", plain, "parts", " - own_share * by_spread", "", "textbook", {"label_smoothing": 0.1}),
    ("shares forgotten", plain, "parts", " - shares * by_spread", "", "textbook", {"label_smoothing": 0.1}),
    ("others' common part", plain, "parts", "(by_nll + common) * (e / z)", "by_nll * (e / z)", "textbook", {"z_loss": 0.01}),
    ("log-sum-exp without its maximum", plain, "parts", "spread, m + level", "spread, level", "textbook", {"z_loss": 0.01}),
    ("level of the spread", plain, "parts", " + total_share * level", "", "textbook", {"label_smoothing": 0.1}),
    ("log of the sum", plain, "parts", "torch.log1p(others + torch.expm1(-d))", "torch.log(z)", "error_budget", {}),
    ("no maximum taken out", plain, "parts", "s.detach().amax(-1, keepdim=True)", "0.0 * s.detach().amax(-1, keepdim=True)", "error_budget", {}),
    ("slope of the link dropped", plain, "parts", "gradient * bend", "gradient", "textbook", {"softcap": 5.0}),
    ("infinity less infinity", plain, "parts", "s = s.clamp(max=big)", "s = s + 0.0", "infinite_inputs", {}),
    ("softmax not applied", soft_plain, "parts", "by_log - p * whole", "by_log", "soft_targets", {}),
    ("the square dropped", soft_plain, "parts", "2.0 * weighted * p", "weighted * p", "soft_targets", {"z_loss": 0.01}),
    ("ignore skipped", plain, "prepared", "counts = t != call.ignore", "counts = t == t", "ignore_deletes", {}),
    ("absent items not harmless", plain, "prepared", "x = torch.where(counts[..., None], x, 0.0)", "x = x", "mask_deletes", {}),
    ("class axis forgotten", plain, "prepared", "x.movedim(call.dim, -1)", "x.movedim(1, -1)", "class_axis", {}),
    ("weight squared in the pattern", plain, "prepared", "else call.weight.to(real)", "else call.weight.to(real) ** 2", "textbook", {"weight": WEIGHT}),
    ("garbage times 0", plain, "weighed", "torch.where(row.counts, value if row.factor is None else value * row.factor, 0.0)", "value * row.counts", "weighted_mean", {}),
    ("ignored labels in the denominator", contract, "census", "counts = labels.kept(target, call.ignore)", "counts = target == target", "ignore_deletes", {}),
    ("the first class is the right one", plain, "by_products", "scores.argmax(-1)", "(scores.shape[-1] - 1 - scores.flip(-1).argmax(-1))", "by_products", {}),
]  # fmt: skip


@pytest.mark.parametrize(("module", "name", "old", "new", "law", "settings"), [m[1:] for m in PATTERN], ids=[m[0] for m in PATTERN])
def test_broken_pattern_is_noticed(
    module: ModuleType, name: str, old: str, new: str, law: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not failures((law,), "cross_entropy", **settings)
    monkeypatch.setattr(module, name, rewritten(module, name, old, new))
    assert failures((law,), "cross_entropy", **settings)


POSITIONS = [
    ("all on the lower bin", soft_plain, "mass_of_position", "y - (j - 1), 1.0 - (y - j)", "1.0 + (y.floor() - j), 1.0 - (y.floor() - j)", "textbook"),
    ("two bins each way", soft_plain, "mass_of_position", "y - (j - 1), 1.0 - (y - j)", "1.0 + (y - j) / 2, 1.0 - (y - j) / 2", "textbook"),
    ("a small share by subtraction", soft_plain, "mass_of_position", "minimum(y - (j - 1)", "minimum(1.0 + (y - j)", "error_budget"),
    ("outside not noticed", soft_plain, "prepared", "wrong = ~((t >= -room) & (t <= last + room))", "wrong = t != t", "positions_checked"),
    ("rounding not forgiven", soft_plain, "prepared", "ROUNDING * classes", "0.0", "positions_checked"),
    ("a gradient that nobody defines", labels, "positions", "target.requires_grad and", "False and", "positions_checked"),
    ("nothing refused", labels, "refuse_positions", "if bool(bad.any()):", "if False:", "positions_checked"),
]


@pytest.mark.parametrize(("module", "name", "old", "new", "law"), [m[1:] for m in POSITIONS], ids=[m[0] for m in POSITIONS])
def test_broken_positions_of_distribution_focal_are_noticed(
    module: ModuleType, name: str, old: str, new: str, law: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not failures((law,), "distribution_focal_loss")
    monkeypatch.setattr(module, name, rewritten(module, name, old, new))
    assert failures((law,), "distribution_focal_loss")


def mask_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    original = reduce.item_factor
    monkeypatch.setattr(reduce, "item_factor", lambda target, mask, *rest: original(target, None, *rest))


def mask_inverted(monkeypatch: pytest.MonkeyPatch) -> None:
    original = reduce.item_factor
    monkeypatch.setattr(reduce, "item_factor", lambda target, mask, *rest: original(target, None if mask is None else ~mask, *rest))


def sample_weight_squared(monkeypatch: pytest.MonkeyPatch) -> None:
    original = reduce.item_factor

    def broken(target: Any, mask: Any, weight: Any, real: Any) -> Any:
        return original(target, mask, None if weight is None else weight**2, real)

    monkeypatch.setattr(reduce, "item_factor", broken)


def class_weights_not_in_the_denominator(monkeypatch: pytest.MonkeyPatch) -> None:
    original = contract.census
    monkeypatch.setattr(contract, "census", lambda engine, call, input, target, by_weight: original(engine, call, input, target, False))


def normalizer_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract.checks, "normalizer", lambda x: 3.0)


def any_label_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "refuse", lambda *_: None)


def any_shape_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contract.checks, "mask", lambda *_: None)


def half_precision_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    original = plain.losses
    monkeypatch.setattr(plain, "losses", lambda call, x, t: original(call, x, t).to(x.dtype))


def gradient_in_half(monkeypatch: pytest.MonkeyPatch) -> None:
    original = plain.losses
    monkeypatch.setattr(plain, "losses", lambda call, x, t: original(call, x.float() if x.dtype is not torch.float32 else x, t).detach() + 0 * x.sum())


def detached(monkeypatch: pytest.MonkeyPatch) -> None:
    original = plain.losses
    monkeypatch.setattr(plain, "losses", lambda call, x, t: original(call, x, t).detach())


CONTRACT: list[tuple[Callable[[pytest.MonkeyPatch], None], str, dict[str, Any]]] = [
    (mask_skipped, "mask_deletes", {}),
    (mask_inverted, "mask_deletes", {}),
    (sample_weight_squared, "weighted_mean", {}),
    (class_weights_not_in_the_denominator, "reductions_agree", {"weight": WEIGHT}),
    (normalizer_ignored, "accumulation", {}),
    (any_label_accepted, "labels_checked", {}),
    (any_shape_accepted, "shapes_agree", {}),
    (half_precision_inside, "half_precision", {}),
    (gradient_in_half, "half_precision", {}),
    (detached, "textbook", {}),
]


@pytest.mark.parametrize(("breaks", "law", "settings"), CONTRACT, ids=[c[0].__name__ for c in CONTRACT])
def test_broken_contract_is_noticed(breaks: Any, law: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert not failures((law,), "cross_entropy", **settings)
    breaks(monkeypatch)
    assert law in failures((law,), "cross_entropy", **settings)


def test_unchecked_distributions_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soft_contract, "check_distribution", lambda *_, **__: None)
    assert failures(("distributions_checked",), "cross_entropy", from_logits=False)
    assert failures(("distributions_checked",), "kl_divergence")


def test_alpha_in_the_denominator_is_noticed() -> None:
    broken = mutant("focal_loss", "Labelled(form, (gamma,), mean_by_weight=False)", "Labelled(form, (gamma,))")
    settings: dict[str, Any] = {**FOCAL, "gamma": 2.0, "alpha": [0.25, 1.0, 0.5]}
    assert not failures(("reductions_agree",), "focal_loss", **settings)
    assert failures(("reductions_agree",), "focal_loss", broken, **settings)


def test_input_written_to_is_noticed() -> None:
    def careless(input: torch.Tensor, target: torch.Tensor, *, reduction: str = "mean") -> torch.Tensor:
        target.clamp_(min=0)
        return losskit.cross_entropy(input, target, reduction=reduction)

    assert failures(("inputs_unchanged",), "cross_entropy", careless)


def test_a_peer_is_told_with_a_counterexample() -> None:
    result = losskit.testing.audit(torch.nn.functional.cross_entropy, like="cross_entropy", show=False)
    for law in ("textbook", "reductions_agree", "ruled_out", "layouts", "sure_distribution", "incoming_gradient", "transforms"):
        assert result.verdict(law) == "holds"
    for law in ("error_budget", "ignore_deletes", "nothing_left", "infinite_inputs", "half_precision", "label_dtypes"):
        assert result.verdict(law) == "fails"
    for law in ("mask_deletes", "weighted_mean", "accumulation", "class_axis", "by_products"):
        assert result.verdict(law) == "not offered"
    found = next(f for f in result.findings if f.law == "error_budget")
    assert "small value -0.0, exact" in found.detail and "t = " in found.detail


def test_audit_takes_the_laws_of_the_task() -> None:
    from losskit.testing import LAWS, ROW_LAWS, audit

    one = audit(losskit.focal_loss, like="focal_loss", show=False, laws=["reductions_agree"], task="multiclass", gamma=2.0)
    assert one.findings[0].says == ROW_LAWS["reductions_agree"].says and one.verdict("reductions_agree") == "holds"
    other = audit(losskit.focal_loss, like="focal_loss", show=False, laws=["mask_deletes"], gamma=2.0)
    assert other.findings[0].says == LAWS["mask_deletes"].says
