from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.engine.exceptions import PatternRefused
from policies.engine.windows import ANYWHERE, DAYS, Networks, compile_windows, zone_named

BERLIN = "Europe/Berlin"
WHOLE_WEEK = list(DAYS)


def window(days, start, end, zone=BERLIN):
    [found] = compile_windows([{"days": days, "from": start, "to": end, "zone": zone}], place="windows")
    return found


def at(text: str, zone: str = BERLIN, fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-03-16T08:00", True),
        ("2026-03-16T07:59:59", False),
        ("2026-03-16T17:59:59", True),
        ("2026-03-16T18:00", False),
        ("2026-03-20T12:00", True),
        ("2026-03-21T12:00", False),
        ("2026-03-22T12:00", False),
    ],
)
def test_a_window_is_open_from_its_first_minute_until_its_last(moment, is_open):
    assert window(["mon", "tue", "wed", "thu", "fri"], "08:00", "18:00").holds(at(moment)) is is_open


@pytest.mark.parametrize(
    ("moment", "is_open"),
    [
        ("2026-03-16T21:59:59", False),
        ("2026-03-16T22:00", True),
        ("2026-03-16T23:59:59", True),
        ("2026-03-17T00:00", True),
        ("2026-03-17T05:59:59", True),
        ("2026-03-17T06:00", False),
        ("2026-03-17T22:00", False),
        ("2026-03-16T03:00", False),
    ],
)
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins(moment, is_open):
    assert window(["mon"], "22:00", "06:00").holds(at(moment)) is is_open


def test_a_window_over_midnight_passes_the_end_of_the_week():
    assert window(["sun"], "22:00", "06:00").holds(at("2026-03-23T03:00"))
    assert not window(["mon"], "22:00", "06:00").holds(at("2026-03-23T03:00"))


def test_a_whole_day_is_all_of_it_and_nothing_else():
    whole = window(["wed"], "00:00", "24:00")
    assert whole.holds(at("2026-03-18T00:00"))
    assert whole.holds(at("2026-03-18T23:59:59"))
    assert not whole.holds(at("2026-03-19T00:00"))


class TestWhenTheClocksChange:
    """The wall clock counts. In Berlin, 2026-03-29 has no 02:30, and 2026-10-25 has it twice."""

    def test_the_hour_that_is_left_out_is_skipped(self):
        night = window(["sun"], "02:00", "03:00")
        before = at("2026-03-29T01:59:59")
        assert [night.holds(before + seconds) for seconds in range(0, 7200, 600)] == [False] * 12

    def test_a_window_around_it_is_an_hour_shorter(self):
        assert self.hours_open("2026-03-28T12:00", window(["sat"], "22:00", "06:00")) == 7

    def test_the_hour_that_comes_twice_is_in_the_window_twice(self):
        night = window(["sun"], "02:00", "03:00")
        assert night.holds(at("2026-10-25T02:30", fold=0))
        assert night.holds(at("2026-10-25T02:30", fold=1))
        assert self.hours_open("2026-10-24T12:00", window(["sat"], "22:00", "06:00")) == 9

    def test_a_day_window_of_working_hours_is_not_moved(self):
        office = window(WHOLE_WEEK, "08:00", "18:00")
        for day in ("2026-03-28", "2026-03-29", "2026-10-24", "2026-10-25"):
            assert office.holds(at(f"{day}T08:00"))
            assert not office.holds(at(f"{day}T07:59"))

    @staticmethod
    def hours_open(start: str, found) -> int:
        return sum(found.holds(at(start) + hour * 3600 + 60) for hour in range(30))


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "America/St_Johns", "Pacific/Chatham", "Australia/Lord_Howe", "UTC"])
def test_zones_that_are_not_whole_hours_away_are_read_as_they_are(zone):
    found = window(["wed"], "09:00", "09:30", zone)
    assert found.holds(at("2026-03-18T09:15", zone))
    assert not found.holds(at("2026-03-18T09:30", zone))


@given(
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.integers(0, 1439),
    st.integers(0, 1439),
    st.datetimes(datetime(2024, 1, 1), datetime(2028, 1, 1)),
    st.sampled_from([BERLIN, "UTC", "America/New_York", "Asia/Kathmandu"]),
)
def test_every_moment_is_in_the_window_or_in_what_is_left_of_the_week(days, first, last, moment, zone):
    if first == last:
        return
    clock = [f"{minute // 60:02}:{minute % 60:02}" for minute in (first, last)]
    now = moment.replace(tzinfo=UTC).timestamp()
    inside = window(sorted(days), *clock, zone).holds(now)
    others = sorted(set(DAYS) - days)
    outside = (window(others, *clock, zone).holds(now) if others else False) or window(
        WHOLE_WEEK, *reversed(clock), zone
    ).holds(now)
    assert inside is not outside


