"""The console as people use it: by mouse, by keyboard, on a phone, in the dark, and without scripts."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.urls import reverse

from sessions import selectors
from tests.support.record import Record

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]

LONG = "get_a_tool_with_a_name_that_nobody_limits_" * 4
HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(2)>",
    '"><svg onload=alert(3)>',
    "</script><script>alert(4)</script>",
    "javascript:alert(5)",
    "<iframe srcdoc='<script>alert(6)</script>'>",
    "<a href='javascript:alert(7)'>x</a>",
    "<style>@import 'x'</style>",
)


@pytest.fixture
def record(transactional_db):
    found = Record()
    found.call("get_order", hits={"email": 2}, answers=({"result": {"to": "[MASKED:email]", "n": 1.0, "ok": True}},))
    found.call("delete_order", verdict="deny", reason="Deleting needs a ticket.")
    found.call("refund_order", verdict="hold")
    found.call("list_orders", state="outcome_unknown", answers=(), reason="timeout", upstream_us=30_000_000)
    found.call(LONG, answers=({"progress": 1}, {"result": {"text": "word," * 3_000, "bidi": "a\u202eb"}}))
    return found


def replay_of(record, anchor=""):
    return reverse("admin:gateway_sessions_session_replay", args=[record.session.pk]) + anchor


def shown(page):
    """The names of the calls whose details can be seen."""
    return [name.strip() for name in page.locator("article.call:visible h2").all_inner_texts()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_the_pages_are_accessible_and_fit_their_window(open_page, record, scheme, size):
    Record(slug="wiki", subject="grace")
    paths = [
        reverse("admin:login"),
        reverse("admin:index"),
        reverse("admin:gateway_sessions_session_changelist"),
        reverse("admin:connections_connection_add"),
        reverse("admin:connections_credential_add"),
        reverse("admin:policies_accessgrant_add"),
        replay_of(record),
        replay_of(record, "?verdict=deny"),
        replay_of(record, "?text=nothing"),
    ]
    found = {}
    with open_page(paths[0], scheme=scheme, size=size, login=False) as page:
        page.locator("#id_username").wait_for()
        found[paths[0]] = Axe().run(page)
    with open_page(paths[1], scheme=scheme, size=size) as page:
        for path in paths[1:]:
            page.goto(path)
            page.locator("main").wait_for()
            if path == paths[5]:
                page.locator("[aria-label=Principal]").first.wait_for()
            found[path] = Axe().run(page)
            assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), path
        assert page.problems == []
    assert {path: result.generate_report() for path, result in found.items() if result.violations_count} == {}


def test_the_first_call_is_shown_and_the_keys_move_through_the_calls(open_page, record):
    with open_page(replay_of(record)) as page:
        assert shown(page) == ["get_order"]
        seen = []
        for key in ("j", "ArrowDown", "k", "ArrowUp", "k"):
            page.keyboard.press(key)
            seen += shown(page)
        assert seen == ["delete_order", "refund_order", "delete_order", "get_order", "get_order"]
        page.keyboard.press("j")
        assert page.evaluate("location.hash") == page.locator(".list a[aria-current]").get_attribute("href")


def test_a_click_shows_the_call_and_going_back_shows_the_one_before(open_page, record):
    with open_page(replay_of(record)) as page:
        page.locator(".list a", has_text="refund_order").click()
        assert shown(page) == ["refund_order"]
        page.locator(".list a", has_text="list_orders").click()
        page.go_back()
        assert shown(page) == ["refund_order"]


def test_keys_that_are_typed_into_the_filter_stay_there(open_page, record):
    with open_page(replay_of(record)) as page:
        page.locator("input[name=text]").press_sequentially("jjk")
        assert shown(page) == ["get_order"]
        assert page.locator("input[name=text]").input_value() == "jjk"


def test_a_link_to_a_call_opens_it(open_page, record):
    wanted = record.call("linked_order")
    with open_page(replay_of(record, f"#call-{wanted}")) as page:
        assert shown(page) == ["linked_order"]


def test_a_link_to_a_call_on_a_later_page_opens_the_page_of_the_call(open_page, record, monkeypatch):
    monkeypatch.setitem(selectors.calls_of.__kwdefaults__, "limit", 3)
    wanted = record.call("linked_order")
    with open_page(replay_of(record, f"#call-{wanted}")) as page:
        page.wait_for_url(f"**/calls/{wanted}/")
        assert shown(page) == ["linked_order"]


def test_choosing_a_verdict_filters_at_once(open_page, record):
    with open_page(replay_of(record)) as page:
        page.locator("select[name=verdict]").select_option("deny")
        page.wait_for_url("**verdict=deny**")
        assert shown(page) == ["delete_order"]


def test_without_scripts_every_call_is_on_the_page(open_page, record):
    with open_page(replay_of(record), scripts=False) as page:
        assert shown(page) == ["get_order", "delete_order", "refund_order", "list_orders", LONG]
        page.locator("select[name=verdict]").select_option("hold")
        page.locator("button[type=submit]").click()
        assert shown(page) == ["refund_order"]


def test_nothing_is_cut_out_of_sight(open_page, record):
    with open_page(replay_of(record), size="phone", scripts=False) as page:
        texts = page.locator("article.call").last.locator("pre").last
        assert texts.inner_text().count("word,") == 3_000
        assert texts.evaluate("node => node.scrollWidth <= node.clientWidth + 1")
        assert texts.evaluate("node => getComputedStyle(node).overflowY") == "auto"
        assert "U+202E" in texts.inner_text()


def test_no_script_of_a_stranger_runs(open_page, record):
    for payload in HOSTILE:
        call = record.call(
            payload,
            method=payload,
            request={payload: payload},
            answers=({payload: payload}, {payload: [payload]}),
            hits={payload: 1},
        )
        record.event(payload[:64], payload, call=call, payload=payload.encode())
        record.call(payload, verdict="deny", reason=payload)
    record.session.client_name = record.principal.display_name = HOSTILE[0]
    record.session.save()
    record.principal.save()
    with open_page(replay_of(record), scripts=True) as page:
        for _ in range(page.locator(".list ol a").count()):
            page.keyboard.press("j")
        for path in (
            reverse("admin:index"),
            reverse("admin:gateway_sessions_session_changelist"),
            reverse("admin:gateway_sessions_event_changelist"),
        ):
            page.goto(path)
            page.locator("main").wait_for()
        assert page.problems == []


def test_the_replay_follows_the_theme_that_was_chosen_in_the_console(open_page, record):
    with open_page(replay_of(record), scheme="light") as page:
        colour = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(colour)
        page.evaluate("localStorage.setItem('adminTheme', JSON.stringify('dark'))")
        page.reload()
        assert page.evaluate(colour) != light


def test_a_person_logs_in_adds_a_connection_and_is_told_what_is_wrong(open_page, transactional_db, django_user_model):
    django_user_model.objects.create_superuser("grace", password="correct horse battery")
    with open_page(reverse("admin:connections_connection_add"), login=False) as page:
        page.get_by_label("Username").fill("grace")
        page.get_by_label("Password").fill("correct horse battery")
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Name").fill("Wiki")
        page.get_by_label("Slug").fill("wiki")
        page.get_by_label("Upstream URL").fill("ftp://wiki.example.com")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("must start with http:// or https://").wait_for()
        page.get_by_label("Upstream URL").fill("https://wiki.example.com/mcp")
        page.get_by_role("button", name="Save", exact=True).click()
        page.get_by_text("was added successfully").wait_for()
