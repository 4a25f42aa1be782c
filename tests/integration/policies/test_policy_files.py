"""`policy export`, `policy diff` and `policy apply`."""

from __future__ import annotations

import io
import random
import threading
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connection as database
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Group, IdentityProvider
from connections.models import Connection
from policies import documents, services
from policies.models import Guardrail, PolicyVersion
from policies.reading import document_now

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
FILE = """\
grants:
- connection: orders
  group: {provider: Login, name: ops}
  tools: [get_*]
guardrails:
- name: no deletes
  effect: deny
  names: [delete_*, drop_*]
"""
GRANT = "grants:\n- connection: orders\n  group: {provider: Login, name: ops}\n  tools: [a]\n"


@pytest.fixture(autouse=True)
def rows(db):
    for slug in ("orders", "wiki"):
        Connection.objects.create(slug=slug, name=slug, labels=["prod"], upstream_url="https://x.example.com/mcp")
    provider = IdentityProvider.objects.create(name="Login", issuer="https://login.example.com")
    for name in ("ops", "dev"):
        Group.objects.create(provider=provider, name=name)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "policy.yaml"
    path.write_text(FILE)
    return path


def policy(*arguments):
    """Run the command; return its status and what it said."""
    out, err = io.StringIO(), io.StringIO()
    status = 0
    try:
        call_command("policy", *map(str, arguments), stdout=out, stderr=err)
    except CommandError as error:
        status = error.returncode
        err.write(str(error))
    except SystemExit as end:
        status = end.code
    return status, out.getvalue(), err.getvalue()


def test_a_file_is_compared_applied_and_then_the_same(file, django_user_model):
    django_user_model.objects.create_user("ada")
    status, out, err = policy("diff", file)
    assert (status, "+ no deletes" in out, "--base 0" in err) == (2, True, True)
    assert not Guardrail.objects.exists()
    status, out, _ = policy("apply", file, "--base", 0, "--comment", "First", "--author", "ada")
    assert (status, "is in force" in out) == (0, True)
    version = PolicyVersion.objects.get()
    assert (version.source, version.comment, version.author_name) == ("file", "First", "ada")
    assert policy("diff", file)[0] == 0
    assert policy("apply", file)[:2] == (0, f"Nothing to do: the same as version {version.number}.\n")
    assert PolicyVersion.objects.count() == 1


def test_what_is_exported_is_what_was_applied_in_its_one_order(file, tmp_path):
    policy("apply", file)
    status, text, _ = policy("export")
    block = FILE.replace(" {provider: Login, name: ops}", "\n    name: ops\n    provider: Login")
    assert (status, text) == (0, block)
    assert policy("export", "--output", tmp_path / "out.yaml")[0] == 0
    assert (tmp_path / "out.yaml").read_text() == text
    first = PolicyVersion.objects.get().number
    file.write_text("{}")
    policy("apply", file)
    assert policy("export")[1] == "{}\n"
    assert policy("export", "--number", first)[1] == text
    assert policy("export", "--number", 999)[0] == 1


def test_a_dry_run_tells_the_difference_and_changes_nothing(file):
    status, out, err = policy("apply", file, "--dry-run")
    assert (status, "+ no deletes" in out, "Nothing was changed" in err) == (2, True, True)
    assert not PolicyVersion.objects.exists()


def test_a_change_is_told_member_by_member(file):
    policy("apply", file)
    file.write_text(FILE.replace("effect: deny", "effect: hold").replace("delete_*, ", ""))
    _, out, _ = policy("diff", file)
    assert out.splitlines() == [
        "Guardrails",
        "  ~ no deletes",
        "      effect: deny -> hold",
        "      names: delete_*, drop_* -> drop_*",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("guardrails:\n- name: x\n  effect: deny\n  condition: args.q ==\n", ":4:"),
        ("guardrails:\n- name: x\n  effect: deny\n  condition: nobody.q == 1\n", ":4:14: guardrails, x: condition"),
        ("guardrails:\n- name: x\n  effect: deny\n  connection: nowhere\n", ":2:3: guardrails, x: there is no conn"),
        (f"{GRANT}  networks: [10.0.0.0/99]\n", ":5:13: grants"),
        (f"{GRANT}  windows:\n  - {{days: [mon], from: '08:00', to: '18:00', zone: Mars/X}}\n", ":6:3: grants"),
        ("masking_patterns:\n- name: x\n  pattern: (?=a)\n", ":3:12: masking_patterns, x: pattern"),
        ("guardrails: [\n", ":2:1: line 2"),
        ("rules: []\n", ":1:1: rules"),
        ("tests:\n- name: t\n  expected: allow\n  given: {identity: {issuer: i, subject: s}, connection: orders}\n",
         "would fail"),
    ],
)  # fmt: skip
def test_what_is_refused_is_told_with_file_line_and_column_and_changes_nothing(file, text, said):
    file.write_text(text)
    for command in (("diff", file), ("apply", file)):
        status, _, err = policy(*command)
        assert status == 1
        assert err.startswith(str(file))
        assert said in err
    assert document_now() == documents.canonical({})


def test_files_that_cannot_be_read_and_unknown_authors_are_refused(file, tmp_path):
    assert policy("diff", tmp_path / "nothing.yaml")[0] == 1
    assert "No such file" in policy("diff", tmp_path / "nothing.yaml")[2]
    file.write_bytes(b"a: 1\nb: \xff\n")
    assert ":2:1: this is not UTF-8" in policy("apply", file)[2]
    file.write_text(FILE)
    assert "no user 'eve'" in policy("apply", file, "--author", "eve")[2]


