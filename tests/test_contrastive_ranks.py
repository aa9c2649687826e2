"""Contrastive losses of a batch that is spread over ranks: value and gradients are those of one process that holds all of it, whoever holds how much."""

import math
import weakref
from typing import Any

import pytest
import torch
from cases import thorough_rows
from claims import claim
from ranks import results_of
from torch import Tensor, distributed

import losskit
from losskit.contract import blocks
from losskit.contract.blocks import Ring
from losskit.engines import chunks

pytestmark = pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")

NAMES = ("info_nce_loss", "clip_loss", "siglip_loss", "nt_xent_loss", "supcon_loss")
SIZES = {2: ((5, 6), (0, 1)), 3: ((4, 0, 7), (1, 9, 1))}  # items of each rank
WAYS = [(sizes, engine) for some in SIZES.values() for sizes in some for engine in (("cpu", "torch") if sizes == (4, 0, 7) else ("cpu",))]
SHOWN = {((4, 0, 7), "torch"): 3, ((4, 0, 7), "cpu"): 13}  # in `make test` every so manieth case, from the second on
NEGATIVES = (2, 0, 1)
GENERAL: tuple[dict[str, Any], ...] = (
    {},
    {"reduction": "sum"},
    {"reduction": "none"},
    {"normalize": True, "mask": True, "normalizer": 7.0},
    {"mask": True, "sample_weight": True},
    {"mask": True, "sample_weight": "learned"},
    {"mask": True, "sample_weight": "learned", "reduction": "none"},
    {"mask": "nobody"},
    {"far": True, "reduction": "none"},
)
EXCLUDE: tuple[dict[str, Any], ...] = ({"exclude": True}, {"exclude": True, "mask": True, "sample_weight": True, "reduction": "none"})
MORE: dict[str, tuple[dict[str, Any], ...]] = {
    "info_nce_loss": (*EXCLUDE, {"negatives": True}, {"negatives": True, "exclude": True, "mask": True, "reduction": "none"}),
    "clip_loss": (*EXCLUDE, {"frozen": 0}, {"frozen": 1}),
    "siglip_loss": EXCLUDE,
    "nt_xent_loss": ({"frozen": 0}, {"frozen": 1}, {"frozen": 1, "reduction": "none"}),
    "supcon_loss": (*EXCLUDE, {"labels": "pairs"}, {"labels": "pairs", "exclude": True, "mask": True}, {"labels": "numbers", "reduction": "none"}),
}
CASES = [(name, case) for name in NAMES for case in (*GENERAL, *MORE[name])]
NUMBERS = {"clip_loss": {"logit_scale": 1.7}, "siglip_loss": {"logit_scale": 1.7, "logit_bias": -0.8}}


