"""PURE: the language of searches: words, and terms such as `tool:get_* verdict:deny value:order_id=1042 duration:>1s`.

A term is `name:value`; a value with blanks stands in double quotes. Terms of one name are alternatives, and what is of
different names has to hold together. What is no term is looked for in the recorded messages: all the words, in any
order, `"exact words"` in quotes, `-word` for what must not be there.

| name | finds calls |
|---|---|
| `who` | of a principal whose subject, name or e-mail contains it |
| `tool` | of a tool, prompt or resource; `*` stands for any characters |
| `method` | of an MCP method, such as `tools/list`; `*` as above |
| `connection` | on a connection, by its slug |
| `rule` | that a rule decided; `*` as above |
| `verdict`, `decision` | allow, deny or hold |
| `state`, `status` | by their outcome, such as completed, upstream_error or outcome_unknown |
| `is` | denied, held, masked, error, slow |
| `value` | with this argument: `value:1042`, or `value:order_id=1042` for one member |
| `duration` | that took `>2s`, `<50ms`, `>1m` |
| `since`, `until` | begun within a time: `2026-03-01`, `2026-03-01T12:30`, or `2h`, `7d` before now |
| `session`, `call` | by id |
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from typing import Any
from uuid import UUID

from .calls import MARKERS, OUTCOMES, CallView

MOST_CHARACTERS = 1000
MOST_TERMS = 40
VERDICTS = ("allow", "deny", "hold")
STATES = (*OUTCOMES.values(), "denied", "open", "relayed")

_TERM = re.compile(r'(?P<name>[a-z]+):(?P<value>"[^"]*"|[^\s"]\S*)?|(?P<words>-?"[^"]*"|\S+)')
_SPAN = re.compile(r"(\d{1,6})([mhd])")
_DURATION = re.compile(r"([<>])(\d{1,9}(?:\.\d{1,6})?)(us|ms|s|m)")
_UNITS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000}
_SPANS = {"m": "minutes", "h": "hours", "d": "days"}


class QueryRefused(ValueError):
    """The search cannot be understood; the text says where, in words for whoever typed it."""


@dataclass(frozen=True, slots=True)
class Query:
    """What is looked for. Empty members match everything; moments are aware, durations are microseconds."""

    words: str = ""
    who: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    connections: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    values: tuple[tuple[str, str], ...] = ()
    longer_us: int | None = None
    shorter_us: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    sessions: tuple[UUID, ...] = ()
    calls: tuple[UUID, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether it finds everything."""
        return self == Query()

    @property
    def asks_for_contents(self) -> bool:
        """Whether it looks into what was asked and answered."""
        return bool(self.words or self.values)

    @property
    def outside_a_session(self) -> tuple[str, ...]:
        """The terms that say nothing within one session, or cannot be answered there."""
        given = {"value": self.values, "who": self.who, "connection": self.connections, "session": self.sessions}
        return tuple(name for name, value in given.items() if value)

    def matches(self, call: CallView) -> bool:
        """Tell whether a call of a session that is read is one of those; words are looked for in its names."""
        names = f"{call.name} {call.method} {call.rule}".casefold()
        took = call.total_us
        return (
            all(word in names for word in self.words.casefold().replace('"', "").split())
            and any_like(self.tools, call.name)
            and any_like(self.methods, call.method)
            and any_like(self.rules, call.rule)
            and (not self.verdicts or call.verdict in self.verdicts)
            and (not self.states or call.state in self.states)
            and all(mark in call.markers for mark in self.marks)
            and (self.longer_us is None or (took is not None and took > self.longer_us))
            and (self.shorter_us is None or (took is not None and took < self.shorter_us))
            and (self.since is None or call.at >= self.since)
            and (self.until is None or call.at < self.until)
            and (not self.calls or call.id in self.calls)
        )


def any_like(patterns: tuple[str, ...], text: str) -> bool:
    """Tell whether `text` is like one of `patterns`, or there are none."""
    return not patterns or any(re.match(_pattern(pattern), text) for pattern in patterns)


def _pattern(glob: str) -> str:
    """Return the regular expression of a text in which `*` stands for any characters, and nothing else is special."""
    return translate(glob.replace("[", "[[]").replace("?", "[?]"))


