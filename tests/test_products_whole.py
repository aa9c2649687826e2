"""Scores that are a product, and what is never whole: memory, tensors without any, teachers, targets, kernels on a GPU."""

import math
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from product_cases import FIRST, ITEMS, batch, check, outcome
from test_memory import measured

import losskit
from losskit import linear_cross_entropy, linear_scores


@pytest.mark.parametrize("kind", ["whole", "frozen head", "frozen input", "ignored", "none", "bfloat16", "bfloat16, input"])
def test_nothing_of_the_size_of_the_scores_outlives_a_chunk(kind):
    """At the peak: gradients, a chunk of scores, little else; of a bfloat16 head whose gradient is summed in float32, 2 bytes more for each of its numbers."""
    items, width, classes, chunk = 1000, 64, 4096, 128
    dtype = torch.bfloat16 if kind.startswith("bfloat16") else torch.float32
    x = torch.randn(items, width).to(dtype).requires_grad_(kind != "frozen input")
    head = torch.randn(classes, width).to(dtype).requires_grad_(kind != "frozen head")
    t = torch.randint(classes, (items,))
    if kind == "ignored":
        t[torch.arange(items) % 4 != 0] = -100
    settings = dict(reduction="none") if kind == "none" else dict(accumulate="input") if kind.endswith("input") else {}

    def step():
        x.grad = head.grad = None
        value = linear_cross_entropy(x, head, t, chunk=chunk, **settings).sum()
        value.backward()
        return value

    peak, left = measured(step)
    gradients = sum(z.nbytes for z in (x, head) if z.requires_grad)
    scores = chunk * classes * 4  # which a CPU makes in float32 where it does not multiply bfloat16
    more = head.numel() * 2 if kind == "bfloat16" else 0
    work = 0 if dtype is torch.float32 else 2048 * width * 4 * 3  # blocks of a widened head, and of its gradient
    assert left <= gradients + 1000
    assert peak <= gradients + more + work + 1.1 * scores + 60 * items, f"{(peak - gradients) / scores:.2f} chunks beside the gradients"


@pytest.mark.parametrize("calls", ["refused", pytest.param("all", marks=pytest.mark.thorough)])
def test_no_loss_reads_what_is_not_there(calls):
    """A tensor without memory in any place of any public function, on every engine: an error of Python, in a process of its own, where it might end with one.

    What PyTorch operations take is compared above, in loops that need compiling. In `make test` of every third call.
    """
    done = subprocess.run([sys.executable, "-c", NOT_THERE, calls], capture_output=True, text=True, timeout=300, cwd=Path(__file__).parent)
    assert done.returncode == 0, done.stdout + done.stderr


NOT_THERE = """
import sys, torch, losskit
from calls import one_each
from losskit.engines.scores import Made, Scores, scores_of
made = 0
for call in [*one_each()][:: 3 if sys.argv[1] == "refused" else 1]:
    for place, x in enumerate(call.tensors):
        if not x.dim() or not x.is_floating_point():
            continue
        classes, width = x.shape[-1], 3
        for temperature in (None, 1.0):
            factors = (torch.randn(*x.shape[:-1], width, dtype=x.dtype), torch.randn(classes, width, dtype=x.dtype))
            lazy = scores_of(Made(factors, None, True, temperature))
            tensors = [lazy if k == place else y for k, y in enumerate(call.tensors)]
            taken = False
            for engine in ("torch", "cpu"):
                if engine == "cpu" and taken and sys.argv[1] == "refused":
                    continue
                try:
                    with losskit.use_engine(engine):
                        call.function(*tensors, **call.settings)
                    made, taken = made + 1, True
                except (TypeError, ValueError, RuntimeError) as error:
                    assert isinstance(error, losskit.EngineError) or "Scores" in str(error) or "linear_" in str(error) or "scores" in str(error), (call.name, place, str(error))
assert made > 3, made
"""


def teacher(items, classes, dtype=torch.float64):
    """Factors of another width."""
    draw = torch.Generator().manual_seed(8)
    return tuple(torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype).requires_grad_() for shape in ((items, 4), (classes, 4), (classes,)))


