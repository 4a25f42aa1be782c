"""Which arguments a condition looks at."""

from __future__ import annotations

import pytest

from policies.engine.reads import arguments_read


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("true", set()),
        ("args.amount > 100", {"amount"}),
        ('args["amount"] > 100 && has(args.note)', {"amount", "note"}),
        ('"note" in args', {"note"}),
        ("args.rows.exists(row, row.price > args.limit)", {"rows", "limit"}),
        ("sql.kinds(args.query).exists(kind, kind == 'drop')", {"query"}),
        ("[args.a, 1].size() > 1 && {'x': args.b}.size() > 0", {"a", "b"}),
        ("request.ip == args.ip ? args.x == 1 : false", {"ip", "x"}),
        ('identity.subject == "ada" || tool.name == "x"', set()),
    ],
)
def test_the_arguments_that_are_named_are_found(source, names):
    assert arguments_read(source) == names


@pytest.mark.parametrize("source", ["size(args) > 2", "args[tool.name] == 1", "args.exists(name, name == 'x')"])
def test_a_condition_that_goes_over_all_arguments_may_look_at_any(source):
    assert arguments_read(source) is None
