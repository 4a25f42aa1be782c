"""Recorded text as HTML that shows exactly what was there. Pure: text in, safe markup out.

Every character is escaped. Characters that a reader would not see, or that would reorder what is seen (Trojan Source,
CVE-2021-42574), are replaced by a mark with their code point. JSON is laid out by its tokens and never parsed into
values: numbers, escapes and duplicate members stay as they were sent.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

INDENT = 2

TOKEN = re.compile(
    r'(?P<text>"(?:[^"\\]++|\\.)*+")|(?P<sign>[{}\[\],:])|(?P<space>[ \t\r\n]++)|(?P<other>[^"{}\[\],: \t\r\n]++|")'
)
"""The tokens of JSON, and of whatever else a text holds: every character is in one of them."""

UNSEEN = re.compile(
    "[^\\S \\t\\n]"  # white space other than a blank, a tab and a line end
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff\ue000-\uf8ff\U000f0000-\U0010ffff]"
)
_MASKED = re.compile(r"\[MASKED:[^\[\]\n]{1,64}\]")


def visible(text: str) -> SafeString:
    """Return `text` escaped, with a mark for every character that would not be seen."""
    pieces: list[str] = []
    position = 0
    for found in UNSEEN.finditer(text):
        pieces += (escape(text[position : found.start()]), _mark(found[0]))
        position = found.end()
    pieces.append(escape(text[position:]))
    return mark_safe("".join(pieces))  # noqa: S308  (every piece is escaped or made here)


def json_markup(text: str) -> SafeString:
    """Return a message laid out with one member a line; text that is no JSON is laid out as far as it goes."""
    return mark_safe("".join(_laid_out(text)))  # noqa: S308  (every piece comes from `visible`)


def masked_markup(text: str) -> SafeString:
    """Return a text as it is, with what was masked in it marked."""
    return mark_safe(_with_masks(text))  # noqa: S308  (every piece comes from `visible`)


def _laid_out(text: str) -> Iterator[str]:
    depth = 0
    lexemes = [(found.lastgroup, found[0]) for found in TOKEN.finditer(text) if found.lastgroup != "space"]
    for position, (group, lexeme) in enumerate(lexemes):
        following = lexemes[position + 1][1] if position + 1 < len(lexemes) else ""
        if group == "text":
            yield f'<span class="{"key" if following == ":" else "text"}">{_with_masks(lexeme)}</span>'
        elif group == "other":
            yield f'<span class="value">{visible(lexeme)}</span>'
        elif lexeme in "{[":
            depth += 1
            is_empty = following in {"}", "]"}
            yield lexeme if is_empty else lexeme + _new_line(depth)
        elif lexeme in "}]":
            depth = max(0, depth - 1)
            is_empty = position > 0 and lexemes[position - 1][1] in {"{", "["}
            yield lexeme if is_empty else _new_line(depth) + lexeme
        else:
            yield ": " if lexeme == ":" else "," + _new_line(depth)


def _new_line(depth: int) -> str:
    # Deeply nested text would be mostly indentation; the depth is still told apart by the brackets.
    return "\n" + " " * (INDENT * min(depth, 40))


def _with_masks(token: str) -> str:
    pieces: list[str] = []
    position = 0
    for found in _MASKED.finditer(token):
        pieces += (visible(token[position : found.start()]), f'<mark class="masked">{visible(found[0])}</mark>')
        position = found.end()
    pieces.append(visible(token[position:]))
    return "".join(pieces)


def _mark(character: str) -> str:
    name = unicodedata.name(character, "control character").lower()
    return f'<span class="unseen" title="{escape(name)}">U+{ord(character):04X}</span>'
