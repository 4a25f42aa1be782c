r"""Server-sent events, from bytes to events and back, sans I/O.

A decoder that splits text lines with a library function is wrong here: `str.splitlines` and HTTP clients split on eight
characters that do not end a line of an event stream. This one knows CR, LF and CRLF and nothing else. What is read is
never relayed as it came: `encode` writes our own framing, so that comments, unknown fields and odd line ends stop here.

Source: WHATWG HTML, section 9.2, "Server-sent events".
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

KEEP_ALIVE: Final = b": ka\n\n"
"""A comment that keeps intermediaries from closing a silent stream."""

_BOM: Final = b"\xef\xbb\xbf"
_LARGEST_RETRY_DIGITS: Final = 9
_EVENT_NAME = re.compile(rb"[A-Za-z0-9_.\-/]{1,64}")
# Complete comment lines and blank lines in front of an unfinished event say nothing and are not kept.
_NOISE = re.compile(rb"(?:(?::[^\n]*+)?\n)*+")


class StreamTooLarge(ValueError):
    """One event exceeds the limit. Close the stream; nothing of the event may be passed on."""

    code = "stream_event_too_large"


class StreamInvalid(ValueError):
    """An event is not UTF-8. Close the stream; nothing of the event may be passed on."""

    code = "stream_not_utf8"


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event.

    `data` is None when the event had no data field (it carries only an id or a retry time) and empty for the priming
    events of 2025-11-25, which have an empty one. `event` is empty for the default type. `retry` is in milliseconds.
    """

    data: bytes | None
    event: bytes = b""
    id: bytes | None = None
    retry: int | None = None


class EventStreamDecoder:
    """Incremental decoder: feed chunks of any size, in order; any chunking yields the same events.

    Args:
        max_event_bytes: most bytes of one event, finished or not.

    Raises:
        StreamTooLarge: from `feed`.
        StreamInvalid: from `feed`, when an event is not UTF-8.
    """

    __slots__ = ("_after_cr", "_at_start", "_buffer", "_limit")

    def __init__(self, max_event_bytes: int = 8 * 1024 * 1024) -> None:
        self._limit = max_event_bytes
        self._buffer = bytearray()
        self._after_cr = False
        self._at_start = True

    @property
    def pending(self) -> bool:
        """Whether an unfinished event is held; if so when the stream ends, that event is lost."""
        return bool(self._buffer) and not self._at_start and not self._buffer.startswith(b":")

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events that `chunk` completes, in order."""
        chunk = self._line_feeds(chunk)
        if self._at_start:
            held = bytes(self._buffer) + chunk
            self._buffer.clear()
            if len(held) < len(_BOM) and _BOM.startswith(held):
                self._buffer += held
                return []
            self._at_start = False
            chunk = held.removeprefix(_BOM)
        if self._buffer:
            # An event can only end where the new bytes begin, or after that.
            seam = len(self._buffer) - 1
            self._buffer += chunk
            if self._buffer.find(b"\n\n", seam) < 0:
                self._hold()
                return []
            chunk = bytes(self._buffer)
            self._buffer.clear()
        blocks = chunk.split(b"\n\n")
        tail = blocks.pop()
        if tail:
            self._buffer += tail
            self._hold()
        return [event for block in blocks if (event := self._event(block)) is not None]

    def _line_feeds(self, chunk: bytes) -> bytes:
        """Turn every line end into LF; a CR at the end of a chunk ends its line at once."""
        if self._after_cr and chunk:
            self._after_cr = False
            chunk = chunk.removeprefix(b"\n")
        if b"\r" in chunk:
            self._after_cr = chunk.endswith(b"\r")
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return chunk

    def _hold(self) -> None:
        """Keep the unfinished event, without the noise in front of it, within the limit."""
        buffer = self._buffer
        if (buffer[0] == 0x3A or buffer[0] == 0x0A) and (noise := _NOISE.match(buffer)):
            end = noise.end()
            del noise  # A match object exports the buffer, which then cannot shrink.
            del buffer[:end]
            if buffer.startswith(b":"):
                # The text of a comment is never needed, and an endless one must not be scanned again and again.
                del buffer[1:]
        if len(buffer) > self._limit:
            raise StreamTooLarge("one event is too large")

    def _event(self, block: bytes) -> ServerEvent | None:
        """Read the lines of one event; None if nothing of it has to be passed on."""
        if len(block) > self._limit:
            raise StreamTooLarge("one event is too large")
        lines = block.split(b"\n")
        if not block.isascii():
            _require_utf8(lines)
        data: list[bytes] = []
        event = b""
        id: bytes | None = None
        retry: int | None = None
        for line in lines:
            name, _, value = line.partition(b":")
            if value.startswith(b" "):
                value = value[1:]
            if name == b"data":
                data.append(value)
            elif name == b"event":
                event = value
            elif name == b"id":
                if b"\0" not in value:
                    id = value
            elif name == b"retry" and value.isdigit() and len(value) <= _LARGEST_RETRY_DIGITS:
                retry = int(value)
        if data:
            return ServerEvent(data[0] if len(data) == 1 else b"\n".join(data), event, id, retry)
        if id is None and retry is None:
            return None
        return ServerEvent(None, event, id, retry)


def _require_utf8(lines: list[bytes]) -> None:
    """Refuse lines that are not UTF-8; comments do not count, because only some of them are kept whole."""
    try:
        for line in lines:
            if not line.startswith(b":"):
                line.decode("utf-8")
    except UnicodeDecodeError:
        raise StreamInvalid("the stream is not UTF-8") from None


def encode(event: ServerEvent) -> bytes:
    """Return the event in our own framing; a name or an id that could break out of its line is left out."""
    lines: list[bytes] = []
    if event.event and _EVENT_NAME.fullmatch(event.event):
        lines.append(b"event: " + event.event)
    if event.id is not None and not (b"\r" in event.id or b"\n" in event.id or b"\0" in event.id):
        lines.append(b"id: " + event.id)
    if event.retry is not None:
        lines.append(b"retry: %d" % event.retry)
    if event.data is not None:
        data = event.data
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        if b"\n" in data:
            lines.extend(b"data: " + line for line in data.split(b"\n"))
        else:
            lines.append(b"data: " + data)
    lines.append(b"\n")
    return b"\n".join(lines)
