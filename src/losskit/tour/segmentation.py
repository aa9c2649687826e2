"""Chapter 4 in words, tables and pictures."""

from typing import Any

import numpy as np

from losskit.tour.chapter import Advance, Cell, Chapter, Effort, Figure, Heading, Paragraph, Table, Text, listed
from losskit.tour.compare import rank_correlation, spread
from losskit.tour.figures import SERIES, panel, ranges
from losskit.tour.segmentation_data import BANDS, BRIGHT, DARK, LIGHT, NEARLY_EMPTY, NOISE, SMALLEST_GALAXY, TILE, Picture
from losskit.tour.segmentation_hand import by_hand
from losskit.tour.segmentation_run import (
    BATCH,
    ENTRIES,
    FOREGROUND,
    MATTERS,
    Findings,
    Objects,
    UNet,
    against,
    objects,
    run,
    shares,
    steps,
)
from losskit.tour.segmentation_views import chosen, stages, tile, whole

NUMBER = {entry.name: number for number, entry in enumerate(ENTRIES)}  # a loss keeps its colour through the chapter
BINS = ((0.0, "0"), (NEARLY_EMPTY, "< 1 %"), (0.03, "1-3 %"), (1.0, "> 3 %"))  # upper bounds of a tile's foreground
SMALL = FOREGROUND.index(10)  # the tile whose pulls explain the false alarms
PER_SAMPLE, PER_BATCH = ENTRIES[1].name, ENTRIES[3].name


