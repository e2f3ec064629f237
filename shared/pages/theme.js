// Sets the theme before anything is drawn: the choice kept here, else the system's. A classic script, so that the page never flashes.
(() => {
  const system = matchMedia("(prefers-color-scheme: dark)");
  const kept = () => { try { return localStorage.getItem("theme"); } catch { return null; } };
  const apply = () => { document.documentElement.dataset.theme = kept() ?? (system.matches ? "dark" : "light"); };
  system.addEventListener("change", apply);
  document.addEventListener("theme", () => {
    const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
    try { localStorage.setItem("theme", next); } catch { /* a browser that keeps nothing still switches */ }
    document.documentElement.dataset.theme = next;
  });
  apply();
})();
