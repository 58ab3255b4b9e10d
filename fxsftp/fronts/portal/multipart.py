"""A form with files, read as it arrives: a piece of a file is passed on before the next one is read.

Starlette's own `request.form()` would spool what is large to a temporary file, in plain; here nothing is kept but the
piece in hand.  RFC 7578.  python-multipart's parser does the parsing; it is told what happened by callbacks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from fxsftp.domain.reasons import N_
from fxsftp.errors import BadForm

HEAD = 8 << 10  # bytes of one part's headers
FIELD = 64 << 10  # bytes of one part that is no file
PARTS = 11_000  # a package has at most 10,000 files


@dataclass(frozen=True, slots=True)
class Head:
    """How a part begins."""

    name: str = ""
    filename: str | None = None


class Part:
    """One field of the form: text, or a file if it has a file name.  Its bytes are read before the next part."""

    def __init__(self, form: Multipart, head: Head) -> None:
        self.name = head.name
        self.filename = head.filename
        self._form = form

    async def pieces(self) -> AsyncIterator[bytes]:
        """Its bytes, as they come."""
        while (piece := await self._form.piece()) is not None:
            yield piece

    async def text(self) -> str:
        """All of a field that is no file.  Raises BadForm."""
        found = bytearray()
        async for piece in self.pieces():
            found += piece
            if len(found) > FIELD:
                raise BadForm(N_("it is too large"))
        try:
            return found.decode().strip()
        except UnicodeDecodeError:
            raise BadForm(N_("its letters are not understood")) from None


class Multipart:
    """The parts of a body of this content type, whose `pieces` come as they come.

    Raises BadForm wherever they can't be read on, and when the line is lost.
    """

    def __init__(self, content_type: str, pieces: AsyncIterator[bytes]) -> None:
        kind, options = parse_options_header(content_type)
        boundary = options.get(b"boundary", b"")
        if kind != b"multipart/form-data" or not boundary or len(boundary) > 70:  # RFC 2046 §5.1.1 allows 70
            raise BadForm(N_("it is no form"))
        self._pieces = pieces
        self._head = bytearray()
        self._field = bytearray()
        self._begins = Head()
        self._happened: deque[Head | bytes | None] = deque()  # a part begins, goes on, ends
        self._is_whole = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._on_part_begin,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers_finished,
                "on_part_data": self._on_part_data,
                "on_part_end": self._on_part_end,
                "on_end": self._on_end,
            },
        )

    async def parts(self) -> AsyncIterator[Part]:
        """Each in its turn.  What of one was not read is passed over."""
        for _ in range(PARTS):
            head = await self._next()
            while isinstance(head, bytes) or (head is None and not self._is_over()):
                head = await self._next()
            if head is None:
                return
            yield Part(self, head)
        raise BadForm(N_("it is too large"))

    async def piece(self) -> bytes | None:
        """The next of the part that is being read; None at its end."""
        found = await self._next()
        return found if isinstance(found, bytes) else None

    def _is_over(self) -> bool:
        return self._is_whole and not self._happened

    async def _next(self) -> Head | bytes | None:
        while not self._happened and not self._is_whole:
            try:
                self._parser.write(await anext(self._pieces))
            except (TimeoutError, ClientDisconnect, StopAsyncIteration):
                raise BadForm(N_("it did not come in whole")) from None
            except FormParserError:
                raise BadForm(N_("it is no form")) from None
        return self._happened.popleft() if self._happened else None

    # ---- called by the parser

    def _on_part_begin(self) -> None:
        self._begins, self._head, self._field = Head(), bytearray(), bytearray()

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += self._counted(data[start:end])

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._head += self._counted(data[start:end])

    def _counted(self, data: bytes) -> bytes:
        if len(self._head) + len(self._field) + len(data) > HEAD:
            raise FormParserError("headers too large")
        return data

    def _on_header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._begins = _disposition(bytes(self._head))
        self._head, self._field = bytearray(), bytearray()

    def _on_headers_finished(self) -> None:
        self._happened.append(self._begins)

    def _on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._happened.append(data[start:end])

    def _on_part_end(self) -> None:
        self._happened.append(None)

    def _on_end(self) -> None:
        self._is_whole = True


def _disposition(value: bytes) -> Head:
    """The names in a Content-Disposition, as a browser wrote them: in UTF-8, with `"` and line ends as %22, %0D, %0A
    (HTML, "Multipart form data").
    """
    _, options = parse_options_header(value)
    name, filename = (options.get(key) for key in (b"name", b"filename"))
    return Head(_text(name or b""), None if filename is None else _text(filename))


def _text(name: bytes) -> str:
    return name.decode("utf-8", "replace").replace("%22", '"').replace("%0D", "\r").replace("%0A", "\n")
