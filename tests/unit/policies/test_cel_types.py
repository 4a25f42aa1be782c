from __future__ import annotations

import pytest

from policies.engine.cel_syntax import SyntaxRefused, parse
from policies.engine.cel_types import ENVIRONMENT, FUNCTIONS, check


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("true", set()),
        ('identity.subject == "x"', {"identity"}),
        ("args.a.b.c > 1", {"args"}),
        ("args.a", {"args"}),
        ('"sre" in identity.groups && connection.slug.startsWith("a")', {"identity", "connection"}),
        ("args.items.exists(i, i.price > 10)", {"args"}),
        ("texts(args).all(t, size(t) < 10)", {"args"}),
        ("args.exists(k, k.contains('x'))", {"args"}),
        ("sql.statements(args.q).all(s, s.is_read_only && s.limit < 10)", {"args", "sql"}),
        ('sql.kinds(args.q, "postgres").exists(k, k in ["drop"])', {"args", "sql"}),
        ("shell.commands(args.c).exists(c, c.name == 'rm')", {"args", "shell"}),
        ("session.count('a/*') + 1 > 3 && session.rate('*', 60) < 2.5", {"session"}),
        ("between(hour(request.time, 'UTC'), 8, 18) || weekday(request.time, 'UTC') in ['sat']", {"request"}),
        ("in_cidr(request.ip, '10.0.0.0/8')", {"request"}),
        ("request.time < request.time", {"request"}),
        ("tool.annotations.openWorldHint == false", {"tool"}),
        ("has(args.q) ? args.q == 'x' : false", {"args"}),
        ("[1, 2].map(x, x * 2).filter(x, x > 2).size() == 1", set()),
        ("int(args.n) > 5 && double(args.n) > 5.0 && string(args.n) != '5'", {"args"}),
        ("args['a'][0] == {'b': 1}.b", {"args"}),
        ("null == args.x", {"args"}),
    ],
)
def test_a_condition_is_accepted_and_says_what_it_looks_at(source, uses):
    assert check(parse(source)) == uses


@pytest.mark.parametrize(
    ("source", "place", "hint"),
    [
        ("1", 1, "true or false, and this is number"),
        ("'a'", 1, "this is text"),
        ("identity", 1, "this is identity"),
        ("user.name == 'x'", 1, "'user' is not known; there are identity"),
        ("identity.email == 'x'", 10, "identity has no 'email'; it has issuer"),
        ("request.tiem == 1", 9, "request has no 'tiem'"),
        ("identity.subject > 5", 18, "cannot be compared"),
        ("identity.subject == 5", 18, "text cannot be compared with number"),
        ("identity.groups == 'sre'", 17, "cannot be compared"),
        ("identity.subject && true", 10, "&& takes true or false, and this is text"),
        ("!identity.subject", 11, "! takes true or false"),
        ("'a' + 1 == 'b'", 5, "cannot be compared"),
        ("true + true == true", 6, "cannot be added"),
        ("'a' * 2 == 4", 1, "* takes number"),
        ("-'a' == 4", 2, "- takes number"),
        ("'x' in 'xyz'", 5, "looks into a list or a map"),
        ("5 in identity.groups", 3, "never in a list"),
        ("identity.groups < identity.groups", 17, "has no order"),
        ("identity.subject[0] == 'a'", 17, "cannot be indexed by number"),
        ("identity.groups['a'] == 'a'", 16, "cannot be indexed by text"),
        ("identity.subject.length == 1", 18, "text has no members"),
        ("identity.subject.matches(5)", 26, "matches() takes text"),
        ("identity.subject.matches('(')", 26, "RE2"),
        ("identity.subject.matches('a(?=b)')", 26, "look-around"),
        (r"identity.subject.matches('(a)\\1')", 26, "back-references"),
        ("identity.subject.matches('a{1000}{1000}')", 26, ""),
        ("identity.subject.matches(args.p)", 31, "write the text itself"),
        ("in_cidr(request.ip, '10.0.0/8')", 21, "not a network"),
        ("in_cidr(request.ip, '10.0.0.1/8')", 21, "not a network"),
        ("hour(request.time, 'Berlin') > 5", 20, "not a time zone"),
        ("hour(args.x, 5) > 5", 14, "hour() takes text"),
        ("session.count('') > 5", 15, ""),
        ("session.count(args.x) > 5", 20, "write the text itself"),
        ("sql.kinds(args.q, 'pg').size() > 0", 19, "not a dialect; there are bigquery"),
        ("sql.kinds(args.q, args.d).size() > 0", 24, "write the text itself"),
        ("sql.drop(args.q)", 5, "there is no function 'drop'; there are size"),
        ("sql.commands(args.q).size() > 0", 5, "commands() is used as shell.commands(text)"),
        ("contains('a', 'b')", 1, "contains() is used as text.contains(text)"),
        ("size(1, 2) > 0", 1, "size() is used as"),
        ("re2_matches('a', 'b')", 1, "there is no function"),
        ("has(args)", 1, "takes one member"),
        ("has(args.a, args.b)", 1, "takes one member"),
        ("has(identity.email)", 14, "has no 'email'"),
        ("identity.subject.exists(x, true)", 18, "goes over a list or a map"),
        ("args.a.exists(x)", 8, "write exists(name, condition)"),
        ("args.a.exists(1, true)", 8, "write exists(name, condition)"),
        ("args.a.exists(args, true)", 15, "taken"),
        ("args.a.exists(x, 5)", 18, "must be true or false"),
        ("1 ? true : false", 1, "takes true or false"),
        ("identity.groups.exists(g, g > 5)", 29, "cannot be compared"),
    ],
)
def test_what_cannot_be_right_is_refused_at_its_place_with_a_hint(source, place, hint):
    with pytest.raises(SyntaxRefused) as refused:
        check(parse(source))
    assert refused.value.place == place
    assert hint in refused.value.hint


def test_a_variable_of_a_macro_is_known_within_it_only():
    with pytest.raises(SyntaxRefused) as refused:
        check(parse("args.a.exists(x, x > 1) && x"))
    assert refused.value.hint.startswith("'x' is not known")


def test_the_words_of_the_issue_are_all_there():
    assert {"identity", "client", "connection", "tool", "args", "request", "session"} <= set(ENVIRONMENT)
    assert {"in_cidr", "between", "matches", "statements", "commands"} <= set(FUNCTIONS)
