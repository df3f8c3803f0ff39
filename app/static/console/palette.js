/* The command palette: Ctrl K (or ⌘ K, or /), pages and records, by keyboard. */
const pal = document.getElementById("palette");
if (pal) {
  const input = pal.querySelector("input"), list = pal.querySelector("[role=listbox]"), icons = document.body.dataset.icons;
  let options = [], at = 0, serial = 0, timer = 0;

  const svg = name => {
    const s = document.createElementNS("http://www.w3.org/2000/svg", "svg"), u = document.createElementNS("http://www.w3.org/2000/svg", "use");
    s.setAttribute("class", "i"); s.setAttribute("aria-hidden", "true"); u.setAttribute("href", `${icons}#${name}`);
    s.append(u);
    return s;
  };
  const node = (tag, cls, text) => Object.assign(document.createElement(tag), { className: cls, textContent: text });
  const mark = n => {
    options[at]?.removeAttribute("aria-selected");
    at = options.length ? (n + options.length) % options.length : 0;
    const o = options[at];
    if (!o) { input.removeAttribute("aria-activedescendant"); return; }
    o.setAttribute("aria-selected", "true");
    input.setAttribute("aria-activedescendant", o.id);
    o.scrollIntoView({ block: "nearest" });
  };
  const go = o => { if (o) location.href = o.dataset.url; };
  const show = groups => {
    options = [];
    const out = [];
    groups.forEach((g, gi) => {
      const box = node("div", "", ""); box.setAttribute("role", "group"); box.setAttribute("aria-label", g.label);
      const head = node("div", "grp", g.label); head.setAttribute("aria-hidden", "true"); box.append(head);
      g.items.forEach((it, i) => {
        const o = node("div", "", ""); o.setAttribute("role", "option"); o.id = `pal-${gi}-${i}`; o.dataset.url = it.url;
        o.append(svg(it.icon), node("span", "clip", it.label), node("small", "", it.note || ""));
        o.addEventListener("click", () => go(o));
        o.addEventListener("mousemove", () => { if (options[at] !== o) mark(options.indexOf(o)); });
        options.push(o); box.append(o);
      });
      out.push(box);
    });
    if (!options.length) { const none = node("div", "none", input.value.trim() ? `Nothing found for “${input.value.trim()}”.` : "Nothing to open."); none.setAttribute("role", "option"); none.setAttribute("aria-disabled", "true"); out.push(none); }
    list.replaceChildren(...out);
    mark(0);
  };
  const search = async () => {
    const mine = ++serial;
    try {
      const r = await fetch(`${pal.dataset.url}?q=${encodeURIComponent(input.value.trim())}`, { headers: { Accept: "application/json" } });
      if (r.status === 401) { location.reload(); return; }
      const j = await r.json();
      if (mine === serial) show(j.groups);
    } catch { if (mine === serial) show([]); }
  };
  const open = () => { if (pal.open) return; input.value = ""; pal.showModal(); search(); };

  input.addEventListener("input", () => { clearTimeout(timer); timer = setTimeout(search, 140); });
  input.addEventListener("keydown", e => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
    if (step) { e.preventDefault(); mark(at + step); }
    if (e.key === "Enter") { e.preventDefault(); go(options[at]); }
    if (e.key === "Escape") { e.preventDefault(); input.closest("dialog").close(); }   /* a search box would only empty itself */
  });
  document.querySelectorAll("[data-palette]").forEach(b => b.addEventListener("click", open));
  document.addEventListener("keydown", e => {
    if ((e.metaKey || e.ctrlKey) && e.key.toLowerCase() === "k") { e.preventDefault(); open(); }
    if (e.key === "/" && !e.ctrlKey && !e.metaKey && !/^(INPUT|TEXTAREA|SELECT)$/.test(e.target.tagName) && !document.querySelector("dialog[open]")) { e.preventDefault(); open(); }
  });
}
