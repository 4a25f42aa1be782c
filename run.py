#!/usr/bin/env python3
# ruff: noqa: UP024, UP030, UP032, PTH100, PTH110, PTH118, PTH120, RUF005
# (An old Python has to read this file far enough to say which one is needed.)
"""The two commands, and a few beside them. Needs nothing but Python and the package index.

    python3 run.py up       everything on this machine: database, gateway, worker, demo
    python3 run.py test     the whole test suite against real PostgreSQL and real Valkey
    python3 run.py check    ruff, mypy, import contracts, system checks, missing migrations
    python3 run.py demo     drive a real MCP client through the running gateway
    python3 run.py verify   prove that the record is as it was written
    python3 run.py token    print a token of the demo's identity provider: alice or bob
    python3 run.py password print with which password alice or bob logs in to the console at that provider
    python3 run.py manage   Django's command line, on the database of the running `up`
    python3 run.py down     stop the running `up`

Written so that an old Python still reads it far enough to say which one is needed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import time

OLDEST, NEWEST = (3, 11), (3, 13)
STARTED_AT = time.time()
ROOT = os.path.dirname(os.path.abspath(__file__))
VENV = os.path.join(ROOT, ".venv")
PYTHON = os.path.join(VENV, "bin", "python")
LOCKS = {"up": "requirements.lock", "test": "requirements-dev.lock"}
PIP_OPTIONS = ["--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-compile", "--no-input"]
PIP_OPTIONS += ["--disable-pip-version-check", "--no-warn-script-location", "--progress-bar", "off", "--quiet"]
PACKAGES = ["gateway_project", "proxy", "policies", "sessions", "connections", "accounts"]
COMMANDS = ["up", "test", "check", "demo", "verify", "token", "password", "manage", "down"]
CHECKS = [
    ["-m", "ruff", "check", "."],
    ["-m", "ruff", "format", "--check", "."],
    ["-m", "mypy"] + PACKAGES,
    ["-c", "from importlinter.cli import lint_imports_command as command; command()"],
    ["-m", "django", "check", "--fail-level", "WARNING"],
    ["-W", "ignore", "-m", "django", "makemigrations", "--check", "--dry-run"],
]
# Files go to two processes, each with a database of its own; with arguments pytest gets those and nothing else.
WHOLE_SUITE = ["-n", "2", "--dist", "loadfile", "--durations", "15"]
# The checks read the settings and never a database or a secret, so these stand in for real ones.
CHECK_ENVIRONMENT = {
    "DJANGO_SETTINGS_MODULE": "gateway_project.settings.test",
    "DATABASE_URL": "postgres://nobody@127.0.0.1:1/nothing",
    "REDIS_URL": "redis://127.0.0.1:1/0",
    "WARDGATE_PUBLIC_URL": "http://127.0.0.1:8080",
}
PIP_OLDEST = (22, 3)  # the first with --python

# What pip says, and what it means here. The first that is found in its output wins.
PIP_SENTENCES = [
    (
        ("No matching distribution found", "Could not find a version that satisfies"),
        "The package index has no wheel of {what} for this platform ({platform}) and Python; nothing is compiled "
        "here, so use Linux or macOS on x86-64 or arm64 with Python 3.11 to 3.13, or an index that has it.",
    ),
    (
        ("DO NOT MATCH THE HASHES",),
        "A downloaded package differs from the locked one, and nothing of it was installed: the index or a proxy "
        "serves something else.",
    ),
    (("No space left on device",), "There is no space left on the disk for the packages."),
    (("Permission denied", "Read-only file system"), "The folder {root} cannot be written by this user."),
]
NO_NETWORK = (
    "NewConnectionError",
    "ConnectTimeoutError",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "Connection refused",
    "Read timed out",
    "ProxyError",
    "Max retries exceeded",
)


def main(arguments):
    """Do what the first argument names."""
    if not OLDEST <= tuple(sys.version_info[:2]) <= NEWEST:
        refuse(
            "Wardgate needs Python 3.11, 3.12 or 3.13 and this is {0}.{1}: start it with one of them, for example "
            "`python3.12 run.py up`.".format(*sys.version_info[:2])
        )
    if os.name != "posix":
        refuse("Wardgate runs on Linux and macOS; on Windows use WSL.")
    command, rest = (arguments[0], arguments[1:]) if arguments else ("help", [])
    if command in ("help", "-h", "--help"):
        print(__doc__.strip())
        return
    if command not in COMMANDS:
        refuse("`{0}` is not a command: use {1} or {2}.".format(command, ", ".join(COMMANDS[:-1]), COMMANDS[-1]))
    os.chdir(ROOT)
    if command in ("test", "check"):
        install(LOCKS["test"])
        if command == "check":
            sys.exit(check())
        run(["-m", "pytest"] + (rest or WHOLE_SUITE))
    if command == "up":
        install(LOCKS["up"])
    elif not os.path.exists(PYTHON):
        refuse("Wardgate is not installed yet: `python3 run.py up` first.")
    os.environ.setdefault("WARDGATE_STARTED_AT", str(STARTED_AT))
    run(["-m", "gateway_project.local", command] + rest)


def check():
    """Run every check, also after one has failed, and return how many failed."""
    environment = dict(os.environ, **CHECK_ENVIRONMENT)
    failed = [name for name in CHECKS if subprocess.call([PYTHON] + name, env=environment)]
    for name in failed:
        sys.stderr.write("failed: {0}\n".format(" ".join(name)))
    return len(failed)


def install(lock):
    """Make the virtual environment hold what the lock file names; quick when it already does."""
    path = os.path.join(ROOT, lock)
    with open(path, "rb") as file:
        wanted = "{0} {1}.{2}".format(hashlib.sha256(file.read()).hexdigest(), *sys.version_info[:2])
    stamp = os.path.join(VENV, "installed-" + lock)
    if read(stamp) == wanted and os.path.exists(PYTHON):
        return
    if not os.access(ROOT, os.W_OK):
        refuse("The folder {0} cannot be written by this user.".format(ROOT))
    print("Installing the locked packages into .venv (once) ...")
    sys.stdout.flush()
    make_venv()
    if subprocess.call(
        [PYTHON, "-c", "import sys; sys.exit(sys.version_info[:2] != {0!r})".format(sys.version_info[:2])]
    ):
        refuse("The virtual environment in {0} is of another Python: delete that folder and start again.".format(VENV))
    command = pip() + ["install"] + PIP_OPTIONS + ["-r", path]
    done = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said = done.communicate()[0].decode("utf-8", "replace")
    if done.returncode != 0:
        log = os.path.join(VENV, "install.log")
        with open(log, "w") as file:
            file.write(said)
        refuse("{0} ({1} has what pip said).".format(explain(said).rstrip("."), log))
    with open(stamp, "w") as file:
        file.write(wanted)


def make_venv():
    """Make the virtual environment, also where Debian's python3-venv (ensurepip) is missing."""
    if os.path.exists(PYTHON):
        return
    import venv

    shutil.rmtree(VENV, ignore_errors=True)
    venv.EnvBuilder(with_pip=False, symlinks=True).create(VENV)


