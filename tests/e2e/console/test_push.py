"""Messages in a real browser: the worker shows them as text, a click opens the page, and the page subscribes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Page, expect

from policies.models import PushSubscription
from policies.notices.push_encryption import encoded
from policies.services.slack_links import slack_code_make, slack_link
from tests.support.hostile_texts import HOSTILE
from tests.support.push import Browser

from .looking import LOOKS, Looked

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]
PLACE = "/admin/account/notifications/"
SUBSCRIBED = """
(keys) => {
  // The browser of a test reaches no push service, so its answer is made here; everything else is the browser's own.
  let made = null;
  PushManager.prototype.getSubscription = async () => made;
  PushManager.prototype.subscribe = async (options) => {
    window.asked = { visible: options.userVisibleOnly, key: [...options.applicationServerKey] };
    made = {
      toJSON: () => ({ endpoint: "https://push.example/send/1", keys }),
      endpoint: "https://push.example/send/1",
      unsubscribe: async () => { made = null; return true; },
    };
    return made;
  };
  Notification.requestPermission = async () => "granted";
}
"""


ONE = """
async () => {
  const registration = await navigator.serviceWorker.getRegistration("/static/console/push/");
  let one = null;
  for (const until = performance.now() + 3000; !one && performance.now() < until; ) {
    [one] = await registration.getNotifications();
    if (!one) await new Promise((done) => setTimeout(done, 20));
  }
  if (!one) return null;
  one.close();
  return { title: one.title, body: one.body, tag: one.tag, path: one.data?.path, actions: one.actions };
}
"""
"""Takes the message that the browser shows away, and returns what it says."""


class Worker:
    """The registered worker, and the way by which a push service reaches it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        page.context.grant_permissions(["notifications"])
        self._session = page.context.new_cdp_session(page)
        self._ids: list[str] = []
        self._session.on(
            "ServiceWorker.workerRegistrationUpdated",
            lambda event: self._ids.extend(one["registrationId"] for one in event["registrations"]),
        )
        self._session.send("ServiceWorker.enable")

    def register(self) -> None:
        self.page.evaluate(
            """async () => {
              const made = await navigator.serviceWorker.register(
                "/static/console/push/worker.js", { scope: "/static/console/push/" });
              const coming = made.installing || made.waiting;
              if (coming) await new Promise((done) => coming.addEventListener(
                "statechange", () => coming.state === "activated" && done()));
            }"""
        )
        assert self._ids

    def push(self, data: str) -> dict[str, Any]:
        """Deliver a message, and return what is shown; a browser under load may lose one, as push services do."""
        origin = self.page.evaluate("location.origin")
        given = {"origin": origin, "registrationId": self._ids[-1], "data": data}
        for _ in range(10):
            self._session.send("ServiceWorker.deliverPushMessage", given)
            shown: dict[str, Any] | None = self.page.evaluate(ONE)
            if shown is not None:
                return shown
        raise AssertionError("the browser showed nothing")


@pytest.fixture
def worker(open_page: Any) -> Iterator[Worker]:
    with open_page(PLACE) as page:
        made = Worker(page)
        made.register()
        yield made


def test_a_message_is_shown_and_nothing_but_text_and_a_page_of_ours_comes_of_it(worker: Worker) -> None:
    good = {"title": "Approval needed", "body": "Asked by alice\nRisk: low", "path": "/inbox/APR-7F3KQ2/", "tag": "a"}
    assert worker.push(json.dumps(good)) == {**good, "actions": []}
    # Nobody decides from a message, and no message leads anywhere else, whatever it says.
    elsewhere = [
        "https://evil.example/", "//evil.example/", "/inbox/APR-1/act/", "/inbox/../admin/", "javascript:alert(1)", 7,
        "/inbox/APR-1/?x=1", None, ["/inbox/"],
    ]  # fmt: skip
    for number, path in enumerate(elsewhere):
        shown = worker.push(json.dumps({**good, "path": path, "tag": str(number), "actions": [{"action": "approve"}]}))
        assert shown == {**good, "path": "/inbox/", "tag": str(number), "actions": []}
    for name, text in HOSTILE.items():
        shown = worker.push(json.dumps({**good, "title": text, "body": text, "tag": name}))
        assert (shown["tag"], shown["path"], shown["actions"]) == (name, good["path"], [])
        assert len(shown["title"]) <= 200
    for broken in ("", "not json", "[]", "null", "7"):
        shown = worker.push(broken)
        assert (shown["title"], shown["path"]) == ("Wardgate", "/inbox/")
    assert worker.page.problems == []


