// Focal loss and calibration: which probability minimises the expected loss where the label is 1 with a given frequency.
(function (root) {
"use strict";

const L = root.losskit;
const { page } = L;
const { h, t, put } = page;

const view = (page.views.calibration = {
  fields: { q: page.number(0.8, 0.01, 0.99), set: page.settings() },
});
page.order.push("calibration");

const slope = (call, x, q) => L.patterns.elementwise(call, [x, q]).by[0];

/** The logit at which the expected loss is least: its slope changes sign there. */
function best(call, q) {
  let [low, high] = [-30, 30];
  for (let k = 0; k < 80; k++) {
    const middle = (low + high) / 2;
    if (slope(call, middle, q) < 0) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

const FREQUENCIES = Array.from({ length: 99 }, (_, i) => (i + 1) / 100);

view.mount = () => {
  const state = page.state.calibration;
  const readout = page.readout("calibration_value");
  const settings = page.settingsOf("calibration", () => page.changed());
  const curve = page.chart("calibration_curve", { title: t("calibration_curve"), xTitle: t("calibration_axis") });
  const expected = page.chart("calibration_expected", { height: 230, title: t("calibration_expected"), xTitle: t("calibration_p") });
  const truth = page.slider("q", t("calibration_q"), [0.01, 0.99, 0.01], state.q, (v) => { state.q = v; page.changed(); }, (v) => page.shown(v, 3));
  const status = h("p", { class: "status", role: "status" });
  const set = ([q]) => { state.q = page.clamp(page.round(q, 0.01), 0.01, 0.99); page.changed(); };
  const where = (event) => {
    const place = curve.place();
    const box = curve.svg.getBoundingClientRect();
    return [place.back(((event.clientX - box.left) / box.width) * place.across)];
  };
  page.drag(curve.svg, where, { start: set, move: set });
  curve.svg.classList.add("draggable");
  page.onResize(curve.node, () => page.changed());

  view.draw = () => {
    const { call } = page.callOf("calibration", "focal_loss");
    const x = Number(page.g(best(call, state.q), 6));
    const p = L.patterns.sigmoid(x);
    const value = L.patterns.elementwise(call, [x, state.q]).value;
    const answers = FREQUENCIES.map((q) => [q, L.patterns.sigmoid(best(call, q))]);
    const error = answers.reduce((total, [q, found]) => total + Math.abs(q - found), 0) / answers.length;
    truth.update(state.q);
    settings.update("focal_loss");
    const values = page.valuesOf("calibration", "focal_loss");
    put(status, t("calibration_status", { q: page.shown(100 * state.q, 3), p: page.shown(100 * p, 3), error: page.shown(100 * error, 3) }));
    status.dataset.p = String(p);
    const places = Array.from({ length: 197 }, (_, i) => 0.01 + (0.98 * i) / 196);
    const along = places.map((v) => [v, L.patterns.elementwise(call, [Math.log(v / (1 - v)), state.q]).value]);
    const entropy = places.map((v) => [v, -state.q * Math.log(v) - (1 - state.q) * Math.log(1 - v)]);
    const top = Math.max(2.2 * Math.max(value, -state.q * Math.log(state.q) - (1 - state.q) * Math.log(1 - state.q)), 0.2);
    const fair = [[0, 0], [1, 1]];
    curve.draw({
      x: [0, 1], y: [0, 1], square: true,
      lines: [{ kind: "k3 dashed", points: fair }, { kind: "k0 chosen", points: answers }],
      rules: [{ x: state.q }, { y: p }], marks: [{ x: state.q, y: p, kind: "k0" }], label: t("calibration_alt", { q: page.shown(state.q, 3), p: page.shown(p, 3) }),
    });
    expected.draw({
      x: [0, 1], y: [0, top],
      lines: [{ name: t("cross_entropy_name"), kind: "k3 dashed", points: entropy }, { name: "focal", kind: "k0 chosen", points: along }],
      rules: [{ x: p }, { x: state.q, kind: "soft" }], marks: [{ x: p, y: value, kind: "k0" }], label: t("calibration_expected"),
    });
    readout.update({
      loss: "focal_loss",
      value,
      text: Number.isFinite(values.alpha) ? "-alpha q (1 - p)^gamma log p - (1 - alpha) (1 - q) p^gamma log(1 - p)" : "-q (1 - p)^gamma log p - (1 - q) p^gamma log(1 - p)",
      workedText: page.worked.calibration(p, state.q, values),
      said: t("calibration_said", { x: page.shown(x, 6) }),
      lines: `x, q = torch.tensor([${page.g(x)}], dtype=torch.float64), torch.tensor([${page.g(state.q)}], dtype=torch.float64)\n`
        + `print(f"{losskit.focal_loss(x, q${page.argumentsOf("calibration", "focal_loss")}).item():.6g}")`,
    });
  };
  const stage = h("div", { class: "panel" }, h("div", { class: "settings" }, truth.node), curve.node, status);
  const chosen = page.panel("", settings.node);
  chosen.classList.add("near");
  return page.frame("calibration", [stage, page.panel(t("calibration_why"), h("p", { text: t("calibration_text") }))], [readout.node, chosen, page.panel("", expected.node)]);
};
})(globalThis);