def pip():
    """Return the command of a pip that installs into the virtual environment."""
    if pip_version(sys.executable) >= PIP_OLDEST:
        return [sys.executable, "-m", "pip", "--python", PYTHON]
    if pip_version(PYTHON) < PIP_OLDEST and subprocess.call(
        [PYTHON, "-m", "ensurepip", "--upgrade"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ):
        refuse("This Python has no pip: install it, on Debian and Ubuntu with `apt-get install python3-pip`.")
    return [PYTHON, "-m", "pip"]


def pip_version(python):
    """Return the version of a Python's pip as a tuple, (0,) without one."""
    code = "import importlib.metadata as m; print(m.version('pip'))"
    try:
        said = subprocess.check_output([python, "-c", code], stderr=subprocess.DEVNULL).decode()
        return tuple(int(part) for part in said.strip().split(".")[:2])
    except (OSError, ValueError, subprocess.CalledProcessError):
        return (0,)


def explain(said):
    """Return one sentence for what pip said."""
    if any(mark in said for mark in NO_NETWORK):
        return "The package index cannot be reached: check the network, or point pip at an index of yours."
    for marks, sentence in PIP_SENTENCES:
        if any(mark in said for mark in marks):
            return sentence.format(what=missing_package(said), platform=platform_name(), root=ROOT)
    return "The packages could not be installed."


def missing_package(said):
    """Return the requirement that pip found no wheel for."""
    for line in said.splitlines():
        if "No matching distribution found for" in line:
            return line.split("found for", 1)[1].split("(")[0].strip() or "a package"
    return "a package"


def platform_name():
    """Return the operating system and processor."""
    import platform

    return "{0} {1}".format(platform.system(), platform.machine())


def read(path):
    """Return a file's text, empty when there is none."""
    try:
        with open(path) as file:
            return file.read()
    except (IOError, OSError):
        return ""


def run(arguments):
    """Become the virtual environment's Python; nothing of this process stays between it and the terminal."""
    sys.stdout.flush()
    os.execv(PYTHON, [PYTHON] + arguments)


def refuse(sentence):
    """End with one sentence on standard error."""
    sys.exit(sentence)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
    except EnvironmentError as error:
        refuse("{0}: {1}.".format(error.filename or ROOT, (error.strerror or str(error)).lower()))
