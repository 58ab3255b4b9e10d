/*
 * Opens a package in the browser: the code goes to opening-worker.js and no further, files come back opened and go to
 * a sink of saving.js.  Each file's link to its .age stays what it is, for those who open it by other means.
 *
 *   <section data-opening data-key-url="…/KEY.age">
 *     <template data-words>…</template>                       WORDS, see words.js
 *     <form data-opening-form data-with-script hidden>
 *       <input data-opening-code autocomplete="one-time-code" …>  without a name, so that no form can send it
 *       <button>Open</button>
 *     </form>
 *     <form method="post" … data-without-script>…</form>      opens on the server, and says so
 *     <p data-opening-status role="status"></p>
 *     <li data-opening-file data-name="sub/report.csv" data-size="bytes of plaintext" data-url="…/report.csv.age">
 *       <button type="button" data-opening-save hidden>       <button type="button" data-opening-cancel hidden>
 *       <progress data-opening-progress hidden aria-label="report.csv"></progress>   <span data-opening-state></span>
 *     </li> …
 *     <button type="button" data-opening-all hidden>
 *   </section>
 *
 * Without a data-key-url, as in a package of few files, each file's header has to ask for the code itself.
 * Optional: data-retry-delays="0 1000 …" (milliseconds) on the section.
 */

import { normalCode } from "./code.js";
import { Dismissed, MEMORY_LIMIT, TooLarge, canSaveFolder, chooseFolder, sinkForDownload, sinkForFile } from "./saving.js";
import { showScripted, sizeText, wordsOf } from "./words.js";

export const WORDS = [
  "checking", "mistyped", "wrong-code", "opened", // of the code
  "saving", "progress", "broken", "saved", "cancelled", "all-saved", // of files
  "cut", "gone", "signed-out", "forged", "too-large", "not-saved", "failed", // what went wrong
];

const SHOWING = 100; // milliseconds between two looks of a progress bar: drawing it costs as much as opening a MiB

/** @typedef {import("./saving.js").Sink} Sink */

/** One file of the package as it stands on the page. */
class Row {
  /** @param {HTMLElement} element */
  constructor(element) {
    const part = (/** @type {string} */ name) => /** @type {any} */ (element.querySelector(`[data-opening-${name}]`));
    this.name = element.dataset.name ?? "";
    this.size = Number(element.dataset.size);
    this.url = new URL(element.dataset.url ?? "", document.baseURI).href;
    /** @type {HTMLButtonElement} */
    this.save = part("save");
    /** @type {HTMLButtonElement} */
    this.cancel = part("cancel");
    /** @type {HTMLProgressElement} */
    this.progress = part("progress");
    /** @type {HTMLElement} */
    this.state = part("state");
    this.progress.max = Math.max(1, this.size);
    this.isSaved = false;
  }

  /** @param {boolean} is */
  busy(is) {
    this.save.hidden = is;
    this.cancel.hidden = this.progress.hidden = !is;
    if (is) this.progress.value = 0;
  }
}

