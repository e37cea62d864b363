"""Errors of the operating system, in words that an operator can act on."""

import errno
import os

import pytest

from failback import errors


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_named_with_the_way_on(code):
    said = errors.of_the_system(OSError(code, os.strerror(code), "/var/lib/failback/salt/runs/x/run.json"))
    assert said.startswith("No space is left for /var/lib/failback/salt/runs/x/run.json. ")
    assert "Make room" in said and "run the same command again" in said


def test_a_full_disk_without_a_name():
    said = errors.of_the_system(OSError(errno.ENOSPC, "No space left on device"))
    assert said.startswith("No space is left on a disk of this node (/var/lib/failback: see df). ")


@pytest.mark.parametrize("code", [errno.EROFS, errno.EIO])
def test_a_disk_that_fails(code):
    said = errors.of_the_system(OSError(code, os.strerror(code), "/srv/salt"))
    assert "/srv/salt" in said and "journalctl -k" in said


def test_anything_else_is_what_the_system_says():
    assert errors.of_the_system(FileNotFoundError(errno.ENOENT, "No such file", "/x")) == (
        "[Errno 2] No such file: '/x'"
    )
