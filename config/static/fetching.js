/*
 * Fetching a file that may be large over a line that may break: what has arrived stays, and the rest is asked for by
 * Range.  Whether the bytes are the right ones is not judged here: every chunk of an age payload proves itself.
 *
 * The server answers GET with Content-Length, and Range with 206; an ETag lets a file that changed meanwhile be noticed.
 * When the session has ended it answers 401 or 403, or redirects to the log-in; 404 or 410 when the file is gone.
 */

/** Why something could not be had; `reason` is a key of words: "cut", "gone" or "signed-out". */
export class Refused extends Error {
  /** @param {string} reason */
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** Milliseconds before each new try; counted anew once bytes have come.  Over two minutes in all: a change of network. */
export const DELAYS = [0, 1000, 2000, 5000, 10000, 20000, 30000, 60000];

/** One file on the server, read once from its beginning to its end. */
export class Source {
  /**
   * @param {string} url
   * @param {{signal?: AbortSignal, delays?: number[], onBreak?: () => void, onMend?: () => void}} [how]
   */
  constructor(url, { signal, delays = DELAYS, onBreak = () => {}, onMend = () => {} } = {}) {
    this.url = url;
    this.signal = signal;
    this.delays = delays;
    this.onBreak = onBreak;
    this.onMend = onMend;
    /** @type {number | null} The size of the whole file, once the first answer is there and says so. */
    this.total = null;
    this.position = 0;
    /** @type {string | null} */
    this.etag = null;
  }

  /** The bytes, in pieces as they come.  Throws Refused, or AbortError when the signal says so.
   * @returns {AsyncGenerator<Uint8Array, void>}
   */
  async *pieces() {
    let broken = 0;
    for (;;) {
      try {
        for await (const piece of this.#rest()) {
          if (broken) this.onMend();
          broken = 0;
          yield piece;
        }
        return;
      } catch (error) {
        if (this.signal?.aborted) throw this.signal.reason;
        if (error instanceof Refused) throw error;
        if (broken >= this.delays.length) throw new Refused("cut");
        this.onBreak();
        await pause(this.delays[broken], this.signal);
        broken += 1;
      }
    }
  }

  /** One answer's worth; anything but Refused means that it is worth another try. */
  async *#rest() {
    if (this.total !== null && this.position === this.total) return;
    /** @type {Record<string, string>} */
    const headers = this.position ? { Range: `bytes=${this.position}-` } : {};
    if (this.position && this.etag) headers["If-Range"] = this.etag;
    const answer = await fetch(this.url, { headers, signal: this.signal, redirect: "manual", cache: "no-store" });
    const skip = this.#understand(answer);
    const reader = /** @type {ReadableStream<Uint8Array>} */ (answer.body).getReader();
    let passed = 0;
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) break;
        const piece = value.subarray(Math.min(value.length, Math.max(0, skip - passed)));
        passed += value.length;
        this.position += piece.length;
        if (piece.length) yield piece;
      }
    } finally {
      reader.cancel().catch(() => {}); // of a stream that is over or broken: nothing is left to cancel
    }
    if (this.total !== null && this.position < this.total) throw new Error("it ended early");
  }

  /** How many bytes of this answer were had before.
   * @param {Response} answer
   */
  #understand(answer) {
    if (answer.type === "opaqueredirect" || answer.status === 401 || answer.status === 403) throw new Refused("signed-out");
    if (answer.status === 404 || answer.status === 410) throw new Refused("gone");
    if (answer.status !== 200 && answer.status !== 206) throw new Error(`status ${answer.status}`);
    const etag = answer.headers.get("ETag");
    if (this.position === 0) this.etag = etag?.startsWith("W/") ? null : etag;
    else if (this.etag && etag !== this.etag) throw new Refused("cut"); // another file by now: the two can't be joined
    if (answer.status === 206) {
      const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(answer.headers.get("Content-Range") ?? "");
      if (!range || Number(range[1]) !== this.position) throw new Refused("cut");
      this.total = Number(range[2]);
      return 0;
    }
    const length = answer.headers.get("Content-Length");
    this.total = length === null ? null : Number(length);
    return this.position; // a server that knows no Range begins anew
  }
}

/** Takes exact amounts from pieces of any size. */
export class Taker {
  /** @param {AsyncGenerator<Uint8Array, void>} pieces */
  constructor(pieces) {
    this.pieces = pieces;
    /** @type {Uint8Array} */
    this.left = new Uint8Array(0);
  }

  /** The next `count` bytes, fewer only at the end; in `memory`, if there is enough of it.
   * @param {number} count
   * @param {ArrayBuffer} [memory]
   * @returns {Promise<Uint8Array<ArrayBuffer>>}
   */
  async take(count, memory) {
    const taken = memory && memory.byteLength >= count ? new Uint8Array(memory, 0, count) : new Uint8Array(count);
    let filled = 0;
    while (filled < count) {
      if (!this.left.length) {
        const { done, value } = await this.pieces.next();
        if (done) break;
        this.left = value;
      }
      const piece = this.left.subarray(0, count - filled);
      taken.set(piece, filled);
      filled += piece.length;
      this.left = this.left.subarray(piece.length);
    }
    return taken.subarray(0, filled);
  }
}

/**
 * @param {number} milliseconds
 * @param {AbortSignal} [signal]
 * @returns {Promise<void>}
 */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(go, milliseconds);
    const stop = () => (clearTimeout(timer), self.removeEventListener("online", go), reject(signal?.reason));
    function go() {
      clearTimeout(timer);
      self.removeEventListener("online", go);
      signal?.removeEventListener("abort", stop);
      resolve();
    }
    self.addEventListener("online", go); // the line is back: why wait
    signal?.addEventListener("abort", stop, { once: true });
  });
}
