"""`run.py manage compact_recordings`: seal what is due now, and see it go on; or prove what was sealed."""

from __future__ import annotations

import sys
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from sessions import compaction, recordings
from sessions.models import Recording
from sessions.recording import Unsound
from sessions.recordings import Progress


class Command(BaseCommand):
    """Seals finished sessions into recordings, or verifies all of them."""

    help = "Seal finished sessions into recordings, with a progress display; or read all of them back and prove them."

    def add_arguments(self, parser: CommandParser) -> None:
        """Take how long, and whether to verify instead."""
        parser.add_argument("--seconds", type=float, default=86_400, help="begin no recording later than this")
        parser.add_argument("--verify", action="store_true", help="prove every sealed recording instead")

    def handle(self, *args: Any, **options: Any) -> None:
        """Do it, and end with an error when something is wrong."""
        if options["verify"]:
            self._verify()
            return
        begun = time.monotonic()
        made = compaction.compact_all(
            now=timezone.now(), seconds=options["seconds"], progress=self._progress, sealed=self._sealed
        )
        took = time.monotonic() - begun
        self.stdout.write(
            f"{made.sealed} recordings, {made.events:,} events, {took:.1f} s; "
            f"{made.raw_bytes:,} bytes became {made.size:,} ({made.ratio:.1f}:1)"
        )
        if made.failed:
            raise CommandError(
                f"{made.failed} could not be sealed; the log says why. Their events stay in the database."
            )

    def _progress(self, of_what: str) -> Progress:
        begun = time.monotonic()

        def tell(written: int, total: int) -> None:
            if sys.stderr.isatty() or written == total:
                rate = written / max(1e-6, time.monotonic() - begun)
                filled = 30 * written // max(1, total)
                bar = "#" * filled + "." * (30 - filled)
                self.stderr.write(f"\r{of_what[:8]} [{bar}] {written:,} of {total:,} events, {rate:,.0f}/s", ending="")

        return tell

    def _sealed(self, row: Recording) -> None:
        warning = f", {row.suspect} CHANGED before" if row.suspect else ""
        self.stderr.write(f"  {row.size:,} bytes, {row.raw_bytes / max(1, row.size):.1f}:1{warning}")

    def _verify(self) -> None:
        sound, unsound = 0, 0
        for row in Recording.objects.filter(state=Recording.State.SEALED).order_by("created_at").iterator():
            verdict = recordings.recording_verify(recording=row)
            if isinstance(verdict, Unsound):
                unsound += 1
                where = "" if verdict.event is None else f" (from event {verdict.event} of the file)"
                self.stderr.write(f"{row.name}: {verdict.code}{where}: {verdict.message}")
            else:
                sound += 1
                if verdict.suspect:
                    self.stderr.write(f"{row.name}: {len(verdict.suspect)} events were changed before they were sealed")
        self.stdout.write(f"{sound} recordings are sound, {unsound} are not")
        if unsound:
            raise CommandError("Not every recording is what was written.")
