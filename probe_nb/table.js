// A table of texts, one row of which is picked: by a click, or by arrows. Texts are textContent, never HTML.
export default {
  render({ model, el }) {
    const box = document.createElement("div"), table = document.createElement("table");
    box.className = "probe-nb-table";
    table.setAttribute("role", "grid");
    box.append(table);
    el.append(box);
    let rows = [], timer;
    const cell = (kind, text, name) => {
      const made = document.createElement(kind);
      made.textContent = text;
      made.title = text;
      made.dir = "auto";
      if (name) made.className = name;
      return made;
    };
    function mark() {
      const at = model.get("examples").indexOf(model.get("picked"));
      rows.forEach((row, k) => {
        row.setAttribute("aria-selected", k === at);
        row.tabIndex = k === Math.max(at, 0) ? 0 : -1;
      });
    }
    function draw() {
      const heads = model.get("heads"), bars = model.get("bars"), kinds = model.get("kinds");
      const focused = rows.includes(document.activeElement), head = document.createElement("tr");
      head.append(...heads.map((text) => cell("th", text)));
      rows = model.get("rows").map((texts, k) => {
        const row = document.createElement("tr");
        row.append(...texts.map((text, c) => cell("td", text, heads[c])));
        row.dataset.kind = kinds[k] || "";
        if (bars[k] >= 0 && row.children[1]) row.children[1].style.setProperty("--share", `${100 * bars[k]}%`);
        return row;
      });
      table.replaceChildren(head, ...rows);
      table.setAttribute("aria-label", model.get("about"));
      mark();
      if (focused && rows.length) (rows[model.get("examples").indexOf(model.get("picked"))] || rows[0]).focus();
    }
    function pick(k, soon) {
      if (!rows[k]) return;
      rows[k].focus();
      model.set("picked", model.get("examples")[k]);
      clearTimeout(timer);
      timer = setTimeout(() => model.save_changes(), soon); // of held arrows, the last one counts
    }
    table.addEventListener("click", (event) => pick(rows.indexOf(event.target.closest("tr")), 0));
    table.addEventListener("keydown", (event) => {
      const at = rows.indexOf(document.activeElement);
      const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1, Enter: at, " ": at }[event.key];
      if (to === undefined || at < 0) return;
      event.preventDefault();
      event.stopPropagation();
      pick(to, event.key.startsWith("Arrow") ? 120 : 0);
    });
    model.on("change:rows", draw);
    model.on("change:picked", mark);
    draw();
    return () => { clearTimeout(timer); model.off("change:rows", draw); model.off("change:picked", mark); };
  },
};
