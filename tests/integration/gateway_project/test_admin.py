"""The console's pages: what they show and to whom, what they refuse, and that everything is saved by services."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.urls import reverse
from django.utils import timezone

from accounts.console import EvidenceAdmin
from accounts.models import Group, IdentityProvider, LoginClient, User
from accounts.services import factors, group_save, login_clients, provider_save
from connections import vault
from connections.models import Connection, Credential
from connections.services import connection_save, credential_aad, credential_set
from policies.models import AccessGrant, Guardrail, MaskingPattern, PolicyState
from policies.services import grant_save, guardrail_save, masking_pattern_save
from sessions.models import Event, GatewayInstance, Session
from tests.support.record import START, Record

OURS = {"accounts", "connections", "gateway_sessions", "policies"}
EVIDENCE = [Session, Event, GatewayInstance, PolicyState]
SECRET = "admin-canary-5K"

pytestmark = pytest.mark.django_db


@pytest.fixture
def connection():
    return connection_save(slug="orders", name="Orders", upstream_url="https://orders.example.com/mcp", now=START)


@pytest.fixture
def everything(connection):
    """At least one row of every model, with text that must be escaped."""
    provider = provider_save(name="Main <b>", issuer="https://login.example.com", now=START)
    group = group_save(provider=provider, name="support <b>", now=START)
    credential_set(connection=connection, kind="bearer", secret=SECRET, now=START)
    grant_save(connection=connection, group=group, tools=["get_<b>*"], now=START)
    guardrail_save(name="No <b>", effect="deny", names=["delete_*"], now=START)
    masking_pattern_save(name="email", pattern="[a-z<b>]+@", now=START)
    record = Record(subject="<b>ada")
    record.call()
    return record


def url(model, page, *args):
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def errors_of(answer):
    return answer.context["adminform"].form.errors.as_data()


def fields_of(client, path):
    """The values with which the form of a page is filled, as a browser would send them back."""
    form = client.get(path).context["adminform"].form
    values = {}
    for bound in form:
        value = bound.field.prepare_value(bound.initial) if hasattr(bound.field, "prepare_value") else bound.initial
        if isinstance(value, bool):
            values |= {bound.html_name: "on"} if value else {}
        else:
            values[bound.html_name] = "" if value is None else value
    return values


DERIVED = {
    "gateway_sessions.activity": "what rules about earlier calls count; forgotten within hours",
    "gateway_sessions.callindex": "the index of the search; what a page shows comes from the record",
    "gateway_sessions.indexcursor": "how far that index is",
    "gateway_sessions.checkpointhead": "how far the newest checkpoint covers a chain; it follows from the checkpoints",
    "gateway_sessions.exportcursor": "how far a sink is; its page says so",
    "policies.approvallegs": "which leg of a held call may begin next",
    "policies.approvalrun": "where the answer of a run is; the page of its request leads there",
    "policies.inboxfilter": "what a person keeps for themselves in the inbox",
    "policies.noticeoutbox": "what is told next; deliveries are in the console",
    "policies.noticepreference": "what a person wants to be told, on a page of their own",
    "policies.pushkey": "one sealed key pair, which nobody reads",
    "policies.pushsubscription": "browsers of a person, on a page of their own",
    "policies.slackcode": "digests of codes that are good for minutes",
    "policies.slackmessage": "what buttons in Slack are about; the requests are in the console",
    "policies.slackseen": "signatures that are not taken again",
}
"""Tables that the gateway makes from others, or people keep for themselves, in which nobody has anything to look up."""


def test_every_model_of_ours_is_in_the_console():
    ours = {model for model in apps.get_models() if model._meta.app_label in OURS}
    missing = {model._meta.label_lower for model in ours - set(admin.site._registry)}
    assert missing == set(DERIVED)


def test_no_form_has_a_field_whose_name_the_console_takes_for_its_own(admin_client):
    taken = set()
    for model in admin.site._registry:
        page = admin_client.get(url(model, "add"))
        if page.status_code == 200 and "adminform" in page.context:
            names = {field.html_name for field in page.context["adminform"].form}
            taken |= {(model.__name__, name) for name in names & {"action", "dataset", "_selected_action"}}
    assert taken == set()


@pytest.mark.parametrize("model", EVIDENCE)
def test_evidence_is_read_only_even_for_a_superuser(admin_client, everything, rf, admin_user, model):
    assert isinstance(admin.site._registry[model], EvidenceAdmin)
    row = model.objects.first()
    assert admin_client.get(url(model, "changelist")).status_code == 200
    assert admin_client.get(url(model, "change", row.pk)).status_code == 200
    before = model.objects.count(), model.objects.filter(pk=row.pk).values().get()
    assert admin_client.get(url(model, "add")).status_code == 403
    assert admin_client.post(url(model, "change", row.pk), {"name": "x", "reason": "x"}).status_code == 403
    assert admin_client.post(url(model, "delete", row.pk), {"post": "yes"}).status_code == 403
    everything_selected = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    admin_client.post(url(model, "changelist"), everything_selected)
    assert (model.objects.count(), model.objects.filter(pk=row.pk).values().get()) == before


@pytest.mark.parametrize(
    "model", [Group, IdentityProvider, Connection, Credential, AccessGrant, Guardrail, MaskingPattern]
)
def test_every_page_of_a_model_opens_and_escapes(admin_client, everything, model):
    row = model.objects.first()
    for path in (
        url(model, "changelist"),
        url(model, "add"),
        url(model, "change", row.pk),
        url(model, "delete", row.pk),
    ):
        answer = admin_client.get(path)
        assert answer.status_code == 200
        assert "<b>" not in answer.content.decode().replace("<b></b>", "")
        assert SECRET not in answer.content.decode()


@pytest.mark.parametrize(
    ("model", "budget"),
    [(Connection, 6), (Credential, 6), (AccessGrant, 7), (Guardrail, 7), (MaskingPattern, 7), (Group, 7), (Session, 7)],
)
def test_a_list_costs_the_same_for_many_rows(admin_client, django_assert_max_num_queries, model, budget):
    provider = provider_save(name="Main", issuer="https://login.example.com", now=START)
    for number in range(12):
        row = connection_save(slug=f"c{number}", name=f"C{number}", upstream_url="https://c.example.com", now=START)
        credential_set(connection=row, kind="bearer", secret=SECRET, now=START)
        group = group_save(provider=provider, name=f"g{number}", now=START)
        grant_save(connection=row, group=group, tools=["*"], now=START)
        guardrail_save(name=f"r{number}", effect="deny", connection=row, now=START)
        masking_pattern_save(name=f"p{number}", pattern="secret", connection=row, now=START)
        Record(slug=f"c{number}", subject=f"s{number}")
    admin_client.get(url(model, "changelist"))
    with django_assert_max_num_queries(budget):
        assert admin_client.get(url(model, "changelist")).status_code == 200


def test_the_list_of_events_counts_nothing(admin_client, everything, django_assert_max_num_queries):
    for _ in range(20):
        everything.call()
    with django_assert_max_num_queries(4) as queries:
        admin_client.get(url(Event, "changelist"))
    assert not [query["sql"] for query in queries if "COUNT(" in query["sql"]]


def test_events_are_found_by_their_session_and_by_nothing_else(admin_client, everything):
    other = Record(slug="wiki", subject="grace")
    other.call()
    found = admin_client.get(url(Event, "changelist"), {"q": str(other.session.pk)}).context["cl"].result_list
    assert {event.session_id for event in found} == {other.session.pk}
    assert not admin_client.get(url(Event, "changelist"), {"q": "tools/call"}).context["cl"].result_list


def test_a_connection_is_saved_with_one_network_a_line(admin_client):
    values = {
        "slug": "wiki",
        "name": "Wiki",
        "upstream_url": "http://10.1.2.3/mcp",
        "allowed_networks": "10.1.0.0/16\n\n  10.2.0.0/16  \n",
        "timeout_seconds": "60",
        "is_active": "on",
    }
    answer = admin_client.post(url(Connection, "add"), values)
    assert answer.status_code == 302
    saved = Connection.objects.get()
    assert saved.allowed_networks == ["10.1.0.0/16", "10.2.0.0/16"]
    entry = LogEntry.objects.get()
    assert entry.object_id == str(saved.pk)
    page = admin_client.get(url(Connection, "change", saved.pk)).content.decode()
    assert "10.1.0.0/16\n10.2.0.0/16" in page
    assert "/mcp/wiki" in page


def test_a_row_is_changed_through_its_form_and_stays_the_same_row(admin_client, connection):
    path = url(Connection, "change", connection.pk)
    answer = admin_client.post(path, {**fields_of(admin_client, path), "slug": "orders-2"})
    assert answer.status_code == 302
    assert Connection.objects.get(pk=connection.pk).slug == "orders-2"
    assert Connection.objects.count() == 1


def test_adding_what_exists_does_not_overwrite_it(admin_client, connection):
    values = {"slug": "orders", "name": "Mine", "upstream_url": "https://evil.example.com", "timeout_seconds": "1"}
    answer = admin_client.post(url(Connection, "add"), values)
    assert [error.code for error in errors_of(answer)["slug"]] == ["unique"]
    connection.refresh_from_db()
    assert connection.name == "Orders"


def test_what_a_service_refuses_stands_at_its_field_and_nothing_is_saved(admin_client):
    before = PolicyState.objects.get().version
    values = {
        "slug": "wiki",
        "name": "Wiki",
        "upstream_url": "ftp://wiki.example.com",
        "allowed_networks": "10.0.0.1/8",
        "timeout_seconds": "0",
    }
    answer = admin_client.post(url(Connection, "add"), values)
    assert answer.status_code == 200
    assert {name: errors[0].code for name, errors in errors_of(answer).items()} == {
        "upstream_url": "url_scheme",
        "allowed_networks": "network_refused",
        "timeout_seconds": "min_value",
    }
    assert not Connection.objects.exists()
    assert PolicyState.objects.get().version == before


def test_a_bad_expression_is_refused_with_the_place_and_a_hint(admin_client):
    values = {"name": "bad", "pattern": "(?=x)", "check_kind": "none", "is_active": "on"}
    answer = admin_client.post(url(MaskingPattern, "add"), values)
    assert [error.code for error in errors_of(answer)["pattern"]] == ["pattern_refused"]


def test_a_grant_keeps_who_gave_it(admin_client, admin_user, everything, connection):
    group = Group.objects.get()
    values = {"connection": connection.pk, "group": group.pk, "tools": "list_*", "prompts": "", "resources": ""}
    values |= {"valid_from_0": "", "valid_from_1": "", "valid_until_0": "", "valid_until_1": "", "is_active": "on"}
    assert admin_client.post(url(AccessGrant, "add"), values).status_code == 302
    grant = AccessGrant.objects.get(tools=["list_*"])
    assert grant.created_by == admin_user
    answer = admin_client.post(url(AccessGrant, "add"), {**values, "group": ""})
    assert "either a principal or a group" in str(errors_of(answer))


def test_a_secret_is_set_and_replaced_and_never_shown(admin_client, connection, settings):
    values = {"connection": connection.pk, "kind": "bearer", "header_name": "", "secret": SECRET}
    assert admin_client.post(url(Credential, "add"), values).status_code == 302
    credential = Credential.objects.get()
    path = url(Credential, "change", credential.pk)
    page = admin_client.get(path).content.decode()
    assert SECRET not in page
    assert bytes(credential.ciphertext).hex() not in page
    assert re.search(r'<input[^>]*type="password"[^>]*name="secret"', page)
    assert admin_client.post(path, {"kind": "bearer", "header_name": "", "secret": ""}).status_code == 200
    assert admin_client.post(path, {"kind": "bearer", "header_name": "", "secret": SECRET + "2"}).status_code == 302
    credential.refresh_from_db()
    assert credential.version == 2
    ring = vault.KeyRing.parse(settings.WARDGATE_MASTER_KEYS)
    sealed = vault.Sealed(credential.key_id, bytes(credential.wrapped_key), bytes(credential.ciphertext))
    opened = vault.open_sealed(ring, sealed, aad=credential_aad(credential))
    assert opened.reveal() == (SECRET + "2").encode()
    assert SECRET not in "".join(LogEntry.objects.values_list("change_message", flat=True))
    assert SECRET not in "".join(map(str, LogEntry.objects.values_list("object_repr", flat=True)))


def test_a_refused_secret_does_not_come_back_in_the_form(admin_client, connection):
    values = {"connection": connection.pk, "kind": "basic", "header_name": "", "secret": SECRET}
    answer = admin_client.post(url(Credential, "add"), values)
    assert [error.code for error in errors_of(answer)["secret"]] == ["credential_basic"]
    assert SECRET not in answer.content.decode()


def test_without_master_keys_the_form_says_so(admin_client, connection, settings):
    settings.WARDGATE_MASTER_KEYS = ""
    values = {"connection": connection.pk, "kind": "bearer", "header_name": "", "secret": SECRET}
    answer = admin_client.post(url(Credential, "add"), values)
    assert answer.status_code == 200
    assert [error.code for error in errors_of(answer)["__all__"]] == ["master_keys_unusable"]


def test_selected_secrets_are_sealed_again_and_those_that_do_not_open_are_named(admin_client, connection, settings):
    credential_set(connection=connection, kind="bearer", secret=SECRET, now=START)
    credential = Credential.objects.get()
    newer = "newer:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY="
    settings.WARDGATE_MASTER_KEYS = f"{newer},{settings.WARDGATE_MASTER_KEYS}"
    selected = {"action": "rewrap_selected", "_selected_action": [str(credential.pk)]}
    admin_client.post(url(Credential, "changelist"), selected)
    credential.refresh_from_db()
    assert credential.key_id == "newer"
    settings.WARDGATE_MASTER_KEYS = "other:MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="
    answer = admin_client.post(url(Credential, "changelist"), selected, follow=True)
    assert "does not open" in answer.content.decode()


def test_second_factors_are_sealed_again_with_login_clients_and_those_that_do_not_open_are_counted(
    admin_client, settings
):
    provider = provider_save(name="Main", issuer="https://login.example.com", now=START)
    row = login_clients.login_client_save(provider=provider, client_id="console", secret=SECRET, now=START)
    grace = User.objects.create_superuser("grace", password="a long enough password")
    factors.recovery_codes_make(user=grace, now=START)
    Authenticator.objects.create(user=grace, type=Authenticator.Type.TOTP, data={"secret": "changed"})
    settings.WARDGATE_MASTER_KEYS = (
        f"newer:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXphYmNkZWY=,{settings.WARDGATE_MASTER_KEYS}"
    )
    selected = {"action": "reseal_selected", "_selected_action": [str(row.pk)]}
    answer = admin_client.post(url(LoginClient, "changelist"), selected, follow=True)
    row.refresh_from_db()
    assert row.key_id == "newer"
    said = answer.content.decode()
    assert "1 second factors do not open" in said
    assert "The others are sealed again, and 1 second factors. Keep the older master key until all are." in said
    assert "All of them are sealed again" not in said
    Authenticator.objects.filter(type=Authenticator.Type.TOTP).delete()
    answer = admin_client.post(url(LoginClient, "changelist"), selected, follow=True)
    assert "All of them are sealed again, and 0 second factors." in answer.content.decode()


def test_rows_are_deleted_by_the_action_of_the_list(admin_client, everything):
    for model in (AccessGrant, Guardrail, MaskingPattern, Credential, Group, IdentityProvider):
        selected = {"action": "delete_selected", "_selected_action": [str(model.objects.get().pk)], "post": "yes"}
        admin_client.post(url(model, "changelist"), selected)
        assert not model.objects.exists()


def test_a_connection_with_sessions_stays(admin_client, everything):
    connection = everything.connection
    answer = admin_client.get(url(Connection, "delete", connection.pk))
    assert "protected" in answer.content.decode().lower() or answer.context["protected"]
    admin_client.post(url(Connection, "delete", connection.pk), {"post": "yes"})
    assert Connection.objects.filter(pk=connection.pk).exists()


def test_the_overview_shows_each_part_only_to_those_who_may_see_it(client, django_user_model, everything):
    everything.instance.heartbeat_at = timezone.now()
    everything.instance.save()
    user = django_user_model.objects.create_user("viewer", is_staff=True)
    client.force_login(user)
    page = client.get(reverse("admin:index")).content.decode()
    assert "Latest sessions" not in page
    assert url(Session, "changelist") not in page
    user.user_permissions.add(
        Permission.objects.get(codename="view_session", content_type__app_label="gateway_sessions")
    )
    page = client.get(reverse("admin:index")).content.decode()
    assert "Latest sessions" in page
    assert url(Session, "changelist") in page
    assert "Connections without a credential" not in page


def test_the_overview_counts_calls_sessions_and_processes(admin_client, connection):
    record = Record(start=timezone.now() - timedelta(minutes=5))
    record.instance.heartbeat_at = timezone.now()
    record.instance.save()
    record.call()
    record.call(verdict="deny")
    record.call(verdict="hold")
    context = admin_client.get(reverse("admin:index")).context
    verdicts = context["verdicts"]
    assert (verdicts.allowed, verdicts.held, verdicts.denied) == (1, 1, 1)
    assert (context["open_sessions"], context["instances_alive"]) == (1, 1)
    assert context["without_credential"] == [connection]


def test_a_session_opens_its_replay(admin_client, everything):
    replay = url(Session, "replay", everything.session.pk)
    for page in (url(Session, "changelist"), url(Session, "change", everything.session.pk), reverse("admin:index")):
        assert f'href="{replay}"' in admin_client.get(page).content.decode()


def test_times_are_written_the_same_for_everybody_with_their_zone(admin_client, everything):
    assert "2026-03-01 12:00:00 UTC" in admin_client.get(url(Session, "changelist")).content.decode()
