"""Weekly windows of time in a named zone, and networks: when and from where a grant or a rule holds. Pure.

A window is read on the wall clock of its zone, so that "22:00 to 06:00" means the same on the days on which the clocks
change. One that passes midnight belongs to the day on which it begins. Time zones come from the IANA database.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final
from zoneinfo import ZoneInfo

from accounts import addresses

from .exceptions import PatternRefused

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MAX_WINDOWS: Final = 50
MAX_ZONE: Final = 64
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|(24):(00)")
_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+){0,2}")
_MEMBERS = frozenset({"days", "from", "to", "zone"})


@dataclass(frozen=True, slots=True)
class Window:
    """Some days of the week from one minute of the day until another, exclusive; `starts` > `ends` passes midnight."""

    days: frozenset[int]
    starts: int
    ends: int
    zone: ZoneInfo

    def holds(self, now: float) -> bool:
        """Tell whether `now` (epoch seconds) lies in the window."""
        local = datetime.fromtimestamp(now, self.zone)
        day, minute = local.weekday(), local.hour * 60 + local.minute
        if self.starts < self.ends:
            return day in self.days and self.starts <= minute < self.ends
        if minute >= self.starts:
            return day in self.days
        return minute < self.ends and (day - 1) % 7 in self.days


def zone_named(name: str) -> ZoneInfo | None:
    """Return the IANA time zone `name`, or None when there is no such zone."""
    if len(name) > MAX_ZONE or _ZONE.fullmatch(name) is None:
        return None
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return None


def compile_windows(rows: object, *, place: str) -> tuple[Window, ...]:
    """Return the windows written in `rows`: objects with days, from, to and zone.

    Raises:
        PatternRefused: with the place of the first that is no window, and a hint.
    """
    if not isinstance(rows, list | tuple):
        raise PatternRefused(place, "give a list of windows")
    if len(rows) > MAX_WINDOWS:
        raise PatternRefused(place, f"there can be at most {MAX_WINDOWS} windows")
    return tuple(_window(row, f"{place}, window {number}") for number, row in enumerate(rows, start=1))


def _window(row: Any, place: str) -> Window:
    if not isinstance(row, Mapping) or set(row) != _MEMBERS:
        raise PatternRefused(place, 'write {"days": ["mon"], "from": "22:00", "to": "06:00", "zone": "Europe/Berlin"}')
    days = row["days"]
    if not isinstance(days, list | tuple) or not days or not all(day in DAYS for day in days):
        raise PatternRefused(place, f"the days are some of {', '.join(DAYS)}")
    starts, ends = _minute(row["from"], place), _minute(row["to"], place)
    if starts in {ends, 24 * 60}:
        raise PatternRefused(place, "from and to must differ; a whole day is 00:00 to 24:00")
    zone = zone_named(row["zone"]) if isinstance(row["zone"], str) else None
    if zone is None:
        raise PatternRefused(place, "the zone is not in the IANA database; write one such as Europe/Berlin")
    return Window(frozenset(DAYS.index(day) for day in days), starts, ends, zone)


def _minute(text: object, place: str) -> int:
    found = _CLOCK.fullmatch(text) if isinstance(text, str) else None
    if found is None:
        raise PatternRefused(place, "times are written as 22:00, from 00:00 to 24:00")
    return int(found[1] or found[3]) * 60 + int(found[2] or found[4])


@dataclass(frozen=True, slots=True)
class Networks:
    """Where a client may be; the empty one is anywhere."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()

    @classmethod
    def compile(cls, values: Sequence[str], *, place: str) -> Networks:
        """Return the networks written in `values`, CIDR blocks.

        Raises:
            PatternRefused: with the first that is none.
        """
        try:
            return cls(addresses.parse_networks(list(values) if isinstance(values, tuple) else values))
        except addresses.NetworkRefused as error:
            raise PatternRefused(place, error.message[:1].lower() + error.message[1:].rstrip(".")) from None

    def holds(self, address: str) -> bool:
        """Tell whether `address` lies in one of the networks; an unknown address only lies in "anywhere"."""
        if not self.networks:
            return True
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        return any(parsed in network for network in self.networks)


ANYWHERE: Final = Networks()
