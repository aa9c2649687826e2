"""Chapter 6 in words, tables and pictures."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

import losskit
from losskit.tour.chapter import Advance, Cell, Chapter, Effort, Figure, Heading, Paragraph, Table, Text, listed
from losskit.tour.coins_data import FOLDS, LEARNED, REACH, SIDE, TESTED, WINDOWS
from losskit.tour.coins_figures import answers, cases, regions, sample, ways
from losskit.tour.coins_hand import by_hand
from losskit.tour.coins_run import APART, BATCH, CORNERS, ENTRIES, FAR, MATTERS, MIDDLE, RATE, WARM, Fate, Findings, Networks, Result, against, fate, run, steps
from losskit.tour.coins_tried import WARNING, tried
from losskit.tour.compare import Numbers, spread
from losskit.tour.figures import SERIES, panel, ranges

NUMBER = {entry.name: number for number, entry in enumerate(ENTRIES)}  # a loss keeps its colour through the chapter
GOOD, FINE = 0.75, 0.9  # IoU from which a box is good, or very good
PARTS = 3  # of the test crops by the size of their boxes
SCORE, LENGTH = Text("mean IoU on held-out coins", "留出硬币上的平均 IoU"), Text("mean side of the answers, pixels", "回答的平均边长(像素)")


def work() -> int:
    """Trainings, and the drawing."""
    return 2 * len(ENTRIES) + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss from both starts, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("coins: figures")
    return chapter


class Seen:
    """What is told more than once: the losses in order, how far they are apart, and how they fare by the size of a box."""

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.iou = {n: float(r.iou[-1].mean()) for n, r in found.middle.items()}
        self.names = sorted(NUMBER, key=lambda n: -self.iou[n])
        self.best = self.names[0]
        self.apart = {n: against(found.middle[self.best].scores, r.scores) for n, r in found.middle.items()}
        self.clear = [n for n in self.names if self.apart[n].clear]
        self.off = {n: float(np.abs(r.boxes[-1] - found.box).mean()) for n, r in found.middle.items()}  # pixels of the crop, by side of a box
        self.edges = np.quantile(found.size, np.arange(1, PARTS) / PARTS)
        self.part = np.searchsorted(self.edges, found.size)  # of each test crop, by the size of its box
        self.fates = {n: fate(found.middle[n], found.apart[n]) for n in NUMBER}

    def by_size(self, name: str) -> Numbers:
        """Mean IoU at the end of the small, the middling and the large boxes."""
        return np.array([self.found.middle[name].iou[-1][self.part == p].mean() for p in range(PARTS)])

    def lead(self, part: int) -> Numbers:
        """How far smooth L1 is ahead of the mean of the others on boxes of a size, of each fold."""
        ahead = self.found.middle[CORNERS].iou[-1] - np.mean([r.iou[-1] for n, r in self.found.middle.items() if n != CORNERS], 0)
        here = (self.part == part).reshape(FOLDS, -1)
        return np.asarray((ahead.reshape(FOLDS, -1) * here).sum(1) / here.sum(1))


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    seen = Seen(found)
    coins = found.held_out.size
    second = next(n for n in seen.names if n != seen.best and CORNERS in (n, seen.best))  # smooth L1, or the first after it
    return Chapter(
        key="coins",
        title=Text("Boxes of coins, from a network", "网络给出的硬币框"),
        question=Text(
            f"In chapter 5 nothing stands between a loss and its boxes. Here a network does, and real pixels: it is shown a crop of the coins picture and says where the box of the coin nearest to the crop's middle is. Each of the {coins} coins is held out once. "
            "Which loss gives the best boxes of coins that a network was never asked about? And what if its first boxes lie apart from every coin?",
            f"第 5 章里，损失与框之间什么都没有。这里隔着一个网络和真实的像素：给它一块硬币图的裁片，它要说出离裁片中心最近的那枚硬币的框。{coins} 枚硬币各留出一次。对训练时从未问过的硬币，哪个损失给出的框最好？如果一开始的框与所有硬币都不相交，又会怎样？",
        ),
        verdict=_verdict(seen),
        blocks=(
            _table(seen),
            Figure(
                (_ranges_panel(seen), _sizes_panel(seen), _course_panel(found, found.middle, SCORE)),
                Text(
                    f"From the start in the middle. Left: mean and standard deviation over the {FOLDS} folds. Middle: test crops in three equal parts by the size of the box, the side of a square of its area. Right: while the networks learn.",
                    f"从中央出发。左：{FOLDS} 折的均值与标准差。中：按框的大小(同面积正方形的边长)把测试裁片三等分。右：训练过程中。",
                ),
            ),
            Heading(Text("The picture, and what is asked", "图像与问题")),
            Figure(
                (regions(found), sample(found)),
                Text(
                    f"Left: what the watershed of chapter 4 finds in the whole picture; a box is the smallest that holds its region. Coins of one colour are held out together. Right: one test crop each of half of the coins, {SIDE} by {SIDE} pixels; beyond the picture its border goes on. Green: the box asked for.",
                    f"左：第 4 章的分水岭在整幅图中找到的区域，框是恰好装下区域的最小矩形。同色的硬币一起留出。右：半数硬币各一块测试裁片，{SIDE}×{SIDE} 像素；超出画面处延续边缘像素。绿色：应答的框。",
                ),
            ),
            Heading(Text("What the networks answer", "网络的回答")),
            Figure(
                tuple(answers(found, n) for n in (seen.best, second)),
                Text(
                    f"Every coin's box (green), and the answers to its {TESTED} test crops put back into the picture (orange), by the network that was not trained on it. In the heading the mean IoU.",
                    f"每枚硬币的框(绿色)，以及没有用它训练过的网络对其 {TESTED} 块测试裁片的回答，放回原图(橙色)。标题中为平均 IoU。",
                ),
            ),
            Figure(
                cases(found),
                Text(
                    "The test crops of the highest, the middle and the lowest IoU, mean of all losses. Green: asked for; orange: answered. Under the first crop the size of its box, under the others the IoU.",
                    "各损失平均 IoU 最高、居中、最低的测试裁片。绿色：应答的框；橙色：回答。第一格下方为框的大小，其余下方为 IoU。",
                ),
            ),
            Heading(Text("A start apart", "从远处出发")),
            Paragraph(
                Text(
                    f"A network starts from a box of its own: what it answers before it has learned anything. So far that was the middle of the crop, which overlaps every coin. Now it is a box of {APART[2] - APART[0]:g} by {APART[3] - APART[1]:g} pixels that touches the crop's corner "
                    "from outside and overlaps no coin; networks, crops and order are the same.",
                    f"网络有自己的起点：什么都没学时给出的框。前面的起点是裁片中央，与每枚硬币都相交。现在换成 {APART[2] - APART[0]:g}×{APART[3] - APART[1]:g} 像素、从外侧贴着裁片一角的框，与任何硬币都不相交；网络、裁片和次序全都不变。",
                )
            ),
            Figure(
                (_course_panel(found, found.apart, SCORE), _course_panel(found, found.apart, LENGTH)),
                Text(
                    "From the start apart. Left: mean IoU of the held-out coins while the networks learn. Right: how long the sides of the answers are, mean of all test crops, on a logarithmic axis. CIoU is dashed, so that DIoU is seen below it.",
                    "从远处出发。左：训练过程中留出硬币的平均 IoU。右：回答的框有多大，为全部测试裁片的平均边长，对数坐标。CIoU 画成虚线，以免盖住 DIoU。",
                ),
            ),
            Figure(
                ways(found),
                Text(
                    "The middle crop of above, from the start apart: where the box is after some of the steps; below the loss the IoU at the end. What leaves the frame is not drawn.",
                    "上面居中的那块裁片，从远处出发：若干步之后框的位置；损失名下方为最终 IoU。超出画面的部分不画。",
                ),
            ),
            *by_hand(),
            *tried(),
            Heading(Text("How it was done", "实验方法")),
            Paragraph(_method(found, effort)),
        ),
        summary_headings=("loss", "mean IoU", f"IoU >= {GOOD:g}", "sides off, pixels", "mean IoU from apart"),
        summary=tuple(
            (n, f"{seen.iou[n]:.3f}", f"{_share(found.middle[n], GOOD):.0%}", f"{seen.off[n]:.2f}", f"{found.apart[n].iou[-1].mean():.3f}") for n in seen.names
        ),
    )


def _share(result: Result, level: float) -> float:
    """Test crops with an IoU of so much at the end."""
    return float((result.iou[-1] >= level).mean())


def _verdict(seen: Seen) -> tuple[Text, ...]:
    """What the numbers say, whatever they turn out to be."""
    found, names, iou, best = seen.found, seen.names, seen.iou, seen.best
    worst, behind = names[-1], [f"{n} (-{seen.apart[n].mean:.3f})" for n in seen.clear]
    equal = [n for n in names[1:] if n not in seen.clear]
    said = [
        Text(
            f"From a start in the middle {best} has the best boxes of held-out coins: mean IoU {iou[best]:.3f}, and {_share(found.middle[best], GOOD):.0%} of them with {GOOD:g} or more; {worst} has {iou[worst]:.3f} and {_share(found.middle[worst], GOOD):.0%}. "
            + (f"Clearly behind: {listed(behind)}." if behind else "No loss is clearly behind.")
            + (f" The data cannot tell it from {listed(equal)}." if behind and equal else ""),
            f"从中央出发，留出硬币的框最好的是 {best}：平均 IoU 为 {iou[best]:.3f}，{_share(found.middle[best], GOOD):.0%} 达到 {GOOD:g}；{worst} 为 {iou[worst]:.3f} 与 {_share(found.middle[worst], GOOD):.0%}。"
            + (f"明显落后的：{'、'.join(behind)}。" if behind else "没有哪个明显落后。")
            + (f"与它的差别在噪声范围内的：{'、'.join(equal)}。" if behind and equal else ""),
        ),
        _corners(seen),
        _sizes(seen),
    ]
    constant, least = float(found.constant.mean()), min(iou.values())
    dull = [n for n in names if iou[n] <= constant]
    said.append(
        Text(
            f"Less than always answering the mean box of training ({constant:.3f}): {listed(dull)}.",
            f"还不如总是回答训练集的平均框({constant:.3f})：{'、'.join(dull)}。",
        )
        if dull
        else Text(
            f"Always answering the mean box of training would give {constant:.3f}, the untrained networks {found.middle[best].iou[0].mean():.3f}: what the losses share ({least - constant:+.3f} at least) is far more than what divides them ({iou[best] - least:.3f}).",
            f"总是回答训练集的平均框为 {constant:.3f}，未训练的网络为 {found.middle[best].iou[0].mean():.3f}：各损失共有的进步(至少 {least - constant:+.3f})远大于彼此的差别({iou[best] - least:.3f})。",
        )
        if least - constant > 3.0 * (iou[best] - least)
        else Text(
            f"Always answering the mean box of training would give {constant:.3f}, the untrained networks {found.middle[best].iou[0].mean():.3f}; the losses are {iou[best] - least:.3f} apart.",
            f"总是回答训练集的平均框为 {constant:.3f}，未训练的网络为 {found.middle[best].iou[0].mean():.3f}；各损失之间相差 {iou[best] - least:.3f}。",
        )
    )
    said += [_fates(seen), _advice(seen), WARNING]
    return tuple(said)


def _corners(seen: Seen) -> Text:
    """Smooth L1, which ignores overlap, against the losses of overlap taken together."""
    rivals = [n for n in seen.names if n != CORNERS]
    gap = against(seen.found.middle[CORNERS].scores, np.mean([seen.found.middle[n].scores for n in rivals], 0))
    off = float(np.mean([seen.off[n] for n in rivals]))
    clear = Text("", "") if gap.clear else Text(", within the noise", "，在噪声之内")
    where = Text("ahead of", "领先") if gap.mean > 0 else Text("behind", "落后")
    return Text(
        f"IoU is what is measured. Smooth L1, which knows no overlap, is {where.en} the mean of the losses of overlap, {seen.iou[CORNERS]:.3f} against {seen.iou[CORNERS] - gap.mean:.3f} (difference {gap.mean:+.3f} ± {gap.margin:.3f}{clear.en}); "
        f"the best of those is {rivals[0]}, {seen.iou[rivals[0]]:.3f}. Sides are {seen.off[CORNERS]:.2f} pixels of the crop off with smooth L1, {off:.2f} with the others.",
        f"衡量的是 IoU。不懂重叠的 smooth L1 {where.zh}于重叠类损失的平均：{seen.iou[CORNERS]:.3f} 比 {seen.iou[CORNERS] - gap.mean:.3f}(差 {gap.mean:+.3f} ± {gap.margin:.3f}{clear.zh})；"
        f"其中最好的是 {rivals[0]}，{seen.iou[rivals[0]]:.3f}。边的误差：smooth L1 为 {seen.off[CORNERS]:.2f} 个裁片像素，其余平均 {off:.2f}。",
    )


def _sizes(seen: Seen) -> Text:
    """Whether smooth L1, which counts pixels, serves large boxes better than small ones, against losses of overlap, which count shares."""
    small, large = (seen.lead(p) for p in (0, PARTS - 1))
    turn = against(large, small)
    numbers = Text(
        f"Against the mean of the losses of overlap smooth L1 is at {small.mean():+.3f} on the smallest third of the boxes (up to {seen.edges[0]:.0f} pixels) and at {large.mean():+.3f} on the largest (from {seen.edges[-1]:.0f})",
        f"与重叠类损失的平均相比，smooth L1 在最小的三分之一(不超过 {seen.edges[0]:.0f} 像素)上为 {small.mean():+.3f}，在最大的三分之一({seen.edges[-1]:.0f} 像素起)上为 {large.mean():+.3f}",
    )
    if not turn.clear:
        return Text(f"{numbers.en}: the sizes do not tell them apart beyond the noise.", f"{numbers.zh}：大小带来的差别没有超出噪声。")
    if turn.mean > 0:
        return Text(
            f"{numbers.en}: it counts pixels, so large boxes, with their larger errors, count more; losses of overlap count shares.",
            f"{numbers.zh}：它按像素计，大框误差大，分量也重；重叠类损失按比例计。",
        )
    return Text(f"{numbers.en}, which is not what counting pixels would lead one to expect.", f"{numbers.zh}，这与“按像素计偏重大框”的预期相反。")


def _fates(seen: Seen) -> Text:
    """What became of every loss that started apart."""
    apart, fates = seen.found.apart, seen.fates
    through, still, away, lost = ([n for n in seen.names if fates[n][way] == FOLDS] for way in range(len(Fate._fields)))
    mixed = [n for n in seen.names if max(fates[n]) < FOLDS]
    longest = max((float(apart[n].sides[-1]) for n in away), default=0.0)
    groups = (
        ("through in every fold", "每一折都走出来的", [f"{n} ({apart[n].iou[-1].mean():.3f})" for n in through]),
        ("not moved by a pixel", "一个像素都没有移动的", still),
        (f"run away, to sides of {longest:,.0f} pixels in the mean", f"越跑越大、平均边长达 {longest:,.0f} 像素的", away),
        ("astray", "走偏的", lost),
        ("different from fold to fold", "各折结果不一的", [f"{n} ({fates[n].through}/{FOLDS})" for n in mixed]),
    )
    en = "; ".join(f"{title}: {listed(names)}" for title, _, names in groups if names)
    zh = "；".join(f"{title}：{'、'.join(names)}" for _, title, names in groups if names)
    return Text(f"From a start apart, with the same networks and crops: {en}.", f"从远处出发，网络与裁片不变：{zh}。")


def _advice(seen: Seen) -> Text:
    """What to take, as far as the numbers go."""
    level = [n for n in seen.names if n not in seen.clear]
    both = [n for n in level if seen.fates[n].through == FOLDS]
    middle = [n for n in level if n not in both]
    en, zh = ["No loss is both not clearly behind from the middle and through from apart."], ["没有哪个损失既在中央不明显落后，又能从远处走出来。"]
    if both:
        en, zh = (
            [f"Not clearly behind from the middle, and through from apart: {listed(both)}."],
            [f"从中央出发不明显落后、从远处也走得出来的：{'、'.join(both)}。"],
        )
    if middle:
        en.append(f"Not clearly behind either, but only where first boxes overlap their targets: {listed(middle)}.")
        zh.append(f"同样不明显落后、但起初的框须与目标相交的：{'、'.join(middle)}。")
    if max(float(r.iou[-1].mean()) for r in seen.found.apart.values()) < min(seen.iou.values()):
        en.append("The worst from the middle beats the best from apart: mind the start before the loss.")
        zh.append("中央出发最差的也胜过远处出发最好的：先管好起点，再挑损失。")
    return Text(f"{' '.join(en)} One picture and short training do not tell more than this.", f"{''.join(zh)}一幅图、短训练，只能说到这里。")


def _table(seen: Seen) -> Table:
    """One row per loss, best first; below them what needs no loss."""
    found = seen.found
    rows: list[tuple[Cell, ...]] = []
    for name in seen.names:
        result, gap, fates = found.middle[name], seen.apart[name], seen.fates[name]
        mean, deviation = spread(result.scores)
        sizes = seen.by_size(name)
        tone = "best" if name == seen.best else "bad" if gap.clear else "good"
        rows.append(
            (
                Cell(name, code=True),
                Cell(f"{mean:.3f}", f"± {deviation:.3f}", tone),
                Cell("-") if name == seen.best else Cell(f"{gap.mean:.3f}", f"± {gap.margin:.3f}"),
                Cell(f"{_share(result, GOOD):.0%}"),
                Cell(f"{_share(result, FINE):.0%}"),
                Cell(f"{seen.off[name]:.2f}"),
                Cell(f"{sizes[0]:.3f}"),
                Cell(f"{sizes[-1]:.3f}"),
                Cell(f"{found.apart[name].iou[-1].mean():.3f}"),
                Cell(f"{fates.through}/{FOLDS}", tone="good" if fates.through == FOLDS else "bad" if fates.through == 0 else ""),
            )
        )
    still: tuple[tuple[Text, Numbers], ...] = (
        (Text("mean box of training", "训练集的平均框"), found.constant),
        (Text("untrained networks", "未训练的网络"), found.middle[seen.best].iou[0]),
    )
    for title, iou in still:
        shares = (Cell(f"{(iou >= level).mean():.0%}") for level in (GOOD, FINE))
        parts = (Cell(f"{iou[seen.part == p].mean():.3f}") for p in (0, PARTS - 1))
        rows.append((Cell(title), Cell(f"{iou.mean():.3f}"), Cell(""), *shares, Cell(""), *parts, Cell(""), Cell("")))
    return Table(
        (
            Text("Loss", "损失"),
            Text("Mean IoU", "平均 IoU"),
            Text("Behind the best", "落后于最好的"),
            Text(f"IoU ≥ {GOOD:g}", f"IoU ≥ {GOOD:g}"),
            Text(f"IoU ≥ {FINE:g}", f"IoU ≥ {FINE:g}"),
            Text("Sides off, pixels", "边的误差(像素)"),
            Text("IoU, smallest third", "IoU，最小的三分之一"),
            Text("IoU, largest third", "IoU，最大的三分之一"),
            Text("Mean IoU from apart", "平均 IoU(从远处)"),
            Text("Folds through from apart", "从远处走出来的折数"),
        ),
        tuple(rows),
        Text(
            f"On test crops of held-out coins, at the end of training. ± after the mean: standard deviation over the {FOLDS} folds; after the difference: its 95 % interval. Green: the best, and what cannot be told from it; red: clearly worse. Sides off: mean absolute error of "
            "the four sides, in pixels of the crop. Through: at least half the mean IoU that the loss has from the middle.",
            f"留出硬币的测试裁片，训练结束时。均值后的 ±：{FOLDS} 折的标准差；差别后的 ±：95% 区间。绿色：最好的以及与之无法区分的；红色：明显更差。边的误差：四条边的平均绝对误差，以裁片像素计。走出来：平均 IoU 至少达到该损失从中央出发时的一半。",
        ),
    )


def _ranges_panel(seen: Seen) -> str:
    """Mean IoU of all losses."""

    def draw(axes: Any) -> None:
        ranges(axes, seen.names, [("", 0, [spread(seen.found.middle[n].scores) for n in seen.names])], SCORE.en)

    return panel(draw, (SCORE,), width=3.7, height=3.4)


def _sizes_panel(seen: Seen) -> str:
    """Mean IoU by the size of the box."""
    label, limits = Text("size of the box, pixels of the crop", "框的大小(裁片像素)"), [seen.found.size.min(), *seen.edges, seen.found.size.max()]

    def draw(axes: Any) -> None:
        for name, number in NUMBER.items():
            axes.plot(range(PARTS), seen.by_size(name), "o-", color=SERIES[number], linewidth=1.8, markersize=4, label=name)
        low, high = axes.get_ylim()
        axes.set_ylim(low - 0.45 * (high - low), high)  # room for the names
        axes.set_xticks(range(PARTS), [f"{a:.0f}-{b:.0f}" for a, b in pairwise(limits)])
        axes.set_xlabel(label.en)
        axes.set_ylabel(SCORE.en)
        axes.legend(loc="lower center", fontsize=8, ncols=3)

    return panel(draw, (label, SCORE), width=3.7, height=3.4)


def _course_panel(found: Findings, results: dict[str, Result], what: Text) -> str:
    """Mean IoU, or the mean side of the answers, against the step."""
    label, wide = Text("step", "步数"), results is found.apart

    def draw(axes: Any) -> None:
        for name, number in NUMBER.items():
            heights = results[name].iou.mean(1) if what is SCORE else results[name].sides
            axes.plot(found.looks, heights, "o--" if name == "CIoU" else "o-", color=SERIES[number], linewidth=1.8, markersize=3.5, label=name)
        if what is SCORE:
            axes.set_ylim(-0.03, 1.0)
        else:
            axes.set_yscale("log")
        axes.set_xlabel(label.en)
        axes.set_ylabel(what.en)
        if wide and what is SCORE:
            axes.legend(loc="upper left", fontsize=8, ncols=4)

    return panel(draw, (label, what), width=4.7 if wide else 3.7, height=3.4)


def _method(found: Findings, effort: Effort) -> Text:
    """How the comparison is made fair."""
    coins, order = found.held_out.size, _disorder((*found.middle.values(), *found.apart.values()))
    size = Networks(MIDDLE, 0).size()
    return Text(
        f"The whole picture, 303 by 384 pixels. A crop is a square of {WINDOWS[0]} to {WINDOWS[1]} pixels that holds a whole coin, with its middle up to {REACH:g} of the coin's size away from the coin's along each axis and nearer to it than to any other's; brought to {SIDE} by {SIDE}. "
        f"{coins} coins in {FOLDS} folds; training has {LEARNED} crops of each coin that is not held out, turned at random, testing {TESTED} of each held-out one. No training crop is about a held-out coin, but such a coin may be seen at its edge, for coins lie close. One network for each fold: two convolutions, two "
        f"layers, {size:,} parameters, four sides as answer, measured from the start in units of {SIDE // 4} pixels; nothing keeps them in order, and losskit takes them as they come ({order.en}). {steps(effort)} steps of AdamW on {BATCH} crops, rate up to {RATE:g}, reached after {WARM:.0%} of the steps. "
        "Every loss gets the same crops, order, initial weights and number of steps; AdamW divides out the size of the gradient. Smooth L1 is of the four sides, in pixels, beta = 1; the others are losskit's with their defaults. "
        f"Run away: sides of more than {FAR:g} pixels in the mean. Differences are called clear when they are beyond a 95 % interval of a paired t-test over the folds, corrected for overlapping training sets (Nadeau and Bengio, 2003), and larger than {MATTERS:g}; each is judged by itself, and among {len(ENTRIES) - 1} one may pass by chance. "
        "Training is short, and the settings are the same for all losses, not the best of each.",
        f"使用整幅图，303×384 像素。裁片是边长 {WINDOWS[0]} 到 {WINDOWS[1]} 像素的正方形，包含整枚硬币；其中心沿每个轴偏离硬币中心至多为硬币大小的 {REACH:g} 倍，且离它比离任何别的硬币都近；缩放到 {SIDE}×{SIDE}。{coins} 枚硬币分为 {FOLDS} 折；未留出的硬币各有 {LEARNED} 块训练裁片(随机翻转)，"
        f"留出的各有 {TESTED} 块测试裁片。没有哪块训练裁片问的是留出的硬币，但硬币挨得近，边上可能看得到它。每折一个网络：两层卷积加两层全连接，{size} 个参数，输出四条边，以 {SIDE // 4} 像素为单位从起点量起；没有任何机制保证边的先后，losskit 照单全收({order.zh})。"
        f"AdamW 训练 {steps(effort)} 步，每批 {BATCH} 块，步长最大 {RATE:g}，在前 {WARM:.0%} 的步数内升到。所有损失使用相同的裁片、次序、初始权重和步数；AdamW 会除掉梯度的尺度。smooth L1 作用于四条边(像素)，beta = 1；其余损失均为 losskit 的默认设置。平均边长超过 {FAR:g} 像素称为“跑掉”。"
        f"只有超出各折配对 t 检验 95% 区间(按训练集重叠校正，Nadeau 与 Bengio 2003)且大于 {MATTERS:g} 的差别才称为“明显”；每个差别单独判断，{len(ENTRIES) - 1} 个之中可能有一个是碰巧。训练很短，所有损失使用同一套参数，并非各自最优。",
    )


def _disorder(results: Sequence[Result]) -> Text:
    """Whether any answers were no boxes, at the look that had most of them."""
    worst = max(int(losskit.degenerate_boxes(torch.as_tensor(look))) / len(look) for result in results for look in result.boxes)
    if worst == 0.0:
        return Text("no answer at a look had sides out of order or no area", "各次查看中没有边序颠倒或没有面积的回答")
    return Text(
        f"at the worst look {worst:.1%} of a loss's answers had sides out of order or no area",
        f"最差的一次查看中，一个损失有 {worst:.1%} 的回答边序颠倒或没有面积",
    )