def test_the_worker_controls_no_page(worker: Worker) -> None:
    page = worker.page
    page.reload()
    assert page.evaluate("navigator.serviceWorker.controller") is None
    refused = page.evaluate(
        """() => navigator.serviceWorker.register("/static/console/push/worker.js", { scope: "/" })
           .then(() => "taken", (error) => error.name)"""
    )
    assert refused == "SecurityError"


def test_the_page_subscribes_and_gives_up(open_page: Any) -> None:
    browser = Browser.new()
    keys = {"p256dh": browser.p256dh, "auth": browser.auth}
    with open_page(PLACE) as page:
        page.context.grant_permissions(["notifications"])
        page.add_init_script(f"({SUBSCRIBED})({json.dumps(keys)})")
        page.reload()
        page.get_by_role("button", name="Tell me in this browser").click()
        expect(page.locator("#push [role=status]")).to_have_text("You are told in this browser.")
        asked = page.evaluate("window.asked")
        key = page.evaluate("fetch('/admin/account/notifications/browser/').then((answer) => answer.json())")["key"]
        assert (asked["visible"], encoded(bytes(asked["key"]))) == (True, key)
        page.get_by_role("button", name="Tell me nothing in this browser").click()
        expect(page.locator("#push [role=status]")).to_have_text("You are told nothing in this browser any more.")
        page.get_by_role("button", name="Tell me in this browser").click()
        expect(page.locator("#push [role=status]")).to_have_text("You are told in this browser.")
        assert page.problems == []
    [row] = PushSubscription.objects.all()
    assert row.endpoint == "https://push.example/send/1"
    assert "Chrome" in row.browser


def test_a_click_opens_the_page_of_the_request_whatever_was_pressed(worker: Worker) -> None:
    worker.push(json.dumps({"title": "Approval needed", "path": "/inbox/APR-7F3KQ2/", "tag": "a"}))
    [running] = worker.page.context.service_workers
    opened = running.evaluate(
        """async () => {
          const opened = [];
          // Only somebody's real click may open a window; what the worker asks for is what matters here.
          Object.defineProperty(self.clients, "openWindow", { value: async (place) => opened.push(place) });
          await self.registration.showNotification("x", { data: { path: "/inbox/APR-7F3KQ2/" }, tag: "b" });
          const [notification] = await self.registration.getNotifications({ tag: "b" });
          self.dispatchEvent(new NotificationEvent("notificationclick", { notification, action: "approve" }));
          for (const until = performance.now() + 10000; !opened.length && performance.now() < until; )
            await new Promise((done) => setTimeout(done, 20));
          return opened;
        }"""
    )
    assert [place.partition("/inbox/")[2] for place in opened] == ["APR-7F3KQ2/"]


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
def test_the_pages_are_accessible_and_fit(open_page: Any, admin_user: Any, scheme: str, size: str) -> None:
    now = timezone.now()
    slack_link(
        code=slack_code_make(user=admin_user, now=now),
        team="T0TEAM",
        slack_user="U0ADMIN",
        slack_name="a" * 90,
        now=now,
    )
    looked = Looked(f"-{scheme}-{size}")
    with open_page("/admin/account/slack/", scheme=scheme, size=size) as page:
        looked.at(page, "slack")
        page.get_by_role("button", name="Get a code").click()
        expect(page.get_by_role("status").first).to_contain_text("Your code")
        looked.at(page, "slack-code")
        page.goto(PLACE)
        expect(page.get_by_role("button", name="Tell me in this browser")).to_be_visible()
        looked.at(page, "notifications")
        assert page.problems == []
    looked.assert_fine()
