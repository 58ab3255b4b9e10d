/*
 * Sends the files of a package while its form is being filled in: picked, dropped, or whole folders; several at once,
 * each with its progress, resumable after a broken line and after a reload.  Without scripts the same form sends its
 * files itself.
 *
 *   <form data-sending data-endpoint="tus creation URL" data-open="URL of the list of this draft's files" data-token="…"
 *         method="post" enctype="multipart/form-data">
 *     <template data-words>…</template>                       WORDS, see words.js
 *     <template data-sending-row>
 *       <li><span data-sending-name></span> <span data-sending-size></span>
 *           <progress data-sending-progress></progress> <span data-sending-state></span>
 *           <button type="button" data-sending-retry hidden>  <button type="button" data-sending-cancel></li>
 *     </template>
 *     <div data-sending-drop>
 *       <input type="file" name="files" multiple data-sending-picker>
 *       <span data-with-script hidden><input type="file" webkitdirectory data-sending-folder></span>
 *     </div>
 *     <ul data-sending-list></ul>   <p data-sending-status role="status"></p>   <button data-sending-submit>
 *   </form>
 *
 * The form is then submitted with a field `upload` for each file, which has the path of its tus URL, and without files.
 * Optional: data-max-size (bytes a file), data-chunk-size (bytes a PATCH, where a proxy in front has a limit).
 */

import { fingerprintOf, urlStorage } from "./resuming.js";
import { Upload } from "./vendor/tus.js";
import { showScripted, sizeText, wordsOf } from "./words.js";

export const WORDS = [
  "queued", "progress", "broken", "sent", "half", "overall", "all-sent", "cancelled", // how it goes
  "signed-out", "gone", "too-large", "no-room", "refused", "unreadable", "cut", // what went wrong
];

const AT_ONCE = 3; // files: small ones need no more, and large ones share the line anyway
const DELAYS = [0, 1000, 3000, 5000, 10000, 20000, 30000, 60000]; // milliseconds, counted anew after progress

/** @typedef {"queued" | "sending" | "sent" | "half" | "failed" | "removed"} State */

/** One file as it stands in the list. */
class Row {
  /** @param {HTMLElement} element @param {string} path @param {number} size */
  constructor(element, path, size) {
    const part = (/** @type {string} */ name) => /** @type {any} */ (element.querySelector(`[data-sending-${name}]`));
    this.element = element;
    this.path = path;
    this.size = size;
    /** @type {State} */
    this.state = "queued";
    this.done = 0; // bytes that are shown as gone, which lines and proxies may still hold
    this.sure = 0; // bytes that the server has said it has
    this.isBroken = false; // it waits for the next try
    /** @type {File | null} */
    this.file = null;
    /** @type {string | null} */
    this.fingerprint = null;
    /** @type {string | null} Where it is on the server, once it is there. */
    this.url = null;
    /** @type {Upload | null} */
    this.upload = null;
    this.isCut = false; // it failed for the line alone
    /** @type {HTMLProgressElement} */
    this.progress = part("progress");
    /** @type {HTMLElement} */
    this.said = part("state");
    /** @type {HTMLButtonElement} */
    this.retry = part("retry");
    /** @type {HTMLButtonElement} */
    this.cancel = part("cancel");
    part("name").textContent = path;
    part("size").textContent = sizeText(size);
    this.progress.max = Math.max(1, size);
    this.progress.value = 0;
    this.progress.setAttribute("aria-label", path);
    for (const button of [this.retry, this.cancel]) button.setAttribute("aria-label", `${button.textContent?.trim()} ${path}`);
  }

  /** @param {number} done */
  reached(done) {
    this.isBroken = false;
    this.done = done;
    this.progress.value = this.size ? done : Number(this.state === "sent");
  }

  /** The bar shows nothing that may be lost: how far it has come, the server is asked then. @param {string} text */
  breaks(text) {
    this.isBroken = true;
    this.done = this.sure;
    this.progress.removeAttribute("value");
    this.said.textContent = text;
  }

  /** @param {State} state @param {string} text */
  becomes(state, text) {
    this.isBroken = false;
    this.state = this.element.dataset.state = state;
    this.said.textContent = text;
    this.retry.hidden = state !== "failed";
    this.progress.hidden = state === "failed";
  }
}

