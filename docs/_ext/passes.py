"""What a public loss asks of its engine: the passes that a call makes, observed while it runs in PyTorch operations.

So a page that runs formulas elsewhere takes formula and parameters from the loss itself, and repeats none of its decisions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from unittest import mock

from torch import Tensor

import losskit
from losskit.contract import overlap as contract
from losskit.contract.scores import Scoring, loss_of_sums
from losskit.engines.torch import boxes, distributions, elementwise, overlap, rows

PLAIN = {"elementwise": elementwise, "rows": rows, "distributions": distributions, "boxes": boxes}


class Pass(NamedTuple):
    """One pass of a pattern: what the engine was told, and of which tensors; of sums also what becomes of them."""

    pattern: str
    call: Any
    operands: tuple[Tensor, ...]
    how: Scoring | None = None


@contextmanager
def observed() -> Iterator[list[Pass]]:
    """Within, every pass in PyTorch operations is noted. A pass within another (the second loss of a sum) is part of that one."""
    seen: list[Pass] = []
    inside: list[str] = []

    def noting(pattern: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def run(call: Any, *operands: Tensor) -> Any:
            if not inside:
                seen.append(Pass(pattern, call, operands))
            inside.append(pattern)
            try:
                return function(call, *operands)
            finally:
                inside.pop()

        return run

    def settled(how: Scoring, sums: Any, derive: bool) -> Any:
        seen[-1] = seen[-1]._replace(how=how)
        return scored(how, sums, derive)

    scored = loss_of_sums
    with losskit.use_engine("torch"):
        patches = [mock.patch.object(module, "losses", noting(name, module.losses)) for name, module in PLAIN.items()]
        patches += [mock.patch.object(overlap, "sums", noting("overlap", overlap.sums)), mock.patch.object(contract, "loss_of_sums", settled)]
        for patch in patches:
            patch.start()
        try:
            yield seen
        finally:
            for patch in patches:
                patch.stop()


def passes_of(loss: Callable[..., Any], *tensors: Tensor, **settings: Any) -> list[Pass]:
    """The passes of one call."""
    with observed() as seen:
        loss(*tensors, **settings)
    return seen


def numbers(x: Tensor | None) -> list[Any] | None:
    """A tensor as lists, or None."""
    return None if x is None else x.detach().double().tolist()


def described(one: Pass, name: Callable[[Callable[..., Any]], str]) -> dict[str, Any]:
    """A pass without its tensors, as the patterns of the page take it; `name` names formulas."""
    call = one.call
    found: dict[str, Any] = {"pattern": one.pattern, "formula": None if call.formula is None else name(call.formula), "params": list(call.params)}
    if one.pattern in ("rows", "distributions"):
        found |= {"weight": numbers(call.weight), "link": None if call.link is None else name(call.link), "linkParameter": call.link_parameter}
        if call.tempered:
            found |= {"temperature": numbers(one.operands[2])}
    if one.pattern == "rows":
        found |= {"shares": numbers(call.shares), "margin": None if call.margin is None else name(call.margin)}
    if one.pattern == "distributions":
        found |= {"shift": call.shift, "square": call.square, "kind": call.kind}
    if one.pattern == "boxes":
        found |= {"form": call.form}
    if one.pattern == "overlap":
        assert one.how is not None
        found |= {"link": call.link, "kind": call.kind, "squared": call.squared, "how": scoring(one.how, name)}
    return without_defaults(found)


def scoring(how: Scoring, name: Callable[[Callable[..., Any]], str]) -> dict[str, Any]:
    """How sums become a loss."""
    extra = how.extra
    return without_defaults(
        {
            "formula": name(how.formula),
            "params": list(how.params),
            "over": how.over,
            "average": how.average,
            "squared": how.squared,
            "background": how.background,
            "empty": how.empty,
            "weight": numbers(how.weight),
            "volume": how.volume,
            "score": how.score,
            "labelled": how.labelled,
            "extra": None
            if extra is None
            else {"share": extra.share, "overlapShare": extra.overlap_share, "weight": numbers(extra.weight), "byWeight": extra.by_weight},
        }
    )


def without_defaults(found: Mapping[str, Any]) -> dict[str, Any]:
    """Without what is None."""
    return {key: value for key, value in found.items() if value is not None}


def formulas_of(passes: Sequence[Pass]) -> list[Callable[..., Any]]:
    """Every formula that passes use."""
    found = [f for one in passes for f in (one.call.formula, getattr(one.call, "link", None), getattr(one.call, "margin", None), one.how and one.how.formula)]
    return [f for f in found if callable(f)]
