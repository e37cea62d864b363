"""
How far a sync has come, told while it lasts::

    with meter.telling(pulled.moved, tell):
        ...                             # tell(done, whole, per_second), all in bytes, every few seconds

It looks from outside: having rsync say it for each file takes a tenth of the time of many small ones.
"""

import contextlib
import threading
import time

#: Seconds between two words.
EVERY = 5.0


@contextlib.contextmanager
def telling(moved, tell):
    """
    Tell while the block lasts.

    moved
        Function that returns how many bytes have come, and how many there are in all.

    tell
        Function of both, and of the bytes that have come each second since it was called last. It may take
        its time: nothing waits for it. ``None``: nobody wants to know.
    """
    if tell is None:
        yield
        return
    over = threading.Event()

    def look():
        since, before = time.monotonic(), 0
        while not over.wait(EVERY):
            now, (done, whole) = time.monotonic(), moved()
            if done > before:
                tell(done, whole, (done - before) / (now - since))
            since, before = now, max(before, done)

    threading.Thread(target=look, name="failback-meter", daemon=True).start()
    try:
        yield
    finally:
        over.set()
