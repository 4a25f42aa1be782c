"""The forms with which people prove who they are."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.forms import AuthenticationForm
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminTextInputWidget


class PasswordLoginForm(AuthenticationForm):
    """User name and password of a local account. One sentence for everything that is wrong with them."""

    error_messages = {
        "invalid_login": "The user name or the password is wrong, or this account may not log in here.",
        "inactive": "The user name or the password is wrong, or this account may not log in here.",
    }

    def confirm_login_allowed(self, user: Any) -> None:
        """Refuse, in the same words, an account that has no access to the console."""
        if not user.is_active or not user.is_staff:
            raise self.get_invalid_login_error()


class FactorForm(forms.Form):
    """A one-time code or a recovery code, or what a security key answered."""

    code = forms.CharField(
        label="Code",
        max_length=20,
        required=False,
        help_text="From your authenticator application, or one of your recovery codes.",
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}
        ),
    )
    credential = forms.CharField(required=False, widget=forms.HiddenInput)


class ProofForm(FactorForm):
    """The password again, and the factor."""

    password = forms.CharField(
        label="Password", widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "current-password"})
    )
    field_order = ["password", "code", "credential"]


class EnrolForm(forms.Form):
    """The code that shows that an authenticator application has the secret."""

    code = forms.CharField(
        label="Code",
        max_length=20,
        help_text="The six digits that the application shows now.",
        widget=UnfoldAdminTextInputWidget(
            attrs={"autocomplete": "one-time-code", "inputmode": "numeric", "spellcheck": "false"}
        ),
    )


class KeyForm(forms.Form):
    """A new security key: what to call it, and what it answered."""

    name = forms.CharField(label="Name", max_length=60, widget=UnfoldAdminTextInputWidget)
    credential = forms.CharField(widget=forms.HiddenInput)
