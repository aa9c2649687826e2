// Tables of numbers are sorted by a click, or by Enter, on a column's head; a number stays in one line.
"use strict";
if (location.protocol === "file:" && typeof DOCUMENTATION_OPTIONS === "object") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false; // a page from disk cannot read others
document.addEventListener("DOMContentLoaded", () => {
  for (const field of document.querySelectorAll(".search-again input")) field.value = new URLSearchParams(location.search).get("q") ?? "";
  const chinese = document.documentElement.lang.startsWith("zh");
  for (const link of document.querySelectorAll(".sd-card a.sd-stretched-link")) link.setAttribute("aria-label", link.closest(".sd-card").querySelector(".sd-card-title").innerText);
  if (chinese) for (const link of document.querySelectorAll("a[href*='touch/index.html']")) link.search = "?lang=zh";
  // a long name is broken between its words; code in a line behind a bracket first
  const broken = (text, where) => text.replaceWith(...text.data.split(where).flatMap((part, i) => (i ? [document.createElement("wbr"), part] : [part])));
  for (const name of document.querySelectorAll("h1, h2, h3, td, td p, td a, .sidebar-tree .reference, .toc-tree .reference, .related-pages .title")) {
    for (const text of [...name.childNodes]) if (text.nodeType === 3 && text.data.includes("_")) broken(text, /(?<=_)/);
  }
  // quotation marks hold on to what stands beside them: a Chinese heading may be broken between its own punctuation and code
  if (chinese) for (const code of document.querySelectorAll("article :is(h1, h2, h3) > code")) {
    if (/[：、，；]$/.test(code.previousSibling?.data ?? "")) code.before(document.createElement("wbr"));
    if (/^（/.test(code.nextSibling?.data ?? "")) code.after(document.createElement("wbr"));
  }
  for (const code of document.querySelectorAll("article code.literal .pre")) {
    if (code.textContent.length <= 20) code.classList.add("held"); // 1e-8 and --json are not broken at a hyphen
    for (const text of [...code.childNodes]) if (text.nodeType === 3 && text.data.length > 12) broken(text, text.data.split("(").some((part) => part.length > 24) ? /(?<=[_(])(?!\))|(?<=[a-z]\.)(?=\w)/ : /(?<=\()(?!\))/);
  }
  // what follows the names of arguments without a comma is their type
  for (const code of document.querySelectorAll("article dl dt code:not(:first-child)")) if (!code.previousSibling.textContent.includes(",")) code.classList.add("types");
  const ratio = (text) => text.match(/^\D*?(\d[\d.,]*)\s?(?:x|倍)\D*$/); // at most 1.4x; 1.22x its time
  const short = (text) => text.length <= 4 || (text.length <= 14 && ratio(text)) || /^[-+±−]?[\d.,]+(e[-+]?\d+)?(\s?(%|x|µs|ms|s|[kMG]?B|M))?$/.test(text);
  for (const cell of document.querySelectorAll("article td")) if (short(cell.innerText.trim())) cell.classList.add("short");
  for (const wide of document.querySelectorAll("article pre, article .table-wrapper, article .formula, article .steps, article .banner")) if (wide.scrollWidth > wide.clientWidth) wide.tabIndex = 0; // for those who scroll by keys
  for (const table of document.querySelectorAll("article table")) {
    const body = table.tBodies[0];
    if (!table.tHead || !body || body.rows.length < 6) continue;
    for (const head of table.tHead.rows[0].cells) {
      const button = document.createElement("button");
      button.className = "sort";
      button.append(...head.childNodes);
      button.title = chinese ? "按此列排序" : "sort by this column";
      button.addEventListener("click", () => sort(table, head));
      head.append(button);
    }
  }
  function sort(table, head) {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const rows = [...table.tBodies[0].rows];
    rows.sort((a, b) => compare(a.cells[head.cellIndex]?.innerText ?? "", b.cells[head.cellIndex]?.innerText ?? ""));
    table.tBodies[0].append(...(down ? rows.reverse() : rows));
  }
  function compare(a, b) {
    const [p, q] = [number(a), number(b)];
    if (Number.isNaN(p) !== Number.isNaN(q)) return Number.isNaN(p) ? 1 : -1;
    return Number.isNaN(p) ? a.localeCompare(b) : p - q;
  }
  function number(text) {
    const units = { "µs": 1e-6, ms: 1e-3, s: 1, x: 1, "%": 1, M: 1e6, "": 1 };
    const times = ratio(text);
    if (times) return parseFloat(times[1].replaceAll(",", ""));
    const found = text.trim().match(/^(-?[\d.,]+(?:e[-+]?\d+)?|inf)\s*(µs|ms|s|x|%|M|)$/);
    return found ? (found[1] === "inf" ? Infinity : parseFloat(found[1].replaceAll(",", ""))) * units[found[2]] : NaN;
  }
});
