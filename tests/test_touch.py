"""The interactive page in a real browser: what is built, every number and setting of every loss, links, languages, themes, sizes; nothing else is trusted."""

import json
import math
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from accessible import faults
from cases import thorough
from touching import DOCS, Page, printed, same, touch, worked_out

import losskit
from losskit import LOSSES

pytest_plugins = ("touching",)
VIEWS = ("boxes", "masks", "logits", "residual", "calibration")
LISTED = [(view, loss) for view, (losses, _) in touch.VIEWS.items() for loss in losses()]


@pytest.fixture(autouse=True)
def formulas_alone() -> Iterator[None]:
    """What the page computes are formulas: PyTorch operations say whether it is right."""
    with losskit.use_engine("torch"):
        yield


# ---- what is built


def test_modules_are_short_and_whole(folder: Path) -> None:
    html = (folder / "index.html").read_text("utf-8")
    named = re.findall(r'(?:src|href)="([\w.]+\.(?:js|css))"', html)
    assert sorted(named) == sorted(p.name for p in folder.iterdir() if p.suffix in (".js", ".css"))
    assert "http" not in html.replace("http-equiv", "")
    for path in DOCS.glob("touch/*"):
        assert len(path.read_text("utf-8").splitlines()) < 400, path.name


# losses of regression that are no function of a prediction and its target, and what they are functions of
NO_RESIDUAL = {"ssim_loss": "windows of two pictures", "l1_ssim_loss": "windows of two pictures"}


def test_every_loss_of_boxes_and_of_regression_is_there() -> None:
    assert set(touch.BOXES) == set(LOSSES.of("boxes"))
    assert set(touch.regression()) == {n for n, loss in LOSSES.items() if loss.task == "regression"} - set(NO_RESIDUAL) >= set(touch.REGRESSION)
    assert not set(touch.regression()) & set(NO_RESIDUAL) and set(NO_RESIDUAL) <= set(LOSSES)


def test_numbers_are_as_free_as_the_losses_take_them() -> None:
    """What is a number is chosen on a slider and can be typed; what stands in a list has values that are no numbers, or one value, or is a power of 1 or 2."""
    for view, (losses, _) in touch.VIEWS.items():
        for loss, settings in losses().items():
            for name, given in settings.items():
                if isinstance(given, touch.Range):
                    assert len(given.stops()) > 15 and not set(given.tried()) & set(given.apart), (view, loss, name)
                else:
                    assert len(given) == 1 or given == (1, 2) or not all(isinstance(v, float) for v in given), (view, loss, name)


def test_a_setting_that_is_computed_otherwise_somewhere_is_refused() -> None:
    settings = {"smooth_l1_loss": {"beta": touch.Range(0.0, 2.0, 0.1)}}  # at 0 it is another formula
    tensors = touch.VIEWS["residual"][1]
    with pytest.raises(ValueError, match=r"smooth_l1_loss: beta=0.0 is computed otherwise than beta=1.23"):
        touch.Catalogue().entry("smooth_l1_loss", settings["smooth_l1_loss"], tensors)


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


LINK = re.compile(r"\]\(touch:view=(\w+)(?:&loss=(\w+))?\)")


def test_pages_of_losses_lead_to_every_view_that_shows_them() -> None:
    """Each link names a view, and in it the loss of the page; a view that has one loss needs no name."""
    assert set(touch.INVITES) == set(touch.VIEWS) == set(VIEWS)
    alone = {view for view in VIEWS if sum(listed == view for listed, _ in LISTED) == 1}
    linked = [(view, name, loss) for name in LOSSES for view, loss in LINK.findall(touch.invitation(name))]
    assert sorted((view, name) for view, name, _ in linked) == sorted(LISTED)
    assert all(loss == ("" if view in alone else name) for view, name, loss in linked)
    assert [name for name in LOSSES if touch.invitation(name).count("(") != len(touch.addresses(name))] == []


@pytest.mark.parametrize("name", ["focal_loss", "ciou_loss", "msle_loss", "lovasz_loss"])
def test_the_line_that_leads_to_the_views_is_on_the_page(name: str, tmp_path: Path) -> None:
    import pages

    lines = [line for line in pages.page(LOSSES[name], str(tmp_path), drawn=False).splitlines() if "(touch:" in line]
    assert lines == list(filter(None, [touch.invitation(name)]))


@pytest.mark.parametrize("listed", [LISTED[::6], *thorough([LISTED])], ids=["some", "all"])
def test_such_a_link_opens_the_view_with_its_loss(opened: Any, listed: list[tuple[str, str]]) -> None:
    page = opened()
    for view, name in listed:
        page.page.evaluate("(address) => { location.hash = address; }", touch.addresses(name)[view])
        page.settle()
        shown = page.page.evaluate("[losskit.page.show.view, document.querySelector('.readout h2').textContent]")
        assert shown == [view, name]


