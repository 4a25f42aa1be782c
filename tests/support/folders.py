"""Folders for tests that start servers under an account of their own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reachable_folder() -> Iterator[Path]:
    """Make an empty folder that every account may enter, and remove it with all that is in it.

    pytest's `tmp_path` lies below a folder that only its owner may enter; as root the servers would then keep their
    data outside of it.
    """
    folder = Path(tempfile.mkdtemp(prefix="wardgate-test-", dir="/tmp"))
    try:
        folder.chmod(0o711)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
