"""The one exception that a user's mistake or a failed machine becomes, and its way to the terminal."""

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class InputError(Exception):
    """Something a user can mend: the message names the file, the place, what was found and what is allowed."""


def suggestion(found: str, allowed: Iterable[str]) -> str:
    """Return ``" (did you mean 'x'?)"`` when one of `allowed` is close to `found`, otherwise an empty string."""
    close = difflib.get_close_matches(found, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


# what a shell reports for a command that Ctrl-C ended
INTERRUPTED = 130


@contextmanager
def exit_on_input_error() -> Iterator[None]:
    """Turn an `InputError` into one line on standard error and exit code 1, and Ctrl-C into exit code 130, both without
    a traceback."""
    try:
        yield
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