@pytest.mark.parametrize(
    ("row", "hint"),
    [
        ({"days": ["mon"], "from": "25:00", "to": "06:00", "zone": BERLIN}, "from 00:00 to 24:00"),
        ({"days": ["mon"], "from": "8:00", "to": "18:00", "zone": BERLIN}, "from 00:00 to 24:00"),
        ({"days": ["mon"], "from": 800, "to": "18:00", "zone": BERLIN}, "from 00:00 to 24:00"),
        ({"days": ["mon"], "from": "08:00", "to": "08:00", "zone": BERLIN}, "must differ"),
        ({"days": ["mon"], "from": "24:00", "to": "08:00", "zone": BERLIN}, "must differ"),
        ({"days": ["monday"], "from": "08:00", "to": "18:00", "zone": BERLIN}, "some of mon, tue"),
        ({"days": [], "from": "08:00", "to": "18:00", "zone": BERLIN}, "some of mon, tue"),
        ({"days": "mon", "from": "08:00", "to": "18:00", "zone": BERLIN}, "some of mon, tue"),
        ({"days": ["mon"], "from": "08:00", "to": "18:00", "zone": "Europe/Atlantis"}, "IANA"),
        ({"days": ["mon"], "from": "08:00", "to": "18:00", "zone": "../etc/passwd"}, "IANA"),
        ({"days": ["mon"], "from": "08:00", "to": "18:00", "zone": 1}, "IANA"),
        ({"days": ["mon"], "from": "08:00", "to": "18:00"}, "write"),
        ({"days": ["mon"], "from": "08:00", "to": "18:00", "zone": BERLIN, "until": 1}, "write"),
        ("mon", "write"),
    ],
)
def test_what_is_no_window_is_refused_with_its_number_and_a_hint(row, hint):
    good = {"days": ["mon"], "from": "08:00", "to": "18:00", "zone": BERLIN}
    with pytest.raises(PatternRefused) as refused:
        compile_windows([good, row], place="grant g, windows")
    assert refused.value.place == "grant g, windows, window 2"
    assert hint in refused.value.hint


@pytest.mark.parametrize("rows", ["mon", {"days": ["mon"]}, None])
def test_what_is_no_list_of_windows_is_refused(rows):
    with pytest.raises(PatternRefused, match="list of windows"):
        compile_windows(rows, place="windows")


def test_too_many_windows_are_refused():
    row = {"days": ["mon"], "from": "08:00", "to": "18:00", "zone": BERLIN}
    with pytest.raises(PatternRefused, match="at most 50"):
        compile_windows([row] * 51, place="windows")


@pytest.mark.parametrize(
    "name", ["", "Berlin", "europe//berlin", "Europe/Berlin\x00", "x" * 65, "/etc/localtime", "..", "."]
)
def test_what_is_no_zone_of_the_database_is_none(name):
    assert zone_named(name) is None


class TestNetworks:
    @pytest.mark.parametrize(
        ("address", "is_inside"),
        [
            ("10.1.2.3", True),
            ("::ffff:10.1.2.3", True),
            ("::ffff:a01:203", True),
            ("11.1.2.3", False),
            ("::ffff:11.1.2.3", False),
            ("2001:db8::1", True),
            ("2001:db9::1", False),
            ("::10.1.2.3", False),
            ("", False),
            ("10.1.2", False),
            ("010.1.2.3", False),
            ("10.1.2.3 ", False),
            ("ten", False),
        ],
    )
    def test_an_address_is_inside_or_not(self, address, is_inside):
        networks = Networks.compile(["10.0.0.0/8", "2001:db8::/32"], place="networks")
        assert networks.holds(address) is is_inside

    def test_without_networks_everybody_is_inside_and_unknown_addresses_too(self):
        assert ANYWHERE.holds("")
        assert Networks.compile([], place="networks").holds("203.0.113.7")

    @pytest.mark.parametrize(
        "value", ["10.0.0.0/33", "10.0.0.1/8", "10.0.0", "localhost", "", "10.0.0.0/8,10.1.0.0/16"]
    )
    def test_a_typing_error_in_a_network_is_refused_at_its_place(self, value):
        with pytest.raises(PatternRefused) as refused:
            Networks.compile(["10.0.0.0/8", value], place="grant g, networks")
        assert refused.value.place == "grant g, networks"
        assert refused.value.hint

    @given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1), st.integers(0, 32))
    def test_an_ipv4_address_and_its_ipv6_spelling_are_judged_alike(self, address, base, bits):
        base &= (0xFFFFFFFF << (32 - bits)) & 0xFFFFFFFF
        dotted = [".".join(str(number >> shift & 255) for shift in (24, 16, 8, 0)) for number in (address, base)]
        networks = Networks.compile([f"{dotted[1]}/{bits}"], place="networks")
        assert networks.holds(dotted[0]) is networks.holds(f"::ffff:{dotted[0]}")
        assert networks.holds(dotted[0]) is (address >> (32 - bits) == base >> (32 - bits))


def test_a_moment_is_the_same_however_it_is_said():
    found = window(["wed"], "09:00", "10:00")
    assert found.holds((datetime(2026, 3, 18, 8, 30, tzinfo=UTC) + timedelta(0)).timestamp())
