"""What of rsync's words is an error, and what only a dry run says."""

import errno
import os
import stat
import threading

import pytest

from failback.errors import Refused
from failback.errors import Unavailable
from failback.recovery import rsync


@pytest.mark.parametrize(
    ("code", "only_pretended", "well"),
    [
        (0, True, True),
        (0, False, True),
        (24, False, True),
        (23, True, True),
        (23, False, False),
        (11, True, False),
    ],
)
def test_a_look_that_ended_well(code, only_pretended, well):
    assert rsync.looked_well(rsync.Outcome(code=code, only_pretended=only_pretended)) is well


@pytest.mark.parametrize(
    ("line", "pretended"),
    [
        (b'rsync: [generator] stat "/srv/a/b" failed: Too many levels of symbolic links (40)\n', True),
        (b'rsync: [generator] stat "/srv/a/b" failed: Not a directory (20)\n', True),
        (b"rsync error: some files/attrs were not transferred (see previous errors) (code 23)\n", True),
        (b'rsync: [generator] stat "/srv/a/b" failed: Input/output error (5)\n', False),
        (b'rsync: [sender] readlink "/srv/a" failed: Not a directory (20)\n', False),
        (
            b"rsync: [generator] get_acl: sys_acl_get_file(b, ACL_TYPE_DEFAULT): Permission denied (13)\n",
            False,
        ),
    ],
)
def test_words_of_a_dry_run_alone(line, pretended):
    assert bool(rsync._PRETENDED.match(line)) is pretended


# --- one at a time in a path --------------------------------------------------------------------------


def test_a_second_rsync_waits_for_the_first(tmp_path):
    place = tmp_path / "lock"
    first = rsync.lock(place, 0.1)
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    with pytest.raises(Refused, match=f"still runs after 0 seconds .it holds {place}.*fuser -v {place}"):
        rsync.lock(place, 0.1)
    timer = threading.Timer(0.1, first.close)
    timer.start()
    second = rsync.lock(place, 20)
    # Its child has it as well, and may outlive this process.
    child = os.dup(second.fileno())
    second.close()
    with pytest.raises(Refused):
        rsync.lock(place, 0.1)
    os.close(child)
    rsync.lock(place, 20).close()
    timer.join()


def test_a_lock_that_cannot_be_had_is_not_taken_for_one_that_is(tmp_path, monkeypatch):
    calls = []

    def flock(handle, operation):
        calls.append(operation)
        if operation & rsync.fcntl.LOCK_NB:
            raise BlockingIOError
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(rsync.fcntl, "flock", flock)
    with pytest.raises(Refused, match="An earlier rsync into this path still runs"):
        rsync.lock(tmp_path / "lock", 20)
    assert len(calls) == 2


def test_without_rsync_it_says_what_to_install(tmp_path):
    with pytest.raises(Unavailable, match="/nonexistent/rsync cannot be started: No such file"):  # noqa: SIM117
        with rsync.Pass(["/nonexistent/rsync"]):
            pass
