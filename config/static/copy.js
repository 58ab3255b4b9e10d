/*
 * Buttons that copy: <button type="button" hidden data-copy="id of what to copy" data-copied="Copied">Copy</button>
 * The button says what is in data-copied for two seconds; aria-live on it tells those who do not see it.
 */

const SAYING = 2000; // milliseconds

for (const each of document.querySelectorAll("button[data-copy]")) {
  const button = /** @type {HTMLButtonElement} */ (each);
  const label = button.textContent;
  let timer = 0;
  button.hidden = !navigator.clipboard; // there is one in secure contexts only
  button.setAttribute("aria-live", "polite");
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy ?? "");
    if (!source) return;
    await navigator.clipboard.writeText("value" in source ? String(source.value) : (source.textContent ?? "").trim());
    button.textContent = button.dataset.copied ?? label;
    clearTimeout(timer);
    timer = setTimeout(() => (button.textContent = label), SAYING);
  });
}
