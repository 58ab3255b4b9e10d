/*
 * One-time codes as people type them: the same rules as fxsftp/domain/ids.py, which a test compares with this.
 */

const ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"; // Crockford's base32
const IGNORED = /[ \-_.\t\r\n\u00ad\u2010-\u2014\u00a0\u202f]/g;

/**
 * The exact code that was meant, or null when it can't be one: a slip is told at once and costs no scrypt.
 * Forgives case, blanks and dashes, and reads o as 0, i and l as 1.
 * @param {string} typed
 * @returns {string | null}
 */
export function normalCode(typed) {
  const letters = typed.toLowerCase().replace(IGNORED, "").replaceAll("o", "0").replace(/[il]/g, "1");
  const values = [...letters].map((letter) => ALPHABET.indexOf(letter));
  if (values.length !== 16 || values.includes(-1) || check(values.slice(0, -1)) !== values[15]) return null;
  return /** @type {string[]} */ (letters.match(/.{4}/g)).join("-");
}

/** Luhn's check in base 32.
 * @param {number[]} values
 */
function check(values) {
  let total = 0;
  let factor = 2;
  for (const value of [...values].reverse()) {
    const product = value * factor;
    total += Math.floor(product / 32) + (product % 32);
    factor = 3 - factor;
  }
  return (32 - (total % 32)) % 32;
}
