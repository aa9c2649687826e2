"""Chapter 3 in words, tables and pictures."""

from typing import Any

import numpy as np

from losskit.tour.chapter import Advance, Cell, Chapter, Effort, Figure, Heading, Paragraph, Table, Text, listed
from losskit.tour.compare import Difference, Numbers, rank_correlation, spread
from losskit.tour.digits_hand import by_hand
from losskit.tour.digits_run import (
    ENTRIES,
    MATTERS,
    PLAIN,
    SHARE,
    Findings,
    Networks,
    Result,
    against,
    confusion,
    curve,
    hardest,
    missing,
    points,
    run,
    seeds,
    steps,
)
from losskit.tour.figures import SERIES, SOFT, gallery, matrix, panel, ranges

NUMBER = {entry.name: number for number, entry in enumerate(ENTRIES)}  # a loss keeps its colour through the chapter
RIGHT, WRONG = Text("right labels", "标签全对"), Text("30 % wrong labels", "30% 的标签有错")
ACCURACY, ECE = Text("test accuracy, %", "测试准确率(%)"), Text("calibration error, %", "校准误差 ECE(%)")


def work() -> int:
    """Trainings, the gradients, and the drawing."""
    return 2 * len(ENTRIES) + 2


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss on wrong and on right labels, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("digits: figures")
    return chapter


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    dirty, clean, data = found.dirty, found.clean, found.data
    names = [e.name for e in found.order]
    best_clean = max(names, key=lambda n: float(clean[n].accuracy.mean()))
    with_wrong = {n: against(dirty[names[0]].accuracy, dirty[n].accuracy, data) for n in names}
    without = {n: against(clean[best_clean].accuracy, clean[n].accuracy, data) for n in names}
    return Chapter(
        key="digits",
        title=Text("Handwritten digits with wrong labels", "标签有错的手写数字"),
        question=Text(
            f"1,797 handwritten digits of 8 by 8 pixels, read by a small convolutional network. In training, {SHARE:.0%} of the labels are wrong: another digit, drawn at random. "
            "The test labels are right. Which losses learn the digits, and which the mistakes as well; and what are their probabilities worth?",
            f"1797 个 8×8 像素的手写数字，由一个小型卷积网络识别。训练集中有 {SHARE:.0%} 的标签是错的，随机换成了别的数字；测试集的标签全部正确。"
            "哪些损失函数学到的是数字，哪些连错误也一并记住？它们给出的概率又有几分可信？",
        ),
        verdict=_verdict(names, found, with_wrong, without, effort),
        blocks=(
            _table(names, found, with_wrong, without),
            Figure(
                tuple(_ranges_panel(names, found, part, title) for part, title in (("accuracy", ACCURACY), ("ece", ECE))),
                Text("Mean and standard deviation over the seeds.", "各种子的均值与标准差。"),
            ),
            Figure(
                _course_panels(found, effort),
                Text(
                    "Learning from labels of which 30 % are wrong, mean over the seeds. Left: accuracy on the test digits. Right: of the training images with a wrong label, the share that the network "
                    "reads as it was wrongly told; by chance it would be a tenth at the start and nothing once it can read.",
                    "用 30% 有错的标签训练，各种子的均值。左：测试准确率随步数的变化。右：标签写错的训练图像中，网络照着错误标签作答的比例；刚开始碰巧如此的约占一成，学会识字以后本应为零。",
                ),
            ),
            Figure(
                _reliability_panels(found),
                Text(
                    "Reliability: of the answers given with a certain probability, how many are right? All seeds together, bins with few answers left out. On the diagonal a probability means what it says; "
                    "above it the network is too modest, below it too sure.",
                    "可靠性图：以某一概率给出的答案中，实际答对的比例。合并全部种子，样本太少的区间略去。落在对角线上说明概率名副其实；在其上方是过于谨慎，下方是过于自信。",
                ),
            ),
            Heading(Text("Why: look at the gradient", "原因：看梯度")),
            Paragraph(
                Text(
                    "A network that can read gives a wrong label a small probability p. Cross-entropy pulls at it with 1 - p, nearly as hard as it can, and its value has no bound: sooner or later the "
                    "mistake is learned by heart. Focal loss is made to look at what is still wrong, so it looks at the mistakes most of all. Generalized cross-entropy (GCE) multiplies the pull by p^q, symmetric "
                    "cross-entropy (SCE) adds a bounded part that pulls with p (1 - p): what the network finds incredible hardly pulls. The price: a right label that still looks incredible hardly pulls either, and a digit missed at the start may be missed for good.",
                    "会识字的网络给错误标签的概率 p 很小。交叉熵对它的拉力是 1 - p，几乎使足了力气，损失值又没有上界，错误迟早会被死记下来。focal loss 专看还没判对的样本，于是看得最多的正是这些错误。"
                    "广义交叉熵(GCE)把拉力乘以 p^q，对称交叉熵(SCE)加上一个有界的部分，其拉力为 p (1 - p)：网络觉得不可信的标签几乎拉不动它。代价是：看上去还不可信的正确标签同样拉不动它，起步时没学会的数字，可能一直学不会。",
                )
            ),
            Figure(
                _why_panels(found),
                Text(
                    "Value of the loss, and how hard it pulls the label's logit upwards (each divided by its largest pull, as Adam does), against the probability p of the label; the other nine digits share the rest equally. "
                    "In the shaded band on the left lie nine of ten wrong labels, right of the dashed line nine of ten right ones, as a network sees them that has learned with CE for a fifth of the time.",
                    "损失值，以及把标签的 logit 往上拉的力(各自除以最大值，Adam 正是这样做的)，横轴为标签的概率 p；其余九个数字平分剩下的概率。"
                    "对一个用 CE 训练了五分之一步数的网络来说，十分之九的错误标签落在左侧阴影带内，十分之九的正确标签落在虚线右侧。",
                ),
            ),
            Heading(Text("The hardest digits", "最难认的数字")),
            Figure(
                _galleries(names, found),
                Text(
                    "The test digits of largest loss, each as the networks see it that did not train on it (mean of their probabilities). Below: the true digit, the answer, and its probability. "
                    "Is it the handwriting, or what the networks were taught? Compare the first picture with the others.",
                    "损失最大的测试图像，由没有用它训练过的各网络作答(概率取平均)。图下依次为：真实数字 → 答案、答案的概率。是字迹本来就难认，还是网络被教错了？请拿第一幅与后面的对比。",
                ),
            ),
            Figure(
                tuple(
                    matrix(
                        Text(f"{n}, {WRONG.en}", f"{n}，{WRONG.zh}"),
                        confusion(found.dirty[n], data).tolist(),
                        Text("true digit", "真实数字"),
                        Text("read as", "认作"),
                    )
                    for n in dict.fromkeys((PLAIN, names[0]))
                ),
                Text(
                    "Of each true digit (row), how many per cent are read as what (column); all seeds together.",
                    "每个真实数字(行)被认作各个数字(列)的百分比；合并全部种子。",
                ),
            ),
            *by_hand(),
            Heading(Text("How it was done", "实验方法")),
            Paragraph(_method(found, effort)),
        ),
        summary_headings=("loss", "accuracy (%), 30 % wrong", "accuracy (%), clean", "ECE, 30 % wrong", "by heart"),
        summary=tuple((n, _pm(dirty[n].accuracy), _pm(clean[n].accuracy), f"{dirty[n].ece.mean():.3f}", f"{_end(dirty[n]):.0%}") for n in names),
    )


