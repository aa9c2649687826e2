// The frame around the views: their tabs, language, theme, the link that shows what one sees. Started last.
(function (root) {
"use strict";

const { page } = root.losskit;
const { h, t, put } = page;

let drawing = false;
/** Something changed: drawn once a frame, and kept in the address. */
page.changed = () => {
  page.remember();
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    page.views[page.show.view].draw();
  });
};

function applyTheme() {
  if (page.show.theme) document.documentElement.dataset.theme = page.show.theme;
  else delete document.documentElement.dataset.theme;
}

const dark = () => (page.show.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

function top() {
  const links = page.order.map((name) => h("a", { href: `#view=${name}`, "aria-current": name === page.show.view ? "page" : null, text: t(`${name}_tab`), onclick: (event) => { event.preventDefault(); go(name); } }));
  const other = page.language === "zh" ? "en" : "zh";
  const language = h("a", { class: "tool", id: "language", lang: other, hreflang: other, href: "#", text: other === "zh" ? "中文" : "English", onclick: (event) => { event.preventDefault(); speak(other); } });
  const theme = page.button("", () => {
    page.show.theme = dark() ? "light" : "dark";
    applyTheme();
    label();
    page.changed();
  }, { id: "theme", class: "tool" });
  const label = () => put(theme, t(dark() ? "to_light" : "to_dark"));
  label();
  const link = page.button(t("link"), () => page.copy(location.href.split("#")[0] + page.address(), link, t("link")), { id: "link", class: "tool" });
  document.getElementById("top").replaceChildren(
    h("div", { class: "bar" }, h("a", { class: "brand", href: "#view=boxes", onclick: (e) => { e.preventDefault(); go("boxes"); } }, h("b", { text: "losskit" }), h("span", { text: t("brand") })), h("div", { class: "tools" }, page.siteOf() ? h("a", { class: "tool", id: "site", href: page.siteOf(), text: t("site") }) : null, language, theme, link)),
    h("nav", { "aria-label": t("views") }, ...links),
  );
  document.getElementById("foot").replaceChildren(h("p", { text: t("foot") }));
}

function speak(language) {
  page.language = language;
  history.replaceState(null, "", `${location.pathname}${language === "zh" ? "?lang=zh" : ""}${page.address()}`);
  mount();
  document.getElementById("language").focus();
}

function go(name) {
  if (page.views[page.show.view].leave) page.views[page.show.view].leave();
  page.show.view = name;
  page.state[name] ||= page.begin(name);
  history.pushState(null, "", location.pathname + location.search + page.address());
  mount();
  document.getElementById("view").focus({ preventScroll: true });
  scrollTo(0, 0);
}

function mount() {
  const { view } = page.show;
  document.documentElement.lang = page.language === "zh" ? "zh-CN" : "en";
  document.title = `${t(`${view}_title`)} · losskit`;
  applyTheme();
  top();
  const place = document.getElementById("view");
  place.className = `view ${view}`;
  place.replaceChildren(...page.views[view].mount());
  page.views[view].draw();
}

addEventListener("popstate", () => { page.restore(); mount(); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => top());
page.restore();
mount();
})(globalThis);