/** One form on a page. */
class Sending {
  /** @param {HTMLFormElement} form */
  constructor(form) {
    const part = (/** @type {string} */ name) => /** @type {any} */ (form.querySelector(`[data-sending-${name}]`));
    this.form = form;
    this.say = wordsOf(form);
    this.endpoint = new URL(form.dataset.endpoint ?? "", document.baseURI).href;
    this.headers = form.dataset.token ? { "X-CSRF-Token": form.dataset.token } : {};
    this.maxSize = Number(form.dataset.maxSize || Infinity);
    /** @type {Row[]} */
    this.rows = [];
    /** @type {HTMLTemplateElement} */
    this.template = part("row");
    /** @type {HTMLInputElement} */
    this.picker = part("picker");
    /** @type {HTMLInputElement | null} */
    this.folder = part("folder");
    /** @type {HTMLElement} */
    this.list = part("list");
    /** @type {HTMLElement} */
    this.drop = part("drop");
    /** @type {HTMLElement} */
    this.status = part("status");
    /** @type {HTMLButtonElement} */
    this.submit = part("submit");
    this.told = -1;
  }

  async start() {
    for (const input of [this.picker, this.folder]) {
      if (!input) continue;
      const take = () => {
        const files = Array.from(input.files ?? [], (file) => ({ file, path: file.webkitRelativePath || file.name }));
        input.value = ""; // so that the form does not send them again, and the same file can be picked again
        this.add(files);
      };
      input.addEventListener("change", take);
      if (input.files?.length) take(); // picked while this script was on its way
    }
    this.picker.required = false;
    this.listenForDrops();
    this.form.addEventListener("submit", (event) => this.handOver(event));
    window.addEventListener("pageshow", () => this.look());
    window.addEventListener("online", () => this.goOn());
    window.addEventListener("beforeunload", (event) => {
      if (this.rows.some((row) => row.state === "queued" || row.state === "sending")) event.preventDefault();
    });
    showScripted(this.form);
    this.look();
    await this.recall();
  }

  /** What the server has of this draft already: done, or to be picked again. */
  async recall() {
    if (!this.form.dataset.open) return;
    const answer = await fetch(new URL(this.form.dataset.open, document.baseURI), {
      headers: { Accept: "application/json" },
      redirect: "manual",
    }).catch(() => null); // a line that breaks just now costs the list and nothing else
    if (!answer?.ok) return;
    for (const each of await answer.json()) {
      if (this.rows.some((row) => row.path === each.name)) continue; // picked while the list was on its way
      const row = this.newRow(each.name, each.size);
      row.url = new URL(each.url, document.baseURI).href;
      row.fingerprint = each.fingerprint ?? null;
      const whole = each.offset === each.size;
      row.becomes(whole ? "sent" : "half", this.say(whole ? "sent" : "half", { name: row.path, done: sizeText(each.offset) }));
      row.reached(each.offset);
    }
    this.look();
  }

  /** @param {{file: File, path: string}[]} files */
  async add(files) {
    for (const { file, path } of files) {
      const fingerprint = await fingerprintOf(this.endpoint, path, file);
      const same = this.rows.find((row) => row.path === path);
      if (same && same.fingerprint === fingerprint && fingerprint && same.state !== "half" && same.state !== "failed") continue;
      const goesOn = same && same.state === "half" && fingerprint !== null && same.fingerprint === fingerprint;
      if (same && !goesOn) this.remove(same); // put again: the newer wins
      const row = goesOn ? same : this.newRow(path, file.size);
      row.file = file;
      row.fingerprint = fingerprint;
      if (file.size > this.maxSize) row.becomes("failed", this.say("too-large", { name: path, limit: sizeText(this.maxSize) }));
      else row.becomes("queued", this.say("queued", { name: path }));
    }
    this.next();
  }

  /** @param {string} path @param {number} size */
  newRow(path, size) {
    const copy = /** @type {DocumentFragment} */ (this.template.content.cloneNode(true));
    const row = new Row(/** @type {HTMLElement} */ (copy.firstElementChild), path, size);
    row.cancel.addEventListener("click", () => {
      const other = this.rows[this.rows.indexOf(row) + 1] ?? this.rows[this.rows.indexOf(row) - 1];
      this.remove(row);
      this.status.textContent = this.say("cancelled", { name: path });
      (other?.cancel ?? this.picker).focus();
      this.next();
    });
    row.retry.addEventListener("click", () => this.again(row));
    this.list.append(row.element);
    this.rows.push(row);
    return row;
  }

