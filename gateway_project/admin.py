"""What the console leaves out of the packages that it is built with."""

from __future__ import annotations

from django.contrib import admin
from django_celery_beat import models as beat

# Beat's schedule is written from the settings: a row that is edited here would only be written over.
for model in (
    beat.ClockedSchedule,
    beat.CrontabSchedule,
    beat.IntervalSchedule,
    beat.PeriodicTask,
    beat.SolarSchedule,
):
    admin.site.unregister(model)
