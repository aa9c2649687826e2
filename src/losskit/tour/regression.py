"""Chapter 1 in words, tables and pictures."""

from typing import Any

import numpy as np
import torch

from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.chapter import Advance, Cell, Chapter, Effort, Figure, Heading, Paragraph, Table, Text, listed
from losskit.tour.compare import Difference, Numbers, rank_correlation, spread
from losskit.tour.figures import SERIES, SOFT, panel, ranges, sparkline
from losskit.tour.regression_run import MATTERS, SHARE, SLIP, TEST, Data, Entry, Findings, Result, against, entries, run


def work() -> int:
    """Trainings, and the drawing."""
    return 2 * len(entries()) + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss on wrong and on right targets, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("diabetes: figures")
    return chapter


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    order, pulls, data = found.order, found.pulls, found.data
    names = [e.name for e in order]
    results = {n: (found.dirty[n], found.clean[n]) for n in names}
    train = data.target.shape[1]
    median = float((data.test_y - data.middle).abs().double().mean())
    with_wrong = {n: against(results[names[0]][0].mae, results[n][0].mae, train) for n in names}
    best_clean = min(names, key=lambda n: float(results[n][1].mae.mean()))
    without = {n: against(results[best_clean][1].mae, results[n][1].mae, train) for n in names}
    return Chapter(
        key="regression",
        title=Text("Regression with wrong targets", "含错误标签的回归"),
        question=Text(
            f"442 diabetes patients, ten measurements each; predict how far the disease has progressed a year later (25 to 346 points). In training, {SHARE:.0%} of the "
            f"targets are wrong: a decimal point slipped, so they are {SLIP:g} times too large. The test patients are clean. Which loss still learns?",
            f"442 名糖尿病患者，每人十项指标，预测一年后的病情进展(25 到 346 分)。训练集中有 {SHARE:.0%} 的目标写错了：小数点错位，变成 {SLIP:g} 倍；测试集是干净的。"
            "哪些损失函数还能学到东西？",
        ),
        verdict=_verdict(names, results, pulls, with_wrong, without, median),
        blocks=(
            _table(order, results, pulls, with_wrong),
            Figure(
                (_results_panel(names, results), _fit_panel(names, results, data)),
                Text(
                    "Left: test error of each loss, mean and standard deviation over the seeds (logarithmic axis). Right: predictions for the first seed's test patients; "
                    "on the diagonal they would be perfect.",
                    "左：各损失的测试误差，点为各随机种子的均值，线为标准差(对数坐标)。右：第一个种子的测试集预测；落在对角线上即完全正确。",
                ),
            ),
            Heading(Text("Why: look at the gradient", "原因：看梯度")),
            Paragraph(
                Text(
                    "Training follows the derivative, not the value. Where the derivative grows with the error (squares), a target that is wrong by twenty units pulls as hard as "
                    "twenty ordinary ones. Where it levels off (L1, Huber), each wrong target has one vote like everybody else. Where it returns to zero (Barron's family below "
                    "alpha = 1), targets that are far too wrong are ignored.",
                    "训练跟随的是导数而不是损失值。导数随误差增长(平方类)时，偏离二十个单位的错误目标，拉力等于二十个普通样本；导数趋于常数(L1、Huber)时，每个错误目标只有"
                    "普通的一票；导数回落到零(alpha < 1 的 Barron 族)时，错得离谱的目标会被忽略。",
                )
            ),
            Figure(
                _why_panels(order, data),
                Text(
                    "Value and derivative against the error, in units of the targets' robust spread. In the shaded band, and beyond it on the left, lie nine of ten wrong targets, seen from the median.",
                    "损失值与导数随误差的变化，横轴单位为目标的稳健尺度。阴影带内及其左侧是十分之九的错误目标(以中位数为预测)。",
                ),
            ),
            _by_hand(),
            Heading(Text("How it was done", "实验方法")),
            Paragraph(_method(effort, train)),
        ),
        summary_headings=("loss", "MAE, 15 % wrong", "MAE, clean", "pull of wrong"),
        summary=tuple((n, _pm(results[n][0].mae), _pm(results[n][1].mae), f"{pulls[n]:.1%}") for n in names),
    )


def _pm(scores: Numbers) -> str:
    """Mean and spread."""
    mean, deviation = spread(scores)
    return f"{mean:.1f} ± {deviation:.1f}"


