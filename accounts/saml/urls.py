"""Where browsers and identity providers reach the SAML login."""

from __future__ import annotations

from django.urls import path

from . import views

urlpatterns = [
    path("saml/<uuid:saml_provider_id>/metadata", views.metadata, name="saml-metadata"),
    path("saml/<uuid:saml_provider_id>/login", views.login, name="saml-login"),
    path("saml/<uuid:saml_provider_id>/acs", views.acs, name="saml-acs"),
    path("saml/<uuid:saml_provider_id>/continue", views.finish, name="saml-continue"),
    path("saml/<uuid:saml_provider_id>/slo", views.slo, name="saml-slo"),
]
