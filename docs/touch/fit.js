// A line through points, fitted under any loss of a residual: each loss's own slopes weigh the points, again and again, until the line stands still.
(function (root) {
"use strict";

const L = root.losskit;
const { page } = L;
const { h, s, t, put } = page;
const SIZE = 10; // both axes, from 0
const NEAR = 1e-8; // residuals smaller than this weigh as if they were this large
const CLEAN = [[0.8, 2.1], [1.7, 2.3], [2.4, 3.1], [3.1, 3.0], [4.0, 3.9], [4.8, 4.2], [5.7, 4.4], [6.5, 5.3], [7.3, 5.4], [8.1, 6.2], [9.1, 6.4]];
const OUTLIERS = [[7.9, 0.9], [8.6, 0.6], [9.4, 1.2]];
page.points = { clean: CLEAN.flat(), spoilt: [...CLEAN, ...OUTLIERS].flat() };

/** Weighted least squares of y = a u + b, about the middle of the weights. */
function weighted(points, weights) {
  let [w, u, y] = [0, 0, 0];
  points.forEach(([pu, py], i) => { w += weights[i]; u += weights[i] * pu; y += weights[i] * py; });
  if (!(w > 0)) return null;
  [u, y] = [u / w, y / w];
  let [uu, uy] = [0, 0];
  points.forEach(([pu, py], i) => { uu += weights[i] * (pu - u) ** 2; uy += weights[i] * (pu - u) * (py - y); });
  const a = uu > 0 ? uy / uu : 0;
  return [a, y - a * u];
}

/** The line that a loss settles on from that of least squares: iteratively reweighted, weight = slope / residual. */
page.fitted = ({ call, operands }, points) => {
  let line = weighted(points, points.map(() => 1));
  if (!line) return [0, 0];
  for (let k = 0; k < 300; k++) {
    const weights = points.map(([u, y]) => {
      const found = line[0] * u + line[1] - y;
      const r = Math.abs(found) < NEAR ? (found < 0 ? -NEAR : NEAR) : found;
      const slope = L.patterns.elementwise(call, [y + r, y, ...operands]).by[0];
      return Number.isFinite(slope) ? Math.max(slope / r, 0) : 0;
    });
    const next = weighted(points, weights);
    if (!next) return line;
    const still = Math.abs(next[0] - line[0]) + Math.abs(next[1] - line[1]) < 1e-12;
    line = next;
    if (still) break;
  }
  return line;
};

page.meanLoss = ({ call, operands }, points, [a, b]) =>
  points.reduce((total, [u, y]) => total + L.patterns.elementwise(call, [a * u + b, y, ...operands]).value, 0) / points.length;

const pairs = (flat) => Array.from({ length: flat.length / 2 }, (_, i) => flat.slice(2 * i, 2 * i + 2));

/** The panel: points to drag, to add and to take away, and the lines of the losses. */
page.fitPanel = (state) => {
  const svg = s("svg", { class: "board plot", viewBox: "-0.6 -0.2 11 10.9", role: "group", "aria-label": t("fit_stage") });
  const layers = {};
  for (const key of ["grid", "lines", "points"]) svg.append((layers[key] = s("g", { class: key })));
  const up = (y) => SIZE - y;
  for (let v = 0; v <= SIZE; v += 2) {
    layers.grid.append(s("line", { x1: v, x2: v, y1: 0, y2: SIZE }), s("line", { x1: 0, x2: SIZE, y1: v, y2: v }));
    layers.grid.append(s("text", { x: v, y: 10.45, "text-anchor": "middle", text: String(v) }), s("text", { x: -0.15, y: up(v) + 0.12, "text-anchor": "end", text: String(v) }));
  }
  svg.append(s("clipPath", { id: "fit_clip" }, s("rect", { x: 0, y: 0, width: SIZE, height: SIZE })));
  layers.lines.setAttribute("clip-path", "url(#fit_clip)");
  const set = (points) => { state.points = points.flat(); page.changed(); };
  const move = (i, u, y) => set(pairs(state.points).map((p, k) => (k === i ? [page.clamp(page.round(u, 0.1), 0, SIZE), page.clamp(page.round(y, 0.1), 0, SIZE)] : p)));
  const add = (u, y) => { if (state.points.length < 80) set([...pairs(state.points), [page.round(u, 0.1), page.round(y, 0.1)]]); };
  const remove = (i) => { if (state.points.length > 4) set(pairs(state.points).filter((_, k) => k !== i)); };
  const where = (event) => { const [u, y] = page.inside(svg)(event); return [u, up(y)]; };

  const nodes = [];
  const node = (i) => {
    const point = s("g", { class: "handle point", tabindex: 0, role: "button", "aria-roledescription": t("handle"), id: `point_${i}` }, s("circle", { class: "grip", r: 0.5 }), s("circle", { class: "sign", r: 0.17 }));
    page.drag(point, where, { move: ([u, y]) => move(i, u, y) });
    page.arrows(point, (dx, dy) => { const [u, y] = pairs(state.points)[i]; move(i, u + dx / 10, y - dy / 10); });
    point.addEventListener("keydown", (event) => {
      if (event.key !== "Delete" && event.key !== "Backspace") return;
      event.preventDefault();
      remove(i);
    });
    point.addEventListener("dblclick", () => remove(i));
    return point;
  };
  svg.addEventListener("dblclick", (event) => { if (!event.target.closest(".point")) { const [u, y] = where(event); if (u >= 0 && u <= SIZE && y >= 0 && y <= SIZE) add(u, y); } });

  const answer = h("output", { id: "fit_line", class: "status" });
  const code = page.code(t("code_fit"));
  const buttons = h("div", { class: "buttons" },
    page.button(t("fit_spoilt"), () => set(pairs(page.points.spoilt)), { id: "fit_spoilt" }), page.button(t("fit_clean"), () => set(pairs(page.points.clean)), { id: "fit_clean" }),
    page.button(t("fit_add"), () => add(5, 9), { id: "fit_add" }), page.button(t("fit_remove"), () => remove(state.points.length / 2 - 1), { id: "fit_remove" }));
  const panel = page.panel(t("fit_title"), h("p", { class: "note", text: t("fit_note") }), svg, answer, buttons, code.node);

  const update = (names, kinds) => {
    const points = pairs(state.points);
    const found = names.map((name) => [name, page.fitted(page.callOf("residual", name), points)]);
    const order = found.slice().sort(([a], [b]) => Boolean(kinds[a]) - Boolean(kinds[b]) || (a === state.loss) - (b === state.loss));
    layers.lines.replaceChildren(...order.map(([name, [a, b]]) => s("line", { class: `line ${kinds[name] || "faint"}${name === state.loss ? " chosen" : ""}`, x1: 0, y1: up(b), x2: SIZE, y2: up(a * SIZE + b) })));
    while (nodes.length > points.length) nodes.pop().remove();
    while (nodes.length < points.length) { nodes.push(node(nodes.length)); layers.points.append(nodes.at(-1)); }
    points.forEach(([u, y], i) => {
      nodes[i].setAttribute("transform", `translate(${u} ${up(y)})`);
      nodes[i].setAttribute("aria-label", t("point_label", { k: i + 1, x: page.g(u, 3), y: page.g(y, 3) }));
    });
    const one = page.callOf("residual", state.loss);
    const [a, b] = found.find(([name]) => name === state.loss)[1].map((v) => Number(page.g(v, 6)));
    const mean = page.meanLoss(one, points, [a, b]);
    const answered = Number.isFinite(mean) ? "fit_answer" : "fit_none"; // a line or a point where the loss has no value: a mean below 0
    put(answer, t(answered, { loss: state.loss, a: page.shown(a), b: page.shown(Math.abs(b)), sign: b < 0 ? "−" : "+", mean: page.shown(mean, 5) }));
    answer.dataset.line = JSON.stringify([a, b, mean]);
    const column = (k) => points.map((p) => page.g(p[k])).join(", ");
    code.update(`import torch, losskit\nu = torch.tensor([${column(0)}], dtype=torch.float64)\ny = torch.tensor([${column(1)}], dtype=torch.float64)\n`
      + `print(f"{losskit.${state.loss}(${page.g(a)} * u ${b < 0 ? "-" : "+"} ${page.g(Math.abs(b))}, y${page.argumentsOf("residual", state.loss)}).item():.6g}")`);
  };
  return { node: panel, update };
};
})(globalThis);