def _verdict(
    names: list[str],
    results: dict[str, tuple[Result, Result]],
    pulls: dict[str, float],
    with_wrong: dict[str, Difference],
    without: dict[str, Difference],
    median: float,
) -> tuple[Text, ...]:
    """What the numbers say, whatever they turn out to be."""
    best, worst = names[0], names[-1]
    mae = {n: float(results[n][0].mae.mean()) for n in names}
    equal = [n for n in names[1:] if not with_wrong[n].clear]
    clear = [n for n in names[1:] if with_wrong[n].clear]
    usual = "mse_loss" if "mse_loss" in names[1:] else worst
    said = [
        Text(
            f"With wrong targets {best} has the smallest test error: {_pm(results[best][0].mae)} points, against {_pm(results[usual][0].mae)} under {usual}.",
            f"目标有错时，{best} 的测试误差最小：{_pm(results[best][0].mae)} 分；{usual} 则为 {_pm(results[usual][0].mae)} 分。",
        ),
        Text(f"The data cannot tell it from {listed(equal)}.", f"与它的差别在噪声范围内的：{'、'.join(equal)}。")
        if equal
        else Text("It is clearly ahead of all others.", "它明显优于其余各损失。"),
    ]
    if clear:
        useless = [n for n in clear if mae[n] > median]
        worse_en = "; ".join(f"{n} (+{with_wrong[n].mean:.1f})" for n in clear)
        said.append(Text(f"Clearly worse than it, in points: {worse_en}.", f"明显更差的(括号内为多出的分数)：{worse_en.replace('; ', '；')}。"))
        if useless:
            said.append(
                Text(
                    f"{listed(useless)} learned less than nothing: predicting the training median for everybody errs by {median:.1f} points, {worst} by {mae[worst]:.1f}.",
                    f"{'、'.join(useless)} 还不如不学：对所有人都预测训练集的中位数，误差为 {median:.1f} 分，而 {worst} 为 {mae[worst]:.1f} 分。",
                )
            )
    apart = [n for n in names if without[n].clear]
    low, high = min(float(results[n][1].mae.mean()) for n in names), max(float(results[n][1].mae.mean()) for n in names)
    said.append(
        Text(
            f"With right targets the choice hardly matters: all losses lie between {low:.1f} and {high:.1f} points"
            + (f"; only {listed(apart)} clearly trails the best." if apart else ", and no difference is beyond the noise."),
            f"目标全对时，选哪个几乎无所谓：各损失都在 {low:.1f} 到 {high:.1f} 分之间"
            + (f"，只有 {'、'.join(apart)} 明显落后。" if apart else "，差别都在噪声之内。"),
        )
        if high < 1.1 * low
        else Text(
            f"With right targets the errors lie between {low:.1f} and {high:.1f} points; clearly behind the best: {listed(apart) if apart else 'none'}.",
            f"目标全对时，误差在 {low:.1f} 到 {high:.1f} 分之间；明显落后的：{'、'.join(apart) if apart else '无'}。",
        )
    )
    agreement = rank_correlation(np.array([pulls[n] for n in names]), np.array([mae[n] for n in names]))
    said.append(
        Text(
            f"The gradient explains it: before the first step the wrong targets hold {pulls[worst]:.0%} of all gradient under {worst} and {pulls[best]:.1%} under {best}. "
            f"Ordering the losses by this share orders them by test error with a rank correlation of {agreement:.2f}.",
            f"原因在梯度：训练开始时，错误目标占全部梯度的比例，{worst} 为 {pulls[worst]:.0%}，{best} 为 {pulls[best]:.1%}。按这一比例排序与按测试误差排序的秩相关为 {agreement:.2f}。",
        )
        if agreement > 0.6
        else Text(
            f"The wrong targets' share of the first gradient ({pulls[worst]:.0%} under {worst}, {pulls[best]:.1%} under {best}) does not order the losses here "
            f"(rank correlation {agreement:.2f}).",
            f"错误目标在初始梯度中的比例({worst} 为 {pulls[worst]:.0%}，{best} 为 {pulls[best]:.1%})在这里不能解释排序(秩相关 {agreement:.2f})。",
        )
    )
    return tuple(said)


