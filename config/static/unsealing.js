/*
 * The chunks of an age payload (STREAM: ChaCha20-Poly1305 over 64 KiB), opened as fast as this browser can.
 *
 * Newer browsers have the cipher in WebCrypto: about 400 MB/s.  Others do it in JavaScript at about a tenth of that per
 * core, so several helpers open different runs of chunks side by side: each chunk has its own nonce and proves itself.
 * WebAssembly would be faster than that, but asks for 'wasm-unsafe-eval' in the page's policy.
 */

import { chacha20poly1305 } from "./vendor/age.js";

export const CHUNK = 65536; // bytes of plaintext
export const TAG = 16; // bytes
export const SEALED = CHUNK + TAG; // bytes
export const RUN = 16; // chunks that are opened and handed on together: 1 MiB

const HELPERS = 4; // at most: beyond that, the line is slower than they are
const CIPHER = "ChaCha20-Poly1305";

/** What a chunk's tag does not fit: the file is not as it was made. */
export class Forged extends Error {}

/** @param {number} index @param {boolean} last */
export function chunkNonce(index, last) {
  const nonce = new Uint8Array(12); // 11 bytes of counter, and whether it is the last
  new DataView(nonce.buffer).setUint32(7, index);
  new DataView(nonce.buffer).setUint32(3, Math.floor(index / 2 ** 32));
  nonce[11] = last ? 1 : 0;
  return nonce;
}

/** The plaintext size of a run of chunks. @param {number} sealed */
export function plainLength(sealed) {
  return sealed - TAG * Math.max(1, Math.ceil(sealed / SEALED));
}

/** @typedef {(first: number, sealed: Uint8Array<ArrayBuffer>, isLast: boolean) => Promise<Uint8Array<ArrayBuffer>>} Unseal
 * Opens a run of whole chunks, of which only the last one of a file may be short.  Throws Forged.  It opens in place: what
 * it gives is a view of the memory that `sealed` was in, since a MiB of fresh memory costs as much as opening one. */

/**
 * The way to open chunks under `key`.
 * @param {Uint8Array<ArrayBuffer>} key
 * @returns {Promise<Unseal>}
 */
export async function unsealerFor(key) {
  const native = await nativeKey(key);
  if (native) return (first, sealed, isLast) => unsealNatively(native, first, sealed, isLast);
  if (typeof Worker === "undefined") return async (first, sealed, isLast) => unsealHere(key, first, sealed, isLast);
  return (first, sealed, isLast) => askHelper(key, first, sealed, isLast);
}

/**
 * Opens a run of chunks in JavaScript, in this thread.
 * @param {Uint8Array} key
 * @param {number} first
 * @param {Uint8Array<ArrayBuffer>} sealed
 * @param {boolean} isLast
 */
export function unsealHere(key, first, sealed, isLast) {
  for (const { index, to, last, chunk } of chunksOf(first, sealed, isLast)) {
    try {
      sealed.set(chacha20poly1305(key, chunkNonce(index, last)).decrypt(chunk, scratch.subarray(0, chunk.length - TAG)), to);
    } catch {
      throw new Forged();
    }
  }
  return sealed.subarray(0, plainLength(sealed.length));
}

const scratch = new Uint8Array(CHUNK);

/** @param {CryptoKey} key @param {number} first @param {Uint8Array<ArrayBuffer>} sealed @param {boolean} isLast */
async function unsealNatively(key, first, sealed, isLast) {
  // decrypt() copies what it is given before it returns, so nothing is overwritten that it has yet to read.
  const opening = Array.from(chunksOf(first, sealed, isLast), ({ index, last, chunk }) =>
    crypto.subtle.decrypt({ name: CIPHER, iv: chunkNonce(index, last) }, key, chunk),
  );
  const opened = await Promise.all(opening).catch(() => {
    throw new Forged();
  });
  opened.forEach((plain, step) => sealed.set(new Uint8Array(plain), step * CHUNK));
  return sealed.subarray(0, plainLength(sealed.length));
}

/** @param {number} first @param {Uint8Array<ArrayBuffer>} sealed @param {boolean} isLast */
function* chunksOf(first, sealed, isLast) {
  const count = Math.max(1, Math.ceil(sealed.length / SEALED));
  for (let step = 0; step < count; step += 1) {
    const chunk = sealed.subarray(step * SEALED, (step + 1) * SEALED);
    if (chunk.length < TAG) throw new Forged();
    yield { index: first + step, to: step * CHUNK, last: isLast && step === count - 1, chunk };
  }
}

/** The cipher of this browser, or null where it has none.  `raw-secret` is what the standard says; `raw` came before.
 * @param {Uint8Array<ArrayBuffer>} key
 */
async function nativeKey(key) {
  for (const format of ["raw-secret", "raw"]) {
    try {
      return await crypto.subtle.importKey(/** @type {"raw"} */ (format), key, CIPHER, false, ["decrypt"]);
    } catch {
      // Not known here, by this name or at all; or this is no secure context and there is no `subtle`.
    }
  }
  return null;
}

// ---- helpers ---------------------------------------------------------------------------------------

/** @type {Worker[]} */
const helpers = [];
/** @type {Map<number, {resolve: (plain: Uint8Array<ArrayBuffer>) => void, reject: (error: Error) => void}>} */
const asked = new Map();
let number = 0;

/** @type {(key: Uint8Array, first: number, sealed: Uint8Array<ArrayBuffer>, isLast: boolean) => Promise<Uint8Array<ArrayBuffer>>} */
function askHelper(key, first, sealed, isLast) {
  if (!helpers.length) startHelpers();
  const id = (number += 1);
  return new Promise((resolve, reject) => {
    asked.set(id, { resolve, reject });
    helpers[id % helpers.length].postMessage({ id, key, first, sealed, isLast }, [sealed.buffer]);
  });
}

function startHelpers() {
  const count = Math.max(1, Math.min(HELPERS, navigator.hardwareConcurrency || 2));
  for (let each = 0; each < count; each += 1) {
    const helper = new Worker(new URL("./unsealing-worker.js", import.meta.url), { type: "module" });
    helper.onmessage = ({ data: { id, plain } }) => {
      const waiting = asked.get(id);
      asked.delete(id);
      if (plain) waiting?.resolve(plain);
      else waiting?.reject(new Forged());
    };
    helper.onerror = () => {
      for (const waiting of asked.values()) waiting.reject(new Error("a helper did not start"));
      asked.clear();
    };
    helpers.push(helper);
  }
}
