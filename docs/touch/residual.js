// One residual under every loss of regression: what it costs, how hard it pulls, how much it weighs in a fit.
(function (root) {
"use strict";

const L = root.losskit;
const { page } = L;
const { h, t, put } = page;
const [TARGET, LOW, HIGH] = [4, 0.1, 8]; // a prediction that may be a mean is above 0
const KINDS = 4; // losses drawn together, the chosen one included

const view = (page.views.residual = {
  fields: {
    loss: page.text("huber_loss", Object.keys(L.catalogue.residual)),
    x: page.number(5.5, LOW, HIGH),
    pins: page.words(["mse_loss", "l1_loss", "geman_mcclure_loss"]),
    points: page.numbers(page.points.spoilt, 0, 10),
    set: page.settings(),
  },
});
page.order.push("residual");

const at = ({ call, operands }, x) => L.patterns.elementwise(call, [x, TARGET, ...operands]);

view.mount = () => {
  const state = page.state.residual;
  const names = Object.keys(L.catalogue.residual);
  state.pins = state.pins.filter((name) => names.includes(name));
  if (state.points.length % 2) state.points = page.points.spoilt;
  const readout = page.readout("residual_value");
  const settings = page.settingsOf("residual", () => page.changed());
  const settingsPanel = page.panel("", settings.node);
  settingsPanel.classList.add("near");
  const prediction = page.slider("x", t("residual_x"), [LOW, HIGH, 0.1], state.x, (v) => { state.x = v; page.changed(); });
  const charts = ["value", "slope", "weight"].map((key) => page.chart(`chart_${key}`, { height: 190, title: t(`residual_${key}_chart`), xTitle: key === "weight" ? t("residual_axis") : "" }));
  for (const chart of charts) {
    const where = (event) => {
      const place = chart.place();
      const box = chart.svg.getBoundingClientRect();
      return [place.back(((event.clientX - box.left) / box.width) * place.across)];
    };
    const set = ([r]) => { state.x = page.clamp(page.round(TARGET + r, 0.1), LOW, HIGH); page.changed(); };
    page.drag(chart.svg, where, { start: set, move: set });
    chart.svg.classList.add("draggable");
  }
  page.onResize(charts[0].node, () => page.changed());

  // ---- the table of all losses: choose one, pin a few
  const rows = new Map();
  const rowOf = (name) => {
    const radio = h("input", { type: "radio", name: "residual_loss", value: name, "aria-label": name, onchange: () => { state.loss = name; page.changed(); } });
    const pin = h("input", { type: "checkbox", "aria-label": t("pin", { name }), onchange: () => {
      const others = state.pins.filter((n) => n !== name);
      state.pins = pin.checked ? [...others.slice(-(KINDS - 2)), name] : others;
      page.changed();
    } });
    const cells = [h("td", { class: "value" }), h("td", { class: "value" }), h("td", { class: "value" })];
    const row = h("tr", {}, h("th", { scope: "row" }, h("label", {}, radio, h("span", { class: "swatch", "aria-hidden": "true" }), h("span", { text: page.short(name).replaceAll("_", "_\u200b") }))), ...cells, h("td", {}, pin));
    rows.set(name, { row, radio, pin, cells });
    return row;
  };
  const head = h("tr", {}, ...["residual_loss", "residual_value", "residual_slope", "residual_weight", "residual_pin"].map((key) => h("th", { scope: "col", text: t(key) })));
  const table = page.panel(t("residual_compare"), h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": t("residual_compare") }, h("table", { class: "losses" }, h("thead", {}, head), h("tbody", {}, ...names.map(rowOf)))));
  table.classList.add("losses-panel");
  const fit = page.fitPanel(state);

  view.draw = () => {
    const r = Number((state.x - TARGET).toFixed(6));
    const drawn = [...state.pins.filter((name) => name !== state.loss).slice(-(KINDS - 1)), state.loss];
    const kinds = Object.fromEntries(drawn.map((name, k) => [name, name === state.loss ? "k0" : `k${k + 1}`]));
    for (const [name, { row, radio, pin, cells }] of rows) {
      const found = at(page.callOf("residual", name), state.x);
      radio.checked = name === state.loss;
      pin.checked = state.pins.includes(name) || name === state.loss;
      pin.disabled = name === state.loss;
      row.className = `${kinds[name] || ""} ${name === state.loss ? "chosen" : ""}`;
      put(cells[0], page.shown(found.value, 3));
      put(cells[1], page.shown(found.by[0], 3));
      put(cells[2], r === 0 ? "–" : page.shown(found.by[0] / r, 3));
    }
    prediction.update(state.x);
    settings.update(state.loss);
    settingsPanel.hidden = settings.node.hidden;
    const one = at(page.callOf("residual", state.loss), state.x);
    const span = Array.from({ length: 161 }, (_, i) => -4 + i / 20);
    const curves = drawn.map((name) => {
      const call = page.callOf("residual", name);
      return { name, found: span.map((v) => at(call, TARGET + v)) };
    });
    const line = (pick) => curves.map(({ name, found }) => ({ name: page.short(name), kind: `${kinds[name]} ${name === state.loss ? "chosen" : ""}`, points: span.map((v, i) => [v, pick(found[i], v)]) }));
    const mark = (y) => [{ x: r, y, kind: "k0" }];
    const title = (key) => `${t(`residual_${key}_chart`)}: ${drawn.map(page.short).join(", ")}`;
    charts[0].draw({ x: [-4, 4], y: [-0.5, 5], lines: line((f) => f.value), rules: [{ x: r }], marks: mark(one.value), label: title("value") });
    charts[1].draw({ x: [-4, 4], y: [-3, 3], lines: line((f) => f.by[0]), rules: [{ x: r }], marks: mark(one.by[0]), label: title("slope") });
    charts[2].draw({ x: [-4, 4], y: [0, 2.4], lines: line((f, v) => (Math.abs(v) < 1e-9 ? NaN : f.by[0] / v)), rules: [{ x: r }], marks: r === 0 ? [] : mark(one.by[0] / r), label: title("weight") });
    readout.update({
      loss: state.loss,
      value: one.value,
      text: L.catalogue.residual[state.loss].formula,
      workedText: page.worked.residual(state.loss, state.x, TARGET, page.valuesOf("residual", state.loss)),
      said: t("residual_said", { r: page.shown(r), slope: page.shown(one.by[0], 4) }),
      lines: `x, target = torch.tensor([${page.g(state.x)}], dtype=torch.float64), torch.tensor([${TARGET}.0], dtype=torch.float64)\n`
        + `print(f"{losskit.${state.loss}(x, target${page.argumentsOf("residual", state.loss)}).item():.6g}")`,
    });
    fit.update(names, kinds);
  };
  const stage = h("div", { class: "panel" }, h("div", { class: "settings" }, prediction.node), ...charts.map((c) => c.node));
  return page.frame("residual", [stage, fit.node], [readout.node, settingsPanel, table]);
};
})(globalThis);
