"""Our own files: style, scripts, pictures.  Their address has their hash in it, so that a browser keeps them for good
and still never has yesterday's; one of them pulls in another by a relative address, so all have the same hash.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response

KINDS = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".ico": "image/x-icon",
    ".wasm": "application/wasm",
    ".txt": "text/plain; charset=utf-8",
}
FOR_GOOD = "public, max-age=31536000, immutable"


class Statics:
    """What lies in one folder, read once: no path of a caller's ever reaches the disk."""

    def __init__(self, folder: Path) -> None:
        self._files = {
            path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.suffix in KINDS
        }
        mark = hashlib.sha256()
        for name, path in self._files.items():
            mark.update(f"{name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
        self.prefix = f"/static/{mark.hexdigest()[:12]}"

    def find(self, name: str) -> Path | None:
        return self._files.get(name)

    async def serve(self, request: Request) -> Response:
        """One file, for good; 404 for any other name."""
        path = self.find(request.path_params["name"])
        if path is None:
            return PlainTextResponse("There is nothing here.", 404)
        return FileResponse(path, media_type=KINDS[path.suffix], headers={"Cache-Control": FOR_GOOD})