def parse(text: str, *, now: datetime) -> Query:
    """Return what `text` asks for; spans such as `2h` are before `now`.

    Raises:
        QueryRefused: it is too long, or a term is not known or malformed.
    """
    if len(text) > MOST_CHARACTERS:
        raise QueryRefused(f"A search has at most {MOST_CHARACTERS} characters.")
    found = _Terms(now)
    words: list[str] = []
    for count, term in enumerate(_TERM.finditer(text.replace("\0", " ")), start=1):
        if count > MOST_TERMS:
            raise QueryRefused(f"A search has at most {MOST_TERMS} terms.")
        name = term["name"]
        if name is None:
            words.append(term["words"])
        elif name in found.readers:
            found.add(name, (term["value"] or "").strip('"'))
        else:
            known = ", ".join(sorted(found.readers))
            raise QueryRefused(f'There is no term "{name}:". Known are {known}; other words with a colon go in quotes.')
    return Query(words=" ".join(words), **found.members())


@dataclass(slots=True)
class _Terms:
    now: datetime
    lists: dict[str, list[Any]] = field(default_factory=dict)
    single: dict[str, Any] = field(default_factory=dict)
    readers: Mapping[str, Callable[[str, str], None]] = field(init=False)

    def __post_init__(self) -> None:
        self.readers = {
            **dict.fromkeys(_TEXTS, self._text),
            **dict.fromkeys(_CHOICES, self._choice),
            **dict.fromkeys(("since", "until"), self._moment),
            **dict.fromkeys(("session", "call"), self._id),
            "value": self._value,
            "duration": self._duration,
        }

    def add(self, name: str, value: str) -> None:
        if not value:
            raise QueryRefused(f'Write something behind "{name}:".')
        self.readers[name](name, value)

    def members(self) -> dict[str, Any]:
        known = {each.name for each in fields(Query)}
        return {name: value for name, value in {**_tuples(self.lists), **self.single}.items() if name in known}

    def _text(self, name: str, value: str) -> None:
        self.lists.setdefault(_TEXTS[name], []).append(value)

    def _choice(self, name: str, value: str) -> None:
        member, choices = _CHOICES[name]
        if value not in choices:
            raise QueryRefused(f'"{name}:" is one of {", ".join(choices)}.')
        self.lists.setdefault(member, []).append(value)

    def _value(self, name: str, value: str) -> None:
        member, equals, wanted = value.partition("=")
        self.lists.setdefault("values", []).append((member, wanted) if equals else ("", value))

    def _duration(self, name: str, value: str) -> None:
        read = _DURATION.fullmatch(value)
        if read is None:
            raise QueryRefused('Write a duration such as "duration:>2s"; units are us, ms, s and m.')
        self.single["longer_us" if read[1] == ">" else "shorter_us"] = round(float(read[2]) * _UNITS_US[read[3]])

    def _moment(self, name: str, value: str) -> None:
        span = _SPAN.fullmatch(value)
        try:
            if span is not None:
                moment = self.now - timedelta(**{_SPANS[span[2]]: int(span[1])})
            else:
                moment = datetime.fromisoformat(value)
                moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        except (ValueError, OverflowError):
            raise QueryRefused(f'Write "{name}:2026-03-01", "{name}:2026-03-01T12:30" or "{name}:2h".') from None
        self.single[name] = moment

    def _id(self, name: str, value: str) -> None:
        try:
            self.lists.setdefault(f"{name}s", []).append(UUID(value))
        except ValueError:
            raise QueryRefused(f'"{name}:" takes an id, as it stands on the page of the {name}.') from None


_TEXTS = {"who": "who", "tool": "tools", "method": "methods", "connection": "connections", "rule": "rules"}
_CHOICES: dict[str, tuple[str, tuple[str, ...]]] = {
    "verdict": ("verdicts", VERDICTS),
    "decision": ("verdicts", VERDICTS),
    "state": ("states", STATES),
    "status": ("states", STATES),
    "is": ("marks", MARKERS),
}


def _tuples(lists: Mapping[str, list[Any]]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(dict.fromkeys(values)) for name, values in lists.items()}
