"""The views of the interactive page, each by what a reader does there: drag, type, press keys, paint; the numbers are the library's."""

import contextlib
import io
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from touching import Page, printed, same, touch, worked_out

import losskit
from losskit import LOSSES

pytest_plugins = ("touching",)


@pytest.fixture(autouse=True)
def formulas_alone() -> Iterator[None]:
    """What the page computes are formulas: PyTorch operations say whether it is right."""
    with losskit.use_engine("torch"):
        yield


EMPTY = "0" * 96
ALARM = "0" * 40 + "77" + "0" * 54


@pytest.mark.sparse(4)
@pytest.mark.sparse(3)
@pytest.mark.parametrize("smooth", ["0.0", "1.0"])
@pytest.mark.parametrize("empty", ["smooth", "skip", "zero", "mass"])
def test_an_empty_target_costs_what_empty_says(opened: Any, empty: str, smooth: str) -> None:
    for prediction in (ALARM, EMPTY):
        page = opened(f"#view=masks&t={EMPTY}&p={prediction}&set=smooth:{smooth},empty:'{empty}'")
        for loss in touch.MASKS:
            page.page.locator(f'input[type="radio"][value="{loss}"]').check()
            page.settle()
            assert same(page.number("masks"), printed(page.code())), page.code()
            text = page.page.get_attribute("#masks_value_worked", "data-text")
            if not (smooth == "0.0" and empty == "smooth" and "/ (" in text):  # 0 / 0 has no value on paper
                assert worked_out(text) == pytest.approx(float(page.number("masks")), rel=2e-4, abs=2e-5), text


@pytest.mark.sparse(4)
@pytest.mark.sparse(2)
@pytest.mark.parametrize("p", ["20,30,12,18", "50,36,30,18", "50,18,30,34", "30,30,30,30", "0,0,4,4", "26,16,52,38", "26,16,52,16", "0,0,64,48"])
def test_boxes_of_every_kind(opened: Any, p: str) -> None:
    page = opened(f"#view=boxes&p={p}")
    box = torch.tensor([float(v) for v in p.split(",")], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([26.0, 16.0, 52.0, 38.0], dtype=torch.float64)
    for loss in touch.BOXES:
        page.page.locator(f'input[type="radio"][value="{loss}"]').check()
        page.settle()
        assert same(page.number("boxes"), printed(page.code())), page.code()
        text = page.page.get_attribute("#boxes_value_worked", "data-text")
        assert worked_out(text) == pytest.approx(float(page.number("boxes")), rel=2e-4, abs=2e-5), f"{loss}: {text}"
    value = losskit.giou_loss(box, target)
    (gradient,) = torch.autograd.grad(value, box)
    found = page.page.evaluate("(b) => losskit.patterns.boxes(losskit.page.callOf('boxes', 'giou_loss').call, b, [26, 16, 52, 38]).by", box.tolist())
    assert found == pytest.approx(gradient.tolist(), rel=1e-12, abs=1e-15)


# ---- drag, type, press keys


def coordinates(page: Page, which: str) -> list[float]:
    return [float(page.page.input_value(f"#{which}_{name}")) for name in ("x1", "y1", "x2", "y2")]


def test_corners_are_dragged_typed_and_moved_by_keys(opened: Any) -> None:
    page = opened()
    before = coordinates(page, "p")
    scale = page.page.locator("svg.board").bounding_box()["width"] / 66
    page.drag("#p_second", 10 * scale, 6 * scale)
    assert coordinates(page, "p") == [*before[:2], before[2] + 10, before[3] + 6]
    assert same(page.number("boxes"), printed(page.code()))
    page.drag("#p_second", -30 * scale, 0)  # past the other corner
    assert coordinates(page, "p")[2] < coordinates(page, "p")[0]
    assert same(page.number("boxes"), printed(page.code()))
    page.press("#t_middle", "ArrowRight", "ArrowRight", "Shift+ArrowUp")
    assert coordinates(page, "t") == [27.0, 11.0, 53.0, 33.0]
    page.page.locator("#p_x2").fill("40.5")
    page.settle()
    assert coordinates(page, "p")[2] == 40.5 and "40.5" in page.code()
    assert same(page.number("boxes"), printed(page.code()))


def test_a_finger_drags(opened: Any) -> None:
    page = opened(width=390, has_touch=True, is_mobile=True)
    box = page.page.locator("#p_middle").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    assert min(box["width"], box["height"]) >= 24  # what a finger can hit
    before = coordinates(page, "p")
    session = page.context.new_cdp_session(page.page)
    for kind, points in (("touchStart", [(x, y)]), ("touchMove", [(x + 30, y + 20)]), ("touchMove", [(x + 60, y + 40)]), ("touchEnd", [])):
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [{"x": a, "y": b} for a, b in points]})
    page.settle()
    after = coordinates(page, "p")
    assert after[0] > before[0] and after[2] - after[0] == before[2] - before[0]
    assert same(page.number("boxes"), printed(page.code()))


