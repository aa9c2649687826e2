"""A page per loss, from the registry, the docstring and the measured results."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

import figures
import formulas
import losskit
import results
import touch
import worked
from docstrings import Writer, escaped
from losskit.contract import stubs
from losskit.contract.arguments import sections
from losskit.contract.registry import LOSSES, Loss

FAMILIES = {
    "classification": "Classification",
    "regression": "Regression",
    "segmentation": "Segmentation",
    "detection": "Detection",
    "image": "Images",
    "embedding": "Embeddings",
}
FAMILY_TEXTS = {
    "classification": "One class of several, yes or no, and distributions.",
    "regression": "Real values, with or without a predicted uncertainty.",
    "segmentation": "A class for each pixel: losses of the overlap between a prediction and its target.",
    "detection": "Boxes, and the scores that go with them.",
    "image": "Pictures compared window by window.",
    "embedding": "Vectors that are to be near to or far from each other.",
}


def family(loss: Loss) -> str:
    """The folder of the loss's file."""
    return loss.function.__module__.split(".")[-2]


def target(name: str) -> str | None:
    """The label of the page on a public name."""
    if name in LOSSES:
        return f"losskit.{name}"
    for loss in LOSSES.values():
        if name == loss.module or name in (score.__name__ for score in loss.scores):
            return f"losskit.{loss.name}"
    return f"losskit.{name}".lower() if name in HELPERS else None


HELPERS = (
    "linear_log_prob", "linear_probabilities", "linear_scores", "Sum", "UncertaintyWeight", "DeepSupervision", "PerHead", "TopK", "sampled_classes", "overlap_sums", "pairwise_iou", "best_match", "distance_map", "like", "engine_for", "use_engine",
    "BinaryCrossEntropyLoss", "create", "from_config", "matching_cost", "assign", "validate", "degenerate_boxes", "WIoUv3Loss", "Ranks",
)  # fmt: skip
WRITER = Writer(target)


def about(thing: Callable[..., Any]) -> Callable[[str], str]:
    """Type and default of an argument, as text."""
    parameters = inspect.signature(thing).parameters

    def text(name: str) -> str:
        parameter = parameters.get(name)
        if parameter is None:
            return ""
        kind = stubs.annotation(parameter.annotation).replace("torch.", "").replace("collections.abc.", "").replace("'", '"')
        return kind if parameter.default is parameter.empty else f"{kind} = {parameter.default!r}"

    return text


def display(loss: Loss) -> str:
    """The formula, typeset: one paragraph per line of it, clauses side by side where there is room."""
    made = []
    for line in formulas.lines(loss.formula):
        parts = [typeset(c) for c in line]
        made.append(":::{div} formula\n" + "\n\n".join(parts) + "\n:::")
    return "\n\n".join(made)


def typeset(c: formulas.Clause) -> str:
    """A clause."""
    if c.math is None:
        return WRITER.inline(c.text)
    body = f"${formulas.latex(c.math)}$"
    if c.link.endswith(("+", ":")):
        return f"`{c.link.rstrip(':+ ')}`: {'+ ' if c.link.endswith('+') else ''}{body}"
    if c.condition is not None:
        return f"{body} where ${formulas.latex(c.condition)}$"
    return f"{body} elsewhere" if c.link == "elsewhere" else body


def called(name: str, thing: Callable[..., Any]) -> str:
    """How it is called: names and defaults, in one line if they fit into that of a phone."""
    parts: list[str] = []
    for p in inspect.signature(thing).parameters.values():
        if p.kind is p.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        stars = "*" if p.kind is p.VAR_POSITIONAL else "**" if p.kind is p.VAR_KEYWORD else ""
        parts.append(stars + p.name if p.default is p.empty else f"{p.name}={p.default!r}")
    line = f"losskit.{name}({', '.join(parts)})"
    return line if len(line) <= 44 else f"losskit.{name}(\n" + "".join(f"    {part},\n" for part in parts) + ")"


def signature(loss: Loss) -> str:
    """How function and module are called."""

    def block(code: str) -> str:
        return f"```python\n{code}\n```"

    required = ", ".join(f"{name}=..." for name in loss.required)
    tensors = ", ".join(loss.tensors)
    module = f"losskit.{loss.module}({required + ', ' if required else ''}...)({tensors})"
    made = [block(called(loss.name, loss.function)), "As a module:", block(module)]
    if loss.owned:
        rest = ", ".join(name for name in loss.tensors if name not in loss.owned)
        made += ["Or as one that owns its head:", block(f"losskit.{loss.module}(in_features, num_classes, ...)({rest})")]
    return "\n\n".join(made)


