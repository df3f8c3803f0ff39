/* Menus, drawer, theme, tabs, toasts, copying: the frame's behaviour. */
import { HEX, inkOn } from "./colour.js";
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];
const OPEN = "details.menu[open],details.org[open]";

/* popovers are native <details>; they close on an outside click, on Escape, and one at a time */
document.addEventListener("click", e => $$(OPEN).forEach(d => { if (!d.contains(e.target)) d.open = false; }));
document.addEventListener("keydown", e => {
  if (e.key !== "Escape") return;
  $$(OPEN).forEach(d => { d.open = false; $("summary", d).focus(); });
  closeNav();
});
document.addEventListener("keydown", e => {                  /* arrows move within an open menu */
  const pop = e.target.closest?.(".pop"), open = e.target.closest?.("details.menu[open],details.org[open]");
  const step = { ArrowDown: 1, ArrowUp: -1 }[e.key];
  if (!step || !open) return;
  const items = $$("a.pop-a,button.pop-a", open);
  if (!items.length || (!pop && e.target.tagName !== "SUMMARY")) return;
  e.preventDefault();
  items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
});
/* a row's menu escapes the table's scroll box and flips up near the bottom */
document.addEventListener("toggle", e => {
  const d = e.target, pop = d.open && d.closest?.(".tw") && $(".pop", d);
  if (!pop) return;
  const r = $("summary", d).getBoundingClientRect();
  Object.assign(pop.style, { position: "fixed", left: "auto", right: `${document.documentElement.clientWidth - r.right}px`, top: `${r.bottom + 4}px`, bottom: "auto" });
  if (r.bottom + pop.offsetHeight + 12 > innerHeight) Object.assign(pop.style, { top: "auto", bottom: `${innerHeight - r.top + 4}px` });
}, true);
addEventListener("scroll", () => $$(".tw details.menu[open]").forEach(d => { d.open = false; }), { passive: true });

/* drawer on a phone */
const burger = $(".burger");
function closeNav() {
  if (!document.body.classList.contains("nav-open")) return;
  document.body.classList.remove("nav-open");
  burger?.setAttribute("aria-expanded", "false");
  burger?.focus();
}
burger?.addEventListener("click", () => {
  const on = document.body.classList.toggle("nav-open");
  burger.setAttribute("aria-expanded", String(on));
  if (on) $(".side summary,.side a")?.focus();
});
$(".scrim")?.addEventListener("click", closeNav);

/* sidebar groups remember how the reader left them */
$$("details[data-group]").forEach(d => {
  const key = `group:${d.dataset.group}`;
  let kept = null;
  try { kept = localStorage.getItem(key); } catch { /* private window */ }
  if (kept && !$("[aria-current]", d)) d.open = kept === "open";
  $("summary", d).addEventListener("click", () => { try { localStorage.setItem(key, d.open ? "closed" : "open"); } catch { /* private window */ } });
});

/* a long sidebar opens at the page it is on */
const here = $(".side nav [aria-current=page]"), list = here?.closest("nav");
if (here && here.offsetTop + here.offsetHeight > list.offsetTop + list.clientHeight) list.scrollTop = here.offsetTop - list.offsetTop - list.clientHeight / 2;

/* theme */
const marks = () => $$("[data-theme-set]").forEach(b => b.setAttribute("aria-pressed", String(b.dataset.themeSet === document.documentElement.dataset.theme)));
$$("[data-theme-set]").forEach(b => b.addEventListener("click", () => {
  try { b.dataset.themeSet === "system" ? localStorage.removeItem("theme") : localStorage.setItem("theme", b.dataset.themeSet); } catch { /* private window */ }
  document.dispatchEvent(new CustomEvent("console:set-theme"));
  marks();
}));
marks();

/* an organisation's own colour */
$$("[data-color]").forEach(el => { if (HEX.test(el.dataset.color)) { el.style.background = el.dataset.color; el.style.color = inkOn(el.dataset.color); } });

$$("[data-edge]").forEach(el => { if (HEX.test(el.dataset.edge)) el.style.boxShadow = `inset 0 3px ${el.dataset.edge}`; });

/* tabs within a page */
$$("[role=tablist]").forEach(list => {
  const tabs = $$("[role=tab]", list);
  const show = t => tabs.forEach(x => {
    const on = x === t;
    x.setAttribute("aria-selected", String(on)); x.tabIndex = on ? 0 : -1;
    const panel = document.getElementById(x.getAttribute("aria-controls"));
    if (panel) panel.hidden = !on;
  });
  tabs.forEach((t, i) => {
    t.addEventListener("click", () => show(t));
    t.addEventListener("keydown", e => {
      const to = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: tabs.length - 1 }[e.key];
      if (to === undefined) return;
      e.preventDefault();
      const n = tabs[(to + tabs.length) % tabs.length]; n.focus(); show(n);
    });
  });
  if (tabs[0]) show(tabs.find(t => t.getAttribute("aria-selected") === "true") || tabs[0]);
});

/* toasts: success leaves by itself unless the pointer or the focus is on it; danger stays */
$$(".toast").forEach(t => {
  $("button.x", t)?.addEventListener("click", () => t.remove());
  if (t.classList.contains("danger")) return;
  const leave = () => { if (t.matches(":hover") || t.contains(document.activeElement)) setTimeout(leave, 2000); else t.remove(); };
  setTimeout(leave, $("form", t) ? 12000 : 7000);
});

/* copying */
document.addEventListener("click", async e => {
  const b = e.target.closest?.("[data-copy]");
  if (!b) return;
  const word = $("span:not(.sr)", b), before = word?.textContent;
  try { await navigator.clipboard.writeText(b.dataset.copy); if (word) word.textContent = "Copied"; }
  catch { if (word) word.textContent = "Press Ctrl C"; }
  setTimeout(() => { if (word) word.textContent = before; }, 1800);
});

/* focus what needs attention */
$("[data-focus]")?.focus();
$$("[data-narrow]").forEach(inp => inp.addEventListener("input", () => {
  const q = inp.value.trim().toLowerCase(), root = $(inp.dataset.narrow);
  $$("[data-narrow-item]", root).forEach(i => { i.hidden = !!q && !i.textContent.toLowerCase().includes(q); });
  $$("[data-narrow-group]", root).forEach(g => { g.hidden = !$("[data-narrow-item]:not([hidden])", g); });
}));
