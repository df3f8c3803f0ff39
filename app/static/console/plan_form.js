/* The form of a plan: only the fields of the type that is chosen. */
const NEEDS = {
  CONSULTATION: ["trial_minutes", "trial_price_paise"],
  SUBSCRIPTION: ["total_sessions", "sessions_per_week", "trial_minutes", "trial_price_paise", "collaborators"],
  WEBINAR: ["max_participants", "collaborators"],
  CLASS: ["total_sessions", "sessions_per_week", "max_participants", "collaborators"],
};
const ALL = [...new Set(Object.values(NEEDS).flat())];
const type = document.querySelector("select[name=type]");

function show() {
  for (const name of ALL) {
    const input = document.querySelector(`[name=${name}]`);
    if (!input) continue;
    const wanted = NEEDS[type.value]?.includes(name) ?? true;
    input.closest(".fld").hidden = !wanted;
  }
  for (const section of document.querySelectorAll("fieldset.fs")) {
    const fields = [...section.querySelectorAll(".fld")];
    if (fields.length) section.hidden = fields.every(f => f.hidden);
  }
}
if (type) {
  type.addEventListener("change", show);
  show();
}
