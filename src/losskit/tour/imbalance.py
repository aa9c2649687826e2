"""Chapter 2 in words, tables and pictures."""

import math
from typing import Any

import numpy as np
import torch

from losskit.contract.registry import LOSSES
from losskit.curves import label, module, sample
from losskit.tour.chapter import Advance, Cell, Chapter, Effort, Figure, Heading, Paragraph, Table, Text, listed
from losskit.tour.compare import Difference, Numbers, spread
from losskit.tour.figures import SERIES, SOFT, panel, ranges
from losskit.tour.imbalance_run import COMMON, ENTRIES, MEASURES, PLAIN, RARE, SHARE, TEST_RARE, Data, Findings, Scores, run


def work() -> int:
    """Trainings, and the drawing."""
    return len(ENTRIES) + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("breast cancer: figures")
    return chapter


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    scores, differences, probabilities, data = found
    return Chapter(
        key="imbalance",
        title=Text("Classification with a rare class", "类别不均衡的分类"),
        question=Text(
            f"Breast cell samples, thirty measurements each: malignant or benign? In training only {SHARE:.0%} are malignant ({RARE} of {RARE + COMMON}). "
            "Does focal loss, made for rare classes, help; or a weight on the rare class; and what does each do to the probabilities?",
            f"乳腺细胞样本，每个三十项指标：恶性还是良性？训练集中只有 {SHARE:.0%} 是恶性({RARE + COMMON} 个中的 {RARE} 个)。为稀有类设计的 focal loss 有用吗？给稀有类加权呢？它们对输出的概率又有什么影响？",
        ),
        verdict=_verdict(scores, differences),
        blocks=(
            _table(scores, differences),
            Figure(
                (
                    _ranges_panel(scores, "recall", 0),
                    _ranges_panel(scores, "ece", 1),
                ),
                Text(
                    "Mean and standard deviation over the seeds. Left: how many malignant cases are found at a threshold of 1/2 (more is better). Right: how far predicted probabilities are from what happens (less is better).",
                    "各种子的均值与标准差。左：阈值取 1/2 时找到的恶性病例比例(越大越好)。右：预测概率与实际频率的差距(越小越好)。",
                ),
            ),
            Heading(Text("Why: look at the gradient", "原因：看梯度")),
            Paragraph(
                Text(
                    "Focal loss turns down every item by how right it already is, whatever its class; it takes no account of malignant cases being rare. Its pull on a confident right answer is almost zero, so the model "
                    "is not pressed towards 0 and 1 and stays unsure of what it knows. A weight on positives (pos_weight, or alpha above 1/2) shifts the balance between the classes, and with it the threshold.",
                    "focal loss 按“已经判对的程度”压低每个样本的作用，与类别无关；它并不知道恶性是稀有类。判对且有把握的样本几乎没有梯度，模型就不会被推向 0 和 1，对已经会的也显得没有把握。给正例加权"
                    "(pos_weight，或 alpha 大于 1/2)改变的是两类之间的平衡，也就移动了分界。",
                )
            ),
            Figure(
                _why_panels(),
                Text(
                    "Value and derivative for a malignant case (target 1) against the logit: on the right it is already classified correctly.",
                    "目标为 1(恶性)时损失值与导数随 logit 的变化：右侧为已经判对。",
                ),
            ),
            Figure(
                _reliability_panels(probabilities, data),
                Text(
                    "Reliability: among cases given a probability, how many are malignant? All seeds together; bins with few cases are left out. On the diagonal a probability means what it says; "
                    "above it probabilities are too low, below it too high. Below on the left and above on the right: a model that stays unsure.",
                    "可靠性图：被赋予某一概率的病例中，实际恶性的比例。合并全部种子，样本太少的区间略去。落在对角线上说明概率名副其实；在其上方说明概率偏低，下方说明偏高；左低右高说明模型过于没有把握。",
                ),
            ),
            _by_hand(),
            Heading(Text("How it was done", "实验方法")),
            Paragraph(_method(data, effort)),
        ),
        summary_headings=("loss", "accuracy", "recall", "average precision", "ECE"),
        summary=tuple((name, *(_pm(s[m]) for m in ("accuracy", "recall", "ap", "ece"))) for name, s in scores.items()),
    )


def _pm(scores: Numbers) -> str:
    """Mean and spread."""
    mean, deviation = spread(scores)
    return f"{mean:.3f} ± {deviation:.3f}"


