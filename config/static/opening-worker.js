/*
 * Opens what a package holds, away from the page's thread.  The code and the identity come here and go nowhere: what is
 * fetched are KEY.age and the .age files, by GET, and nothing else ever leaves.
 *
 *   page -> here                                        here -> page
 *   {verb: "unlock", keyUrl?, fileUrl, code, delays}    {verb: "unlocked"} or {verb: "locked", reason}
 *   {verb: "open", id, url, size, delays}               {verb: "plain", id, bytes} … {verb: "ended", id}
 *   {verb: "taken", id, buffer}, one for each `plain`   {verb: "broken" | "mended", id}
 *   {verb: "cancel", id}                                {verb: "failed", id, reason}
 *
 * `bytes` are authentic when they come, but that they are *all* is known only at "ended": who hears "failed" keeps
 * nothing.  At most AHEAD pieces are on their way, so a file of any size needs the memory of a small one.
 */

import { Refused, Source, Taker } from "./fetching.js";
import { CHUNK, Forged, RUN, SEALED, TAG, unsealerFor } from "./unsealing.js";
import { Decrypter, hkdf, sha256 } from "./vendor/age.js";

const AHEAD = 6; // MiB: read, being opened, or not yet taken by the page
const KEY_FILE = 1 << 16; // bytes; a KEY.age has 500
const HEADER = 1 << 20; // bytes, as fxsftp/seal/format.py
const NONCE = 16; // bytes
const MAC_LINE = /^--- [A-Za-z0-9+/]{43}\n/m;

/** @type {Decrypter | null} What opens this package's files, once the code has fitted. */
let keys = null;
/** @type {Map<number, {stop: AbortController, taken: () => void}>} */
const underWay = new Map();
/** @type {ArrayBuffer[]} Memory that came back from the page, to be filled again. */
const spare = [];

self.onmessage = async ({ data }) => {
  if (data.verb === "unlock") self.postMessage(await unlock(data));
  else if (data.verb === "open") await open(data);
  else if (data.verb === "taken") take(data);
  else if (data.verb === "cancel") underWay.get(data.id)?.stop.abort();
};

/** @param {{id: number, buffer: ArrayBuffer | null}} said */
function take({ id, buffer }) {
  if (buffer && spare.length < AHEAD) spare.push(buffer);
  underWay.get(id)?.taken();
}

/** @param {{keyUrl?: string, fileUrl: string, code: string, delays?: number[]}} asked */
async function unlock({ keyUrl, fileUrl, code, delays }) {
  try {
    const found = new Decrypter();
    found.addPassphrase(code); // of up to 8 files each may have a header that asks for the code itself
    if (keyUrl) found.addIdentity(await readKeyFile(keyUrl, code, delays));
    else await tryHeader(fileUrl, found, delays);
    keys = found;
    return { verb: "unlocked" };
  } catch (error) {
    return { verb: "locked", reason: error instanceof Unfitting ? "wrong-code" : reasonOf(error) };
  }
}

/** The identity in a KEY.age. @param {string} url @param {string} code @param {number[]} [delays] */
async function readKeyFile(url, code, delays) {
  const keyFile = await new Taker(new Source(url, { delays }).pieces()).take(KEY_FILE);
  const outer = new Decrypter();
  outer.addPassphrase(code);
  const text = await judged(outer.decrypt(keyFile, "text"));
  const identity = text.split("\n").find((line) => line.startsWith("AGE-SECRET-KEY-1"));
  if (!identity) throw new Forged();
  return identity.trim();
}

/** Whether a file's header opens; of the file, no more than that is fetched. @param {string} url @param {Decrypter} found @param {number[]} [delays] */
async function tryHeader(url, found, delays) {
  const stop = new AbortController();
  try {
    const header = await readHeader(new Taker(new Source(url, { delays, signal: stop.signal }).pieces()));
    await judged(found.decryptHeader(header));
  } finally {
    stop.abort();
  }
}

