"""
The bus of this master, listened to while a step of a run waits for a node.

That nothing is heard means nothing, and nothing here can make a run fail.
"""

import contextlib
import logging
import threading

import salt.utils.event

from failback_master.surface import heard_files

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
                    said = heard_files.sentence(event, self._node)
                    if said and not self._over.is_set():
                        tell(said)
        except Exception as error:
            log.debug("The bus is not heard: %s", error)
