"""Notifications at the console: one's own choice, channels and the log, in both colours and on a phone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.urls import reverse

from accounts.models import User
from policies import services
from policies.models import NoticeDelivery, PushSubscription
from policies.notices.message import CHOSEN
from tests.integration.policies.notifying import NOW, hook_channel, request

from .looking import LOOKS, Looked

pytestmark = [pytest.mark.needs_chromium, pytest.mark.django_db(transaction=True)]
MINE = reverse("console_notifications")
HOSTILE = "<script>alert(1)</script>\u202egpj.exe" + "x" * 150


@pytest.fixture
def pages(transactional_db: None, admin_user: User) -> list[str]:
    channel = hook_channel("https://hooks.example.com/" + "7" * 120, name="A rather long name of a channel " * 3)
    request(name=HOSTILE)
    services.outbox_spread(now=NOW)
    NoticeDelivery.objects.update(state="failed", error="The service answered 503.")
    PushSubscription.objects.create(
        user=admin_user, endpoint="https://push.example.com/1", endpoint_sha256=bytes(32), browser=HOSTILE
    )
    delivery = NoticeDelivery.objects.get()
    return [
        MINE,
        reverse("admin:policies_noticechannel_changelist"),
        reverse("admin:policies_noticechannel_add"),
        reverse("admin:policies_noticechannel_change", args=[channel.pk]),
        reverse("admin:policies_noticedelivery_changelist"),
        reverse("admin:policies_noticedelivery_change", args=[delivery.pk]),
    ]


@pytest.mark.parametrize(("scheme", "size"), LOOKS)
def test_the_pages_are_accessible_and_fit_their_window(
    open_page: Callable[..., Any], pages: list[str], scheme: str, size: str
) -> None:
    looked = Looked(f"-{scheme}-{size}")
    with open_page(pages[0], scheme=scheme, size=size) as page:
        for number, path in enumerate(pages):
            page.goto(path)
            page.locator("main").wait_for()
            looked.at(page, f"notices-{number}")
        assert page.problems == []
    looked.assert_fine()


def test_a_person_chooses_with_keys_alone(open_page: Callable[..., Any], transactional_db: None) -> None:
    with open_page(MINE) as page:
        boxes = page.get_by_role("checkbox")
        assert boxes.count() == 2 * len(CHOSEN)
        first = page.get_by_label("By e-mail: Something waits for your decision")
        first.focus()
        page.keyboard.press("Space")
        page.get_by_label("From").fill("22:00")
        page.get_by_label("until", exact=True).fill("07:00")
        page.get_by_role("button", name="Save").focus()
        page.keyboard.press("Enter")
        page.get_by_text("Your choice was saved.").wait_for()
        assert not page.get_by_label("By e-mail: Something waits for your decision").is_checked()
        assert page.get_by_role("checkbox", checked=True).count() == 2 * len(CHOSEN) - 1
        assert page.get_by_label("From").input_value() == "22:00"
        assert page.problems == []
