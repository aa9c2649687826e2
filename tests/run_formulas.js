// node run_formulas.js FORMULAS PATTERNS CASES RESULTS: value and gradients of every case, as float64 in base64.
const fs = require("fs");
const [formulas, patterns, cases, results] = process.argv.slice(2);
require(formulas);
require(patterns);
const P = globalThis.losskit.patterns;

const numbers = (text) => {
  const bytes = Buffer.from(text, "base64");
  return Array.from(new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length / 8));
};
const text = (list) => Buffer.from(new Float64Array(list.flat(Infinity)).buffer).toString("base64");
const rowsOf = (list, width) => Array.from({ length: list.length / width }, (_, i) => list.slice(i * width, (i + 1) * width));

const run = {
  elementwise({ call, operands, factor }) {
    const found = operands[0].map((_, i) => P.elementwise(call, operands.map((o) => o[i]), factor ? factor[i] : 1));
    return [found.map((f) => f.value), ...operands.map((_, k) => found.map((f) => (k < f.by.length ? f.by[k] : NaN)))];
  },
  rows({ call, operands: [x, t], width }) {
    const found = rowsOf(x, width).map((row, i) => P.rows(call, row, t[i]));
    return [found.map((f) => f.value), found.map((f) => f.by)];
  },
  distributions({ call, operands: [x, t], width }) {
    const soft = call.kind === "distribution";
    const targets = soft ? rowsOf(t, width) : t;
    const found = rowsOf(x, width).map((row, i) => P.distributions(call, row, targets[i]));
    return [found.map((f) => f.value), found.map((f) => f.by), ...(soft ? [found.map((f) => f.byTarget)] : [])];
  },
  boxes({ call, operands: [x, t], width }) {
    const targets = rowsOf(t, width);
    const found = rowsOf(x, width).map((row, i) => P.boxes(call, row, targets[i]));
    return [found.map((f) => f.value), found.map((f) => f.by), found.map((f) => f.byTarget)];
  },
  overlap({ call, operands: [x, t], width, classes }) {
    const each = rowsOf(rowsOf(x, width), classes);
    const targets = call.kind === "label" ? rowsOf(t, width) : rowsOf(rowsOf(t, width), classes);
    const found = P.overlap(call, each.map((sample, n) => ({ x: sample, t: targets[n] })));
    return [[found.value], found.by, ...(found.byTarget ? [found.byTarget] : [])];
  },
};

const found = require(cases).map((one) => {
  try {
    const given = { ...one, operands: one.operands.map(numbers), factor: one.factor && numbers(one.factor) };
    return run[one.call.pattern](given).map(text);
  } catch (error) {
    return String(error);
  }
});
fs.writeFileSync(results, JSON.stringify(found));