def by_hand(loss: Loss) -> str:
    """The computation with numbers."""
    made = worked.worked(loss)
    given = ", ".join(f"${g}$" for g in made.given)
    lines = "\n\n".join(f"${line}$" for line in made.lines)
    return (
        f"Given: {given}.\n\n:::{{div}} steps\n{lines}\n:::\n\nIn Python:\n\n```pycon\n>>> import torch, losskit\n>>> {made.call}\n{printed(made.call)}\n```\n"
    )


def printed(call: str) -> str:
    """What Python prints."""
    with losskit.use_engine("torch"):
        return repr(eval(call, {"losskit": losskit, "torch": torch}))


def errors(loss: Loss) -> str:
    """The error budget's lines about a loss."""
    found = [e for e in results.errors() if e.loss == loss.name and e.dtype == "float32"]
    if not found:
        return f"The [error budget](#error-budget) does not have this loss: {results.NO_BUDGET[loss.name]}."
    rows = "\n".join(
        f"| {escaped(e.settings) or 'default'} | {(e.who or 'losskit, cpu').replace('losskit, ', 'losskit: ')} | {e.value} | {e.gradient} |" for e in found
    )
    return (
        "Worst relative error in float32 over the whole input range, against arithmetic of 50 digits and more; how it is measured: [error budget](#error-budget).\n\n"
        f"| settings | who | value | gradient |\n|---|---|---|---|\n{rows}\n"
    )


def speeds(loss: Loss) -> str:
    """The benchmark's cases about a loss; if there are none, whose there are."""
    timed = results.speeds()
    found = [s for s in timed if s.loss == loss.name]
    if not found:
        return speed_beside_operations(loss)
    others = [name for name in dict.fromkeys(n for s in found for n in s.seconds) if name not in ("losskit", "floor", "losskit on a leaf")]
    kind = results.kind_of(loss.name)
    floor = "the matrix products alone" if kind.startswith("products") else "a bare pass over the same memory"
    head = f"| case | dtype | time | {'floor' if kind.startswith('products') else 'memory floor'} |" + "".join(f" {name} |" for name in others)
    rows = []
    for s in found:
        mine = s.seconds["losskit"]
        cells = [escaped(s.case), s.dtype, duration(mine), f"{mine / s.seconds['floor']:.2f}x"]
        cells += [f"{s.seconds[name] / mine:.2f}x" if name in s.seconds else "" for name in others]
        rows.append("| " + " | ".join(cells) + " |")
    machine = results.machine(kind)
    where = f"{machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}"
    about_it = (
        f"Forward and backward of the mean on {where}. The floor is {floor}, ours in multiples of it; the others in multiples of our time: "
        "above 1 we are faster. Commands and misses: [benchmark](#benchmark)."
    )
    return f"{about_it}\n\n{head}\n|{'---|' * (4 + len(others))}\n" + "\n".join(rows) + "\n"


def speed_beside_operations(loss: Loss) -> str:
    """The case of a loss in the benchmark of every loss."""
    machine, (_, size, dtype, seconds) = results.machine("every-"), results.every()[loss.name]
    where = f"Forward and backward on {machine['cpu']}, {machine['threads']} threads, torch {machine['torch']}, with default settings; command: [benchmark](#benchmark-of-every-loss)."
    head, cells = "| size | dtype | time |", f"| {size} | {dtype} | {duration(seconds['losskit'])} |"
    if "operations" not in seconds:
        return f"{where} This loss is made of PyTorch operations on every engine.\n\n{head}\n|---|---|---|\n{cells}\n"
    about_it = "The same loss in PyTorch operations, as exact as ours, in multiples of our time."
    return f"{where} {about_it}\n\n{head} PyTorch operations |\n|---|---|---|---|\n{cells} {seconds['operations'] / seconds['losskit']:.1f}x |\n"


