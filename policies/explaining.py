"""Why a call gets its verdict: what every grant and every rule that could have spoken said of it. Pure.

It asks the compiled policy the questions of `engine.rules`, one by one instead of until the first answer; the verdict
itself is taken from there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from .engine.compile import GrantRow
from .engine.conditions import CannotTell, Circumstances
from .engine.explain import sentence
from .engine.facts import Facts
from .engine.review import Reviewed, refusal
from .engine.rules import Call, ConnectionPolicy, Decision, Grant, Rule, Subject, decision
from .engine.verdicts import Deny, Effect, Verdict
from .rehearsal import Case, Rehearsal

_MAX_TITLE = 80

GRANT_SAYS: Final[Mapping[str, str]] = {
    "allows": "In force, and names what is called.",
    "other_name": "In force; does not name what is called.",
    "not_yet": "Has not begun.",
    "over": "Has ended.",
    "closed": "None of its windows is open at this time.",
    "elsewhere": "The client is in none of its networks.",
    "not_met": "Its condition is false.",
    "failed": "Its condition could not be told, so it does not count.",
}
"""What a grant can say, as people read it."""

RULE_SAYS: Final[Mapping[str, str]] = {
    "speaks": "Applies.",
    "observed": "Applies, and is only observed.",
    "other_caller": "Is about other callers.",
    "not_met": "Its condition is false.",
    "failed": "Its condition could not be told.",
}
"""What a rule can say, as people read it."""


@dataclass(frozen=True, slots=True)
class GrantSaid:
    """One grant of the caller: `said` is a key of GRANT_SAYS, `why` a code when its condition failed.

    `title` says whom it lets in to what.
    """

    id: str
    said: str
    why: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class RuleSaid:
    """One rule about what is called: `said` is a key of RULE_SAYS; `effect` what it asks for, None for nothing.

    What a rule that `is_observed` asks for decides nothing.
    """

    id: str
    name: str
    wants: Effect
    said: str
    effect: Effect | None = None
    why: str = ""
    is_observed: bool = False


@dataclass(frozen=True, slots=True)
class Explanation:
    """The verdict on a case, what the caller is told, and what led to it.

    `others` are how many grants and rules of the connection are about other callers and other calls.
    """

    verdict: Verdict
    decision: Decision
    told: str
    grants: tuple[GrantSaid, ...]
    rules: tuple[RuleSaid, ...]
    other_grants: int
    other_rules: int


def explain(rehearsal: Rehearsal, case: Case) -> Explanation:
    """Return the verdict that a call like `case` gets, and why.

    Raises:
        CaseRefused: as `Rehearsal.policy_of`.
    """
    policy = rehearsal.policy_of(case.connection)
    refused = refusal(case.call, _catalogue(rehearsal, case.connection))
    # As on the data path: for a tool that was not reviewed nobody looks at the history, and whoever may not call it
    # anyway learns nothing of its review.
    facts = case.facts if refused is None else case.facts._replace(history=None)
    found = decision(policy, case.identity, case.call, facts)
    verdict = found.verdict if refused is None or isinstance(found.verdict, Deny) else refused
    titles = {row.id: _title(row) for row in rehearsal.rows.grants}
    said = grants_said(policy, case.identity, case.call, case.facts)
    grants = tuple(replace(grant, title=titles.get(grant.id, "")) for grant in said)
    rules = rules_said(policy, case.identity, case.call, case.facts)
    return Explanation(
        verdict=verdict,
        decision=found,
        told=sentence(verdict, case.call),
        grants=grants,
        rules=rules,
        other_grants=len(policy.grants) - len(grants),
        other_rules=len(policy.rules) - len(rules),
    )


def grants_said(policy: ConnectionPolicy, identity: Subject, call: Call, facts: Facts) -> tuple[GrantSaid, ...]:
    """Return what each grant says that names the caller, one of the caller's groups, or a condition."""
    circumstances = _circumstances(policy, identity, call, facts)
    return tuple(_grant_said(grant, call, facts, circumstances) for grant in policy.grants_of(identity))


def rules_said(policy: ConnectionPolicy, identity: Subject, call: Call, facts: Facts) -> tuple[RuleSaid, ...]:
    """Return what each rule says whose methods, names and annotations meet the call, in order of precedence."""
    circumstances = _circumstances(policy, identity, call, facts)
    tool = policy.tool_of(call)
    return tuple(_rule_said(rule, identity, circumstances) for rule in policy.rules if rule.matches(call, tool))


def _circumstances(policy: ConnectionPolicy, identity: Subject, call: Call, facts: Facts) -> Circumstances:
    return Circumstances(identity, call, policy.connection, policy.tool_of(call), facts)


def _title(row: GrantRow) -> str:
    named = row.group[1] if row.group is not None else row.principal[1] if row.principal is not None else ""
    who = f"Group {named}" if row.group is not None else named or "Whoever meets a condition"
    what = ", ".join([*row.tools, *row.prompts, *row.resources])
    return f"{who}: {what}" if len(what) <= _MAX_TITLE else f"{who}: {what[:_MAX_TITLE]}…"


def _catalogue(rehearsal: Rehearsal, slug: str) -> Mapping[str, Reviewed]:
    connection_id, _ = rehearsal.connections[slug]
    return rehearsal.rows.catalogue.get(connection_id, {}) if slug in rehearsal.pinning else {}


def _grant_said(grant: Grant, call: Call, facts: Facts, circumstances: Circumstances) -> GrantSaid:
    if not grant.is_live(facts.now):
        has_begun = grant.valid_from is None or facts.now >= grant.valid_from
        return GrantSaid(grant.id, "over" if has_begun else "not_yet")
    if grant.windows and not any(window.holds(facts.now) for window in grant.windows):
        return GrantSaid(grant.id, "closed")
    if not grant.networks.holds(facts.address):
        return GrantSaid(grant.id, "elsewhere")
    try:
        if grant.condition is not None and not grant.condition.holds(circumstances):
            return GrantSaid(grant.id, "not_met")
    except CannotTell as error:
        return GrantSaid(grant.id, "failed", error.why)
    return GrantSaid(grant.id, "allows" if grant.allows(call) else "other_name")


def _rule_said(rule: Rule, identity: Subject, circumstances: Circumstances) -> RuleSaid:
    said, why = "observed" if rule.is_observed else "speaks", ""
    effect: Effect | None = None
    try:
        if not rule.is_about(identity):
            said = "other_caller"
        elif rule.condition is not None and not rule.condition.holds(circumstances):
            said = "not_met"
        else:
            effect = rule.effect
    except CannotTell as error:
        said, effect, why = "failed", _on_failure(rule, error.why), error.why
    return RuleSaid(rule.id, rule.name, rule.effect, said, effect, why, rule.is_observed)


def _on_failure(rule: Rule, why: str) -> Effect | None:
    """Return what a rule asks for whose condition could not be told: never what helps the caller."""
    if rule.effect is Effect.ALLOW:
        return None
    return rule.effect if why == "unreadable" else Effect.DENY
