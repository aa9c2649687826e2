"""Calls of contrastive losses, and what they are as commonly written."""

import math

import pytest
import torch
import torch.nn.functional as F

import losskit

PAIRS = ("info_nce_loss", "nt_xent_loss", "clip_loss", "siglip_loss")
NAMES = (*PAIRS, "supcon_loss")
NUMBERS = {"clip_loss": ("logit_scale",), "siglip_loss": ("logit_scale", "logit_bias")}
IN_LOOPS = [(name, engine) for name in ("info_nce_loss", "siglip_loss") for engine in (None, "triton")]  # in `make test`
each_loss = pytest.mark.parametrize("name", NAMES)


def batch(name, *lead, items=11, width=5, dtype=torch.float64, seed=0):
    """Vectors, numbers and labels of a call."""
    draw = torch.Generator().manual_seed(seed)
    vectors = [torch.randn(*lead, items, width, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for _ in range(2 if name in PAIRS else 1)]
    values = {"temperature": 0.7, "logit_scale": 1.7, "logit_bias": -0.8}
    numbers = {key: torch.tensor(values[key], dtype=dtype).requires_grad_() for key in NUMBERS.get(name, ("temperature",))}
    labels = () if name in PAIRS else (torch.randint(0, 4, (*lead, items), generator=draw),)
    return vectors, numbers, labels


def nll(scores, own, out=None):
    """Of each row, with some scores ruled out."""
    scores = scores if out is None else scores.masked_fill(out, -math.inf)
    return scores.logsumexp(-1) - scores.gather(-1, own[:, None])[:, 0]


def reference(name, vectors, numbers, labels=(), exclude=None, negatives=None, positives=None):
    """A loss per item, of one set, as it is commonly written: of whole scores, in the order of PyTorch's operations."""
    x, y = (*vectors, vectors[0])[:2]
    count = len(x)
    own, eye = torch.arange(count), torch.eye(count, dtype=torch.bool)
    if name == "info_nce_loss":
        return nll(x @ (y if negatives is None else torch.cat((y, negatives))).T / numbers["temperature"], own, exclude)
    if name == "nt_xent_loss":
        views = torch.cat((x, y))
        found = nll(views @ views.T / numbers["temperature"], torch.arange(2 * count).roll(count), torch.eye(2 * count, dtype=torch.bool))
        return 0.5 * (found[:count] + found[count:])
    if name == "clip_loss":
        scores = numbers["logit_scale"] * x @ y.T
        return 0.5 * (nll(scores, own, exclude) + nll(scores.T, own, None if exclude is None else exclude.T))
    if name == "siglip_loss":
        scores = numbers["logit_scale"] * x @ y.T + numbers["logit_bias"]
        each = -F.logsigmoid(torch.where(eye, scores, -scores))
        return (each if exclude is None else each.masked_fill(exclude, 0.0)).sum(-1)
    out = eye if exclude is None else eye | exclude
    positives = (labels[0][:, None] == labels[0] if positives is None else positives) & ~out
    scores = (x @ x.T / numbers["temperature"]).masked_fill(out, -math.inf)
    logs = (scores - scores.logsumexp(-1, keepdim=True)).masked_fill(out, 0.0)
    return torch.where(positives.any(1), -(logs * positives).sum(1) / positives.sum(1).clamp(min=1), 0.0)


def outcome(value, leaves):
    """Value and gradients, of an incoming gradient that differs from item to item."""
    incoming = torch.linspace(-0.5, 1.5, value.numel(), dtype=torch.float64).reshape(value.shape).to(value.dtype)
    return value.detach(), *torch.autograd.grad(value, leaves, incoming, retain_graph=True)


def agree(got, wanted, **tolerance):
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def call(name, vectors, numbers, labels, **more):
    return getattr(losskit, name)(*vectors, *labels, **numbers, **({"normalize": False} | more))


def beside(name, items=11, seed=5):
    """What else each loss may be given."""
    draw = torch.Generator().manual_seed(seed)
    out = torch.rand(items, items, generator=draw) < 0.2
    if name == "nt_xent_loss":
        return [{}]
    if name == "supcon_loss":
        return [{}, {"exclude": out}]
    out = out & ~torch.eye(items, dtype=torch.bool)
    if name != "info_nce_loss":
        return [{}, {"exclude": out}]
    extra = torch.randn(3, 5, generator=draw, dtype=torch.float64)
    return [{}, {"exclude": out}, {"negatives": extra}, {"negatives": extra, "exclude": torch.cat((out, out[:, :3]), 1)}]