@pytest.mark.sparse(3)
@pytest.mark.parametrize("engine", ["torch", "cpu"])
@pytest.mark.parametrize("name", ["kl_divergence", "js_divergence", "cross_entropy"])
def test_a_teacher_is_never_whole_either(name, engine):
    factors, _ = batch(FIRST[name])
    taught = teacher(ITEMS, factors[1].shape[0])
    soft = torch.softmax(F.linear(*taught).detach() / 2.5, -1)
    function = FIRST[name].loss.function
    mask = torch.arange(ITEMS) % 3 != 0
    spoiled = torch.where(mask[:, None], taught[0].detach(), math.nan)
    for (reduction, chunk), masked in product((("mean", 16), ("none", 7), ("sum", None)), (False, True)):
        extra = {"mask": mask} if masked else {}
        with losskit.use_engine(engine):
            target = losskit.linear_probabilities(spoiled if masked else taught[0], *taught[1:], temperature=2.5)
            got = outcome(lambda: function(linear_scores(*factors, chunk=chunk), target, dim=-1, reduction=reduction, **extra), factors)  # noqa: B023
            expected = outcome(lambda: function(F.linear(*factors), soft, dim=-1, reduction=reduction, **extra), factors)  # noqa: B023
        check(got, expected)
    value = function(linear_scores(*factors, chunk=5), losskit.linear_probabilities(*taught))
    assert all(g is None for g in torch.autograd.grad(value, taught, allow_unused=True, retain_graph=True))
    first = torch.autograd.grad(value, factors, create_graph=True)
    whole = torch.autograd.grad(function(F.linear(*factors), torch.softmax(F.linear(*taught).detach(), -1)), factors, create_graph=True)
    check(*(torch.autograd.grad(sum((g * g).sum() for g in given), factors) for given in (first, whole)), tolerance=1e-11)


def test_what_is_a_target_is_no_input_and_the_other_way_round():
    factors, _ = batch(FIRST["kl_divergence"])
    taught = teacher(ITEMS, factors[1].shape[0])
    scores, probabilities = linear_scores(*factors), losskit.linear_probabilities(*taught)
    torch.testing.assert_close(probabilities.whole(), torch.softmax(F.linear(*taught).detach(), -1))
    for given, told in (
        (lambda: losskit.kl_divergence(scores, scores), "give linear_probabilities of the same factors"),
        (lambda: losskit.kl_divergence(probabilities, probabilities), "give linear_scores of the same factors"),
        (lambda: losskit.kl_divergence(scores, probabilities, log_target=True), "leave log_target out"),
        (lambda: losskit.cross_entropy(scores, torch.zeros(ITEMS, dtype=torch.long), inplace=True), "Leave inplace out"),
    ):
        with pytest.raises(ValueError, match=told):
            given()
    for given in (
        lambda: losskit.kl_divergence(F.linear(*factors), probabilities),
        lambda: losskit.huber_loss(F.linear(*factors), scores),
        lambda: losskit.binary_cross_entropy_with_logits(scores, probabilities),
        lambda: scores + 1,
        lambda: torch.softmax(probabilities, -1),
        lambda: losskit.cross_entropy(scores, torch.zeros(ITEMS, dtype=torch.long), from_logits=False),
    ):
        with pytest.raises(RuntimeError, match=r"is never whole, and [\w ]+ needs all of it at once: try its method whole\(\)"):
            given()
    with pytest.raises(ValueError, match=r"dim=1 names the class axis.*give dim=-1"):
        losskit.cross_entropy(linear_scores(factors[0][None], *factors[1:]), torch.zeros(1, ITEMS, dtype=torch.long))


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # NumPy, of lanes that are not stored
@pytest.mark.parametrize("name", ["cross_entropy", "kl_divergence", "binary_cross_entropy_with_logits"])
def test_on_a_gpu(name):
    """Under Triton's interpreter: absent items are not left out there, for that would wait for the device, and what they hold reaches nothing all the same."""
    factors, target = batch(FIRST[name], torch.float32)
    x = torch.where(torch.arange(ITEMS)[:, None] % 5 == 0, math.nan, factors[0].detach()).requires_grad_()
    mask = (torch.arange(ITEMS) % 5 != 0)[:, None] if FIRST[name].pattern == "elementwise" else torch.arange(ITEMS) % 5 != 0
    function = FIRST[name].loss.function
    for reduction, chunk in (("mean", 16), ("none", 16), ("sum", None)):
        with losskit.use_engine("triton"):
            got = outcome(lambda: function(linear_scores(x, *factors[1:], chunk=chunk), *target, mask=mask, reduction=reduction), (x, *factors[1:]))  # noqa: B023
        with losskit.use_engine("torch"):
            expected = outcome(lambda: function(linear_scores(x, *factors[1:]), *target, mask=mask, reduction=reduction), (x, *factors[1:]))  # noqa: B023
        check(got, expected, 2e-6)
