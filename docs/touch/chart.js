// Line charts as SVG, drawn at the width they have: axes with few numbers, lines in colours of the theme, labels at the lines.
(function (root) {
"use strict";

const { page } = root.losskit;
const { s } = page;

function ticks(low, high, count) {
  const raw = (high - low) / count;
  const size = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * size).find((m) => m >= raw);
  const found = [];
  for (let v = Math.ceil(low / step) * step; v <= high + 1e-9 * step; v += step) found.push(Math.abs(v) < 1e-9 * step ? 0 : v);
  return found;
}
page.ticks = ticks;

/** Labels that would lie on one another are moved apart, in their order. */
function apart(labels, gap, low, high) {
  const sorted = labels.slice().sort((a, b) => a.y - b.y);
  for (let i = 0; i < sorted.length; i++) sorted[i].y = Math.max(sorted[i].y, i ? sorted[i - 1].y + gap : low);
  let limit = high;
  for (let i = sorted.length - 1; i >= 0; i--) {
    sorted[i].y = Math.min(sorted[i].y, limit);
    limit = sorted[i].y - gap;
  }
  return sorted;
}

/** About how wide a label is. */
const wide = (text) => Array.from(text).reduce((total, c) => total + (c > "\u2000" ? 12.5 : 7.2), 0);

/** A chart that is drawn again at every size: `label` says what a reader who cannot see it should know. */
page.chart = (id, { height = 220, title = "", xTitle = "", right = 12, left = 46 }) => {
  const svg = s("svg", { id, class: "chart", role: "img", height });
  const node = page.h("figure", { class: "figure" }, title ? page.h("figcaption", { text: title }) : null, svg);
  let last = null;
  let width = 0;

  function draw({ x, y, lines = [], marks = [], rules = [], dots = [], label = "", xTicks = 6, yTicks = 4, square = false }) {
    width = Math.max(Math.round(node.clientWidth) || 320, 200);
    const tall = square ? Math.min(width, 460) : height;
    const across = square ? Math.min(width, 460) : width;
    const room = { left, right: Math.max(right, ...lines.map((line) => (line.name ? wide(line.name) + 12 : 0))), top: 10, bottom: xTitle ? 40 : 24 };
    const sx = (v) => room.left + ((v - x[0]) / (x[1] - x[0])) * (across - room.left - room.right);
    const sy = (v) => tall - room.bottom - ((v - y[0]) / (y[1] - y[0])) * (tall - room.top - room.bottom);
    const back = (px) => x[0] + ((px - room.left) / (across - room.left - room.right)) * (x[1] - x[0]);
    const clip = `${id}_clip`;
    svg.setAttribute("viewBox", `0 0 ${across} ${tall}`);
    svg.setAttribute("height", tall);
    svg.setAttribute("width", across);
    svg.setAttribute("aria-label", label);
    const parts = [s("clipPath", { id: clip }, s("rect", { x: room.left, y: room.top - 4, width: across - room.left - room.right, height: tall - room.top - room.bottom + 8 }))];
    for (const v of ticks(x[0], x[1], Math.min(xTicks, across / 60))) {
      parts.push(s("line", { class: v === 0 ? "zero" : "grid", x1: sx(v), x2: sx(v), y1: room.top, y2: tall - room.bottom }));
      parts.push(s("text", { class: "tick", x: sx(v), y: tall - room.bottom + 16, "text-anchor": "middle", text: page.shown(v, 3) }));
    }
    for (const v of ticks(y[0], y[1], yTicks)) {
      parts.push(s("line", { class: v === 0 ? "zero" : "grid", x1: room.left, x2: across - room.right, y1: sy(v), y2: sy(v) }));
      parts.push(s("text", { class: "tick", x: room.left - 7, y: sy(v) + 4, "text-anchor": "end", text: page.shown(v, 3) }));
    }
    if (xTitle) parts.push(s("text", { class: "axis", x: (room.left + across - room.right) / 2, y: tall - 4, "text-anchor": "middle", text: xTitle }));
    for (const rule of rules) {
      const along = rule.x !== undefined ? { x1: sx(rule.x), x2: sx(rule.x), y1: room.top, y2: tall - room.bottom } : { x1: room.left, x2: across - room.right, y1: sy(rule.y), y2: sy(rule.y) };
      parts.push(s("line", { class: `rule ${rule.kind || ""}`, ...along }));
    }
    const labels = [];
    for (const line of lines) {
      const inside = line.points.filter(([, v]) => Number.isFinite(v));
      if (!inside.length) continue;
      const path = inside.map(([a, b], i) => `${i ? "L" : "M"}${sx(a).toFixed(1)} ${page.clamp(sy(b), -1e4, 1e4).toFixed(1)}`).join("");
      parts.push(s("path", { class: `line ${line.kind}`, d: path, "clip-path": `url(#${clip})` }));
      if (line.name) labels.push({ ...line, y: page.clamp(sy(inside.at(-1)[1]), room.top + 4, tall - room.bottom) + 4 });
    }
    for (const one of apart(labels, 14, room.top + 8, tall - room.bottom + 2)) {
      parts.push(s("text", { class: `tag ${one.kind}`, x: across - room.right + 6, y: one.y, text: one.name }));
    }
    for (const dot of dots) parts.push(s("circle", { class: `dot ${dot.kind || ""}`, cx: sx(dot.x), cy: sy(dot.y), r: dot.r || 4 }));
    for (const mark of marks) parts.push(s("circle", { class: `mark ${mark.kind}`, cx: sx(mark.x), cy: page.clamp(sy(mark.y), room.top, tall - room.bottom), r: 5 }));
    svg.replaceChildren(...parts);
    last = { sx, sy, back, room, across, tall };
    return last;
  }
  return { node, svg, draw, place: () => last };
};

/** Calls `draw` when the width of a node changes. */
page.onResize = (node, draw) => {
  let width = -1;
  new ResizeObserver(() => {
    if (Math.round(node.clientWidth) !== width) {
      width = Math.round(node.clientWidth);
      draw();
    }
  }).observe(node);
};
})(globalThis);