def _table(order: list[Entry], results: dict[str, tuple[Result, Result]], pulls: dict[str, float], with_wrong: dict[str, Difference]) -> Table:
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
                Cell("", picture=sparkline(x, value, (-0.4, 5.0), 0)),
                Cell("", picture=sparkline(x, slope, (-2.4, 2.4), 1)),
                Cell(f"{pulls[entry.name]:.1%}"),
                Cell(f"{a:.1f}", f"± {sa:.1f}", tone),
                Cell(f"{b:.1f}", f"± {sb:.1f}"),
                Cell(f"{c:.1f}", f"± {sc:.1f}"),
                Cell(f"{d:.1f}", f"± {sd:.1f}"),
            )
        )
    return Table(
        (
            Text("Loss", "损失"),
            Text("Value", "损失值"),
            Text("Derivative", "导数"),
            Text("Pull of the wrong targets", "错误目标的拉力"),
            Text("MAE, 15 % wrong", "MAE(15% 有错)"),
            Text("RMSE, 15 % wrong", "RMSE(15% 有错)"),
            Text("MAE, all right", "MAE(全对)"),
            Text("RMSE, all right", "RMSE(全对)"),
        ),
        tuple(rows),
        Text(
            "Error on clean test patients, in points; mean ± standard deviation over the seeds, best first. Green: the best, and what cannot be told from it; red: clearly worse. "
            "Little curves run from -4 to 4 units of error; their height matters little, for Adam evens it out, their shape does. Pull: the wrong targets' share of all gradient at the start.",
            "在干净测试集上的误差(分)，各种子的均值 ± 标准差，由好到差。绿色：最好以及与之无法区分的；红色：明显更差。小图横轴为误差 -4 到 4 个单位；高度无关紧要(Adam 会抹平)，要看形状。拉力：训练开始时错误目标占全部梯度的比例。",
        ),
    )


def _results_panel(names: list[str], results: dict[str, tuple[Result, Result]]) -> str:
    """Error with and without wrong targets."""
    words = (Text("15 % wrong", "15% 有错"), Text("all right", "全对"), Text("test MAE, points", "测试 MAE(分)"))

    def draw(axes: Any) -> None:
        groups = [(words[0].en, 1, [spread(results[n][0].mae) for n in names]), (words[1].en, 0, [spread(results[n][1].mae) for n in names])]
        ranges(axes, names, groups, words[2].en)
        axes.set_xscale("log")
        ticks = [t for t in (30, 40, 50, 70, 100, 150, 200, 300) if axes.get_xlim()[0] <= t <= axes.get_xlim()[1]]
        axes.set_xticks(ticks, [str(t) for t in ticks])
        axes.set_xticks([], minor=True)
        axes.legend(loc="lower left" if len(names) < 4 else "upper right")

    return panel(draw, words, height=0.8 + 0.24 * len(names))


def _fit_panel(names: list[str], results: dict[str, tuple[Result, Result]], data: Data) -> str:
    """Predictions of the best and the worst loss for one test set."""
    words = (Text("true progression", "真实值"), Text("predicted", "预测值"))
    truth = data.test_y[0].numpy()

    def draw(axes: Any) -> None:
        axes.plot([20, 350], [20, 350], color=SOFT, linewidth=1)
        for name, colour in ((names[-1], 1), (names[0], 0)):
            axes.scatter(truth, results[name][0].predicted, s=14, color=SERIES[colour], alpha=0.75, linewidths=0, label=name)
        axes.set_xlabel(words[0].en)
        axes.set_ylabel(words[1].en)
        axes.legend(loc="upper left")
        axes.set_ylim(top=axes.get_ylim()[1] * 1.22)

    return panel(draw, words, height=0.8 + 0.24 * len(names))


def _why_panels(order: list[Entry], data: Data) -> tuple[str, ...]:
    """Value and derivative over ordinary and wrong errors."""
    low = float(torch.quantile(data.target[data.wrong], 0.1))
    shown = [e for e in order if e in _families(order)][: len(SERIES)]
    words = (Text("error x - t", "误差 x - t"), Text("value", "损失值"), Text("derivative", "导数"), Text("wrong targets", "错误目标"))
    panels = []
    for part, top, bottom in (("value", 9.0, -0.3), ("derivative", 2.2, -4.0)):

        def draw(axes: Any, part: str = part, top: float = top, bottom: float = bottom) -> None:
            axes.axvspan(-18.0, -low, color=SOFT, alpha=0.13, linewidth=0)
            axes.text(-17.6, top - 0.06 * (top - bottom), words[3].en, color=SOFT, fontsize=9)
            axes.axhline(0, color=SOFT, linewidth=0.8)
            for number, entry in enumerate(shown):
                heights = entry.curve.value if part == "value" else entry.curve.slope
                axes.plot(entry.curve.x, heights, color=SERIES[number], linewidth=2, label=entry.name, clip_on=True)
            axes.set_ylim(bottom, top)
            axes.set_xlim(-18, 4)
            axes.set_xlabel(words[0].en)
            axes.set_title(words[1].en if part == "value" else words[2].en)
            if part == "derivative":
                axes.legend(loc="lower left", fontsize=8)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)


