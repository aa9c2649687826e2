// Pieces that every view is made of: the number with its formula and its code, the list of losses side by side, settings, dragging.
(function (root) {
"use strict";

const L = root.losskit;
const { page } = L;
const { h, t, g, put } = page;

/** A frame: title and lead, a stage on the left, panels on the right, and what stands below. */
page.frame = (key, stage, side, below = []) => [
  h("div", { class: "lead" }, h("h1", { text: t(`${key}_title`) }), h("p", { text: t(`${key}_lead`) })),
  h("div", { class: "columns" }, h("div", { class: "stage" }, ...stage), h("div", { class: "side" }, ...side)),
  ...below,
];

page.panel = (title, ...children) => h("section", { class: "panel" }, title ? h("h2", { text: title }) : null, ...children);

page.button = (label, onclick, given = {}) => h("button", { type: "button", onclick, ...given, text: label });

async function copy(text, button, label) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "away" }, text);
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  put(button, t("copied"));
  setTimeout(() => put(button, label), 1500);
}
page.copy = copy;

/** Lines of Python with a button that copies them. */
page.code = (label) => {
  const text = h("code", {});
  const button = page.button(t("copy"), () => copy(text.textContent, button, t("copy")), { class: "small", "aria-label": `${t("copy")}: ${label}` });
  return { node: h("div", { class: "code" }, h("div", { class: "over" }, h("span", { text: "Python" }), button), h("pre", { tabindex: "0", role: "region", "aria-label": label }, text)), update: (lines) => put(text, lines) };
};

/** The number of the chosen loss, its formula, the same with the numbers put in, and the code that prints it. */
page.readout = (id) => {
  const name = h("h2", { class: "name" });
  const number = h("output", { class: "number", id, "aria-live": "polite" });
  const formula = h("p", { class: "formula" });
  const worked = h("p", { class: "formula worked", id: `${id}_worked` });
  const note = h("p", { class: "note" });
  const code = page.code(t("code_label"));
  const node = h("section", { class: "panel readout" }, h("div", { class: "headline" }, name, number), formula, worked, note, code.node);
  let before = "";
  const update = ({ loss, value, text, workedText, lines, said = "" }) => {
    if (name.textContent !== loss) {
      const place = page.siteOf(loss);
      name.replaceChildren(place ? h("a", { href: place, text: loss }) : loss);
    }
    put(number, g(value));
    if (before !== text) formula.replaceChildren(...page.typeset(text));
    before = text;
    worked.replaceChildren(...page.typeset(workedText), ` = ${page.shown(value, 5)}`);
    worked.dataset.text = workedText;
    put(note, said);
    note.hidden = !said;
    code.update(`import torch, losskit\n${lines}`);
  };
  return { node, update };
};

/** All losses of a view side by side: a list to choose from, with a bar for each value. */
page.compare = (view, names, choose, title) => {
  const rows = new Map();
  const rowOf = (name) => {
    const bar = h("span", { class: "fill" });
    const value = h("span", { class: "value" });
    const radio = h("input", { type: "radio", name: `${view}_loss`, value: name, onchange: () => choose(name) });
    rows.set(name, { radio, bar, value });
    return h("label", { class: "row" }, radio, h("span", { class: "title", text: page.short(name).replaceAll("_", "_\u200b") }), h("span", { class: "bar", "aria-hidden": "true" }, bar), value);
  };
  const node = h("section", { class: "panel losses-panel" }, h("h2", { text: title }), h("div", { class: "compare", role: "radiogroup", "aria-label": title }, ...names.map(rowOf)));
  const update = (chosen, values) => {
    const finite = Object.values(values).filter(Number.isFinite).map(Math.abs);
    const top = Math.max(...finite, 1e-12);
    for (const [name, { radio, bar, value }] of rows) {
      radio.checked = name === chosen;
      put(value, page.shown(values[name], 4));
      bar.style.width = `${Math.min(100, (100 * Math.abs(values[name])) / top) || 0}%`;
      bar.classList.toggle("negative", values[name] < 0);
    }
  };
  return { node, update };
};

page.short = (name) => name.replace(/_loss$/, "");

