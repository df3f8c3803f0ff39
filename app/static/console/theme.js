/* Runs before the first paint: the chosen mode, or the system's. */
(function () {
  var root = document.documentElement, dark = matchMedia("(prefers-color-scheme: dark)");
  function apply() {
    var chosen = null;
    try { chosen = localStorage.getItem("theme"); } catch (e) { /* private window */ }
    root.dataset.theme = chosen === "dark" || chosen === "light" ? chosen : "system";
    root.dataset.mode = root.dataset.theme === "system" ? (dark.matches ? "dark" : "light") : chosen;
    document.dispatchEvent(new CustomEvent("console:theme"));
  }
  apply();
  dark.addEventListener("change", apply);
  addEventListener("storage", function (e) { if (e.key === "theme") apply(); });
  document.addEventListener("console:set-theme", apply);
})();
