// Runs before the first paint, so that the chosen theme does not flash: the only script that is not deferred.
(() => {
  const STORAGE_KEY = "runyard-theme";
  /** @type {Record<string, string>} */
  const NEXT = { system: "light", light: "dark", dark: "system" };
  const root = document.documentElement;
  root.dataset.js = "";
  /** @returns {string} light, dark or system */
  const chosenTheme = () => {
    try {
      return localStorage.getItem(STORAGE_KEY) ?? "system";
    } catch {
      return "system";
    }
  };
  const apply = () => {
    const theme = chosenTheme();
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
      const next = NEXT[chosenTheme()] ?? "system";
      try {
        localStorage.setItem(STORAGE_KEY, next);
      } catch {
        root.dataset.theme = next;
      }
      apply();
    });
  });
})();
