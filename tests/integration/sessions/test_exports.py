"""The stream of events to other systems: each gets every event at least once, whatever fails on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ValidationError

from sessions import exports, retention
from sessions.exports import ExportFailed, Sent
from sessions.models import Event, ExportCursor, ExportSink, GatewayInstance
from sessions.tasks import export_events, export_to_sink
from tests.support.record import START, Record
from tests.support.siem import SECRET, SERVICES, SyslogTaken, Taken, http_service, syslog_listener

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 20, 12, tzinfo=UTC)
LOCAL = ["127.0.0.0/8"]
DATASETS = {"splunk": "audit", "elastic": "audit"}


def sink_for(kind: str, target: str, **values: Any) -> ExportSink:
    given: dict[str, Any] = {"secret": SECRET, "dataset": DATASETS.get(kind, ""), "from_the_beginning": True, **values}
    return exports.export_sink_save(name=kind, kind=kind, target=target, allowed_networks=LOCAL, now=NOW, **given)


def run(sink: ExportSink, *, now: datetime = NOW, seconds: float = 20) -> Sent:
    return exports.sink_run(sink_id=sink.pk, now=now, seconds=seconds)


def recorded(calls: int = 5, **values: Any) -> Record:
    record = Record(**values)
    for number in range(calls):
        record.call(f"tool{number}", hits={"email": 1})
    record.call("rm", verdict="deny", reason="not today")
    return record


def ids(*, every: bool = False) -> list[str]:
    """Return the ids that a sink should have, in the order of the chain."""
    events = Event.objects.order_by("instance__started_at", "seq")
    if not every:
        events = events.exclude(name__in=exports.STEPS)
    return [f"{event.instance_id}-{event.seq}" for event in events]


@pytest.fixture(params=sorted(SERVICES))
def service(request: Any) -> Iterator[tuple[str, Taken]]:
    with http_service(request.param) as taken:
        yield request.param, taken


class TestEveryHttpService:
    def test_it_gets_every_event_once_with_who_what_and_why(self, service: tuple[str, Taken]) -> None:
        kind, taken = service
        recorded()
        sink = sink_for(kind, taken.url)
        assert run(sink) == Sent(6, 0, True)
        assert taken.problems == []
        assert taken.ids == ids()
        assert run(sink) == Sent(0, 0, True)
        prefix = "wardgate." if kind == "otlp" else ""
        denied = taken.events[-1]
        assert denied[f"{prefix}event"] == "gateway:call:denied"
        assert (denied[f"{prefix}name"], denied[f"{prefix}rule"]) == ("rm", "deny it")
        assert taken.events[0][f"{prefix}name"] == "tool0"
        assert f"{prefix}message" not in denied

    def test_what_it_does_not_take_comes_again_after_a_pause(self, service: tuple[str, Taken]) -> None:
        kind, taken = service
        recorded()
        sink = sink_for(kind, taken.url)
        taken.answer_next(503)
        assert run(sink) == Sent(0, 0, False)
        sink.refresh_from_db()
        assert (sink.failures, sink.retry_at) == (1, NOW + timedelta(seconds=1))
        assert "503" in sink.last_error
        assert SECRET not in sink.last_error
        assert run(sink).delivered == 0
        assert run(sink, now=NOW + timedelta(seconds=2)).delivered == 6
        assert taken.ids == ids()

    def test_a_service_that_asks_for_a_pause_gets_it(self, service: tuple[str, Taken]) -> None:
        kind, taken = service
        recorded()
        sink = sink_for(kind, taken.url)
        taken.answer_next(429, retry_after=90)
        run(sink)
        sink.refresh_from_db()
        assert sink.retry_at == NOW + timedelta(seconds=90)
        assert exports.sinks_due(now=NOW + timedelta(seconds=89)) == []
        assert exports.sinks_due(now=NOW + timedelta(seconds=90)) == [sink.pk]

    def test_what_is_too_large_goes_in_smaller_batches(self, service: tuple[str, Taken]) -> None:
        kind, taken = service
        recorded(calls=40)
        taken.largest = 9_000
        sink = sink_for(kind, taken.url)
        while not run(sink).is_up_to_date:
            pass
        assert taken.ids == ids()

    def test_a_test_says_whether_it_works(self, service: tuple[str, Taken]) -> None:
        kind, taken = service
        sink = sink_for(kind, taken.url)
        exports.export_sink_test(sink_id=sink.pk, now=NOW)
        taken.answer_next(401)
        with pytest.raises(ExportFailed, match="401"):
            exports.export_sink_test(sink_id=sink.pk, now=NOW)


@pytest.mark.parametrize("kind", ["elastic", "otlp"])
def test_what_a_service_will_never_take_is_counted_and_told(kind, caplog):
    record = recorded()
    bad = f"{record.instance.pk}-2"
    with http_service(kind) as taken:
        taken.refuses = lambda event_id: event_id == bad
        sink = sink_for(kind, taken.url)
        assert run(sink) == Sent(5, 1, True)
    sink.refresh_from_db()
    assert (sink.delivered, sink.refused) == (5, 1)
    assert "refused" in sink.last_error
    assert "refused events for good" in caplog.text


def test_a_delivery_whose_answer_was_lost_is_repeated_and_the_receiver_can_tell(monkeypatch):
    recorded()
    with http_service("elastic") as taken:
        sink = sink_for("elastic", taken.url)
        with monkeypatch.context() as broken:
            broken.setattr(exports.ExportCursor.objects, "update_or_create", _die)
            with pytest.raises(RuntimeError):
                run(sink)
        assert len(taken.ids) == 6
        assert run(sink).delivered == 6
        assert taken.ids == ids()
        assert len(taken.sizes) == 2


def test_batches_are_bounded_and_chains_come_in_their_order():
    recorded(calls=20)
    recorded(calls=20, slug="wiki", start=START + timedelta(hours=1))
    with http_service("webhook") as taken:
        sink = sink_for("webhook", taken.url, batch=7, includes_every_event=True)
        run(sink)
        assert taken.ids == ids(every=True)
        assert len(taken.sizes) == 2 * 6


def test_contents_go_along_only_where_it_was_asked_for():
    record = Record()
    record.call(answers=({"jsonrpc": "2.0", "id": 1, "result": {"text": "the masked answer"}},))
    with http_service("webhook") as taken:
        run(sink_for("webhook", taken.url))
        assert "the masked answer" not in json.dumps(taken.events)
        ExportSink.objects.all().delete()
        run(sink_for("webhook", taken.url, includes_contents=True))
        assert "the masked answer" in json.dumps(taken.events[-1])


def test_messages_that_are_too_long_together_are_not_read_into_memory(monkeypatch):
    monkeypatch.setattr(exports, "_LONGEST_PAYLOAD", 300)
    monkeypatch.setattr(exports, "_PAYLOADS", 500)
    record = Record()
    for size in (100, 100, 100, 100, 1000):
        record.call(answers=({"jsonrpc": "2.0", "id": 1, "result": {"text": "x" * size}},))
    with http_service("webhook") as taken:
        run(sink_for("webhook", taken.url, includes_contents=True))
    told = [event["message"] == exports.TOO_LONG for event in taken.events]
    assert told == [False, False, False, True, True]


def test_a_new_sink_gets_what_comes_from_now_on():
    record = recorded()
    with http_service("webhook") as taken:
        sink = sink_for("webhook", taken.url, from_the_beginning=False)
        assert exports.lag_of(sink) == 0
        assert run(sink).delivered == 0
        record.call("later")
        assert exports.lag_of(sink) == 2
        assert run(sink).delivered == 1
        assert [event["name"] for event in taken.events] == ["later"]


def test_a_call_that_began_in_an_earlier_batch_is_still_named():
    record = Record()
    call = record.call("slow", state="open")
    with http_service("webhook") as taken:
        sink = sink_for("webhook", taken.url)
        run(sink)
        record.event("gateway:call:outcome_unknown", {"reason": "gateway_crash"}, call=call)
        run(sink)
        assert [(event["name"], event["reason"]) for event in taken.events] == [("slow", "gateway_crash")]


def test_a_chain_that_has_ended_is_not_looked_at_again(django_assert_max_num_queries):
    record = recorded()
    GatewayInstance.objects.filter(pk=record.instance.pk).update(ended_at=NOW)
    with http_service("webhook") as taken:
        sink = sink_for("webhook", taken.url)
        run(sink)
        assert ExportCursor.objects.get().is_done
        with django_assert_max_num_queries(6):
            run(sink)
        assert len(taken.ids) == 6


def test_one_sink_that_is_away_holds_up_no_other():
    recorded()
    with http_service("webhook") as taken:
        away = sink_for("splunk", "http://127.0.0.1:9/services/collector/event")
        sink = sink_for("webhook", taken.url)
        run(away)
        assert run(sink).delivered == 6
    away.refresh_from_db()
    assert away.failures == 1
    assert away.delivered == 0


def test_pauses_grow_and_end_with_the_first_success():
    recorded()
    with http_service("webhook") as taken:
        sink = sink_for("webhook", taken.url)
        now = NOW
        pauses = []
        taken.answer_next(500, times=4)
        for _ in range(4):
            run(sink, now=now)
            sink.refresh_from_db()
            pauses.append((sink.retry_at - now).total_seconds())
            now = sink.retry_at
        assert pauses == [1, 2, 4, 8]
        run(sink, now=now)
        sink.refresh_from_db()
        assert (sink.failures, sink.retry_at, sink.last_error) == (0, None, "")


def test_a_month_does_not_leave_before_every_active_sink_has_it():
    recorded()
    begins, ends = datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)
    assert exports.is_delivered(begins=begins, ends=ends)
    with http_service("webhook") as taken:
        sink = sink_for("webhook", taken.url)
        assert not exports.is_delivered(begins=begins, ends=ends)
        assert not retention.month_is_sealed(begins=begins, ends=ends, now=NOW)
        run(sink)
        assert exports.is_delivered(begins=begins, ends=ends)


def test_the_tasks_serve_every_sink_whose_turn_it_is(monkeypatch):
    recorded()
    with http_service("webhook") as taken:
        sink = sink_for("webhook", taken.url)
        asked: list[str] = []
        monkeypatch.setattr(export_to_sink, "delay", asked.append)
        export_events()
        assert asked == [str(sink.pk)]
        export_to_sink(asked[0])
        assert taken.ids == ids()


class TestSyslog:
    @pytest.fixture
    def listener(self, tmp_path: Path) -> Iterator[SyslogTaken]:
        with syslog_listener(tmp_path) as taken:
            yield taken

    def test_ocsf_comes_over_tls_one_event_a_message(self, listener: SyslogTaken) -> None:
        recorded()
        sink = sink_for("syslog_ocsf", listener.address, secret="", ca_certificate=listener.certificate)
        assert run(sink).delivered == 6
        events = [json.loads(message.partition(" - event - ")[2]) for message in listener.wait_for(6)]
        assert [event["metadata"]["uid"] for event in events] == ids()
        assert {event["class_uid"] for event in events} == {6003}
        assert (events[-1]["action"], events[-1]["severity_id"], events[-1]["api"]["operation"]) == ("Denied", 3, "rm")
        assert all(message.startswith(("<110>1 2026-", "<108>1 2026-")) for message in listener.messages)

    def test_cef_comes_over_tls_one_event_a_message(self, listener: SyslogTaken) -> None:
        recorded()
        sink = sink_for("syslog_cef", listener.address, secret="", ca_certificate=listener.certificate)
        run(sink)
        messages = listener.wait_for(6)
        assert all("CEF:0|Wardgate|Wardgate|1|gateway:call:" in message for message in messages)
        assert "cs2=rm" in messages[-1]

    def test_a_listener_that_is_not_trusted_gets_nothing(self, listener: SyslogTaken) -> None:
        recorded()
        sink = sink_for("syslog_cef", listener.address, secret="")
        assert run(sink).delivered == 0
        sink.refresh_from_db()
        assert sink.failures == 1
        assert listener.messages == []

    def test_a_connection_that_breaks_is_made_again_and_nothing_is_missing(self, listener: SyslogTaken) -> None:
        recorded(calls=50)
        sink = sink_for("syslog_cef", listener.address, secret="", ca_certificate=listener.certificate)
        listener.cut_after = 10
        run(sink)
        run(sink, now=NOW + timedelta(minutes=5))
        wanted = set(ids())
        seen = {
            event_id for event_id in wanted for message in listener.messages if f"externalId={event_id} " in message
        }
        assert seen == wanted


class TestSaving:
    @pytest.mark.parametrize(
        ("values", "field"),
        [
            ({"kind": "splunk", "target": "http://siem.example/x", "allowed_networks": []}, "target"),
            ({"kind": "splunk", "target": "https://user:pass@siem.example/x"}, "target"),
            ({"kind": "syslog_cef", "target": "siem.example"}, "target"),
            (
                {"kind": "syslog_cef", "target": "siem.example:6514", "has_tls": False, "allowed_networks": []},
                "has_tls",
            ),
            (
                {"kind": "datadog", "target": "https://http-intake.logs.datadoghq.com/api/v2/logs", "secret": ""},
                "secret",
            ),
            ({"kind": "otlp", "target": "https://otel.example/v1/logs", "batch": 0}, "batch"),
        ],
    )
    def test_what_cannot_work_is_refused_at_its_field(self, values: dict[str, Any], field: str) -> None:
        given = {"name": "x", "secret": SECRET, "allowed_networks": LOCAL, "now": NOW, **values}
        with pytest.raises(ValidationError) as refused:
            exports.export_sink_save(**given)
        assert field in refused.value.error_dict

    def test_a_secret_stays_when_none_is_given_and_never_follows_to_another_place(self) -> None:
        sink = sink_for("webhook", "https://siem.example/hook")
        values = {"name": "webhook", "kind": "webhook", "now": NOW, "allowed_networks": LOCAL}
        same = exports.export_sink_save(sink_id=sink.pk, target="https://siem.example/hook", **values)
        assert bytes(same.ciphertext) == bytes(sink.ciphertext)
        with pytest.raises(ValidationError) as refused:
            exports.export_sink_save(sink_id=sink.pk, target="https://elsewhere.example/hook", **values)
        assert "secret" in refused.value.error_dict

    def test_a_secret_moves_to_a_new_master_key(self, settings: Any) -> None:
        with http_service("webhook") as taken:
            sink = sink_for("webhook", taken.url)
            new = "next:QAV8a9ywfjRM36X1T4YTKDhiDVMKgdFkiz1XbXlsWoQ="
            settings.WARDGATE_MASTER_KEYS = f"{new},{settings.WARDGATE_MASTER_KEYS}"
            assert exports.secrets_seal_again() == (1, 0)
            settings.WARDGATE_MASTER_KEYS = new
            exports.export_sink_test(sink_id=sink.pk, now=NOW)
            assert len(taken.ids) == 1

    def test_a_secret_is_not_in_the_row(self) -> None:
        sink = sink_for("webhook", "https://siem.example/hook")
        assert SECRET.encode() not in bytes(sink.ciphertext) + bytes(sink.wrapped_key)


def _die(**_: Any) -> None:
    raise RuntimeError("the process was killed here")
