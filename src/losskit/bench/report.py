"""The benchmark's results as a page of markdown: ratios, targets met and missed."""

from collections.abc import Iterator
from typing import Any

MEMORY = {
    "reused": "large tensors reuse pages the process already holds, as in a long training run; the harder case for us.",
    "fresh": "every large tensor is new pages, faulted in as it is written, as in a young process.",
}
# ours against a side at a size, float32: at most this many times its time
Target = tuple[str, str, int, float]
BIG, SMALL = 1 << 23, 64
SIMPLE = ("l1_loss", "l2_loss", "mse_loss", "smooth_l1_loss", "huber_loss")
TARGETS: list[Target] = [
    *[(loss, side, BIG, limit) for loss in SIMPLE for side, limit in (("floor", 1.4), ("torch", 1.0), ("torch.compile", 1.0))],
    *[("binary_cross_entropy_with_logits", side, BIG, limit) for side, limit in (("floor", 2.0), ("torch", 1 / 4), ("torch.compile", 1 / 2.5))],
    *[("focal_loss", side, BIG, limit) for side, limit in (("floor", 2.0), ("torchvision", 1 / 18), ("torch.compile", 1 / 4))],
    *[(loss, "torch", SMALL, 1.25) for loss in (*SIMPLE, "binary_cross_entropy_with_logits")],
    ("focal_loss", "torchvision", SMALL, 1 / 3),
]


def size_name(size: int) -> str:
    """1M for 2**20."""
    return f"{size >> 20}M" if size >= 1 << 20 and size % (1 << 20) == 0 else f"{size:,}"


def pick(results: dict[str, Any], loss: str, dtype: str, size: int) -> dict[str, float] | None:
    """The times of one case."""
    return next((r["seconds"] for r in results["rows"] if (r["loss"], r["dtype"], r["size"]) == (loss, dtype, size)), None)


def verdicts(results: dict[str, Any]) -> Iterator[tuple[bool, str, str, str]]:
    """(met, what, measured, wanted) for every target that this run can judge."""
    for loss, side, size, limit in TARGETS:
        seconds = pick(results, loss, "float32", size)
        if seconds is None or side not in seconds:
            continue
        ratio = seconds["losskit"] / seconds[side]
        what = f"{loss}, {size_name(size)} float32, against {side}"
        if limit >= 1:
            yield ratio <= limit, what, f"{ratio:.2f}x its time", f"<= {limit:g}x"
        else:
            yield ratio <= limit, what, f"{1 / ratio:.1f}x faster", f">= {1 / limit:g}x"
    for loss in (*SIMPLE, "binary_cross_entropy_with_logits", "focal_loss"):
        single, half = pick(results, loss, "float32", BIG), pick(results, loss, "bfloat16", BIG)
        if single and half:
            ratio = half["losskit"] / single["losskit"]
            yield ratio <= 1.0, f"{loss}, {size_name(BIG)}, bfloat16 against float32", f"{ratio:.2f}x its time", "<= 1x"
        small, large = pick(results, loss, "float32", 1 << 20), pick(results, loss, "float32", 1 << 26)
        if small and large:
            ratio = large["losskit"] / small["losskit"] / 64
            yield ratio <= 1.3, f"{loss}, time per element from 1M to 64M", f"{ratio:.2f}x", "<= 1.3x"
        extra = (results.get("extra memory") or {}).get(loss)
        if extra:
            yield (
                extra["losskit"] < 1 << 20,
                f"{loss}, {size_name(BIG)}, peak memory beyond inputs and gradient",
                f"{extra['losskit'] / 2**20:.2f} MB",
                "< 1 MB",
            )
    for loss, seconds in (results.get("first calls") or {}).items():
        yield seconds["cold"] < 3.0, f"{loss}, import losskit and first call, nothing compiled yet", f"{seconds['cold']:.2f} s", "< 3 s"
        warm = seconds["second process"]
        yield warm <= 0.2, f"{loss}, import losskit and first call in a second process", f"{warm * 1e3:.0f} ms", "<= 200 ms"


def markdown(results: dict[str, Any]) -> str:
    """The whole page."""
    machine = results["machine"]
    lines = [
        "# Benchmark",
        "",
        f"{machine['cpu']}, {machine['threads']} threads, Python {machine['python']}, torch {machine['torch']}, {machine['system']}.",
        f"Command: `{machine['command']}`.",
        'Forward and backward of "mean"; medians of interleaved repeats; every figure is a ratio within this run. `floor` is `torch.add(x, t)` into a fresh tensor.',
        f"Memory: {MEMORY[results['memory']]}",
        "",
    ]
    judged = list(verdicts(results))
    if judged:
        lines += ["## Targets", "", "| result | what | measured | wanted |", "|---|---|---|---|"]
        lines += [f"| {'met' if met else '**missed**'} | {what} | {measured} | {wanted} |" for met, what, measured, wanted in judged]
        lines.append("")
    for dtype in dict.fromkeys(r["dtype"] for r in results["rows"]):
        rows = [r for r in results["rows"] if r["dtype"] == dtype]
        others = [name for name in dict.fromkeys(n for r in rows for n in r["seconds"]) if name not in ("losskit", "floor")]
        lines += [f"## {dtype}", "", "Ours in multiples of the floor; the others in multiples of ours (above 1: we are faster).", ""]
        lines += [f"| loss | elements | losskit / floor | {' | '.join(f'{o} / losskit' for o in others)} |", "|---|---|---|" + "---|" * len(others)]
        for r in rows:
            s = r["seconds"]
            cells = [f"{s[o] / s['losskit']:.2f}" if o in s else "" for o in others]
            lines.append(f"| {r['loss']} | {size_name(r['size'])} | {s['losskit'] / s['floor']:.2f} | {' | '.join(cells)} |")
        lines.append("")
    if results.get("extra memory"):
        names = list(dict.fromkeys(n for extra in results["extra memory"].values() if extra for n in extra))
        lines += ["## Memory", "", "Peak of one step beyond inputs and gradient, 8M float32 elements (one tensor is 32 MB), in MB.", ""]
        lines += [f"| loss | {' | '.join(names)} |", "|---|" + "---|" * len(names)]
        for loss, extra in results["extra memory"].items():
            if extra:
                lines.append(f"| {loss} | {' | '.join(f'{extra[n] / 2**20:.1f}' if n in extra else '' for n in names)} |")
        lines.append("")
    return "\n".join(lines)
