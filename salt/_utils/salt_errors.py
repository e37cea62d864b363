"""The errors of the package ``failback``, which knows nothing of Salt, as Salt's own."""

import functools

from salt.exceptions import CommandExecutionError

from failback.errors import FailbackError
from failback.errors import of_the_system


def translated(function):
    """Let an execution module's function fail its job with the package's own sentence."""

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            return function(*args, **kwargs)
        except FailbackError as error:
            raise CommandExecutionError(str(error)) from error
        except OSError as error:
            # A full disk, say: a sentence is better than a traceback.
            raise CommandExecutionError(of_the_system(error)) from error

    return wrapper
