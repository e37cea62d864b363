"""The claim on a guest: one process of a host is at it, and the other host can see that."""

import contextlib
import fcntl
import time

from failback.errors import Refused
from failback.host import files


def _claim_file(member, guest):
    return member.volatile / f"guest-{guest}.claim"


def claimed(member, guest):
    """Whether a process on this host is just starting, moving or stopping a guest."""
    try:
        with open(_claim_file(member, guest), "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True


@contextlib.contextmanager
def claim(member, guest, limit=2.0):
    """
    Be the one on this host that is at a guest. The kernel ends the claim with the process.

    Each host claims a guest *before* it asks the other one, and says of a claimed guest that somebody is
    at it: of two hosts that begin at once at least one sees the other's claim, whatever the timing.
    Raises ``Refused``.
    """
    place = _claim_file(member, guest)
    files.make_folder(place.parent)
    with open(place, "ab") as handle:
        end = time.monotonic() + limit
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                # For an instant it may be somebody who only looks.
                if time.monotonic() >= end:
                    raise Refused(
                        f"{guest} is just being started, moved or stopped on this host. Wait, then run "
                        "this again."
                    ) from error
            time.sleep(0.02)
        yield
