// Layers × tokens as small boxes: a click picks a layer and a token. The slider and the strip beside it do the same with keys.
function render({ model, el }) {
  const root = document.createElement("div"), canvas = document.createElement("canvas");
  const [row, column] = ["row", "column"].map((name) => Object.assign(document.createElement("div"), { className: name }));
  root.className = "probe-nb-layers";
  canvas.setAttribute("role", "img");
  root.append(canvas, row, column);
  el.append(root);

  function draw() {
    const [layers, tokens] = model.get("shape"), bytes = model.get("pixels");
    root.style.display = layers * tokens ? "" : "none";
    if (!(layers * tokens) || bytes.byteLength !== 4 * layers * tokens) return;
    Object.assign(canvas, { width: tokens, height: layers });
    canvas.style.height = `${Math.min(Math.max(9 * layers, 36), 160)}px`;
    canvas.setAttribute("aria-label", model.get("about"));
    const pixels = new Uint8ClampedArray(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
    canvas.getContext("2d").putImageData(new ImageData(pixels, tokens, layers), 0, 0);
    outline();
  }
  function outline() {
    const [layers, tokens] = model.get("shape"), [layer, token] = model.get("picked");
    Object.assign(row.style, { top: `${(100 * layer) / layers}%`, height: `${100 / layers}%` });
    Object.assign(column.style, { left: `${(100 * token) / tokens}%`, width: `${100 / tokens}%` });
  }
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect(), [layers, tokens] = model.get("shape");
    const at = (part, n) => Math.min(Math.max(Math.floor(part * n), 0), n - 1);
    model.set("picked", [at((event.clientY - box.top) / box.height, layers), at((event.clientX - box.left) / box.width, tokens)]);
    model.save_changes();
  });
  const heard = [["change:pixels", draw], ["change:shape", draw], ["change:picked", outline]];
  heard.forEach(([name, f]) => model.on(name, f));
  draw();
  return () => heard.forEach(([name, f]) => model.off(name, f));
}
export default { render };
