"""Chapter on boxes, in words, tables and pictures."""

from collections.abc import Sequence

import torch

import losskit
from losskit.contract.boxes import boxes
from losskit.contract.registry import LOSSES
from losskit.curves import module
from losskit.tour.boxes_claims import AXIS, DIAGONAL, FAR, LARGE, Claim, claims, left, percent, places, steps_to
from losskit.tour.boxes_figures import ANCHOR, curves, profiles, surfaces, ways
from losskit.tour.boxes_published import published_giou
from losskit.tour.boxes_simulation import CASES, CENTRE, COMPARED, ON_TARGET, PAPER, PATIENCE, POINTS, PUBLISHED, STEPS, Findings, newer, run, title
from losskit.tour.chapter import Advance, Cell, Chapter, Effort, Figure, Heading, Paragraph, Table, Text, listed

SHARE = POINTS // 200  # points for each seed of a tour's effort: 500 in full


def work() -> int:
    """The losses, GIoU with more steps, and the drawing."""
    return len(COMPARED) + len(newer()) + 2


def build(seed: int, effort: Effort, advance: Advance) -> Chapter:
    """Let boxes descend under every loss, and judge."""
    chapter = tell(run(SHARE * effort.seeds, seed, (*COMPARED, *newer()), advance))
    advance("boxes: figures")
    return chapter


def tell(found: Findings) -> Chapter:
    """The chapter of these findings."""
    judged = claims(found)
    points = len(found.offset)
    here = Text("all of them here", "这里全部重做") if points == POINTS else Text(f"here {points * CASES:,}", f"这里为 {points * CASES:,} 次")
    return Chapter(
        key="boxes",
        title=Text("Boxes that look for their targets", "寻找目标的框"),
        question=Text(
            f"Zheng et al. (2020) let boxes descend to their targets by the gradient of a loss alone, no network and no data: {POINTS * CASES:,} regressions, {here.en}. From it comes the advice that "
            "DIoU and CIoU converge fast where IoU does not move and GIoU stalls. Does this hold with losskit's losses?",
            f"Zheng 等(2020)让框仅凭损失的梯度走向目标，没有网络，也没有数据：共 {POINTS * CASES:,} 次回归，{here.zh}。“IoU 不动、GIoU 停滞、DIoU 与 CIoU 收敛快”的说法就来自这个实验。用 losskit 的损失重做，结论还成立吗？",
        ),
        verdict=_verdict(found, judged),
        blocks=(
            claims_table(judged),
            Figure(
                curves(found),
                Text(
                    "Mean error of all boxes against the step, on a plain and on a logarithmic axis. The step size falls to a tenth at 80 % and again at 90 %. Dashed: GIoU as the published code computes it.",
                    "所有框的平均误差随步数的变化，左为普通坐标，右为对数坐标。步长在 80% 与 90% 处各降为十分之一。虚线：按公开代码计算的 GIoU。",
                ),
            ),
            _table(found),
            Figure(
                surfaces(found),
                Text(
                    "Error left at the end over the place where a box starts, mean over its scales and aspect ratios; the same shades in all maps, beside the name the mean. The square is a target of aspect ratio 1 : 1.",
                    "最终误差随起始位置的分布(对各种尺度与宽高比取平均)；各图色阶相同，右上角为平均值。方框为 1 : 1 的目标。",
                ),
            ),
            Figure(
                profiles(found),
                Text(
                    f"The same, cut two ways. Left: by distance. Right: by direction, for starts beyond {FAR:g}; a cross is a curve that falls towards the diagonals.",
                    f"同样的误差换两种切法。左：按距离；右：按方向(起点距离大于 {FAR:g})。所谓“十字”，就是越接近对角线越低的曲线。",
                ),
            ),
            Heading(Text("Where the cross comes from", "十字从何而来")),
            Paragraph(
                Text(
                    "The simulation code published by the paper's authors (Zzh-tju/DIoU on GitHub, In.m) takes the sides of the overlap as they are and does not cut them off at 0. For two boxes beside each other one side is "
                    "negative, so the overlap is a negative area and the union too large by as much. If both are equally high, that union is the very enclosing box: GIoU's penalty is 0, and so is its pull. Diagonally both sides are "
                    "negative, their product positive, and the pull is there. That is a cross. The dashed curve is this formula and otherwise the same experiment; the solid one beside it is GIoU as its own paper defines it.",
                    "论文作者公开的仿真代码(GitHub 上的 Zzh-tju/DIoU，In.m)直接使用重叠部分的边长，没有在 0 处截断。两框左右并列时，其中一边为负，“重叠面积”成了负数，并集也就多算了这么多。若两框等高，这个并集恰好等于外接框：GIoU 的惩罚项为 0，拉力也为 0。"
                    "而在对角方向，两边都为负，乘积为正，拉力仍在：这就是十字。虚线用的正是这个公式，其余完全相同；旁边的实线是按 GIoU 原论文定义的损失。",
                )
            ),
            _by_hand(),
            Figure(
                ways([n for n in COMPARED if n in found.courses]),
                Text(
                    f"A unit square that starts {ANCHOR[0] - CENTRE:g} to the right of its target (grey): dashed the start, then darker with the steps; beside the name the error at the end.",
                    f"一个单位正方形从目标(灰色)右侧 {ANCHOR[0] - CENTRE:g} 处出发：虚线为起点，颜色随步数加深；右上角为最终误差。",
                ),
            ),
            Heading(Text("How it was done", "实验方法")),
            Paragraph(_method(points)),
        ),
        summary_headings=("loss", "error left", "a tenth after", "mean IoU", "left on the axes", "on the diagonals"),
        summary=tuple((title(n), *cells) for n, cells in _rows(found).items()),
    )


