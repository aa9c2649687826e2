"""The pages on switching from another library: rows that are both what the pages say and what the tests run."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Row(NamedTuple):
    """A call of theirs and the call of ours that gives the same value and gradient, both of the `x` and `t` of a batch."""

    theirs: str
    ours: str
    batch: str
    note: str = ""


class Apart(NamedTuple):
    """A case in which the two part: expressions of one number each, what they print, and why."""

    case: str
    theirs: str
    ours: str
    numbers: tuple[str, str]
    why: str


class Library(NamedTuple):
    """A page."""

    name: str  # of the page's file
    title: str
    against: str  # what the rows were checked against: a version that was called, or where formulas were read
    intro: str
    rows: tuple[Row, ...]
    apart: tuple[Apart, ...]
    missing: tuple[tuple[str, str], ...]  # their name, what it is: losskit has none
    asked: bool = True  # itself; otherwise its formulas are written out in the tests
    close: float = 1e-5  # relative


def draw() -> torch.Generator:
    """A fresh generator, so that every batch is the same wherever it is made."""
    return torch.Generator().manual_seed(0)


def real() -> tuple[Tensor, Tensor]:
    """Real values."""
    g = draw()
    return torch.randn(4, 5, generator=g), torch.randn(4, 5, generator=g)


def binary() -> tuple[Tensor, Tensor]:
    """Logits, and 0 or 1 as floating point."""
    g = draw()
    return 2 * torch.randn(4, 5, generator=g), torch.randint(0, 2, (4, 5), generator=g).float()


def probabilities() -> tuple[Tensor, Tensor]:
    """Probabilities, and 0 or 1."""
    x, t = binary()
    return x.sigmoid(), t


def signs() -> tuple[Tensor, Tensor]:
    """Scores, and -1 or 1."""
    x, t = binary()
    return x, 2 * t - 1


def classes() -> tuple[Tensor, Tensor]:
    """Rows of logits, and labels; one of them is ignored."""
    g = draw()
    t = torch.randint(0, 4, (6,), generator=g)
    return 2 * torch.randn(6, 4, generator=g), t.index_fill(0, torch.tensor(2), -100)


def labels() -> tuple[Tensor, Tensor]:
    """Rows of logits, and labels, none of which is ignored."""
    g = draw()
    return 2 * torch.randn(6, 4, generator=g), torch.randint(0, 4, (6,), generator=g)


def sets() -> tuple[Tensor, Tensor]:
    """Rows of logits, and for each a list of its classes that ends at -1."""
    return labels()[0], torch.tensor([[2, 0, -1, -1], [1, -1, -1, -1], [-1, 0, 0, 0], [3, 2, 0, 1], [0, 1, 3, -1], [3, -1, -1, -1]])


def distributions() -> tuple[Tensor, Tensor]:
    """Rows of logits, and distributions."""
    g = draw()
    return 2 * torch.randn(6, 4, generator=g), torch.randn(6, 4, generator=g).softmax(1)


def pixels() -> tuple[Tensor, Tensor]:
    """Logits of classes for every pixel, and labels."""
    g = draw()
    return 2 * torch.randn(2, 3, 4, 5, generator=g), torch.randint(0, 3, (2, 4, 5), generator=g)


def masks() -> tuple[Tensor, Tensor]:
    """One logit per pixel, and 0 or 1."""
    g = draw()
    return 2 * torch.randn(2, 1, 4, 5, generator=g), torch.randint(0, 2, (2, 1, 4, 5), generator=g).float()


def regions() -> tuple[Tensor, Tensor]:
    """A yes or no for each class of every pixel."""
    g = draw()
    return 2 * torch.randn(2, 3, 4, 5, generator=g), torch.randint(0, 2, (2, 3, 4, 5), generator=g).float()


def boxes() -> tuple[Tensor, Tensor]:
    """Pairs of boxes with corners in order: overlapping, one inside the other, and apart."""
    x = torch.tensor([[10.0, 12.0, 34.0, 40.0], [0.0, 0.0, 20.0, 10.0], [5.0, 5.0, 9.0, 11.0], [50.0, 40.0, 90.0, 60.0], [1.0, 2.0, 3.0, 5.0]])
    t = torch.tensor([[12.0, 10.0, 33.0, 45.0], [5.0, 3.0, 28.0, 14.0], [4.0, 3.0, 12.0, 15.0], [47.0, 41.0, 95.0, 66.0], [4.0, 6.0, 8.0, 9.0]])
    return x, t


def turned() -> tuple[Tensor, Tensor]:
    """Pairs of boxes with an angle."""
    g = draw()
    x, t = (torch.rand(6, 5, generator=g) * torch.tensor([20.0, 20.0, 30.0, 30.0, 3.0]) + torch.tensor([0.0, 0.0, 8.0, 8.0, -1.5]) for _ in "xt")
    return x, t


def overlapping() -> tuple[Tensor, Tensor]:
    """The pairs of boxes that overlap."""
    x, t = boxes()
    return x[:4].clone(), t[:4].clone()


def near() -> tuple[Tensor, Tensor]:
    """Pairs of boxes with an IoU above 1/2."""
    x, t = boxes()
    return x[[0, 3]].clone(), t[[0, 3]].clone()


def pictures() -> tuple[Tensor, Tensor]:
    """Pictures with values from 0 to 1."""
    g = draw()
    t = torch.rand(2, 3, 16, 16, generator=g)
    return (t + 0.1 * torch.randn(2, 3, 16, 16, generator=g)).clamp(0, 1), t


def maps() -> tuple[Tensor, Tensor]:
    """Logits over the pixels of a picture, and a distribution over them."""
    g = draw()
    return torch.randn(2, 3, 12, generator=g), torch.randn(2, 3, 12, generator=g).softmax(2)


def quality() -> tuple[Tensor, Tensor]:
    """Logits, and the quality at the object's class: 0 elsewhere."""
    g = draw()
    score, label = torch.rand(6, generator=g) * 0.9 + 0.05, torch.tensor([0, 2, 3, 1, 3, 0])
    hot = F.one_hot(label, 4)[:, :3] * score[:, None]  # label 3 is the background
    return 2 * torch.randn(6, 3, generator=g), hot


