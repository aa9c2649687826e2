// Formulas as text, set as mathematics: letters in italics, Greek by name, powers and indices raised and lowered. The text is that of the registry.
(function (root) {
"use strict";

const { h, t } = root.losskit.page;
const GREEK = { alpha: "α", beta: "β", gamma: "γ", delta: "δ", nu: "ν", epsilon: "ε", theta: "θ", omega: "ω", pi: "π", sum: "∑", sqrt: "√", inf: "∞", Gamma: "Γ" };
const TOKEN = /\s+|\d+(?:\.\d+)?(?:e[+-]\d+)?|\^|_|[A-Za-z]+|<=|>=|!=|\|\||[^\s]/g;
const SIGNS = { "-": "−", "<=": "≤", ">=": "≥", "!=": "≠", "*": "·" };

/** What is raised or lowered: a group in brackets, a signed number, or one token. */
function group(tokens, place) {
  if (tokens[place] !== "(") return [tokens.slice(place, place + 1), place + 1];
  let depth = 0;
  for (let end = place; end < tokens.length; end++) {
    depth += tokens[end] === "(" ? 1 : tokens[end] === ")" ? -1 : 0;
    if (depth === 0) return [tokens.slice(place + 1, end), end + 1];
  }
  return [tokens.slice(place), tokens.length];
}

function set(tokens) {
  const found = [];
  for (let i = 0; i < tokens.length;) {
    const token = tokens[i];
    if (token === "^" || token === "_") {
      const [inner, next] = group(tokens, i + 1);
      found.push(h(token === "^" ? "sup" : "sub", {}, ...set(inner)));
      i = next;
      continue;
    }
    if (/^\s+$/.test(token)) found.push(token.includes("\n") ? h("br") : token.length > 1 ? "\u2002" : " ");
    else if (GREEK[token]) found.push(/[∑√∞]/.test(GREEK[token]) ? GREEK[token] : h("i", { text: GREEK[token] }));
    else if (/^[A-Za-z]$/.test(token)) found.push(h("i", { text: token }));
    else if (token === "*" && /^[wh]$/.test(tokens[i - 1] || "")) found.push(h("sup", { text: "*" }));
    else found.push(SIGNS[token] || token);
    i += 1;
  }
  return found;
}

/** A formula as elements. In Chinese its few words are those of the table of strings. */
root.losskit.page.typeset = (text) => {
  let words = text.replace(/ {2,}(?=where|elsewhere|if |else )/g, " ");
  if (root.losskit.page.language === "zh") {
    for (const pair of t("formula_words").split("\n")) {
      const [english, chinese] = pair.split("=>");
      words = words.replaceAll(english, chinese);
    }
  }
  return set(words.match(TOKEN) || []);
};
})(globalThis);
