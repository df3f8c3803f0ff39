/* Branding: a live preview, the contrast of text on the colour, uploads with progress. Works without this script too. */
import { inkOn, contrast, HEX } from "./colour.js";
const $ = (s, r = document) => r.querySelector(s), $$ = (s, r = document) => [...r.querySelectorAll(s)];
const preview = $("[data-brand]");
const inputs = { primary: $("input#primary_color"), secondary: $("input#secondary_color") };
const STANDARD = { primary: "#3d4fd6", secondary: "#18181b" };

function paint() {
  if (!preview) return;
  const given = inputs.primary?.value.trim() || "", second = inputs.secondary?.value.trim() || "";
  const colour = HEX.test(given) ? given : "", other = HEX.test(second) ? second : "";
  for (const el of $$("[data-bp-fill]", preview)) { el.style.background = colour; el.style.color = colour ? inkOn(colour) : ""; }
  for (const el of $$("[data-bp-edge]", preview)) el.style.boxShadow = colour ? `inset 0 3px ${colour}` : "";
  const banner = $("[data-bp-banner]", preview);
  banner.style.background = other;
  banner.hidden = !other && !banner.querySelector("img");
  const note = $("[data-bp-contrast]", preview);
  if (!colour) { note.className = "bp-contrast"; note.textContent = given ? "Enter a colour as #RRGGBB." : "Without a colour, a quiet standard one is used."; return; }
  const ratio = contrast(colour, inkOn(colour));
  note.className = ratio < 4.5 ? "bp-contrast low" : "bp-contrast";
  note.textContent = `${inkOn(colour) === "#ffffff" ? "White" : "Dark"} text on this colour: ${ratio.toFixed(1)} to 1. ` + (ratio < 4.5 ? "That is hard to read; 4.5 is the least. Choose a darker or a lighter tone." : "Good to read.");
}

for (const [name, input] of Object.entries(inputs)) {
  if (!input) continue;
  const pick = document.createElement("input");
  pick.type = "color"; pick.className = "bp-pick"; pick.setAttribute("aria-label", name === "primary" ? "Pick the primary colour" : "Pick the secondary colour");
  const follow = () => { pick.value = HEX.test(input.value.trim()) ? input.value.trim().toLowerCase() : STANDARD[name]; };
  pick.addEventListener("input", () => { input.value = pick.value; paint(); });
  input.addEventListener("input", () => { follow(); paint(); });
  const row = document.createElement("span");
  row.className = "bp-input";
  input.before(row); row.append(pick, input);
  follow();
}
$$("[data-brand-reset]").forEach(b => { b.hidden = false; b.addEventListener("click", () => { for (const i of Object.values(inputs)) if (i) { i.value = ""; i.dispatchEvent(new Event("input")); } inputs.primary?.focus(); }); });
paint();

function shown(kind, url) {
  const img = url ? Object.assign(new Image(), { src: url, alt: "" }) : null;
  if (!preview) return;
  if (kind === "banner") { const b = $("[data-bp-banner]", preview); b.replaceChildren(...(img ? [img] : [])); paint(); return; }
  const tile = $("[data-bp-logo]", preview), mark = $("[data-bp-mark]", preview);
  tile.replaceChildren(img || preview.dataset.name.slice(0, 2).toUpperCase());
  mark.replaceChildren(...(img ? [img.cloneNode()] : []));
  mark.hidden = !img;
}

for (const box of $$("[data-picture]")) {
  const kind = box.dataset.picture, form = $("form", box), input = $("input[type=file]", box), bar = $("progress", box), problem = $("[data-problem]", box), send = $("[data-send]", box), remove = $("[data-remove]", box);
  const fail = text => { problem.textContent = text; problem.hidden = !text; };
  send.hidden = true; // choosing or dropping a file sends it
  input.addEventListener("change", () => {
    const file = input.files[0];
    if (!file) return;
    fail("");
    if (file.size > 5 * 1024 * 1024) return fail("This image is too large. At most 5 MB.");
    if (file.type && !["image/png", "image/jpeg", "image/webp"].includes(file.type)) return fail("This is not a JPEG, PNG or WebP image.");
    const body = new FormData();
    body.append("type", kind); body.append("file", file);
    const xhr = new XMLHttpRequest();
    xhr.open("POST", $("[data-images]").dataset.images);
    xhr.setRequestHeader("X-CSRFToken", form.elements.csrf_token.value);
    xhr.responseType = "json";
    bar.hidden = false; bar.value = 0; input.disabled = true;
    xhr.upload.addEventListener("progress", e => { if (e.lengthComputable) bar.value = 100 * e.loaded / e.total; });
    xhr.addEventListener("loadend", () => {
      bar.hidden = true; input.disabled = false; input.value = "";
      const done = xhr.response;
      if (xhr.status !== 201 || !done) return fail(done?.message || "The upload did not succeed. Please try again.");
      $("[data-shot]", box).replaceChildren(Object.assign(new Image(), { src: done.url, alt: "" }));
      $("[data-file]", box).textContent = "Saved. Choose another file or drop it here";
      remove.hidden = false;
      shown(kind, done.url);
    });
    xhr.send(body);
  });
}
