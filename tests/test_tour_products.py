"""The tour's chapter on products: whole scores and none are the same loss, nothing that is asked was learned from, memory is as the formulas say, and the words follow."""

import re

import numpy as np
import pytest
import torch

from losskit.tour.chapter import Effort
from losskit.tour.chapters import products
from losskit.tour.chapters.products import data, held, language, towers
from losskit.tour.chapters.products.verdict import NEAR
from losskit.tour.memory import allocated
from losskit.tour.report import html
from losskit.tour.train import one_thread

SHORT = Effort(seeds=3, steps=9, elements=1 << 12, rounds=1)


@pytest.fixture(scope="module")
def found():
    told = []
    with one_thread():
        made = products.experiment.run(0, SHORT, told.append)
    assert len(told) + 1 == products.work()
    return made


def slopes(loss, operands):
    """Value and gradients, in float64."""
    leaves = [z.double().requires_grad_() for z in operands]
    value = loss(*leaves)
    return [value.detach(), *torch.autograd.grad(value, leaves)]


def test_both_ways_are_one_loss_of_words():
    draw = torch.Generator().manual_seed(0)
    hidden, head, bias = torch.randn(3, 70, 8, generator=draw), torch.randn(50, 8, generator=draw), torch.randn(50, generator=draw)
    tokens = torch.randint(50, (3, 70), generator=draw)
    assert language.CHUNK < 3 * 70, "one chunk would be whole scores"
    whole, never = (slopes(lambda *z, way=way: way(*z, tokens), (hidden, head, bias)) for way in language.WAYS)
    for a, b in zip(whole, never, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-13)
    assert whole[1][:, -1].abs().max() == 0, "the last word has no next one"


def test_both_ways_are_one_loss_of_pairs():
    """Also where some have the same words, which are no wrong answers."""
    digits = data.described(0)
    some = torch.as_tensor(digits.train[:200])
    kinds = digits.kinds[some]
    same = (kinds[:, None] == kinds).fill_diagonal_(False)
    assert same.any()
    draw = torch.Generator().manual_seed(0)
    operands = (torch.randn(200, 8, generator=draw), torch.randn(200, 8, generator=draw), torch.tensor(9.0))
    whole, never = (slopes(lambda *z, way=way: way(*z, same), operands) for way in towers.WAYS)
    for a, b in zip(whole, never, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)
    model = towers.Towers(digits.bags.shape[1], 0)
    given = []
    model.loss(lambda images, texts, scale, without: given.append((scale, without)) or scale, digits, some)
    assert torch.equal(given[0][1], same) and float(given[0][0].detach()) == pytest.approx(1 / towers.START)


def test_held_out_paragraphs_are_not_learned_from():
    prose, other, parts = data.prose(0), data.prose(1), data.paragraphs()
    assert len(prose.train) + len(prose.test) == sum(len(data.split(part)) + 1 for part in parts) and len(parts) == len(set(parts))
    assert not torch.equal(prose.test, other.test) and 2_000 < len(prose.words) < 5_000
    end = prose.words.index(data.END)

    def told(side):
        words = " ".join(prose.words[k] for k in side.tolist()).split(f" {prose.words[end]} ")
        return {part for part in words if data.UNKNOWN not in part}

    learned, asked = told(prose.train), told(prose.test)
    assert len(asked) > 30 and not learned & asked
    counts = torch.bincount(prose.train, minlength=len(prose.words))
    assert counts.min() > 1, "each word of the vocabulary is learned from twice"
    assert not re.search(r"[`$\\]|:\w+:|http", " ".join(parts))


def test_text_is_put_together_again():
    for line in ('The "x" (or y), e.g. [1].', "Returns torch.nn.Linear: it is a layer."):
        assert data.joined(data.split(line)) == line
    assert data.plain(":attr:`x` of :class:`~torch.nn.Linear`,\n see `here <there>`_ and ``None``") == "x of torch.nn.Linear, see here and None"


def test_descriptions_say_what_is_seen():
    shapes = np.zeros((4, 8, 8))
    shapes[0, :, 3] = 1.0  # narrow
    shapes[1, 3, :] = 1.0  # wide
    shapes[2, range(8), range(7, -1, -1)] = 1.0  # a stroke that leans right
    shapes[3, :2] = 1.0  # bold, above
    traits = data.traits(shapes)
    assert traits[:, 0].tolist() == [8.0, 8.0, 8.0, 16.0] and traits[0, 1] == 0.0 < traits[1, 1]
    assert traits[2, 2] > 0.0 == traits[0, 2] and traits[3, 3] == max(traits[:, 3])
    thirds = np.array([[1.0] * 4, [2.0] * 4])
    assert data.description(3, np.array([3.0, 1.5, 3.0, 1.0]), thirds) == "a bold three, leaning right"
    assert data.description(0, np.array([0.5, 3.0, 1.5, 3.0]), thirds) == "a thin, wide zero, heavy above"
    assert data.description(8, np.array([1.5, 1.5, 1.5, 0.5]), thirds) == "an eight, heavy below"
    digits = data.described(0)
    assert set(digits.train) | set(digits.test) == set(range(1797)) and len(digits.test) == 450
    assert torch.allclose(digits.bags.sum(1), torch.ones(1797)) and all(
        data.DIGITS[d] in text for d, text in zip(digits.digit, digits.descriptions, strict=True)
    )
    bold, thin = (digits.pixels[[word in text for text in digits.descriptions]].sum(1) for word in ("bold", "thin"))
    assert bold.min() > thin.max()


