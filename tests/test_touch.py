"""The interactive page in a real browser: drag, type, press keys, read the numbers, and compare them with the library; nothing else is trusted."""

import contextlib
import io
import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import losskit
from losskit import LOSSES

DOCS = Path(__file__).parent.parent / "docs"
sys.path.insert(0, str(DOCS / "_ext"))
import touch  # noqa: E402

VIEWS = ("boxes", "masks", "logits", "residual", "calibration")
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LISTED = [(view, loss) for view, (losses, _) in touch.VIEWS.items() for loss in losses()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place: Path = tmp_path_factory.mktemp("touch")
    touch.build(place)
    return place


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright")
    with sync_api.sync_playwright() as playwright:
        found = next((path for path in map(shutil.which, BROWSERS) if path), None)
        try:
            started = playwright.chromium.launch(executable_path=found)
        except sync_api.Error:
            pytest.skip("Chromium")
        yield started
        started.close()


class Page:
    """A page that is open, and what a reader does with it."""

    def __init__(self, browser: Any, folder: Path, width: int = 1280, query: str = "", **options: Any) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce", **options)
        self.page = self.context.new_page()
        self.said: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.root = (folder / "index.html").as_uri() + query

    def open(self, address: str = "") -> "Page":
        self.page.goto("about:blank")
        self.page.goto(self.root + address)
        self.settle()
        return self

    def settle(self) -> None:
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 5))))")

    def text(self, selector: str) -> str:
        return str(self.page.text_content(selector))

    def number(self, view: str) -> str:
        return self.text(f"#{view}_value")

    def code(self, place: str = ".readout") -> str:
        return self.text(f"{place} code")

    def drag(self, selector: str, dx: float, dy: float) -> None:
        box = self.page.locator(selector).bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        self.page.mouse.move(x, y)
        self.page.mouse.down()
        self.page.mouse.move(x + dx / 2, y + dy / 2)
        self.page.mouse.move(x + dx, y + dy)
        self.page.mouse.up()
        self.settle()

    def press(self, selector: str, *keys: str) -> None:
        for key in keys:
            self.page.locator(selector).press(key)
        self.settle()


@pytest.fixture
def opened(browser: Any, folder: Path) -> Iterator[Any]:
    """Opens pages; afterwards none may have said anything on its console."""
    pages: list[Page] = []

    def opening(address: str = "", **options: Any) -> Page:
        pages.append(Page(browser, folder, **options))
        return pages[-1].open(address)

    yield opening
    for page in pages:
        assert page.said == []
        page.context.close()


