"""The base of every error that is a fact about a request and not a fault of ours."""

from __future__ import annotations


class DomainError(Exception):
    """A service refuses. `code` is stable and for programs; the text is a sentence for people, without secrets."""

    code = "refused"
