/* What changes without a reload: progress of long work, the notification bell. */
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];

$$("[data-progress]").forEach(box => {
  const bar = $("progress", box), label = $("[data-label]", box), n = $("[data-n]", box);
  let wait = 1000;
  const poll = async () => {
    try {
      const r = await fetch(box.dataset.progress, { headers: { Accept: "application/json" } });
      if (!r.ok) throw new Error(String(r.status));
      const s = await r.json();
      wait = 1000;
      if (s.max) bar.max = s.max;
      if (s.value === null || s.value === undefined) bar.removeAttribute("value"); else bar.value = s.value;
      if (s.label) label.textContent = s.label;
      n.textContent = s.max && s.value !== null && s.value !== undefined ? `${Math.round(100 * s.value / s.max)} %` : "";
      if (s.failed) { bar.className = "bad"; bar.value = bar.max; label.textContent = s.error || "This did not work."; return; }
      if (s.done) { bar.className = "ok"; bar.value = bar.max; const to = s.url || box.dataset.done; if (to) { location.href = to; } return; }
    } catch { wait = Math.min(wait * 2, 15000); }
    setTimeout(poll, wait);
  };
  poll();
});

const bell = $("details[data-bell]");
if (bell) {
  const list = $("[data-items]", bell), token = $("input[name=csrf_token]", bell)?.value || "";
  let loaded = false;
  const row = item => {
    const li = document.createElement("li"), form = document.createElement("form");
    form.method = "post"; form.action = `/console/notifications/${item.id}/open`;
    const csrf = Object.assign(document.createElement("input"), { type: "hidden", name: "csrf_token", value: token });
    const b = Object.assign(document.createElement("button"), { className: `note-a${item.unread ? " unread" : ""}` });
    const add = (tag, text, extra) => { const el = Object.assign(document.createElement(tag), { textContent: text }, extra); b.append(el); };
    add("b", item.title + (item.unread ? " " : ""));
    if (item.body) add("p", item.body);
    add("time", item.ago, { dateTime: item.at });
    form.append(csrf, b); li.append(form);
    return li;
  };
  bell.addEventListener("toggle", async () => {
    if (!bell.open || loaded) return;
    try {
      const r = await fetch(bell.dataset.bell, { headers: { Accept: "application/json" } });
      const s = await r.json();
      loaded = true;
      if (s.items.length) list.replaceChildren(...s.items.map(row));
      else {
        const li = document.createElement("li");
        li.append(Object.assign(document.createElement("p"), { className: "note-a muted", textContent: "You are all caught up." }));
        list.replaceChildren(li);
      }
    } catch { list.replaceChildren(Object.assign(document.createElement("li"), { className: "note-a muted", textContent: "Could not load. Close and open again." })); }
  });
}

$$("[data-left]").forEach(span => { // support access: what is left of its hour; the server decides when it is over
  const end = Date.now() + 1000 * Number(span.dataset.left);
  const tick = () => {
    const left = Math.max(0, Math.round((end - Date.now()) / 1000));
    span.textContent = left >= 60 ? `${Math.ceil(left / 60)} min left` : `${left} s left`;
    if (left) setTimeout(tick, left > 60 ? 15000 : 1000); else location.href = "/admin/support-access";
  };
  tick();
});
