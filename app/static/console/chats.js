/* A conversation that stays open: sends without a reload, asks for news while it is looked at. */
const list = document.querySelector("[data-thread]"), form = document.querySelector("form[data-chat]");
if (list) {
  const box = list.closest(".chat-scroll"), area = form?.querySelector("textarea");
  const older = !!new URLSearchParams(location.search).get("before");
  const last = () => list.lastElementChild?.dataset.id || "0";
  const down = () => { box.scrollTop = box.scrollHeight; };
  const add = html => {
    const near = box.scrollHeight - box.scrollTop - box.clientHeight < 120;
    const piece = document.createElement("template");
    piece.innerHTML = html;                                  /* the server's own template, escaped there */
    const fresh = [...piece.content.querySelectorAll("li")].filter(li => Number(li.dataset.id) > Number(last()));
    list.append(...fresh);
    if (fresh.length) document.querySelector(".chat-none")?.remove();
    if (fresh.length && near) down();
  };
  if (!older) {
    down();
    let wait = 4000, timer = null;
    const ask = async () => {
      if (document.visibilityState === "visible") {
        try {
          const r = await fetch(`${list.dataset.thread}?after=${last()}`, { headers: { "X-Requested-With": "fetch" } });
          if (!r.ok || r.redirected) throw new Error(String(r.status));
          add(await r.text());
          wait = 4000;
        } catch { wait = Math.min(wait * 2, 60000); }
      }
      timer = setTimeout(ask, wait);
    };
    timer = setTimeout(ask, wait);
    form?.addEventListener("submit", async e => {
      if (!area.value.trim()) return;
      e.preventDefault();
      const data = new FormData(form), button = form.querySelector("button");
      data.set("after", last());
      button.disabled = true;
      try {
        const r = await fetch(form.action, { method: "POST", body: data, headers: { "X-Requested-With": "fetch" } });
        if (!r.ok || r.redirected) throw new Error(String(r.status));
        add(await r.text());
        area.value = ""; down(); area.focus();
      } catch { form.submit(); } finally { button.disabled = false; button.classList.remove("busy"); delete form.dataset.sent; }
    });
  }
  area?.addEventListener("keydown", e => { if (e.key === "Enter" && (e.ctrlKey || e.metaKey)) { e.preventDefault(); form.requestSubmit(); } });
}
