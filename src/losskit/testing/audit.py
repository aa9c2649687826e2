"""`audit`: the laws on any callable, and a table of what holds."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from losskit.contract.registry import LOSSES
from losskit.testing.boxes import BoxSubject
from losskit.testing.linear import LinearSubject
from losskit.testing.overlap import OverlapSubject
from losskit.testing.rows import RowSubject, is_rows
from losskit.testing.subject import LawBroken, NotOffered, Subject
from losskit.testing.tables import BOX_LAWS, LAWS, OVERLAP_LAWS, ROW_LAWS, VECTOR_LAWS, WINDOW_LAWS
from losskit.testing.vectors import VectorSubject, subject_kind
from losskit.testing.windows import WindowSubject

KINDS: tuple[tuple[type[Subject], Mapping[str, Any]], ...] = (
    (BoxSubject, BOX_LAWS),
    (OverlapSubject, OVERLAP_LAWS),
    (LinearSubject, ROW_LAWS),
    (RowSubject, ROW_LAWS),
    (VectorSubject, VECTOR_LAWS),
    (WindowSubject, WINDOW_LAWS),
    (Subject, LAWS),
)

Verdict = Literal["holds", "fails", "not offered"]


class Finding(NamedTuple):
    """The result of one law: for a failure, the counterexample; for what the callable does not offer, what is missing."""

    law: str
    says: str
    verdict: Verdict
    detail: str


class AuditResult(NamedTuple):
    """All results of an audit."""

    name: str
    like: str
    findings: tuple[Finding, ...]

    def verdict(self, law: str) -> Verdict:
        """The result of one law."""
        return next(f.verdict for f in self.findings if f.law == law)

    @property
    def failures(self) -> tuple[Finding, ...]:
        """The laws that do not hold."""
        return tuple(f for f in self.findings if f.verdict == "fails")

    def show(self) -> None:
        """Print the table."""
        import shutil

        from rich.console import Console
        from rich.table import Table

        table = Table(title=f"{self.name} examined as {self.like}", show_lines=False)
        for column in ("", "law", "counterexample"):
            table.add_column(column, overflow="fold")
        marks = {"holds": "[green]holds[/]", "fails": "[red]fails[/]", "not offered": "[dim]not offered[/]"}
        from rich.markup import escape

        for f in self.findings:
            table.add_row(marks[f.verdict], escape(f.says), escape(f.detail))
        Console(width=max(100, shutil.get_terminal_size().columns)).print(table)
        counts = {v: sum(f.verdict == v for f in self.findings) for v in marks}
        Console().print(", ".join(f"{n} {v}" for v, n in counts.items()))


def examine(subject: Subject, laws: Iterable[str] | None = None) -> tuple[Finding, ...]:
    """Run laws (all of its kind of loss if none are named) on a subject."""
    findings = []
    table = next(laws for kind, laws in KINDS if isinstance(subject, kind))
    for name in table if laws is None else laws:
        statement = table[name]
        verdict: Verdict = "holds"
        detail = ""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                statement.law(subject)
        except NotOffered as missing:
            verdict, detail = "not offered", str(missing)
        except LawBroken as broken:
            verdict, detail = "fails", str(broken)
        except Exception as error:  # a callable under examination may do anything
            verdict, detail = "fails", f"{type(error).__name__}: {(str(error) or 'no message').strip().splitlines()[0]}"
        findings.append(Finding(name, statement.says, verdict, detail))
    return tuple(findings)


def audit(
    function: Callable[..., Tensor], like: str, *, dtype: torch.dtype = torch.float32, laws: Iterable[str] | None = None, show: bool = True, **arguments: Any
) -> AuditResult:
    """Check any callable `function(input, target, **arguments)` as if it were the loss named `like` (of vectors: `function(anchor, positive, negative)`, ...).

    Arguments are settings of that loss (`alpha=0.25`, `from_logits=False`, ...): they choose the textbook's formula, and those that the callable takes are
    handed to it. What it does not take (mask, sample_weight, normalizer, reduction, ...) is reported as "not offered", not as a failure. The laws are those of
    the loss's kind: of elements (`LAWS`), of rows of class scores (`ROW_LAWS`: `cross_entropy`, `focal_loss` with task="multiclass", ...), of the overlap of
    samples and classes (`OVERLAP_LAWS`: `dice_loss`, ...; they need `task=`, and a `function` that has no such argument is asked as if that were its task), of
    a product (`linear_cross_entropy`: the laws of rows, the head being the identity; `function(input, linear_weight, target)`), of
    boxes (`BOX_LAWS`: `giou_loss`, ...; input and target are corners, (N, 4)), of vectors (`VECTOR_LAWS`: `triplet_margin_loss`, ...; the tensors are those of
    that loss, in its order) or of windows (`WINDOW_LAWS`: `ssim_loss`, ...; input and target are pictures, (N, C, H, W)).

    Args:
        function: a function or a module; its tensors come by position.
        like: a name in `losskit.LOSSES`.
        dtype: the dtype of inputs for laws that do not bring their own.
        laws: names out of the table of the loss's kind; all by default.
        show: print the table.
        arguments: settings, as the loss `like` names them.
    """
    if like not in LOSSES:
        raise ValueError(f"like must be one of {', '.join(LOSSES)}; got {like!r}")
    loss = LOSSES[like]
    unknown = set(arguments) - set(loss.settings)
    if unknown:
        raise TypeError(f"{like} has no setting {', '.join(map(repr, sorted(unknown)))}; it has: {', '.join(loss.settings)}")
    if isinstance(function, type):
        raise TypeError(f"function must be a function or a module, got the class {function.__name__}: try {function.__name__}()")
    if not callable(function):
        raise TypeError(f"function must be callable, got {type(function).__name__}")
    if not dtype.is_floating_point:
        raise TypeError(f"dtype must be a floating-point dtype, got {dtype}")
    missing = [name for name in loss.required if name not in arguments]
    if missing:
        raise TypeError(f"{like} needs {missing[0]}=: audit(..., like={like!r}, {missing[0]}=...)")
    named = {kind.__name__: kind for kind, _ in KINDS}
    base = RowSubject if is_rows(loss, arguments) else named[loss.facts.audit]
    table, kind = dict(KINDS)[base], subject_kind(loss) if base is VectorSubject else base
    if isinstance(laws, str) or not set(laws or ()) <= set(table):
        raise ValueError(f"laws must be a list out of {', '.join(table)}; got {laws!r}")
    name = getattr(function, "__name__", type(function).__name__)
    module = inspect.getmodule(function)
    shown = f"{module.__name__}.{name}" if module is not None else name
    with torch.device("cpu"):  # where the laws' numbers are made, whatever the default device is
        result = AuditResult(shown, like, examine(kind(function, loss, arguments, dtype), laws))
    if show:
        result.show()
    return result
