"""Two losses of one call in one pass, however they are written: a loss of overlap takes along what a loss of items adds up over the same input and target.

A loss of items is called with an `Offer` in place of a normalizer. Where its pass has room beside sums of overlap, it leaves its formula there and returns the offer;
else it ignores it. A loss of overlap that is called with `Company` in place of a normalizer takes that along, if both mean the same items.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from losskit.contract.scores import Extra
from losskit.engines.call import Call, Rows

PLAIN = (Tensor, nn.Parameter)
MAX_PARAMS = 4  # of a formula, beside sums of overlap


class Second(NamedTuple):
    """What a loss of items adds up, and of which."""

    formula: Callable[..., Any]
    params: tuple[float, ...]
    axis: int | None  # the class axis, beside labels
    ignore: int | None
    unit: bool = False  # targets lie in [0, 1]
    weight: Tensor | None = None
    by_weight: bool = False


class Offer:
    """In place of a normalizer: asks a loss of items for what it adds up. (`unit`: of targets in [0, 1], of which a number outside marks what is absent and nothing else.)"""

    def __init__(self) -> None:
        self.second: Second | None = None

    def of_rows(self, call: Rows, by_weight: bool) -> "Offer":
        """A softmax beside labels."""
        self.second = Second(call.formula, call.params, call.dim, call.ignore, False, call.weight, by_weight)
        return self

    def of_numbers(self, call: Call, ignore: int | None, unit: bool) -> "Offer":
        """A loss of each number by itself."""
        self.second = Second(call.formula, call.params, None, ignore, unit)
        return self


class Company:
    """In place of a normalizer: asks a loss of overlap to take the other along, whose mean is `mean` then."""

    def __init__(self, second: Second) -> None:
        self.second = second
        self.mean: Tensor | None = None

    def extra(self, input: Tensor, target: Tensor, mask: Tensor | None, task: str, dim: int, ignore_index: int, alone: bool) -> Extra | None:
        """The second loss of the pass; None where both do not mean the same items. `alone`: the pass is to give something else."""
        second = self.second
        labelled = task == "multiclass"
        if alone or len(second.params) > MAX_PARAMS or (labelled and target.shape == input.shape) or (mask is not None and mask.shape != target.shape):
            return None
        same = (
            second.axis is not None and second.axis == dim % max(input.dim(), 1) and second.ignore == ignore_index
            if labelled
            else second.axis is None and (second.ignore == ignore_index or (second.ignore is None and second.unit and ignore_index not in (0, 1)))
        )
        return Extra(second.formula, second.params, weight=second.weight, by_weight=second.by_weight, apart=True) if same else None


def unasked(normalizer: Any) -> Any:
    """The normalizer of a loss that neither takes another along nor goes along."""
    return None if isinstance(normalizer, (Offer, Company)) else normalizer


def untouched(part: Any) -> bool:
    """Whether a module is of a class of losskit, with no hooks: of any other, what its call does is not known."""
    hooks = (getattr(part, name, None) for name in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks"))
    return type(part).__module__.partition(".")[0] == "losskit" and not any(hooks)


def pattern_of(part: Any) -> str:
    """The pattern of a loss that may share a pass, "" for any other, those whose call does more than the loss's own among them."""
    loss = getattr(part, "loss", None) if untouched(part) else None
    pattern = getattr(loss, "pattern", "")
    return pattern if pattern == "overlap" or (pattern in ("rows", "elementwise") and getattr(part, "reduction", "") == "mean") else ""


def losses(parts: Sequence[Callable[..., Any]], tensors: tuple[Any, ...], given: Mapping[str, Any]) -> list[Any]:
    """What each of some losses gives for one call, in as few passes as there may be."""
    found: dict[int, Any] = {}
    patterns = [pattern_of(part) for part in parts]
    hosts = [place for place, pattern in enumerate(patterns) if pattern == "overlap"]
    guests = [place for place, pattern in enumerate(patterns) if pattern in ("rows", "elementwise")]
    if hosts and guests and len(tensors) == 2 and given.keys() <= {"mask"} and all(type(x) in PLAIN for x in (*tensors, *given.values())):
        for guest in guests:
            if not hosts:
                break
            offer = Offer()
            value = parts[guest](*tensors, **given, normalizer=offer)
            if value is not offer:
                found[guest] = value
                continue
            assert offer.second is not None
            company = Company(offer.second)
            while hosts and company.mean is None:
                host = hosts.pop(0)
                found[host] = parts[host](*tensors, **given, normalizer=company)
            if company.mean is not None:
                found[guest] = company.mean
    return [found[place] if place in found else part(*tensors, **given) for place, part in enumerate(parts)]
