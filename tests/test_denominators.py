"""What "mean" divides by: weights of either sign, a normalizer of 0, one that lies elsewhere. For every loss, task, kind of input and target."""

import inspect

import pytest
import torch
from contexts import CONTEXTS
from test_options import alternatives
from test_topk import APART, reduced

from losskit import TopK, use_engine
from losskit.contract.scores import inverse

WEIGHED = [c for c in CONTEXTS if "sample_weight" in inspect.signature(c.loss.function).parameters]
FUSED = ("smooth_l1_loss", "focal_loss", "cross_entropy", "kl_divergence", "dice_ce_loss", "lovasz_loss", "giou_loss")  # at least one of each pattern


def test_weights_of_either_sign():
    """Their sum may cancel, so "mean" needs a denominator of its own; what is masked may be anything."""
    for context in WEIGHED:
        tensors, name = context.tensors(), str(context)
        with use_engine("torch"):
            each = context(*tensors, reduction="none")
            weight = torch.linspace(-1.5, 2.0, each.numel()).reshape(each.shape)
            whole = (weight * 10).to(torch.int8)
            for given, least in ((weight, "-1.5"), (whole, "-15")):
                with pytest.raises(ValueError, match=f'sample_weight must not be negative where "mean" divides by its sum, got {least} at index .*"sum"'):
                    context(*tensors, sample_weight=given)
            total = (each * weight).sum()
            close = dict(rtol=1e-5, atol=1e-5, msg=name)
            torch.testing.assert_close(context(*tensors, sample_weight=weight, reduction="none"), each * weight, **close)
            torch.testing.assert_close(context(*tensors, sample_weight=weight, reduction="sum"), total, **close)
            torch.testing.assert_close(context(*tensors, sample_weight=weight, normalizer=5.0), total / 5, **close)
            if context.loss.pattern != "windows":  # whose mask is of positions, and weights are of pictures
                assert context(*tensors, sample_weight=weight, mask=weight >= 0) == context(*tensors, sample_weight=weight.clamp(min=0)), name


@pytest.mark.parametrize("engine", ["torch", "cpu"])
def test_a_normalizer_of_0_says_that_nothing_counts(engine):
    for context in CONTEXTS:
        if engine == "cpu" and context.loss.name not in FUSED:
            continue
        tensors = context.tensors()
        for zero in (0, 0.0, torch.tensor(0), torch.tensor(0.0, dtype=torch.float64)):
            x = tensors[0].clone().requires_grad_()
            with use_engine("torch" if context.settings.get("from_logits") is False else engine):
                value = context(x, *tensors[1:], normalizer=zero)
            both = "ce_weight" in context.loss.settings or "focal_weight" in context.loss.settings  # the second loss has a mean of its own
            value.backward()
            assert bool(value > 0) if both else value == 0 and not x.grad.any(), str(context)
            assert x.grad.isfinite().all()


def test_a_normalizer_elsewhere_is_refused():
    for context in CONTEXTS:
        if context.loss.name == "boundary_loss" and context.kind != "real":  # distances are made of numbers, which meta lacks
            continue
        tensors = context.tensors()
        with pytest.raises(ValueError, match="normalizer is on meta, but input is on cpu: try normalizer=input"):
            context(*tensors, normalizer=torch.tensor(3.0, device="meta"))
        with pytest.raises(ValueError, match=r"normalizer is on cpu, but input is on meta: try normalizer.to\(input.device\)"):
            context(*(z.to("meta") for z in tensors), normalizer=torch.tensor(3.0))


def test_a_count_on_the_device_divides_in_double_precision():
    """Of integers PyTorch makes a quotient of its default dtype."""
    assert inverse(torch, torch.tensor(3)).item() == 1.0 / 3.0 and inverse(torch, torch.tensor(0)).item() == 0.0


CLASSES = [
    c
    for c in CONTEXTS
    if "reduction" in c.loss.settings and "weight" in c.loss.settings and "weight" not in c.settings and c.kind in ("label", "soft", "distribution")
]


@pytest.mark.parametrize("context", CLASSES, ids=str)
def test_all_of_the_items_are_the_mean_beside_a_class_of_weight_0(context):
    """With each option: what smoothing gives to an item whose class has weight 0 is in "mean", and so in TopK(1.0)."""
    with use_engine("torch"):
        tensors = context.tensors()
        own = {"weight": [0.0, *(0.5 + place for place in range(tensors[0].shape[context.axis or 1] - 1))]}
        for name in [None, *(name for name in context.loss.settings if name not in (*APART, *context.settings, "weight"))]:
            for value in [None] if name is None else alternatives(context, name):
                options = own if name is None else own | {name: value}
                try:
                    wanted = reduced(context, tensors, **options)
                except (TypeError, ValueError):
                    continue  # it is refused, and by TopK, too
                for found, whole in zip(reduced(context, tensors, **options, reduction=TopK(1.0)), wanted, strict=True):
                    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)
