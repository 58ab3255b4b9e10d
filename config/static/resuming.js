/*
 * How a file is known again after a reload: by a hash of what it is called, how large and how old it is, and where it was
 * being sent to.  The browser keeps the hash and the tus URL, and no name; the server keeps the hash beside the file.
 */

const PREFIX = "fxsftp-upload-";
const KEPT = 30 * 24 * 3600 * 1000; // milliseconds; a server has swept what was abandoned long before

/**
 * @param {string} endpoint
 * @param {string} path
 * @param {File} file
 * @returns {Promise<string | null>} null where there is no secure context: then a reload begins anew
 */
export async function fingerprintOf(endpoint, path, file) {
  if (!crypto.subtle) return null;
  const text = JSON.stringify([endpoint, path, file.size, file.lastModified]);
  const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return Array.from(hash, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** tus-js-client's store of URLs, without the names that its own one keeps.  Where nothing can be kept, nothing is. */
export const urlStorage = {
  /** @param {string} fingerprint */
  keyOf: (fingerprint) => PREFIX + fingerprint,

  async findAllUploads() {
    return stored().map(([key, upload]) => ({ ...upload, urlStorageKey: key }));
  },

  /** @param {string} fingerprint */
  async findUploadsByFingerprint(fingerprint) {
    return (await this.findAllUploads()).filter((upload) => upload.urlStorageKey === PREFIX + fingerprint);
  },

  /** @param {string} key */
  async removeUpload(key) {
    guarded(() => localStorage.removeItem(key));
  },

  /** @param {string} fingerprint @param {{uploadUrl: string | null, creationTime: string}} upload */
  async addUpload(fingerprint, { uploadUrl, creationTime }) {
    const key = PREFIX + fingerprint;
    guarded(() => localStorage.setItem(key, JSON.stringify({ uploadUrl, creationTime, size: null, metadata: {} })));
    return key;
  },
};

/** @returns {[string, any][]} */
function stored() {
  /** @type {[string, any][]} */
  const found = [];
  guarded(() => {
    for (const key of Object.keys(localStorage).filter((each) => each.startsWith(PREFIX))) {
      const upload = JSON.parse(localStorage.getItem(key) ?? "{}");
      if (Date.now() - Date.parse(upload.creationTime) < KEPT) found.push([key, upload]);
      else localStorage.removeItem(key);
    }
  });
  return found;
}

/** @param {() => void} act */
function guarded(act) {
  try {
    act();
  } catch {
    // No room, or no permission: a private window, a policy.
  }
}