def _pm(scores: Numbers) -> str:
    """Mean and spread of shares, in per cent."""
    mean, deviation = spread(100.0 * scores)
    return f"{mean:.1f} ± {deviation:.1f}"


def _end(result: Result) -> float:
    """Share of the wrong labels that is known by heart when training ends."""
    return float(result.heart[-1].mean())


def _verdict(names: list[str], found: Findings, with_wrong: dict[str, Difference], without: dict[str, Difference], effort: Effort) -> tuple[Text, ...]:
    """What the numbers say, whatever they turn out to be."""
    dirty, clean, pulls = found.dirty, found.clean, found.look.pulls
    best, worst = names[0], names[-1]
    other = PLAIN if best != PLAIN else worst
    equal = [n for n in names[1:] if not with_wrong[n].clear]
    clear = [n for n in names[1:] if with_wrong[n].clear]
    said = [
        Text(
            f"With {SHARE:.0%} wrong labels {best} reads the most test digits right: {_pm(dirty[best].accuracy)} %, against {_pm(dirty[other].accuracy)} % under {other}.",
            f"有 {SHARE:.0%} 的标签出错时，{best} 认对的测试数字最多：{_pm(dirty[best].accuracy)} %；{other} 为 {_pm(dirty[other].accuracy)} %。",
        )
    ]
    behind = [f"{n} (-{100 * with_wrong[n].mean:.1f})" for n in clear]
    said.append(
        Text(
            (f"The data cannot tell it from {listed(equal)}. " if equal else "")
            + (f"Clearly behind it, in points: {listed(behind)}." if clear else "No loss is clearly behind it."),
            (f"与它的差别在噪声范围内的：{'、'.join(equal)}。" if equal else "")
            + (f"明显落后的(括号内为差的百分点)：{'、'.join(behind)}。" if clear else "没有哪个明显落后。"),
        )
    )
    course = {n: dirty[n].course.mean(1) for n in names}
    forgot = [n for n in names if course[n].max() - course[n][-1] > 0.01]
    if forgot:
        most = max(forgot, key=lambda n: float(course[n].max() - course[n][-1]))
        when = points(steps(effort))[int(course[most].argmax())]
        said.append(
            Text(
                f"Further training makes {listed(forgot)} worse, by {100 * min(course[n].max() - course[n][-1] for n in forgot):.0f} points or more: {most} was at {course[most].max():.1%} after {when} of {steps(effort)} steps and "
                f"ends at {course[most][-1]:.1%}, when it gives back {_end(dirty[most]):.0%} of the wrong labels as it was told; {best} gives back {_end(dirty[best]):.0%}.",
                f"练得越久反而越差的：{'、'.join(forgot)}，至少跌了 {100 * min(course[n].max() - course[n][-1] for n in forgot):.0f} 个百分点。{most} 在第 {when} 步(共 {steps(effort)} 步)曾达到 {course[most].max():.1%}，"
                f"最后是 {course[most][-1]:.1%}，此时 {_end(dirty[most]):.0%} 的错误标签已被它背下；{best} 背下 {_end(dirty[best]):.0%}。",
            )
        )
    else:
        said.append(Text("No loss loses more than a point by training on to the end.", "一直训练到最后，没有哪个损失的准确率回落超过一个百分点。"))
    low, high = (pick(float(r.accuracy.mean()) for r in clean.values()) for pick in (min, max))
    apart = [n for n in names if without[n].clear]
    said.append(
        Text(
            f"With right labels all lie between {low:.1%} and {high:.1%}"
            + (f"; clearly behind the best: {listed(apart)}." if apart else ", and no difference is beyond the noise."),
            f"标签全对时，各损失都在 {low:.1%} 到 {high:.1%} 之间" + (f"；明显落后于最好者的：{'、'.join(apart)}。" if apart else "，差别都在噪声之内。"),
        )
    )
    missed = [n for n in names if missing(clean[n], found.data) + missing(dirty[n], found.data)]
    if missed:
        said.append(
            Text(
                f"Not every network learns every digit: under {listed(missed)} at least one reads fewer than a tenth of some digit.",
                f"并非每个网络都学会了全部数字：{'、'.join(missed)} 下至少有一个网络，某个数字认对的不到一成。",
            )
        )
    said.append(_calibration(names, found))
    agreement = rank_correlation(np.array([pulls[n] for n in names]), np.array([1.0 - dirty[n].accuracy.mean() for n in names]))
    shares = f"{pulls[worst]:.0%}", f"{pulls[best]:.0%}"
    said.append(
        Text(
            f"The gradient explains it: on one network that can read but has not yet learned the mistakes, the wrong labels hold {shares[0]} of all gradient under {worst} and {shares[1]} under {best}. "
            f"Ordering the losses by this share orders them by their mistakes with a rank correlation of {agreement:.2f}.",
            f"原因在梯度：在同一个已经会识字、还没背下错误的网络上，错误标签占全部梯度的比例，{worst} 为 {shares[0]}，{best} 为 {shares[1]}。按这一比例排序与按错误率排序的秩相关为 {agreement:.2f}。",
        )
        if agreement > 0.6
        else Text(
            f"The wrong labels' share of the gradient ({shares[0]} under {worst}, {shares[1]} under {best}, on one and the same network) does not order the losses here (rank correlation {agreement:.2f}).",
            f"错误标签在梯度中的比例(同一个网络上，{worst} 为 {shares[0]}，{best} 为 {shares[1]})在这里不能解释排序(秩相关 {agreement:.2f})。",
        )
    )
    return tuple(said)


