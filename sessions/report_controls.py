"""PURE: which controls of SOC 2 and ISO 27001 a section of the evidence pack speaks to.

SOC 2: AICPA Trust Services Criteria (2017, with the points of focus of 2022). ISO/IEC 27001:2022, Annex A. What is
mapped is evidence for a part of the control; whether a control is met is for the auditor to say.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Control(NamedTuple):
    """One control, and the sections of the pack that are evidence for a part of it."""

    framework: str
    number: str
    title: str
    sections: tuple[str, ...]


SOC2: Final = "SOC 2"
ISO: Final = "ISO 27001:2022"

CONTROLS: Final = (
    Control(SOC2, "CC6.1", "Logical access is restricted", ("access", "denials", "unused")),
    Control(SOC2, "CC6.2", "Access is authorised before it is given", ("policy", "approvals", "roles")),
    Control(SOC2, "CC6.3", "Access follows roles and least privilege, and is removed", ("unused", "roles", "locks")),
    Control(SOC2, "CC6.7", "The movement of information is restricted", ("masking", "denials")),
    Control(SOC2, "CC7.2", "Systems are monitored for anomalies", ("access", "denials", "outcomes")),
    Control(SOC2, "CC7.3", "Security events are evaluated", ("approvals", "outcomes", "readings")),
    Control(SOC2, "CC7.4", "Security incidents are responded to", ("locks", "outcomes")),
    Control(SOC2, "CC8.1", "Changes are authorised and documented", ("policy",)),
    Control(SOC2, "C1.1", "Confidential information is protected", ("masking", "recordings")),
    Control(SOC2, "C1.2", "Confidential information is disposed of", ("retention", "deletions")),
    Control(ISO, "A.5.3", "Segregation of duties", ("approvals", "roles")),
    Control(ISO, "A.5.15", "Access control", ("policy", "denials", "access")),
    Control(ISO, "A.5.18", "Access rights", ("unused", "roles", "approvals")),
    Control(ISO, "A.5.28", "Collection of evidence", ("recordings", "verification")),
    Control(ISO, "A.5.33", "Protection of records", ("verification", "retention", "deletions", "readings")),
    Control(ISO, "A.8.2", "Privileged access rights", ("approvals", "roles")),
    Control(ISO, "A.8.3", "Information access restriction", ("access", "denials")),
    Control(ISO, "A.8.10", "Information deletion", ("retention", "deletions")),
    Control(ISO, "A.8.11", "Data masking", ("masking",)),
    Control(ISO, "A.8.12", "Data leakage prevention", ("masking", "denials")),
    Control(ISO, "A.8.15", "Logging", ("access", "recordings", "verification", "readings")),
    Control(ISO, "A.8.16", "Monitoring activities", ("denials", "outcomes")),
    Control(ISO, "A.8.32", "Change management", ("policy",)),
)
