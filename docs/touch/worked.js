// Formulas with the numbers put in, as one would do them on paper: the textbook, not the formulas of the library, so that the two can be compared.
// A test works each text out in Python and compares it with the loss.
(function (root) {
"use strict";

const { page } = root.losskit;
const n = (v) => (Math.abs(v) < 1e-14 ? "0" : v < 0 ? `(${page.g(v, 6)})` : page.g(v, 6));

// ---- two boxes

/** What the textbook measures of two boxes: areas, enclosing box, centres, sizes; a predicted box out of order counts as its middle, at a price. */
page.measure = (p, t) => {
  const axes = [0, 1].map((i) => {
    const turned = p[i] > p[i + 2];
    const middle = (p[i] + p[i + 2]) / 2;
    const [a0, a1] = turned ? [middle, middle] : [p[i], p[i + 2]];
    const [b0, b1] = [Math.min(t[i], t[i + 2]), Math.max(t[i], t[i + 2])];
    const wrong = turned ? p[i] - p[i + 2] : 0;
    return {
      a0, a1, b0, b1, wrong,
      price: wrong ? wrong / (wrong + b1 - b0) : 0,
      both: Math.max(Math.min(a1, b1) - Math.max(a0, b0), 0),
      extent: Math.max(a1, b1) - Math.min(a0, b0),
      size: a1 - a0, wanted: b1 - b0,
      offset: (a0 + a1 - b0 - b1) / 2,
    };
  });
  const [x, y] = axes;
  const I = x.both * y.both;
  const U = x.size * y.size + x.wanted * y.wanted - I;
  const same = axes.every((a) => a.a0 === a.b0 && a.a1 === a.b1);
  return {
    axes, I, U, iou: U > 0 ? I / U : same ? 1 : 0,
    C: x.extent * y.extent,
    d2: x.offset ** 2 + y.offset ** 2,
    c2: x.extent ** 2 + y.extent ** 2,
    price: x.price + y.price,
  };
};

const iouOf = (m) => (m.U > 0 ? `${n(m.I)} / ${n(m.U)}` : n(m.iou));
const share = (a, b) => (b > 0 ? `${n(a)} / ${n(b)}` : "0");

function scaled(p, t, ratio) {
  const of = (box) => [0, 1, 2, 3].map((k) => {
    const [low, high] = [box[k % 2], box[(k % 2) + 2]];
    return (low + high) / 2 + ((k < 2 ? -1 : 1) * ratio * (high - low)) / 2;
  });
  const m = page.measure(p, t);
  const [x, y] = m.axes;
  return page.measure(of([x.a0, y.a0, x.a1, y.a1]), of([x.b0, y.b0, x.b1, y.b1]));
}

/** The box that corners span. */
const ordered = ([x0, y0, x1, y1]) => [Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1)];
const sides = (m) => m.axes.map((a) => (a.extent > 0 ? `${n(a.size - a.wanted)}^2 / ${n(a.extent ** 2)}` : "0")).join(" + ");

function shapeAndDistance(m, theta) {
  const [x, y] = m.axes;
  const far = Math.hypot(x.offset, y.offset);
  const angle = far > 0 ? Math.asin(Math.min(Math.abs(y.offset) / far, 1)) : 0;
  const pull = 2 - Math.sin(2 * angle);
  const D = m.axes.reduce((total, a) => total + 1 - Math.exp(-pull * (a.extent > 0 ? (a.offset / a.extent) ** 2 : 0)), 0);
  const S = m.axes.reduce((total, a) => {
    const larger = Math.max(a.size, a.wanted);
    return total + (1 - Math.exp(larger > 0 ? -Math.abs(a.size - a.wanted) / larger : 0)) ** theta;
  }, 0);
  return [D, S];
}

const BOXES = {
  iou_loss: (m, { mode }) => (mode === "square" ? `1 - (${iouOf(m)})^2` : mode === "log" ? `-log(${m.iou > 1e-18 ? iouOf(m) : "1e-18"})` : `1 - ${iouOf(m)}`),
  giou_loss: (m) => `1 - ${iouOf(m)} + ${m.C > 0 ? `(${n(m.C)} - ${n(m.U)}) / ${n(m.C)}` : "0"}`,
  diou_loss: (m) => `1 - ${iouOf(m)} + ${share(m.d2, m.c2)}`,
  ciou_loss: (m) => {
    const [x, y] = m.axes; // out of order, a box keeps its angle
    const v = (4 / Math.PI ** 2) * (Math.atan2(x.wrong || x.size, y.wrong || y.size) - Math.atan2(x.wanted, y.wanted)) ** 2;
    const alpha = v > 0 ? v / (1 - m.iou + v) : 0;
    return `1 - ${iouOf(m)} + ${share(m.d2, m.c2)} + ${n(alpha)} * ${n(v)}`;
  },
  eiou_loss: (m) => `1 - ${iouOf(m)} + ${share(m.d2, m.c2)} + ${sides(m)}`,
  focal_eiou_loss: (m, { gamma }, p, t) => `(${iouOf(page.measure(ordered(p), t))})^${n(gamma)} * (1 - ${iouOf(m)} + ${share(m.d2, m.c2)} + ${sides(m)})`,
  siou_loss: (m, { theta }) => {
    const [D, S] = shapeAndDistance(m, theta);
    return `1 - ${iouOf(m)} + (${n(D)} + ${n(S)}) / 2`;
  },
  alpha_iou_loss: (m, { power }) => `1 - (${iouOf(m)})^${n(power)}`,
  wiou_loss: (m) => `exp(${share(m.d2, m.c2)}) * (1 - ${iouOf(m)})`,
  mpdiou_loss: (m, _, p) => { // its distances are those of the corners as they are given
    const [first, second] = [0, 1].map((k) => m.axes.reduce((total, axis, i) => total + (p[i + 2 * k] - axis[`b${k}`]) ** 2, 0));
    return `1 - ${iouOf(m)} + (${n(first)} + ${n(second)}) / (64^2 + 48^2)`;
  },
  nwd_loss: (m, { constant }, p) => { // sizes below 0 are so much further off; there is no other price
    const W2 = m.d2 + m.axes.reduce((total, a, i) => total + (p[i + 2] - p[i] - a.wanted) ** 2, 0) / 4;
    return `1 - exp(-sqrt(${n(W2)}) / ${n(constant)})`;
  },
  probiou_loss: (m, { mode }, p, t) => { // boxes out of order count as those that they span
    const spanned = page.measure(ordered(p), t);
    const most = Math.max(...spanned.axes.flatMap((a) => [a.size, a.wanted]));
    const [x, y] = spanned.axes.map((a) => [a.size, a.wanted].map((side) => Math.max(side, 2 ** -30 * most)));
    const [S, T] = [x, y].map(([w, u]) => page.g((w ** 2 + u ** 2) / 12, 6));
    const [dx, dy] = spanned.axes.map((a) => a.offset);
    const [area, aspect, both] = [x[0] * y[0] - x[1] * y[1], y[1] * x[0] - x[1] * y[0], 4 * x[0] * y[0] * x[1] * y[1]];
    const far = `(${n(dx)}^2 / ${S} + ${n(dy)}^2 / ${T}) / 4`;
    const shape = `log(1 + (${n(area)}^2 + ${n(aspect)}^2) / ${page.g(both, 6)}) / 2`;
    return mode === "l2" ? `${far} + ${shape}` : `sqrt(1 - exp(-${far} - ${shape}))`;
  },
  inner_iou_loss: (m, { ratio }, p, t) => `1 - ${iouOf(scaled(p, t, ratio))}`,
};

// ---- one residual

const REGRESSION = {
  l1_loss: (x, t) => `|${n(x)} - ${n(t)}|`,
  mse_loss: (x, t) => `(${n(x)} - ${n(t)})^2`,
  l2_loss: (x, t) => `(${n(x)} - ${n(t)})^2 / 2`,
  huber_loss: (x, t, { delta }) => (Math.abs(x - t) < delta ? `(${n(x)} - ${n(t)})^2 / 2` : `${n(delta)} * (|${n(x)} - ${n(t)}| - ${n(delta)} / 2)`),
  smooth_l1_loss: (x, t, { beta }) => (Math.abs(x - t) < beta ? `(${n(x)} - ${n(t)})^2 / (2 * ${n(beta)})` : `|${n(x)} - ${n(t)}| - ${n(beta)} / 2`),
  log_cosh_loss: (x, t) => `log(cosh(${n(x)} - ${n(t)}))`,
  cauchy_loss: (x, t, { scale }) => `log(1 + (${n(x - t)} / ${n(scale)})^2 / 2)`,
  geman_mcclure_loss: (x, t, { scale }) => {
    const square = n(((x - t) / scale) ** 2);
    return `2 * ${square} / (${square} + 4)`;
  },
  welsch_loss: (x, t, { scale }) => `1 - exp(-(${n(x - t)} / ${n(scale)})^2 / 2)`,
  charbonnier_loss: (x, t, { eps }) => `sqrt((${n(x)} - ${n(t)})^2 + ${n(eps)}^2)`,
  barron_loss: (x, t, { alpha, scale }) => {
    const square = `(${n(x - t)} / ${n(scale)})^2`;
    if (alpha === 2) return `${square} / 2`;
    if (alpha === 0) return `log(${square} / 2 + 1)`;
    if (alpha === -Infinity) return `1 - exp(-${square} / 2)`;
    const b = Math.abs(alpha - 2);
    return `${n(b)} / ${n(alpha)} * ((${square} / ${n(b)} + 1)^(${n(alpha)} / 2) - 1)`;
  },
  balanced_l1_loss: (x, t, { alpha, gamma, beta }) => {
    const [a, b] = [Math.abs(x - t), Math.exp(gamma / alpha) - 1];
    if (a >= beta) return `${n(gamma)} * ${n(a)} + ${n(gamma)} * ${n(beta)} / ${n(b)} - ${n(alpha)} * ${n(beta)}`;
    const v = n((b * a) / beta);
    return `${n(alpha)} * ${n(beta)} / ${n(b)} * (${v} + 1) * log(${v} + 1) - ${n(alpha)} * ${n(a)}`;
  },
  quantile_loss: (x, t, { quantile }) => (x < t ? `${n(quantile)} * (${n(t)} - ${n(x)})` : `(1 - ${n(quantile)}) * (${n(x)} - ${n(t)})`),
  wing_loss: (x, t, { omega, epsilon }) => (Math.abs(x - t) < omega
    ? `${n(omega)} * log(1 + |${n(x)} - ${n(t)}| / ${n(epsilon)})`
    : `|${n(x)} - ${n(t)}| - ${n(omega)} + ${n(omega)} * log(1 + ${n(omega)} / ${n(epsilon)})`),
  gaussian_nll_loss: (x, t, { log_var }) => `(${n(log_var)} + (${n(x)} - ${n(t)})^2 / exp(${n(log_var)})) / 2`,
  laplace_nll_loss: (x, t, { log_scale }) => `${n(log_scale)} + |${n(x)} - ${n(t)}| / exp(${n(log_scale)})`,
  beta_nll_loss: (x, t, { log_var, beta }) => `exp(${n(log_var)})^${n(beta)} * (${n(log_var)} + (${n(x)} - ${n(t)})^2 / exp(${n(log_var)})) / 2`,
  kl_normal_loss: (x, t, { log_var: a, target_log_var: b }) => `(${n(b)} - ${n(a)} + (exp(${n(a)}) + (${n(x)} - ${n(t)})^2) / exp(${n(b)}) - 1) / 2`,
  student_t_nll_loss: (x, t, { log_scale, df }) => {
    const z = n((x - t) / Math.exp(log_scale));
    return `${n((df + 1) / 2)} * log(1 + ${z}^2 / ${n(df)}) + ${n(log_scale)} + log(sqrt(${n(df)} / 2) * Gamma(${n(df / 2)}) / Gamma(${n((df + 1) / 2)}))`;
  },
  evidential_nll_loss: (x, t, { nu, alpha, beta, coeff }) => {
    const s = Math.sqrt((beta * (1 + nu)) / (nu * alpha));
    const constant = `log(sqrt(2 * ${n(Math.PI)} * ${n(alpha)}) * Gamma(${n(alpha)}) / Gamma(${n(alpha + 0.5)}))`;
    return `${n(alpha + 0.5)} * log(1 + ${n((x - t) / s)}^2 / ${n(2 * alpha)}) + log(${n(s)}) + ${constant} + ${n(coeff)} * |${n(x)} - ${n(t)}| * ${n(2 * nu + alpha)}`;
  },
  poisson_nll_loss: (m, t) => `${n(m)} - ${n(t)} * log(${n(m)})`,
  gamma_nll_loss: (m, t, { concentration: k }) => `${n(k)} * (${n(t)} / ${n(m)} + log(${n(m)} / ${n(k)})) - ${n(k - 1)} * log(${n(t)}) + log(Gamma(${n(k)}))`,
  negative_binomial_nll_loss: (m, t, { total_count: r }) =>
    `${n(r + t)} * log(${n(r + m)}) - ${n(r)} * log(${n(r)}) - ${n(t)} * log(${n(m)}) - log(Gamma(${n(r + t)}) / Gamma(${n(r)}))`,
  tweedie_loss: (m, t, { power: p }) => `${n(m)}^${n(2 - p)} / ${n(2 - p)} + ${n(t)} * ${n(m)}^${n(1 - p)} / ${n(p - 1)}`,
  mape_loss: (x, t) => `|${n(x)} - ${n(t)}| / |${n(t)}|`,
  msle_loss: (x, t) => `(log(1 + ${n(x)}) - log(1 + ${n(t)}))^2`,
};

// ---- sums of two masks

const dice = ({ I, P, T }, s) => `(2 * ${n(I)} + ${n(s)}) / (${n(P)} + ${n(T)} + ${n(s)})`;
const tversky = ({ I, P, T }, { alpha, beta, smooth }) =>
  `(${n(I)} + ${n(smooth)}) / (${n(I)} + ${n(alpha)} * (${n(P)} - ${n(I)}) + ${n(beta)} * (${n(T)} - ${n(I)}) + ${n(smooth)})`;
const MASKS = {
  dice_loss: (m, { smooth }) => `1 - ${dice(m, smooth)}`,
  jaccard_loss: ({ I, P, T }, { smooth }) => `1 - (${n(I)} + ${n(smooth)}) / (${n(P)} + ${n(T)} - ${n(I)} + ${n(smooth)})`,
  tversky_loss: (m, v) => `1 - ${tversky(m, v)}`,
  focal_tversky_loss: (m, v) => `(1 - ${tversky(m, { alpha: 0.3, beta: 0.7, ...v })})^${n(v.gamma)}`,
  log_cosh_dice_loss: (m, { smooth }) => `log(cosh(1 - ${dice(m, smooth)}))`,
  mcc_loss: ({ I, P, T, count }, { smooth }) =>
    `1 - (${n(I)} * ${n(count)} - ${n(P)} * ${n(T)} + ${n(smooth)}) / (sqrt(${n(P)} * ${n(T)} * (${n(count)} - ${n(P)}) * (${n(count)} - ${n(T)})) + ${n(smooth)})`,
  dice_ce_loss: (m, { smooth }) => `1 - ${dice(m, smooth)} + ${n(m.second)} / ${n(m.count)}`,
};

/** Of a target without a single pixel, what `empty` says; else the formula. */
function ofMasks(loss, m, values) {
  if (!MASKS[loss]) return `${n(m.total)} / ${n(m.count)}`;
  const rest = loss === "dice_ce_loss" ? ` + ${n(m.second)} / ${n(m.count)}` : "";
  if (m.T === 0 && values.empty !== "smooth") return (values.empty === "mass" ? `${n(m.P)} / ${n(m.count)}` : "0") + rest;
  return MASKS[loss](m, values);
}

// ---- a row of probabilities

const LOGITS = {
  cross_entropy: (p, y, { label_smoothing: s }) => smoothed(p, y, s, (v) => `log(${n(v)})`),
  focal_loss: (p, y, { gamma, label_smoothing: s }) => smoothed(p, y, s, (v) => `(1 - ${n(v)})^${n(gamma)} * log(${n(v)})`),
  poly_loss: (p, y, { epsilon }) => `-log(${n(p[y])}) + ${n(epsilon)} * (1 - ${n(p[y])})`,
  generalized_cross_entropy: (p, y, { q }) => `(1 - ${n(p[y])}^${n(q)}) / ${n(q)}`,
  symmetric_cross_entropy: (p, y, { alpha, beta }) => `-${n(alpha)} * log(${n(p[y])}) - ${n(beta)} * (-4) * (1 - ${n(p[y])})`,
};
const smoothed = (p, y, s, term) => (s === 0 ? `-${term(p[y])}` : p.map((v, j) => `-${n((j === y ? 1 - s : 0) + s / p.length)} * ${term(v)}`).join(" ").replaceAll(" -", " - "));

const focal = (p, q, { gamma, alpha }) => {
  const [yes, no] = Number.isFinite(alpha) ? [`${n(alpha)} * `, `${n(1 - alpha)} * `] : ["", ""];
  return `-${yes}${n(q)} * (1 - ${n(p)})^${n(gamma)} * log(${n(p)}) - ${no}${n(1 - q)} * ${n(p)}^${n(gamma)} * log(1 - ${n(p)})`;
};

/** What corners out of order cost. */
page.priceOf = (loss, m) => (loss === "nwd_loss" ? 0 : m.price);

page.worked = {
  boxes: (loss, p, t, values) => {
    const m = page.measure(p, t);
    const price = page.priceOf(loss, m);
    return BOXES[loss](m, values, p, t) + (price ? ` + ${n(price)}` : "");
  },
  residual: (loss, x, t, values) => REGRESSION[loss](x, t, values),
  masks: ofMasks,
  logits: (loss, p, y, values) => LOGITS[loss](p, y, values),
  calibration: focal,
};
})(globalThis);