def test_a_file_that_was_written_for_another_version_is_refused(file):
    policy("apply", file)
    base = PolicyVersion.objects.get().number
    services.guardrail_save(name="other", effect="deny", now=NOW)
    status, _, err = policy("apply", file, "--base", base)
    assert (status, f"written for version {base}" in err) == (1, True)
    assert Guardrail.objects.filter(name="other").exists()


@pytest.mark.django_db(transaction=True)
def test_of_files_that_are_applied_at_the_same_time_one_comes_into_force(rows):
    names = [f"rule {number}" for number in range(4)]
    barrier, done = threading.Barrier(len(names)), []

    def apply(name):
        try:
            barrier.wait(10)
            document = {"guardrails": [{"name": name, "effect": "deny"}]}
            services.document_apply(document=document, by=services.Publisher(), base_number=0, now=NOW)
            done.append(name)
        except services.DocumentOutdated:
            pass
        finally:
            database.close()

    threads = [threading.Thread(target=apply, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [row.name for row in Guardrail.objects.all()] == done
    assert len(done) == 1


NAMES = st.sampled_from(["get_*", "delete_*", "a", "b?", "*"])
LISTS = st.lists(NAMES, min_size=1, max_size=4)
PLACES = st.sampled_from(
    [{"connection": "orders"}, {"connection": "wiki"}, {"labels": ["prod"]}, {"labels": ["b", "a"]}]
)
HOLDERS = st.sampled_from(
    [
        {"group": {"provider": "Login", "name": "ops"}},
        {"group": {"provider": "Login", "name": "dev"}},
        {"principal": {"issuer": "https://login.example.com", "subject": "ada"}},
        {"condition": ' identity.kind == "machine" '},
    ]
)
TIMES = st.sampled_from([None, "2026-03-29T02:30:00+02:00", "2026-03-29T00:30:00+00:00"])
GRANTS = st.builds(
    lambda place, holder, tools, prompts, begin, networks, note: {
        **place, **holder, "tools": tools, "prompts": prompts, "valid_from": begin, "networks": networks, "note": note,
        "windows": [{"days": ["mon", "tue"], "from": "08:00", "to": "18:00", "zone": "Europe/Berlin"}],
    },
    PLACES, HOLDERS, LISTS, st.lists(NAMES, max_size=2), TIMES,
    st.lists(st.sampled_from(["10.0.0.0/8", "192.0.2.0/24"]), max_size=2), st.sampled_from(["", "a note", "7"]),
)  # fmt: skip
GUARDRAILS = st.builds(
    lambda name, effect, names, groups, annotations, condition, is_observed, place: {
        "name": name, "effect": effect, "names": names, "groups": groups, "annotations": annotations,
        "condition": condition, "is_observed": is_observed, "is_active": not is_observed, **place,
    },
    st.sampled_from(["one", "two", "three: it's", "yes", "null", "été"]),
    st.sampled_from(["deny", "hold", "allow"]), LISTS,
    st.lists(st.sampled_from([{"provider": "Login", "name": "ops"}, {"name": "dev", "provider": "Login"}]),
             max_size=2, unique_by=lambda group: group["name"]),
    st.sampled_from([{}, {"destructiveHint": True}, {"readOnlyHint": False, "destructiveHint": True}]),
    st.sampled_from(["", "args.amount > 5\n", 'args.q.contains("#: -")']), st.booleans(), PLACES | st.just({}),
)  # fmt: skip
PATTERNS = st.fixed_dictionaries(
    {"name": st.sampled_from(["a", "b-1"]), "pattern": st.sampled_from([r"\bA[0-9]+", '"x: #y"', "E-\\d{3}"])}
)
TESTS = st.fixed_dictionaries(
    {"name": st.sampled_from(["t1", "t2"]), "expected": st.just("deny"), "is_active": st.just(False),
     "given": st.just({"identity": {"issuer": "i", "subject": "s"}, "connection": "orders", "name": "x"})}
)  # fmt: skip


def named(entries):
    return st.lists(entries, max_size=3, unique_by=lambda entry: entry["name"])


DOCUMENTS = st.fixed_dictionaries(
    {"grants": st.lists(GRANTS, max_size=3), "guardrails": named(GUARDRAILS), "masking_patterns": named(PATTERNS),
     "tests": named(TESTS)}
).filter(lambda document: is_canonical(document))  # fmt: skip


def is_canonical(document):
    try:
        documents.canonical(document)
    except documents.DocumentRefused:
        return False
    return True


def shuffled(value, chance):
    """Return the same policy written in another order."""
    if isinstance(value, dict):
        pairs = [(name, shuffled(inner, chance)) for name, inner in value.items()]
        return dict(chance.sample(pairs, len(pairs)))
    if isinstance(value, list):
        return chance.sample([shuffled(inner, chance) for inner in value], len(value))
    return value


@given(document=DOCUMENTS, seed=st.integers(0, 1000))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)
def test_what_is_exported_changes_nothing_when_it_is_applied_in_whatever_order(rows, document, seed):
    services.document_apply(document=document, by=services.Publisher(), now=NOW)
    text = documents.write(document_now())
    assert services.document_apply(document=documents.read(text), by=services.Publisher(), now=NOW) == []
    assert services.document_apply(document=document, by=services.Publisher(), now=NOW) == []
    again = shuffled(document, random.Random(seed))
    assert services.document_apply(document=again, by=services.Publisher(), now=NOW) == []
    assert documents.write(documents.read(documents.write(documents.canonical(again)))) == text
