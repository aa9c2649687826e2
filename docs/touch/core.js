// What all views share: elements, numbers as Python prints them, the language, the state and its place in the address, calls out of the catalogue.
(function (root) {
"use strict";

const L = root.losskit;
const page = (L.page = { views: {}, order: [] });
const SVG = "http://www.w3.org/2000/svg";

// ---- elements

function fill(node, given, children) {
  for (const [key, value] of Object.entries(given || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "text") node.textContent = value;
    else if (key === "value" || key === "checked") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat().filter((c) => c !== null && c !== undefined));
  return node;
}
page.h = (tag, given, ...children) => fill(document.createElement(tag), given, children);
page.s = (tag, given, ...children) => fill(document.createElementNS(SVG, tag), given, children);

/** Only what changed is written, so that nothing flickers and no screen reader repeats itself. */
page.put = (node, text) => { if (node.textContent !== text) node.textContent = text; };

// ---- numbers

/** As Python's format(x, ".6g"). */
page.g = (x, digits = 6) => {
  if (!Number.isFinite(x)) return Number.isNaN(x) ? "nan" : x > 0 ? "inf" : "-inf";
  if (x === 0) return "0";
  const strip = (text) => (text.includes(".") ? text.replace(/\.?0+$/, "") : text);
  const [mantissa, power] = x.toExponential(digits - 1).split("e");
  const e = Number(power);
  if (e >= -4 && e < digits) return strip(x.toFixed(Math.max(digits - 1 - e, 0)));
  return `${strip(mantissa)}e${e < 0 ? "-" : "+"}${String(Math.abs(e)).padStart(2, "0")}`;
};
/** For people: a true minus sign. */
page.shown = (x, digits = 4) => page.g(x, digits).replace("-", "−").replace("inf", "∞");
page.clamp = (x, low, high) => Math.min(Math.max(x, low), high);
page.round = (x, step) => Number((Math.round(x / step) * step).toFixed(6));

// ---- language

page.language = new URLSearchParams(location.search).get("lang") === "zh" ? "zh" : "en";
page.t = (key, given = {}) => {
  const text = L.strings[page.language][key];
  if (text === undefined) throw new Error(`no text ${key} in ${page.language}`);
  return text.replace(/\{(\w+)\}/g, (_, name) => given[name]);
};

/** Where the site's page on a loss is, or its first page; nothing where this page stands alone. */
page.siteOf = (loss) => {
  const { languages, pages } = L.site;
  const language = languages.includes(page.language) ? page.language : languages[0];
  return language ? `../${language}/${loss ? pages[loss] : "index.html"}` : null;
};

// ---- state: one flat record for each view, and its place in the address. A field says how it is written: {first, write, read}

const kept = (text) => text;
const list = (numbers) => numbers.map((n) => page.g(n, 8)).join(",");
page.text = (first, allowed) => ({ first, write: kept, read: (v) => (!allowed || allowed.includes(v) ? v : first) });
page.number = (first, low, high) => ({ first, write: (v) => page.g(v, 8), read: (v) => (v !== "" && Number.isFinite(Number(v)) ? page.clamp(Number(v), low, high) : first) });
page.numbers = (first, low, high, count) => ({
  first,
  write: list,
  read: (v) => {
    const given = v.split(",").map(Number);
    return given.every(Number.isFinite) && (!count || given.length === count) ? given.map((n) => page.clamp(n, low, high)) : first;
  },
});
page.words = (first) => ({ first, write: (v) => v.join(","), read: (v) => v.split(",").filter(Boolean) });
page.settings = () => ({
  first: {},
  write: (v) => Object.entries(v).map(([k, x]) => `${k}:${x}`).join(","),
  read: (v) => Object.fromEntries(v.split(/,(?=[\w.]+:)/).filter((p) => p.includes(":")).map((p) => [p.slice(0, p.indexOf(":")), p.slice(p.indexOf(":") + 1)])),
});

page.state = {};
page.begin = (name) => Object.fromEntries(Object.entries(page.views[name].fields).map(([key, f]) => [key, f.first]));
page.show = { view: "boxes", theme: "" };

const escaped = (text) => encodeURIComponent(text).replace(/%2C/g, ",").replace(/%3A/g, ":").replace(/%7C/g, "|").replace(/%20/g, "+");

page.address = () => {
  const { view, theme } = page.show;
  const { fields } = page.views[view];
  const parts = [`view=${view}`];
  for (const [key, field] of Object.entries(fields)) {
    const [now, first] = [field.write(page.state[view][key]), field.write(field.first)];
    if (now !== first) parts.push(`${key}=${escaped(now)}`);
  }
  if (theme) parts.push(`theme=${theme}`);
  return `#${parts.join("&")}`;
};

page.restore = () => {
  const given = new URLSearchParams(location.hash.slice(1));
  const view = page.views[given.get("view")] ? given.get("view") : "boxes";
  const theme = ["light", "dark"].includes(given.get("theme")) ? given.get("theme") : "";
  page.show = { view, theme };
  page.state[view] = page.begin(view);
  for (const [key, field] of Object.entries(page.views[view].fields)) {
    if (given.has(key)) page.state[view][key] = field.read(given.get(key));
  }
};

let waiting = 0;
/** The address follows the state; not at every frame of a drag, which browsers refuse. */
page.remember = () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => history.replaceState(null, "", location.pathname + location.search + page.address()), 150);
};

