"""
The kernel's watchdog: it resets a machine on which nothing runs any more.

An address goes by itself (:py:mod:`failback.guard.loop`), but a service that was frozen with everything else
would write on when it thaws. Where the pillar says so, such a machine does not thaw.
"""

import fcntl
import os
import struct

from failback.errors import Unavailable

DEVICE = "/dev/watchdog"
#: _IOWR('W', 6, int) of linux/watchdog.h.
_SET_TIMEOUT = 0xC0045706


class Watchdog:
    """
    The device while this node serves.

    device
        Its file. Others than the real one are for tests.

    control
        ``fcntl.ioctl``.
    """

    def __init__(self, device=DEVICE, control=fcntl.ioctl):
        self._device, self._control = device, control
        self._opened = None

    @property
    def armed(self):
        """Whether it would reset the machine."""
        return self._opened is not None

    def feed(self, seconds):
        """
        Put the reset off, and arm the device first if need be.

        seconds
            After which the machine is reset unless it is fed again, whole seconds.

        Raises ``Unavailable`` when the device is not there, is another program's, or cannot wait for so few
        seconds.
        """
        if self._opened is None:
            try:
                self._opened = os.open(self._device, os.O_WRONLY | os.O_CLOEXEC)
            except OSError as error:
                raise Unavailable(
                    f"{self._device} cannot be used: {error.strerror}. The pillar wants it (lease: watchdog)."
                ) from error
        try:
            answer = self._control(self._opened, _SET_TIMEOUT, struct.pack("i", seconds))
            (granted,) = struct.unpack("i", answer)
            os.write(self._opened, b"\0")
        except OSError as error:
            raise Unavailable(
                f"{self._device} takes no time-out of {seconds} s: {error.strerror}."
            ) from error
        if granted > seconds:
            self.disarm()
            raise Unavailable(
                f"{self._device} waits {granted} s at least, and only {seconds} s are left: a longer ttl is "
                f"needed."
            )

    def disarm(self):
        """The node does not serve any more, and nothing of it runs: no reset is needed."""
        if self._opened is None:
            return
        try:
            os.write(self._opened, b"V")  # the magic close of linux/watchdog.h
        finally:
            os.close(self._opened)
            self._opened = None
