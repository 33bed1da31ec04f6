// Keys pressed in the explorer stay there: in JupyterLab's command mode, arrows would move between cells and Enter would open one.
// A map (.probe-nb-map) can be reached with Tab; arrows on it are told to Python.
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
    const seek = () => {
      top = el.closest(".probe-nb");
      if (!top) { timer = setTimeout(seek, 50); return; } // not yet part of the page
      top.addEventListener("keydown", walk);
      top.addEventListener("keydown", keep);
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
      if (top) { top.removeEventListener("keydown", walk); top.removeEventListener("keydown", keep); }
    };
  },
};