/** One package on a page. */
class Opening {
  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
    this.say = wordsOf(root);
    this.delays = root.dataset.retryDelays?.split(/[\s,]+/).map(Number);
    this.rows = Array.from(root.querySelectorAll("[data-opening-file]"), (each) => new Row(/** @type {HTMLElement} */ (each)));
    this.form = /** @type {HTMLFormElement} */ (root.querySelector("[data-opening-form]"));
    this.input = /** @type {HTMLInputElement} */ (root.querySelector("[data-opening-code]"));
    this.status = /** @type {HTMLElement} */ (root.querySelector("[data-opening-status]"));
    this.all = /** @type {HTMLButtonElement | null} */ (root.querySelector("[data-opening-all]"));
    this.worker = new Worker(new URL("./opening-worker.js", import.meta.url), { type: "module" });
    this.worker.onmessage = ({ data }) => this.hears.get(data.id ?? "code")?.(data);
    this.worker.onerror = () => this.tell("failed");
    /** @type {Map<number | string, (said: any) => unknown>} Who waits for what the worker says. */
    this.hears = new Map();
    this.count = 0;
    this.underWay = 0;
  }

  start() {
    this.input.removeAttribute("name");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.unlock();
    });
    for (const row of this.rows) row.save.addEventListener("click", () => this.saveOne(row));
    this.all?.addEventListener("click", () => this.saveAll());
    window.addEventListener("beforeunload", (event) => {
      if (this.underWay) event.preventDefault();
    });
    showScripted(this.root);
  }

  async unlock() {
    const code = normalCode(this.input.value);
    if (this.hears.has("code")) return; // Enter twice: one is being tried
    if (code === null) return this.refuse("mistyped");
    this.tell("checking");
    this.input.removeAttribute("aria-invalid");
    const keyUrl = this.root.dataset.keyUrl && new URL(this.root.dataset.keyUrl, document.baseURI).href;
    const answer = await this.ask({ verb: "unlock", keyUrl, fileUrl: this.rows[0]?.url, code, delays: this.delays });
    if (answer.verb !== "unlocked") return this.refuse(answer.reason);
    this.input.value = "";
    this.form.hidden = true;
    for (const row of this.rows) row.save.hidden = false;
    if (this.all && this.rows.length > 1) this.all.hidden = false;
    this.tell("opened", { count: this.rows.length });
    (this.rows.length > 1 && this.all ? this.all : this.rows[0]?.save)?.focus(); // where the form was is nothing now
  }

  /** @param {Row} row */
  async saveOne(row) {
    await this.save(row, () => sinkForFile(row.name, row.size));
  }

  /** All files that are not saved yet, one after the other: into a folder, else as downloads. */
  async saveAll() {
    /** @type {(row: Row) => Promise<Sink>} */
    let sinkFor = (row) => sinkForDownload(row.name, row.size);
    if (canSaveFolder()) {
      try {
        const inFolder = await chooseFolder();
        sinkFor = (row) => inFolder(row.name);
      } catch (error) {
        if (!(error instanceof Dismissed)) this.tell("not-saved", { name: "" });
        return;
      }
    }
    const button = /** @type {HTMLButtonElement} */ (this.all);
    button.disabled = true;
    if (this.rows.every((row) => row.isSaved)) for (const row of this.rows) row.isSaved = false; // once more, all of them
    for (const row of this.rows.filter((each) => !each.isSaved && !each.save.hidden)) {
      const outcome = await this.save(row, () => sinkFor(row));
      if (outcome === "cancelled" || outcome === "signed-out") break; // nothing further is wanted, or would come
    }
    button.disabled = false;
    if (this.rows.every((row) => row.isSaved)) this.tell("all-saved", { count: this.rows.length });
  }

  /**
   * Fetches, opens and saves one file, all of it or nothing; returns the key of the words that say how it went.
   * @param {Row} row
   * @param {() => Promise<Sink>} sinkFor
   */
  async save(row, sinkFor) {
    /** @type {Sink} */
    let sink;
    row.save.disabled = true; // a second click while the dialog is open
    try {
      sink = await sinkFor();
    } catch (error) {
      if (error instanceof Dismissed) return "cancelled";
      return this.close(row, error instanceof TooLarge ? "too-large" : "not-saved");
    } finally {
      row.save.disabled = false;
    }
    const hadFocus = document.activeElement === row.save || document.activeElement === document.body;
    row.busy(true);
    if (hadFocus && !this.all?.disabled) row.cancel.focus(); // a hidden button would lose it
    this.underWay += 1;
    this.tell("saving", { name: row.name });
    const outcome = await this.pour(row, sink);
    this.underWay -= 1;
    const hasFocus = document.activeElement === row.cancel;
    row.busy(false);
    row.isSaved = outcome === "saved";
    if (hasFocus) row.save.focus();
    return this.close(row, outcome);
  }

  /**
   * From the worker into the sink.  The moment of truth is `sink.close()`: before it nothing is kept.
   * @param {Row} row
   * @param {Sink} sink
   * @returns {Promise<string>}
   */
  async pour(row, sink) {
    const id = (this.count += 1);
    const cancel = () => this.worker.postMessage({ verb: "cancel", id });
    row.cancel.addEventListener("click", cancel);
    let done = 0;
    let shown = 0;
    let written = Promise.resolve();
    /** @type {string | null} */
    let problem = null;
    const write = async (/** @type {Uint8Array<ArrayBuffer>} */ bytes) => {
      if (problem) return;
      const length = bytes.length;
      try {
        await sink.write(bytes);
      } catch (error) {
        problem = error instanceof Dismissed ? "cancelled" : "not-saved";
        return cancel();
      }
      done += length;
      if (performance.now() - shown > SHOWING || done === row.size) {
        shown = performance.now();
        row.progress.value = done;
        row.state.textContent = this.say("progress", { done: sizeText(done), size: sizeText(row.size) });
      }
      const isBack = bytes.byteLength > 0; // else it went on to another thread
      this.worker.postMessage({ verb: "taken", id, buffer: isBack ? bytes.buffer : null }, isBack ? [bytes.buffer] : []);
    };
    const last = await new Promise((resolve) => {
      this.hears.set(id, (said) => {
        if (said.verb === "plain") written = written.then(() => write(said.bytes));
        else if (said.verb === "broken") row.state.textContent = this.say("broken");
        else if (said.verb === "ended" || said.verb === "failed") resolve(said);
      });
      this.worker.postMessage({ verb: "open", id, url: row.url, size: row.size, delays: this.delays });
    });
    this.hears.delete(id);
    row.cancel.removeEventListener("click", cancel);
    await written;
    if (last.verb === "failed") problem ??= last.reason;
    try {
      if (!problem) await sink.close();
    } catch (error) {
      problem = error instanceof Dismissed ? "cancelled" : "not-saved";
    }
    if (problem) await sink.abort().catch(() => {}); // what failed to be written may fail to be removed
    return problem ?? "saved";
  }

  /** @param {Row} row @param {string} outcome */
  close(row, outcome) {
    row.state.textContent = this.tell(outcome, { name: row.name, limit: sizeText(MEMORY_LIMIT) });
    return outcome;
  }

  /** The code won't do. @param {string} reason */
  refuse(reason) {
    this.tell(reason, { name: "KEY.age" });
    if (reason === "wrong-code" || reason === "mistyped") {
      this.input.setAttribute("aria-invalid", "true");
      this.input.focus();
      this.input.select();
    }
  }

  /** @param {string} key @param {Record<string, string | number>} [values] */
  tell(key, values) {
    const text = this.say(key, values);
    this.status.dataset.outcome = key; // for style sheets
    this.status.textContent = text;
    return text;
  }

  /** @param {object} question @returns {Promise<any>} what the worker says of the code */
  async ask(question) {
    const answer = await new Promise((resolve) => {
      this.hears.set("code", resolve);
      this.worker.postMessage(question);
    });
    this.hears.delete("code");
    return answer;
  }
}

for (const each of document.querySelectorAll("[data-opening]")) new Opening(/** @type {HTMLElement} */ (each)).start();
