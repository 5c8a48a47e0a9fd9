"""The one exception that a user sees, as one line."""

from __future__ import annotations


class BoardError(Exception):
    """Something a user can mend: its text is one line that says what and, where known, how."""
