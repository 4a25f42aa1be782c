"""Runs that take minutes, started by hand: `python -m tests.slow.<name> --help`. See CONTRIBUTING.md."""
