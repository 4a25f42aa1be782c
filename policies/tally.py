"""What a back-test has found so far: differences, grouped, and why calls could not be judged. Pure.

It goes into the row as plain data and comes back from it, so that another worker can go on where one stopped.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

MAX_GROUPS: Final = 2_000
"""Most groups of differences that are kept apart; differences beyond are counted and not told."""
MAX_EXAMPLES: Final = 5
MAX_OBSERVED: Final = 500
NAME_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Change:
    """What a group of differences has in common: the verdicts before and after, by which rules, on what, of whom."""

    before: str
    before_rule: str
    after: str
    after_rule: str
    connection: str
    method: str
    name: str
    issuer: str
    subject: str


@dataclass(frozen=True, slots=True)
class Example:
    """One of the calls: where its replay is, and when it was, in epoch seconds."""

    session: str
    call: str
    at: float


@dataclass(slots=True)
class Group:
    """Differences with the same change."""

    count: int = 0
    examples: list[Example] = field(default_factory=list)


@dataclass(slots=True)
class Tally:
    """Counts of calls by what the policy under test says of them."""

    calls: int = 0
    same: int = 0
    same_by_another_rule: int = 0
    outside: int = 0
    differences: int = 0
    untold: int = 0
    groups: dict[Change, Group] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    observed: dict[str, int] = field(default_factory=dict)

    def differs(self, change: Change, example: Example) -> None:
        """Count a call that would be decided otherwise."""
        self.calls += 1
        self.differences += 1
        _count(self.verdicts, f"{change.before} {change.after}")
        group = self.groups.get(change)
        if group is None:
            if len(self.groups) >= MAX_GROUPS:
                return
            group = self.groups[change] = Group()
        group.count += 1
        if len(group.examples) < MAX_EXAMPLES:
            group.examples.append(example)

    def agrees(self, verdict: str, *, is_by_another_rule: bool) -> None:
        """Count a call that would be decided as it was."""
        self.calls += 1
        self.same += 1
        self.same_by_another_rule += is_by_another_rule
        _count(self.verdicts, f"{verdict} {verdict}")

    def is_outside(self) -> None:
        """Count a call that policy did not decide."""
        self.calls += 1
        self.outside += 1

    def cannot_tell(self, why: str) -> None:
        """Count a call of which the record does not say enough."""
        self.calls += 1
        self.untold += 1
        _count(self.reasons, why)

    def observes(self, rule: str, effect: str) -> None:
        """Count what a rule that is only observed would have done."""
        key = f"{effect} {rule}"
        if key in self.observed or len(self.observed) < MAX_OBSERVED:
            _count(self.observed, key)

    @property
    def untold_differences(self) -> int:
        """How many differences are in no group, for there were too many groups."""
        return self.differences - sum(group.count for group in self.groups.values())

    def rows(self) -> list[dict[str, Any]]:
        """Return the groups as plain data, the largest first."""
        ordered = sorted(self.groups.items(), key=lambda pair: (-pair[1].count, _order(pair[0])))
        return [
            {
                "before": change.before,
                "before_rule": change.before_rule,
                "after": change.after,
                "after_rule": change.after_rule,
                "connection": change.connection,
                "method": change.method,
                "name": change.name,
                "issuer": change.issuer,
                "subject": change.subject,
                "count": group.count,
                "examples": [{"session": one.session, "call": one.call, "at": one.at} for one in group.examples],
            }
            for change, group in ordered
        ]

    def summary(self) -> dict[str, Any]:
        """Return the counts as plain data."""
        return {
            "same": self.same,
            "same_by_another_rule": self.same_by_another_rule,
            "outside": self.outside,
            "untold_differences": self.untold_differences,
            "verdicts": self.verdicts,
            "reasons": self.reasons,
            "observed": self.observed,
        }

    @classmethod
    def of(cls, *, calls: int, differences: int, untold: int, rows: Any, summary: Mapping[str, Any]) -> Tally:
        """Return the tally that a row holds."""
        return cls(
            calls=calls,
            same=summary.get("same", 0),
            same_by_another_rule=summary.get("same_by_another_rule", 0),
            outside=summary.get("outside", 0),
            differences=differences,
            untold=untold,
            groups={
                Change(**{name: row[name] for name in Change.__slots__}): Group(
                    row["count"], [Example(**example) for example in row["examples"]]
                )
                for row in rows
            },
            verdicts=dict(summary.get("verdicts", {})),
            reasons=dict(summary.get("reasons", {})),
            observed=dict(summary.get("observed", {})),
        )


def shortened(name: str) -> str:
    """Return a name as it is kept: a URI may be megabytes long."""
    return name if len(name) <= NAME_CHARACTERS else f"{name[: NAME_CHARACTERS - 1]}\u2026"


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _order(change: Change) -> tuple[str, ...]:
    return tuple(getattr(change, name) for name in Change.__slots__)