def _rows(found: Findings) -> dict[str, tuple[str, ...]]:
    """The few numbers the terminal shows of each loss."""
    axis, diagonal = places(found)
    rows = {}
    for name, course in found.courses.items():
        tenth = steps_to(course, 0.1)
        directions = (percent(left(found, name, where)) for where in (axis, diagonal))
        rows[name] = (f"{course.error[-1]:.4f}", "-" if tenth is None else str(tenth), f"{course.iou.mean():.3f}", *directions)
    return rows


def _verdict(found: Findings, judged: Sequence[Claim]) -> tuple[Text, ...]:
    """What the numbers say, whatever they turn out to be."""
    end = {n: float(c.error[-1]) for n, c in found.courses.items()}
    held, published = [c for c in judged if c.held], [c for c in judged if c.held_published]
    failed = [c for c in judged if not c.held]
    said = [
        Text(
            f"Of {len(judged)} things the paper says of this simulation, {len(held)} come out with the losses as they are defined, and {len(published)} with GIoU as the published code computes it.",
            f"论文关于这个仿真的 {len(judged)} 条说法中，按损失的定义成立 {len(held)} 条；若 GIoU 换成公开代码中的算法，成立 {len(published)} 条。",
        )
    ]
    said.append(
        Text(
            f"Not with the losses as defined: {'; '.join(c.name.en for c in failed)}.",
            f"按定义不成立的：{'；'.join(c.name.zh for c in failed)}。",
        )
        if failed
        else Text("Nothing the paper says fails with the losses as defined.", "按定义，论文的说法全部成立。")
    )
    resting = [c for c in judged if c.held_published and not c.held]
    ours, theirs, start = end["giou_loss"], end[PUBLISHED], float(found.courses["iou_loss"].error[0])
    said.append(
        Text(
            f"GIoU leaves {ours / start:.1%} of the error, the published code's GIoU {theirs / start:.1%}: its overlap of boxes apart is a negative area, and the claims that hold only there rest on that.",
            f"GIoU 剩下 {ours / start:.1%} 的误差，公开代码的 GIoU 剩下 {theirs / start:.1%}：后者在两框分离时“重叠面积”为负，只在那里成立的说法皆由此而来。",
        )
        if resting and theirs > 2.0 * ours
        else Text(
            f"GIoU leaves {ours / start:.1%} of the error, the published code's GIoU {theirs / start:.1%}: here its negative overlap of boxes apart hardly matters.",
            f"GIoU 剩下 {ours / start:.1%} 的误差，公开代码的 GIoU 剩下 {theirs / start:.1%}：其负的“重叠面积”在这里影响不大。",
        )
    )
    overlap = sorted((n for n in PAPER if n != "smooth_l1_loss"), key=lambda n: end[n])
    said.append(
        Text(
            f"Among the paper's losses the error left falls in the order {listed(f'{title(n)} ({end[n]:.4f})' for n in reversed(overlap))}; IoU leaves {found.courses['iou_loss'].arrived:.0%} of the boxes on target.",
            f"论文中的各损失，最终误差由大到小：{'、'.join(f'{title(n)}({end[n]:.4f})' for n in reversed(overlap))}；IoU 只让 {found.courses['iou_loss'].arrived:.0%} 的框到位。",
        )
    )
    smooth = end["smooth_l1_loss"]
    said.append(
        Text(
            f"Smooth L1 beats them all ({smooth:.1e}), and that says little: the error is its own distance, of the same four numbers, and no network stands between.",
            f"smooth L1 胜过它们全部({smooth:.1e})，但这说明不了什么：误差恰好就是它自己的距离，同样的四个数，中间也没有网络。",
        )
        if smooth < min(v for n, v in end.items() if n != "smooth_l1_loss")
        else Text(f"Smooth L1, whose own distance the error is, leaves {smooth:.4f}.", f"误差恰好是 smooth L1 自己的距离，它剩下 {smooth:.4f}。")
    )
    others = sorted((n for n in found.courses if n not in COMPARED), key=lambda n: end[n])
    if others:
        said.append(
            Text(
                f"Newer losses, by the error they leave: {listed(f'{title(n)} ({end[n]:.4f})' for n in others)}.",
                f"较新的损失，按最终误差：{'、'.join(f'{title(n)}({end[n]:.4f})' for n in others)}。",
            )
        )
    return tuple(said)


