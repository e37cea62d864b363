"""The kernel's watchdog, by a file in its place and the answers that drivers give."""

import errno
import struct

import pytest

from failback.errors import Unavailable
from failback.guard.watchdog import Watchdog


@pytest.fixture
def device(tmp_path):
    made = tmp_path / "watchdog"
    made.write_bytes(b"")
    return made


def granting(seconds, asked):
    """An ioctl that grants a time-out, or what was asked for."""

    def control(_, request, argument):
        assert request == 0xC0045706
        (wanted,) = struct.unpack("i", argument)
        asked.append(wanted)
        return struct.pack("i", seconds or wanted)

    return control


def test_it_is_armed_when_it_is_fed_and_disarmed_with_the_magic_close(device):
    asked = []
    watchdog = Watchdog(device, granting(None, asked))
    assert not watchdog.armed
    watchdog.feed(9)
    watchdog.feed(8)
    assert watchdog.armed
    assert device.read_bytes() == b"\0\0"
    watchdog.disarm()
    watchdog.disarm()
    assert device.read_bytes() == b"\0\0V"
    assert (asked, watchdog.armed) == ([9, 8], False)


def test_a_device_that_waits_longer_than_the_right_lasts_is_not_used(device):
    watchdog = Watchdog(device, granting(60, []))
    with pytest.raises(Unavailable, match="waits 60 s at least, and only 9 s are left"):
        watchdog.feed(9)
    assert not watchdog.armed
    assert device.read_bytes().endswith(b"V")


def test_a_device_that_is_not_there_or_says_no_is_named(tmp_path, device):
    with pytest.raises(Unavailable, match="No such file or directory. The pillar wants it"):
        Watchdog(tmp_path / "none").feed(9)

    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    with pytest.raises(Unavailable, match="takes no time-out of 9 s"):
        Watchdog(device, refuse).feed(9)
