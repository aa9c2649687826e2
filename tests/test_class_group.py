"""Classes that are spread over the ranks of a group: value and gradients are those of one process that holds all of them, whatever the shards."""

from typing import Any

import pytest
import torch
from cases import thorough_rows
from class_group_refusals import ALIKE, alike, of_subclass, refused, ruled_out, told_to_others
from ranks import results_of
from torch import Tensor, distributed

import losskit
from losskit.engines import chunks

pytestmark = pytest.mark.skipif(not distributed.is_available() or not distributed.is_gloo_available(), reason="gloo")

SHARDS = {2: ((5, 3), (1, 1)), 3: ((5, 3, 4), (7, 0, 2))}  # classes of each rank
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 0.01},
    {"softcap": 5.0},
    {"temperature": 2.0, "reduction": "none", "return_parts": True},
    {"weight": "given", "reduction": "sum"},
    {
        "weight": "given",
        "label_smoothing": 0.2,
        "z_loss": 0.1,
        "softcap": 9.0,
        "temperature": 0.7,
        "sample_weight": "given",
        "mask": "given",
        "return_parts": True,
    },
    {"weight": "given", "label_smoothing": 0.2, "sample_weight": "given", "mask": "given", "reduction": "none"},
    {"normalizer": 7.0, "mask": "given"},
    {"far": True},
    {"temperature": "learned", "label_smoothing": "items", "z_loss": 0.1, "weight": "given", "mask": "given", "return_parts": True},
    {"temperature": "items", "label_smoothing": "learned", "softcap": 5.0, "sample_weight": "learned"},
    {"target": "given", "return_parts": True},
    {
        "target": "learned",
        "weight": "given",
        "label_smoothing": 0.2,
        "z_loss": 0.1,
        "softcap": 9.0,
        "temperature": "learned",
        "mask": "given",
        "sample_weight": "given",
    },
    {"target": "learned", "label_smoothing": "items", "z_loss": 0.1, "sample_weight": "learned", "mask": "given", "reduction": "none", "return_parts": True},
    {"target": "given", "far": True, "reduction": "sum"},
    {"weight": "learned", "z_loss": 0.1, "return_parts": True, "mask": "given"},
    {"weight": "learned", "label_smoothing": "learned", "temperature": "items", "sample_weight": "given", "reduction": "sum", "softcap": 9.0},
    {"weight": "learned", "label_smoothing": 0.2, "reduction": "none"},
    {"weight": "learned", "target": "learned", "label_smoothing": "learned", "temperature": 0.7, "z_loss": 0.1, "mask": "given", "return_parts": True},
    {"out": True, "temperature": 2.0, "return_parts": True},
    {"out": True, "z_loss": 0.1, "weight": "given", "reduction": "none"},
    {"out": True, "target": "given", "temperature": "learned"},
    {"out": True, "label_smoothing": 0.1},
    {"weight": "nothing", "sample_weight": "given"},
    {"mask": "nothing", "return_parts": True},
)
IN_LOOPS = (
    6,
    1,
    4,
    7,
    10,
    11,
    13,
    14,
    17,
    19,
    20,
    21,
    22,
    24,
    25,
)  # those of the settings that loops are asked for; `make test` asks for the first, on one of the shards
ITEMS = 12
ALL = [sizes for shards in SHARDS.values() for sizes in shards]
SPREAD = {"x": 1, "target": 1, "weight": 0, "head": 0, "bias": 0}  # what each rank holds a part of, and along which axis


def on_turn(sizes: tuple[int, ...], i: int) -> bool:
    """Whether `make test` asks these shards for this setting: it asks two of the four for each, one of two ranks and one of three."""
    return i % 2 == ALL.index(sizes) % 2


