"""
What every function of the runner ``pair`` has in common: an answer that is drawn, and an exit status that is
right.
"""

import functools
import inspect

from salt.exceptions import SaltException

from failback.errors import FailbackError


def command(function):
    """
    Let a refusal be a sentence instead of a traceback, and salt-run's exit status tell good from bad.

    salt-run takes its exit status from a key ``retcode`` of what a runner returns (salt/cli/run.py); a bad
    answer has it, a good one has none, or 0.
    """

    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        try:
            inspect.signature(function).bind(*args, **kwargs)
        except TypeError as error:
            name = function.__name__
            return drawn(bad({"error": f"pair.{name}: {error}. Usage: salt-run -d pair.{name}"}))
        try:
            return drawn(function(*args, **kwargs))
        except (SaltException, FailbackError) as error:
            return drawn(bad({"error": str(error)}))

    # Salt looks through this, and for wrong arguments shows its own usage with exit status 0.
    del wrapper.__wrapped__
    return wrapper


def bad(answer):
    """An answer with which salt-run fails."""
    return {**answer, "retcode": 1}


def drawn(answer):
    """An answer that this tree's outputter prints; for ``--out=json`` and for salt-api it is what it was."""
    return {"data": answer, "outputter": "pairs"}