def batch(name: str, case: dict[str, Any], sizes: tuple[int, ...]) -> tuple[list[Tensor], dict[str, Any]]:
    """Everything of one process: the vectors, and what else the call is given."""
    items, extra = sum(sizes), sum(NEGATIVES[: len(sizes)])
    draw = torch.Generator().manual_seed(items)
    real: dict[str, Any] = dict(generator=draw, dtype=torch.float64)
    x, y, negatives = torch.randn(items, 5, **real), torch.randn(items, 5, **real), torch.randn(extra, 5, **real)
    labels = torch.randint(4, (items,), generator=draw)
    out = torch.rand(items, items + (extra if "negatives" in case else 0), generator=draw) < 0.3
    out[: min(items, 3), items // 2 :] = True  # whole blocks
    out.diagonal().fill_(name == "supcon_loss")
    numbers = labels.double() / 3.0
    numbers[: min(items, 1)] = math.nan
    kinds = {"pairs": torch.rand(items, items, generator=draw) < 0.3, "numbers": numbers}
    given: dict[str, Any] = {
        "mask": torch.rand(items, generator=draw) > 0.3,
        "sample_weight": torch.rand(items, **real),
        "exclude": out,
        "negatives": negatives,
    }
    settings = {key: given[key] if value is True and key in given else value for key, value in case.items() if key not in ("labels", "far", "frozen")}
    if case.get("mask") == "nobody":
        settings["mask"] = torch.zeros(items, dtype=torch.bool)
    if case.get("sample_weight") == "learned":
        settings["sample_weight"] = given["sample_weight"].requires_grad_()
    if case.get("far"):  # scores of +-1,000: some ranks hold nothing that counts
        x, y = 30.0 * x, 30.0 * y
    settings = {"normalize": False} | settings
    if name == "supcon_loss":
        return [x], settings | {"labels": kinds.get(case.get("labels", ""), labels)}
    return [x, y], settings


def outcome(name: str, case: dict[str, Any], sizes: tuple[int, ...], rank: int | None = None, group: Any = None) -> tuple[Tensor, ...]:
    """Value and gradients of one process, or of a rank: by numbers, by the negatives and weights if they have one, by the vectors."""
    vectors, settings = batch(name, case, sizes)
    ranks = slice(None) if rank is None else slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    extra = slice(None) if rank is None else slice(sum(NEGATIVES[:rank]), sum(NEGATIVES[: rank + 1]))
    settings = {key: y[extra if key == "negatives" else ranks] if isinstance(y, Tensor) else y for key, y in settings.items()}
    vectors = [y[ranks].clone().requires_grad_(case.get("frozen") != side) for side, y in enumerate(vectors)]
    if "negatives" in settings:
        settings["negatives"] = settings["negatives"].clone().requires_grad_()
    numbers = {key: torch.tensor(y, dtype=torch.float64, requires_grad=True) for key, y in NUMBERS.get(name, {"temperature": 0.7}).items()}
    value = getattr(losskit, name)(*vectors, **settings, **numbers, **({} if rank is None else {"process_group": group}))
    incoming = torch.linspace(-1.0, 2.0, sum(sizes), dtype=torch.float64)[ranks] if value.dim() else torch.tensor(0.5, dtype=torch.float64)
    of_items = [settings[key] for key in ("negatives", "sample_weight") if key in settings and settings[key].requires_grad]
    leaves = [*numbers.values(), *of_items, *(y for y in vectors if y.requires_grad)]
    found = torch.autograd.grad(value, leaves, incoming, retain_graph=True)
    for a, b in zip(found, torch.autograd.grad(value, leaves, incoming), strict=True):
        assert torch.equal(a, b)  # a second backward
    return value.detach(), *found


def held(rank: int, group: Any) -> int:
    """The most blocks of other ranks that are held at a time."""
    known: list[Any] = []
    most, exchanged = 0, Ring.exchanged

    def watched(ranks: Ring, *given: Any) -> Any:
        nonlocal most
        found = exchanged(ranks, *given)
        most = max(most, sum(y() is not None for y in known) + 1)
        known.extend(weakref.ref(x) for x in found[:1] if given[2] != ranks.rank and x.dim() == 2 and given[3] == 2 + given[2])
        return found

    Ring.exchanged = watched  # type: ignore[method-assign]
    try:
        x = torch.randn(2 + rank, 3, requires_grad=True)  # a block says by its size whose it is
        losskit.clip_loss(x, x, process_group=group)
    finally:
        Ring.exchanged = exchanged  # type: ignore[method-assign]
    return most


def counted(name: str, reduction: str, group: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """How often scores are made of a block, and how often something is exchanged: in the forward, and in the backward."""
    passes, steps, of_sets, exchanged = 0, 0, blocks.products.of_sets, Ring.exchanged

    def made(*given: Any, **more: Any) -> Any:
        nonlocal passes
        passes += 1
        return of_sets(*given, **more)

    def step(*given: Any) -> Any:
        nonlocal steps
        steps += 1
        return exchanged(*given)

    blocks.products.of_sets, Ring.exchanged = made, step  # type: ignore[method-assign]
    try:
        x = torch.randn(2, 3, requires_grad=True)
        vectors = (x, torch.tensor([0, 0])) if name == "supcon_loss" else (x, x)
        value = getattr(losskit, name)(*vectors, process_group=group, reduction=reduction)
        forward = passes, steps
        value.sum().backward()
    finally:
        blocks.products.of_sets, Ring.exchanged = of_sets, exchanged  # type: ignore[method-assign]
    return forward, (passes - forward[0], steps - forward[1])


def refused(rank: int, group: Any) -> list[str]:
    """What every rank raises where one is wrong, or all: nobody waits."""
    x, y = torch.randn(4, 3, requires_grad=True), torch.randn(4, 3)
    out, weight, labels = torch.zeros(4, 12, dtype=torch.bool), torch.ones(4), torch.tensor([0, 0, 1, 1])
    own = out.clone()
    own[2, 4 * rank + 2] = rank == 1
    first, second = rank == 0, rank == 1
    how: dict[str, Any] = {"process_group": group}
    learned = weight.clone().requires_grad_(second)
    calls = (
        lambda: losskit.info_nce_loss(x, y.long() if first else y, **how),
        lambda: losskit.info_nce_loss(x[:, :2] if second else x, y[:, :2] if second else y, **how),
        lambda: losskit.clip_loss(x.double() if second else x, y.double() if second else y, **how),
        lambda: losskit.siglip_loss(x, y, 2.0, float(rank), **how),
        lambda: losskit.nt_xent_loss(x, y, temperature=0.5 + second, **how),
        lambda: losskit.info_nce_loss(x, y, reduction="sum" if second else "mean", **how),
        lambda: losskit.info_nce_loss(x, y, normalizer=3.0 if second else None, **how),
        lambda: losskit.info_nce_loss(x, y, sample_weight=learned, **how),
        lambda: losskit.info_nce_loss(x, y, exclude=out[:, :4] if second else None, **how),
        lambda: losskit.clip_loss(x, y, exclude=own, **how),
        lambda: losskit.supcon_loss(x, labels.double() if second else labels, **how),
        lambda: losskit.supcon_loss(x, out[:, :4], **how),
        lambda: losskit.info_nce_loss(y if second else x, y, reduction="none", **how),
        lambda: losskit.info_nce_loss(x[None], y[None], **how),
        lambda: losskit.info_nce_loss(x, y, process_group="all"),
        lambda: torch.autograd.grad(losskit.info_nce_loss(x, y, **how), x, create_graph=True),
        lambda: torch.autograd.grad(losskit.info_nce_loss(x, y, reduction="none", **how), x, torch.eye(4), is_grads_batched=True),
        lambda: torch.compile(lambda z: losskit.info_nce_loss(z, y, **how), backend="eager")(x),
        lambda: torch.func.grad(lambda z: losskit.info_nce_loss(z, y, **how))(y),
        lambda: losskit.info_nce_loss(x, y, temperature=-1.0 if first else 1.0, **how),
        lambda: losskit.info_nce_loss(x, y, normalizer=losskit.Ranks(), **how),
    )
    told = []
    for call in calls:
        with pytest.raises((TypeError, ValueError, RuntimeError)) as error:
            call()
        told.append(f"{type(error.value).__name__}: {error.value}")
    own[2, 4 * rank + 2] = False
    told.append(repr(losskit.clip_loss(x, y, exclude=own, **how).isfinite().item()))  # nobody was left behind
    return told


def work(rank: int, groups: dict[int, Any], all_of_it: bool) -> dict[Any, Any]:
    """What a rank does: its part of every case, in one chunk, and in several."""
    found: dict[Any, Any] = {}
    step = chunks.items_of_chunk
    for sizes, engine in WAYS if all_of_it else SHOWN:
        world = len(sizes)
        if rank < world:
            chunks.items_of_chunk = (lambda *_: 4) if sizes == SIZES[world][0] else step
            with losskit.use_engine(engine):  # type: ignore[arg-type]
                for i in range(len(CASES)) if all_of_it else range(1, len(CASES), SHOWN[sizes, engine]):
                    found[sizes, engine, i] = outcome(*CASES[i], sizes, rank, groups[world])
    chunks.items_of_chunk = step
    for name in NAMES:
        found[name, "counted"] = [counted(name, reduction, groups[3]) for reduction in ("mean", "none")]
        found[name, "nobody"] = outcome(name, {}, (0, 0, 0), rank, groups[3])
        with losskit.use_engine("triton"):
            found[name, "triton"] = outcome(name, {"reduction": "none"}, (4, 0, 7), rank, groups[3])
    sure = torch.eye(2, 3) * 5.0
    found["sure"] = losskit.info_nce_loss(sure, sure.roll(rank, 1), temperature=1.0, reduction="none", process_group=groups[3])
    found["no gradient"] = losskit.clip_loss(sure, sure.clone().requires_grad_(rank == 1), process_group=groups[3]).detach()
    found["averaged"] = [
        torch.autograd.grad(losskit.siglip_loss(leaf, sure, reduction=how, process_group=losskit.Ranks()).sum(), leaf)[0]
        for how in ("mean", "none")
        for leaf in [sure.clone().requires_grad_()]
    ]
    found["summed"] = [
        torch.autograd.grad(losskit.siglip_loss(leaf, sure, reduction=how, process_group=groups[3]).sum(), leaf)[0]
        for how in ("mean", "none")
        for leaf in [sure.clone().requires_grad_()]
    ]
    found["held"], found["refused"] = held(rank, groups[3]), refused(rank, groups[3])
    if rank == 2:
        with pytest.raises(ValueError, match="process_group is a group without this rank: call the loss on the ranks of the group alone"):
            losskit.clip_loss(sure, sure, process_group=groups[2])
    return found


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> list[dict[Any, Any]]:
    return results_of(work, request)


def agree(got: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12 * max(1.0, float(wanted.abs().max()) if wanted.numel() else 0.0))


def as_one(parts: list[tuple[Tensor, ...]], name: str, case: dict[str, Any], sizes: tuple[int, ...]) -> None:
    """What the ranks found, against one process."""
    with losskit.use_engine("torch"):
        value, *gradients = outcome(name, case, sizes)
    numbers = len(NUMBERS.get(name, "T"))
    for part in parts:
        assert value.dim() or torch.equal(part[0], parts[0][0])  # the same bits on every rank
    agree(torch.cat([part[0] for part in parts]) if value.dim() else parts[0][0], value)
    for place, wanted in enumerate(gradients, 1):
        found = [part[place] for part in parts]
        agree(sum(found[1:], found[0]) if place <= numbers else torch.cat(found), wanted)


@pytest.mark.parametrize(("sizes", "engine"), [*SHOWN, *thorough_rows(way for way in WAYS if way not in SHOWN)], ids=str)
@claim("siglip_loss", "Over ranks open_clip passes texts on from rank to rank, too, of batches of one size, and each rank has the loss of its own pictures")
def test_as_one_process(results: list[dict[Any, Any]], sizes: tuple[int, ...], engine: str) -> None:
    found = [i for i in range(len(CASES)) if (sizes, engine, i) in results[0]]
    assert found in ([*range(len(CASES))], [*range(1, len(CASES), SHOWN.get((sizes, engine), 1))])
    for i in found:
        as_one([results[rank][sizes, engine, i] for rank in range(len(sizes))], *CASES[i], sizes)


@pytest.mark.parametrize("name", NAMES)
def test_nobody_and_another_engine(results: list[dict[Any, Any]], name: str) -> None:
    as_one([found[name, "nobody"] for found in results], name, {}, (0, 0, 0))
    assert all(not y.any() for found in results for y in found[name, "nobody"])
    as_one([found[name, "triton"] for found in results], name, {"reduction": "none"}, (4, 0, 7))


@claim("clip_loss", "Over ranks open_clip gathers all features on each, of batches of one size; with local_loss it leaves out the gradients")
def test_what_a_local_loss_leaves_out(results: list[dict[Any, Any]]) -> None:
    """Its gradient, of this rank's rows of both directions and their own vectors alone, is not the whole one, which is had here."""
    sizes, own = (4, 0, 7), slice(0, 4)
    (x, y), _ = batch("clip_loss", {}, sizes)
    a = x[own].clone().requires_grad_()
    rows = 1.7 * torch.cat((a @ y.t(), y[own] @ x.t()))
    (local,) = torch.autograd.grad(0.5 * torch.nn.functional.cross_entropy(rows, torch.arange(4).repeat(2), reduction="sum") * 2 / 11, a)
    whole = outcome("clip_loss", {}, sizes)[2][own]
    found = results[0][sizes, "torch", CASES.index(("clip_loss", {}))][2]
    agree(found, whole)
    assert (local - whole).norm() > 0.1 * whole.norm()


@claim("info_nce_loss", "The scores are made twice, for the sums and for the gradients, both in the forward; with reduction=")
@claim("clip_loss", "Over ranks, see `info_nce_loss`, the scores are made once for each direction's sums, and once for the gradients of both")
@claim("siglip_loss", "Over ranks one round gives loss and gradients")
def test_how_often_scores_are_made(results: list[dict[Any, Any]]) -> None:
    """Of three blocks, which take four exchanges a round, there and back."""
    softmax = [((6, 8), (0, 0)), ((3, 4), (3, 4))]
    expected = {"clip_loss": [((9, 8), (0, 0)), ((6, 4), (3, 4))], "siglip_loss": [((3, 4), (0, 0)), ((3, 4), (3, 4))]}
    for name in NAMES:
        for found in results:
            assert found[name, "counted"] == expected.get(name, softmax), name


def test_a_sure_query_keeps_its_digits(results: list[dict[Any, Any]]) -> None:
    """In float32, though those who might be mistaken for its key are elsewhere; and a tensor that needs no gradient on some ranks is no obstacle."""
    sure = torch.eye(2, 3, dtype=torch.float64) * 5.0
    whole = losskit.info_nce_loss(sure.repeat(3, 1), torch.cat([sure.roll(rank, 1) for rank in range(3)]), temperature=1.0, reduction="none")
    torch.testing.assert_close(torch.cat([found["sure"] for found in results]).double(), whole, rtol=1e-5, atol=0.0)
    everyone = sure.repeat(3, 1)
    for found in results:
        torch.testing.assert_close(found["no gradient"].double(), losskit.clip_loss(everyone, everyone), rtol=1e-5, atol=0.0)


def test_gradients_that_are_averaged_afterwards(results: list[dict[Any, Any]]) -> None:
    for found in results:
        for averaged, summed in zip(found["averaged"], found["summed"], strict=True):
            assert summed.any()
            torch.testing.assert_close(averaged, 3.0 * summed)


@claim("info_nce_loss", "Over ranks no more than one other rank's vectors are held at a time")
def test_one_block_at_a_time(results: list[dict[Any, Any]]) -> None:
    assert [found["held"] for found in results] == [1, 1, 1]


SAID = (  # of each call: the rank that is wrong, or None where all say it, and what is said there
    (0, "TypeError: key must be a floating-point tensor"),
    (
        None,
        "ValueError: the vectors of query must be the same on all ranks of process_group, got of 3 numbers, of 2 numbers, of 3 numbers: give the same on each",
    ),
    (
        None,
        "ValueError: the dtype of image_features must be the same on all ranks of process_group, got float32 or narrower, float64, float32 or narrower: give",
    ),
    (None, "ValueError: logit_bias must be the same on all ranks of process_group, got 0, 1, 2: give the same on each"),
    (None, "ValueError: temperature must be the same on all ranks of process_group, got 0.5, 1.5, 0.5: give the same on each"),
    (None, "ValueError: reduction must be the same on all ranks of process_group, got 'mean', 'sum', 'mean': give the same on each"),
    (None, "ValueError: normalizer must be the same on all ranks of process_group, got None, 3, None: give the same on each"),
    (
        None,
        "ValueError: sample_weight must be the same on all ranks of process_group, got without a gradient, with a gradient, without a gradient: give the same on each",
    ),
    (None, "ValueError: exclude of rank 1 must have a column for each candidate of all ranks of process_group, 12 in their order, got 4 columns"),
    (
        1,
        "ValueError: exclude rules out an item's own partner, at (2, 6), as this rank's columns begin at 4: set exclude[range(4), range(4, 8)] = False, or take the",
    ),
    (None, "ValueError: labels must be the same on all ranks of process_group, got whole numbers, floating point, whole numbers: give the same on each"),
    (None, "ValueError: labels of rank 0 must have a column for each candidate of all ranks of process_group, 12 in their order, got 4 columns"),
    (
        None,
        "ValueError: the backward of each item's loss has all ranks of process_group take part, and rank 1 has nothing that requires a gradient: try query.requires",
    ),
    (None, "ValueError: query must be one batch, shape (N, D), beside process_group, got shape (1, 4, 3): give one batch at a time"),
    (None, "TypeError: process_group must be a torch.distributed.ProcessGroup, got str: for all ranks, try torch.distributed.group.WORLD"),
    (None, "RuntimeError: second derivatives and batches of gradients cannot be had with process_group"),
    (None, "RuntimeError: second derivatives and batches of gradients cannot be had with process_group"),
    (None, "RuntimeError: process_group takes plain tensors, outside of transforms, and here the call is being compiled"),
    (
        None,
        "RuntimeError: process_group takes plain tensors, outside of transforms, and here inside a torch.func transform: gather the batch first, and leave process_group",
    ),
    (0, "ValueError: temperature must be"),
    (
        None,
        "TypeError: normalizer must be a number or a 0-d tensor beside process_group, got losskit.Ranks: the count is that of all ranks, leave normalizer out",
    ),
    (None, "True"),
)


@claim("info_nce_loss", "Second derivatives, (..., N, D), transforms and torch.compile are refused there")
def test_what_one_rank_refuses_is_raised_on_all(results: list[dict[Any, Any]]) -> None:
    for place, (wrong, text) in enumerate(SAID):
        for rank, found in enumerate(results):
            expected = text if wrong in (None, rank) else f"Refused: rank {wrong} of process_group has refused its input: see what it raises"
            assert found["refused"][place].startswith(expected), found["refused"][place]