def _calibration(names: list[str], found: Findings) -> Text:
    """What the probabilities are worth."""
    parts = []
    for results in (found.clean, found.dirty):
        ece = {n: float(results[n].ece.mean()) for n in names}
        least, most = min(names, key=lambda n: ece[n]), max(names, key=lambda n: ece[n])
        sure = results[most].probability.max(-1).mean() > results[most].accuracy.mean()
        parts.append(
            (
                f"{least} ({ece[least]:.3f})",
                f"{most} ({ece[most]:.3f}, too {'sure' if sure else 'modest'})",
                f"{most} ({ece[most]:.3f}，过于{'自信' if sure else '谨慎'})",
            )
        )
    (a, b, b_zh), (c, d, d_zh) = parts
    return Text(
        f"Probabilities: with right labels {a} has the smallest calibration error and {b} the largest; with wrong ones {c} the smallest and {d} the largest.",
        f"概率：标签全对时，校准误差最小的是 {a}，最大的是 {b_zh}；标签有错时，最小的是 {c}，最大的是 {d_zh}。",
    )


def _table(names: list[str], found: Findings, with_wrong: dict[str, Difference], without: dict[str, Difference]) -> Table:
    """One row per loss, best first."""
    rows = []
    best_clean = max(names, key=lambda n: float(found.clean[n].accuracy.mean()))
    for name in names:
        cells = [Cell(name, code=True)]
        for result, apart, best in ((found.dirty[name], with_wrong[name], names[0]), (found.clean[name], without[name], best_clean)):
            mean, deviation = spread(100.0 * result.accuracy)
            cells.append(Cell(f"{mean:.1f} %", f"± {deviation:.1f}", "best" if name == best else ("bad" if apart.clear else "good")))
        for scores in (found.dirty[name].ece, found.clean[name].ece, found.dirty[name].nll, found.clean[name].nll):
            mean, deviation = spread(scores)
            cells.append(Cell(f"{mean:.3f}", f"± {deviation:.3f}"))
        rows.append((*cells, Cell(f"{_end(found.dirty[name]):.0%}"), Cell(f"{found.look.pulls[name]:.0%}")))
    return Table(
        (
            Text("Loss", "损失"),
            Text("Accuracy, 30 % wrong", "准确率(30% 有错)"),
            Text("Accuracy, all right", "准确率(全对)"),
            Text("Calibration error, 30 % wrong", "校准误差 ECE(30% 有错)"),
            Text("Calibration error, all right", "校准误差 ECE(全对)"),
            Text("Test cross-entropy, 30 % wrong", "测试交叉熵(30% 有错)"),
            Text("Test cross-entropy, all right", "测试交叉熵(全对)"),
            Text("Wrong labels known by heart", "背下的错误标签"),
            Text("Pull of the wrong labels", "错误标签的拉力"),
        ),
        tuple(rows),
        Text(
            "On test digits with right labels; mean ± standard deviation over the seeds, best first. Green: the best of the column, and what cannot be told from it; red: clearly worse. CE: cross_entropy, "
            'focal: focal_loss(task="multiclass"), poly: poly_loss, GCE: generalized_cross_entropy, SCE: symmetric_cross_entropy. Known by heart: of the training images with a wrong label, those that '
            "are read as they were wrongly told in the end. Pull: the wrong labels' share of all gradient, for all losses on one network that has learned with CE for a fifth of the time.",
            "测试集标签全部正确；各种子的均值 ± 标准差，由好到差。绿色：该列最好以及与之无法区分的；红色：明显更差。CE：cross_entropy；"
            'focal：focal_loss(task="multiclass")；poly：poly_loss；GCE：generalized_cross_entropy；SCE：symmetric_cross_entropy。背下的：标签写错的训练图像中，最后照错误标签作答的比例。'
            "拉力：错误标签占全部梯度的比例，各损失都在同一个用 CE 训练了五分之一步数的网络上计算。",
        ),
    )


