"""What a caller reads about a verdict: a text that a model can act on, and nothing of the inside."""

from __future__ import annotations

import unicodedata

from .rules import FAILED_REASON, GRANTED, NO_GRANT, NO_RULE, Call
from .verdicts import Allow, Hold, Verdict

MAX_NAME_CHARACTERS = 100
MAX_REASON_CHARACTERS = 300


def sentence(verdict: Verdict, call: Call) -> str:
    """Say what became of `call` and what to do now; the same inputs always give the same text.

    A hold is worded for a call that nobody was asked about: where somebody is, the request for approval says its own.
    """
    what = f'"{_line(call.name or call.method, MAX_NAME_CHARACTERS)}"'
    if isinstance(verdict, Allow):
        return f"Allowed: {what}."
    rule = f'"{_line(verdict.rule, MAX_NAME_CHARACTERS)}"'
    if isinstance(verdict, Hold):
        return f"NOT EXECUTED. {what} needs approval (policy {rule}). Do not retry or work around it; ask the user."
    if verdict == NO_GRANT:
        return "NOT EXECUTED. You have no access to this connection. Do not retry; ask the user to request access."
    if verdict == NO_RULE:
        return f"NOT EXECUTED. No policy allows {what}. Do not retry or work around it; ask the user."
    if verdict.reason == FAILED_REASON and verdict.rule in {NO_RULE.rule, GRANTED.rule}:
        # No guardrail is to blame: what would have allowed the call could not be checked.
        what_to_do = "Do not retry or work around it; ask the user."
        return f"NOT EXECUTED. Whether {what} is allowed could not be checked. {what_to_do}"
    reason = _line(verdict.reason, MAX_REASON_CHARACTERS).rstrip(". ")
    because = f": {reason}." if reason else "."
    return f"NOT EXECUTED. {what} is blocked by policy {rule}{because} Do not retry or work around it; ask the user."


def _line(text: str, limit: int) -> str:
    """Make `text` one harmless line: no control, format or surrogate characters, no quotes, at most `limit` long.

    Format characters (category Cf) are the bidirectional and invisible ones that can make a text read differently.
    """
    # The cap comes first as well, so that a name of a megabyte costs nothing.
    kept = (
        " " if unicodedata.category(c) in {"Zl", "Zp"} or c in "\t\r\n" else "'" if c == '"' else c
        for c in text[: limit * 4]
        if unicodedata.category(c) not in {"Cc", "Cf", "Cs", "Co", "Cn"} or c in "\t\r\n"
    )
    line = " ".join("".join(kept).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
