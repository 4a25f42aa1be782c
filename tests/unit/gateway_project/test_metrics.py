"""The numbers for a monitoring system."""

from __future__ import annotations

from gateway_project.metrics import exposition


def test_each_number_has_its_kind_and_a_sentence() -> None:
    text = exposition({"wardgate_ready": 1.0, "wardgate_record_events_total": 120000.0})
    assert text.splitlines()[1:3] == ["# TYPE wardgate_ready gauge", "wardgate_ready 1"]
    assert text.splitlines()[4:] == [
        "# TYPE wardgate_record_events_total counter",
        "wardgate_record_events_total 120000",
    ]
    assert text.endswith("\n")
