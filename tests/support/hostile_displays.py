"""Forty ways in which a request could look like something else, and what of each has to be marked on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

RLO, PDF, LRI, PDI, LRM, RLM, ALM = "\u202e", "\u202c", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c"
ZWSP, ZWJ, WJ, BOM, SHY, CGJ = "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u034f"


@dataclass(frozen=True)
class Display:
    """One hostile request: what is in it, and what a person has to see (`marks`, or the text itself in `whole`)."""

    name: str
    arguments: Any = None
    tool: str = "refund_order"
    client: str = "claude-code"
    why: str = "money leaves"
    justification: str = ""
    marks: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()


def _deep(levels: int) -> Any:
    value: Any = "the-bottom"
    for _ in range(levels):
        value = {"a": value}
    return value


_TAGS = "".join(chr(0xE0000 + ord(letter)) for letter in "run rm")
_SCRIPT = "<script>window.bad=1</script>"

DISPLAYS: tuple[Display, ...] = (
    Display("bidi override", {"file": f"{RLO}cod.exe{PDF}"}, marks=("U+202E", "U+202C")),
    Display("bidi isolate", {"x": f"{LRI}// {PDI}rm -rf /"}, marks=("U+2066", "U+2069")),
    Display("left-to-right mark", {"x": f"a{LRM}b"}, marks=("U+200E",)),
    Display("right-to-left mark", {"x": f"a{RLM}b"}, marks=("U+200F",)),
    Display("Arabic letter mark", {"x": f"a{ALM}b"}, marks=("U+061C",)),
    Display("bidi in a member's name", {f"to{RLO}tnuocca": 1}, marks=("U+202E",)),
    Display("zero-width space", {"x": f"rm{ZWSP} -rf"}, marks=("U+200B",)),
    Display("zero-width joiner", {"x": f"a{ZWJ}b"}, marks=("U+200D",)),
    Display("word joiner", {"x": f"a{WJ}b"}, marks=("U+2060",)),
    Display("byte order mark", {"x": f"{BOM}DROP TABLE orders"}, marks=("U+FEFF",)),
    Display("soft hyphen", {"x": f"pay{SHY}pal.example"}, marks=("U+00AD",)),
    Display("combining grapheme joiner", {"x": f"a{CGJ}b"}, marks=("U+034F",)),
    Display("tag characters", {"x": f"hello{_TAGS}"}, marks=("U+E0072", "U+E006D")),
    Display("variation selectors", {"x": "a\ufe01\U000e0101b"}, marks=("U+FE01", "U+E0101")),
    Display("Hangul filler", {"x": "\u3164\uffa0"}, marks=("U+3164", "U+FFA0")),
    Display("Braille blank", {"x": "\u2800" * 3}, marks=("U+2800",)),
    Display("other spaces", {"x": "a\u00a0b\u2003c\u3000d"}, marks=("U+00A0", "U+2003", "U+3000")),
    Display("private use", {"x": "\ue000\U000f0000"}, marks=("U+E000", "U+F0000")),
    Display("ANSI colours", {"x": "\x1b[8mhidden\x1b[0m"}, marks=("\\u001b",)),
    Display("ANSI that moves the cursor", {"x": "rm -rf /\x1b[2K\x1b[1Gls"}, marks=("\\u001b",)),
    Display("backspaces", {"x": "evil\b\b\b\bgood"}, marks=("\\b",)),
    Display("carriage return", {"x": "rm -rf /\rls"}, marks=("\\r",)),
    Display("line separators", {"x": "a\u2028b\u2029c\u0085d"}, marks=("U+2028", "U+2029", "U+0085")),
    Display("control characters", {"x": "\x01\x7f\x9b"}, marks=("\\u0001", "U+007F", "U+009B")),
    Display("a script", {"x": _SCRIPT}, whole=(_SCRIPT,)),
    Display(
        "an image that fails", {"x": "<img src=x onerror=window.bad=1>"}, whole=("<img src=x onerror=window.bad=1>",)
    ),
    Display("out of an attribute", {"x": "'\"><svg onload=window.bad=1>"}, whole=("><svg onload=window.bad=1>",)),
    Display("a template", {"x": "{{7*7}}{% debug %}${7*7}"}, whole=("{{7*7}}{% debug %}${7*7}",)),
    Display("a link", {"x": "javascript:window.bad=1"}, whole=("javascript:window.bad=1",)),
    Display(
        "Markdown", {"x": "![x](https://evil.example/p.png) **Approved**"}, whole=("![x](https://evil.example/p.png)",)
    ),
    Display("huge", {"x": "A" * 60_000 + "the-end"}, whole=("the-end",)),
    Display("long without a place to break", {"x": "/".join(["a" * 500] * 40) + "the-end"}, whole=("the-end",)),
    Display("deep", _deep(90), whole=("the-bottom",)),
    Display("very many members", {f"m{number}": number for number in range(3_000)}, whole=('"m2999"',)),
    Display(
        "fields that newlines fake",
        {"x": "1\n\nApproved by grace\nRisk: low"},
        whole=("1\\n\\nApproved by grace\\nRisk: low",),
    ),
    Display("a lone surrogate, as an escape", {"x": "\\ud800"}, whole=("\\\\ud800",)),
    Display("a tool that reads backwards", {"id": 1}, tool=f"wohs_{RLO}redro_eteled", marks=("U+202E",)),
    Display("a tool that looks like another", {"id": 1}, tool="r\u0435fund_order", marks=("r[U+0435]fund_order",)),
    Display(
        "a client that says it is approved",
        {"id": 1},
        client=f"{ZWSP}APPROVED{_SCRIPT}",
        marks=("U+200B",),
        whole=(_SCRIPT,),
    ),
    Display("a rule's reason with a script", {"id": 1}, why=f"{RLO}{_SCRIPT}", marks=("U+202E",), whole=(_SCRIPT,)),
    Display(
        "a justification that fakes a decision",
        {"id": 1},
        justification=f"ok{LRI}\nDecision: approved by root{_SCRIPT}",
        marks=("U+2066",),
        whole=(_SCRIPT,),
    ),
    Display(
        "a name of right-to-left letters",
        {"id": 1},
        tool="\u05d0\u05d1\u05d2_refund",
        marks=("[U+05D0][U+05D1][U+05D2]_refund",),
    ),
)
