"""Replay and search as people use them: by mouse, by keyboard alone, on a phone, in the dark, without scripts, live."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from sessions import reading, search_index, selectors
from tests.support.hostile import PAYLOADS
from tests.support.record import Record

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]

LONG = "get_a_tool_with_a_name_that_nobody_limits_" * 4
SEARCH = "admin:gateway_sessions_session_search"


@pytest.fixture
def record(transactional_db):
    found = Record()
    found.call("get_order", hits={"email": 2}, answers=({"result": {"to": "[MASKED:email]", "n": 1.0, "ok": True}},))
    found.call("delete_order", verdict="deny", reason="Deleting needs a ticket.")
    found.call("refund_order", verdict="hold")
    found.call("list_orders", state="outcome_unknown", answers=(), reason="timeout", upstream_us=30_000_000)
    found.call(LONG, answers=({"progress": 1}, {"result": {"text": "word," * 3_000, "bidi": "a\u202eb"}}))
    return found


def replay_of(record, more=""):
    return reverse("admin:gateway_sessions_session_replay", args=[record.session.pk]) + more


def shown(page):
    """The name of the call whose details can be seen, once it is there."""
    chosen = page.locator(".list a[aria-current]").get_attribute("data-call")
    page.locator(f"#call-{chosen} h2").wait_for()
    return page.locator("article.call:visible h2").all_inner_texts()


def clock(page):
    return page.locator(".clock").inner_text()


@pytest.mark.parametrize(("scheme", "size"), [("light", "desktop"), ("dark", "phone")])
def test_the_pages_are_accessible_and_fit_their_window(open_page, record, admin_user, scheme, size):
    held = Record(slug="wiki", subject="grace").call("refund_order", verdict="hold")
    record.event("approval:request:approved", {"reviewer": "grace"}, call=held)
    reading.saved_view_save(owner=admin_user, name="Denied", query="verdict:deny", is_shared=True, now=timezone.now())
    search_index.catch_up()
    search = reverse(SEARCH)
    paths = [
        replay_of(record),
        replay_of(record, "?q=verdict:deny"),
        replay_of(record, "?q=colour:red"),
        replay_of(record, "?q=nothing"),
        reverse("admin:gateway_sessions_session_call", args=[record.session.pk, record.call("alone")]),
        reverse("admin:gateway_sessions_session_end", args=[record.session.pk]),
        search,
        search + "?q=verdict:deny",
        search + "?q=nothing",
        search + "?q=colour:red",
    ]
    found = {}

    def look(name):
        found[name] = Axe().run(page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), name

    with open_page(paths[0], scheme=scheme, size=size) as page:
        for path in paths:
            page.goto(path)
            page.locator("main").wait_for()
            look(path)
        page.goto(paths[0])
        for name in ("Raw", "Policy", "Approval", "Evidence"):
            page.get_by_role("tab", name=name).last.click()
            look(name)
        page.keyboard.press("?")
        page.get_by_role("heading", name="Keys").wait_for()
        look("keys")
        page.goto(search)
        page.get_by_text("What can be looked for").click()
        look("terms")
        assert page.problems == []
    assert {path: result.generate_report() for path, result in found.items() if result.violations_count} == {}


def test_everything_can_be_done_with_the_keyboard_alone(open_page, record):
    with open_page(replay_of(record)) as page:
        assert shown(page) == ["get_order"]
        seen = []
        for key in ("j", "ArrowDown", "k", "ArrowUp", "k"):
            page.keyboard.press(key)
            seen += shown(page)
        assert seen == ["delete_order", "refund_order", "delete_order", "get_order", "get_order"]
        page.keyboard.press("]")
        assert shown(page) == ["delete_order"]
        page.keyboard.press("]")
        page.keyboard.press("]")
        assert shown(page) == ["list_orders"]
        page.keyboard.press("]")
        assert page.locator(".announce").inner_text() == "There is no further marker on this page."
        page.keyboard.press("[")
        assert shown(page) == ["refund_order"]
        page.keyboard.press("0")
        start = clock(page)
        page.keyboard.press("ArrowRight")
        assert float(clock(page)[1:-2]) == pytest.approx(float(start[1:-2]) + 5, abs=0.01)
        page.keyboard.press("ArrowLeft")
        assert clock(page) == start
        page.keyboard.press("Shift+ArrowRight")
        assert clock(page) != start
        page.keyboard.press("9")
        assert shown(page) == ["list_orders"]
        page.keyboard.press(">")
        assert page.get_by_label("Speed").input_value() == "2"
        page.keyboard.press("i")
        assert not page.get_by_label("Skip idle").is_checked()
        page.keyboard.press("0")
        page.keyboard.press(".")
        assert clock(page) != start
        page.keyboard.press("?")
        page.get_by_role("heading", name="Keys").wait_for()
        page.keyboard.press("Escape")
        assert not page.get_by_role("heading", name="Keys").is_visible()
        page.keyboard.press("/")
        page.keyboard.type("verdict:deny")
        page.keyboard.press("Enter")
        page.wait_for_url("**q=verdict**")
        assert shown(page) == ["delete_order"]
        assert page.problems == []


def test_tabs_are_reached_and_changed_by_the_keyboard_and_stay_for_the_next_call(open_page, record):
    with open_page(replay_of(record)) as page:
        tab = page.get_by_role("tab", name="Arguments")
        tab.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.get_by_role("tab", name="Policy").evaluate("node => node === document.activeElement")
        assert page.get_by_role("tabpanel", name="Policy").is_visible()
        assert not page.get_by_role("tabpanel", name="Arguments").is_visible()
        page.keyboard.press("j")
        assert shown(page) == ["delete_order"]
        panel = page.get_by_role("tabpanel", name="Policy")
        panel.get_by_text("Deleting needs a ticket.").wait_for()


def test_playing_goes_through_the_calls_skips_silence_and_ends(open_page, transactional_db):
    record = Record()
    record.call("one")
    record.now += timedelta(minutes=20)
    record.call("two", answers=({"progress": 1}, {"result": "late"}), upstream_us=900_000)
    with open_page(replay_of(record)) as page:
        page.keyboard.press("0")
        assert shown(page) == ["one"]
        page.get_by_label("Speed").select_option("0.5")
        page.keyboard.press("Escape")
        page.locator("h1").click()
        page.keyboard.press("Space")
        assert page.get_by_role("button", name="Pause").is_visible()
        page.locator("#details h2", has_text="two").wait_for()
        page.get_by_role("button", name="Play").wait_for()
        assert clock(page).startswith("+00:20:0")


def test_at_a_moment_only_what_had_arrived_is_shown(open_page, transactional_db):
    record = Record()
    record.call("slow", answers=({"progress": 1}, {"result": "late"}), upstream_us=8_000_000)
    with open_page(replay_of(record, "?at=2.0")) as page:
        assert shown(page) == ["slow"]
        page.get_by_text("Nothing yet at this moment.").wait_for()
        page.keyboard.press("k")
        assert not page.get_by_text("Nothing yet at this moment.").is_visible()


def test_a_link_to_a_moment_is_copied_and_leads_there(open_page, record):
    with open_page(replay_of(record)) as page:
        page.keyboard.press("5")
        name, moment = shown(page), clock(page)
        page.get_by_role("button", name="Copy link to this moment").click()
        page.wait_for_url("**?at=*")
        page.goto(page.url)
        assert (shown(page), clock(page)) == (name, moment)


def test_a_click_shows_the_call(open_page, record):
    with open_page(replay_of(record)) as page:
        page.locator(".list a", has_text="refund_order").click()
        assert shown(page) == ["refund_order"]
        assert page.url.endswith("/replay/")


def test_keys_that_are_typed_into_the_filter_stay_there(open_page, record):
    with open_page(replay_of(record)) as page:
        page.locator("#filter").press_sequentially("jjk ?]")
        assert shown(page) == ["get_order"]
        assert page.locator("#filter").input_value() == "jjk ?]"


def test_a_link_to_a_call_opens_it(open_page, record):
    wanted = record.call("linked_order")
    with open_page(replay_of(record, f"#call-{wanted}")) as page:
        assert shown(page) == ["linked_order"]


def test_a_link_to_a_call_on_a_later_page_opens_the_page_of_the_call(open_page, record, monkeypatch):
    monkeypatch.setitem(selectors.outline_of.__kwdefaults__, "limit", 3)
    wanted = record.call("linked_order")
    with open_page(replay_of(record, f"#call-{wanted}")) as page:
        page.wait_for_url(f"**/calls/{wanted}/")
        assert page.locator("article.call h2").inner_text() == "linked_order"


def test_without_scripts_the_list_leads_to_every_call(open_page, record):
    with open_page(replay_of(record), scripts=False) as page:
        names = ["get_order", "delete_order", "refund_order", "list_orders", LONG]
        assert page.locator(".list .name").all_inner_texts() == names
        for title in ("Arguments", "Raw request", "Policy", "Approval", "Result", "Evidence"):
            assert page.get_by_role("heading", name=title, exact=True).is_visible()
        page.locator(".list a", has_text="refund_order").click()
        page.wait_for_url("**/calls/*/")
        assert page.locator("article.call h2").inner_text() == "refund_order"
        page.go_back()
        page.locator("#filter").fill("verdict:hold")
        page.locator(".filter button").click()
        page.wait_for_url("**verdict**")
        assert page.locator(".list .name").all_inner_texts() == ["refund_order"]


def test_nothing_is_cut_out_of_sight(open_page, record):
    call = record.session.events.order_by("-id").first().call_id
    path = reverse("admin:gateway_sessions_session_call", args=[record.session.pk, call])
    with open_page(path, size="phone", scripts=False) as page:
        text = page.locator('[data-side="answer"] pre').last
        assert text.inner_text().count("word,") == 3_000
        assert text.evaluate("node => node.scrollWidth <= node.clientWidth + 1")
        assert "U+202E" in text.inner_text()


def test_the_replay_follows_the_theme_that_was_chosen_in_the_console(open_page, record):
    with open_page(replay_of(record), scheme="light") as page:
        colour = "getComputedStyle(document.body).backgroundColor"
        light = page.evaluate(colour)
        page.evaluate("localStorage.setItem('adminTheme', JSON.stringify('dark'))")
        page.reload()
        assert page.evaluate(colour) != light


def test_an_open_session_is_followed_while_it_goes_on(open_page, transactional_db, live_server):
    record = Record()
    record.call("first_order")
    later = uuid.uuid4()
    columns = "instance_id, at, session_id, prev_hash, hash"
    statement = (
        f"INSERT INTO gateway_sessions_event (seq, call_id, name, body, payload, {columns}) "
        f"SELECT 900, %s, 'gateway:call:denied', %s, %s, instance_id, at + interval '1 second', session_id, '', '' "
        "FROM gateway_sessions_event ORDER BY id LIMIT 1"
    )
    settings = connection.get_connection_params()
    with open_page(replay_of(record)) as page:
        page.get_by_label("Live").check()
        _execute(settings, statement, [later, '{"name":"new_order","verdict":"deny"}', b"{}"])
        page.locator("#details h2", has_text="new_order").wait_for()
        assert page.locator(".announce").inner_text() == "1 new call."
        assert page.get_by_label("Live").is_checked()
        _execute(settings, "UPDATE gateway_sessions_session SET ended_at = now(), end_reason = 'client'", [])
        page.get_by_text("The session has ended.").wait_for()
        assert page.problems == []


def _execute(settings, statement, values):
    """Write past Django, which must not be used while a page is open."""
    import psycopg

    known = {"host", "port", "dbname", "user", "password"}
    given = {name: value for name, value in settings.items() if name in known and value}
    with psycopg.connect(**given, autocommit=True) as database:
        database.execute(statement, values)


def test_a_view_is_saved_used_and_deleted(open_page, record):
    search_index.catch_up()
    with open_page(reverse(SEARCH)) as page:
        page.keyboard.press("/")
        page.keyboard.type("verdict:deny")
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="Calls found").wait_for()
        assert page.locator(".found tbody a").all_inner_texts() == ["delete_order"]
        page.get_by_label("Keep this search as").fill("<b>Denied</b>")
        page.get_by_role("button", name="Save view").click()
        page.get_by_text("The view is saved.").wait_for()
        page.goto(reverse(SEARCH))
        page.get_by_role("link", name="<b>Denied</b>").click()
        page.get_by_role("heading", name="Calls found").wait_for()
        page.get_by_role("button", name="Delete <b>Denied</b>").click()
        page.get_by_text("None yet.").wait_for()
        page.keyboard.press("j")
        assert page.evaluate("document.activeElement.textContent") == "delete_order"
        assert page.problems == []


WATCH = """
window.ran = 0; window.reports = [];
for (const name of ["alert", "confirm", "prompt"]) { window[name] = () => { window.ran += 1; }; }
document.addEventListener("securitypolicyviolation", (event) => {
  window.reports.push(event.violatedDirective + " " + event.sample);
});
"""


def test_no_hostile_text_in_any_recorded_field_runs_or_is_refused_by_the_policy(
    open_page, transactional_db, admin_user
):
    """150 texts in every field of a call, on the pages of replay, search and events (SECURITY, K4)."""
    record = Record()
    for payload in PAYLOADS:
        call = record.call(
            payload,
            method=payload,
            request={payload: payload, "params": {"arguments": {payload: payload}}},
            answers=(
                {payload: payload},
                {"result": {"content": [{"type": "text", "text": payload}, {"type": payload, "x": payload}]}},
            ),
            hits={payload: 1},
            reason=payload,
        )
        record.event(payload[:64], payload, call=call, payload=payload.encode())
        record.event("approval:request:decided", {payload: payload, "reason": payload}, call=call)
        if payload in PAYLOADS[::10]:
            record.call(payload, verdict="deny", reason=payload)
    payload = PAYLOADS[1]
    record.session.client_name = record.principal.display_name = record.principal.subject = payload
    record.session.user_agent = record.session.remote_address = payload
    record.session.protocol_version = record.session.end_reason = payload[:16]
    record.session.save()
    record.principal.save()
    reader = reading.Reader(1, payload, payload, payload)
    reading.reading_add(reader=reader, kind="search", session_id=record.session.pk, detail=payload, now=timezone.now())
    for number, text in enumerate(PAYLOADS[:20]):
        reading.saved_view_save(owner=admin_user, name=f"{number}{text}"[:100], query=text, now=timezone.now())
    search_index.catch_up(seconds=20)
    pages = [reverse(SEARCH), reverse(SEARCH) + "?q=since:99999d", reverse("admin:gateway_sessions_session_changelist")]
    pages += [
        reverse("admin:gateway_sessions_event_changelist"),
        reverse("admin:gateway_sessions_readevent_changelist"),
    ]
    pages += [reverse("admin:gateway_sessions_savedview_changelist"), replay_of(record, "end/")]
    seen = 0

    def harmless():
        assert page.evaluate("[window.ran, window.reports]") == [0, []], page.url

    with open_page("about:blank") as page:
        page.context.add_init_script(WATCH)
        path = replay_of(record)
        while path:
            page.goto(path)
            rows = page.locator(".list ol a[data-call]").count()
            # Every panel comes as the player fetches it, and its tabs are all in the document.
            for _ in range(rows):
                chosen = page.locator(".list a[aria-current]").get_attribute("data-call")
                page.locator(f"#call-{chosen}").wait_for()
                seen += 1
                page.keyboard.press("j")
            harmless()
            following = page.locator("a[rel=next]")
            path = following.get_attribute("href") if following.count() else None
            path = replay_of(record, path) if path else None
        assert seen >= len(PAYLOADS)
        for path in pages:
            page.goto(path)
            page.locator("main").first.wait_for()
            harmless()
        assert page.problems == []