def strings(language: str) -> dict[str, str]:
    """One table of words, as Node reads it."""
    if shutil.which("node") is None:
        pytest.skip("Node")
    program = f"globalThis.losskit = {{}}; require({str(DOCS / 'touch' / f'strings.{language}.js')!r}); console.log(JSON.stringify(losskit.strings.{language}))"
    found: dict[str, str] = json.loads(subprocess.run(["node", "-e", program], capture_output=True, check=True, text=True, timeout=60).stdout)
    return found


def test_both_languages_are_complete_and_nothing_is_left_over() -> None:
    import translation

    english, chinese = strings("en"), strings("zh")
    assert english.keys() == chinese.keys()
    for key in english:
        assert set(re.findall(r"\{\w+\}", english[key])) == set(re.findall(r"\{\w+\}", chinese[key])), key
        assert chinese[key].strip() and (
            re.search("[\u4e00-\u9fff]", chinese[key]) or key in ("logits_tab", "story_iou", "story_giou", "story_diou", "story_ciou")
        ), key
        assert not re.search("[\u4e00-\u9fff]", english[key]), key
        assert key == "formula_words" or translation.widened(chinese[key]) == chinese[key], key
        assert not re.search(r"[\u4e00-\u9fff]\s+[\u4e00-\u9fff]|[,;:?!](?=[\u4e00-\u9fff])", chinese[key].replace("=>", "")) or key == "formula_words", key
    code = "\n".join(p.read_text("utf-8") for p in DOCS.glob("touch/*.js") if not p.name.startswith("strings"))
    unused = [key for key in english if not re.search(rf'"{key}"|\b{key}:', code)]
    made = [rf"{view}_{part}" for view in VIEWS for part in ("tab", "title", "lead")] + [f"class_{j}" for j in range(4)]
    made += [f"{key}_told" for key in re.findall(r'key: "(story_\w+)"', code)] + [f"residual_{key}_chart" for key in ("value", "slope", "weight")]
    made += [f"{kind}_of" for kind in ("first", "second", "middle")]
    assert sorted(set(unused) - set(made)) == []
    assert set(made) <= english.keys()


# ---- the numbers


@pytest.mark.sparse(2)
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


def typed(given: touch.Range) -> float:
    """A number between the slider's stops."""
    return round(given.low + 0.3719 * (given.high - given.low), 4)


@pytest.mark.sparse(8)
@pytest.mark.parametrize(("view", "loss"), LISTED)
def test_every_setting_is_what_its_code_says(opened: Any, view: str, loss: str) -> None:
    page = opened(f"#view={view}" + ("" if view == "calibration" else f"&loss={loss}"))
    seen = set()

    def agrees() -> None:
        page.settle()
        code = page.code()
        seen.add(code)
        assert same(page.number(view), printed(code)), code
        text = page.page.get_attribute(f"#{view}_value_worked", "data-text")
        assert worked_out(text) == pytest.approx(float(page.number(view)), rel=2e-4, abs=2e-5), f"{code}: {text}"

    settings = {f"{view}_{name}": given for name, given in touch.VIEWS[view][0]()[loss].items() if isinstance(given, touch.Range) or len(given) > 1}
    assert {place for place, _, _ in choices(page)} == set(settings)
    for place, kind, stops in choices(page):
        for stop in {0, stops // 2, stops - 1}:
            if kind == "SELECT":
                page.page.locator(f"#{place}").select_option(index=stop)
            else:
                page.page.locator(f"#{place}").fill(str(stop))
            agrees()
        if kind != "SELECT":
            page.page.locator(f"#{place}_typed").fill(str(typed(settings[place])))
            agrees()
            assert f"={typed(settings[place])}" in page.code()
    assert len(seen) >= len(settings)


def test_what_is_typed_is_told_if_it_does_not_fit(opened: Any) -> None:
    page = opened("#view=residual&loss=barron_loss")
    for text, code in (("2.5", None), ("x", None), ("-0.75", "alpha=-0.75"), ("", None), ("-inf", "alpha=float('-inf')"), ("−2", "alpha=-2.0")):
        before = page.code()
        page.page.locator("#residual_alpha_typed").fill(text)
        page.settle()
        assert (page.page.get_attribute("#residual_alpha_typed", "aria-invalid") == "true") == (code is None), text
        assert page.code() == before if code is None else code in page.code(), text
    page.press("#residual_alpha", "ArrowRight")  # from -2, by a step
    assert page.page.input_value("#residual_alpha_typed") == "−1.95" and "alpha=-1.95" in page.code()


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


@pytest.mark.sparse(4)
@pytest.mark.sparse(3)
@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(("query", "scheme"), [("", "light"), ("?lang=zh", "dark")])  # colours move nothing
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
    page.page.keyboard.press("Tab")
    assert faults(page.page, "zh-CN" if query else "en", (scheme,)) == []
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


@pytest.mark.sparse(2)
@pytest.mark.parametrize("view", VIEWS)
def test_everything_is_reached_by_keyboard(opened: Any, view: str) -> None:
    page = opened(f"#view={view}")
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