def _verdict(scores: dict[str, Scores], differences: dict[str, dict[str, Difference]]) -> tuple[Text, ...]:
    """What the numbers say, whatever they turn out to be."""
    mean = {m: {n: float(s[m].mean()) for n, s in scores.items()} for m in MEASURES}
    low, high = min(mean["accuracy"].values()), max(mean["accuracy"].values())
    said = []

    def changed(measure: str, better: bool) -> list[str]:
        more = MEASURES[measure].more
        return [n for n, d in differences.items() if d[measure].clear and (d[measure].mean > 0) == (more == better)]

    found, lost = changed("recall", True), changed("recall", False)
    plain, precision, ece = mean["recall"][PLAIN], mean["precision"], mean["ece"]
    if found:
        cost = [n for n in found if n in changed("precision", False)]
        top = max(found, key=lambda n: mean["recall"][n])
        shares = [f"{n} ({mean['recall'][n]:.0%})" for n in found]
        said.append(
            Text(
                f"Plain BCE finds {plain:.0%} of the malignant cases. Clearly more: {listed(shares)}"
                + f". Precision goes from {precision[PLAIN]:.2f} to {precision[top]:.2f} under {top}"
                + ("." if cost else ", within the noise."),
                f"普通 BCE 找到 {plain:.0%} 的恶性病例。明显更多的：{'、'.join(shares)}"
                + f"。{top} 的精确率从 {precision[PLAIN]:.2f} 变为 {precision[top]:.2f}"
                + ("。" if cost else "，在噪声之内。"),
            )
        )
    else:
        top = max(scores, key=lambda n: mean["recall"][n])
        most = mean["recall"][top]
        said.append(
            Text(
                f"Plain BCE finds {plain:.0%} of the malignant cases, and no other loss clearly finds more"
                + (f": {top} found {most:.0%}, which the data cannot tell from chance." if top != PLAIN else "."),
                f"普通 BCE 找到 {plain:.0%} 的恶性病例，没有哪个损失明显更多" + (f"：{top} 为 {most:.0%}，但无法与偶然区分。" if top != PLAIN else "。"),
            )
        )
    if lost:
        said.append(Text(f"Clearly fewer malignant cases are found by {listed(lost)}.", f"明显更少的：{'、'.join(lost)}。"))
    gammas = [e.name for e in ENTRIES if e.loss == "focal_loss" and "alpha" not in e.settings]
    helped = [n for n in gammas if n in found]
    least, greatest = (f"{pick(mean['recall'][n] for n in gammas):.0%}" for pick in (min, max))
    said.append(
        Text(
            f"Focal's gamma alone (without alpha) clearly raises recall here: {listed(helped)}.",
            f"仅靠 focal 的 gamma(不用 alpha)，召回率就有明显提升：{'、'.join(helped)}。",
        )
        if helped
        else Text(
            f"Focal's gamma alone (without alpha) does not clearly raise recall at any value tried ({least} to {greatest}): "
            "what moves it is the weight of the rare class.",
            f"仅靠 focal 的 gamma(不用 alpha)，在试过的取值下召回率都没有明显提升({least} 到 {greatest})：起作用的是稀有类的权重。",
        )
        if any("alpha" in n or "weight" in n for n in found)
        else Text(
            "Focal's gamma alone (without alpha) does not clearly raise recall at any value tried.",
            "仅靠 focal 的 gamma(不用 alpha)，在试过的取值下召回率都没有明显提升。",
        )
    )
    said.append(
        Text(
            f"Accuracy hides the question: every loss lies between {low:.3f} and {high:.3f}, and calling everything benign would score {1 - SHARE:.3f}.",
            f"准确率看不出问题：所有损失都在 {low:.3f} 到 {high:.3f} 之间，而全部判为良性也有 {1 - SHARE:.3f}。",
        )
    )
    ranking = {m: (changed(m, True), changed(m, False)) for m in ("auc", "ap")}
    better = sorted({n for m in ranking.values() for n in m[0]})
    worse = sorted({n for m in ranking.values() for n in m[1]})
    if better or worse:
        said.append(
            Text(
                f"As rankings (AUC, average precision), clearly better than BCE: {listed(better) if better else 'none'}; clearly worse: {listed(worse) if worse else 'none'}.",
                f"就排序能力(AUC、平均精确率)而言，明显优于 BCE 的：{'、'.join(better) if better else '无'}；明显更差的：{'、'.join(worse) if worse else '无'}。",
            )
        )
    else:
        said.append(
            Text(
                "As rankings they are the same: no loss has a clearly better or worse AUC or average precision than BCE. So a different threshold on BCE should do as much.",
                "就排序能力而言没有差别：AUC 与平均精确率都没有哪个损失明显好于或差于 BCE。所以把 BCE 的阈值换一换，效果应当相当。",
            )
        )
    best = min(ece, key=lambda n: ece[n])
    off = changed("ece", False)
    worst = max(ece, key=lambda n: ece[n])
    said.append(
        Text(
            f"Probabilities: {best} has the smallest calibration error ({ece[best]:.3f}), {worst} the largest ({ece[worst]:.3f}). "
            + (
                f"Clearly worse than BCE: {'all others' if len(off) == len(differences) else listed(off)}; recalibrate before reading their outputs as probabilities."
                if off
                else "None is clearly worse than BCE."
            ),
            f"概率：{best} 的校准误差最小({ece[best]:.3f})，{worst} 最大({ece[worst]:.3f})。"
            + (
                f"明显差于 BCE 的：{'其余全部' if len(off) == len(differences) else '、'.join(off)}；要把它们的输出当概率用，先重新校准。"
                if off
                else "没有哪个明显差于 BCE。"
            ),
        )
    )
    return tuple(said)


