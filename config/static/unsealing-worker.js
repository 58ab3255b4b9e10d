/* A helper of unsealing.js: opens runs of chunks, one after the other. */

import { Forged, unsealHere } from "./unsealing.js";

self.onmessage = ({ data: { id, key, first, sealed, isLast } }) => {
  try {
    const plain = unsealHere(key, first, sealed, isLast);
    self.postMessage({ id, plain }, { transfer: [plain.buffer] });
  } catch (error) {
    if (!(error instanceof Forged)) throw error;
    self.postMessage({ id });
  }
};
