/* Inputs: searchable selects, rupees, files. */
const $$ = (s, r = document) => [...r.querySelectorAll(s)];

/* Tom Select is fetched only by pages that have a select to enrich */
let library;
const tom = () => library ??= new Promise((resolve, reject) => {
  const s = document.createElement("script");
  s.src = document.body.dataset.tom;
  s.onload = () => resolve(window.TomSelect);
  s.onerror = reject;
  document.head.append(s);
});

async function enrich(root) {
  const todo = $$("select[data-rich],select[data-remote]", root).filter(s => !s.tomselect && !s.closest("template"));
  if (!todo.length) return;
  const TomSelect = await tom();
  for (const s of todo) {
    const remote = s.dataset.remote;
    const label = s.labels?.[0]?.textContent || s.getAttribute("aria-label") || "Choose";
    const ts = new TomSelect(s, {
      maxOptions: 200, allowEmptyOption: true, plugins: [],
      ...(remote ? {
        valueField: "id", labelField: "text", searchField: "text", preload: "focus", loadThrottle: 200,
        shouldLoad: () => true,
        load: (q, done) => fetch(remote + (remote.includes("?") ? "&" : "?") + "q=" + encodeURIComponent(q), { headers: { Accept: "application/json" } })
          .then(r => r.ok ? r.json() : { result: [] }).then(j => done(j.result)).catch(() => done()),
      } : {}),
    });
    ts.control_input.setAttribute("aria-label", label.trim());
    if (s.getAttribute("aria-describedby")) ts.control_input.setAttribute("aria-describedby", s.getAttribute("aria-describedby"));
    if (s.getAttribute("aria-invalid")) ts.control_input.setAttribute("aria-invalid", "true");
    s.setAttribute("aria-hidden", "true"); s.tabIndex = -1;
  }
}
enrich(document);
document.addEventListener("console:added", e => enrich(e.target));

/* rupees: grouped the Indian way when the field is left, plain while it is typed in */
const group = n => { const [w, r] = n.split("."); const neg = w.startsWith("-") ? "-" : ""; const d = w.replace("-", ""); return neg + (d.length > 3 ? d.slice(0, -3).replace(/\B(?=(\d{2})+(?!\d))/g, ",") + "," + d.slice(-3) : d) + (r !== undefined ? "." + r : ""); };
function rupees(input) {
  const tidy = () => { const raw = input.value.replace(/[,₹\s]/g, ""); if (/^-?\d+(\.\d{1,2})?$/.test(raw)) input.value = group(raw.replace(/\.(\d)$/, ".$10")); };
  input.addEventListener("blur", tidy);
  tidy();
}
$$("[data-money]").forEach(rupees);
$$("[data-fill]").forEach(b => b.addEventListener("click", () => { const input = document.getElementById(b.dataset.fill); input.value = b.dataset.value; input.focus(); input.dispatchEvent(new Event("blur")); }));

/* files: name and size after the choice, a frame while something is dragged over */
$$("[data-drop]").forEach(box => {
  const input = box.querySelector("input"), name = box.querySelector("[data-file]");
  const kb = n => n >= 1e6 ? `${(n / 1e6).toFixed(1)} MB` : `${Math.max(1, Math.round(n / 1e3))} kB`;
  input.addEventListener("change", () => { const f = input.files[0]; if (f) name.textContent = `${f.name} (${kb(f.size)})`; });
  ["dragenter", "dragover"].forEach(t => input.addEventListener(t, () => box.classList.add("over")));
  ["dragleave", "drop"].forEach(t => input.addEventListener(t, () => box.classList.remove("over")));
});