def printed(code: str) -> str:
    """What a reader sees who runs the code."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    return out.getvalue().strip()


def same(shown: str, python: str) -> bool:
    """Equal to the last digit, or one off where the last digit is a matter of rounding."""
    return float(shown) == pytest.approx(float(python), rel=2e-6)


def worked_out(text: str) -> float:
    """The value of a formula with its numbers, as one would type it into Python."""
    text = re.sub(r"\|([^|]+)\|", r"abs(\1)", text).replace("^", "**")
    return float(eval(text, {"log": math.log, "exp": math.exp, "sqrt": math.sqrt, "cosh": math.cosh, "abs": abs}))


# ---- what is built


def test_modules_are_short_and_whole(folder: Path) -> None:
    html = (folder / "index.html").read_text("utf-8")
    named = re.findall(r'(?:src|href)="([\w.]+\.(?:js|css))"', html)
    assert sorted(named) == sorted(p.name for p in folder.iterdir() if p.suffix in (".js", ".css"))
    assert "http" not in html.replace("http-equiv", "")
    for path in DOCS.glob("touch/*"):
        assert len(path.read_text("utf-8").splitlines()) < 400, path.name


def test_every_loss_of_boxes_and_of_regression_is_there() -> None:
    assert set(touch.BOXES) == set(LOSSES.of("boxes"))
    left = {"student_t_nll_loss", "poisson_nll_loss", "negative_binomial_nll_loss", "gamma_nll_loss", "tweedie_loss"}
    assert set(touch.regression()) == {n for n, loss in LOSSES.of("elementwise").items() if loss.task == "regression"} - left >= set(touch.REGRESSION)


def test_beside_a_site_it_leads_there(browser: Any, tmp_path: Path) -> None:
    touch.build(tmp_path, ("en", "zh"))
    for query, language in (("", "en"), ("?lang=zh", "zh")):
        page = Page(browser, tmp_path, query=query).open("#view=masks&loss=boundary_loss")
        assert page.page.get_attribute(".readout h2 a", "href") == f"../{language}/segmentation/boundary_loss.html"
        assert page.page.get_attribute("#site", "href") == f"../{language}/index.html"
        page.page.set_viewport_size({"width": 390, "height": 844})
        assert page.page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.said == []
        page.context.close()


def test_the_pages_it_leads_to_are_those_of_the_site() -> None:
    import pages

    for name in {name for _, name in LISTED}:
        assert touch.page_of(name) == f"{pages.family(LOSSES[name])}/{name}.html"


def strings(language: str) -> dict[str, str]:
    """One table of words, as Node reads it."""
    if shutil.which("node") is None:
        pytest.skip("Node")
    program = f"globalThis.losskit = {{}}; require({str(DOCS / 'touch' / f'strings.{language}.js')!r}); console.log(JSON.stringify(losskit.strings.{language}))"
    found: dict[str, str] = json.loads(subprocess.run(["node", "-e", program], capture_output=True, check=True, text=True, timeout=60).stdout)
    return found


def test_both_languages_are_complete_and_nothing_is_left_over() -> None:
    english, chinese = strings("en"), strings("zh")
    assert english.keys() == chinese.keys()
    for key in english:
        assert set(re.findall(r"\{\w+\}", english[key])) == set(re.findall(r"\{\w+\}", chinese[key])), key
        assert chinese[key].strip() and (
            re.search("[\u4e00-\u9fff]", chinese[key]) or key in ("logits_tab", "story_iou", "story_giou", "story_diou", "story_ciou")
        ), key
        assert not re.search("[\u4e00-\u9fff]", english[key]), key
        assert not re.search(r"[\u4e00-\u9fff]\s+[\u4e00-\u9fff]|[,;:?!](?=[\u4e00-\u9fff])", chinese[key].replace("=>", "")) or key == "formula_words", key
    code = "\n".join(p.read_text("utf-8") for p in DOCS.glob("touch/*.js") if not p.name.startswith("strings"))
    unused = [key for key in english if not re.search(rf'"{key}"|\b{key}:', code)]
    made = [rf"{view}_{part}" for view in VIEWS for part in ("tab", "title", "lead")] + [f"class_{j}" for j in range(4)]
    made += [f"{key}_told" for key in re.findall(r'key: "(story_\w+)"', code)] + [f"residual_{key}_chart" for key in ("value", "slope", "weight")]
    made += [f"{kind}_of" for kind in ("first", "second", "middle")]
    assert sorted(set(unused) - set(made)) == []
    assert set(made) <= english.keys()


# ---- the numbers


@pytest.mark.parametrize("view", VIEWS)
def test_every_number_is_what_its_code_prints(opened: Any, view: str) -> None:
    page = opened(f"#view={view}")
    losses = [loss for listed, loss in LISTED if listed == view]
    for loss in losses:
        if len(losses) > 1:
            page.page.locator(f'input[type="radio"][value="{loss}"]').check()
            page.settle()
        assert loss in page.code()
        assert same(page.number(view), printed(page.code())), f"{loss}: {page.number(view)}, Python prints {printed(page.code())}"
        text = page.page.get_attribute(f"#{view}_value_worked", "data-text")
        assert worked_out(text) == pytest.approx(float(page.number(view)), rel=2e-4, abs=2e-5), f"{loss}: {text}"


def choices(page: Page) -> list[tuple[str, str, int]]:
    """The controls of the chosen loss's settings: id, kind, how many stops."""
    found: list[tuple[str, str, int]] = page.page.evaluate(
        """(view) => [...document.querySelectorAll('[id^="' + view + '_"]')].filter((e) => e.matches('.near input[type=range], .near select'))
            .map((e) => [e.id, e.tagName, e.tagName === 'SELECT' ? e.options.length : Number(e.max) + 1])""",
        page.page.evaluate("losskit.page.show.view"),
    )
    return found