def bins() -> tuple[Tensor, Tensor]:
    """Logits of bins, and distances inside them."""
    g = draw()
    return torch.randn(6, 8, generator=g), torch.rand(6, generator=g) * 6.5


BATCHES: dict[str, Callable[[], tuple[Tensor, Tensor]]] = {
    f.__name__: f
    for f in (
        real, binary, probabilities, signs, classes, labels, sets, distributions, pixels, masks, regions, boxes, turned, overlapping, near, pictures, maps, quality,
        bins,
    )
}  # fmt: skip


def escaped(code: str) -> str:
    """Code inside a table's cell."""
    return f"`{code.replace('|', chr(92) + '|')}`"


def checked(library: Library) -> str:
    """How the rows were checked."""
    if library.asked:
        return f"Checked by calling {library.against} itself."
    return f"Checked against its formulas as read in {library.against}; not run. The tests write these formulas out."


def page(library: Library) -> str:
    """The page of a library."""
    made = [f"(switching-{library.name})=", f"# From {library.title}", library.intro, checked(library)]
    made += ["## The calls", "`x` and `t` are input and target; each pair of calls gives the same value and the same gradient."]
    lines = ["| theirs | losskit | mind |", "|---|---|---|"]
    lines += [f"| {escaped(row.theirs)} | {escaped(row.ours)} | {row.note} |" for row in library.rows]
    made.append("{.calls}\n" + "\n".join(lines))
    made += ["## Where the values part", "What the calls give, printed with three digits."]
    for a in library.apart:
        width = max(len(a.theirs), len(a.ours))
        made += [f"**{a.case[0].upper()}{a.case[1:]}.** {a.why}", f"```python\n{a.theirs:{width}}  # {a.numbers[0]}\n{a.ours:{width}}  # {a.numbers[1]}\n```"]
    if library.missing:
        made += ["## What losskit has not", "\n".join(f"- `{name}`: {what}" for name, what in library.missing)]
    return "\n\n".join(made) + "\n"


def index(libraries: tuple[Library, ...]) -> str:
    """The page that leads to the others."""
    made = ["(switching)=", "# Switching from another library"]
    made.append(
        "What to write in place of a loss that you use, and what changes in value. Every row of these tables is a test on one batch: both calls are run, or ours and the formulas that were read."
    )
    lines = ["| from | calls | version | how |", "|---|---|---|---|"]
    for lib in libraries:
        how = "called itself" if lib.asked else "its formulas as read; not run"
        lines.append(f"| [{lib.title}](#switching-{lib.name}) | {len(lib.rows)} | {lib.against.removeprefix(lib.title).strip(' -,')} | {how} |")
    made.append("\n".join(lines))
    made += [
        "## What is the same everywhere",
        "- Settings are passed by name; only tensors are positional.\n"
        '- `reduction` is "mean" by default. Several libraries have "none" for some of their losses.\n'
        "- Input and target have one shape; nothing is broadcast between them. Half-precision inputs give a float32 value.\n"
        "- Items are left out by `mask` or `ignore_index` and weighed by `sample_weight`; both change the denominator of the mean. `normalizer` sets it: [the contract](#contract).\n"
        "- Nothing is added to the denominators of IoU, GIoU, DIoU and CIoU, so identical boxes cost 0.",
        "```{toctree}\n:hidden:\n" + "\n".join(lib.name for lib in libraries) + "\n```",
    ]
    return "\n\n".join(made) + "\n"


def write(root: Path) -> None:
    """All of these pages."""
    from switching_rows import LIBRARIES

    folder = root / "switching"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "index.md").write_text(index(LIBRARIES), encoding="utf-8")
    for library in LIBRARIES:
        (folder / f"{library.name}.md").write_text(page(library), encoding="utf-8")
