/* Dialogs: opening and closing, confirmation (typed where it matters), questions of an action, double submits. */
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];

document.addEventListener("click", e => {
  const open = e.target.closest?.("[data-open]");
  if (open) {
    open.closest("details.menu[open]")?.removeAttribute("open");
    document.getElementById(open.dataset.open)?.showModal();
  }
  const close = e.target.closest?.("[data-close]");
  if (close) close.closest("dialog").close();
});
$$("dialog").forEach(d => d.addEventListener("mousedown", e => { if (e.target === d) d.close(); }));

// an address that ends in a dialog's name opens it: …/invitations/#invite
const asked = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
if (asked instanceof HTMLDialogElement) {
  asked.showModal();
  history.replaceState(null, "", location.pathname + location.search);
}

const confirmBox = $("#confirm");

function hidden(form, name, value) {
  const found = $(`input[type=hidden][name="${CSS.escape(name)}"]`, form);
  const input = found || Object.assign(document.createElement("input"), { type: "hidden", name });
  input.value = value;
  if (!found) form.append(input);
}

function send(form, submitter) {
  form.dataset.sure = "1";
  form.requestSubmit(submitter && submitter.isConnected ? submitter : undefined);
}

/* a question of an action: its answers travel as hidden inputs of the form that asked */
function ask(form, submitter, box, word) {
  const inner = $("form[data-answers]", box), typed = $("[data-typed]", box);
  inner.reset();
  if (typed) $(".word", typed).textContent = word || "";
  inner.onsubmit = e => {
    e.preventDefault();
    if (!inner.reportValidity()) return;
    const wordInput = inner.elements.confirm_word;
    if (word && wordInput && wordInput.value.trim() !== word) {
      wordInput.setCustomValidity(`Type “${word}”`); wordInput.reportValidity();
      wordInput.oninput = () => wordInput.setCustomValidity("");
      return;
    }
    for (const [name, value] of new FormData(inner)) hidden(form, name, value);
    box.close();
    send(form, submitter);
  };
  box.showModal();
}

function confirm(form, submitter, message, title, word, danger) {
  const ok = $("[data-ok]", confirmBox), typed = $("[data-typed]", confirmBox), input = $("input", typed);
  $("p", confirmBox).textContent = message;
  $("h2", confirmBox).textContent = title || "Please confirm";
  ok.textContent = title || "Continue";
  ok.className = danger ? "btn danger solid" : "btn primary";
  typed.hidden = !word;
  $(".word", typed).textContent = word || "";
  input.value = "";
  const check = () => { ok.disabled = !!word && input.value.trim() !== word; };
  input.oninput = check; check();
  confirmBox.returnValue = "";
  confirmBox.onclose = () => {
    if (confirmBox.returnValue !== "ok") return;
    if (word) hidden(form, "confirm_word", input.value.trim());
    send(form, submitter);
  };
  confirmBox.showModal();
  (word ? input : ok).focus();
}

document.addEventListener("submit", e => {
  const form = e.target, by = e.submitter;
  if (form.method === "dialog" || form.matches("[data-answers]")) return;
  const from = name => by?.dataset[name] ?? form.dataset[name];
  if (!form.dataset.sure && (from("ask") || from("confirm"))) {
    e.preventDefault();
    by?.closest("details.menu[open]")?.removeAttribute("open");
    const box = from("ask") && document.getElementById(from("ask"));
    if (box) ask(form, by, box, from("word"));
    else confirm(form, by, from("confirm") || "Are you sure?", from("title"), from("word"), from("danger") !== undefined);
    return;
  }
  delete form.dataset.sure;
  if (form.method === "post") {                       /* one click, one request */
    if (form.dataset.sent) { e.preventDefault(); return; }
    form.dataset.sent = "1";
    (by || $("button:not([type=button])", form))?.classList.add("busy");
  }
});
addEventListener("pageshow", () => $$("form[data-sent]").forEach(f => { delete f.dataset.sent; $$(".busy", f).forEach(b => b.classList.remove("busy")); }));

/* forms warn before typed work is lost */
$$("form[data-guard]").forEach(f => {
  let dirty = false;
  f.addEventListener("input", () => { dirty = true; });
  f.addEventListener("submit", () => { dirty = false; });
  addEventListener("beforeunload", e => { if (dirty) e.preventDefault(); });
});
