"""Ready-made profiles of identity providers: what their tokens look like, and what an administrator still has to say.

A preset only fills in a form. What was saved is the provider's own from then on, and a later version of a preset
changes no provider. What cannot be known here is written in braces, such as {tenant id}; a provider that still has
braces in a value is refused when it is saved.

Sources, each vendor's own pages: access token reference of Microsoft Entra ID; Okta, "Access tokens"; Google, "OpenID
Connect" and "Verify VM identity"; Keycloak, "Server administration"; Auth0, "Access token profiles"; GitHub Actions,
"OpenID Connect reference"; Kubernetes, "Managing service accounts"; GitLab, "ID tokens"; AWS, "Outbound identity
federation".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final


@dataclass(frozen=True, slots=True)
class Preset:
    """A profile. `values` are arguments of `services.provider_save`; `notes` say what is left to do."""

    key: str
    title: str
    values: Mapping[str, Any] = field(hash=False)
    notes: tuple[str, ...]


_CONNECTION_AUDIENCE = (
    "Have tokens made for the URL of the connection (https://gateway.example.com/mcp/<slug>), or name under audiences "
    "what they are made for."
)


def _preset(key: str, title: str, *notes: str, **values: Any) -> Preset:
    return Preset(key, title, MappingProxyType({"name": title, "preset": key, **values}), notes)


ENTRA: Final = _preset(
    "entra",
    "Microsoft Entra ID",
    "Put your directory (tenant) id into the issuer and under tenants. An issuer for all tenants (common, "
    "organizations) is not accepted.",
    "Put the Application ID URI or the client id of the gateway's app registration under audiences, and set "
    "accessTokenAcceptedVersion to 2 in its manifest. Use another registration for the console's login, because its "
    "ID tokens have its client id as their audience.",
    "Add the groups claim under token configuration. Group names in tokens are object ids. Beyond 200 groups Entra "
    "leaves them out: then rules for groups deny, unless groups are looked up in the directory that SCIM "
    "provisions.",
    "The principal is oid, which is the same in every application. For SCIM, map externalId to objectId, of users "
    "and of groups.",
    "Entra backdates iat by five minutes and grants 60 to 90 minutes, hence the longer lifetime; a token lifetime "
    "policy allows less. Tokens of managed identities live for a day and are refused.",
    issuer="https://login.microsoftonline.com/{tenant id}/v2.0",
    audiences=["api://{client id of the gateway's app registration}"],
    algorithms=["RS256"],
    token_types=["JWT"],
    subject_claim="oid",
    groups_claim="groups",
    roles_claim="roles",
    tenant_claim="tid",
    tenants=["{tenant id}"],
    requires_nbf=True,
    max_token_seconds=5700,
    scim_subject="external_id",
    scim_group_name="external_id",
)

OKTA: Final = _preset(
    "okta",
    "Okta",
    "Use a custom authorization server: tokens of the organisation's own server are for Okta alone.",
    "Add a groups claim to the access token of that server (Security, API, Claims).",
    "The principal is uid, because Okta's sub is a login name, which can be given to another person. Tokens of "
    "service apps have no uid: give them an authorization server of their own, with sub as the subject and machine "
    "as the kind.",
    issuer="https://{organisation}.okta.com/oauth2/{authorization server}",
    audiences=["{audience of the authorization server}"],
    algorithms=["RS256"],
    subject_claim="uid",
    groups_claim="groups",
    name_claim="sub",
    requires_nbf=False,
    scim_subject="external_id",
)

GOOGLE: Final = _preset(
    "google",
    "Google Workspace",
    "Google signs ID tokens only, and an ID token that proves a login (nonce, at_hash) is refused for calls. This "
    "serves the console's login, and identity tokens that were requested for the gateway as their audience.",
    "Put your Workspace domain under required claims, or anybody with a Google account has a token.",
    "Google's tokens never list groups: rules for groups deny, unless groups are looked up in the directory that "
    "SCIM provisions.",
    "Service accounts have the same issuer and no hd claim; one provider can serve either people or workloads.",
    issuer="https://accounts.google.com",
    audiences=["{client id of the gateway}"],
    algorithms=["RS256"],
    token_types=["JWT"],
    required_claims={"hd": ["{your domain}"]},
    requires_nbf=False,
    principal_kind="human",
    missing_groups_are_unknown=True,
)

KEYCLOAK: Final = _preset(
    "keycloak",
    "Keycloak",
    "Add an audience mapper to the client scope: without one the tokens are made for nobody, or for account. "
    + _CONNECTION_AUDIENCE,
    "Add a group membership mapper named groups, with full group path switched off. Realm roles count as groups; "
    "clear the roles claim if they should not.",
    issuer="https://{host}/realms/{realm}",
    algorithms=["RS256"],
    token_types=["JWT", "at+jwt"],
    groups_claim="groups",
    roles_claim="realm_access.roles",
    name_claim="preferred_username",
    requires_nbf=False,
)

AUTH0: Final = _preset(
    "auth0",
    "Auth0",
    "The issuer ends with a slash.",
    "Choose the RFC 9068 token profile for the API, and at most an hour as its token expiration: the default of a "
    "day is refused.",
    "Put groups into the token with an action, under a claim that begins with a URL of yours. Permissions of the "
    "API count as groups; clear the roles claim if they should not.",
    issuer="https://{tenant}.auth0.com/",
    audiences=["{identifier of the API}"],
    algorithms=["RS256"],
    groups_claim="https://{your domain}/groups",
    roles_claim="permissions",
    requires_nbf=False,
)

GITHUB: Final = _preset(
    "github-actions",
    "GitHub Actions",
    "Put your organisation under required claims, or every repository on GitHub has a token for you.",
    "A workflow asks for its token with the URL of the connection as the audience, and needs the permission "
    "id-token: write.",
    "The principal is the sub claim (repository and branch or environment), the group is the repository.",
    issuer="https://token.actions.githubusercontent.com",
    algorithms=["RS256"],
    token_types=["JWT"],
    groups_claim="repository",
    name_claim="job_workflow_ref",
    required_claims={"repository_owner": ["{organisation}"]},
    requires_nbf=True,
    principal_kind="machine",
)

KUBERNETES: Final = _preset(
    "kubernetes",
    "Kubernetes service accounts",
    "The issuer is the API server's --service-account-issuer. Where discovery cannot be reached by the gateway, "
    "paste the output of kubectl get --raw /openid/v1/jwks as the pinned key set.",
    "Project a token for the gateway (serviceAccountToken, with the URL of the connection as its audience and at "
    "most 3600 seconds). The token that every pod has by default is for the API server and is refused.",
    "The principal is system:serviceaccount:<namespace>:<name>, the group is the namespace.",
    "For Amazon EKS and Google GKE the issuer is shown with the cluster.",
    issuer="https://{issuer of the cluster}",
    algorithms=["RS256"],
    groups_claim="kubernetes.io.namespace",
    name_claim="kubernetes.io.serviceaccount.name",
    requires_nbf=True,
    principal_kind="machine",
)

GITLAB: Final = _preset(
    "gitlab-ci",
    "GitLab CI",
    "The issuer is the URL of your GitLab.",
    "Put your top-level namespace under required claims: on gitlab.com everybody has tokens of this issuer.",
    "A job names the URL of the connection as aud under id_tokens. A token lives as long as the timeout of its job, "
    "so the timeout may be an hour at most.",
    "The principal is the sub claim (project and branch), the group is the project.",
    issuer="https://gitlab.com",
    algorithms=["RS256"],
    token_types=["JWT"],
    groups_claim="project_path",
    name_claim="project_path",
    required_claims={"namespace_path": ["{namespace}"]},
    requires_nbf=True,
    principal_kind="machine",
)

AWS: Final = _preset(
    "aws",
    "AWS workload identity",
    "Enable outbound identity federation in the account, and take the issuer that is shown there: it names the "
    "account.",
    "A workload calls sts:GetWebIdentityToken with the URL of the connection as the audience; allow that action, "
    "and that audience only, in its role.",
    "The principal is the ARN of the role, the group is the account's number. Pods on Amazon EKS are better served "
    "by the preset for Kubernetes.",
    issuer="https://{id of the issuer}.tokens.sts.global.api.aws",
    algorithms=["RS256", "ES384"],
    groups_claim="https://sts.amazonaws.com/.aws_account",
    requires_nbf=False,
    principal_kind="machine",
)

GCP: Final = _preset(
    "gcp",
    "Google Cloud workload identity",
    "A workload asks the metadata server, or generateIdToken, for an identity token with the URL of the connection "
    "as the audience.",
    "Put the unique ids of your service accounts under authorized parties: every Google Cloud project has tokens of "
    "this issuer.",
    "The principal is the unique id of the service account. There are no groups in these tokens: rules for groups "
    "deny.",
    "People of Google Workspace have the same issuer; one provider can serve either people or workloads.",
    issuer="https://accounts.google.com",
    algorithms=["RS256"],
    token_types=["JWT"],
    authorized_parties=["{unique id of a service account}"],
    name_claim="email",
    requires_nbf=False,
    principal_kind="machine",
    missing_groups_are_unknown=True,
)

PRESETS: Final[Mapping[str, Preset]] = MappingProxyType(
    {preset.key: preset for preset in (ENTRA, OKTA, GOOGLE, KEYCLOAK, AUTH0, GITHUB, KUBERNETES, GITLAB, AWS, GCP)}
)
"""Every preset by its key, in the order in which they are offered."""
