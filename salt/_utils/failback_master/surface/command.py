"""
What every function of the runner ``pair`` has in common: an answer that is drawn, and an exit status that is
right.
"""

import functools
import inspect

import salt.utils.user
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
            return _given(bad({"error": f"pair.{name}: {error}. Usage: salt-run -d pair.{name}"}), function)
        try:
            return _given(function(*args, **kwargs), function)
        except (SaltException, FailbackError) as error:
            return _given(bad({"error": str(error)}), function)

    # Salt looks through this, and for wrong arguments shows its own usage with exit status 0.
    del wrapper.__wrapped__
    return wrapper


def bad(answer):
    """An answer with which salt-run fails."""
    return {**answer, "retcode": 1}


def drawn(answer):
    """An answer that this tree's outputter prints; for ``--out=json`` it is what it was."""
    return {"data": answer, "outputter": "pairs"}


def plain(returned):
    """What a function of the runner has answered, to another one that calls it."""
    drawn_one = isinstance(returned, dict) and set(returned) == {"data", "outputter"}
    return returned["data"] if drawn_one else returned


class Caller:
    """Who calls the runner in this process: a command line, or the salt-master for salt-api."""

    def __init__(self):
        self._typed = self._loaded = False

    def loaded(self, opts):
        """The runner was loaded with these options; those of a command line have its function."""
        self._typed = self._typed or bool(opts.get("fun"))
        self._loaded = True

    @property
    def is_program(self):
        """Whether nobody looks at a screen: the salt-master has loaded the runner, no command line has."""
        return self._loaded and not self._typed


CALLER = Caller()


def _given(answer, function):
    """
    An answer in the form that its caller can use.

    Salt takes what has ``data`` for the states of an orchestration, and calls it a failure when they are
    none: a program gets the bare answer, and ``success`` in the return of the job follows the exit status.
    """
    if not CALLER.is_program:
        return drawn(answer)
    context = function.__globals__.get("__context__")
    if context is not None and isinstance(answer, dict):
        context["retcode"] = answer.get("retcode", 0)
    return answer


def asked_by(own):
    """
    The user who has asked, for the history: whom Salt has authenticated, where it says so.

    own
        The globals of the runner's module. Salt puts ``__user__`` there, or here, where the wrapper is.
    """
    return own.get("__user__") or globals().get("__user__") or salt.utils.user.get_specific_user()
