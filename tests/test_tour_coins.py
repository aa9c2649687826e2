"""The tour's chapter on boxes of coins: boxes are exact, no network learns from a coin that it is tested on, and what is said follows from the numbers."""

import re

import numpy as np
import pytest
import torch
from skimage.measure import label

from losskit.tour.chapter import Effort
from losskit.tour.chapters import coins
from losskit.tour.chapters.coins.experiment import APART, CORNERS, ENTRIES, FOLDS, MIDDLE, Fate
from losskit.tour.chapters.coins.tried import TRIED, WARNING
from losskit.tour.chapters.segmentation.data import traced, turned
from losskit.tour.report import html
from losskit.tour.train import one_thread

SHORT = Effort(seeds=3, steps=36, elements=1 << 12, rounds=1)
NAMES = [e.name for e in ENTRIES]


@pytest.fixture(scope="module")
def found():
    told = []
    with one_thread():
        made = coins.experiment.run(0, SHORT, told.append)
    assert len(told) + 1 == coins.work()
    return made


def data(count=4):
    learned, tested = (
        coins.data.crops(n, np.random.default_rng([0, n]), turn=turn) for n, turn in ((coins.experiment.LEARNED, True), (coins.experiment.TESTED, False))
    )
    return learned, tested, coins.experiment.load(learned, tested, coins.data.folds(0), count, 0)


def test_boxes_enclose_their_regions():
    names, boxes = label(traced().mask, connectivity=2), coins.data.coin_boxes()
    assert len(boxes) == names.max() == 24
    for number, box in enumerate(boxes, 1):
        down, right = np.nonzero(names == number)
        assert box.tolist() == [right.min(), down.min(), right.max() + 1, down.max() + 1]


def test_a_crop_is_about_the_coin_in_its_middle(monkeypatch):
    """Seen alone in the picture, the coin lies where its box says, however the crop is turned."""
    whole, boxes = traced(), coins.data.coin_boxes()
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    coin = 12
    alone = whole._replace(grey=255 * (label(whole.mask, connectivity=2) == coin + 1))
    monkeypatch.setattr(coins.data, "traced", lambda: alone)
    crops = coins.data.crops(24, np.random.default_rng(5), turn=True)
    seen = crops.pixels[coin] > float(crops.pixels.max() + crops.pixels.min()) / 2
    for pixels, box in zip(seen, crops.box[coin], strict=True):
        down, right = np.nonzero(pixels.numpy())
        assert np.abs(np.array([right.min(), down.min(), right.max() + 1, down.max() + 1]) - box.numpy()).max() <= 1.0
    assert float(crops.box.min()) >= 0.0 and float(crops.box.max()) <= coins.data.SIDE
    centre = crops.window[..., :2] + crops.window[..., 2:] / 2
    nearest = np.hypot(*np.moveaxis(centre[:, :, None] - middle, -1, 0)).argmin(-1)
    assert np.array_equal(nearest, np.broadcast_to(np.arange(24)[:, None], nearest.shape))
    low, high = coins.data.WINDOWS
    assert low <= crops.window[..., 2].min() < 90 and 150 < crops.window[..., 2].max() <= high
    as_it_is = coins.data.crops(2, np.random.default_rng(5), turn=False)
    corner, side = np.tile(as_it_is.window[..., :2], 2), as_it_is.window[..., 2:]
    assert np.allclose(as_it_is.box.numpy() * side / coins.data.SIDE + corner, boxes[:, None], atol=1e-4)


def test_a_box_turns_with_its_crop():
    x0, y0, x1, y1 = box = (3, 7, 21, 12)
    pixels = np.zeros((coins.data.SIDE, coins.data.SIDE))
    pixels[y0:y1, x0:x1] = 1.0
    places = set()
    for turn in range(8):
        down, right = np.nonzero(turned(pixels, turn))
        places.add(coins.data.turned_box(box, turn))
        assert coins.data.turned_box(box, turn) == (right.min(), down.min(), right.max() + 1, down.max() + 1)
    assert len(places) == 8


