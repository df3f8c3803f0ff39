/* E-mail addresses as chips, one each; without this script the text area takes the same text. */
const ADDRESS = /^[^\s@<>]+@[^\s@<>]+\.[^\s@<>]+$/, SPLIT = /[,;\n\t]+/;
const icon = document.body.dataset.icons;

function chips(area) {
  const label = area.labels?.[0];
  const box = document.createElement("div"), list = document.createElement("ul"), input = document.createElement("input");
  box.className = "in chipbox";
  list.className = "chiplist"; list.setAttribute("aria-label", "Addresses entered");
  input.type = "text"; input.inputMode = "email"; input.autocomplete = "off"; input.spellcheck = false;
  input.id = area.id + "-next"; input.setAttribute("aria-label", (label?.textContent || "Addresses").trim());
  for (const a of ["aria-describedby", "aria-invalid"]) if (area.hasAttribute(a)) input.setAttribute(a, area.getAttribute(a));
  const values = [];
  const status = Object.assign(document.createElement("span"), { className: "sr" });
  status.setAttribute("role", "status");

  const clean = raw => { const m = raw.match(/<([^<>]*)>\s*$/); return (m ? m[1] : raw).trim(); };
  function add(text) {
    for (const raw of text.split(SPLIT)) {
      const value = clean(raw);
      if (!value || values.some(v => v.toLowerCase() === value.toLowerCase())) continue;
      values.push(value);
      status.textContent = `${value} added`;
    }
    draw();
  }
  function draw() {
    list.replaceChildren(...values.map((value, i) => {
      const li = document.createElement("li"), span = document.createElement("span"), x = document.createElement("button");
      const ok = ADDRESS.test(value);
      li.className = ok ? "chip" : "chip bad";
      span.textContent = ok ? value : `${value} (not an address)`;
      x.type = "button"; x.className = "btn ghost icon sm"; x.setAttribute("aria-label", `Remove ${value}`);
      x.innerHTML = `<svg class="i" aria-hidden="true"><use href="${icon}#x"></use></svg>`;
      x.addEventListener("click", () => { values.splice(i, 1); status.textContent = `${value} removed`; draw(); input.focus(); });
      li.append(span, x);
      return li;
    }));
    area.value = values.join("\n");
    box.hidden = false;
  }
  input.addEventListener("keydown", e => {
    if (["Enter", ",", ";", "Tab"].includes(e.key) && input.value.trim()) { e.preventDefault(); add(input.value); input.value = ""; }
    else if (e.key === "Backspace" && !input.value && values.length) { input.value = values.pop(); draw(); e.preventDefault(); }
  });
  input.addEventListener("paste", e => {
    const text = e.clipboardData.getData("text");
    if (SPLIT.test(text)) { e.preventDefault(); add(text); }
  });
  input.addEventListener("blur", () => { if (input.value.trim()) { add(input.value); input.value = ""; } });
  area.form?.addEventListener("submit", () => { if (input.value.trim()) { add(input.value); input.value = ""; } });
  box.addEventListener("click", e => { if (e.target === box) input.focus(); });
  box.append(list, input);
  area.hidden = true; area.required = false;
  area.before(box); area.after(status);
  if (label) label.htmlFor = input.id;
  add(area.value);
}
document.querySelectorAll("textarea[name=emails]").forEach(chips);

/* the short name follows the name until somebody types one */
const name = document.querySelector("form input#name"), slug = document.querySelector("form input#slug");
if (name && slug) {
  let own = !!slug.value;
  slug.addEventListener("input", () => { own = !!slug.value; });
  name.addEventListener("input", () => {
    if (!own) slug.value = name.value.normalize("NFKD").replace(/[^\x00-\x7f]/g, "").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 63);
  });
}
