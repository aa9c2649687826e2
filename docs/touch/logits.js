// Class scores to move: softmax, the losses of classes, and the gradient of each score.
(function (root) {
"use strict";

const L = root.losskit;
const { page } = L;
const { h, t, put } = page;
const CLASSES = 4;
const [LOW, HIGH] = [-8, 8];

const view = (page.views.logits = {
  fields: {
    loss: page.text("cross_entropy", Object.keys(L.catalogue.logits)),
    x: page.numbers([2, 0.5, -0.5, -1.5], LOW, HIGH, CLASSES),
    y: page.number(0, 0, CLASSES - 1),
    T: page.number(1, 0.25, 5),
    set: page.settings(),
  },
});
page.order.push("logits");

/** The loss of logits divided by the temperature, and its gradient by the logits. */
function computed(loss, x, y, temperature) {
  const { call } = page.callOf("logits", loss);
  const found = L.patterns[call.pattern](call, x.map((v) => v / temperature), y); // "rows", or with smoothed labels perhaps "distributions"
  return { ...found, by: found.by.map((b) => b / temperature) };
}

view.mount = () => {
  const state = page.state.logits;
  const names = Object.keys(L.catalogue.logits);
  const move = (j, value) => { state.x = state.x.map((v, k) => (k === j ? page.round(value, 0.01) : v)); page.changed(); };

  const rows = Array.from({ length: CLASSES }, (_, j) => {
    const name = t(`class_${j}`);
    const radio = h("input", { type: "radio", name: "label", id: `label_${j}`, value: j, onchange: () => { state.y = j; page.changed(); } });
    const range = h("input", { type: "range", id: `logit_${j}`, min: LOW, max: HIGH, step: 0.1, "aria-label": t("logit_of", { name }), oninput: () => move(j, Number(range.value)) });
    const typed = page.typed(`typed_${j}`, t("logit_of", { name }), [LOW, HIGH, 0.1], (v) => move(j, v));
    const [probability, gradient] = [h("span", { class: "fill" }), h("span", { class: "fill" })];
    const [p, g] = [h("span", { class: "value" }), h("span", { class: "value" })];
    const node = h("div", { class: "class" }, h("label", { class: "who" }, radio, h("span", { text: name })), h("div", { class: "score" }, range, typed.node),
      h("div", { class: "meter" }, h("span", { class: "what", text: t("probability") }), h("span", { class: "bar", "aria-hidden": "true" }, probability), p),
      h("div", { class: "meter" }, h("span", { class: "what", text: t("gradient") }), h("span", { class: "bar both", "aria-hidden": "true" }, gradient), g));
    const update = (x, share, slope, largest) => {
      radio.checked = state.y === j;
      node.classList.toggle("right", state.y === j);
      if (Number(range.value) !== x) range.value = x;
      range.setAttribute("aria-valuetext", page.shown(x));
      typed.update(x);
      probability.style.width = `${100 * share}%`;
      put(p, page.shown(share, 3));
      const width = largest > 0 ? (50 * Math.abs(slope)) / largest : 0;
      gradient.style.width = `${width}%`;
      gradient.style.left = slope < 0 ? `${50 - width}%` : "50%";
      gradient.classList.toggle("negative", slope < 0);
      put(g, page.shown(slope, 3));
    };
    return { node, update };
  });

  const temperature = page.slider("temperature", t("temperature"), [0.25, 5, 0.05], state.T, (v) => { state.T = v; page.changed(); });
  const readout = page.readout("logits_value");
  const settings = page.settingsOf("logits", () => page.changed());
  const compare = page.compare("logits", names, (loss) => { state.loss = loss; page.changed(); }, t("logits_compare"));
  const value = page.chart("logits_along", { height: 190, title: t("logits_value_chart") });
  const slope = page.chart("logits_slope", { height: 210, title: t("logits_slope_chart"), xTitle: t("logits_axis") });
  page.onResize(value.node, () => page.changed());
  const status = h("p", { class: "status", role: "status" });

  view.draw = () => {
    const found = computed(state.loss, state.x, state.y, state.T);
    const largest = Math.max(...found.by.map(Math.abs));
    rows.forEach((row, j) => row.update(state.x[j], found.p[j], found.by[j], largest));
    temperature.update(state.T);
    compare.update(state.loss, Object.fromEntries(names.map((name) => [name, computed(name, state.x, state.y, state.T).value])));
    settings.update(state.loss);
    put(status, t("logits_status", { name: t(`class_${state.y}`), p: page.shown(found.p[state.y], 3), sum: page.shown(Math.abs(found.by.reduce((a, b) => a + b, 0)) < 1e-12 ? 0 : found.by.reduce((a, b) => a + b, 0), 3) }));
    const divided = state.T === 1 ? "x" : `x / ${page.g(state.T)}`;
    readout.update({
      loss: state.loss,
      value: found.value,
      text: L.catalogue.logits[state.loss].formula.replace(/^-alpha_t.*/s, "-(1 - p_y)^gamma log p_y,  p = softmax(x)"),
      workedText: page.worked.logits(state.loss, found.p, state.y, page.valuesOf("logits", state.loss)),
      said: state.T === 1 ? "" : t("logits_temperature", { T: page.shown(state.T) }),
      lines: `x = torch.tensor([[${state.x.map((v) => page.g(v)).join(", ")}]], dtype=torch.float64)\ntarget = torch.tensor([${state.y}])\n`
        + `print(f"{losskit.${state.loss}(${divided}, target${page.argumentsOf("logits", state.loss)}).item():.6g}")`,
    });
    const points = Array.from({ length: 97 }, (_, i) => LOW + ((HIGH - LOW) * i) / 96);
    const along = (name) => points.map((v) => computed(name, state.x.map((w, j) => (j === state.y ? v : w)), state.y, state.T));
    const curves = names.map((name, k) => ({ name, k, found: along(name) }));
    const own = state.x[state.y];
    const line = (pick) => curves.map(({ name, k, found: f }) => ({
      name: page.short(name).replace("generalized_cross_entropy", "generalized").replace("symmetric_cross_entropy", "symmetric").replace("cross_entropy", "cross-entropy"),
      kind: `k${k} ${name === state.loss ? "chosen" : ""}`, points: points.map((v, i) => [v, pick(f[i])]),
    }));
    const k = names.indexOf(state.loss);
    value.draw({ x: [LOW, HIGH], y: [0, 8], lines: line((f) => f.value), rules: [{ x: own }], marks: [{ x: own, y: found.value, kind: `k${k}` }], label: t("logits_value_chart") });
    slope.draw({ x: [LOW, HIGH], y: [-1.6 / Math.min(state.T, 1), 0.2], lines: line((f) => f.by[state.y]), rules: [{ x: own }], marks: [{ x: own, y: found.by[state.y], kind: `k${k}` }], label: t("logits_slope_chart") });
  };
  const stage = h("div", { class: "panel" }, h("p", { class: "note", text: t("logits_hint") }), h("div", { class: "classes", role: "group", "aria-label": t("logits_title") }, ...rows.map((r) => r.node)), status);
  const panel = page.panel("", h("div", { class: "settings" }, temperature.node), settings.node);
  panel.classList.add("near");
  return page.frame("logits", [stage, h("div", { class: "panel" }, value.node, slope.node)], [readout.node, panel, compare.node]);
};
})(globalThis);