def test_no_network_learns_from_a_held_out_coin():
    learned, tested, made = data(200)
    held_out = coins.data.folds(0)
    assert sorted(held_out.ravel()) == list(range(24)) and not np.array_equal(held_out, coins.data.folds(1))
    for fold, out in enumerate(held_out):
        asked = (made.order[:, :, fold] // coins.experiment.LEARNED).unique().tolist()
        assert sorted(asked) == sorted(set(range(24)) - set(out.tolist()))
        assert torch.equal(made.test_x[:, fold], tested.pixels[out].flatten(0, 1)) and torch.equal(made.test_box[:, fold], tested.box[out].flatten(0, 1))
    assert torch.equal(made.box[5 * coins.experiment.LEARNED], learned.box[5, 0])


def test_networks_of_coins_share_nothing():
    _, _, made = data()
    networks = coins.experiment.Networks(MIDDLE, 0)
    x = made.test_x[:5].clone().requires_grad_()
    boxes = networks(x)
    (slope,) = torch.autograd.grad(boxes[:, 1].sum(), x)
    others = [fold for fold in range(FOLDS) if fold != 1]
    assert slope[:, 1].abs().sum() > 0 and slope[:, others].abs().sum() == 0
    assert (boxes - torch.tensor(MIDDLE)).abs().max() < 4.0, "an untrained network answers its start"
    apart = coins.experiment.Networks(APART, 0)(x)
    assert torch.allclose(apart - torch.tensor(APART), boxes - torch.tensor(MIDDLE), atol=1e-5), "other initial weights"


@pytest.mark.thorough
def test_training_pays_and_repeats(found):
    baseline = max(float(found.constant.mean()), *(float(r.iou[0].mean()) for r in found.middle.values()))
    for name, result in found.middle.items():
        assert result.iou[-1].mean() > baseline + (0.05 if name == "eiou_loss" else 0.2), "EIoU takes longer"
        assert result.boxes.shape == (len(found.looks), 24 * coins.experiment.TESTED, 4)
        assert result.scores.mean() == pytest.approx(result.iou[-1].mean())
    start = coins.experiment.Networks(MIDDLE, 0)
    assert found.looks[-1] == coins.experiment.steps(SHORT) and 30_000 < start.size() < 50_000
    _, _, again = data(coins.experiment.steps(SHORT))
    with one_thread():
        path = coins.experiment.fit(ENTRIES[2], MIDDLE, again, 0)
    assert np.array_equal(path.transpose(1, 2).flatten(1, 2).double().numpy(), found.middle[ENTRIES[2].name].boxes), "other numbers"


@pytest.mark.thorough
def test_who_comes_through_from_apart(found):
    """Without overlap IoU has no gradient; DIoU and CIoU gain by growing, and AdamW lets them; with the others boxes arrive."""
    fates = {n: coins.experiment.fate(found.middle[n], found.apart[n]) for n in NAMES}
    assert all(sum(f) == FOLDS for f in fates.values())
    assert fates["iou_loss"] == Fate(0, FOLDS, 0, 0) and fates["diou_loss"] == fates["ciou_loss"] == Fate(0, 0, FOLDS, 0)
    assert np.array_equal(found.apart["iou_loss"].boxes[0], found.apart["iou_loss"].boxes[-1])
    for name in ("smooth_l1_loss", "eiou_loss", "wiou_loss"):
        assert found.apart[name].iou[-1].mean() > 0.3 and found.apart[name].sides[-1] < coins.data.SIDE and fates[name].through > FOLDS // 2


@pytest.mark.thorough
def test_fates_by_hand(found):
    middle = found.middle[CORNERS]
    crops, each = len(found.box), len(found.box) // FOLDS

    def result(boxes, iou):
        return coins.experiment.Result(np.stack([np.tile(APART, (crops, 1)), boxes]), np.stack([np.zeros(crops), iou]))

    still = np.tile(APART, (crops, 1))
    boxes, iou = still.copy(), np.zeros(crops)
    boxes[:each], iou[:each] = found.box[:each], 1.0  # the first fold arrives, the second grows, the third strays, the rest stay
    boxes[each : 2 * each] = (-500.0, -500.0, 500.0, 500.0)
    boxes[2 * each : 3 * each] += 40.0
    assert coins.experiment.fate(middle, result(boxes, iou)) == Fate(1, FOLDS - 3, 1, 1)


def test_the_growing_box_by_hand():
    (table,) = (block for block in coins.example.by_hand() if block.kind == "table")
    by_formula, compared = None, 0
    for row in table.rows:
        numbers = [cell.text for cell in row[1:]]
        if row[0].text.en.startswith("losskit."):
            assert numbers == by_formula, row[0].text.en
            compared += 1
        by_formula = numbers
    value = {row[0].text.en: [float(cell.text) for cell in row[1:]] for row in table.rows}
    diou, giou, eiou = (value[f"losskit.{n}_loss"] for n in ("diou", "giou", "eiou"))
    assert compared == 4 and diou[0] == pytest.approx(1 + 648 / 1568, abs=6e-5) and giou[0] == pytest.approx(1 + (784 - 272) / 784, abs=6e-5)
    assert diou == sorted(diou, reverse=True) and giou[2] < giou[-1] < giou[0] and eiou[-1] > eiou[0], "the words below the table"


def test_the_warning_is_what_was_tried():
    """Its words, and those above its table, against the table's numbers."""
    table = [[tuple(float(v) for v in cell.split(", ")) for cell in scores] for _, scores in TRIED]
    assert all(len(row) == len(NAMES) for row in table)
    smooth, giou, diou, ciou, eiou = (NAMES.index(n) for n in (CORNERS, "giou_loss", "diou_loss", "ciou_loss", "eiou_loss"))
    for seed in (0, 1):
        warm, cold = ([scores[seed] for scores in table[k]] for k in (0, 1))
        assert max(warm) == warm[smooth] and sorted(cold)[:2] == [cold[eiou], cold[smooth]]
        lost = {n: sum(row[n][seed] == 0.0 for row in table[3:]) for n in range(len(NAMES))}
        assert lost[diou] == lost[ciou] == 3 and lost[giou] == 1 and [n for n in lost if lost[n] == 0] == [smooth, eiou, NAMES.index("wiou_loss")]
        assert table[3][giou][seed] > 0.0 == table[4][giou][seed]


@pytest.mark.thorough
def test_chapter_on_coins_is_whole(found):
    chapter = coins.tell(found, SHORT)
    page = html((chapter,), None, 0)
    assert len(re.findall('<t?span lang="en">', page)) == len(re.findall('<t?span lang="zh">', page)) > 40
    assert not re.search(r"https?:|@import|url\((?!#)|\bnan\b|\binf\b", page) and not re.search(r"#[0-9a-f]{6}", page[page.index("</style>") :])
    assert (
        len(chapter.verdict) == 7
        and chapter.verdict[-1] is WARNING
        and [row[0] for row in chapter.summary] == [row[0].text for row in chapter.blocks[0].rows[: len(NAMES)]]
    )
    for sentence in chapter.verdict:
        assert sentence.en.endswith(".") and sentence.zh.endswith("。")
    assert coins.tell(found, SHORT) == chapter, "numbers, words or pictures differ"


@pytest.mark.thorough
def test_words_on_coins_follow_the_numbers(found):
    """Other findings, other words: GIoU is best and smooth L1 learns nothing; DIoU comes through from apart and GIoU does not."""
    draw = np.random.default_rng(0)

    def result(level, like):
        return like._replace(iou=np.concatenate([like.iou[:-1], level + 0.001 * draw.standard_normal((1, len(found.box)))]))

    middle = {n: result({"giou_loss": 0.95, CORNERS: 0.3}.get(n, 0.8), found.middle[n]) for n in NAMES}
    apart = {n: found.apart["iou_loss"] for n in NAMES} | {"diou_loss": result(0.7, found.apart["eiou_loss"]), "giou_loss": found.apart["diou_loss"]}
    verdict = " ".join(s.en for s in coins.tell(found._replace(middle=middle, apart=apart), SHORT).verdict)
    assert verdict.startswith(
        "From a start in the middle giou_loss has the best boxes of held-out coins: mean IoU 0.950, and 100% of them with 0.75 or more; smooth_l1_loss has 0.300"
    )
    assert "Clearly behind: " in verdict and "smooth_l1_loss (-0.650)" in verdict and "The data cannot tell it" not in verdict
    assert "Smooth L1, which knows no overlap, is behind the mean of the losses of overlap, 0.300 against 0.825" in verdict
    assert "within the noise); the best" not in verdict and "the best of those is giou_loss, 0.950." in verdict
    assert (
        "the sizes do not tell them apart" in verdict
        and f"Less than always answering the mean box of training ({found.constant.mean():.3f}): smooth_l1_loss." in verdict
    )
    assert (
        "through in every fold: diou_loss (0.700)" in verdict
        and "not moved by a pixel: " in verdict
        and re.search(r"run away, to sides of [\d,]+ pixels in the mean: giou_loss", verdict)
    )
    assert "No loss is both not clearly behind" in verdict and "only where first boxes overlap their targets: giou_loss." in verdict
    large = found.size > np.quantile(found.size, 2 / 3)
    sized = dict(middle)
    sized[CORNERS] = middle[CORNERS]._replace(iou=np.concatenate([middle[CORNERS].iou[:-1], np.where(large, 0.99, 0.8)[None]]))
    verdict = " ".join(s.en for s in coins.tell(found._replace(middle=sized, apart=found.apart), SHORT).verdict)
    assert "it counts pixels, so large boxes" in verdict and "Less than always" not in verdict
