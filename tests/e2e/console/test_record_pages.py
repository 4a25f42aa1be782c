"""What keeps and proves the record, its reports, approval rules: every page, empty, with long values, with errors."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction
from django.urls import reverse
from playwright.sync_api import Page

from accounts.models import User
from policies import services
from policies.reports import SECTIONS
from sessions import checkpoint_keys, checkpoints, exports, retention, search_index, shipping
from tests.integration.sessions.test_recordings import NOW, compact, ended, leave
from tests.support.record import Record

from .looking import FOLDER, LOOKS, Looked
from .test_inbox import HOSTILE, held

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]

LONG = (
    "https://a-rather-long-name-of-a-service.eu-central-1.example.com:8088/services/collector/event?channel=" + "7" * 80
)
MODELS = [
    *(f"gateway_sessions_{name}" for name in ("recording", "retentionrule", "legalhold", "tombstone", "exportsink")),
    *(f"gateway_sessions_{name}" for name in ("checkpoint", "checkpointsink", "checkpointkey")),
    "policies_approvalrule",
    "policies_approvalrequest",
]


def page_of(model: str, page: str, *args: Any) -> str:
    return reverse(f"admin:{model}_{page}", args=args)


@pytest.fixture
def rows(transactional_db: None, admin_user: User, tmp_path: Path, settings: Any) -> dict[str, Any]:
    """One row of everything, by the name of its model: sealed, deleted and held, checkpointed and streamed away."""
    settings.WARDGATE_RECORDING_FOLDER = str(tmp_path / "recordings")
    settings.WARDGATE_RECORDING_STORAGE = "local"
    record = Record()
    for number in range(3):
        record.call("get_order", hits={"email": number})
    record.call("delete_order_" * 12, verdict="deny", reason="Deleting needs a ticket.")
    call = record.call("refund_order", verdict="hold")
    record.event("approval:request:approved", {"reviewer": "grace", "reason": "seen " * 30}, call=call)
    kept = compact(ended(record))
    gone = Record(slug="wiki", subject="agent-" * 20)
    gone.call("read_page")
    compact(ended(gone))
    with transaction.atomic():
        leave(gone.session)
    rule = retention.rule_save(days=30, connection=gone.connection, now=NOW)
    retention.rule_save(days=None, is_encrypted=True, now=NOW)
    hold = retention.hold_place(
        kind="session", session=record.session, reason="Case 7, " * 40, actor=admin_user, now=NOW
    )
    tombstone = retention.session_delete(session_id=gone.session.pk, rule=rule, now=NOW + timedelta(days=40))
    checkpoint_keys.checkpoint_key_rotate(now=NOW)
    due = checkpoints.Due(events=1, seconds=1, idle_seconds=1)
    checkpoint = checkpoints.checkpoint_write_if_due(chain=checkpoints.chain_load(), due=due, now=NOW)
    export = exports.export_sink_save(
        name="Splunk of the whole company", kind="splunk", target=LONG, dataset="audit", secret="a token", now=NOW
    )
    copies = shipping.checkpoint_sink_save(
        sink_id=None, name="Webhook of the auditors", kind="webhook", target=LONG, secret="whsec_" + "A" * 32, now=NOW
    )
    for sink in (export, copies):
        type(sink).objects.filter(pk=sink.pk).update(failures=3, last_error="It cannot be reached: " + "x" * 200)
    approval = services.approval_rule_save(
        name="Refunds of more than the limit", needs_reason=True, now=NOW,
        stages=[{"name": "Team", "needed": 2}, {"name": "Owners of the connection", "needed": 1, "owners": True}],
    )  # fmt: skip
    request = held("refund_order_" * 12, **HOSTILE)
    search_index.catch_up(seconds=20)
    found = [kept, rule, hold, tombstone, export, checkpoint, copies, checkpoint_keys.CheckpointKey.objects.first()]
    replay = reverse("admin:gateway_sessions_session_replay", args=[record.session.pk])
    return {**dict(zip(MODELS, [*found, approval, request], strict=True)), "replay": f"{replay}#call-{call}"}


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
def test_every_page_of_the_record_and_of_approvals_is_readable(
    open_page: Callable[..., Any], rows: dict[str, Any], scheme: str, size: str
) -> None:
    looked = Looked(f"-{scheme}-{size}")
    with open_page("about:blank", scheme=scheme, size=size) as page:

        def look(name: str, url: str) -> None:
            page.goto(url)
            page.locator("main").wait_for()
            looked.at(page, name)

        for model in MODELS:
            look(model, page_of(model, "changelist"))
            look(f"{model}-one", page_of(model, "change", rows[model].pk))
        look("checkpointkey-rotate", page_of("gateway_sessions_checkpointkey", "rotate"))
        for kind in ("evidence", *(SECTIONS if FOLDER else ())):
            look(
                f"report-{kind}", f"/admin/gateway_sessions/recording/report/{kind}/?since=2026-03-01&until=2026-12-31"
            )
        page.goto(rows["replay"])
        page.get_by_role("tab", name="Approval").last.click()
        looked.at(page, "replay-approval")
        assert page.problems == []
    looked.assert_fine()


@pytest.mark.parametrize(("scheme", "size"), LOOKS if FOLDER else LOOKS[-1:])
def test_empty_lists_and_refused_forms_are_readable(open_page: Callable[..., Any], scheme: str, size: str) -> None:
    looked = Looked(f"-{scheme}-{size}")
    with open_page("about:blank", scheme=scheme, size=size) as page:
        for model in MODELS:
            page.goto(page_of(model, "changelist"))
            page.locator("main").wait_for()
            looked.at(page, f"{model}-empty")
        page.goto("/admin/gateway_sessions/recording/report/access/")
        page.get_by_text("Nothing in this period.").wait_for()
        looked.at(page, "report-empty")
        for model, values in REFUSED.items():
            page.goto(page_of(model, "add"))
            fill(page, values)
            page.get_by_role("button", name="Save", exact=True).click()
            page.locator(".errorlist").first.wait_for()
            looked.at(page, f"{model}-refused")
        assert page.problems == []
    looked.assert_fine()


REFUSED = {
    "gateway_sessions_retentionrule": {"days": "0"},
    "gateway_sessions_legalhold": {"kind": "session", "reason": "Case 7"},
    "gateway_sessions_exportsink": {"name": "Splunk", "kind": "splunk", "target": LONG.replace("https", "ftp")},
    "gateway_sessions_checkpointsink": {"name": "Copies", "kind": "file", "target": "../elsewhere"},
    "policies_approvalrule": {"name": "Refunds", "stage_1_name": ""},
}
"""By model, values that its service refuses."""


def fill(page: Page, values: dict[str, str]) -> None:
    for name, value in values.items():
        field = page.locator(f"#id_{name}")
        if field.evaluate("node => node.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
