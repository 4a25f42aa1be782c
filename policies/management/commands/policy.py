"""`policy export`, `policy diff` and `policy apply`: policy as a file, so that it can live in a repository."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any, NoReturn

from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone

from accounts.exceptions import DomainError
from accounts.models import User
from policies import documents, files, services
from policies.documents import DocumentRefused
from policies.models import PolicyVersion
from policies.reading import document_now, newest_number

SAME, FAILED, DIFFERENT = 0, 1, 2
_MOST_BYTES = documents.MAX_BYTES * 2


class Command(BaseCommand):
    """Write policy into a file, compare a file with policy in force, or bring a file into force."""

    help = (
        "Policy as a file. export writes it, diff compares a file with what is in force, apply brings a file into "
        "force. Exit status: 0 the same, or applied; 1 refused; 2 different (diff, apply --dry-run)."
    )
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take one of the three, each with its options."""
        commands: Any = parser.add_subparsers(dest="action", required=True, metavar="export | diff | apply")
        export = commands.add_parser("export", help="write policy in force as YAML")
        export.add_argument("--output", metavar="FILE", help="instead of standard output")
        export.add_argument("--number", type=int, metavar="N", help="an earlier version instead")
        diff = commands.add_parser("diff", help="tell what applying a file would change; status 2 if anything")
        diff.add_argument("file", help="YAML or JSON; - is standard input")
        apply = commands.add_parser("apply", help="bring a file into force, all of it or nothing")
        apply.add_argument("file", help="YAML or JSON; - is standard input")
        apply.add_argument("--base", type=int, metavar="N", help="refuse unless version N is in force, as diff told")
        apply.add_argument("--dry-run", action="store_true", help="do everything, policy tests too, and undo it")
        apply.add_argument("--comment", default="", metavar="TEXT", help="why, for the history of versions")
        apply.add_argument("--author", metavar="NAME", help="the user who did it, for the history of versions")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do what was asked.

        Raises:
            CommandError: it is refused; the text says where and what to write instead.
        """
        match options["action"]:
            case "export":
                self._export(options["output"], options["number"])
            case "diff":
                self._diff(options["file"])
            case _:
                self._apply(options)

    def _export(self, output: str | None, number: int | None) -> None:
        if number is None:
            document = document_now()
        else:
            version = PolicyVersion.objects.filter(pk=number).first()
            if version is None:
                raise CommandError(f"There is no version {number}.", returncode=FAILED)
            document = documents.canonical(version.document)
        text = documents.write(document)
        if output is None:
            self.stdout.write(text, ending="")
        else:
            _write(output, text)

    def _diff(self, name: str) -> None:
        text = _read(name)
        base = newest_number()
        with _Refusals(name, text):
            changes = services.document_apply(
                document=documents.read(text), by=services.Publisher(), is_dry_run=True, now=timezone.now()
            )
        if not changes:
            self.stdout.write(f"The same as version {base}.")
            return
        self._tell(changes)
        self.stderr.write(f"Different from version {base}: apply it with --base {base}.")
        sys.exit(DIFFERENT)

    def _apply(self, options: Any) -> None:
        name, is_dry_run = options["file"], options["dry_run"]
        text = _read(name)
        # Taken before the file is looked at: what comes into force from here on is not overwritten.
        base = newest_number() if options["base"] is None else options["base"]
        by = services.Publisher(_author(options["author"]), PolicyVersion.Source.FILE, options["comment"])
        with _Refusals(name, text):
            changes = services.document_apply(
                document=documents.read(text), by=by, base_number=base, is_dry_run=is_dry_run, now=timezone.now()
            )
        if not changes:
            self.stdout.write(f"Nothing to do: the same as version {newest_number()}.")
            return
        self._tell(changes)
        if is_dry_run:
            self.stderr.write("Nothing was changed.")
            sys.exit(DIFFERENT)
        self.stdout.write(f"Version {newest_number()} is in force.")

    def _tell(self, changes: list[documents.Change]) -> None:
        for line in files.told(changes):
            self.stdout.write(line)


class _Refusals:
    """Turns refusals inside into one line: file, line, column, and what to write instead."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._text = "standard input" if name == "-" else name, text

    def __enter__(self) -> None:
        return

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        match error:
            case DocumentRefused():
                _refuse(f"{self._name}:{files.spot_of(self._text, error)}: {error.place}: {error.hint}")
            case ValidationError():
                _refuse(f"{self._name}: {' '.join(error.messages)}")
            case DomainError():
                _refuse(str(error))
            case _:
                return


def _refuse(sentence: str) -> NoReturn:
    raise CommandError(sentence, returncode=FAILED) from None


def _path(name: str) -> Path:
    """Return the file of that name, from where `wardgate` was called."""
    return Path(os.environ.get("WARDGATE_FROM", "")) / name


def _read(name: str) -> str:
    try:
        data = sys.stdin.buffer.read(_MOST_BYTES) if name == "-" else _path(name).read_bytes()
    except OSError as error:
        _refuse(f"{name}: {error.strerror or error}.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        _refuse(f"{name}:{line}:1: this is not UTF-8.")


def _write(name: str, text: str) -> None:
    try:
        _path(name).write_text(text, encoding="utf-8")
    except OSError as error:
        _refuse(f"{name}: {error.strerror or error}.")


def _author(name: str | None) -> User | None:
    if name is None:
        return None
    user = User.objects.filter(username=name).first()
    if user is None:
        _refuse(f"There is no user {name!r}.")
    return user