/** @param {{id: number, url: string, size: number, delays?: number[]}} asked */
async function open({ id, url, size, delays }) {
  const stop = new AbortController();
  const credit = new Credit(AHEAD);
  underWay.set(id, { stop, taken: () => credit.give() });
  stop.signal.addEventListener("abort", () => credit.give()); // who waits wakes up and looks
  const source = new Source(url, {
    delays,
    signal: stop.signal,
    onBreak: () => self.postMessage({ verb: "broken", id }),
    onMend: () => self.postMessage({ verb: "mended", id }),
  });
  const pieces = source.pieces();
  try {
    for await (const plain of plaintext(source, new Taker(pieces), size, credit)) {
      stop.signal.throwIfAborted();
      self.postMessage({ verb: "plain", id, bytes: plain }, { transfer: [plain.buffer] });
    }
    self.postMessage({ verb: "ended", id });
  } catch (error) {
    self.postMessage({ verb: "failed", id, reason: stop.signal.aborted ? "cancelled" : reasonOf(error) });
  } finally {
    underWay.delete(id);
    stop.abort();
    pieces.return().catch(() => {}); // it may be waiting for a line that no longer interests anybody
  }
}

/**
 * The plaintext of one file in runs of up to a MiB, in order.  Throws Forged, Refused.
 * @param {Source} source
 * @param {Taker} taker
 * @param {number} size
 * @param {Credit} credit
 */
async function* plaintext(source, taker, size, credit) {
  const header = await readHeader(taker);
  const fileKey = await judged(/** @type {Decrypter} */ (keys).decryptHeader(header));
  const nonce = await taker.take(NONCE);
  const unseal = await unsealerFor(new Uint8Array(hkdf(sha256, fileKey, nonce, new TextEncoder().encode("payload"), 32)));
  const chunks = Math.max(1, Math.ceil(size / CHUNK));
  if (source.total !== null && source.total !== header.length + NONCE + size + TAG * chunks) throw new Forged();

  /** @type {Promise<Uint8Array<ArrayBuffer>>[]} Runs that are being opened while the next ones come in. */
  const opening = [];
  for (let first = 0; first < chunks; first += RUN) {
    await credit.take();
    const isLast = first + RUN >= chunks;
    const sealed = await taker.take(isLast ? size - first * CHUNK + TAG * (chunks - first) : RUN * SEALED, spare.pop());
    if (opening.length > 2) yield await /** @type {Promise<Uint8Array<ArrayBuffer>>} */ (opening.shift());
    const run = unseal(first, sealed, isLast);
    run.catch(() => {}); // it may fail before its turn comes to be waited for
    opening.push(run);
  }
  if ((await taker.take(1)).length) throw new Forged(); // something follows its end
  while (opening.length) yield await /** @type {Promise<Uint8Array<ArrayBuffer>>} */ (opening.shift());
}

/** @param {Taker} taker */
async function readHeader(taker) {
  let header = "";
  while (header.length < HEADER) {
    const line = await readLine(taker);
    header += line;
    if (MAC_LINE.test(line)) return Uint8Array.from(header, (letter) => letter.charCodeAt(0));
    if (!line.endsWith("\n")) break;
  }
  throw new Forged();
}

/** Byte by byte: a header is a few hundred of them. @param {Taker} taker */
async function readLine(taker) {
  let line = "";
  while (!line.endsWith("\n") && line.length < HEADER) {
    const letter = await taker.take(1);
    if (!letter.length) break;
    line += String.fromCharCode(letter[0]);
  }
  return line;
}

/** No key fits: the code is wrong, or the file is not for this package. */
class Unfitting extends Forged {}

/**
 * What vendor/age.js has to say, in our words: whatever it can't read is not made as it must be.
 * @template T
 * @param {Promise<T>} answer
 * @returns {Promise<T>}
 */
async function judged(answer) {
  try {
    return await answer;
  } catch (error) {
    throw String(error).includes("no identity matched") ? new Unfitting() : new Forged();
  }
}

/** @param {unknown} error */
function reasonOf(error) {
  if (error instanceof Refused) return error.reason;
  if (error instanceof Forged) return "forged";
  console.error(error); // a slip of ours or of the browser: nothing that the sender or the line did
  return "failed";
}

/** How much more may be on its way. */
class Credit {
  /** @param {number} amount */
  constructor(amount) {
    this.amount = amount;
    this.wake = () => {};
  }

  give() {
    this.amount += 1;
    this.wake();
  }

  async take() {
    while (this.amount <= 0) await new Promise((resolve) => (this.wake = () => resolve(undefined)));
    this.amount -= 1;
  }
}
