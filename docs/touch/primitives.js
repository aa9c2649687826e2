// The names of the formula language (src/losskit/engines/language.py) in double precision: the only part of a formula's mathematics that is written by hand.
// `where` is not here: it becomes JavaScript's own ? :. The file stands in front of the generated formulas, inside their function.
const SMALLEST_POSITIVE = 5e-324;
const ROUNDING = 1e-6; // how far outside [0, 1] a probability may lie and still be read as 0 or 1

function absolute(x) { return Math.abs(x); }
function sign(x) { return x > 0 ? 1 : x < 0 ? -1 : x * 0; } // NaN stays
function minimum(a, b) { return a > b ? b : a; } // a NaN in a stays
function maximum(a, b) { return a < b ? b : a; }
function sqrt(x) { return Math.sqrt(x); }
function exp(x) { return Math.exp(x); }
function exp_neg(a) { return Math.exp(-a); }
function expm1(x) { return Math.expm1(x); }
function exp_product(a, b) { return Math.exp(a * b); }
function expm1_product(a, b) { return Math.expm1(a * b); }
function atan2(y, x) { return Math.atan2(y, x + 0.0); } // of -0 it would be pi
function sine(x) { return Math.sin(x); }
function cosine(x) { return Math.cos(x); }
function log1p(x) { return x > -1 || x !== x ? Math.log1p(x) : Math.log(SMALLEST_POSITIVE); }
function log1p_unit(x) { return Math.log1p(x); }
function log_floored(p) { return Math.log(p > 0 || p !== p ? p : SMALLEST_POSITIVE); }
function log1m_floored(p) { return log1p(-p); }
function reciprocal(p) { return p > 0 || p !== p ? Math.min(1 / p, Number.MAX_VALUE) : Number.MAX_VALUE; }
function one_over(x) { return 1 / x; }
function unit(p) { return Math.abs(p - 0.5) <= 0.5 + ROUNDING ? Math.min(Math.max(p, 0), 1) : NaN; }
function positive(x) { return x > 0 ? x : NaN; }
function non_negative(x) { return x >= 0 ? x : NaN; }