def descended(loss: Any, steps: int, rate: float, p: list[float], t: list[float]) -> tuple[list[float], float]:
    """The same descent by the library: where it ends, and its IoU there."""
    x, target, last = torch.tensor(p, dtype=torch.float64), torch.tensor(t, dtype=torch.float64), math.inf
    for _ in range(steps):
        x = x.requires_grad_()
        value = loss(x, target)
        (by,) = torch.autograd.grad(value, x)
        rate = rate * 0.8 if value.item() > last else rate
        x, last = (x - rate * by).detach(), value.item()
    return x.tolist(), float(losskit.iou(x, target))


def test_the_story_is_that_of_the_library(opened: Any) -> None:
    page = opened()
    ends = {}
    for name in ("iou", "giou", "diou", "ciou"):
        page.page.locator(f"#story_{name}").click()
        page.settle()
        start, target = (page.page.evaluate(f"losskit.page.state.boxes.{which}") for which in "pt")
        assert page.page.input_value("#n") == "200"  # a reader who wants no motion sees the end
        where, ends[name] = descended(LOSSES[f"{name}_loss"].function, 200, 50.0, start, target)
        assert coordinates(page, "p") == pytest.approx(where, abs=2e-3)
        assert same(page.number("boxes"), printed(page.code()))
    assert ends["iou"] == 0.0 and ends["giou"] < 0.6 and min(ends["diou"], ends["ciou"]) > 0.95
    page.page.locator("#back").click()
    page.page.locator("#step").click()
    page.settle()
    assert page.page.input_value("#n") == "1"
    page.page.locator("#story_turned").click()
    page.settle()
    x = coordinates(page, "p")
    assert x[0] < x[2] and x[1] < x[3]


def test_descent_plays_and_stops(opened: Any) -> None:
    page = opened()
    page.page.locator("#play").click()
    page.page.wait_for_function("Number(document.getElementById('n').value) > 5")
    page.page.locator("#play").click()
    page.page.wait_for_function("document.getElementById('play').ariaPressed === 'false'")
    page.settle()  # a step that had begun is drawn
    stood = page.page.input_value("#n")
    page.page.wait_for_timeout(200)
    assert page.page.input_value("#n") == stood and page.page.get_attribute("#play", "aria-pressed") == "false"


def test_masks_are_painted_with_mouse_and_keys(opened: Any) -> None:
    page = opened("#view=masks")
    page.page.locator("#preset_clear").click()
    page.settle()
    box = page.page.locator("#target").bounding_box()
    cell = box["width"] / 12
    page.page.mouse.move(box["x"] + 1.5 * cell, box["y"] + 1.5 * cell)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + 2.5 * cell, box["y"] + 1.5 * cell)
    page.page.mouse.move(box["x"] + 3.5 * cell, box["y"] + 1.5 * cell)
    page.page.mouse.up()
    page.settle()
    state = page.page.evaluate("losskit.page.state.masks.t")
    assert [i for i, c in enumerate(state) if c == "1"] == [13, 14, 15]
    assert same(page.number("masks"), printed(page.code()))
    page.press("#prediction", "ArrowLeft", "7", "ArrowUp", "Space")
    levels = page.page.evaluate("losskit.page.state.masks.p")
    assert levels[4 * 12 + 5] == "7" and levels[3 * 12 + 5] == "9"
    assert same(page.number("masks"), printed(page.code()))


def test_scores_are_moved_by_keys_and_typed(opened: Any) -> None:
    page = opened("#view=logits")
    page.press("#logit_2", "ArrowRight", "ArrowRight")
    assert page.page.input_value("#typed_2") == "-0.3"
    page.page.locator("#typed_0").fill("-1.25")
    page.page.locator("#label_2").check()
    page.page.locator("#temperature").fill("2")
    page.settle()
    assert "target = torch.tensor([2])" in page.code() and "x / 2" in page.code() and "-1.25" in page.code()
    assert same(page.number("logits"), printed(page.code()))
    x = torch.tensor([[-1.25, 0.5, -0.3, -1.5]], dtype=torch.float64, requires_grad=True)
    (by,) = torch.autograd.grad(losskit.cross_entropy(x / 2, torch.tensor([2])), x)
    shown = [float(v.replace("−", "-")) for v in page.page.locator(".meter:has(.both) .value").all_text_contents()]
    assert shown == pytest.approx(by[0].tolist(), abs=2e-3)


