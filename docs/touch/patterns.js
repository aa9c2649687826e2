// The patterns of losskit in double precision: from a call (formula, parameters) and numbers to the loss and its gradients. Written by hand after
// src/losskit/engines/torch; tests/test_javascript.py compares them with that engine over the registry.
(function (root) {
"use strict";

const L = (root.losskit = root.losskit || {});
const BIG = Number.MAX_VALUE;
const formula = (name) => {
  if (!L.formulas[name]) throw new Error(`no formula ${name}`);
  return L.formulas[name];
};
const sum = (xs) => xs.reduce((a, b) => a + b, 0);
const times = (factor, x) => (factor === 0 ? 0 : factor * x);

/** One element: its operands (input, target, ...), and what multiplies it; 0 means absent. */
function elementwise(call, operands, factor = 1) {
  if (factor === 0) return { value: 0, by: operands.map(() => 0) };
  const [value, ...by] = formula(call.formula)(...operands, ...call.params);
  return { value: value * factor, by: by.map((b) => b * factor) };
}

function linked(call, x, label = -1) {
  const t = call.temperature || 1;
  const found = call.link ? x.map((v) => formula(call.link)(v, call.linkParameter)) : x.map((v) => [v, 1]);
  if (call.margin && label >= 0) {
    const [own, slope] = formula(call.margin)(found[label][0], ...call.params);
    found[label] = [own, slope * found[label][1]];
  }
  const scores = found.map(([s]) => Math.min(s, BIG));
  const largest = Math.max(...scores);
  const falls = scores.map((s) => (0.5 * largest - 0.5 * s) / (0.5 * t)); // divided after the subtraction; of halves, whose difference does not overflow
  return { largest, scores, falls, m: t === 1 ? largest : Math.min(largest / t, BIG), bends: found.map(([, bend]) => bend / t) };
}

/** A row of class scores and a label. */
function rows(call, x, label) {
  const shares = call.shares || x.map(() => 0);
  const weight = call.weight || x.map(() => 1);
  const total = sum(shares);
  const { largest, scores, falls, m, bends } = linked(call, x, label);
  const e = falls.map((v) => Math.exp(-v));
  const others = sum(e.filter((_, j) => j !== label));
  const d = largest === BIG && scores[label] < BIG ? Infinity : falls[label];
  const z = others + Math.exp(-d);
  const hit = Math.exp(-d) / z;
  const miss = others / z;
  const level = Math.log1p(others + Math.expm1(-d)); // exactly `others` where the label has the largest score
  const spread = sum(falls.map((v, j) => (shares[j] === 0 ? 0 : shares[j] * v))) + total * level;
  const far = weight[label] === 0 ? 0 : d + level;
  const [value, byNll, bySpread, byLse] = formula(call.formula)(far, hit, miss, spread, m + level, weight[label], ...call.params);
  const common = total * bySpread + byLse;
  const by = x.map((_, j) =>
    bends[j] * (j === label ? common * hit - byNll * miss - shares[j] * bySpread : (byNll + common) * (e[j] / z) - shares[j] * bySpread));
  return { value, by, lse: m + level, p: e.map((v) => v / z) };
}

function mass(target, classes, kind) {
  const all = Array.from({ length: classes }, (_, j) => j);
  if (kind === "label") return all.map((j) => (j === target ? 1 : 0));
  if (kind === "none") return all.map(() => 0);
  if (kind !== "position") return target;
  const y = Math.min(Math.max(target, 0), classes - 1);
  return all.map((j) => Math.max(Math.min(y - (j - 1), 1 - (y - j)), 0));
}

/** A row of class scores and a distribution: as numbers, a label, a position between classes, or nothing. */
function distributions(call, given, target) {
  const t = mass(target, given.length, call.kind);
  const weight = call.weight || given.map(() => 1);
  const base = Math.min(Math.max(...given), BIG);
  const x = call.shift ? given.map((v) => v - base) : given;
  const { largest, scores, falls, m, bends } = linked(call, x);
  const place = scores.indexOf(largest);
  const e = falls.map((v) => Math.exp(-v));
  const others = sum(e.filter((_, j) => j !== place));
  const z = others + 1;
  const level = Math.log1p(others);
  const p = e.map((v) => v / z);
  const lse = m + level;
  const found = falls.map((v, j) =>
    formula(call.formula)(-v - level, p[j], j === place ? others / z : 1 - p[j], t[j], weight[j], ...call.params));
  const byLog = found.map(([, b]) => b);
  const rest = sum(byLog.filter((_, j) => j !== place));
  const whole = rest + byLog[place];
  let value = sum(found.map(([v]) => v));
  let by = p.map((v, j) => (j === place ? byLog[j] * (others / z) - v * rest : byLog[j] - v * whole));
  let byTarget = found.map(([, , b]) => b);
  if (call.square) {
    const weighted = call.square * sum(t.map((v, j) => v * weight[j])) * lse;
    by = by.map((b, j) => b + 2 * weighted * p[j]);
    byTarget = byTarget.map((b, j) => b + call.square * weight[j] * lse * lse);
    value += weighted * lse;
  }
  return { value, by: by.map((b, j) => b * bends[j]), byTarget, lse, p };
}

/** Two boxes, four numbers each, in the form that the call names. */
function boxes(call, input, target) {
  const n = input.length / 2;
  const corners = (box) => {
    if (call.form === "xyxy") return box;
    const low = box.slice(0, n).map((v, i) => (call.form === "cxcywh" ? v - 0.5 * box[n + i] : v));
    return [...low, ...low.map((v, i) => v + box[n + i])];
  };
  const back = (g) => {
    if (call.form === "xyxy") return g;
    const [low, high] = [g.slice(0, n), g.slice(n)];
    return [...low.map((v, i) => v + high[i]), ...high.map((v, i) => (call.form === "xywh" ? v : 0.5 * (v - low[i])))];
  };
  const [value, ...by] = formula(call.formula)(...corners(input), ...corners(target), ...call.params);
  return { value, by: back(by.slice(0, 2 * n)), byTarget: back(by.slice(2 * n)) };
}

// ---- sums of overlap: samples are {x, t}, x a list of classes with a list of items each, t likewise or a label for each item

const SUMS = ["intersection", "prediction", "target", "predictionSquared", "targetSquared", "count", "extra"];

function sigmoid(x) {
  const e = Math.exp(-Math.abs(x));
  return x > 0 ? 1 / (1 + e) : e / (1 + e);
}

function probabilities(link, x) {
  if (link === "identity") return x.map((row) => row.map((v) => Math.min(Math.max(v, 0), 1)));
  if (link === "sigmoid") return x.map((row) => row.map(sigmoid));
  const p = x.map((row) => row.slice());
  for (let i = 0; i < x[0].length; i++) {
    const s = x.map((row) => Math.min(row[i], BIG));
    const m = Math.max(...s);
    const e = s.map((v) => Math.exp(v - m));
    const z = sum(e);
    e.forEach((v, c) => { p[c][i] = v / z; });
  }
  return p;
}

/** Probabilities, targets, the second loss and its gradient, and the sums of each class, of one sample. */
function summed(call, { x, t }) {
  const labelled = call.kind === "label";
  const p = probabilities(call.link, x);
  const target = labelled ? x.map((_, c) => t.map((label) => (label === c ? 1 : 0))) : t;
  const extra = x.map(() => 0);
  const byExtra = x.map((row) => row.map(() => 0));
  if (call.formula && labelled) {
    t.forEach((label, i) => {
      const found = rows({ formula: call.formula, params: call.params }, x.map((row) => row[i]), label);
      extra[label] += found.value;
      found.by.forEach((b, c) => { byExtra[c][i] = { label, b }; });
    });
  } else if (call.formula) {
    x.forEach((row, c) => row.forEach((v, i) => {
      const found = elementwise(call, [v, target[c][i]]);
      extra[c] += found.value;
      byExtra[c][i] = { label: c, b: found.by[0], byTarget: found.by[1] };
    }));
  }
  const cells = p.map((row, c) => ({
    intersection: sum(row.map((v, i) => v * target[c][i])),
    prediction: sum(row),
    target: sum(target[c]),
    predictionSquared: call.squared ? sum(row.map((v) => v * v)) : 0,
    targetSquared: call.squared ? sum(target[c].map((v) => v * v)) : 0,
    count: row.length,
    extra: extra[c],
  }));
  return { p, target, byExtra, cells };
}

const inverse = (x) => (x !== 0 ? 1 / x : 0);
const add = (cells, weight) => Object.fromEntries(SUMS.map((name) => [name, sum(cells.map((c, j) => c[name] * (weight ? weight[j] : 1)))]));

function classWeight(how, cells) {
  const given = how.weight ? (how.background ? how.weight : how.weight.slice(1)) : null;
  if (!how.volume || how.volume === "uniform") return given;
  const rare = cells.map((c) => inverse(how.volume === "square" ? c.target * c.target : c.target));
  const rarest = Math.max(...rare);
  return cells.map((c, j) => (c.target > 0 ? rare[j] : rarest > 0 ? rarest : 1) * (given ? given[j] : 1));
}

/** From the sums of each sample and class to the loss and its derivatives by the sums. */
function scored(how, all) {
  let cells = all.map((row) => (how.background ? row : row.slice(1)));
  if (how.over === "batch") cells = [cells[0].map((_, c) => add(cells.map((row) => row[c])))];
  const micro = how.average === "micro" || Boolean(how.volume);
  const weights = cells.map((row) => classWeight(how, row));
  if (micro) cells = cells.map((row, n) => [add(row, weights[n])]);
  const [P, T] = how.squared ? ["predictionSquared", "targetSquared"] : ["prediction", "target"];
  const found = cells.map((row) => row.map((cell) => {
    let [loss, byI, byP, byT] = formula(how.formula)(cell.intersection, cell[P], cell[T], cell.count, ...how.params);
    if (cell[T] === 0 && (how.empty === "zero" || how.empty === "mass")) {
      const each = how.empty === "mass" ? inverse(cell.count) : 0;
      [loss, byI, byP, byT] = [cell[P] * each, 0, each, 0];
    }
    const counts = cell.count !== 0 && !(how.empty === "skip" && cell[T] === 0);
    return { loss: how.score ? 1 - loss : loss, by: [byI, byP, byT].map((b) => (how.score ? -b : b)), kept: counts ? (how.average === "weighted" ? cell[T] : 1) : 0 };
  }));
  found.forEach((row, n) => {
    if (!micro && weights[n]) row.forEach((f, c) => { f.kept *= weights[n][c]; });
    const whole = sum(row.map((f) => f.kept));
    if (how.average === "nested") row.forEach((f) => { f.kept *= inverse(whole); });
  });
  const flat = found.flat();
  const scale = inverse(sum(flat.map((f) => f.kept)));
  let value = scale * sum(flat.map((f) => (f.kept !== 0 ? f.kept * f.loss : 0)));
  let overlapShare = 1;
  let byExtra = () => 0;
  if (how.extra) {
    const own = how.extra.weight;
    const each = (name) => sum(all.map((row) => sum(row.map((cell, c) => times(own && name !== "count" ? own[c] : 1, cell[name])))));
    const bottom = !how.labelled ? each("count") : own && how.extra.byWeight ? each("target") : sum(all.map((row) => row[0].count));
    value = how.extra.overlapShare * value + how.extra.share * each("extra") * inverse(bottom);
    overlapShare = how.extra.overlapShare;
    byExtra = (c) => how.extra.share * inverse(bottom) * (own ? own[c] : 1);
  }
  const bySums = all.map((row, n) => row.map((_, c) => {
    const place = how.background ? c : c - 1;
    const group = how.over === "batch" ? 0 : n;
    if (place < 0) return { intersection: 0, prediction: 0, target: 0, extra: byExtra(c) };
    const one = found[group][micro ? 0 : place];
    const share = one.kept * scale * overlapShare * (micro && weights[group] ? weights[group][place] : 1);
    return { intersection: share * one.by[0], prediction: share * one.by[1], target: share * one.by[2], extra: byExtra(c) };
  }));
  return { value, bySums, losses: found.map((row) => row.map((f) => f.loss)) };
}

/** A loss of overlap and its gradients by every number, sample by sample. */
function overlap(call, samples) {
  const all = samples.map((sample) => summed(call, sample));
  const { value, bySums, losses } = scored(call.how, all.map((s) => s.cells));
  const by = all.map(({ p, target, byExtra }, n) => {
    const q = p.map((row, c) => row.map((v, i) =>
      bySums[n][c].intersection * target[c][i] + bySums[n][c].prediction * (call.squared ? 2 * v : 1)));
    return p.map((row, c) => row.map((v, i) => {
      const extra = byExtra[c][i] ? bySums[n][byExtra[c][i].label].extra * byExtra[c][i].b : 0;
      if (call.link === "identity") return q[c][i] + extra;
      if (call.link === "sigmoid") return q[c][i] * v * sigmoid(-samples[n].x[c][i]) + extra;
      // relative to the q of the largest class, so that a sure item keeps its digits
      const top = p.reduce((best, other, k) => (other[i] > p[best][i] ? k : best), 0);
      const mean = sum(p.map((other, k) => other[i] * (q[k][i] - q[top][i])));
      return v * (q[c][i] - q[top][i] - mean) + extra;
    }));
  });
  const byTarget = call.kind === "label" ? null : all.map(({ p, target, byExtra }, n) => p.map((row, c) => row.map((v, i) =>
    bySums[n][c].intersection * v + bySums[n][c].target * (call.squared ? 2 * target[c][i] : 1)
      + (byExtra[c][i] ? bySums[n][c].extra * byExtra[c][i].byTarget : 0))));
  return { value, by, byTarget, sums: all.map((s) => s.cells), losses, p: all.map((s) => s.p) };
}

/** Signed distances of a picture's positions to the boundary of what is inside, as losskit.distance_map has them: 0 where there is no boundary. */
function distance(inside, columns) {
  const away = (i, wanted) => {
    let best = Infinity;
    inside.forEach((own, j) => {
      if (Boolean(own) === wanted) best = Math.min(best, Math.hypot((i % columns) - (j % columns), Math.floor(i / columns) - Math.floor(j / columns)));
    });
    return best;
  };
  const count = sum(inside.map((v) => (v ? 1 : 0)));
  if (count === 0 || count === inside.length) return inside.map(() => 0);
  return inside.map((own, i) => (own ? 1 - away(i, false) : away(i, true)));
}

L.patterns = { elementwise, rows, distributions, boxes, overlap, distance, sigmoid };
})(globalThis);
