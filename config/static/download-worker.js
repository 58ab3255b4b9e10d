/*
 * A service worker that turns a stream of bytes into a download, for browsers in which a page can't write to a file.
 *
 * Its scope is the made-up folder `download/` beside it, in which nothing lies on the server: it sees no page of the
 * portal and none of its requests.  saving.js offers it a file through a message port, then opens the file's address in
 * a hidden frame; the answer is what comes through the port, and the browser saves it.
 *
 *   page -> here                                  here -> page
 *   {verb: "offer", url, name, size} with a port  "ready", then "asked" when the browser takes it up
 *   a Uint8Array, "end" or "abort"                "pull" for each further piece; "cancelled" by who downloads
 */

const SANDBOX = "default-src 'none'; sandbox"; // if any browser ever shows it instead of saving it

/** @type {Map<string, {port: MessagePort, name: string, size: number}>} */
const offers = new Map();

self.addEventListener("install", () => self.skipWaiting());

self.addEventListener("message", (event) => {
  if (event.data.verb !== "offer") return; // "ping": each message keeps this worker alive for another while
  const port = event.ports[0];
  offers.set(event.data.url, { port, name: event.data.name, size: event.data.size });
  port.postMessage("ready");
});

self.addEventListener("fetch", (event) => {
  const offer = offers.get(event.request.url);
  if (!offer) return;
  offers.delete(event.request.url);
  event.respondWith(answer(offer));
});

/** @param {{port: MessagePort, name: string, size: number}} offer */
function answer({ port, name, size }) {
  let supplied = () => {};
  const stream = new ReadableStream(
    {
      start(controller) {
        port.onmessage = ({ data }) => {
          if (data === "end") controller.close();
          else if (data === "abort") controller.error(new Error("stopped"));
          else controller.enqueue(data);
          supplied();
        };
        port.postMessage("asked");
      },
      pull() {
        port.postMessage("pull");
        return new Promise((resolve) => (supplied = () => resolve(undefined)));
      },
      cancel() {
        port.postMessage("cancelled");
      },
    },
    { highWaterMark: 4 },
  );
  return new Response(stream, {
    headers: {
      "Content-Type": "application/octet-stream",
      "Content-Length": String(size),
      "Content-Disposition": `attachment; filename*=UTF-8''${encoded(name)}`,
      "Content-Security-Policy": SANDBOX,
      "X-Content-Type-Options": "nosniff",
    },
  });
}

/** As RFC 8187 wants it: encodeURIComponent leaves four letters that mean something there. @param {string} name */
function encoded(name) {
  return encodeURIComponent(name).replace(/['()*]/g, (letter) => `%${letter.charCodeAt(0).toString(16).toUpperCase()}`);
}
