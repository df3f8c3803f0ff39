/* Charts: drawn as SVG from the table that stands beside them, in the theme's colours. Types: bar (stacked), line. */
const NS = "http://www.w3.org/2000/svg";
const el = (name, attrs = {}, text) => { const n = document.createElementNS(NS, name); for (const k in attrs) n.setAttribute(k, attrs[k]); if (text !== undefined) n.textContent = text; return n; };

function group(n) { const d = String(n); return d.length > 3 ? d.slice(0, -3).replace(/\B(?=(\d{2})+(?!\d))/g, ",") + "," + d.slice(-3) : d; }
const trim = n => String(+n.toFixed(2));
function short(v, kind) {
  const minus = v < 0 ? "\u2212" : "", n = Math.abs(v);
  if (kind !== "money" && kind !== "short_money") return minus + (n % 1 ? trim(n) : group(n));
  const r = n / 100;
  return minus + "₹" + (r >= 1e7 ? trim(r / 1e7) + " Cr" : r >= 1e5 ? trim(r / 1e5) + " L" : r >= 1e3 ? trim(r / 1e3) + " k" : group(Math.round(r)));
}
/* steps of 1, 2 or 5 in the unit people read: rupees, not paise */
function ticks(max, unit) {
  const top = Math.max(max / unit, 1), raw = top / 4, mag = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find(m => m * mag >= raw) * mag, out = [];
  for (let v = 0; v < top + step * .999; v += step) out.push(v * unit);
  return out;
}

function draw(fig) {
  const plot = fig.querySelector(".plot"), kind = fig.dataset.kind;
  const heads = [...fig.querySelectorAll("thead th")].slice(1).map(t => t.textContent);
  const rows = [...fig.querySelectorAll("tbody tr")].map(tr => ({
    label: tr.querySelector("th").textContent,
    values: [...tr.querySelectorAll("td")].map(td => Number(td.dataset.v)), texts: [...tr.querySelectorAll("td")].map(td => td.textContent) }));
  plot.replaceChildren();
  if (!rows.length) return;
  const W = Math.max(plot.clientWidth, 260), H = 220, L = 54, R = 6, T = 8, B = 24, line = fig.dataset.chart === "line";
  const totals = rows.map(r => line ? Math.max(...r.values) : r.values.reduce((a, b) => a + Math.max(b, 0), 0));
  const unit = kind === "money" || kind === "short_money" ? 100 : 1;
  const marks = ticks(Math.max(...totals, unit), unit), top = marks[marks.length - 1];
  const y = v => T + (H - T - B) * (1 - v / top), step = (W - L - R) / rows.length, x = i => L + step * (i + .5);
  const svg = el("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: "presentation" });
  marks.forEach(m => {
    svg.append(el("line", { class: "gl", x1: L, x2: W - R, y1: y(m), y2: y(m) }));
    svg.append(el("text", { x: L - 8, y: y(m) + 4, "text-anchor": "end" }, short(m, kind)));
  });
  const every = Math.ceil(rows.length / Math.max(1, Math.floor((W - L) / 56)));
  rows.forEach((r, i) => { if (i % every === 0) svg.append(el("text", { x: x(i), y: H - 6, "text-anchor": "middle" }, r.label)); });
  if (line) heads.forEach((_, s) => {
    const pts = rows.map((r, i) => `${x(i).toFixed(1)} ${y(Math.max(r.values[s], 0)).toFixed(1)}`);
    if (s === 0) svg.append(el("path", { class: "area s0", d: `M${x(0)} ${y(0)} L${pts.join(" L")} L${x(rows.length - 1)} ${y(0)} Z` }));
    svg.append(el("path", { class: `s${s}`, d: "M" + pts.join(" L") }));
  });
  else rows.forEach((r, i) => {
    const w = Math.min(30, step * .62); let base = 0;
    r.values.forEach((v, s) => {
      if (v <= 0) return;
      const h = y(base) - y(base + v);
      svg.append(el("rect", { class: `s${s}`, x: x(i) - w / 2, y: y(base + v), width: w, height: Math.max(h - (base ? 1 : 0), 1), rx: Math.min(3, h / 2) }));
      base += v;
    });
  });
  const tip = document.createElement("div"); tip.className = "tip"; tip.hidden = true;
  rows.forEach((r, i) => {
    const hit = el("rect", { class: "hit", x: L + step * i, y: T, width: step, height: H - T - B });
    hit.addEventListener("mouseenter", () => {
      tip.replaceChildren(Object.assign(document.createElement("b"), { textContent: r.label }), ...r.texts.map((t, s) => Object.assign(document.createElement("div"), { textContent: heads.length > 1 ? `${heads[s]}: ${t}` : t })));
      tip.hidden = false;
      const left = x(i) * plot.clientWidth / W;
      tip.style.left = `${Math.min(Math.max(left - tip.offsetWidth / 2, 0), plot.clientWidth - tip.offsetWidth)}px`;
      tip.style.top = `${Math.max(y(totals[i]) - tip.offsetHeight - 8, 0)}px`;
    });
    hit.addEventListener("mouseleave", () => { tip.hidden = true; });
    svg.append(hit);
  });
  const holder = document.createElement("div");
  holder.style.position = "relative";
  holder.append(svg, tip);
  plot.append(holder);
}

const figures = [...document.querySelectorAll("figure[data-chart]")];
if (figures.length) {
  const watch = new ResizeObserver(list => list.forEach(e => { const f = e.target.closest("figure"), w = Math.round(e.contentRect.width); if (f.dataset.w !== String(w)) { f.dataset.w = String(w); draw(f); } }));
  figures.forEach(f => watch.observe(f.querySelector(".plot")));
}
