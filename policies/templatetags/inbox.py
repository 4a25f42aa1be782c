"""Template filters of the inbox."""

from __future__ import annotations

from collections.abc import Mapping

from django import template

register = template.Library()


@register.filter
def member(values: Mapping[str, int], name: str) -> int:
    """Return a member of a mapping, 0 when there is none."""
    return values.get(name, 0)


@register.filter
def span(seconds: int) -> str:
    """Return a span in its two largest units, as the page's script writes it while it runs."""
    days, rest = divmod(int(seconds), 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"


@register.filter
def code_points(text: str) -> str:
    """Return a text with everything outside printable ASCII as its code point: nothing can look like anything else."""
    return "".join(letter if letter.isascii() and letter.isprintable() else f"[U+{ord(letter):04X}]" for letter in text)