def _ranges_panel(names: list[str], found: Findings, part: str, title: Text) -> str:
    """One score of all losses, with wrong and with right labels."""

    def draw(axes: Any) -> None:
        sides = ((WRONG, 1, found.dirty), (RIGHT, 0, found.clean))
        ranges(axes, names, [(words.en, colour, [spread(100.0 * getattr(side[n], part)) for n in names]) for words, colour, side in sides], title.en)
        axes.legend(loc="best", fontsize=8)

    return panel(draw, (RIGHT, WRONG, title), height=3.1)


def _course_panels(found: Findings, effort: Effort) -> tuple[str, ...]:
    """What is learned when: the digits, and the mistakes."""
    words = (Text("training steps", "训练步数"), ACCURACY, Text("wrong labels known by heart, %", "背下的错误标签(%)"))
    where = points(steps(effort))
    panels = []
    for part, title in (("course", words[1]), ("heart", words[2])):

        def draw(axes: Any, part: str = part, title: Text = title) -> None:
            series = {e.name: 100.0 * getattr(found.dirty[e.name], part).mean(1) for e in ENTRIES}
            for name, heights in series.items():
                axes.plot(where, heights, color=SERIES[NUMBER[name]], linewidth=2, label=name)
            axes.set_xlabel(words[0].en)
            axes.set_title(title.en)
            top = max(float(h.max()) for h in series.values())
            if part == "course":
                axes.set_ylim(max(0.0, top - 35.0), top + 2.0)
                axes.legend(loc="lower right", fontsize=8)
            else:
                axes.set_ylim(bottom=0.0)

        panels.append(panel(draw, words, height=3.5))
    return tuple(panels)


