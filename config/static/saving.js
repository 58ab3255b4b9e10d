/*
 * Where an opened file goes.  A sink takes pieces in order and keeps nothing unless it is closed:
 *
 *   a file that the user chose      showSaveFilePicker, where there is one: written aside, in place only at the close
 *   a folder that the user chose    showDirectoryPicker, for all files of a package, with their subfolders
 *   the browser's own download      a service worker (download-worker.js) that streams; its failure removes the part
 *   memory                          for what fits, where there is none of these: private windows, older browsers
 */

/** Bytes that memory takes: what a phone's browser bears; a page says so to who wants more. */
export const MEMORY_LIMIT = 512 * 1024 * 1024;

const TAKING_UP = 5000; // milliseconds in which a browser that hands downloads to service workers has done so
const KEEP_ALIVE = 10000; // milliseconds; a service worker that hears nothing for 30 s is ended

/**
 * @typedef {object} Sink
 * @property {(piece: Uint8Array<ArrayBuffer>) => Promise<unknown>} write resolves when the next piece may come and this
 *   one's memory, unless it was transferred, may be used for something else
 * @property {() => Promise<unknown>} close after this the file is there
 * @property {() => Promise<unknown>} abort after this nothing of it is
 */

/** The user closed the dialog, or stopped the download: no error, and nothing to say. */
export class Dismissed extends Error {}

/** This browser can't take a file of that size. */
export class TooLarge extends Error {}

/**
 * A sink for one file.  To be called from a click, which the dialog needs.
 * @param {string} path `report.csv` or `sub/report.csv`
 * @param {number} size
 * @returns {Promise<Sink>}
 */
export async function sinkForFile(path, size) {
  if (!("showSaveFilePicker" in window)) return sinkForDownload(path, size);
  const handle = await chosen(window.showSaveFilePicker({ suggestedName: safeParts(path).at(-1) }));
  return writing(handle, () => handle.remove?.());
}

/** Whether all files can go into one folder. */
export const canSaveFolder = () => "showDirectoryPicker" in window;

/**
 * Asks for a folder, and returns what makes the sinks for files in it.  Nothing that lies there is overwritten.
 * @returns {Promise<(path: string) => Promise<Sink>>}
 */
export async function chooseFolder() {
  const top = await chosen(window.showDirectoryPicker({ mode: "readwrite" }));
  return async (path) => {
    const parts = safeParts(path);
    const name = /** @type {string} */ (parts.pop());
    let folder = top;
    for (const part of parts) folder = await folder.getDirectoryHandle(part, { create: true });
    const free = await freeName(folder, name);
    const handle = await folder.getFileHandle(free, { create: true });
    return writing(handle, () => folder.removeEntry(free));
  };
}

/**
 * A sink that needs no dialog: the browser's download, else memory.  Throws TooLarge.
 * @param {string} path
 * @param {number} size
 * @returns {Promise<Sink>}
 */
export async function sinkForDownload(path, size) {
  const name = safeParts(path).join("_");
  const download = await streamedDownload(name, size).catch(() => null);
  if (download) return download;
  if (size > MEMORY_LIMIT) throw new TooLarge();
  return memory(name);
}

// ---- files and folders -----------------------------------------------------------------------------

/** @template T @param {Promise<T>} asked @returns {Promise<T>} */
async function chosen(asked) {
  try {
    return await asked;
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw new Dismissed();
    throw error;
  }
}

/**
 * @param {FileSystemFileHandle} handle
 * @param {() => unknown} remove of the empty file that stands there before the close
 * @returns {Promise<Sink>}
 */
async function writing(handle, remove) {
  const stream = await handle.createWritable();
  return {
    write: (piece) => stream.write(piece),
    close: () => stream.close(),
    async abort() {
      await stream.abort().catch(() => {}); // it is aborted already when writing failed
      if ((await handle.getFile()).size === 0) await remove();
    },
  };
}

/** @param {FileSystemDirectoryHandle} folder @param {string} name */
async function freeName(folder, name) {
  const [, stem, suffix] = /** @type {RegExpExecArray} */ (/^(.+?)((?:\.[^.]*)?)$/s.exec(name));
  for (let count = 1; ; count += 1) {
    const tried = count === 1 ? name : `${stem} (${count})${suffix}`;
    try {
      await folder.getFileHandle(tried);
    } catch (error) {
      if (error instanceof DOMException && error.name === "NotFoundError") return tried;
      if (!(error instanceof DOMException && error.name === "TypeMismatchError")) throw error; // a folder of that name
    }
  }
}

