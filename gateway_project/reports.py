"""Reports as pages to print and as JSON; only for who may read the whole record, and noted before anything is shown."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

from csp.constants import NONE, SELF
from csp.decorators import csp_replace
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.dateparse import parse_date, parse_datetime
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actors import person_of
from accounts.rest import ModelPermissions
from accounts.rest_authentication import scopes_by_method
from policies import reports
from sessions import reading
from sessions.models import Event, ReadEvent
from sessions.reports import Period

EVIDENCE = "evidence"
_NEEDED = ("gateway_sessions.view_event", "gateway_sessions.see_all_sessions")
_STRICT = {
    "default-src": [NONE],
    "script-src": [NONE],
    "style-src": [SELF],
    "img-src": [SELF],
    "form-action": [SELF],
    "base-uri": [NONE],
    "frame-ancestors": [NONE],
}


class PeriodRefused(ValueError):
    """The period that was asked for makes no sense; the text says what to write."""


def period_of(values: Any, now: datetime) -> Period:
    """Return the period that `since` and `until` name, as days or moments; without them the last 30 days.

    Raises:
        PeriodRefused: one cannot be read, or they are in the wrong order, or too far apart.
    """
    until = _moment(values.get("until"), now)
    since = _moment(values.get("since"), until - timedelta(days=30))
    if since >= until:
        raise PeriodRefused("The period has to begin before it ends.")
    if until - since > reports.LONGEST:
        raise PeriodRefused(f"A period has at most {reports.LONGEST.days} days.")
    return Period(since, until)


def _moment(text: str | None, default: datetime) -> datetime:
    if not text:
        return default
    try:
        day = parse_date(text)
        found = parse_datetime(text) if day is None else datetime(day.year, day.month, day.day)
    except ValueError:
        found = None
    if found is None:
        raise PeriodRefused("Write a day such as 2026-11-01, or a moment such as 2026-11-01T12:00:00Z.")
    return found if timezone.is_aware(found) else timezone.make_aware(found)


def made(request: Any, kind: str, period: Period, now: datetime) -> dict[str, Any]:
    """Return a report, or the evidence pack; it is noted who reads it first.

    Raises:
        PermissionDenied: the person may not read the whole record.
        Http404: there is no such report.
    """
    user = person_of(request)
    if not user.has_perms(_NEEDED):
        raise PermissionDenied
    if kind != EVIDENCE and kind not in reports.SECTIONS:
        raise Http404
    reader = reading.reader_of(request)
    reading.reading_add(reader=reader, kind=ReadEvent.Kind.REPORT, detail=f"{kind}, {period}", now=now)
    if kind == EVIDENCE:
        return reports.evidence(period=period, by=user.get_username(), now=now)
    found: dict[str, Any] = reports.SECTIONS[kind][1](period)
    return found


@never_cache
@csp_replace(_STRICT)
@require_safe
def page(request: HttpRequest, kind: str = EVIDENCE) -> HttpResponse:
    """Show a report as a page to print; with `?as=json` send it as a file."""
    now = timezone.now()
    try:
        period = period_of(request.GET, now)
    except PeriodRefused as refusal:
        return HttpResponse(str(refusal), status=400, content_type="text/plain; charset=utf-8")
    found = made(request, kind, period, now)
    if request.GET.get("as") == "json":
        answer = HttpResponse(json.dumps(found, indent=1), content_type="application/json")
        answer["Content-Disposition"] = f'attachment; filename="wardgate-{kind}-{period.since:%Y%m%d}.json"'
        return answer
    is_pack = kind == EVIDENCE
    sections = found["pack"]["sections"] if is_pack else {kind: found}
    context = {
        "period": period,
        "kind": kind,
        "title": "Evidence" if is_pack else reports.SECTIONS[kind][0],
        "pack": found["pack"] if is_pack else None,
        "proof": found["proof"] if is_pack else None,
        "sections": [
            {"name": name, "title": reports.SECTIONS[name][0], "tables": _tables(content)}
            for name, content in sections.items()
        ],
        "kinds": [(EVIDENCE, "Evidence pack"), *((name, title) for name, (title, _) in reports.SECTIONS.items())],
    }
    return render(request, "admin/reports/report.html", context)


def _tables(content: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a section as tables: each list of lines is one, and what stands beside them is another."""
    tables = []
    beside: list[list[str]] = []
    for name, value in content.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            columns = list(value[0])
            rows = [[_cell(line.get(column)) for column in columns] for line in value]
            tables.append({"name": "" if name == "rows" else name, "columns": columns, "rows": rows})
        elif name == "is_partial":
            if value:
                beside.append(["not whole", "the list is longer than what is shown"])
        elif name != "rows":
            beside.append([name, _cell(value)])
    if beside:
        tables.insert(0, {"name": "", "columns": [], "rows": beside})
    return tables


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return ", ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


class PeriodReportSerializer(serializers.Serializer):
    """A report: members by its kind, see docs/reports.md."""


class ReportViewSet(viewsets.GenericViewSet):
    """Reports for a period; this takes the right to read the whole record, and is noted."""

    queryset = Event.objects.none()
    serializer_class = PeriodReportSerializer
    required_scopes = scopes_by_method(read="audit")
    permission_classes = [ModelPermissions]
    pagination_class = None

    @extend_schema(
        operation_id="reports_retrieve",
        parameters=[
            OpenApiParameter("id", str, "path", enum=[EVIDENCE, *reports.SECTIONS]),
            OpenApiParameter("since", str),
            OpenApiParameter("until", str),
        ],
    )
    def retrieve(self, request: Request, pk: str | None = None) -> Response:
        """Make the report of that name, or the signed pack `evidence`."""
        now = timezone.now()
        try:
            period = period_of(request.query_params, now)
        except PeriodRefused as refusal:
            raise ValidationError({"since": [str(refusal)]}) from None
        return Response(made(request, str(pk), period, now))
