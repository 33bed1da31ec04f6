// Keys pressed in the explorer stay there: in JupyterLab's command mode, arrows would move between cells and Enter would open one.
// A map (.probe-nb-map) can be reached with Tab; arrows on it are told to Python.
// A field with a list would offer only what matches the name that stands in it: while it is entered and untouched, the name is its hint.
function keep(event) {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && !(event.key === "Enter" && event.shiftKey)) event.stopPropagation();
}
export default {
  render({ model, el }) {
    let top, timer;
    const maps = () => [...top.querySelectorAll(".probe-nb-map")];
    function walk(event) {
      const map = maps().findIndex((m) => m === event.target);
      if (map < 0 || !event.key.startsWith("Arrow") || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault(); // the page stays where it is
      model.send({ key: event.key, map });
    }
    let held = null;
    function enter({ target }) {
      if (!target.list || !target.value) return;
      held = { value: target.value, hint: target.placeholder };
      Object.assign(target, { value: "", placeholder: held.value });
    }
    const type = ({ target }) => { if (held && target.list) held.typed = true; };
    function leave({ target }) {
      if (!held || !target.list) return;
      if (!held.typed && !target.value) target.value = held.value;
      target.placeholder = held.hint;
      held = null;
    }
    const heard = { keydown: [walk, keep], focusin: [enter], input: [type], focusout: [leave] };
    const each = (what) => Object.entries(heard).forEach(([name, all]) => all.forEach((f) => top[what](name, f)));
    const seek = () => {
      top = el.closest(".probe-nb");
      if (!top) { timer = setTimeout(seek, 50); return; } // not yet part of the page
      each("addEventListener");
      for (const map of maps()) {
        map.tabIndex = 0;
        map.setAttribute("role", "group");
        map.setAttribute("aria-label", "map: arrows pick a cell");
      }
      for (const said of top.querySelectorAll(".probe-nb-facts, .probe-nb-status, .probe-nb-error")) said.setAttribute("aria-live", "polite");
    };
    seek();
    return () => {
      clearTimeout(timer);
      if (top) each("removeEventListener");
    };
  },
};