@pytest.mark.parametrize(("view", "loss"), LISTED)
def test_every_setting_is_what_its_code_says(opened: Any, view: str, loss: str) -> None:
    page = opened(f"#view={view}" + ("" if view == "calibration" else f"&loss={loss}"))
    seen = set()
    for place, kind, stops in choices(page):
        for stop in {0, stops // 2, stops - 1}:
            if kind == "SELECT":
                page.page.locator(f"#{place}").select_option(index=stop)
            else:
                page.page.locator(f"#{place}").fill(str(stop))
            page.settle()
            code = page.code()
            seen.add(code)
            assert same(page.number(view), printed(code)), code
            text = page.page.get_attribute(f"#{view}_value_worked", "data-text")
            assert worked_out(text) == pytest.approx(float(page.number(view)), rel=2e-4, abs=2e-5), f"{code}: {text}"
    shown = [s for s in touch.VIEWS[view][0]()[loss].values() if len(s) > 1]
    assert len(choices(page)) == len(shown) and len(seen) >= len(shown)


EMPTY = "0" * 96
ALARM = "0" * 40 + "77" + "0" * 54


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


SMOOTH = ("mse_loss", "huber_loss", "cauchy_loss", "geman_mcclure_loss", "welsch_loss", "log_cosh_loss", "barron_loss", "gaussian_nll_loss", "msle_loss")


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


# ---- links, languages, themes, sizes


def test_a_link_shows_what_one_sees(opened: Any) -> None:
    page = opened()
    page.page.locator('nav a[href="#view=masks"]').click()
    page.page.locator("#preset_small").click()
    page.page.locator('input[type="radio"][value="tversky_loss"]').check()
    page.page.locator("#masks_alpha").fill("0")
    page.page.locator("#masks_empty").select_option(index=3)
    page.page.locator("#theme").click()
    page.settle()
    page.page.wait_for_timeout(300)
    url = page.page.url
    other = opened(url[url.index("#") :])
    for read in (lambda one: one.number("masks"), Page.code, lambda one: one.page.evaluate("JSON.stringify(losskit.page.state.masks)")):
        assert read(other) == read(page)
    assert other.page.get_attribute("html", "data-theme") == "dark"
    page.page.go_back()
    page.settle()
    assert page.page.evaluate("losskit.page.show.view") == "boxes"


@pytest.mark.parametrize(
    "address", ["#view=nothing", "#view=boxes&p=1,2&loss=none&n=zz&set=x", "#view=masks&t=01&p=", "#view=residual&points=1,2,3&pins=none", "#x"]
)
def test_a_broken_link_opens(opened: Any, address: str) -> None:
    page = opened(address)
    assert math.isfinite(float(page.text(".number")))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("query", ["", "?lang=zh"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_languages_themes_and_a_phone(opened: Any, view: str, query: str, scheme: str) -> None:
    page = opened(f"#view={view}", query=query, color_scheme=scheme)
    for width in (390, 768, 1280):
        page.page.set_viewport_size({"width": width, "height": 900})
        page.settle()
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        wide = page.page.evaluate(
            "[...document.querySelectorAll('main *')].filter((e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.away')).map((e) => e.outerHTML.slice(0, 80))"
        )
        assert wide == []
    assert page.page.get_attribute("html", "lang") == ("zh-CN" if query else "en")
    title = page.text("h1")
    assert bool(re.search("[\u4e00-\u9fff]", title)) == bool(query)
    page.page.locator("#language").click()
    page.settle()
    assert bool(re.search("[\u4e00-\u9fff]", page.text("h1"))) != bool(query)
    assert ("lang=zh" in page.page.url) != bool(query)


def test_formulas_speak_the_language(opened: Any) -> None:
    words = r"\b(where|held|otherwise|elsewhere|between|the|of|if|else|both|constant|mean)\b(?!\()"
    for query in ("", "?lang=zh"):
        page = opened(query=query)
        found = page.page.evaluate(
            """() => Object.entries(losskit.catalogue).flatMap(([view, losses]) => Object.entries(losses).map(([loss, { formula }]) =>
                { const p = document.createElement('p'); p.append(...losskit.page.typeset(formula)); return [loss, p.textContent]; }))"""
        )
        english = {loss: text for loss, text in found if re.search(words, text.replace("/ constant)", ""))}
        assert bool(english) != bool(query), english


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    r, g, b = (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts)
    return 0.2126 * r + 0.7152 * g + 0.0722 * b


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast_is_aa(opened: Any, scheme: str) -> None:
    page = opened(color_scheme=scheme)
    names = ("paper", "panel", "code", "grid", "ink", "soft", "k0", "k1", "k2", "k3", "k4", "box", "target", "warn", "focus")
    of = page.page.evaluate(
        "(names) => Object.fromEntries(names.map((n) => [n, getComputedStyle(document.documentElement).getPropertyValue('--' + n).trim()]))", names
    )

    def ratio(a: str, b: str) -> float:
        low, high = sorted((luminance(of[a]), luminance(of[b])))
        return (high + 0.05) / (low + 0.05)

    for text in ("ink", "soft"):
        for ground in ("paper", "panel", "code", "grid"):
            assert ratio(text, ground) >= 4.5, (text, ground)
    for text in ("k0", "k1", "k2", "k3", "k4", "box", "target", "warn"):  # labels of lines, legends, the button's own text
        assert ratio(text, "panel") >= 4.5, text
    assert ratio("focus", "panel") >= 3.0


@pytest.mark.parametrize("view", VIEWS)
def test_everything_is_reached_by_keyboard_and_named(opened: Any, view: str) -> None:
    page = opened(f"#view={view}")
    unnamed = page.page.evaluate(
        """[...document.querySelectorAll('button, a, input, select, [tabindex="0"], [role=img]')].filter((e) => !e.closest('[hidden]'))
            .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && [...e.labels].some((l) => l.textContent.trim()))))
            .map((e) => e.outerHTML)"""
    )
    assert unnamed == []
    ids = page.page.evaluate("[...document.querySelectorAll('[id]')].map((e) => e.id)")
    assert len(ids) == len(set(ids))
    reached = set()
    for _ in range(400):
        page.page.keyboard.press("Tab")
        place = page.page.evaluate(
            "(() => { const e = document.activeElement; e.dataset.k ||= String(Math.random()); return e === document.body ? '' : e.dataset.k; })()"
        )
        if place in reached:
            break
        reached.add(place)
    kinds = "button:not([disabled]), a[href], select, input:not([disabled]):not([type=radio]), [tabindex='0']"
    missed = page.page.evaluate(
        f'[...document.querySelectorAll("{kinds}")].filter((e) => e.getClientRects().length && !e.dataset.k).map((e) => e.outerHTML.slice(0, 120))'
    )
    assert missed == []


def test_first_paint_comes_within_a_second(browser: Any, folder: Path) -> None:
    times = []
    for view in VIEWS:
        page = Page(browser, folder).open(f"#view={view}")
        page.page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length")
        times.append(page.page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
        page.context.close()
    assert sorted(times)[len(times) // 2] < 1000, times