def test_finding_by_hand():
    cosines = np.array([[0.9, 0.1, 0.2], [0.8, 0.3, 0.7], [0.1, 0.4, 0.2]])
    assert towers.found(cosines, ["a", "b", "c"]) == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert towers.found(cosines, ["a", "a", "b"]) == (pytest.approx(2 / 3), pytest.approx(1 / 3))
    assert towers.chance(["a", "a", "b"]) == pytest.approx(5 / 9)


def test_one_place_at_a_time_by_hand():
    (table,) = (block for block in products.example.by_hand() if block.kind == "table")
    by_formula, compared = None, 0
    for row in table.rows:
        numbers = [cell.text for cell in row[1:]]
        if row[0].text.en.startswith("losskit"):
            assert numbers == by_formula, row[0].text.en
            compared += 1
        by_formula = numbers
    assert compared == 3 and "-0.0000" not in str(table)


def test_what_is_allocated():
    kept = allocated(lambda: torch.ones(1000, 100) + torch.ones(1000, 100))
    assert 3 * 400_000 <= kept.peak < 3 * 400_000 + 1_000 and 400_000 <= kept.left < 401_000


@pytest.mark.thorough
def test_memory_is_as_the_formulas_say(found):
    assert found.held.off < NEAR
    for classes in (3_000, 5_000):  # between the sizes that are measured
        for name, (way, _) in held.WAYS.items():
            assert held.of_classes(classes, way) == pytest.approx(held.formula(name, classes), rel=0.02), (name, classes)
    assert held.formula("linear_cross_entropy", held.FAR) < held.formula("F.cross_entropy", held.FAR) / 20
    assert found.language.never.peak < found.language.whole.peak / 3


@pytest.mark.thorough
def test_training_is_the_same_both_ways_and_pays(found):
    words, pairs = found.language, found.towers
    assert words.apart < 1e-4 and pairs.apart < 1e-3 and words.fall > 0.5 and words.never.text != words.untrained
    assert pairs.never.course[-1][0] > 3 * towers.found(pairs.before, pairs.held_out)[0]
    assert words.looks[-1] == language.steps(SHORT) and len(words.never.test) == len(words.looks)


@pytest.mark.thorough
def test_chapter_on_products_is_whole(found):
    chapter = products.tell(found)
    page = html((chapter,), None, 0)
    assert len(re.findall('<t?span lang="en">', page)) == len(re.findall('<t?span lang="zh">', page)) > 40
    assert not re.search(r"https?:|@import|url\((?!#)|`", page[: page.index("<script>")])
    assert len(chapter.verdict) == 7 and [row[0] for row in chapter.summary] == [row[0].text for row in chapter.blocks[0].rows]
    for sentence in chapter.verdict:
        assert sentence.en.endswith(".") and sentence.zh.endswith("。") and not re.search(r"\bnan\b|\binf\b", sentence.en)
    with one_thread():
        assert products.build(0, SHORT, lambda done: None) == chapter, "numbers, words or pictures differ"


@pytest.mark.thorough
def test_words_on_products_follow_the_numbers(found):
    """Whatever fails, the verdict says so."""
    words, pairs, memory = found
    good = " ".join(s.en for s in products.verdict(found))
    assert good.startswith("Nothing is lost. ") and "The claim fails" not in good

    def said(**changed):
        return " ".join(s.en for s in products.verdict(found._replace(**changed)))

    off = words.never._replace(train=words.never.train + 0.5, test=words.never.test + 9.0, peak=words.whole.peak)
    worse = said(language=words._replace(never=off, errors=(1e-7, 1e-3)))
    assert worse.startswith("The claim fails: the two trainings of the language model part. Their losses are up to 0.5 apart")
    assert "The claim fails: a step of the language model takes" in worse and "Digits are lost: " in worse and "has learned little" in worse
    lost = pairs.never._replace(train=pairs.never.train - 1.0, cosines=pairs.before, temperature=0.2)
    worse = said(towers=pairs._replace(never=lost))
    assert "The claim fails for the two towers: " in worse and "up to 1 apart" in worse
    assert "The towers have learned next to nothing: " in worse and "went from 0.07 to 0.200" in worse
    warmer = said(towers=pairs._replace(never=pairs.never._replace(temperature=0.2)))
    assert "from 0.07 to 0.200: warmer" in warmer
    doubled = said(held=memory._replace(by_classes={name: [2 * peak for peak in peaks] for name, peaks in memory.by_classes.items()}))
    assert "The claim fails for memory: " in doubled and "by up to 100%" in doubled and "not to be trusted" in doubled
    level = said(held=memory._replace(by_classes=memory.by_classes | {"F.cross_entropy": memory.by_classes["linear_cross_entropy"]}))
    assert "The claim fails for memory: " in level
