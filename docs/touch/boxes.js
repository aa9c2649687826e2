// Two boxes to drag: every loss of boxes side by side, its gradient as arrows, and gradient descent step by step.
(function (root) {
"use strict";

const L = root.losskit;
const { page } = L;
const { h, s, t, put } = page;
const [WIDTH, HEIGHT, STEPS, GRID] = [64, 48, 200, 0.5];
const STORY = ["iou_loss", "giou_loss", "diou_loss", "ciou_loss"];
const APART = { p: [6, 6, 18, 16], t: [36, 18, 58, 42] };
const CHAPTERS = [
  { key: "story_iou", loss: "iou_loss", ...APART },
  { key: "story_giou", loss: "giou_loss", ...APART },
  { key: "story_diou", loss: "diou_loss", ...APART },
  { key: "story_ciou", loss: "ciou_loss", p: [27, 4, 37, 44], t: [12, 18, 52, 30] },
  { key: "story_turned", loss: "giou_loss", p: [34, 34, 20, 14], t: [22, 12, 46, 36] },
];
const LOW = [0, 0, 0, 0];
const HIGH = [WIDTH, HEIGHT, WIDTH, HEIGHT];

const view = (page.views.boxes = {
  fields: {
    loss: page.text("ciou_loss", Object.keys(L.catalogue.boxes)),
    p: page.numbers([10, 8, 28, 22], 0, WIDTH, 4),
    t: page.numbers([26, 16, 52, 38], 0, WIDTH, 4),
    n: page.number(0, 0, STEPS),
    rate: page.number(50, 1, 100),
    set: page.settings(),
  },
});
page.order.push("boxes");

const lossOf = (call, p, t) => L.patterns.boxes(call, p, t);

/** Gradient descent from a box. A step that raised the loss cuts the rate by a fifth, or the end would be a dance around the minimum, where losses of boxes have a kink. */
function descent(call, start, target, first) {
  const path = [start];
  let [rate, last] = [first, Infinity];
  for (let k = 0; k < STEPS; k++) {
    const { value, by } = lossOf(call, path[k], target);
    if (value > last) rate *= 0.8;
    last = value;
    path.push(path[k].map((v, i) => v - rate * by[i]));
  }
  return path;
}

view.mount = () => {
  const state = page.state.boxes;
  const names = Object.keys(L.catalogue.boxes);
  let stop = null;

  const svg = s("svg", { class: "board", viewBox: `-1 -1 ${WIDTH + 2} ${HEIGHT + 2}`, role: "group", "aria-label": t("boxes_stage") });
  const parts = {};
  for (const key of ["grid", "enclosing", "line", "target", "ghosts", "box", "arrows", "handles"]) svg.append((parts[key] = s("g", { class: key })));
  for (let x = 0; x <= WIDTH; x += 8) parts.grid.append(s("line", { x1: x, x2: x, y1: 0, y2: HEIGHT }));
  for (let y = 0; y <= HEIGHT; y += 8) parts.grid.append(s("line", { x1: 0, x2: WIDTH, y1: y, y2: y }));
  const status = h("p", { class: "status", role: "status" });

  const now = () => descent(page.callOf("boxes", state.loss).call, state.p, state.t, state.rate)[state.n];

  // ---- handles: two corners and the middle of each box
  const place = { p: () => now(), t: () => state.t };
  const moved = (which, kind, dx, dy, from) => {
    const box = (from || place[which]()).slice();
    const ends = kind === "middle" ? [0, 1, 2, 3] : kind === "first" ? [0, 1] : [2, 3];
    let [mx, my] = [dx, dy];
    if (kind === "middle") { // the box keeps its size at the edge of the board
      mx = page.clamp(mx, -Math.min(box[0], box[2]), WIDTH - Math.max(box[0], box[2]));
      my = page.clamp(my, -Math.min(box[1], box[3]), HEIGHT - Math.max(box[1], box[3]));
    }
    for (const i of ends) box[i] = page.clamp(page.round(box[i] + (i % 2 ? my : mx), GRID), LOW[i], HIGH[i]);
    if (which === "p") state.n = 0;
    state[which] = box;
    halt();
    page.changed();
  };
  const handles = {};
  for (const which of ["t", "p"]) {
    for (const kind of ["middle", "first", "second"]) {
      const target = s("circle", { class: "grip", r: 4 });
      const mark = kind === "middle" ? s("path", { class: "sign", d: "M-1.6 0H1.6M0 -1.6V1.6" }) : s("circle", { class: "sign", r: 1.2 });
      const node = s("g", { class: `handle ${which} ${kind}`, tabindex: 0, role: "button", "aria-roledescription": t("handle"), id: `${which}_${kind}` }, target, mark);
      let [from, first] = [null, null];
      page.drag(node, page.inside(svg), {
        start: (at) => { [from, first] = [place[which](), at]; },
        move: ([x, y]) => moved(which, kind, x - first[0], y - first[1], from),
      });
      page.arrows(node, (dx, dy) => moved(which, kind, dx * GRID, dy * GRID));
      handles[which + kind] = node;
      parts.handles.append(node);
    }
  }

  // ---- numbers to type
  const fields = {};
  const fieldset = (which) => h("fieldset", { class: `corners ${which}` }, h("legend", { text: t(which === "p" ? "prediction" : "target") }),
    ...["x1", "y1", "x2", "y2"].map((name, i) => {
      const field = page.typed(`${which}_${name}`, `${t(which === "p" ? "prediction" : "target")} ${name}`, [0, HIGH[i], GRID], (value) => {
        const box = place[which]().slice();
        box[i] = value;
        if (which === "p") state.n = 0;
        state[which] = box;
        halt();
        page.changed();
      });
      fields[which + i] = field;
      return h("label", {}, h("span", { text: name }), field.node);
    }));

  // ---- descent
  const halt = () => {
    if (stop) stop();
    stop = null;
    put(play, t("play"));
    play.setAttribute("aria-pressed", "false");
  };
  const run = () => {
    if (stop) return halt();
    if (state.n >= STEPS) state.n = 0;
    put(play, t("pause"));
    play.setAttribute("aria-pressed", "true");
    let frame = 0;
    stop = page.playing(() => {
      frame += 1;
      if (frame % 2) return true;
      state.n = Math.min(state.n + 1, STEPS);
      page.changed();
      if (state.n >= STEPS) halt();
      return state.n < STEPS;
    });
  };
  const play = page.button(t("play"), run, { id: "play", class: "strong", "aria-pressed": "false" });
  const step = page.button(t("step"), () => { halt(); state.n = Math.min(state.n + 1, STEPS); page.changed(); }, { id: "step" });
  const back = page.button(t("to_start"), () => { halt(); state.n = 0; page.changed(); }, { id: "back" });
  const scrub = page.slider("n", t("steps"), [0, STEPS, 1], state.n, (v) => { halt(); state.n = v; page.changed(); });
  const rate = page.slider("rate", t("rate"), [1, 100, 1], state.rate, (v) => { state.rate = v; page.changed(); });

  // ---- the story
  const chapters = CHAPTERS.map(({ key, loss, p, t: target }) => page.button(t(key), () => {
    halt();
    Object.assign(state, { loss, p, t: target, n: 0, set: {} });
    settings.forget();
    page.changed();
    if (!page.reduced()) run();
    else { state.n = STEPS; page.changed(); }
  }, { class: "chapter", id: key }));
  const told = h("p", { class: "told" });
  const story = page.panel(t("story"), h("div", { class: "chapters" }, ...chapters), told);

  story.classList.add("near");
  const readout = page.readout("boxes_value");
  const settings = page.settingsOf("boxes", () => page.changed());
  const compare = page.compare("boxes", names, (loss) => { state.loss = loss; page.changed(); }, t("boxes_compare"));
  const chart = page.chart("boxes_chart", { height: 230, xTitle: t("steps") });
  const below = page.panel(t("boxes_chart"), chart.node, h("p", { class: "note", text: t("boxes_chart_note") }));
  const stage = h("div", { class: "panel" }, svg, status, h("div", { class: "buttons" }, play, step, back), h("div", { class: "settings" }, scrub.node, rate.node),
    h("div", { class: "fields" }, fieldset("p"), fieldset("t")));

  view.draw = () => draw({ state, parts, handles, fields, status, scrub, rate, readout, settings, compare, chart, chapters, told, names });
  view.leave = halt;
  page.onResize(chart.node, () => page.changed());
  const settingsPanel = page.panel("", settings.node);
  settingsPanel.classList.add("near");
  view.settingsPanel = settingsPanel;
  return page.frame("boxes", [stage, below], [readout.node, story, settingsPanel, compare.node]);
};

const rect = (box, kind) => s("rect", {
  class: kind, x: Math.min(box[0], box[2]), y: Math.min(box[1], box[3]), width: Math.abs(box[2] - box[0]), height: Math.abs(box[3] - box[1]),
});

/** An arrow at the middle of an edge, the way that descent moves it. Long ones are held, so that small ones can be seen. */
function arrow(x, y, dx, dy) {
  const size = Math.hypot(dx, dy);
  if (size < 1e-7) return null;
  const long = (14 * size) / (size + 0.05);
  const [ux, uy] = [dx / size, dy / size];
  const [ex, ey] = [x + ux * long, y + uy * long];
  const head = Math.min(1.6, 0.6 * long);
  const wing = (side) => `${ex - ux * head + side * uy * head * 0.6} ${ey - uy * head - side * ux * head * 0.6}`;
  return s("g", { class: "arrow" }, s("path", { d: `M${x} ${y}L${ex - ux * head * 0.5} ${ey - uy * head * 0.5}` }), s("path", { class: "head", d: `M${ex} ${ey}L${wing(1)}L${wing(-1)}Z` }));
}

function draw({ state, parts, handles, fields, status, scrub, rate, readout, settings, compare, chart, chapters, told, names }) {
  const { call } = page.callOf("boxes", state.loss);
  const path = descent(call, state.p, state.t, state.rate);
  const box = path[state.n].map((v) => Number(page.g(v, 8))); // as the code beside the number has it
  const found = lossOf(call, box, state.t);
  const m = page.measure(box, state.t);

  parts.enclosing.replaceChildren(rect([...m.axes.map((a) => Math.min(a.a0, a.b0)), ...m.axes.map((a) => Math.max(a.a1, a.b1))], "enclosing"));
  const middle = (which) => m.axes.map((a) => (a[`${which}0`] + a[`${which}1`]) / 2);
  const [[ax, ay], [bx, by]] = [middle("a"), middle("b")];
  parts.line.replaceChildren(s("line", { x1: ax, y1: ay, x2: bx, y2: by }));
  parts.target.replaceChildren(rect(state.t, "target"));
  const ghosts = path.slice(0, state.n).filter((_, k) => k % 20 === 0);
  parts.ghosts.replaceChildren(...ghosts.map((b) => rect(b, "ghost")));
  parts.box.replaceChildren(rect(box, "box"));
  const [cx, cy] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const arrows = [arrow(box[0], cy, -found.by[0], 0), arrow(cx, box[1], 0, -found.by[1]), arrow(box[2], cy, -found.by[2], 0), arrow(cx, box[3], 0, -found.by[3])];
  parts.arrows.replaceChildren(...arrows.filter(Boolean));

  const spots = { middle: (b) => [(b[0] + b[2]) / 2, (b[1] + b[3]) / 2], first: (b) => [b[0], b[1]], second: (b) => [b[2], b[3]] };
  for (const [which, b] of [["p", box], ["t", state.t]]) {
    for (const kind of ["first", "second", "middle"]) {
      const [x, y] = spots[kind](b);
      const node = handles[which + kind];
      node.setAttribute("transform", `translate(${x} ${y})`);
      node.setAttribute("aria-label", t("handle_label", { what: t(`${kind}_of`, { box: t(which === "p" ? "prediction" : "target") }), x: page.g(x, 4), y: page.g(y, 4) }));
    }
    b.forEach((v, i) => fields[which + i].update(page.round(v, 0.001)));
  }

  const largest = Math.max(...found.by.map(Math.abs));
  const blind = largest < 1e-7 && found.value > 1e-6;
  put(status, blind ? t("boxes_blind", { iou: page.shown(m.iou) }) : t("boxes_status", { iou: page.shown(m.iou), largest: page.shown(largest, 3) }));
  status.classList.toggle("warning", blind);

  const values = Object.fromEntries(names.map((name) => [name, lossOf(page.callOf("boxes", name).call, box, state.t).value]));
  compare.update(state.loss, values);
  settings.update(state.loss);
  view.settingsPanel.hidden = settings.node.hidden;
  scrub.update(state.n);
  rate.update(state.rate);
  const price = page.priceOf(state.loss, m);
  const written = (b) => `[${b.map((v) => page.g(v, 8)).join(", ")}]`;
  readout.update({
    loss: state.loss,
    value: found.value,
    text: L.catalogue.boxes[state.loss].formula,
    workedText: page.worked.boxes(state.loss, box, state.t, page.valuesOf("boxes", state.loss)),
    said: price ? t("boxes_price", { price: page.shown(price) }) : "",
    lines: `box = torch.tensor(${written(box)}, dtype=torch.float64)\ntarget = torch.tensor(${written(state.t)}, dtype=torch.float64)\n`
      + `print(f"{losskit.${state.loss}(box, target${page.argumentsOf("boxes", state.loss)}).item():.6g}")`,
  });

  const chapter = CHAPTERS.findIndex((c) => c.loss === state.loss && String(c.p) === String(state.p) && String(c.t) === String(state.t));
  chapters.forEach((button, k) => button.setAttribute("aria-pressed", String(k === chapter)));
  put(told, t(chapter < 0 ? "story_none" : `${CHAPTERS[chapter].key}_told`));

  const shown = [...STORY, ...(STORY.includes(state.loss) ? [] : [state.loss])];
  const lines = shown.map((name, k) => {
    const own = name === state.loss ? path : descent(page.callOf("boxes", name).call, state.p, state.t, state.rate);
    return { name: page.short(name), kind: `k${k} ${name === state.loss ? "chosen" : ""}`, points: own.map((b, i) => [i, page.measure(b, state.t).iou]) };
  });
  const kind = lines[shown.indexOf(state.loss)].kind;
  lines.sort((a, b) => Number(a.kind.includes("chosen")) - Number(b.kind.includes("chosen")));
  const ends = lines.map((line) => `${line.name} ${page.shown(line.points.at(-1)[1], 3)}`).join(", ");
  chart.draw({ x: [0, STEPS], y: [0, 1], lines, rules: [{ x: state.n }], marks: [{ x: state.n, y: m.iou, kind }], label: t("boxes_chart_alt", { ends }) });
}
})(globalThis);