def duration(seconds: float) -> str:
    """A time in a unit that suits it."""
    return f"{seconds * 1e6:.0f} µs" if seconds < 1e-3 else f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def source(loss: Loss) -> str:
    """The formula's and the textbook's source."""
    module = inspect.getmodule(loss.function)
    assert module is not None
    parts = [
        inspect.getsource(f).strip()
        for name, f in vars(module).items()
        if inspect.isfunction(f) and f.__module__ == module.__name__ and f is not loss.function and f not in loss.scores and not name.startswith("_")
    ]
    path = module.__name__.replace(".", "/") + ".py"
    return (
        f":::{{dropdown}} View the formula\nThe code that every engine runs, and the textbook's definition that it is judged by, from `src/{path}`.\n\n```python\n"
        + "\n\n\n".join(parts)
        + "\n```\n:::\n"
    )


def page(loss: Loss, folder: str, drawn: bool = True) -> str:
    """The whole page."""
    about_it = sections(loss.function.__doc__ or "")
    alternatives = figures.write(loss, Path(folder) / "figures", drawn)
    made = [
        f'---\nmyst:\n  html_meta:\n    description: "{about_it["Summary"].splitlines()[0].replace(chr(34), "")}"\n---\n',
        f"(losskit.{loss.name})=",
        f"# {loss.name}",
        "",
    ]
    made += [WRITER.inline(about_it["Summary"]), display(loss), picture(loss, alternatives), touch.invitation(loss.name)]
    for heading, body in (
        ("When to use it", WRITER.blocks(about_it.get("When to use", ""))),
        ("How to call it", signature(loss)),
        ("Arguments", WRITER.arguments(about_it.get("Args", ""), about(loss.function))),
        ("What it returns", WRITER.blocks(about_it.get("Returns", ""))),
        ("By hand", by_hand(loss)),
        ("Example", WRITER.example(about_it.get("Example", "").replace("    >>>", ">>>"))),
        ("Formula and derivative", WRITER.blocks(about_it.get("Formula", ""))),
        ("Edge cases", WRITER.blocks(about_it.get("Edge cases", ""))),
        *((h, WRITER.blocks(t)) for h, t in about_it.items() if h.startswith("Differs")),
        ("Errors raised", WRITER.blocks(about_it.get("Raises", ""))),
        ("How exact it is", errors(loss)),
        ("How fast it is", speeds(loss)),
        ("Reference", WRITER.blocks(about_it.get("Reference", ""))),
    ):
        if body:
            made += [f"## {heading}", body]
    made.append(source(loss))
    return "\n\n".join(filter(None, made))


def picture(loss: Loss, alternatives: Mapping[str, str]) -> str:
    """The curves, for both themes."""
    images = [
        f"```{{image}} figures/{loss.name}-{part}-{theme}.svg\n:alt: {text}\n:class: only-{theme} curve\n```"
        for part, text in alternatives.items()
        for theme in ("light", "dark")
    ]
    return ":::{div} curves\n" + "\n".join(images) + "\n:::"


def index(kind: str, losses: Iterable[Loss]) -> str:
    """A family's page: its losses with formula and summary."""
    losses = list(losses)
    made = [f"# {FAMILIES[kind]}", FAMILY_TEXTS[kind], "{.stacked}\n| loss | formula | what it is |\n|---|---|---|"]
    rows = []
    for loss in losses:
        first = formulas.lines(loss.formula)[0]
        short = "; ".join(typeset(c) for c in first[:1])
        what = WRITER.inline(sections(loss.function.__doc__ or "")["Summary"]).replace("|", r"\|")
        rows.append(f"| [`{loss.name}`](#losskit.{loss.name}) | {short} | {what} |")
    made[-1] += "\n" + "\n".join(rows)
    made.append("```{toctree}\n:hidden:\n" + "\n".join(loss.name for loss in losses) + "\n```")
    return "\n\n".join(made) + "\n"


def write(root: Path, drawn: bool = True) -> None:
    """Every page below a folder, two at a time."""
    folders: dict[str, list[str]] = {}
    for loss in LOSSES.values():
        folders.setdefault(family(loss), []).append(loss.name)
    for kind, names in folders.items():
        (root / kind).mkdir(parents=True, exist_ok=True)
        (root / kind / "index.md").write_text(index(kind, (LOSSES[name] for name in names)), encoding="utf-8")
    with ProcessPoolExecutor(2, get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        list(pool.map(write_page, [(name, str(root / kind), drawn) for kind, names in folders.items() for name in names]))


def write_page(job: tuple[str, str, bool]) -> None:
    """One page."""
    name, folder, drawn = job
    (Path(folder) / f"{name}.md").write_text(page(LOSSES[name], folder, drawn), encoding="utf-8")
