// Sets the chosen theme before the page is drawn, so that a dark page never flashes white. The modules come later.
try {
  const theme = JSON.parse(localStorage.getItem("semisonic.theme"));
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch {
  // A browser that forbids storage follows the system's theme.
}