def _families(order: list[Entry]) -> list[Entry]:
    """One loss for each shape of derivative, whatever its scale: the one with the plainest name."""

    def shape(entry: Entry) -> Numbers:
        slope = np.array([s for x, s in zip(entry.curve.x, entry.curve.slope, strict=True) if abs(x) <= 4.0])
        return np.asarray(slope / np.abs(slope).max())

    kept: list[Entry] = []
    for entry in sorted(order, key=lambda e: len(e.name)):
        if all(np.abs(shape(entry) - shape(other)).mean() > 0.06 for other in kept):
            kept.append(entry)
    return kept


def _by_hand() -> Table:
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
        (Text("error r = x - t", "误差 r = x - t"), f"{small:g}", f"{large:g}"),
        (Text("is |r| < beta = 1?", "|r| < beta = 1？"), Text("yes: the square", "是：用平方"), Text("no: the straight line", "否：用直线")),
        (Text("value", "损失值"), f"{small:g}² / (2 · 1) = {small * small / 2:g}", f"{large:g} - 1/2 = {large - 0.5:g}"),
        (Text("derivative", "导数"), f"{small:g} / 1 = {small:g}", "sign(4) = 1"),
        (Text("losskit says", "losskit 的结果"), f"{v1:g},  {g1:g}", f"{v2:g},  {g2:g}"),
        (Text("MSE for comparison: r², 2r", "对比 MSE：r², 2r"), f"{small * small:g},  {2 * small:g}", f"{large * large:g},  {2 * large:g}"),
    )
    return Table(
        (Text("By hand: smooth L1, beta = 1", "手算：smooth L1，beta = 1"), Text("a small error", "小误差"), Text("a large error", "大误差")),
        tuple(tuple(Cell(entry) for entry in line) for line in lines),
        Text(
            f"The large error is {large / small:.1f} times the small one. Under MSE it pulls {large / small:.1f} times as hard, under smooth L1 {g2 / g1:.1f} times, and no error pulls harder than 1.",
            f"大误差是小误差的 {large / small:.1f} 倍。MSE 下它的拉力也是 {large / small:.1f} 倍，smooth L1 下只有 {g2 / g1:.1f} 倍，而且任何误差的拉力都不超过 1。",
        ),
    )


def _method(effort: Effort, train: int) -> Text:
    """How the comparison is made fair."""
    return Text(
        f"{effort.seeds} random splits into {train} training and {TEST} test patients; for each, one network with 16 tanh units, trained for {effort.steps} full-batch steps. Every loss gets the "
        "same splits, wrong targets, initial weights and number of steps. The optimiser is AdamW, which divides out the size of the gradient: a loss that is merely a multiple of another (MSE and L2, "
        "L1 and quantile 0.5) trains to the same model. Training targets are standardised by their median and median absolute deviation, which wrong targets hardly move, wrong ones included. "
        "Differences are called clear when they are beyond a 95 % interval of a paired t-test corrected for overlapping splits (Nadeau and Bengio, 2003) "
        f"and larger than {MATTERS:.0%}; of twenty such calls on equal losses one would be wrong. Settings are those shown, not tuned; a median absorbs one-sided mistakes only in part, which is why L1 is not immune.",
        f"随机划分 {effort.seeds} 次，每次 {train} 名训练、{TEST} 名测试；每次训练一个含 16 个 tanh 单元的小网络，整批训练 {effort.steps} 步。所有损失使用相同的划分、相同的错误目标、相同的初始权重和步数。"
        "优化器为 AdamW，它会除掉梯度的尺度：只差一个倍数的损失(MSE 与 L2、L1 与 quantile 0.5)会得到同样的模型。训练目标(包括错误的)用中位数和绝对中位差标准化，二者几乎不受错误目标影响。"
        f"只有超出配对 t 检验的 95% 区间(按重叠划分校正，Nadeau 与 Bengio 2003)且大于 {MATTERS:.0%} 的差别才称为“明显”；若两个损失其实一样好，二十次中会有一次误判。各参数未经调优；单侧错误只能被中位数部分吸收，所以 L1 也不能完全免疫。",
    )