def batch(classes: int, case: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Everything of one process, and the settings; tensors that are "learned", or "items", require a gradient."""
    draw = torch.Generator().manual_seed(classes)
    real: dict[str, Any] = dict(generator=draw, dtype=torch.float64)
    x = 3.0 * torch.randn(ITEMS, classes, **real)
    if case.get("far"):  # scores of +-10,000: some ranks hold nothing that counts
        x = x * 3e3
    t = torch.randint(classes, (ITEMS,), generator=draw)
    t[3], t[7] = -100, -100
    leaves = {"x": x, "h": torch.randn(ITEMS, 4, **real), "head": torch.randn(classes, 4, **real), "bias": torch.randn(classes, **real)}
    if case.get("out"):  # classes that are ruled out, on some ranks all of them; with a smoothing the loss is infinite
        t, x[:, 5:], leaves["bias"][5:] = torch.where(t < 0, t, t % min(5, classes)), -torch.inf, -torch.inf
    weight, each = torch.rand(classes, **real) + 0.1, torch.rand(ITEMS, **real)
    mask, soft = torch.rand(ITEMS, generator=draw) > 0.2, torch.randn(ITEMS, classes, **real).softmax(1)
    soft = soft * (torch.arange(classes) < 5) / soft[:, :5].sum(1, keepdim=True) if case.get("out") else soft
    made = {"weight": weight, "sample_weight": each, "target": soft, "mask": mask}
    numbers = {"temperature": (torch.tensor(1.7, dtype=torch.float64), 0.5 + each), "label_smoothing": (torch.tensor(0.3, dtype=torch.float64), 0.8 * each)}
    numbers["label_smoothing"][1][2] = 0.0
    settings: dict[str, Any] = {"target": t}
    for key, value in case.items():
        if value in ("learned", "items"):
            leaves[key] = numbers[key][value == "items"] if key in numbers else made[key]
        elif key not in ("far", "out"):
            settings[key] = {"given": made.get(key), "nothing": torch.zeros_like(made[key]) if key in made else None}.get(value, value)
    return leaves, {key: value for key, value in settings.items() if key not in leaves}


def part(name: str, x: Any, own: slice) -> Any:
    """What a rank holds of it."""
    axis = SPREAD.get(name)
    return x if axis is None or (name == "target" and not x.is_floating_point()) else x[own] if axis == 0 else x[:, own]


def outcome(loss: Any, leaves: dict[str, Tensor], settings: dict[str, Any]) -> dict[str, Tensor]:
    """Of a call: what it gives, and every gradient; a second backward gives the same."""
    leaves = {name: x.clone().requires_grad_() for name, x in leaves.items()}
    given = loss(**leaves, **settings)
    value, parts = given if settings.get("return_parts") else (given, None)
    incoming = torch.linspace(-1.0, 2.0, value.numel(), dtype=torch.float64).reshape(value.shape)
    found, again = (torch.autograd.grad(value, list(leaves.values()), incoming, retain_graph=True) for _ in range(2))
    for a, b in zip(found, again, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-15)
    seen = {} if parts is None else {name: x for name, x in parts._asdict().items() if x is not None}
    return {"value": value.detach(), **seen, **{f"by {name}": g for name, g in zip(leaves, found, strict=True)}}


def both(leaves: dict[str, Tensor], own: slice, settings: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Of logits, and of a head."""
    leaves, settings = ({name: part(name, x, own) for name, x in given.items()} for given in (leaves, settings))
    of_head = {"h": "input", "head": "linear_weight", "bias": "linear_bias"}
    logits = {name: x for name, x in leaves.items() if name not in of_head}
    linear = {name: x for name, x in leaves.items() if name != "x"}
    return (
        outcome(lambda x, **more: losskit.cross_entropy(x, **more), logits, settings),
        outcome(lambda h, head, bias, **more: losskit.linear_cross_entropy(h, head, linear_bias=bias, chunk=5, **more), linear, settings),
    )


def made_once(group: Any, own: slice, classes: int) -> tuple[int, int]:
    """How often a rank multiplies for scores in forward and backward, and how often it would if it made all of them once, in the smallest chunks that a rank asks for."""
    leaves, settings = batch(classes, SETTINGS[IN_LOOPS[0]])
    h, head, bias = (part(name, leaves[name], own).clone().requires_grad_() for name in ("h", "head", "bias"))
    made: list[int] = []
    scores = chunks.Weight.scores
    with pytest.MonkeyPatch.context() as patch, losskit.use_engine("cpu"):
        patch.setattr(chunks.Weight, "scores", lambda self, rows, out: made.append(len(rows)) or scores(self, rows, out))
        settings = {name: part(name, x, own) for name, x in settings.items()}
        value, parts = losskit.linear_cross_entropy(h, head, linear_bias=bias, chunk=5 + own.start, class_group=group, **settings)
        value.backward()
    return len(made), -(-int(parts.items) // 5)


def spread_items(group: Any, rank: int, world: int) -> dict[str, Tensor]:
    """Hidden states of which each rank holds a part of the items, of one size or not, along either axis: value, and gradients of hidden states and head."""
    draw, found = torch.Generator().manual_seed(world), {}
    hidden, head = torch.randn(6, 9, 4, generator=draw, dtype=torch.float64), torch.randn(7, 4, generator=draw, dtype=torch.float64)
    labels, heat = torch.randint(7, (6, 9), generator=draw), torch.tensor(1.3, dtype=torch.float64)
    labels[0, 5], classes = -100, {2: (4, 3), 3: (5, 0, 2)}[world]
    for axis, sizes, more in (
        (0, [6 // world] * world, {}),
        (1, [9, 0, 0][:world], {"shift": True}),
        (1, [4, 5, 0][:world], {"label_smoothing": 0.1, "z_loss": 0.1}),
    ):
        for alone in (True, False):
            h, w, t = hidden, head, heat.clone().requires_grad_()
            if not alone:
                h, w = h.split(sizes, axis)[rank], w.split(classes)[rank]
            h, w = h.clone().requires_grad_(), w.clone().requires_grad_()
            how = {} if alone else {"class_group": group, "sequence_dim": axis}
            value = losskit.linear_cross_entropy(h, w, labels, temperature=t, reduction="none", **more, **how)
            incoming = torch.linspace(-1.0, 2.0, 54, dtype=torch.float64).reshape(6, 9)
            by_h, by_w, by_t = torch.autograd.grad(value, (h, w, t), incoming)
            if alone:
                by_h, by_w = by_h.split(sizes, axis)[rank], by_w.split(classes)[rank]
            found |= {f"{axis} {sizes} {name}{' alone' * alone}": y for name, y in zip("vhwt", (value.detach(), by_h, by_w, by_t), strict=True)}
    return found


def token_parts(group: Any, rank: int, world: int) -> dict[str, Tensor]:
    """Entropy and most probable classes of tokens, of scores that are whole numbers, many of them equal on several ranks; alone, and over ranks."""
    draw, found = torch.Generator().manual_seed(world), {}
    hidden, head = (torch.randint(-2, 3, shape, generator=draw).double() for shape in ((3, 5, 4), (9, 4)))
    head[6], head[8] = head[1], head[1]
    labels, sizes = torch.randint(9, (3, 5), generator=draw), {2: (4, 5), 3: (2, 0, 7)}[world]
    labels[1, 2], mask, own = -100, torch.rand(3, 5, generator=draw) > 0.2, slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
    cases: tuple[dict[str, Any], ...] = (
        {},
        {"top_k": 4, "temperature": 0.8, "softcap": 3.0, "mask": mask},
        {"top_k": 9, "shift": True},
        {"top_k": 3, "chunk": 4},
        {"top_k": 2},  # of hidden states that are spread, too
    )
    for i, case in enumerate(cases):
        for alone in (True, False):
            parted = i == len(cases) - 1 and not alone
            how: dict[str, Any] = {} if alone else {"class_group": group, "sequence_dim": 0 if parted else None}
            h = hidden.tensor_split(world)[rank] if parted else hidden
            given: Any = losskit.linear_log_prob(h, head if alone else head[own], labels, return_parts=True, **case, **how)
            each, parts = given
            for name, y in (("log p", each), ("entropy", parts.entropy), ("values", parts.top.values), ("classes", parts.top.indices)):
                found[f"{i} {name}{' alone' * alone}"] = y
    return found


def asked(group: Any, rank: int) -> tuple[str, Tensor]:
    """The engine of a call that only one rank asks for, so nothing may be sent; and the loss of a module that is made with the group."""
    hidden, head, labels = torch.ones(2 * rank, 4), torch.ones(3, 4), torch.arange(6)
    loss = losskit.LinearCrossEntropyLoss(class_group=group, sequence_dim=0)
    return losskit.engine_for(loss, hidden, head, labels).engine if rank == 1 else "", loss(hidden, head, labels)


def work(rank: int, groups: dict[int, Any], all_of_it: bool) -> dict[Any, Any]:
    """What a rank does: its part of every case."""
    found: dict[Any, Any] = {}
    for world, group in groups.items():
        for sizes in SHARDS[world] if rank < world else ():
            own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
            for i, case in enumerate(SETTINGS):
                if not (all_of_it or on_turn(sizes, i)):
                    continue
                leaves, settings = batch(sum(sizes), case)
                for engine in ("torch", "cpu") if i in (IN_LOOPS if all_of_it else IN_LOOPS[:1] if sizes == (5, 3, 4) else ()) else ("torch",):
                    with losskit.use_engine(engine):
                        found[sizes, i, engine] = both(leaves, own, settings | {"class_group": group})
    found["tokens"] = {world: token_parts(group, rank, world) for world, group in groups.items() if rank < world}
    found["log-probabilities"] = losskit.linear_log_prob(torch.ones(2, 4), torch.full((3, 4), 0.5), torch.tensor([2, 5]), class_group=groups[3])
    found["made once"] = made_once(groups[3], slice((0, 5, 8)[rank], (5, 8, 12)[rank]), 12)
    found["spread items"] = {world: spread_items(group, rank, world) for world, group in groups.items() if rank < world}
    found["asked"] = asked(groups[3], rank)
    found["ruled out"] = {world: ruled_out(group, rank, world) for world, group in groups.items() if rank < world}
    found["subclass"] = of_subclass(groups[3], rank)
    found["refused"] = refused(groups[3], rank)
    found["alike"] = alike(groups[3], rank)
    pairs = [distributed.new_group(ranks) for ranks in ([0], [1, 2])]
    found["told to others"] = told_to_others((pairs[0], pairs[1], pairs[1]), groups[2], rank)
    if rank == 2:
        with pytest.raises(ValueError, match="class_group is a group without this rank: call the loss on the ranks of the group alone"):
            losskit.cross_entropy(torch.randn(4, 3), torch.zeros(4, dtype=torch.long), class_group=groups[2])
    return found


@pytest.fixture(scope="module")
def results(request: pytest.FixtureRequest) -> list[dict[Any, Any]]:
    return results_of(work, request)


@pytest.mark.parametrize(
    ("sizes", "engine"),
    [*((sizes, "torch") for sizes in ALL), ((5, 3, 4), "cpu"), *thorough_rows((sizes, "cpu") for sizes in ALL if sizes != (5, 3, 4))],
    ids=str,
)
def test_as_one_process(results: list[dict[Any, Any]], sizes: tuple[int, ...], engine: str) -> None:
    for i, case in enumerate(SETTINGS):
        if (sizes, i, engine) not in results[0]:
            assert engine == "cpu" or not on_turn(sizes, i)
            continue
        leaves, settings = batch(sum(sizes), case)
        with losskit.use_engine("torch"):
            wanted = both(leaves, slice(None), settings)
        for rank in range(len(sizes)):
            own = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
            for here, first, whole in zip(results[rank][sizes, i, engine], results[0][sizes, i, engine], wanted, strict=True):
                assert here.keys() == whole.keys()
                for name, y in here.items():
                    of = name.removeprefix("by ")
                    if name != of and whole["value"].isinf().any():  # what a ruled-out class has of an infinite loss differs
                        continue
                    assert of in SPREAD or torch.equal(y, first[name])  # the same bits on every rank
                    want = part(of, whole[name], own)
                    close = 1e-12 * float(want.abs().max() if want.numel() else 0.0)
                    torch.testing.assert_close(y, want, rtol=1e-12, atol=close, msg=lambda text, at=(i, case, name): f"{at}: {text}")
    assert [i for i in IN_LOOPS if (sizes, i, "cpu") in results[0]] in ([], [*IN_LOOPS[:1]], [*IN_LOOPS]) and (
        engine == "torch" or (sizes, IN_LOOPS[0], engine) in results[0]
    )


def test_modules_and_what_one_rank_asks_alone(results: list[dict[Any, Any]]) -> None:
    for rank, found in enumerate(results):
        engine, value = found["asked"]
        assert (engine in ("torch", "cpu")) == (rank == 1)
        torch.testing.assert_close(value, torch.tensor(9.0).log())


def test_log_probabilities(results: list[dict[Any, Any]]) -> None:
    for found in results:
        torch.testing.assert_close(found["log-probabilities"], torch.full((2,), 1 / 9.0).log())


def test_parts_of_tokens(results: list[dict[Any, Any]]) -> None:
    for world in (2, 3):
        for rank in range(world):
            found = results[rank]["tokens"][world]
            assert len(found) == 40
            for name in [name for name in found if not name.endswith("alone")]:
                assert torch.equal(found[name], results[0]["tokens"][world][name])
                torch.testing.assert_close(found[name], found[name + " alone"], rtol=1e-12, atol=1e-13, msg=lambda text, at=(world, name): f"{at}: {text}")


def test_scores_are_made_once(results: list[dict[Any, Any]]) -> None:
    for found in results:
        made, chunks_of_five = found["made once"]
        assert made == chunks_of_five > 1


def test_hidden_states_that_are_spread(results: list[dict[Any, Any]]) -> None:
    for world in (2, 3):
        for rank in range(world):
            found = results[rank]["spread items"][world]
            assert len(found) == 24
            for name in [name for name in found if not name.endswith("alone")]:
                torch.testing.assert_close(
                    found[name], found[name + " alone"], rtol=1e-12, atol=1e-13, msg=lambda text, at=(world, rank, name): f"{at}: {text}"
                )


@pytest.mark.parametrize("what", ["ruled out", "subclass"])
def test_what_is_ruled_out_and_of_subclasses(results: list[dict[Any, Any]], what: str) -> None:
    for found in results:
        for given in found[what].values() if what == "ruled out" else (found[what],):
            assert len(given) == {"ruled out": 14, "subclass": 4}[what]
            for name in [name for name in given if not name.endswith("alone")]:
                torch.testing.assert_close(given[name], given[name + " alone"], msg=lambda text, at=name: f"{at}: {text}")
            assert what == "subclass" or (given["labels losses"].isinf().tolist() == [False, False, True, False] and not given["entropy"].isnan().any())


def test_what_all_ranks_are_given_alike(results: list[dict[Any, Any]]) -> None:
    for row, (name, _, _, text) in enumerate(ALIKE):
        told = [found["alike"][row] for found in results]
        assert text in told[0], name
        same = "must call alike" in told[0]
        for other in told[1:]:
            assert other == told[0] if same else other == "Refused: rank 0 of class_group has refused its input: see what it raises", name


def test_what_one_group_is_told_another_hears(results: list[dict[Any, Any]]) -> None:
    first, second, third = (found["told to others"] for found in results)
    assert first.startswith("ValueError: target must hold labels from 0 to 5")
    assert second.startswith("Refused: rank 0 of class_group has a label that is none of the 6 classes")
    assert third == "Refused: another rank has refused its input: see what it raises"


def test_what_one_rank_refuses_is_raised_on_all(results: list[dict[Any, Any]]) -> None:
    told = list(zip(*(found["refused"] for found in results), strict=True))
    for of, wrong, text in (
        (0, 0, "TypeError: input must be a floating-point tensor, got torch.int64"),
        (3, 1, "ValueError: input of shape (4, 5) and linear_weight of shape (5, 3) do not multiply"),
    ):
        for rank in range(3):
            assert told[of][rank].startswith(text if rank == wrong else f"Refused: rank {wrong} of class_group has refused its input")
    for rank in range(3):
        assert told[1][rank].startswith("ValueError: the ranks of class_group hold 4, 3, 4 items: each must hold scores of all items")
        assert told[2][rank].startswith("ValueError: target must hold labels from 0 to 8 (the input has 9 classes) or ignore_index=-100, got 96 at index (0,)")
        assert told[4][rank].startswith(
            "TypeError: class_group must be a torch.distributed.ProcessGroup, got str: for all ranks, try torch.distributed.group.WORLD"
        )
        assert told[5][rank] == "ValueError: inplace=True does not go with class_group: leave it out"
        mine = "ValueError: target must hold labels from 0 to 8" if rank == 2 else "Refused: rank 2 of class_group has a label that is none of the 9 classes"
        assert told[7][rank].startswith(mine)
        text = "row at index (0,) sums to 3 over all ranks, expected 1. Divide by the sum over all ranks"
        assert told[8][rank] == f"ValueError: target must hold probabilities, whose classes are spread over class_group as the input's are: the {text}"
        assert told[9][rank].startswith("ValueError: temperature must be > 0, got -1")
        assert told[10][rank].startswith("RuntimeError: second derivatives cannot be had with class_group")
        alike = "ValueError: the ranks of class_group must call alike, but "
        assert told[6][rank] == f"{alike}target is class labels on some and probabilities on others"
        assert told[11][rank] == f"{alike}the hidden states, temperature or label_smoothing require a gradient on some and not on others"
        assert told[12][rank] == f"{alike}reduction or return_parts differ"
        assert told[14][rank].startswith("ValueError: target is what linear_probabilities gives, a softmax over the classes of this rank alone")
        refused_by = "Refused: rank {} of class_group has refused its input"
        last = "ValueError: sequence_dim must be an axis of the items of input, whose shape is (4, 5), and the last one is the width; got"
        assert told[15][rank].startswith(f"{last} {rank}" if rank else refused_by.format(1))
        assert told[16][rank].startswith(
            refused_by.format(0) if rank else "ValueError: input of shape (4, 6) and linear_weight of shape (3, 5) do not multiply"
        )
        assert told[17][rank].startswith("ValueError: the ranks of class_group must hold hidden states of one shape but for sequence_dim=0, of one dtype")
        assert told[18][rank] == "TypeError: sequence_dim must be an integer, or None, got str: 'items'"
        assert told[19][rank].startswith("ValueError: sequence_dim names the axis along which hidden states are spread over class_group: give class_group")
        assert told[20][rank] == "ValueError: top_k must be from 0 to the number of classes, 9, got 10"
        assert told[21][rank] == "ValueError: top_k must be the same on all ranks of class_group, got 0, 1, 2: give the same on each"
        assert told[23][rank] == "ValueError: return_parts must be the same on all ranks of class_group, got True, False, False: give the same on each"
        assert told[24][rank] == "ValueError: top_k must be from 0 to the number of classes, 9, got -1"
        assert told[25][rank].startswith(refused_by.format(1) if rank != 1 else "TypeError: top_k must be a whole number of classes, got str")
        assert told[26][rank].startswith("ValueError: the ranks of class_group must hold hidden states of one shape but for sequence_dim=0, of one dtype")
        assert told[27][rank] == f"{alike}the scores are float64 on some and narrower on others"
        assert told[28][rank].startswith("ValueError: the ranks of class_group hold no classes")
        assert told[29][rank] == "ValueError: log_input=True does not go with class_group: leave it out"
        assert told[30][rank].startswith("ValueError: sequence_dim names the axis along which hidden states are spread over class_group: give class_group")
        assert told[22][rank].startswith("ValueError: the ranks of the process group must call the same loss with the same arguments")
        wrong = "ValueError: target must hold probabilities along dim=1, got -"
        assert told[13][rank].startswith("Refused: rank 0 of class_group has refused its input" if rank else wrong)
