/*
 * The words of a page.  No module here has words of its own: the server renders them, in the user's language, into
 *
 *     <template data-words>
 *       <span data-word="saved">{name} is saved.</span> …
 *     </template>
 *
 * inside the element that a module works on, and `{name}` and the like are filled in here.  Which keys a module needs
 * is its exported WORDS; config/static/README.md says what each of them is for.
 */

/**
 * The words in `root`'s template, as a function from a key and values to text.  A key without words says itself, so that
 * a slip in a page is seen and stops nothing.
 * @param {ParentNode} root
 * @returns {(key: string, values?: Record<string, string | number>) => string}
 */
export function wordsOf(root) {
  const template = /** @type {HTMLTemplateElement | null} */ (root.querySelector("template[data-words]"));
  /** @type {Map<string, string>} */
  const texts = new Map();
  for (const each of template?.content.querySelectorAll("[data-word]") ?? []) {
    texts.set(/** @type {HTMLElement} */ (each).dataset.word ?? "", (each.textContent ?? "").trim().replace(/\s+/g, " "));
  }
  return (key, values = {}) =>
    (texts.get(key) ?? key).replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

/** A number of bytes as the server's own pages write it: "1.2 MB", "1,2 MB", "17 byte".
 * @param {number} bytes
 * @returns {string}
 */
export function sizeText(bytes) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  let power = 0;
  while (power < units.length - 1 && bytes >= (power ? 999.95 : 1000) * 1000 ** power) power += 1;
  return new Intl.NumberFormat(document.documentElement.lang || undefined, {
    style: "unit",
    unit: units[power],
    unitDisplay: power ? "short" : "long",
    maximumFractionDigits: 1,
  }).format(bytes / 1000 ** power);
}

/** What is for browsers with scripts appears; what is for those without goes.
 * @param {ParentNode} root
 */
export function showScripted(root) {
  for (const each of root.querySelectorAll("[data-with-script]")) /** @type {HTMLElement} */ (each).hidden = false;
  for (const each of root.querySelectorAll("[data-without-script]")) /** @type {HTMLElement} */ (each).hidden = true;
}
