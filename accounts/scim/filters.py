"""The filters of SCIM, as far as provisioning services use them: `attribute eq value`, joined by `and`. Pure.

The full language (RFC 7644 section 3.4.2.2) can ask for anything in any way. Okta and Entra look resources up by one or
two exact values, and nothing else is read here: what is not understood is `invalidFilter`, never a longer list than was
asked for.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from accounts.scim.refusals import bad_filter

MAX_CHARACTERS: Final = 2048
MAX_TERMS: Final = 10

USER_ATTRIBUTES: Final[Mapping[str, str]] = {
    "username": "userName",
    "externalid": "externalId",
    "id": "id",
    "displayname": "displayName",
}
GROUP_ATTRIBUTES: Final[Mapping[str, str]] = {
    "displayname": "displayName",
    "externalid": "externalId",
    "id": "id",
    "members": "members",
    "members.value": "members",
}
"""What can be asked for, in small letters, and its name. Entra asks whether a member is in a group by `members`."""

_BLANKS = re.compile(r" +")
_NAME = re.compile(r"[A-Za-z$][A-Za-z0-9_$.:-]*")
_OPERATOR = re.compile(r"eq(?= )", re.IGNORECASE)
_AND = re.compile(r"and(?= )", re.IGNORECASE)
# What JSON allows within a string; escapes are checked again when they are decoded.
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9A-Fa-f]{4})*"')
_WORD = re.compile(r"(?:true|false)(?![A-Za-z0-9_.:-])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Term:
    """One comparison: the attribute equals the value."""

    attribute: str
    value: str | bool


def parse(text: str, attributes: Mapping[str, str], *, schema: str = "") -> tuple[Term, ...]:
    """Return the terms of a filter, all of which must hold.

    Args:
        text: the value of the query parameter `filter`.
        attributes: the names that can be asked for, as USER_ATTRIBUTES; the value of each must be a string.
        schema: URN of the resource, which may stand before a name.

    Raises:
        ScimRefused: `invalidFilter`, for anything else.
    """
    terms = []
    for term in comparisons(text):
        name = term.attribute.lower()
        prefix = f"{schema.lower()}:"
        name = name.removeprefix(prefix) if schema else name
        if name not in attributes:
            raise bad_filter(f"A filter may name {', '.join(dict.fromkeys(attributes.values()))}.")
        if not isinstance(term.value, str):
            raise bad_filter("The value of this attribute is a string: put it in double quotes.")
        terms.append(Term(attributes[name], term.value))
    return tuple(terms)


def comparisons(text: str) -> tuple[Term, ...]:
    """Return the terms of `attribute eq value and ...`, with the attributes as they were spelt.

    Raises:
        ScimRefused: `invalidFilter`: another operator, brackets, more than MAX_TERMS, or no filter at all.
    """
    if len(text) > MAX_CHARACTERS:
        raise bad_filter(f"A filter has at most {MAX_CHARACTERS} characters.")
    terms: list[Term] = []
    place = _after(_BLANKS, text, 0)
    while True:
        term, place = _term(text, place)
        terms.append(term)
        end = _after(_BLANKS, text, place)
        if end == len(text):
            return tuple(terms)
        joined = _AND.match(text, end)
        if joined is None or end == place:
            raise bad_filter("Terms of a filter are joined by and; nothing else is supported.")
        if len(terms) == MAX_TERMS:
            raise bad_filter(f"A filter has at most {MAX_TERMS} terms.")
        place = _after(_BLANKS, text, joined.end())


def _term(text: str, place: int) -> tuple[Term, int]:
    name = _NAME.match(text, place)
    if name is None:
        raise bad_filter("A term of a filter begins with the name of an attribute.")
    place = _after(_BLANKS, text, name.end())
    operator = _OPERATOR.match(text, place)
    if operator is None or place == name.end():
        raise bad_filter("The one operator that is supported is eq.")
    value, end = _value(text, _after(_BLANKS, text, operator.end()))
    return Term(name[0], value), end


def _value(text: str, place: int) -> tuple[str | bool, int]:
    word = _WORD.match(text, place)
    if word is not None:
        return word[0].lower() == "true", word.end()
    found = _STRING.match(text, place)
    if found is None:
        raise bad_filter("A value is a string in double quotes, true or false.")
    value: str = json.loads(found[0])
    if "\x00" in value or any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise bad_filter("A value holds a character that no attribute can hold.")
    return value, found.end()


def _after(pattern: re.Pattern[str], text: str, place: int) -> int:
    found = pattern.match(text, place)
    return place if found is None else found.end()
