// Runs before the first paint, so that a chosen theme never flashes: the one script that is not deferred.
(() => {
  const root = document.documentElement;
  root.dataset.js = "";
  /** @returns {string} light, dark or system */
  const chosen = () => {
    try {
      return localStorage.getItem("runyard-theme") ?? "system";
    } catch {
      return "system";
    }
  };
  const apply = () => {
    const theme = chosen();
    if (theme === "system") delete root.dataset.theme;
    else root.dataset.theme = theme;
    for (const name of document.querySelectorAll("[data-theme-name]")) name.textContent = theme;
    document.dispatchEvent(new Event("theme-changed"));
  };
  apply();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", apply);
  addEventListener("storage", apply);
  document.addEventListener("DOMContentLoaded", () => {
    apply();
    document.querySelector("[data-theme-toggle]")?.addEventListener("click", () => {
      const following = { system: "light", light: "dark", dark: "system" }[chosen()] ?? "system";
      try {
        localStorage.setItem("runyard-theme", following);
      } catch {
        root.dataset.theme = following;
      }
      apply();
    });
  });
})();