  /** Begins what may begin now. */
  next() {
    let room = AT_ONCE - this.rows.filter((row) => row.state === "sending").length;
    for (const row of this.rows) {
      if (row.state !== "queued" || room <= 0) continue;
      room -= 1;
      row.becomes("sending", this.say("progress", { done: sizeText(row.done), size: sizeText(row.size) }));
      this.send(row);
    }
    this.look();
  }

  /** @param {Row} row */
  async send(row) {
    const upload = new Upload(/** @type {File} */ (row.file), {
      endpoint: this.endpoint,
      uploadUrl: row.url,
      headers: this.headers,
      metadata: {
        filename: row.path,
        modified: String(row.file?.lastModified),
        ...(row.fingerprint === null ? {} : { fingerprint: row.fingerprint }),
      },
      chunkSize: Number(this.form.dataset.chunkSize || Infinity),
      retryDelays: DELAYS,
      fingerprint: async () => row.fingerprint,
      urlStorage,
      storeFingerprintForResuming: row.fingerprint !== null,
      removeFingerprintOnSuccess: true,
      onShouldRetry: (error) => {
        const isCreation = /** @type {any} */ (error).originalRequest?.getMethod() === "POST";
        if (row.state !== "sending" || !mayPass(statusOf(error), isCreation)) return false;
        row.breaks(this.say("broken"));
        this.look();
        if (!statusOf(error)) this.lookAtFile(row);
        return true;
      },
      onBeforeRequest: (request) => {
        if (request.getMethod() === "PATCH") row.sure = Number(request.getHeader("Upload-Offset"));
      },
      onUploadUrlAvailable: () => {
        row.url = upload.url;
        if (row.state === "removed") this.terminate(row);
      },
      onProgress: (done) => {
        if (row.state !== "sending") return;
        row.reached(done);
        row.said.textContent = this.say("progress", { done: sizeText(done), size: sizeText(row.size) });
        this.look();
      },
      onSuccess: () => {
        if (row.state === "removed") return;
        row.url = upload.url;
        row.becomes("sent", this.say("sent", { name: row.path }));
        row.reached(row.size);
        this.next();
      },
      onError: (error) => {
        if (row.state === "removed") return;
        row.becomes("failed", this.reason(row, error));
        row.isCut = statusOf(error) === 0;
        this.status.textContent = row.said.textContent;
        this.next();
      },
    });
    row.upload = upload;
    if (!row.url && row.fingerprint) {
      const [before] = await upload.findPreviousUploads();
      if (before) upload.resumeFromPreviousUpload(before);
    }
    if (row.state === "sending") upload.start();
  }

  /** A file that was changed since it was picked looks to a browser as if the line broke. @param {Row} row */
  async lookAtFile(row) {
    try {
      await row.file?.slice(0, 1).arrayBuffer();
    } catch {
      if (row.state !== "sending") return;
      row.upload?.abort(false);
      row.becomes("failed", this.say("unreadable", { name: row.path }));
      this.status.textContent = row.said.textContent;
      this.next();
    }
  }

  /** The line is back: nobody waits for the next try. */
  goOn() {
    for (const row of this.rows.filter((each) => each.isBroken)) {
      row.upload?.abort(false);
      row.upload?.start();
    }
    for (const row of this.rows.filter((each) => each.isCut)) this.again(row);
  }

  /** @param {Row} row */
  again(row) {
    row.isCut = false;
    if (!row.file || row.size > this.maxSize) return;
    row.becomes("queued", this.say("queued", { name: row.path }));
    this.next();
  }

  /** @param {Row} row */
  remove(row) {
    row.becomes("removed", "");
    row.element.remove();
    this.rows = this.rows.filter((each) => each !== row);
    row.upload?.abort(false);
    if (row.fingerprint) urlStorage.removeUpload(urlStorage.keyOf(row.fingerprint));
    this.terminate(row);
  }

  /** What the server has of it goes, too; what can't be told now, it sweeps. @param {Row} row */
  terminate(row) {
    if (row.url) Upload.terminate(row.url, { headers: this.headers, retryDelays: [0, 1000] }).catch(() => {});
  }

