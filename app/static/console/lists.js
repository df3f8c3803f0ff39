/* Lists: selection and bulk bar, page size, the filter builder. */
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];

$$("form.bulk").forEach(bar => {
  const boxes = $$(`input[form="${bar.id}"][name=rowid]`), all = $(`[data-all="${bar.id}"]`);
  let last = null;
  const sync = () => {
    const n = boxes.filter(b => b.checked).length;
    bar.hidden = !n;
    $("[data-n]", bar).textContent = n;
    boxes.forEach(b => b.closest("tr").classList.toggle("sel", b.checked));
    if (all) { all.checked = n === boxes.length && n > 0; all.indeterminate = n > 0 && n < boxes.length; }
  };
  boxes.forEach((b, i) => b.addEventListener("click", e => {       /* Shift selects a range */
    if (e.shiftKey && last !== null) boxes.slice(Math.min(i, last), Math.max(i, last) + 1).forEach(x => { x.checked = b.checked; });
    last = i; sync();
  }));
  all?.addEventListener("change", () => { boxes.forEach(b => { b.checked = all.checked; }); sync(); });
  $("[data-clear]", bar)?.addEventListener("click", () => { boxes.forEach(b => { b.checked = false; }); sync(); });
  sync();
});

$$("select[data-go]").forEach(s => s.addEventListener("change", () => { location.href = s.value; }));

$$("form[data-filters]").forEach(form => {
  const spec = JSON.parse(form.dataset.filters);
  const col = $("[data-col]", form), op = $("[data-op]", form), box = $("[data-value]", form), slot = $("[data-control]", form);
  col.replaceChildren(...spec.map((s, i) => new Option(s.label, i)));
  const current = () => spec[col.value];
  const control = s => {
    let el;
    if (s.options || s.remote) {
      el = document.createElement("select");
      (s.options || []).forEach(([v, t]) => el.append(new Option(t, v)));
      if (s.remote) el.dataset.remote = s.remote;
    } else {
      el = document.createElement("input");
      el.type = { date: "date", datetime: "date", number: "number" }[s.kind] || "text";
      if (s.kind === "money") { el.inputMode = "decimal"; el.placeholder = "₹ 1,18,000.00"; }
      if (s.kind === "bps") { el.inputMode = "decimal"; el.placeholder = "12.5 %"; }
    }
    el.className = "in"; el.id = "flt-val"; el.required = true;
    return el;
  };
  const value = () => $("#flt-val", slot);
  const name = () => {
    const [index, , valued] = current().ops[op.selectedIndex] || [0, "", true];
    box.hidden = !valued;
    const el = value();
    if (!el) return;
    el.name = `_flt_${index}_${current().name}`;
    el.required = valued;
  };
  const draw = () => {
    const s = current();
    op.replaceChildren(...s.ops.map(([i, label]) => new Option(label, i)));
    slot.replaceChildren(control(s));
    name();
    slot.dispatchEvent(new CustomEvent("console:added", { bubbles: true }));
  };
  col.addEventListener("change", draw);
  op.addEventListener("change", name);
  form.addEventListener("submit", () => {
    if (!box.hidden) return;
    const el = value();                                 /* "is empty" travels without a value of its own */
    slot.replaceChildren(Object.assign(document.createElement("input"), { type: "hidden", name: el.name, value: "y" }));
  });
  if (spec.length) draw();
});
