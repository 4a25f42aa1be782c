"""The simulator, over REST: what would a call get?"""

from __future__ import annotations

from typing import Any

from django.utils import timezone
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission, IsAuthenticated
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Principal
from accounts.rest import StrictFields
from accounts.rest_authentication import scopes_by_method
from policies import selectors
from policies.explaining import GRANT_SAYS, RULE_SAYS, Explanation
from policies.models import Guardrail, PolicyDraft
from policies.simulation import Simulation, identity_of, simulate

from .shared import refusals_at

_EFFECTS = Guardrail.Effect.choices


class MaySimulate(BasePermission):
    """Whoever may see grants and guardrails may ask what they say."""

    def has_permission(self, request: Request, view: Any) -> bool:
        """Tell whether the caller may see them."""
        user: Any = request.user
        return selectors.may_simulate(user=user)


class ClientSerializer(StrictFields):
    """What the client says of itself."""

    name = serializers.CharField(max_length=255, required=False, allow_blank=True)
    version = serializers.CharField(max_length=255, required=False, allow_blank=True)


class CallerSerializer(StrictFields):
    """A caller, who need not exist. `groups` null: the provider did not tell them."""

    issuer = serializers.CharField(max_length=500)
    subject = serializers.CharField(max_length=255)
    groups = serializers.ListField(child=serializers.CharField(max_length=255), required=False, allow_null=True)
    kind = serializers.ChoiceField(choices=Principal.Kind.choices, required=False)
    client_id = serializers.CharField(max_length=255, required=False, allow_blank=True)
    actors = serializers.ListField(child=serializers.CharField(max_length=255), required=False)
    audiences = serializers.ListField(child=serializers.CharField(max_length=500), required=False)
    claims = serializers.DictField(required=False, help_text="Claims that the provider lists for conditions.")


class EarlierCallSerializer(StrictFields):
    """A call that the caller made before."""

    seconds_ago = serializers.FloatField(min_value=0, required=False)
    connection = serializers.CharField(max_length=63)
    name = serializers.CharField(max_length=4096)
    bytes = serializers.IntegerField(min_value=0, required=False)
    labels = serializers.ListField(child=serializers.CharField(max_length=63), required=False)
    values = serializers.DictField(child=serializers.CharField(), required=False)


class SimulateSerializer(StrictFields):
    """A call to ask about. Members other than principal, groups and draft are those of a policy test."""

    principal = serializers.PrimaryKeyRelatedField(
        queryset=Principal.objects.all(), required=False, help_text="Instead of identity."
    )
    groups = serializers.ListField(
        child=serializers.CharField(max_length=255),
        required=False,
        help_text="With principal: names of groups of its provider. Left out: those of the directory.",
    )
    identity = CallerSerializer(required=False)
    connection = serializers.CharField(max_length=63, help_text="The slug.")
    method = serializers.CharField(max_length=128, required=False)
    name = serializers.CharField(max_length=4096, required=False, allow_null=True, trim_whitespace=False)
    arguments = serializers.DictField(required=False)
    time = serializers.CharField(max_length=40, required=False, help_text="ISO 8601 with its zone. Left out: now.")
    address = serializers.IPAddressField(required=False)
    client = ClientSerializer(required=False)
    history = EarlierCallSerializer(many=True, required=False)
    draft = serializers.PrimaryKeyRelatedField(
        queryset=PolicyDraft.objects.all(), required=False, help_text="Ask this draft instead of policy in force."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse bodies that name no caller, or two."""
        if ("principal" in attrs) == ("identity" in attrs):
            raise serializers.ValidationError("Give principal or identity.", code="one_caller")
        if "groups" in attrs and "principal" not in attrs:
            raise serializers.ValidationError({"groups": "With identity, the groups stand in it."}, code="one_caller")
        return attrs


class VerdictSerializer(serializers.Serializer):
    """A verdict. `rule` is a guardrail's name, `grant`, or one of the gateway's own."""

    effect = serializers.ChoiceField(choices=_EFFECTS)
    rule = serializers.CharField()
    reason = serializers.CharField()
    attributes = serializers.ListField(child=serializers.CharField())


class ObservedSerializer(serializers.Serializer):
    """What a rule that is only observed would have done."""

    rule = serializers.CharField()
    effect = serializers.ChoiceField(choices=_EFFECTS)
    why = serializers.CharField()


class GrantSaidSerializer(serializers.Serializer):
    """What one grant of the caller says."""

    id = serializers.UUIDField()
    title = serializers.CharField(help_text="Whom it lets in to what.")
    said = serializers.ChoiceField(choices=list(GRANT_SAYS))
    why = serializers.CharField()


class RuleSaidSerializer(serializers.Serializer):
    """What one rule about the call says; `effect` null: it asks for nothing."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    wants = serializers.ChoiceField(choices=_EFFECTS)
    said = serializers.ChoiceField(choices=list(RULE_SAYS))
    effect = serializers.ChoiceField(choices=_EFFECTS, allow_null=True)
    why = serializers.CharField()
    is_observed = serializers.BooleanField()


class SimulationSerializer(serializers.Serializer):
    """What a call would get, and why."""

    policy_version = serializers.IntegerField(allow_null=True, help_text="Null for a draft.")
    verdict = VerdictSerializer()
    told = serializers.CharField(help_text="What the caller would read.")
    observed = ObservedSerializer(many=True)
    grants = GrantSaidSerializer(many=True)
    rules = RuleSaidSerializer(many=True)
    other_grants = serializers.IntegerField(help_text="Grants of the connection that are about other callers.")
    other_rules = serializers.IntegerField(help_text="Rules of the connection that are about other calls.")


class SimulateView(APIView):
    """Ask policy about a call that nobody makes. Nothing is sent, and nothing is recorded."""

    required_scopes = scopes_by_method(read="read", write="read")
    permission_classes = [IsAuthenticated, MaySimulate]

    @extend_schema(operation_id="policy_simulate", request=SimulateSerializer, responses={200: SimulationSerializer})
    def post(self, request: Request) -> Response:
        """Return the verdict that the call would get now, or at the time that is named."""
        body = SimulateSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values = dict(body.validated_data)
        draft = values.pop("draft", None)
        principal, groups = values.pop("principal", None), values.pop("groups", None)
        if principal is not None:
            values["identity"] = identity_of(principal, groups)
        with refusals_at(""):
            found = simulate(given=values, document=None if draft is None else draft.document, now=timezone.now())
        return Response(SimulationSerializer(_told(found)).data)


def _told(found: Simulation) -> dict[str, Any]:
    said: Explanation = found.said
    return {
        "policy_version": found.policy_version,
        "verdict": said.verdict,
        "told": said.told,
        "observed": said.decision.observed,
        "grants": said.grants,
        "rules": said.rules,
        "other_grants": said.other_grants,
        "other_rules": said.other_rules,
    }