def outcome(held: bool) -> Text:
    """Whether a claim came out, in a word."""
    return Text("came out", "成立") if held else Text("did not", "不成立")


def claims_table(judged: Sequence[Claim]) -> Table:
    """Claim by claim: what was measured, and whether the claim holds, with either GIoU."""

    def pair(measured: Text | None, held: bool) -> tuple[Cell, Cell]:
        if measured is None:
            return Cell(""), Cell("")
        return Cell(measured), Cell(outcome(held), tone="good" if held else "bad")

    rows = [(Cell(c.words), *pair(c.measured, c.held), *pair(c.published, c.held_published)) for c in judged]
    return Table(
        (
            Text("The paper says", "论文的说法"),
            Text("Losses as defined", "按定义"),
            Text("", ""),
            Text("With the published code's GIoU", "公开代码的 GIoU"),
            Text("", ""),
        ),
        tuple(rows),
        prose=True,
        caption=Text(
            f"Claims in our words. Decided by rules: faster is fewer steps to a tenth of the error; an error is large above {LARGE:.0%} of that at the start; a cross needs twice as much left on the axes (within {AXIS:g} degrees) as on the diagonals (from {DIAGONAL:g}).",
            f"说法由我们转述，按规则判定：误差降到十分之一所需步数更少即“更快”；超过初始误差的 {LARGE:.0%} 即“很大”；坐标轴方向({AXIS:g} 度以内)剩下的误差是对角方向({DIAGONAL:g} 度起)的两倍以上才算“十字”。",
        ),
    )


def _table(found: Findings) -> Table:
    """One row per loss."""
    best = min((n for n in PAPER if n != "smooth_l1_loss"), key=lambda n: found.courses[n].error[-1])
    axis, diagonal = places(found)
    rows = []
    for name, course in found.courses.items():
        half, tenth = steps_to(course, 0.5), steps_to(course, 0.1)
        rows.append(
            (
                Cell(title(name), code=True),
                Cell(f"{course.error[-1]:.4f}", tone="best" if name == best else ""),
                Cell(f"{course.error[-1] * len(found.offset) * CASES:,.0f}"),
                Cell("-" if half is None else str(half)),
                Cell("-" if tenth is None else str(tenth)),
                Cell(f"{course.iou.mean():.3f}"),
                Cell(f"{course.arrived:.1%}"),
                Cell(percent(left(found, name, axis))),
                Cell(percent(left(found, name, diagonal))),
            )
        )
    return Table(
        (
            Text("Loss", "损失"),
            Text("Error left", "最终误差"),
            Text("Summed", "总和"),
            Text("Steps to half", "减半步数"),
            Text("Steps to a tenth", "到十分之一的步数"),
            Text("Mean IoU", "平均 IoU"),
            Text(f"IoU ≥ {ON_TARGET:g}", f"IoU ≥ {ON_TARGET:g}"),
            Text("Left on the axes", "坐标轴方向剩余"),
            Text("Left on the diagonals", "对角方向剩余"),
        ),
        tuple(rows),
        Text(
            f"Error: L1 distance of (x, y, w, h), {found.courses['iou_loss'].error[0]:.3f} at the start in the mean; the paper plots its sum. Left: shares of the error at the start, of starts beyond {FAR:g}. Marked: the smallest error among the paper's losses of overlap.",
            f"误差为 (x, y, w, h) 的 L1 距离，开始时平均为 {found.courses['iou_loss'].error[0]:.3f}；论文画的是总和。剩余：占初始误差的比例(起点距离大于 {FAR:g})。标出的是论文各重叠类损失中误差最小的。",
        ),
    )


