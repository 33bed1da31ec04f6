// Keys pressed in the explorer stay there: in JupyterLab's command mode, arrows would move between cells and Enter would open one.
function keep(event) {
  if (!event.ctrlKey && !event.metaKey && !event.altKey && !(event.key === "Enter" && event.shiftKey)) event.stopPropagation();
}
export default {
  render({ el }) {
    let top, timer;
    const seek = () => {
      top = el.closest(".probe-nb");
      if (top) top.addEventListener("keydown", keep);
      else timer = setTimeout(seek, 50); // not yet part of the page
    };
    seek();
    return () => { clearTimeout(timer); if (top) top.removeEventListener("keydown", keep); };
  },
};