def _reliability_panels(found: Findings) -> tuple[str, ...]:
    """Frequency against confidence, with right and with wrong labels."""
    words = (Text("probability of the answer", "答案的概率"), Text("share right", "答对的比例"), RIGHT, WRONG)
    truth = found.data.truth.numpy().ravel()
    panels = []
    for title, results in ((RIGHT, found.clean), (WRONG, found.dirty)):

        def draw(axes: Any, title: Text = title, results: dict[str, Result] = results) -> None:
            axes.plot([0, 1], [0, 1], color=SOFT, linewidth=1)
            for name, number in NUMBER.items():
                p = results[name].probability.reshape(len(truth), -1)
                sure, right = p.max(-1), p.argmax(-1) == truth
                place = np.minimum((sure * 10).astype(int), 9)
                held = [place == b for b in np.flatnonzero(np.bincount(place, minlength=10) >= 20)]
                axes.plot([sure[h].mean() for h in held], [right[h].mean() for h in held], "o-", color=SERIES[number], linewidth=1.8, markersize=4, label=name)
            axes.set_xlim(0.18, 1.02)
            axes.set_ylim(0.0, 1.03)
            axes.set_xlabel(words[0].en)
            axes.set_ylabel(words[1].en)
            axes.set_title(title.en)
            if title == RIGHT:
                axes.legend(loc="lower right", fontsize=8)

        panels.append(panel(draw, words, height=3.8))
    return tuple(panels)


