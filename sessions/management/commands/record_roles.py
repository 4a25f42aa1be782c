"""Make the database roles under which nobody can change the record."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import ProgrammingError

from sessions.database_roles import role_statements, roles_prepare


class Command(BaseCommand):
    """Make or update the roles, or print the SQL for whoever administers the database."""

    help = (
        "Make the database roles of the application and of retention. Run it as the owner of the tables, after each "
        "migration; then give the roles passwords and put them into DATABASE_URL and WARDGATE_RETENTION_DATABASE_URL."
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Name the roles."""
        parser.add_argument("--application", default="wardgate_app", help="role of gateway, console and worker")
        parser.add_argument("--retention", default="wardgate_retention", help="role that releases months of events")
        parser.add_argument("--print", action="store_true", help="print the SQL and change nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, or say what would be done."""
        names = {"application": options["application"], "retention": options["retention"]}
        try:
            if options["print"]:
                self.stdout.write(";\n".join(role_statements(**names)) + ";")
                return
            roles_prepare(**names)
        except ValueError as error:
            raise CommandError(f"{error}.") from None
        except ProgrammingError:
            raise CommandError("This role may not: run the command as the owner of the tables.") from None
        self.stdout.write(f"{names['application']} and {names['retention']} have what they need and no more.")
