"""What keeps readers out of a page, found in a browser: faint text, pictures without words, controls without names, focus that is not seen, headings out of order."""

from typing import Any

# colours as the browser mixes them, from the element up to the page; a picture's text stands on the page
SCRIPT = """
(options) => {
  const found = new Set();
  const said = (e) => `<${e.tagName.toLowerCase()} ${[...e.attributes].slice(0, 3).map((a) => `${a.name}="${a.value.slice(0, 60)}"`).join(" ")}> ${(e.textContent || "").trim().slice(0, 40)}`;
  const seen = (e) => e.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true }) && e.getClientRects().length > 0;
  const parsed = (text) => {
    const c = text.match(/^color\\(srgb ([\\d.e-]+) ([\\d.e-]+) ([\\d.e-]+)(?: \\/ ([\\d.e-]+))?/);
    if (c) return [255 * c[1], 255 * c[2], 255 * c[3], c[4] === undefined ? 1 : Number(c[4])];
    const n = (text.match(/[\\d.]+/g) || []).map(Number);
    return n.length < 3 ? [0, 0, 0, 0] : [n[0], n[1], n[2], n.length > 3 ? n[3] : 1];
  };
  const over = (top, below) => [0, 1, 2].map((i) => top[3] * top[i] + (1 - top[3]) * below[i]).concat(1);
  const above = (e) => e.parentElement || (e.getRootNode().host ?? null);
  const canvas = options.canvas ? parsed(options.canvas) : matchMedia("(prefers-color-scheme: dark)").matches && getComputedStyle(document.documentElement).colorScheme.includes("dark") ? [18, 18, 18, 1] : [255, 255, 255, 1];
  const ground = (e) => {
    const layers = [];
    for (let one = e; one; one = above(one)) {
      const colour = parsed(getComputedStyle(one).backgroundColor);
      if (colour[3] > 0) layers.push(colour);
      if (colour[3] === 1) break;
    }
    return layers.reverse().reduce((below, top) => over(top, below), canvas);
  };
  const faded = (e) => { let o = 1; for (let one = e; one; one = above(one)) o *= Number(getComputedStyle(one).opacity); return o; };
  const light = (c) => { const [r, g, b] = c.slice(0, 3).map((v) => { v /= 255; return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; }); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ratio = (a, b) => { const [l, h] = [light(a), light(b)].sort((x, y) => x - y); return (h + 0.05) / (l + 0.05); };
  const contrast = () => {
    const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
    const known = new Map();
    for (let node = walker.nextNode(); node; node = walker.nextNode()) {
      const e = node.parentElement;
      if (!node.data.trim() || !e || e.closest("script, style, noscript, title, template, option, [hidden], :disabled")) continue;
      const style = getComputedStyle(e);
      const inside = e.namespaceURI.endsWith("svg");
      const colour = parsed(inside ? style.fill : style.color);
      const size = parseFloat(style.fontSize);
      const key = [inside ? style.fill : style.color, size, style.fontWeight, e.className.baseVal ?? e.className, above(e) && above(e).className, e.tagName].join("|");
      if (known.has(key) || !seen(e)) continue;
      const box = e.getBoundingClientRect();
      if (box.width <= 1 || box.height <= 1) continue; // for readers of the screen alone
      known.set(key, 1);
      const below = ground(e);
      const top = over([...colour.slice(0, 3), colour[3] * faded(e)], below);
      const least = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
      const r = ratio(top, below);
      if (r < least - 0.005) found.add(`contrast ${r.toFixed(2)} of ${least}: ${said(e)} [${style.color} on ${below.map(Math.round)}]`);
    }
  };
  const name = (e) => {
    const by = (e.getAttribute("aria-labelledby") || "").split(" ").filter(Boolean).map((id) => document.getElementById(id)?.textContent || "").join(" ");
    const labels = e.labels ? [...e.labels].map((l) => l.textContent || l.getAttribute("aria-label") || "").join(" ") : "";
    const inside = [...e.querySelectorAll("img[alt], [aria-label], title")].map((i) => i.getAttribute("alt") || i.getAttribute("aria-label") || i.textContent).join(" ");
    return [e.getAttribute("aria-label"), by, labels, e.textContent, e.title, e.getAttribute("placeholder"), e.type === "submit" || e.type === "button" ? e.value : "", inside].map((v) => (v || "").trim()).find(Boolean);
  };
  const controls = () => [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0'], [role=button]")].filter(seen);
  const look = (e) => {
    const states = [];
    for (let one = e, k = 0; one && k < 3; one = above(one), k++) {
      const s = getComputedStyle(one);
      states.push(s.outlineStyle === "none" ? "" : `${s.outlineStyle} ${s.outlineWidth} ${s.outlineColor}`, s.boxShadow, s.borderColor, s.backgroundColor);
    }
    const inner = [...e.querySelectorAll("*")].slice(0, 12).map((i) => { const s = getComputedStyle(i); return `${s.stroke} ${s.outlineStyle} ${s.backgroundColor}`; });
    const next = e.nextElementSibling ? getComputedStyle(e.nextElementSibling).outlineStyle : "";
    return [...states, ...inner, next].join(";");
  };
  if (options.contrast) contrast();
  if (options.all) {
    for (const e of document.querySelectorAll("img")) if (e.getAttribute("alt") === null) found.add(`no alt: ${said(e)}`);
    for (const e of document.querySelectorAll("svg[role=img]")) if (!e.getAttribute("aria-label") && !e.closest("[aria-hidden=true]")) found.add(`no words: ${said(e)}`);
    for (const e of controls()) if (!name(e)) found.add(`no name: ${said(e)}`);
    const ids = new Set();
    for (const { id } of document.querySelectorAll("[id]")) { if (ids.has(id) && !id.startsWith("__")) found.add(`twice: id ${id}`); ids.add(id); }
    const headings = [...document.querySelectorAll("h1, h2, h3, h4, h5, h6")].filter(seen);
    const ones = headings.filter((e) => e.tagName === "H1");
    if (ones.length !== 1) found.add(`${ones.length} h1: ${ones.map(said)}`);
    let last = 0;
    for (const e of headings) { const level = Number(e.tagName[1]); if (level > last + 1) found.add(`h${level} after h${last}: ${said(e)}`); last = level; }
    if (!document.title.trim()) found.add("no title");
    if (!document.querySelector("main, [role=main]")) found.add("no main");
    if (document.documentElement.lang !== options.lang) found.add(`lang="${document.documentElement.lang}", expected "${options.lang}"`);
    const kinds = new Set();
    for (const e of controls()) {
      const kind = `${e.tagName} ${e.type || ""} ${e.getAttribute("class")} ${above(e).className}`;
      if (kinds.has(kind) || e.disabled) continue;
      kinds.add(kind);
      document.activeElement?.blur();
      const before = look(e);
      e.focus({ preventScroll: true, focusVisible: true });
      if (document.activeElement !== e) continue; // a group of radio buttons has one stop
      if (look(e) === before) found.add(`focus is not seen: ${said(e)}`);
    }
    document.activeElement?.blur();
  }
  if (options.wide) {
    const width = document.documentElement.clientWidth;
    if (document.documentElement.scrollWidth > width) {
      const out = [...document.querySelectorAll("body *")].filter((e) => seen(e) && e.getBoundingClientRect().right > width + 1 && e.getBoundingClientRect().left < width);
      found.add(`wider than ${width}: ${document.documentElement.scrollWidth}; ${out.slice(-2).map(said).join(" ")}`);
    }
  }
  return [...found];
}
"""


def faults(page: Any, lang: str, themes: tuple[str, ...] = ("light", "dark"), widths: tuple[int, ...] = (390, 1280)) -> list[str]:
    """What is wrong with a page that is open, in themes and at widths. The page is left at the last of each."""
    found: dict[str, None] = {}
    for width in widths:
        page.set_viewport_size({"width": width, "height": 900})
        for theme in themes:
            page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            first = theme == themes[0]
            options = {"contrast": width == widths[-1] or first, "all": first, "wide": first, "lang": lang}
            found |= dict.fromkeys(f"{theme}, {width} px: {fault}" for fault in page.evaluate(SCRIPT, options))
    return list(found)