def _why_panels(found: Findings) -> tuple[str, ...]:
    """Value and pull against the probability of the label."""
    words = (
        Text("probability p of the label", "标签的概率 p"),
        Text("value", "损失值"),
        Text("pull, largest = 1", "拉力(最大为 1)"),
        Text("wrong labels", "错误标签"),
    )
    curves = [curve(entry) for entry in ENTRIES]
    panels = []
    for part, top, bottom in (("value", 5.0, 0.0), ("pull", 1.12, -0.2)):

        def draw(axes: Any, part: str = part, top: float = top, bottom: float = bottom) -> None:
            axes.axvspan(0.0, found.look.wrong_below, color=SOFT, alpha=0.13, linewidth=0)
            axes.axvline(found.look.right_above, color=SOFT, linewidth=1, linestyle="--")
            axes.text(0.01, bottom + 0.04 * (top - bottom), words[3].en, color=SOFT, fontsize=9)
            axes.axhline(0, color=SOFT, linewidth=0.8)
            for number, line in enumerate(curves):
                heights = np.array(line.value) if part == "value" else -np.array(line.slope) / np.abs(line.slope).max()
                axes.plot(line.x, heights, color=SERIES[number], linewidth=2, label=line.label)
            axes.set_ylim(bottom, top)
            axes.set_xlim(0, 1)
            axes.set_xlabel(words[0].en)
            axes.set_title(words[1].en if part == "value" else words[2].en)
            if part == "value":
                axes.legend(loc="upper right", fontsize=8)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)


def _galleries(names: list[str], found: Findings) -> tuple[str, ...]:
    """The hardest digits under plain cross-entropy with right and wrong labels, and under the best loss with wrong ones."""
    shown = [(PLAIN, RIGHT, found.clean), (PLAIN, WRONG, found.dirty)] + [(names[0], WRONG, found.dirty)] * (names[0] != PLAIN)
    pictures = []
    for name, labels, results in shown:
        items = [(h.image, f"{h.truth} → {h.read}, {h.probability:.2f}", h.truth == h.read) for h in hardest(results[name], found.data, 12)]
        pictures.append(gallery(Text(f"{name}, {labels.en}", f"{name}，{labels.zh}"), items))
    return tuple(pictures)


def _method(found: Findings, effort: Effort) -> Text:
    """How the comparison is made fair."""
    train, test, size = len(found.data.x), len(found.data.test_x), Networks(1, 0).size()
    return Text(
        f"{seeds(effort)} random splits into {train:,} training and {test} test images; for each, one network with two 3 by 3 convolutions and {size:,} parameters, {steps(effort)} steps of AdamW on batches of 100, without weight decay or "
        "augmentation. Every loss gets the same splits, wrong labels, initial weights, batches and number of steps; AdamW divides out the size of the gradient. A wrong label is one of the nine other digits, all equally likely. "
        "Calibration error: ten bins of the answer's probability. Differences are called clear when they are beyond a 95 % interval of a paired t-test corrected for overlapping splits (Nadeau and Bengio, 2003) and larger "
        f"than {100 * MATTERS:g} points; of twenty such calls on equal losses one would be wrong. Settings are the papers' or usual ones, not tuned. Nothing is stopped early; the learning curves show what stopping at the best moment would give to those who have right labels to find it by.",
        f"随机划分 {seeds(effort)} 次，每次 {train} 张训练、{test} 张测试；每次一个含两层 3×3 卷积、{size} 个参数的网络，AdamW 训练 {steps(effort)} 步，每批 100 张，不用权重衰减，也不做数据增强。所有损失使用相同的划分、相同的错误标签、相同的初始"
        "权重、批次和步数；AdamW 会除掉梯度的尺度。错误标签在其余九个数字中等概率抽取。校准误差按答案概率分十个区间。只有超出配对 t 检验 95% 区间(按重叠划分校正，Nadeau 与 Bengio 2003)且大于 "
        f"{100 * MATTERS:g} 个百分点的差别才称为“明显”；若两个损失其实一样好，二十次中会有一次误判。参数取论文或惯用值，未经调优。没有提前停止；如果手头有一批正确标签可用来挑选时机，停在最好的一步能得到什么，学习曲线里看得到。",
    )
