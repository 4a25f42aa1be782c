"""What the console leaves out of the packages that it is built with."""

from __future__ import annotations

from allauth.account import models as unused
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django_celery_beat import models as beat

# People see and remove their own factors on their own page; django-allauth's addresses stay empty.
for model in (unused.EmailAddress, unused.EmailConfirmation, Authenticator):
    if admin.site.is_registered(model):
        admin.site.unregister(model)

# Beat's schedule is written from the settings: a row that is edited here would only be written over.
for model in (
    beat.ClockedSchedule,
    beat.CrontabSchedule,
    beat.IntervalSchedule,
    beat.PeriodicTask,
    beat.SolarSchedule,
):
    admin.site.unregister(model)
