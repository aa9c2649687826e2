// How Sphinx's search orders what it finds: first the page of the loss that the query names, as "giou", "GIoULoss", "smooth l1" and "Dice 损失" do; then losses whose names contain it.
var Scorer = (() => {
  const bare = (text) => text.toLowerCase().replace(/[^a-z0-9]/g, "").replace(/loss$/, "");
  const wanted = bare(new URLSearchParams(window.location.search).get("q") ?? "");
  return {
    score: ([page, , , , score]) => {
      const name = page.endsWith("/index") ? "" : bare(page.split("/").pop());
      return score + (wanted.length < 2 || !name.includes(wanted) ? 0 : name === wanted ? 100 : 20);
    },
    objNameMatch: 11,
    objPartialMatch: 6,
    objPrio: { 0: 15, 1: 5, 2: -5 },
    objPrioDefault: 0,
    title: 15,
    partialTitle: 7,
    term: 5,
    partialTerm: 2,
  };
})();
