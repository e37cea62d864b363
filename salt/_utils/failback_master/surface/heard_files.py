"""
What the node that brings files home says of them on the bus of this master, while the run waits for it.

The node fires ``failback/<pair>/<run>/pre-sync/moved``: see ``reverse_rsync.synced``. That nothing is heard
means nothing, and nothing here can make a run fail.
"""

import contextlib
import logging
import threading

import salt.utils.event

log = logging.getLogger(__name__)

#: Seconds for which the bus is listened to at once.
LISTEN = 1


class Ear:
    """
    opts
        The master's.

    tag
        Of the events.

    node
        Minion id of the node: Salt has authenticated it, and nobody else is believed.
    """

    def __init__(self, opts, tag, node):
        self._opts, self._tag, self._node = opts, tag, node
        self._over = threading.Event()

    @contextlib.contextmanager
    def told(self, tell):
        """Give what is heard to a function, a sentence at a time, for as long as the block lasts."""
        listener = threading.Thread(target=self._listen, args=(tell,), name="failback-ear", daemon=True)
        listener.start()
        try:
            yield
        finally:
            self._over.set()
            # So that nothing is said of files once the step has ended.
            listener.join(2 * LISTEN)

    def _listen(self, tell):
        if not self._opts.get("sock_dir"):
            return
        try:
            with salt.utils.event.get_master_event(self._opts, self._opts["sock_dir"], listen=True) as bus:
                while not self._over.is_set():
                    event = bus.get_event(wait=LISTEN, tag=self._tag, match_type="startswith")
                    said = sentence(event, self._node)
                    if said and not self._over.is_set():
                        tell(said)
        except Exception as error:
            log.debug("The bus is not heard: %s", error)


def sentence(event, node):
    """
    ``312 of 1,204 MB, 48.1 MB/s``, or None for an event of somebody else, or of another form. Pure.

    event
        What the bus has given, or None; ``data`` is what the node has sent, ``id`` which node it was.
    """
    if not isinstance(event, dict) or event.get("id") != node:
        return None
    try:
        done, whole, each_second = (int(event["data"][key]) for key in ("done", "whole", "per_second"))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
    return f"{_megabytes(done)} of {_megabytes(whole)} MB, {_megabytes(each_second)} MB/s"


def _megabytes(number):
    """Three figures of what is small, all of what is large."""
    return f"{number / 1e6:,.1f}" if number < 100e6 else f"{number / 1e6:,.0f}"
