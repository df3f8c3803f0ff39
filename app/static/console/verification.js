/* Keys of the verification queue: J and K move through rows, a letter presses the button that carries it. */
const typing = t => /^(INPUT|TEXTAREA|SELECT)$/.test(t.tagName) || t.isContentEditable;
const rows = [...document.querySelectorAll("[data-rows] a.row")];

document.addEventListener("keydown", e => {
  if (e.ctrlKey || e.metaKey || e.altKey || typing(e.target) || document.querySelector("dialog[open]")) return;
  const key = e.key.toLowerCase();
  const step = { j: 1, k: -1 }[key];
  if (step && rows.length) {
    const at = rows.indexOf(document.activeElement);
    const to = at < 0 ? (step > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + step, 0), rows.length - 1);
    e.preventDefault();
    rows[to].focus();
    return;
  }
  const button = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (button) { e.preventDefault(); button.click(); }
});
