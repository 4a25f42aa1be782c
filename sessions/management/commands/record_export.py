"""Write the record as lines of JSON that `wardgate-verify` proves."""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandError
from django.utils import timezone
from django.utils.dateparse import parse_datetime

from sessions.exporting import Part, record_lines


class Command(BaseCommand):
    """Write the record, or the part that holds a session or a time, to a file or to standard output."""

    help = "Write the record as lines of JSON that wardgate-verify proves (docs/record.md)."

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Say where to, and which part."""
        parser.add_argument(
            "--output", default="-", help="a file, compressed when it ends in .gz; standard output if not"
        )
        parser.add_argument("--session", type=UUID, help="the part that holds this session")
        parser.add_argument("--since", type=_moment, help="the part from this time on, such as 2026-11-03T12:00:00Z")
        parser.add_argument("--until", type=_moment, help="the part before this time")

    def handle(self, *args: Any, **options: Any) -> None:
        """Write the lines."""
        part = Part(session=options["session"], since=options["since"], until=options["until"])
        try:
            with _opened(options["output"]) as file:
                for line in record_lines(part=part, now=timezone.now()):
                    file.write(line.encode() + b"\n")
        except OSError as error:
            raise CommandError(f"{options['output']} cannot be written: {error.strerror}.") from None


@contextmanager
def _opened(name: str) -> Iterator[IO[bytes]]:
    if name == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(name)
    with path.open("wb") as plain:
        if path.suffix != ".gz":
            yield plain
            return
        with gzip.GzipFile(fileobj=plain, mode="wb", compresslevel=6) as packed:
            yield packed  # type: ignore[misc]


def _moment(text: str) -> datetime:
    found = parse_datetime(text)
    if found is None or found.tzinfo is None:
        raise argparse.ArgumentTypeError("give a time with its zone, such as 2026-11-03T12:00:00Z")
    return found
