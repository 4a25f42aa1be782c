"""What the documents say about the code is still true: settings, defaults, tests, files, links, names."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from policies.engine.packs import DEFAULT_PATTERNS

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CONFIGURATION = ROOT / "docs" / "configuration.md"
PACKAGES = ("accounts", "connections", "gateway_project", "policies", "proxy", "sessions")

_LINK = re.compile(r"\]\((?!https?://|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
_TEST = re.compile(r"`(test_[a-z0-9_]+)`")
_FILE = re.compile(r"(?<![\w/.<>-])((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)\b")
_DEFAULT = re.compile(r"^\| `(WARDGATE_\w+)` \| (\S+) \|", re.MULTILINE)
_EVENT = re.compile(r'"((?:gateway|upstream|client):[a-z]+:[a-z_]+)"')

each_document = pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))


def sources(*folders: str) -> Iterator[str]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ".work" not in path.parts:
                yield path.read_text()


def variables() -> set[str]:
    """Return every environment variable that the settings and `run.py up` read."""
    readers = re.compile(r"""(?:env\.[a-z]+|environ\.get|required)\(\s*"([A-Z][A-Z_]+)\"""")
    return {name for text in sources("gateway_project") for name in readers.findall(text)}


def defaults() -> dict[str, str]:
    """Return the default of every whole number and switch in `settings/gateway.py`, as the documents write it."""
    found = {}
    tree = ast.parse((ROOT / "gateway_project" / "settings" / "gateway.py").read_text())
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        name, call = ast.unparse(node.targets[0]), node.value
        reader = ast.unparse(call.func)
        if reader in {"env.integer", "env.boolean"}:
            given = [*call.args[1:], *(keyword.value for keyword in call.keywords if keyword.arg == "default")]
            value = eval(ast.unparse(given[0]), {})
            found[name] = f"`{str(value).lower()}`" if reader == "env.boolean" else str(value)
    return found


def test_every_variable_is_described() -> None:
    described = set(re.findall(r"`([A-Z][A-Z_]+)`", CONFIGURATION.read_text()))
    internal = {name for name in variables() if name.startswith("WARDGATE_DEMO_")}
    assert internal | described >= variables()


def test_every_default_is_the_one_that_is_described() -> None:
    described = dict(_DEFAULT.findall(CONFIGURATION.read_text()))
    assert {name: described.get(name) for name in defaults()} == defaults()


@each_document
def test_every_link_leads_to_a_file(document: Path) -> None:
    broken = [link for link in _LINK.findall(document.read_text()) if not (document.parent / link).exists()]
    assert broken == []


@each_document
def test_every_test_that_is_named_exists(document: Path) -> None:
    defined = {name for text in sources("tests") for name in re.findall(r"def (test_\w+)", text)}
    assert set(_TEST.findall(document.read_text())) - defined == set()


@each_document
def test_every_file_that_is_named_exists(document: Path) -> None:
    named = set(_FILE.findall(document.read_text()))
    assert {name for name in named if not (ROOT / name).exists()} == set()


@each_document
def test_a_document_names_no_place_of_one_machine(document: Path) -> None:
    assert re.findall(r"(?<![\w.])/(?:home|root|work|Users)/", document.read_text()) == []


def test_every_decision_is_in_the_list() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(_LINK.findall((folder / "README.md").read_text()))
    assert {path.name for path in folder.glob("0*.md")} <= listed


def test_every_event_name_is_described() -> None:
    text = (ROOT / "docs" / "data-path.md").read_text()
    written = {name for source in sources("proxy") for name in _EVENT.findall(source)}
    assert written
    assert {name for name in written if name not in text and f"`:{name.rpartition(':')[2]}`" not in text} == set()


def test_every_starter_pattern_is_described() -> None:
    text = (ROOT / "docs" / "policy.md").read_text()
    assert [pattern.name for pattern in DEFAULT_PATTERNS if f"`{pattern.name}`" not in text] == []
    assert f"these {len(DEFAULT_PATTERNS)} " in text


def test_every_direct_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    groups = [
        project["project"]["dependencies"],
        *project["project"]["optional-dependencies"].values(),
        *project["dependency-groups"].values(),
    ]
    names = {re.split(r"[\[<>=~;! ]", entry)[0] for group in groups for entry in group}
    text = (ROOT / "docs" / "dependencies.md").read_text()
    assert {name for name in names if not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text)} == set()


def test_every_check_of_the_settings_is_described() -> None:
    """An id is named in full (`wardgate.E001`) or stands between the ends of a range."""
    described: set[int] = set()
    for line in CONFIGURATION.read_text().splitlines():
        if line.startswith("| `wardgate."):
            numbers = [int(number) for number in re.findall(r"E(\d{3})", line.split("|")[1])]
            is_range = " to " in line.split("|")[1]
            described |= set(range(numbers[0], numbers[-1] + 1)) if is_range else set(numbers)
    source = (ROOT / "gateway_project" / "checks.py").read_text()
    assert {int(number) for number in re.findall(r"wardgate\.E(\d{3})\"", source)} <= described