def _table(scores: dict[str, Scores], differences: dict[str, dict[str, Difference]]) -> Table:
    """One row per loss, in the order of the list."""
    rows = []
    for name, measured in scores.items():
        cells = [Cell(name, code=True)]
        for measure, about in MEASURES.items():
            mean, deviation = spread(measured[measure])
            apart = differences[name][measure] if name != PLAIN else None
            tone = "" if apart is None or not apart.clear else ("good" if (apart.mean > 0) == about.more else "bad")
            cells.append(Cell(f"{mean:.3f}", f"± {deviation:.3f}", tone))
        rows.append(tuple(cells))
    return Table(
        (Text("Loss", "损失"), *(m.title for m in MEASURES.values())),
        tuple(rows),
        Text(
            "Mean ± standard deviation over the seeds. Green: clearly better than plain BCE, red: clearly worse, no colour: the data cannot tell.",
            "各种子的均值 ± 标准差。绿色：明显好于普通 BCE；红色：明显更差；无色：数据无法区分。",
        ),
    )


def _ranges_panel(scores: dict[str, Scores], measure: str, colour: int) -> str:
    """One measure for all losses."""
    words = (MEASURES[measure].title,)
    return panel(lambda axes: ranges(axes, list(scores), [("", colour, [spread(s[measure]) for s in scores.values()])], words[0].en), words, height=3.1)


def _why_panels() -> tuple[str, ...]:
    """Value and derivative of cross-entropy and focal for the target 1."""
    shown = [(PLAIN, sample(LOSSES["binary_cross_entropy_with_logits"], {}))]
    shown += [(f"focal({label({'gamma': g})})", sample(LOSSES["focal_loss"], {"gamma": g})) for g in (0.5, 1.0, 2.0, 5.0)]
    words = (Text("logit, target 1", "logit，目标为 1"), Text("value", "损失值"), Text("derivative", "导数"))
    panels = []
    for part in ("value", "derivative"):

        def draw(axes: Any, part: str = part) -> None:
            axes.axhline(0, color=SOFT, linewidth=0.8)
            for number, (name, curve) in enumerate(shown):
                axes.plot(curve.x, curve.value if part == "value" else curve.slope, color=SERIES[number], linewidth=2, label=name)
            axes.set_xlabel(words[0].en)
            axes.set_title(words[1].en if part == "value" else words[2].en)
            if part == "value":
                axes.legend(loc="upper right")

        panels.append(panel(draw, words))
    return tuple(panels)


def _reliability_panels(probabilities: dict[str, Numbers], data: Data) -> tuple[str, ...]:
    """Frequency against probability, cross-entropies in one panel and focal losses in the other."""
    words = (Text("predicted probability", "预测概率"), Text("share malignant", "实际恶性比例"))
    truth, weight = data.truth.ravel(), np.broadcast_to(data.weight, data.truth.shape).ravel()
    panels = []
    for family in ("binary_cross_entropy_with_logits", "focal_loss"):
        names = [PLAIN] * (family == "focal_loss") + [e.name for e in ENTRIES if e.loss == family]

        def draw(axes: Any, names: list[str] = names) -> None:
            axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1)
            for number, name in enumerate(names):
                p = probabilities[name].ravel()
                place = np.minimum((p * 8).astype(int), 7)
                enough = np.flatnonzero(np.bincount(place, minlength=8) >= 20)
                held = [place == b for b in enough]
                predicted = [np.average(p[h], weights=weight[h]) for h in held]
                happened = [np.average(truth[h], weights=weight[h]) for h in held]
                axes.plot(predicted, happened, "o-", color=SERIES[number], linewidth=1.8, markersize=4, label=name)
            axes.set_xlabel(words[0].en)
            axes.set_ylabel(words[1].en)
            axes.legend(loc="best", fontsize=8)

        panels.append(panel(draw, words, height=3.8))
    return tuple(panels)


