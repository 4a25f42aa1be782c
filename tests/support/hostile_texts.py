"""Names and arguments that try to be more than text: markup, mentions, links, invisible and reordering characters."""

from __future__ import annotations

HOSTILE = {
    "everybody": "<!channel> <!here> <!everyone>",
    "a mention": "<@U0000BOSS> please approve",
    "a named link": "<https://evil.example|Wardgate inbox>",
    "a bare link": "https://evil.example/approve?code=APR-777777",
    "mrkdwn": "*Approved* _already_ ~not~ `rm` ```end``` > quote",
    "entities": "&lt;!channel&gt; &amp;",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)><b>ok</b>",
    "Markdown": "[Approve](https://evil.example) ![x](https://evil.example/x.png) **bold** # title",
    "bidi": "delete_\u202etset_\u202c\u2066\u2069\u200f",
    "zero width": "dele\u200bte\u200d_\ufeffall\u2060",
    "ANSI": "\x1b[31mred\x1b[0m\x07\x00",
    "lines": "read\nRisk: low\r\nDecided by: the boss\u2028end",
    "tags": "ok\U000e0041\U000e0042",
    "our marks": "⟦U+202E⟧",
    "quotes": '"},{"type":"section"}],"x":"',
    "emoji codes": ":white_check_mark: :approved:",
    "very long": "a" * 10_240,
    "very long and wide": "𝕬\u202e" * 5_120,
}
