"""The tables of this chapter."""

import torch

from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Cell, Table, Text
from losskit.tour.chapters.regression.experiment import Entry, Result
from losskit.tour.compare import Difference, spread
from losskit.tour.figures import sparkline
from losskit.tour.texts import texts

TEXTS = texts("regression")


def table(order: list[Entry], results: dict[str, tuple[Result, Result]], pulls: dict[str, float], with_wrong: dict[str, Difference]) -> Table:
    """One row per loss, best first."""
    rows = []
    for number, entry in enumerate(order):
        dirty, clean = results[entry.name]
        inner = [i for i, x in enumerate(entry.curve.x) if abs(x) <= 4.0]
        x, value, slope = ([series[i] for i in inner] for series in (entry.curve.x, entry.curve.value, entry.curve.slope))
        tone = "best" if number == 0 else ("bad" if with_wrong[entry.name].clear else "good")
        (a, sa), (b, sb), (c, sc), (d, sd) = map(spread, (dirty.mae, dirty.rmse, clean.mae, clean.rmse))
        rows.append(
            (
                Cell(entry.name, code=True),
                Cell("", picture=sparkline(x, value, (-0.4, 5.0), 0, TEXTS("table.value_curve", name=entry.name))),
                Cell("", picture=sparkline(x, slope, (-2.4, 2.4), 1, TEXTS("table.slope_curve", name=entry.name))),
                Cell(f"{pulls[entry.name]:.1%}"),
                Cell(f"{a:.1f}", f"± {sa:.1f}", tone),
                Cell(f"{b:.1f}", f"± {sb:.1f}"),
                Cell(f"{c:.1f}", f"± {sc:.1f}"),
                Cell(f"{d:.1f}", f"± {sd:.1f}"),
            )
        )
    return Table(
        TEXTS.row("table.headings"),
        tuple(rows),
        TEXTS("table.caption"),
    )


def by_hand() -> Table:
    """Smooth L1 and MSE for a small and a large error, step by step, and losskit's result."""
    small, large = 0.3, 4.0
    loss = LOSSES["smooth_l1_loss"]

    def said(r: float) -> tuple[float, float]:
        x = torch.tensor([r], requires_grad=True)
        value = module(loss, {"beta": 1.0})(x, torch.zeros(1))
        value.backward()
        assert x.grad is not None
        return float(value.detach()), float(x.grad)

    (v1, g1), (v2, g2) = said(small), said(large)
    lines: tuple[tuple[str | Text, ...], ...] = (
        (TEXTS("by_hand.error"), f"{small:g}", f"{large:g}"),
        TEXTS.row("by_hand.question"),
        (TEXTS("by_hand.value"), f"{small:g}² / (2 · 1) = {small * small / 2:g}", f"{large:g} - 1/2 = {large - 0.5:g}"),
        (TEXTS("by_hand.derivative"), f"{small:g} / 1 = {small:g}", "sign(4) = 1"),
        (TEXTS("by_hand.losskit"), f"{v1:g},  {g1:g}", f"{v2:g},  {g2:g}"),
        (TEXTS("by_hand.mse"), f"{small * small:g},  {2 * small:g}", f"{large * large:g},  {2 * large:g}"),
    )
    return Table(
        TEXTS.row("by_hand.headings"),
        tuple(tuple(Cell(entry) for entry in line) for line in lines),
        TEXTS("by_hand.caption", times=large / small, pull=g2 / g1),
    )