def work() -> int:
    """Trainings, and the drawing."""
    return 2 * len(ENTRIES) + 1


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Train with every loss on both pictures, and judge."""
    chapter = tell(run(seed, effort, advance), effort)
    advance("segmentation: figures")
    return chapter


class Seen:
    """What is told more than once: the losses in order, and how they fare on nearly empty tiles."""

    def __init__(self, found: Findings) -> None:
        self.found = found
        self.coins, self.galaxies = found.pictures
        self.results = found.results["galaxies"]
        self.names = sorted(NUMBER, key=lambda n: -float(sum(of[n].dice.mean() for of in found.results.values())))
        self.share = shares(self.galaxies)
        self.near, self.empty = self.share < NEARLY_EMPTY, self.share == 0.0
        self.false = {n: float(r.false[self.near].mean()) for n, r in self.results.items()}  # pixels in a nearly empty tile
        self.kept = {n: int((r.false[self.empty] == 0).sum()) for n, r in self.results.items()}  # empty tiles left empty
        self.objects: dict[str, Objects] = {n: objects(self.galaxies, r.found) for n, r in self.results.items()}
        self.order = {key: sorted(NUMBER, key=lambda n, of=of: -float(of[n].dice.mean())) for key, of in found.results.items()}  # type: ignore[misc]
        self.apart = {key: {n: against(of[self.order[key][0]].dice, of[n].dice) for n in NUMBER} for key, of in found.results.items()}
        false = np.stack([r.found & ~self.coins.mask for r in found.results["coins"].values()])
        self.common = float(false.all(0).sum() / max(1, false.any(0).sum()))  # of the pixels of coins found wrongly
        self.ratio = {n: float(p.missed[SMALL] / p.false[SMALL]) for n, p in found.pulls.items()}


def tell(found: Findings, effort: Effort) -> Chapter:
    """The chapter of these findings."""
    seen = Seen(found)
    coins, galaxies = found.pictures
    return Chapter(
        key="segmentation",
        title=Text("Segmentation: coins and galaxies", "图像分割：硬币与星系"),
        question=Text(
            f"Which pixels are coin, which are galaxy? Coins fill {coins.mask.mean():.0%} of their picture, galaxies {galaxies.mask.mean():.1%} of theirs, and {seen.near.sum()} of its {len(seen.near)} tiles hold next to nothing. "
            "Cross-entropy counts pixels one by one, Dice and Tversky compare whole masks. Which loss finds what, and what does each do where nothing is?",
            f"哪些像素属于硬币，哪些属于星系？硬币占画面的 {coins.mask.mean():.0%}，星系只占 {galaxies.mask.mean():.1%}，{len(seen.near)} 个图块中有 {seen.near.sum()} 个几乎什么也没有。"
            "交叉熵逐个像素计数，Dice 与 Tversky 比较整个掩码。各种损失能找到什么？在什么都没有的地方又会怎样？",
        ),
        verdict=_verdict(seen),
        blocks=(
            _table(seen),
            Figure(
                tuple(
                    _ranges_panel(seen, part, title)
                    for part, title in (("dice", Text("Dice on held-out tiles", "留出图块的 Dice")), ("iou", Text("IoU on held-out tiles", "留出图块的 IoU")))
                ),
                Text("Mean and standard deviation over the four bands.", "四个条带的均值与标准差。"),
            ),
            Heading(Text("The pictures, and how their masks are made", "图像，以及掩码的由来")),
            Paragraph(
                Text(
                    f"Coins: light falls unevenly, so no single threshold will do. What is darker than {DARK} (of 255) is surely table, what is lighter than {LIGHT} surely coin; a watershed on the edges decides "
                    "about the rest; then holes are filled and specks dropped. This is the procedure of scikit-image's user guide.",
                    f"硬币：光照不均，单一阈值行不通。灰度低于 {DARK}(满值 255)的必为桌面，高于 {LIGHT} 的必为硬币，其余由边缘图上的分水岭决定，再填洞、去掉碎点。这是 scikit-image 用户指南中的做法。",
                )
            ),
            Figure(stages(coins), Text("From picture to mask: coins.", "从图像到掩码：硬币。")),
            Paragraph(
                Text(
                    f"Galaxies: in the Hubble eXtreme Deep Field, smoothed, what is brighter than {BRIGHT} over at least {SMALLEST_GALAXY} connected pixels is called one. The network does not see that picture but a "
                    f"noisier one, as after a shorter exposure (noise of {NOISE:g} grey levels added): it has to tell faint galaxies from noise, and large ones from small ones, which the mask leaves out.",
                    f"星系：哈勃极深空场(XDF)经平滑后，灰度高于 {BRIGHT} 且相连不少于 {SMALLEST_GALAXY} 个像素的算作星系。网络看到的不是这幅图，而是噪声更大的一幅，如同曝光更短(加上 {NOISE:g} 个灰度级的噪声)："
                    "它要把暗淡的星系与噪声分开，还要把大的与掩码不收的小的分开。",
                )
            ),
            Figure(stages(galaxies), Text("From picture to mask: galaxies.", "从图像到掩码：星系。")),
            Heading(Text("What was found, and what was not", "找到了什么，错过了什么")),
            Figure(
                tuple(whole(coins, n, found.results["coins"][n]) for n in seen.order["coins"]),
                Text(
                    "All held-out bands of the coins put together, best loss first. Green: found; orange: found and not there; blue: there and not found. The grey lines part the bands. "
                    f"Of the pixels that any loss finds wrongly, {seen.common:.0%} are false under every loss: there the picture decides, not the loss.",
                    "硬币图四个留出条带拼合的结果，由好到差。绿色：找对的；橙色：误报；蓝色：漏报。灰线为条带的分界。"
                    f"至少被一个损失误报的像素中，{seen.common:.0%} 在每个损失下都误报：那里起决定作用的是图像，而不是损失。",
                ),
            ),
            Figure(
                tuple(tile(picture, found.results[picture.key], number, title) for picture, number, title in chosen(found.pictures, found.results)),
                Text(
                    "Held-out tiles, chosen by rule: the two of the coins with the lowest mean Dice; of the galaxies the one that is fullest, the two nearly empty ones about whose Dice the losses disagree most, and the empty one about whose "
                    "false pixels they do. Under the mask its share of the tile, under the others the Dice of this tile alone; an empty tile has 1 if nothing is found in it, else 0. Colours as above.",
                    "留出的图块，按规则选取：硬币中平均 Dice 最低的两块；星系中前景最多的一块、各损失分歧最大的两块近空图块、误报像素数分歧最大的一块全空图块。掩码下方为前景占比，其余下方为该图块单独的 Dice；全空图块什么都没找到记 1，否则记 0。颜色同上。",
                ),
            ),
            Heading(Text("Where nearly nothing is", "几乎什么都没有的地方")),
            Figure(
                _bins_panels(seen),
                Text(
                    "Galaxies: tiles by their share of foreground, from none to more than 3 %. Left: mean Dice of each tile alone. Right: pixels found that are not there, mean of the tiles.",
                    "星系：按前景占比分组的图块，从没有到超过 3%。左：各图块单独 Dice 的均值。右：误报像素数的均值。",
                ),
            ),
            Heading(Text("Why: look at the gradient", "原因：看梯度")),
            Paragraph(
                Text(
                    "Cross-entropy and focal loss pull at a pixel the same wherever it lies, and at a false pixel as hard as at a missed one that is as wrong. Dice divides by the masses of both masks: the smaller the target, the harder each of "
                    "its pixels pulls, and in an overlap of few pixels one more is worth more than one too many. Where the tile has no target at all there is no overlap to gain: all that pulls is the smooth in "
                    'the fraction, the weaker the more was found. Summed over the batch (over="batch"), all tiles share one fraction.',
                    "交叉熵与 focal 对像素的拉力不看位置，错得一样多的误报与漏报一视同仁。Dice 除以两个掩码的总量：目标越小，其中每个像素的拉力越大；重叠只有几个像素时，多找到一个的好处大于多报一个的坏处。图块里根本没有目标时，"
                    '没有重叠可争取，只剩分式里的 smooth 在拉，而且找得越多拉得越弱。按整批求和(over="batch")时，所有图块共用一个分式。',
                )
            ),
            Figure(
                _why_panels(seen),
                Text(
                    f"One tile of a batch of {BATCH}, against its pixels of foreground; the other three hold {found.typical}, the mean of the galaxies. Found pixels have the probability 0.9, the rest 0.01. Left: the pull (derivative by the logit) at one false pixel "
                    "of 0.9, each loss divided by its own at 100. Right: the pull at one missed pixel of 0.1, divided by that at the false one.",
                    f"一批 {BATCH} 块中的一块，横轴为其前景像素数；另外三块各有 {found.typical} 个，即星系图的平均值。找到的像素概率为 0.9，其余为 0.01。左：一个概率 0.9 的误报像素所受的拉力(对 logit 的导数)，各损失除以自己在 100 处的值。"
                    "右：一个概率 0.1 的漏报像素所受的拉力，除以误报像素的拉力。",
                ),
            ),
            *by_hand(),
            Heading(Text("How it was done", "实验方法")),
            Paragraph(_method(effort)),
        ),
        summary_headings=("loss", "Dice, coins", "IoU", "Dice, galaxies", "IoU", "false pixels in a nearly empty tile"),
        summary=tuple(
            (n, *(f"{s.mean():.3f}" for r in (of[n] for of in found.results.values()) for s in (r.dice, r.iou)), f"{seen.false[n]:.1f}") for n in seen.names
        ),
    )


def _verdict(seen: Seen) -> tuple[Text, ...]:
    """What the numbers say, whatever they turn out to be."""
    found, false, kept = seen.found, seen.false, seen.kept
    said = [_best(seen, picture) for picture in found.pictures]
    least, most = min(NUMBER, key=lambda n: false[n]), max(NUMBER, key=lambda n: false[n])
    empties = int(seen.empty.sum())
    said.append(
        Text(
            f"{seen.near.sum()} of the {len(seen.near)} galaxy tiles have less than {NEARLY_EMPTY:.0%} foreground, {empties} of them none. There {least} finds {false[least]:.1f} pixels per tile that are not there, {most} {false[most]:.1f}; "
            f"of the {empties} empty tiles {least} leaves {kept[least]} empty, {most} {kept[most]}.",
            f"{len(seen.near)} 个星系图块中有 {seen.near.sum()} 个前景不足 {NEARLY_EMPTY:.0%}，其中 {empties} 个全空。在这些图块上，{least} 平均每块误报 {false[least]:.1f} 个像素，{most} 误报 {false[most]:.1f} 个；"
            f"{empties} 个全空图块中，{least} 让 {kept[least]} 个保持为空，{most} 让 {kept[most]} 个。",
        )
    )
    there = seen.objects[least].there
    finder = max(NUMBER, key=lambda n: (seen.objects[n].found, -seen.objects[n].false))
    careful = min(NUMBER, key=lambda n: (seen.objects[n].false, -seen.objects[n].found))
    a, b = seen.objects[finder], seen.objects[careful]
    said.append(
        Text(
            f"{finder} finds {a.found} of the {there} galaxies and calls {a.false} spots a galaxy where none is: no loss finds more, and none invents fewer."
            if finder == careful
            else f"Most galaxies are found by {finder}: {a.found} of {there}, with {a.false} spots where none is. Fewest are invented by {careful}: {b.false}, with {b.found} found.",
            f"{finder} 找到 {there} 个星系中的 {a.found} 个，另有 {a.false} 处无中生有：没有哪个损失找到的更多，也没有哪个误报的更少。"
            if finder == careful
            else f"找到星系最多的是 {finder}：{there} 个中的 {a.found} 个，另有 {a.false} 处无中生有。无中生有最少的是 {careful}：{b.false} 处，找到 {b.found} 个。",
        )
    )
    change = against(seen.results[PER_BATCH].dice, seen.results[PER_SAMPLE].dice)
    before, after = (float(seen.results[n].dice.mean()) for n in (PER_SAMPLE, PER_BATCH))
    said.append(
        Text(
            f"Summing Dice over the batch and not tile by tile takes it from {before:.3f} to {after:.3f} on the galaxies{'' if change.clear else ' (within the noise)'}, and the false pixels of a nearly empty tile from "
            f"{false[PER_SAMPLE]:.1f} to {false[PER_BATCH]:.1f}.",
            f"Dice 不按图块、改按整批求和后，在星系上从 {before:.3f} 变为 {after:.3f}{'' if change.clear else '(在噪声之内)'}，近空图块的误报像素从 {false[PER_SAMPLE]:.1f} 个变为 {false[PER_BATCH]:.1f} 个。",
        )
    )
    said.append(_explained(seen, least, most))
    return tuple(said)


def _best(seen: Seen, picture: Picture) -> Text:
    """Who is best in a picture, and who is clearly not."""
    order, apart, of = seen.order[picture.key], seen.apart[picture.key], seen.found.results[picture.key]
    best, worst = order[0], order[-1]
    clear, equal = [n for n in order[1:] if apart[n].clear], [n for n in order[1:] if not apart[n].clear]
    behind = [f"{n} (-{apart[n].mean:.3f})" for n in clear]
    dice, iou = float(of[best].dice.mean()), float(of[best].iou.mean())
    return Text(
        f"{picture.title.en}: {best} overlaps best on held-out tiles, Dice {dice:.3f} and IoU {iou:.3f}; {worst} has {of[worst].dice.mean():.3f} and {of[worst].iou.mean():.3f}. "
        + (f"Clearly behind the best, by their Dice: {listed(behind)}." if clear else "No loss is clearly behind the best.")
        + (f" The data cannot tell it from {listed(equal)}." if clear and equal else ""),
        f"{picture.title.zh}：留出图块上重叠最好的是 {best}，Dice 为 {dice:.3f}，IoU 为 {iou:.3f}；{worst} 为 {of[worst].dice.mean():.3f} 与 {of[worst].iou.mean():.3f}。"
        + (f"Dice 明显落后的：{'、'.join(behind)}。" if clear else "没有哪个明显落后。")
        + (f"与它的差别在噪声范围内的：{'、'.join(equal)}。" if clear and equal else ""),
    )


def _explained(seen: Seen, least: str, most: str) -> Text:
    """Whether the pulls order the losses as their false pixels do."""
    ratio = seen.ratio
    false = np.array([seen.false[n] for n in NUMBER])
    agreement = rank_correlation(np.array([ratio[n] for n in NUMBER]), false) if np.ptp(false) > 0 else 0.0
    pixels = FOREGROUND[SMALL]
    if agreement > 0.6:
        return Text(
            f"The gradient fits: in a tile with {pixels} pixels of foreground a missed pixel pulls {ratio[most]:.1f} times as hard as a false one under {most}, {ratio[least]:.1f} times under {least}. "
            f"Ordering the losses by this ratio orders them by their false pixels with a rank correlation of {agreement:.2f}.",
            f"与梯度相符：前景只有 {pixels} 个像素的图块里，漏报像素与误报像素的拉力之比，{most} 为 {ratio[most]:.1f}，{least} 为 {ratio[least]:.1f}。按这一比值排序与按误报像素排序的秩相关为 {agreement:.2f}。",
        )
    return Text(
        f"In a tile with {pixels} pixels of foreground a missed pixel pulls {ratio[most]:.1f} times as hard as a false one under {most} and {ratio[least]:.1f} times under {least}, but this ratio does not order the losses by their "
        f"false pixels here (rank correlation {agreement:.2f}).",
        f"前景只有 {pixels} 个像素的图块里，漏报像素与误报像素的拉力之比，{most} 为 {ratio[most]:.1f}，{least} 为 {ratio[least]:.1f}，但这一比值在这里不能解释误报的多少(秩相关 {agreement:.2f})。",
    )


def _table(seen: Seen) -> Table:
    """One row per loss, best first."""
    rows = []
    for name in seen.names:
        cells = [Cell(name, code=True)]
        for key, of in seen.found.results.items():
            mean, deviation = spread(of[name].dice)
            tone = "best" if name == seen.order[key][0] else "bad" if seen.apart[key][name].clear else "good"
            cells += [Cell(f"{mean:.3f}", f"± {deviation:.3f}", tone), Cell(f"{of[name].iou.mean():.3f}", f"± {spread(of[name].iou)[1]:.3f}")]
        spots = seen.objects[name]
        near = float(seen.results[name].by_tile[seen.near].mean())
        cells += [Cell(f"{near:.3f}"), Cell(f"{seen.false[name]:.1f}"), Cell(f"{seen.kept[name]}"), Cell(f"{spots.found}"), Cell(f"{spots.false}")]
        rows.append(tuple(cells))
    there, empties = seen.objects[seen.names[0]].there, int(seen.empty.sum())
    return Table(
        (
            Text("Loss", "损失"),
            Text("Dice, coins", "Dice(硬币)"),
            Text("IoU, coins", "IoU(硬币)"),
            Text("Dice, galaxies", "Dice(星系)"),
            Text("IoU, galaxies", "IoU(星系)"),
            Text("Dice of a nearly empty tile", "近空图块的 Dice"),
            Text("False pixels in it", "其中的误报像素"),
            Text(f"Empty tiles left empty, of {empties}", f"保持为空的全空图块(共 {empties})"),
            Text(f"Galaxies found, of {there}", f"找到的星系(共 {there})"),
            Text("Spots where none is", "无中生有的星系"),
        ),
        tuple(rows),
        Text(
            "On held-out tiles; Dice and IoU of all tiles of a band together, mean ± standard deviation over the four bands; losses by the mean of both pictures. Green: the best Dice of the column, and what cannot be told from it; red: clearly worse. "
            f"Nearly empty: below {NEARLY_EMPTY:.0%} foreground, galaxies only (the coins have no such tile); mean over these tiles, each alone. A galaxy is found if half of its pixels or more are. BCE: binary_cross_entropy_with_logits, Dice: dice_loss, "
            'Dice + BCE: dice_ce_loss, focal: focal_loss, Tversky: tversky_loss(alpha=0.3, beta=0.7); all with task="binary".',
            "留出图块上的结果；Dice 与 IoU 按条带内全部图块合计，取四个条带的均值 ± 标准差；按两幅图的平均排序。绿色：该列最好的 Dice 以及与之无法区分的；红色：明显更差。"
            f"近空：前景不足 {NEARLY_EMPTY:.0%} 的星系图块(硬币图没有)，逐块计算后取均值。找到：半数以上像素被找到。BCE：binary_cross_entropy_with_logits；Dice：dice_loss；Dice + BCE：dice_ce_loss；"
            'focal：focal_loss；Tversky：tversky_loss(alpha=0.3, beta=0.7)；均为 task="binary"。',
        ),
    )


def _ranges_panel(seen: Seen, part: str, title: Text) -> str:
    """One score of all losses, for both pictures."""
    words = [picture.title for picture in seen.found.pictures]

    def draw(axes: Any) -> None:
        groups = [
            (picture.title.en, number, [spread(getattr(seen.found.results[picture.key][n], part)) for n in seen.names])
            for number, picture in enumerate(seen.found.pictures)
        ]
        ranges(axes, seen.names, groups, title.en)
        axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, fontsize=8)

    return panel(draw, (*words, title), height=3.1)


def _bins_panels(seen: Seen) -> tuple[str, ...]:
    """Dice and false pixels of the galaxy tiles by their share of foreground."""
    words = (Text("foreground of the tile", "图块的前景占比"), Text("Dice of a tile", "单个图块的 Dice"), Text("false pixels in a tile", "单个图块的误报像素"))
    inside = np.searchsorted([upper for upper, _ in BINS], seen.share)
    panels = []
    for part, title in (("by_tile", words[1]), ("false", words[2])):

        def draw(axes: Any, part: str = part, title: Text = title) -> None:
            held = [b for b in range(len(BINS)) if (inside == b).any()]
            for name, number in NUMBER.items():
                heights = [getattr(seen.results[name], part)[inside == b].mean() for b in held]
                axes.plot(range(len(held)), heights, "o-", color=SERIES[number], linewidth=1.8, markersize=5, label=name)
            axes.set_xticks(range(len(held)), [f"{BINS[b][1]} ({(inside == b).sum()})" for b in held])
            axes.set_ylim(bottom=0.0)
            axes.set_xlabel(words[0].en)
            axes.set_title(title.en)
            if part == "false":
                axes.legend(loc="upper left", fontsize=8)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)


def _why_panels(seen: Seen) -> tuple[str, ...]:
    """What one pixel pulls, by the foreground of its tile."""
    words = (
        Text("pixels of foreground in the tile", "图块的前景像素数"),
        Text("pull of a false pixel (at 100: 1)", "误报像素的拉力(100 处为 1)"),
        Text("pull of a missed pixel / of a false one", "漏报像素与误报像素的拉力之比"),
    )
    hundred, places = FOREGROUND.index(100), range(len(FOREGROUND))
    panels = []
    for number, title in enumerate(words[1:]):

        def draw(axes: Any, number: int = number, title: Text = title) -> None:
            for name, colour in NUMBER.items():
                p = seen.found.pulls[name]
                heights = p.missed / p.false if number else p.false / p.false[hundred]
                axes.plot(places, heights, "o-", color=SERIES[colour], linewidth=1.8, markersize=4, label=name)
            axes.set_yscale("log")
            axes.set_xticks(places, [str(f) for f in FOREGROUND])
            ticks = (1, 2, 5, 10, 20) if number else (0.1, 0.2, 0.5, 1, 2, 5)
            axes.set_yticks(ticks, [f"{t:g}" for t in ticks])
            axes.minorticks_off()
            axes.set_xlabel(words[0].en)
            axes.set_title(title.en)
            if number:
                axes.legend(loc="upper right", fontsize=8)

        panels.append(panel(draw, words, height=3.6))
    return tuple(panels)


def _method(effort: Effort) -> Text:
    """How the comparison is made fair."""
    size = sum(p.numel() for p in UNet().parameters())
    return Text(
        f"Both pictures at half their resolution, in {BANDS} bands of columns; each band is held out once, with {TILE} by {TILE} pixel tiles to test on, while training draws crops of that size, turned at random, from the other three; no crop "
        f"reaches into the band. Objects that a border cuts have a part on either side. One U-Net of three scales and {size:,} parameters for each band, {steps(effort)} steps of AdamW on {BATCH} crops. Every loss gets the same crops, initial weights and "
        "number of steps; AdamW divides out the size of the gradient. A pixel is found when its probability is above 1/2. The masks come from the procedures shown, not from a hand: the network learns what they do. Differences are called clear when they are beyond "
        f"a 95 % interval of a paired t-test over the four bands, corrected for overlapping training sets (Nadeau and Bengio, 2003), and larger than {MATTERS:g}; with so few bands only large ones are. Settings are usual ones, not tuned, and "
        "training is short: longer training, and other values of smooth, may change the order.",
        f"两幅图均缩小一半，按列分为 {BANDS} 个条带；每个条带留出一次，切成 {TILE}×{TILE} 像素的图块用于测试；训练时从另外三个条带随机裁出同样大小的图块，随机翻转，不触及留出的条带。被边界切开的物体两边各有一部分。每个条带一个三尺度、"
        f"{size} 个参数的 U-Net，AdamW 训练 {steps(effort)} 步，每批 {BATCH} 块。所有损失使用相同的图块、初始权重和步数；AdamW 会除掉梯度的尺度。概率大于 1/2 算作找到。掩码由上述步骤产生，并非人工标注：网络学的是这套步骤。"
        f"只有超出四个条带配对 t 检验 95% 区间(按训练集重叠校正，Nadeau 与 Bengio 2003)且大于 {MATTERS:g} 的差别才称为“明显”；条带这么少，只有大的差别才看得出。参数取惯用值，未经调优，训练也短：训练更久，或换一个 smooth，次序可能不同。",
    )