def _by_hand() -> Table:
    """Focal loss for a sure right and a sure wrong answer, step by step, and losskit's result."""
    right, wrong = 4.0, -4.0
    p = [1.0 / (1.0 + math.exp(-x)) for x in (right, wrong)]
    cross = [-math.log(q) for q in p]
    fade = [(1.0 - q) ** 2 for q in p]
    focal = module(LOSSES["focal_loss"], {"gamma": 2.0})
    said = [float(focal(torch.tensor([x]), torch.ones(1))) for x in (right, wrong)]
    lines: tuple[tuple[str | Text, ...], ...] = (
        ("p = 1 / (1 + exp(-x))", *(f"{q:.6f}" for q in p)),
        (Text("cross-entropy: -log p", "交叉熵：-log p"), *(f"{c:.6f}" for c in cross)),
        (Text("fading factor: (1 - p)²", "衰减因子：(1 - p)²"), *(f"{f:.6f}" for f in fade)),
        (Text("focal: factor times cross-entropy", "focal：因子 × 交叉熵"), *(f"{f * c:.6g}" for f, c in zip(fade, cross, strict=True))),
        (Text("losskit says", "losskit 的结果"), *(f"{v:.6g}" for v in said)),
    )
    return Table(
        (
            Text("By hand: focal, gamma = 2, target 1", "手算：focal，gamma = 2，目标为 1"),
            Text("sure and right: x = 4", "有把握且判对：x = 4"),
            Text("sure and wrong: x = -4", "有把握但判错：x = -4"),
        ),
        tuple(tuple(Cell(entry) for entry in line) for line in lines),
        Text(
            f"Under cross-entropy one wrong answer weighs as much as {cross[1] / cross[0]:,.0f} right ones; under focal as much as {said[1] / said[0]:,.0f}.",
            f"交叉熵下，一个判错的样本抵得上 {cross[1] / cross[0]:,.0f} 个判对的；focal 下抵得上 {said[1] / said[0]:,.0f} 个。",
        ),
    )


def _method(data: Data, effort: Effort) -> Text:
    """How the comparison is made fair."""
    others = data.truth.shape[1] - TEST_RARE
    return Text(
        f"{effort.seeds} random splits: {RARE} malignant and {COMMON} benign cases to learn from, {TEST_RARE} malignant and {others} benign ones to test on, malignant ones weighted so that they are {SHARE:.0%} of the test as "
        f"they are of the training (recall, balanced accuracy and AUC do not depend on that). One network with 16 tanh units each, {2 * effort.steps} full-batch steps of AdamW, which divides out the size of the gradient; the same "
        "splits, initial weights and steps for every loss; threshold 1/2. Calibration error: ten bins. A difference from BCE is called clear when it is beyond a 95 % interval of a paired t-test corrected for overlapping "
        "splits (Nadeau and Bengio, 2003) and large enough to matter; of twenty such calls on equal losses one would be wrong. This is a small, clean data set: focal loss was made for detectors with thousands of easy negatives for each positive.",
        f"随机划分 {effort.seeds} 次：{RARE} 个恶性与 {COMMON} 个良性用于训练，{TEST_RARE} 个恶性与 {others} 个良性用于测试；测试时给恶性样本加权，使其占比同训练集一样为 {SHARE:.0%}(召回率、平衡准确率与 AUC 不受影响)。每次一个含 16 个 tanh "
        f"单元的小网络，AdamW 整批训练 {2 * effort.steps} 步(它会除掉梯度的尺度)；所有损失使用相同的划分、初始权重和步数；阈值 1/2；校准误差用十个区间。只有超出配对 t 检验 95% 区间(按重叠划分校正，Nadeau 与 Bengio 2003)且大到值得一提"
        "的差别才称为“明显”；若两个损失其实一样好，二十次中会有一次误判。这是一个又小又干净的数据集；focal loss 是为每个正例伴有成千上万易负例的检测器设计的。",
    )
