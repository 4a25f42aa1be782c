"""What the pages of the console share: evidence that nobody edits, and forms whose values go through services."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db import models, transaction
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import escape
from unfold.admin import ModelAdmin
from unfold.widgets import UnfoldAdminTextareaWidget

from .exceptions import DomainError
from .models import User

_JSON_LIST = re.compile(r'\["([^"]*)"\]')
_ABBREVIATION = re.compile(r"\b(?:url|jwks|scim)\b", re.IGNORECASE)


class EntriesField(forms.Field):
    """A list of texts, edited as lines: one entry a line, in their order, empty lines left out."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3, "spellcheck": "false", "class": "font-mono"})

    def prepare_value(self, value: Any) -> Any:
        """Return the lines to edit."""
        return "\n".join(str(entry) for entry in value) if isinstance(value, list | tuple) else value

    def to_python(self, value: Any) -> list[str]:
        """Return the entries that were written."""
        if isinstance(value, list | tuple):
            return [str(entry) for entry in value]
        return [line.strip() for line in str(value or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Tell whether the entries differ."""
        return self.to_python(initial) != self.to_python(data)


class ServiceForm(forms.ModelForm):
    """A form whose values are saved by a service, which is also the one to refuse them.

    While the form is validated the service is asked in a transaction that is undone, so that its refusals stand at
    their fields; `ServiceAdmin.save_model` then asks it for good.
    """

    actor: User

    def save_by_service(self, values: dict[str, Any], now: datetime) -> models.Model:
        """Call the service with the cleaned `values` and return the saved row."""
        raise NotImplementedError

    @property
    def row_id(self) -> Any:
        """The id of the row that is changed, None when one is added."""
        return None if self.instance._state.adding else self.instance.pk

    def _post_clean(self) -> None:
        values = dict(self.cleaned_data)
        super()._post_clean()  # type: ignore[misc]
        if self.errors.keys() & self.fields.keys() - values.keys():
            return
        try:
            with transaction.atomic():
                self.save_by_service(values, timezone.now())
                transaction.set_rollback(True)
        except ValidationError as refusal:
            self._add_refusals(refusal)
        except DomainError as error:
            self.add_error(None, ValidationError(str(error), code=error.code))

    def _add_refusals(self, refusal: ValidationError) -> None:
        by_field = refusal.error_dict if hasattr(refusal, "error_dict") else {NON_FIELD_ERRORS: refusal.error_list}
        for name, errors in by_field.items():
            field = name if name in self.fields else None
            if (field or NON_FIELD_ERRORS) not in self.errors:
                self.add_error(field, errors)


class ServiceAdmin(ModelAdmin):
    """Adds, changes and deletes through services; fields named in `entries` are edited one entry a line."""

    entries: Sequence[str] = ()
    form = ServiceForm
    warn_unsaved_form = True
    list_filter_submit = True
    list_per_page = 50

    def delete_by_service(self, row: Any) -> None:
        """Delete `row` through its service."""
        raise NotImplementedError

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Return a form class that knows who saves."""
        form = super().get_form(request, obj, change=change, **kwargs)
        form.actor = request.user
        return form

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Edit lists as lines; show help texts to the letter, for Django would take them for markup."""
        if db_field.name in self.entries:
            written = _JSON_LIST.sub(r"\1", db_field.help_text)
            field: Any = EntriesField(
                label=db_field.verbose_name.capitalize(),
                help_text=f"{written} One a line.".strip(),
                required=not db_field.blank,
                initial=db_field.get_default(),
            )
        else:
            field = super().formfield_for_dbfield(db_field, request, **kwargs)
        if field is not None:
            field.help_text = escape(field.help_text)
            field.label = _ABBREVIATION.sub(lambda found: found[0].upper(), str(field.label))
        return field

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Save through the service, and let the rest of the page see the row that it saved."""
        saved = form.save_by_service(form.cleaned_data, timezone.now())
        obj.__dict__.update(saved.__dict__)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Delete through the service."""
        self.delete_by_service(obj)

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Delete one by one through the service."""
        for row in queryset:
            self.delete_by_service(row)


class EvidenceAdmin(ModelAdmin):
    """Shows what happened. Nobody adds, changes or deletes evidence, whatever their permissions."""

    list_filter_submit = True
    list_per_page = 50
    actions: Sequence[str] | None = None

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False
