// Sets light or dark before the first paint. A classic script, since modules run after it.
{
  let chosen = null;
  try { chosen = localStorage.getItem("phidelity.theme"); } catch { /* storage may be forbidden; the system decides */ }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
}
