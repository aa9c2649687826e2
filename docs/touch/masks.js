// Two masks to paint: what the losses of segmentation say of them, and which pixels they want to change.
(function (root) {
"use strict";

const L = root.losskit;
const { page } = L;
const { h, s, t, put } = page;
const [COLUMNS, ROWS] = [12, 8];
const COUNT = COLUMNS * ROWS;
const MIDDLE = 4.5; // a level from 0 to 9 is the logit level - 4.5

const lines = (text) => text.trim().split(/\s+/).join("");
const ORGAN = lines(`000000000000 000011100000 000111110000 000111110000 000111110000 000011100000 000000000000 000000000000`);
const FOUND = lines(`000000000000 000000012100 000001378820 000002799830 000002799830 000001378820 000000012100 000000000000`);
const SMALL = lines(`000000000000 000000000000 000000000000 000011000000 000011000000 000000000000 000000000000 000000000000`);
const MISSED = lines(`000000000000 000000000000 000000000000 000031000000 000021000000 000000000000 000000001110 000000002220`);
const NOTHING = "0".repeat(COUNT);
const ALARM = lines(`000000000000 000000000000 000000000000 000000000000 000000007700 000000007700 000000000000 000000000000`);
const PRESETS = { preset_shifted: [ORGAN, FOUND], preset_small: [SMALL, MISSED], preset_empty: [NOTHING, ALARM], preset_right: [ORGAN, ORGAN.replaceAll("1", "9")], preset_clear: [NOTHING, NOTHING] };

const painted = (first, digits) => ({ first, write: (v) => v, read: (v) => (new RegExp(`^[${digits}]{${COUNT}}$`).test(v) ? v : first) });
const view = (page.views.masks = {
  shared: ["smooth", "empty", "power"],
  fields: {
    loss: page.text("dice_loss", Object.keys(L.catalogue.masks)),
    t: painted(ORGAN, "01"),
    p: painted(FOUND, "0-9"),
    brush: page.number(9, 0, 9),
    set: page.settings(),
  },
});
page.order.push("masks");

const logits = (levels) => Array.from(levels, (c) => Number(c) - MIDDLE);
const said = (level) => page.shown(L.patterns.sigmoid(level - MIDDLE), 2);

/** Value, gradient by every logit, and what the formula with its numbers is made of. */
function computed(loss, x, target) {
  const { call } = page.callOf("masks", loss);
  if (call.pattern === "overlap") {
    const found = L.patterns.overlap(call, [{ x: [x], t: [target] }]);
    const [cell] = found.sums[0];
    const squared = call.squared;
    const m = {
      I: cell.intersection, P: squared ? cell.predictionSquared : cell.prediction, T: squared ? cell.targetSquared : cell.target,
      count: COUNT, second: cell.extra,
    };
    return { value: found.value, by: found.by[0][0], m };
  }
  const beside = loss === "boundary_loss" ? L.patterns.distance(target, COLUMNS) : target;
  const each = x.map((v, i) => L.patterns.elementwise(call, [v, beside[i]]));
  const total = each.reduce((a, f) => a + f.value, 0);
  return { value: total / COUNT, by: each.map((f) => f.by[0] / COUNT), m: { total, count: COUNT } };
}

/** A board of pixels to paint with mouse, finger or keys. `level` is what the brush gives, `shade` how a pixel looks. */
function board(id, title, { read, paint, shade, words }) {
  const svg = s("svg", { class: "pixels", viewBox: `0 0 ${COLUMNS} ${ROWS}`, id, tabindex: paint ? 0 : null, role: paint ? "application" : "img", "aria-label": title, "aria-roledescription": paint ? t("board") : null });
  const cells = Array.from({ length: COUNT }, (_, i) => s("rect", { x: i % COLUMNS, y: Math.floor(i / COLUMNS), width: 1, height: 1 }));
  const signs = Array.from({ length: COUNT }, (_, i) => s("text", { x: (i % COLUMNS) + 0.5, y: Math.floor(i / COLUMNS) + 0.67, "text-anchor": "middle" }));
  const cursor = s("rect", { class: "cursor", width: 1, height: 1 });
  svg.append(...cells, ...signs, ...(paint ? [cursor] : []));
  const live = h("p", { class: "away", "aria-live": "polite" });
  let at = 4 * COLUMNS + 6;
  const put_ = (i, level) => { const all = read(); if (all[i] !== level) paint(all.slice(0, i) + level + all.slice(i + 1)); };
  const tell = () => put(live, t("pixel", { row: Math.floor(at / COLUMNS) + 1, column: (at % COLUMNS) + 1, value: words(read()[at]) }));
  if (paint) {
    let level = "";
    const under = ([x, y]) => page.clamp(Math.floor(y), 0, ROWS - 1) * COLUMNS + page.clamp(Math.floor(x), 0, COLUMNS - 1);
    page.drag(svg, page.inside(svg), {
      start: (where) => { at = under(where); level = paint.level(read()[at]); put_(at, level); draw(); },
      move: (where) => { at = under(where); put_(at, level); draw(); },
    });
    page.arrows(svg, (dx, dy) => {
      const [x, y] = [(at % COLUMNS) + Math.sign(dx), Math.floor(at / COLUMNS) + Math.sign(dy)];
      at = page.clamp(y, 0, ROWS - 1) * COLUMNS + page.clamp(x, 0, COLUMNS - 1);
      draw();
      tell();
    });
    svg.addEventListener("keydown", (event) => {
      const digit = /^[0-9]$/.test(event.key) ? paint.digit(event.key) : null;
      if (event.key !== " " && event.key !== "Enter" && digit === null) return;
      event.preventDefault();
      put_(at, digit === null ? paint.level(read()[at]) : digit);
      draw();
      tell();
    });
    svg.addEventListener("focus", tell);
  }
  const draw = () => {
    cells.forEach((cell, i) => shade(cell, signs[i], i));
    cursor.setAttribute("x", at % COLUMNS);
    cursor.setAttribute("y", Math.floor(at / COLUMNS));
  };
  return { node: h("figure", { class: "figure" }, h("figcaption", { text: title }), svg, live), svg, draw };
}

view.mount = () => {
  const state = page.state.masks;
  const names = Object.keys(L.catalogue.masks);
  let found = null;
  const set = (key) => (value) => { state[key] = value; page.changed(); };
  const paintTarget = Object.assign(set("t"), { level: (now) => (now === "1" ? "0" : "1"), digit: (d) => (d === "0" ? "0" : "1") });
  const paintPrediction = Object.assign(set("p"), { level: (now) => (now === String(state.brush) ? "0" : String(state.brush)), digit: (d) => d });
  const target = board("target", t("masks_target"), {
    read: () => state.t,
    paint: paintTarget,
    words: (v) => t(v === "1" ? "inside" : "outside"),
    shade: (cell, _, i) => cell.setAttribute("class", state.t[i] === "1" ? "inside" : "outside"),
  });
  const prediction = board("prediction", t("masks_prediction"), {
    read: () => state.p,
    paint: paintPrediction,
    words: (v) => `p = ${said(Number(v))}`,
    shade: (cell, _, i) => {
      cell.setAttribute("class", `found${state.t[i] === "1" ? " wanted" : ""}`);
      cell.setAttribute("fill-opacity", L.patterns.sigmoid(Number(state.p[i]) - MIDDLE).toFixed(3));
    },
  });
  const pull = board("pull", t("masks_pull"), {
    read: () => state.p,
    shade: (cell, sign, i) => {
      const top = Math.max(...found.by.map(Math.abs));
      const share = top > 1e-12 ? -found.by[i] / top : 0;
      cell.setAttribute("class", share > 0 ? "more" : "less");
      cell.setAttribute("fill-opacity", Math.abs(share).toFixed(3));
      put(sign, Math.abs(share) < 0.04 ? "" : share > 0 ? "+" : "−");
    },
  });
  const status = h("p", { class: "status", role: "status" });
  const brush = page.slider("brush", t("brush"), [0, 9, 1], state.brush, set("brush"), (v) => `p = ${said(v)}`);
  const presets = Object.entries(PRESETS).map(([key, [a, b]]) => page.button(t(key), () => { Object.assign(state, { t: a, p: b }); page.changed(); }, { id: key }));
  const readout = page.readout("masks_value");
  const settings = page.settingsOf("masks", () => page.changed());
  const settingsPanel = page.panel("", settings.node);
  settingsPanel.classList.add("near");
  const compare = page.compare("masks", names, (loss) => { state.loss = loss; settings.forget(); page.changed(); }, t("masks_compare"));

  view.draw = () => {
    const [x, goal] = [logits(state.p), Array.from(state.t, Number)];
    found = computed(state.loss, x, goal);
    for (const one of [target, prediction, pull]) one.draw();
    brush.update(state.brush);
    compare.update(state.loss, Object.fromEntries(names.map((name) => [name, computed(name, x, goal).value])));
    settings.update(state.loss);
    settingsPanel.hidden = settings.node.hidden;
    const p = x.map(L.patterns.sigmoid);
    const sums = { I: p.reduce((a, v, i) => a + v * goal[i], 0), P: p.reduce((a, v) => a + v, 0), T: goal.reduce((a, v) => a + v, 0) };
    const largest = Math.max(...found.by.map(Math.abs));
    put(status, t("masks_status", { I: page.shown(sums.I), P: page.shown(sums.P), T: page.shown(sums.T), n: COUNT, largest: page.shown(largest, 3) }));
    const cut = (text) => text.match(new RegExp(`.{${COLUMNS}}`, "g")).join(" ");
    readout.update({
      loss: state.loss,
      value: found.value,
      text: L.catalogue.masks[state.loss].formula,
      workedText: page.worked.masks(state.loss, found.m, page.valuesOf("masks", state.loss)),
      said: sums.T === 0 && L.catalogue.masks[state.loss].settings.some((one) => one.name === "empty") ? t("masks_empty") : "",
      lines: `p = "${cut(state.p)}".split()\nt = "${cut(state.t)}".split()\n`
        + "x = torch.tensor([[[int(c) - 4.5 for c in row] for row in p]], dtype=torch.float64)\n"
        + "target = torch.tensor([[[int(c) for c in row] for row in t]])\n"
        + `print(f"{losskit.${state.loss}(x, target${page.argumentsOf("masks", state.loss)}).item():.6g}")`,
    });
  };
  const stage = h("div", { class: "panel" }, h("div", { class: "boards" }, target.node, prediction.node, pull.node,
    h("div", { class: "painting" }, h("div", { class: "settings" }, brush.node), h("div", { class: "buttons" }, ...presets), h("p", { class: "note", text: t("masks_keys") }))), status);
  return page.frame("masks", [stage, settingsPanel], [readout.node, compare.node]);
};
})(globalThis);
