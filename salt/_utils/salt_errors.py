"""The errors of the package ``failback``, which knows nothing of Salt, as Salt's own."""

import functools

from salt.exceptions import CommandExecutionError

from failback.errors import FailbackError


def translated(function):
    """Let an execution module's function fail its job with the package's own sentence."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except (FailbackError, OSError) as error:
            # A full disk, say: a sentence of the system's is better than a traceback.
            raise CommandExecutionError(str(error)) from error

    return wrapper