/** The parts of a path as every system takes them: a sender's `sub/..\con?.csv` can't leave the folder. @param {string} path */
export function safeParts(path) {
  const parts = path
    .split("/")
    .map((part) => part.replace(/[\\:*?"<>|\u0000-\u001f\u007f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, "_").replace(/[. ]+$/, ""))
    .filter((part) => part !== "");
  return parts.length ? parts : ["_"];
}

// ---- the browser's own download --------------------------------------------------------------------

/** @param {string} name @param {number} size @returns {Promise<Sink | null>} null where no service worker takes it up */
async function streamedDownload(name, size) {
  if (!("serviceWorker" in navigator)) return null;
  const scope = new URL("./download/", import.meta.url);
  const registration = await navigator.serviceWorker.register(new URL("./download-worker.js", import.meta.url), {
    scope: scope.href,
  });
  const worker = await active(registration);
  forgetOthers(registration);
  const url = new URL(crypto.randomUUID(), scope).href;
  const { port1: port, port2 } = new MessageChannel();
  const heard = new Heard(port);
  worker.postMessage({ verb: "offer", url, name, size }, [port2]);
  if (!(await heard.within("ready", TAKING_UP))) return null;
  const frame = document.createElement("iframe");
  frame.hidden = true;
  frame.src = url;
  document.body.append(frame);
  const pings = setInterval(() => worker.postMessage({ verb: "ping" }), KEEP_ALIVE);
  const leave = () => {
    clearInterval(pings);
    setTimeout(() => frame.remove(), TAKING_UP); // not at once: that would take along a download that just began
  };
  if (!(await heard.within("asked", TAKING_UP))) {
    leave();
    return null;
  }
  return {
    async write(piece) {
      if (!(await heard.next("pull"))) throw new Dismissed();
      port.postMessage(piece, [piece.buffer]);
    },
    async close() {
      if (!(await heard.next("pull"))) throw new Dismissed();
      port.postMessage("end");
      leave();
    },
    async abort() {
      port.postMessage("abort");
      leave();
    },
  };
}

/** Those of earlier releases, whose files had another address.  What they still stream ends first. @param {ServiceWorkerRegistration} own */
async function forgetOthers(own) {
  for (const each of await navigator.serviceWorker.getRegistrations()) {
    if (each.scope !== own.scope && each.scope.endsWith("/download/")) each.unregister();
  }
}

/** @param {ServiceWorkerRegistration} registration @returns {Promise<ServiceWorker>} */
function active(registration) {
  if (registration.active) return Promise.resolve(registration.active);
  const coming = /** @type {ServiceWorker} */ (registration.installing ?? registration.waiting);
  return new Promise((resolve, reject) => {
    coming.addEventListener("statechange", () => {
      if (coming.state === "activated") resolve(coming);
      if (coming.state === "redundant") reject(new Error("the service worker was not taken"));
    });
  });
}

/** What has been heard through a port, counted, so that nothing is missed between two questions. */
class Heard {
  /** @param {MessagePort} port */
  constructor(port) {
    /** @type {Map<string, number>} */
    this.counts = new Map();
    this.wake = () => {};
    port.onmessage = ({ data }) => {
      this.counts.set(data, (this.counts.get(data) ?? 0) + 1);
      this.wake();
    };
  }

  /** Waits for one more of `word`; false once the download was cancelled. @param {string} word @returns {Promise<boolean>} */
  async next(word) {
    for (;;) {
      if (this.counts.has("cancelled")) return false;
      const count = this.counts.get(word) ?? 0;
      if (count > 0) {
        this.counts.set(word, count - 1);
        return true;
      }
      await new Promise((resolve) => (this.wake = () => resolve(undefined)));
    }
  }

  /** @param {string} word @param {number} milliseconds @returns {Promise<boolean>} */
  within(word, milliseconds) {
    return Promise.race([
      this.next(word),
      new Promise((resolve) => setTimeout(() => resolve(false), milliseconds)),
    ]);
  }
}

// ---- memory ----------------------------------------------------------------------------------------

/** @param {string} name @returns {Sink} */
function memory(name) {
  /** @type {Blob[]} Which a browser may keep on disk, unlike arrays. */
  let pieces = [];
  return {
    async write(piece) {
      pieces.push(new Blob([piece]));
    },
    async close() {
      const whole = new Blob(pieces, { type: "application/octet-stream" });
      const link = document.createElement("a");
      link.href = URL.createObjectURL(whole);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000); // the download reads it after the click
    },
    async abort() {
      pieces = [];
    },
  };
}
