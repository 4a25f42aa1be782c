"""`run.py` before anything is installed: what is in the way is one sentence."""

from __future__ import annotations

import ast
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

RUN = Path(__file__).resolve().parents[3] / "run.py"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return `run.py` as a module that believes to lie in an empty folder."""
    spec = importlib.util.spec_from_file_location("run", RUN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "ROOT", str(tmp_path))
    monkeypatch.setattr(module, "VENV", str(tmp_path / ".venv"))
    monkeypatch.setattr(module, "PYTHON", str(tmp_path / ".venv" / "bin" / "python"))
    for lock in module.LOCKS.values():
        (tmp_path / lock).write_text("")
    return module


@pytest.mark.parametrize("version", [(3, 4), (3, 8), (3, 11)])
def test_an_old_python_can_read_the_file(version):
    ast.parse(RUN.read_text(), feature_version=version)


@pytest.mark.parametrize("version", [(2, 7, 18), (3, 10, 4), (3, 14, 0)])
def test_a_python_that_does_not_fit_is_told_which_does(run, monkeypatch, version):
    monkeypatch.setattr(run.sys, "version_info", version)
    with pytest.raises(SystemExit) as refused:
        run.main(["up"])
    assert refused.value.code == (
        f"Wardgate needs Python 3.11, 3.12 or 3.13 and this is {version[0]}.{version[1]}: "
        "start it with one of them, for example `python3.12 run.py up`."
    )


def test_a_read_only_folder_is_one_sentence(run, monkeypatch, tmp_path):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit) as refused:
        run.main(["up"])
    assert refused.value.code == f"The folder {tmp_path} cannot be written by this user."
    assert not (tmp_path / ".venv").exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (
            "WARNING: Retrying ... NewConnectionError('...: Failed to establish a new connection')\n"
            "ERROR: No matching distribution found for django==5.2.19",
            "The package index cannot be reached: check the network, or point pip at an index of yours.",
        ),
        (
            "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.",
            "A downloaded package differs from the locked one, and nothing of it was installed: the index or a proxy "
            "serves something else.",
        ),
        ("ERROR: [Errno 28] No space left on device", "There is no space left on the disk for the packages."),
        ("something nobody has seen before", "The packages could not be installed."),
    ],
)
def test_what_pip_says_becomes_one_sentence(run, said, sentence):
    assert run.explain(said) == sentence


def test_a_missing_wheel_is_named_and_nothing_is_compiled(run):
    sentence = run.explain("ERROR: No matching distribution found for uvloop==0.22.1 (from -r requirements.lock)")
    assert sentence.startswith("The package index has no wheel of uvloop==0.22.1 for this platform (")
    assert "nothing is compiled here" in sentence


def test_a_failed_install_leaves_no_stamp_and_what_pip_said(run, monkeypatch, tmp_path):
    def make_venv() -> None:
        (tmp_path / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / ".venv" / "bin" / "python").symlink_to(sys.executable)

    monkeypatch.setattr(run, "make_venv", make_venv)
    monkeypatch.setattr(run, "pip", lambda: [sys.executable, "-c", "import sys; sys.exit('No space left on device')"])
    with pytest.raises(SystemExit, match="There is no space left on the disk"):
        run.main(["up"])
    assert "No space left" in (tmp_path / ".venv" / "install.log").read_text()
    assert not list((tmp_path / ".venv").glob("installed-*"))


def test_an_unknown_command_is_answered_with_those_there_are(run):
    with pytest.raises(
        SystemExit, match="`start` is not a command: use up, test, check, demo, verify, token, password, manage or down"
    ):
        run.main(["start"])


def test_without_a_command_the_commands_are_listed():
    listed = subprocess.run([sys.executable, RUN], capture_output=True, text=True, timeout=30, check=True)
    assert "python3 run.py up " in listed.stdout