  /** What the whole looks like: whether the package can leave, and, now and then, how far it is. */
  look() {
    const isComplete = this.rows.length > 0 && this.rows.every((row) => row.state === "sent");
    this.submit.disabled = !isComplete;
    const size = this.rows.reduce((sum, row) => sum + row.size, 0);
    const done = this.rows.reduce((sum, row) => sum + row.done, 0);
    const tenth = isComplete ? 10 : Math.min(9, Math.floor((10 * done) / Math.max(1, size)));
    if (tenth === this.told || !this.rows.length) return;
    this.told = tenth; // every tenth and not every byte: the status is read aloud
    const percent = new Intl.NumberFormat(document.documentElement.lang || undefined, { style: "percent" }).format(tenth / 10);
    const sent = this.rows.filter((row) => row.state === "sent").length;
    this.status.textContent = this.say(isComplete ? "all-sent" : "overall", { sent, count: this.rows.length, percent });
  }

  /** The package leaves: its form says which files are its, and carries none. @param {SubmitEvent} event */
  handOver(event) {
    this.look();
    if (this.submit.disabled) return event.preventDefault();
    for (const old of this.form.querySelectorAll("input[data-sending-upload]")) old.remove();
    for (const row of this.rows) {
      const field = document.createElement("input");
      field.type = "hidden";
      field.name = "upload";
      field.value = new URL(/** @type {string} */ (row.url)).pathname;
      field.dataset.sendingUpload = "";
      this.form.append(field);
    }
  }

  /** @param {Row} row @param {Error} error */
  reason(row, error) {
    const status = statusOf(error);
    const words = { 401: "signed-out", 403: "signed-out", 404: "gone", 410: "gone", 413: "too-large", 507: "no-room" };
    // A server that refuses says why, in the user's language.
    const answer = /** @type {any} */ (error).originalResponse;
    const text = answer?.getHeader("Content-Type")?.startsWith("text/plain") ? answer.getBody().trim().slice(0, 300) : "";
    const otherwise = text || (status >= 400 && status < 500) ? "refused" : "cut";
    const key = /** @type {Record<number, string>} */ (words)[status] ?? otherwise;
    return this.say(key, { name: row.path, reason: text, limit: sizeText(this.maxSize === Infinity ? row.size : this.maxSize) });
  }

  listenForDrops() {
    const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes("Files");
    const mark = (/** @type {boolean} */ is) => this.drop.toggleAttribute("data-dragging", is);
    // Anywhere else on the page a dropped file would take the page's place, and with it what is half typed.
    window.addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
    window.addEventListener("drop", (event) => hasFiles(event) && event.preventDefault());
    this.drop.addEventListener("dragover", () => mark(true));
    this.drop.addEventListener("dragleave", () => mark(false));
    this.drop.addEventListener("drop", async (event) => {
      mark(false);
      // All entries at once: they are gone after the first await.
      const entries = Array.from(event.dataTransfer?.items ?? [], (item) => item.webkitGetAsEntry()).filter((each) => each !== null);
      const loose = entries.length ? [] : Array.from(event.dataTransfer?.files ?? [], (file) => ({ file, path: file.name }));
      for (const entry of entries) {
        const files = await filesIn(entry).catch(() => null);
        if (files) await this.add(files);
        else this.status.textContent = this.say("unreadable", { name: entry.name });
      }
      await this.add(loose);
    });
  }
}

/**
 * The files in what was dropped, with their folders' names.
 * @param {FileSystemEntry} entry
 * @returns {Promise<{file: File, path: string}[]>}
 */
async function filesIn(entry) {
  if (entry.isFile) {
    /** @type {File} */
    const file = await new Promise((resolve, reject) => /** @type {FileSystemFileEntry} */ (entry).file(resolve, reject));
    return [{ file, path: entry.fullPath.replace(/^\//, "") }];
  }
  const reader = /** @type {FileSystemDirectoryEntry} */ (entry).createReader();
  const found = [];
  for (;;) {
    /** @type {FileSystemEntry[]} */
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const each of some) found.push(...(await filesIn(each))); // a hundred at a time
  }
}

/** @param {any} error */
const statusOf = (error) => error.originalResponse?.getStatus() ?? 0;

/**
 * Whether what stopped an upload may be over at the next try.  409 is a wrong offset, which is asked for then: browsers
 * send a call whose line broke once more by themselves; or another call that still holds the file.
 * @param {number} status
 * @param {boolean} isCreation  where 409 is a name that can't be
 */
const mayPass = (status, isCreation) =>
  status === 0 || (status === 409 && !isCreation) || status === 423 || status === 429 || (status >= 500 && status !== 507);

for (const each of document.querySelectorAll("form[data-sending]")) new Sending(/** @type {HTMLFormElement} */ (each)).start();
