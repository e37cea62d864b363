"""The ways in which this package says no. A message is a sentence that an operator can act on."""


class FailbackError(Exception):
    """Anything this package reports to its caller."""


class Refused(FailbackError):
    """Nothing was changed: the message says what was found, why that is dangerous, what to run next."""


class Unreadable(FailbackError):
    """A file of ours is empty, cut off, or written by a newer version."""


class Unavailable(FailbackError):
    """Something that must answer did not, or an operation of the system failed."""