/** Controls for the settings of the chosen loss. */
page.settingsOf = (view, changed) => {
  const node = h("div", { class: "settings" });
  let built = "";
  const key = (loss, name) => ((page.views[view].shared || []).includes(name) ? name : `${loss}.${name}`);
  const choose = (loss, name, value) => {
    page.state[view].set = { ...page.state[view].set, [key(loss, name)]: value };
    changed();
  };
  const said = (value) => value.replace(/'/g, "").replace("float(-inf)", "−∞").replace(/^-/, "−").replace(/\.0$/, "");
  /** A slider through the steps, and beside it the number, to be typed where a step is not enough. */
  const range = (id, loss, setting, now) => {
    const places = setting.stops.map(page.numeric);
    const nearest = (v) => places.reduce((best, one, i) => (Math.abs(one - v) < Math.abs(places[best] - v) || one === v ? i : best), places.length - 1);
    const typed = h("input", { id: `${id}_typed`, type: "text", inputmode: "decimal", autocomplete: "off", "aria-label": t("typed", { name: setting.name }), value: said(now) });
    const slider = h("input", { id, type: "range", min: 0, max: places.length - 1, step: 1 });
    const show = (text) => { slider.value = nearest(page.numeric(text)); slider.setAttribute("aria-valuetext", said(text)); };
    slider.addEventListener("input", () => {
      const text = setting.stops[Number(slider.value)];
      typed.value = said(text);
      typed.removeAttribute("aria-invalid");
      slider.setAttribute("aria-valuetext", said(text));
      choose(loss, setting.name, text);
    });
    typed.addEventListener("input", () => {
      const v = Number(typed.value.trim().replace("−", "-").replace(/∞|inf$/, "Infinity"));
      const fits = typed.value.trim() !== "" && page.within(setting, v);
      if (!fits) return typed.setAttribute("aria-invalid", "true");
      typed.removeAttribute("aria-invalid");
      show(page.written(v));
      choose(loss, setting.name, page.written(v));
    });
    typed.addEventListener("change", () => { typed.value = said(page.chosen(view, loss, setting)); typed.removeAttribute("aria-invalid"); });
    show(now);
    return h("div", { class: "setting" }, h("label", { for: id, text: setting.name }), slider, typed);
  };
  const control = (loss, setting) => {
    const id = `${view}_${setting.name}`;
    const now = page.chosen(view, loss, setting);
    if (setting.apart) return range(id, loss, setting, now);
    const options = setting.stops.map((v) => h("option", { value: v, text: said(v), selected: v === now }));
    const select = h("select", { id, onchange: () => choose(loss, setting.name, select.value) }, ...options);
    return h("div", { class: "setting" }, h("label", { for: id, text: setting.name }), select);
  };
  const update = (loss) => {
    if (built === loss) return;
    built = loss;
    const free = L.catalogue[view][loss].settings.filter((setting) => setting.stops.length > 1);
    node.replaceChildren(...free.map((setting) => control(loss, setting)));
    node.hidden = !free.length;
  };
  return { node, update, forget: () => { built = ""; } };
};

/** A range with a label and its value. `steps`: values, or [low, high, step]. */
page.slider = (id, label, [low, high, step], value, changed, said = (v) => page.shown(v)) => {
  const shown = h("output", { for: id, text: said(value) });
  const range = h("input", { id, type: "range", min: low, max: high, step, value, "aria-valuetext": said(value), oninput: () => { show(Number(range.value)); changed(Number(range.value)); } });
  const show = (v) => { put(shown, said(v)); range.setAttribute("aria-valuetext", said(v)); };
  return { node: h("div", { class: "setting" }, h("label", { for: id, text: label }), range, shown), update: (v) => { if (Number(range.value) !== v) range.value = v; show(v); } };
};

/** A number to type. */
page.typed = (id, label, [low, high, step], changed) => {
  const input = h("input", { id, type: "number", min: low, max: high, step, "aria-label": label, inputmode: "decimal" });
  input.addEventListener("input", () => {
    if (input.value !== "" && Number.isFinite(Number(input.value))) changed(page.clamp(Number(input.value), low, high));
  });
  return { node: input, update: (v) => { if (document.activeElement !== input || Number(input.value) !== v) input.value = page.g(v); } };
};

/** Dragging with mouse, pen or finger. `where` turns an event into the stage's own coordinates. */
page.drag = (node, where, { start = () => {}, move, end = () => {} }) => {
  node.addEventListener("pointerdown", (event) => {
    if (event.button > 0) return;
    node.setPointerCapture(event.pointerId);
    if (node.focus) node.focus({ preventScroll: true });
    event.preventDefault();
    start(where(event), event);
    const moved = (e) => move(where(e), e);
    const done = () => {
      node.removeEventListener("pointermove", moved);
      end();
    };
    node.addEventListener("pointermove", moved);
    node.addEventListener("pointerup", done, { once: true });
    node.addEventListener("pointercancel", done, { once: true });
  });
};

/** The coordinates of an event in an SVG's view box. */
page.inside = (svg) => (event) => {
  const box = svg.getBoundingClientRect();
  const view = svg.viewBox.baseVal;
  return [view.x + ((event.clientX - box.left) / box.width) * view.width, view.y + ((event.clientY - box.top) / box.height) * view.height];
};

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
/** What the arrow keys ask for; with Shift ten times as much. */
page.arrows = (node, moved) => {
  node.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    if (!step || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    moved(...step.map((v) => v * (event.shiftKey ? 10 : 1)));
  });
};

/** Runs `tick` at every frame until it says false; returns what stops it. */
page.playing = (tick) => {
  let on = true;
  const frame = () => { if (on && tick() !== false) requestAnimationFrame(frame); };
  requestAnimationFrame(frame);
  return () => { on = false; };
};
})(globalThis);