def test_a_residual_is_dragged_and_pinned(opened: Any) -> None:
    page = opened("#view=residual")
    before = page.number("residual")
    page.drag("#chart_value", -150, 0)
    assert page.number("residual") != before
    assert same(page.number("residual"), printed(page.code()))
    page.page.locator('input[type="checkbox"][aria-label*="cauchy_loss"]').check()
    page.settle()
    assert "cauchy" in page.page.get_attribute("#chart_value", "aria-label")


SMOOTH = (
    "mse_loss", "huber_loss", "cauchy_loss", "geman_mcclure_loss", "welsch_loss", "log_cosh_loss", "barron_loss", "gaussian_nll_loss", "msle_loss",
    "student_t_nll_loss", "poisson_nll_loss", "gamma_nll_loss", "negative_binomial_nll_loss", "tweedie_loss",
)  # fmt: skip


@pytest.mark.sparse(4)
@pytest.mark.parametrize("loss", list(touch.regression()))
def test_each_line_is_where_its_loss_is_least(opened: Any, loss: str) -> None:
    page = opened(f"#view=residual&loss={loss}")
    code = page.code(".stage")
    a, b, mean = json.loads(page.page.get_attribute("#fit_line", "data-line"))
    assert same(f"{mean:.6g}", printed(code)), code
    scope: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()):
        exec(code, scope)
    call = re.search(r"losskit\.\w+\(.* \* u [+-] [\d.e-]+, y(.*)\)\.item", code).group(1)
    settings = eval(f"dict({call.removeprefix(', ')})")
    line = torch.tensor([a, b], dtype=torch.float64, requires_grad=True)

    def cost(line: torch.Tensor) -> torch.Tensor:
        return LOSSES[loss].function(line[0] * scope["u"] + line[1], scope["y"], **settings)

    if loss in SMOOTH:
        (by,) = torch.autograd.grad(cost(line), line)
        assert by.abs().max() < 1e-4
    for step in torch.tensor([[0.01, 0.0], [0.0, 0.01], [0.01, -0.05], [0.002, -0.01]], dtype=torch.float64):
        assert cost(line) <= min(cost(line + step), cost(line - step)) + 1e-9


def test_points_are_moved_added_and_removed(opened: Any) -> None:
    page = opened("#view=residual")
    first = page.text("#fit_line")
    page.press("#point_13", "Shift+ArrowUp", "ArrowLeft")
    assert page.page.evaluate("losskit.page.state.residual.points.slice(-2)") == [9.3, 2.2]
    assert page.text("#fit_line") != first
    page.press("#point_13", "Delete")
    assert page.page.locator(".point").count() == 13
    page.page.locator("#fit_add").click()
    page.page.locator("#fit_add").click()
    page.settle()
    assert page.page.locator(".point").count() == 15
    scale = page.page.locator("svg.plot").bounding_box()["width"] / 11
    page.drag("#point_14", 0, 2 * scale)
    assert page.page.evaluate("losskit.page.state.residual.points.slice(-2)") == [5, 7]
    assert same(f"{json.loads(page.page.get_attribute('#fit_line', 'data-line'))[2]:.6g}", printed(page.code(".stage")))


@pytest.mark.sparse(2)
@pytest.mark.parametrize("gamma", ["0.0", "0.5", "2.0", "5.0"])
def test_calibration_is_at_the_minimum(opened: Any, gamma: str) -> None:
    page = opened(f"#view=calibration&q=0.7&set=focal_loss.gamma:{gamma}")
    p = float(page.page.get_attribute("[data-p]", "data-p"))
    x = torch.tensor([math.log(p / (1 - p))], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(losskit.focal_loss(x, torch.tensor([0.7], dtype=torch.float64), gamma=float(gamma)), x)
    assert abs(slope.item()) < 1e-6
    assert p == pytest.approx(0.7, abs=1e-5) if gamma == "0.0" else 0.5 < p < 0.7
    page.press("#q", "ArrowRight")
    assert "71%" in page.text(".stage .status")