// ---- calls out of the catalogue

/** A setting's text as a number, and a number as Python writes it. */
page.numeric = (text) => (text.startsWith("float(") ? (text.includes("-") ? -Infinity : Infinity) : Number(text));
page.written = (v) => (Number.isFinite(v) ? (Number.isInteger(v) ? v.toFixed(1) : String(v)) : `float('${page.g(v)}')`);
/** Whether a number is one that a setting can have. */
page.within = (setting, v) => (v >= setting.low && v <= setting.high) || setting.apart.some((one) => page.numeric(one) === v);

/** What a setting of a loss stands at; `shared` names settings that all losses of the view have in common. */
page.chosen = (view, loss, setting) => {
  const { set } = page.state[view];
  const shared = (page.views[view].shared || []).includes(setting.name);
  const now = set[shared ? setting.name : `${loss}.${setting.name}`] ?? setting.first;
  if (!setting.apart) return setting.stops.includes(now) ? now : setting.first;
  const number = page.numeric(now);
  return page.written(now !== "" && page.within(setting, number) ? number : page.numeric(setting.first));
};

/** What the losses' own Python makes of the settings: the shape of a call, its parameters, those of its sums, its further operands, its shares of classes. */
page.callOf = (view, loss) => {
  const entry = L.catalogue[view][loss];
  const key = entry.settings.map((setting) => {
    const now = page.chosen(view, loss, setting);
    return setting.apart ? setting.apart.find((one) => page.numeric(one) === page.numeric(now)) ?? "*" : now;
  }).join("|");
  const [shape, derivation] = entry.calls[key];
  const [params, ofSums, operands, shares] = L.derivations[derivation](page.valuesOf(view, loss));
  const call = { ...L.shapes[shape], params };
  if (call.how) call.how = { ...call.how, params: ofSums };
  if (shares.length) call.shares = shares;
  return { call, operands };
};

/** The settings as arguments of the call in Python: those that are not what they are without. */
page.argumentsOf = (view, loss) => L.catalogue[view][loss].settings
  .map((setting) => [setting, page.chosen(view, loss, setting)])
  .filter(([setting, value]) => value !== setting.default && !(setting.apart && setting.default && page.numeric(setting.default) === page.numeric(value)))
  .map(([setting, value]) => `, ${setting.name}=${value}`)
  .join("");

/** The settings as numbers, for the formula with its numbers put in. */
page.valuesOf = (view, loss) => Object.fromEntries(L.catalogue[view][loss].settings.map((setting) => {
  const text = page.chosen(view, loss, setting);
  const number = page.numeric(text);
  return [setting.name, Number.isNaN(number) ? text.replace(/'/g, "") : number];
}));

page.reduced = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
})(globalThis);
