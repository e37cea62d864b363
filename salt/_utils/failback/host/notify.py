"""What a service says to systemd of itself: sd_notify(3)."""

import contextlib
import os
import socket

#: That it has started, that it lives, what it does.
READY, ALIVE = "READY=1", "WATCHDOG=1"


def tell(*words):
    """
    Send some words, such as :data:`READY`, in one datagram, if systemd has asked for it.

    Says nothing of a failure: whoever watches over this process notices its silence.
    """
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.connect("\0" + address[1:] if address.startswith("@") else address)
        opened.sendall("\n".join(words).encode())
