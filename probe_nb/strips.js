// Tokens side by side. A span is dragged over them, or set with the keys. What stands in a token is text, never markup.
const tag = (name, kind, text = "") => Object.assign(document.createElement(name), { className: kind, textContent: text });
const row = (token) => token.offsetTop + token.offsetHeight / 2;

function render({ model, el }) {
  const get = (name) => model.get(name);
  const root = tag("div", "probe-nb-strip"), list = tag("div", "tokens"), said = tag("div", "said");
  list.setAttribute("role", "listbox");
  said.setAttribute("aria-live", "polite");
  root.append(list, said);
  el.append(root);
  let tokens = [], at = 0, pin = 0, span = [0, 0], before = null, dragging = false;

  function draw() { // all tokens anew
    const focused = list.contains(document.activeElement), marks = get("marks"), tips = get("tips");
    tokens = get("shown").map((text, k) => {
      const token = tag("span", "token"), note = marks[k] || "", told = `token ${k}: ${text}` + (tips[k] ? `, ${tips[k]}` : "");
      if (note) token.append(tag("i", "mark", note));
      token.append(tag("b", "", text));
      token.setAttribute("role", "option");
      token.setAttribute("aria-label", note ? `${told}, ${note}` : told);
      token.title = note ? `${told}, ${note}` : told;
      token.dataset.k = k;
      token.tabIndex = -1;
      return token;
    });
    const pieces = document.createDocumentFragment(), breaks = new Set(get("breaks"));
    tokens.forEach((token, k) => pieces.append(token, ...(breaks.has(k) ? [tag("br", "")] : [])));
    list.replaceChildren(pieces);
    list.classList.toggle("marked", marks.some(Boolean));
    list.setAttribute("aria-label", get("about"));
    list.setAttribute("aria-multiselectable", get("choose") === "span");
    span = [0, 0];
    at = 0;
    colour();
    follow();
    if (focused) tokens[at]?.focus();
  }

  function colour() {
    const colours = get("colours"), inks = get("inks");
    tokens.forEach((token, k) => Object.assign(token.lastChild.style, { backgroundColor: colours[k] || "", color: inks[k] || "" }));
  }

  function follow() { // what the kernel says
    if (dragging) return;
    const [a, b] = get("found");
    tokens.forEach((token, k) => token.classList.toggle("found", k >= a && k < b));
    const k = Math.min(get("cursor"), Math.max(tokens.length - 1, 0)), next = get("span");
    if (k !== at || next[0] !== span[0] || next[1] !== span[1]) pin = k; // what was told from here keeps its other end
    move(k);
    paint(next);
  }

  function move(k) {
    if (tokens[at]) { tokens[at].tabIndex = -1; tokens[at].classList.remove("cursor"); }
    at = k;
    if (tokens[at]) { tokens[at].tabIndex = 0; tokens[at].classList.add("cursor"); }
  }

  function paint(next) { // only what changes
    const look = (k, kind, on) => tokens[k]?.classList.toggle(kind, on);
    const inside = ([a, b], k) => k >= a && k < b, choose = (k, on) => { look(k, "in", on); tokens[k]?.setAttribute("aria-selected", on); };
    for (let k = span[0]; k < span[1]; k++) if (!inside(next, k)) choose(k, false);
    for (let k = next[0]; k < next[1]; k++) if (!inside(span, k)) choose(k, true);
    for (const [[a, b], on] of [[span, false], [next, true]]) if (b > a) { look(a, "first", on); look(b - 1, "last", on); }
    span = [...next];
    said.textContent = words();
  }

  function words() {
    const [a, b] = span, what = get("about"), shown = get("shown");
    if (!tokens.length) return `${what}: no tokens`;
    if (get("choose") !== "span") return `token ${at} of ${tokens.length}: ${shown[at]}${get("tips")[at] ? `, ${get("tips")[at]}` : ""}`;
    if (b <= a) return `${what}: none`;
    const text = shown.slice(a, b).join("");
    return `${what}: ${b - a > 1 ? `tokens ${a} to ${b - 1}` : `token ${a}`} of ${tokens.length}: ${text.length > 200 ? text.slice(0, 200) + "…" : text}`;
  }

  function tell() { // one gesture, one message
    model.set("cursor", at);
    if (get("choose") === "span") model.set("span", span);
    model.save_changes();
    said.textContent = words();
  }

  const chosen = () => (get("choose") === "span" ? [Math.min(pin, at), Math.max(pin, at) + 1] : span);
  const under = (event) => {
    const token = list.getRootNode().elementFromPoint(event.clientX, event.clientY)?.closest?.(".token");
    return token && list.contains(token) ? Number(token.dataset.k) : null;
  };

  list.addEventListener("pointerdown", (event) => {
    const k = under(event);
    if (k === null || event.button > 0 || get("choose") === "none") return;
    event.preventDefault();
    before = [span, at];
    dragging = true;
    if (!event.shiftKey) pin = k;
    move(k);
    paint(chosen());
    tokens[k].focus({ preventScroll: true });
    try { list.setPointerCapture(event.pointerId); } catch { /* a pointer that a script made up */ }
  });
  list.addEventListener("pointermove", (event) => {
    const k = dragging ? under(event) : null;
    if (k === null || k === at) return;
    move(k);
    paint(chosen());
    tokens[k].scrollIntoView({ block: "nearest" });
  });
  list.addEventListener("pointerup", () => {
    if (!dragging) return;
    dragging = false;
    tell();
  });
  list.addEventListener("pointercancel", () => { // the finger scrolls the page instead
    if (!dragging) return;
    dragging = false;
    move(before[1]);
    paint(before[0]);
  });

  function beside(by) { // the nearest token in the row above or below
    const middle = (t) => t.offsetLeft + t.offsetWidth / 2, here = tokens[at];
    let best = at, line = null;
    for (let k = at + by; k >= 0 && k < tokens.length; k += by) {
      const apart = Math.abs(row(tokens[k]) - row(here)) > 4;
      if (!apart && line === null) continue;
      if (line !== null && Math.abs(row(tokens[k]) - line) > 4) break;
      if (line === null || Math.abs(middle(tokens[k]) - middle(here)) < Math.abs(middle(tokens[best]) - middle(here))) best = k;
      line = line ?? row(tokens[k]);
    }
    return best;
  }
  const steps = {
    ArrowRight: () => Math.min(at + 1, tokens.length - 1), ArrowLeft: () => Math.max(at - 1, 0),
    ArrowDown: () => beside(1), ArrowUp: () => beside(-1), Home: () => 0, End: () => tokens.length - 1,
  };

  list.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || (event.key === "Enter" && event.shiftKey)) return;
    event.stopPropagation(); // in JupyterLab's command mode keys would act on cells
    if (!tokens.length || get("choose") === "none") return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (get("hotkeys").includes(key)) model.send({ key });
    else if (steps[key]) {
      move(steps[key]());
      if (!event.shiftKey) pin = at;
      else paint(chosen());
      tokens[at].focus();
      tell();
    } else if (key === " " || key === "Enter") {
      pin = at;
      paint(chosen());
      tell();
    } else if (key === "Escape") {
      paint([0, 0]);
      tell();
    } else return;
    event.preventDefault();
  });

  const due = new Map(); // several changes at once are drawn once
  const soon = (what) => () => {
    if (!due.size) queueMicrotask(() => { const all = [...due.keys()]; due.clear(); (all.includes(draw) ? [draw] : all).forEach((f) => f()); });
    due.set(what, true);
  };
  const heard = [
    ["change:shown change:marks change:tips change:breaks change:choose change:about", soon(draw)],
    ["change:colours change:inks", soon(colour)], ["change:span change:cursor change:found", soon(follow)],
  ];
  heard.forEach(([names, f]) => names.split(" ").forEach((name) => model.on(name, f)));
  draw();
  return () => heard.forEach(([names, f]) => names.split(" ").forEach((name) => model.off(name, f)));
}
export default { render };