def _by_hand() -> Table:
    """Two unit squares with a gap of 1, beside each other and diagonally: every loss step by step, and losskit's result."""
    target = (0.0, 0.0, 1.0, 1.0)
    starts = ((2.0, 0.0, 3.0, 1.0), (2.0, 2.0, 3.0, 3.0))
    x, t = torch.tensor(starts, requires_grad=True), torch.tensor([target] * 2)
    with losskit.use_engine("torch"):  # two boxes are no reason to compile a loop
        giou, diou = (module(LOSSES[n], {"reduction": "none"})(x, t) for n in ("giou_loss", "diou_loss"))
        published = boxes(published_giou, x, t, box_format="xyxy", mask=None, sample_weight=None, normalizer=None, reduction="none")
        slope, wrong_slope = ([float(g[0] + g[2]) + 0.0 for g in torch.autograd.grad(v.sum(), x)[0]] for v in (giou, published))
    hull, union, wrong = (3.0, 9.0), 2.0, (3.0, 1.0)
    distance, diagonal = (4.0, 8.0), (10.0, 18.0)
    lines: tuple[tuple[str | Text, ...], ...] = (
        (Text("sides of the overlap, not cut off", "重叠的两边(不截断)"), "-1, 1", "-1, -1"),
        (Text("union U: 1 + 1 - 0", "并集 U：1 + 1 - 0"), f"{union:g}", f"{union:g}"),
        (Text("... as published: 1 + 1 - product of the sides", "……公开代码：1 + 1 - 两边之积"), *(f"{w:g}" for w in wrong)),
        (Text("enclosing box C", "外接框 C"), *(f"{c:g}" for c in hull)),
        (Text("GIoU: 1 - 0 + (C - U) / C", "GIoU：1 - 0 + (C - U) / C"), *(f"{1 + (c - union) / c:.4f}" for c in hull)),
        (Text("losskit says, and the slope by x", "losskit 的结果，及对 x 的斜率"), *(f"{v:.4f}, {s:.4f}" for v, s in zip(giou.tolist(), slope, strict=True))),
        (
            Text("as published, and the slope by x", "公开代码，及对 x 的斜率"),
            *(f"{1 + (c - w) / c:.4f}, {s:.4f}" for c, w, s in zip(hull, wrong, wrong_slope, strict=True)),
        ),
        (Text("DIoU: 1 - 0 + d² / c²", "DIoU：1 - 0 + d² / c²"), *(f"1 + {d:g} / {c:g} = {1 + d / c:.4f}" for d, c in zip(distance, diagonal, strict=True))),
        (Text("losskit says", "losskit 的结果"), *(f"{v:.4f}" for v in diou.tolist())),
    )
    return Table(
        (Text("By hand: unit squares, a gap of 1", "手算：单位正方形，间隔为 1"), Text("beside each other", "左右并列"), Text("diagonally", "对角")),
        tuple(tuple(Cell(entry) for entry in line) for line in lines),
        Text(
            "Beside each other the published union is the enclosing box: loss 1, as for IoU, and nothing pulls the box closer.",
            "左右并列时，公开代码的并集就是外接框：损失为 1，与 IoU 无异，没有任何拉力让框靠近。",
        ),
    )


def _method(points: int) -> Text:
    """What is the paper's, and what is not."""
    return Text(
        f"As in the paper: 7 targets of area 1 (aspect ratios 1 : 4 to 4 : 1) at ({CENTRE:g}, {CENTRE:g}); anchors at points uniform in the disc of radius 3 around it ({points:,} here, {POINTS:,} there), 7 scales by 7 aspect ratios each; "
        f"{STEPS} steps of gradient descent on (x, y, w, h), each times 2 - IoU and 0.1, then 0.01 after 80 % of the steps and 0.001 after 90 % (as in the authors' code: steps 1 to 160, 161 to 180, 181 to 200). Ours: smooth L1 (the "
        "four numbers, beta = 1), which the paper leaves out, the exact derivative of every loss (their code leaves out the half in the derivatives of IoU and GIoU by width and height, "
        f"and the denominator w² + h² of CIoU's), float32, and the {PATIENCE}-fold steps for the claim about patience. 2 - IoU goes in as a sample weight of the fused loss, which is a constant to its gradient. We did not run "
        "the authors' program: the dashed curve takes its formula of the overlap, and nothing else, from it.",
        f"与论文相同：目标 7 个，面积均为 1(宽高比 1 : 4 到 4 : 1)，位于 ({CENTRE:g}, {CENTRE:g})；锚框的起点在其周围半径 3 的圆内均匀分布(这里 {points:,} 个点，论文 {POINTS:,} 个)，每点 7 种尺度乘 7 种宽高比；对 (x, y, w, h) 做 {STEPS} 步梯度下降，"
        "每步乘以 2 - IoU 与 0.1，到 80% 后为 0.01，到 90% 后为 0.001(作者代码亦然：1 到 160、161 到 180、181 到 200 步)。不同之处：加入论文没有的 smooth L1(作用于四个数，beta = 1)；各损失均用精确导数(作者代码中 IoU 与 GIoU 对宽高的导数漏了一半，"
        f"CIoU 的略去了分母 w² + h²)；使用 float32；关于耐心的说法另跑 {PATIENCE} 倍步数。2 - IoU 作为样本权重交给融合损失，对梯度而言是常数。我们没有运行作者的程序：虚线只取用了其中重叠面积的公式。",
    )
