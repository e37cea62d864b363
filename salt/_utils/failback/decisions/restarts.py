"""
Whether a service stays up, by what systemd says of it again and again. Pure.

    counter = restarts.Counter()
    times = counter.look(now, "active", 3, begun=True)

A moment in which it is active proves nothing: one that ends after a second is active for a second, again and
again.
"""

#: What systemd calls a unit that it starts again and again, and one with which it has given up.
LOOPS = ("activating", "failed")

#: Starts within so many seconds that are too many: each look of a service that ends late sees it active.
TOO_MANY, WITHIN = 2, 60.0


class Counter:
    """Goes on from one look to the next."""

    def __init__(self):
        #: When systemd had started it anew how often: ``(seconds, times)``, oldest first.
        self._seen = []

    def look(self, now, state, times, begun):
        """
        How often systemd has started the service again, if it does not stay up; otherwise None.

        now
            Seconds, by a clock that nobody sets.

        state, times
            Of systemd: ActiveState, and NRestarts, which begins anew when somebody starts the service.

        begun
            Whether the process that runs has begun its work.
        """
        if self._seen and times < self._seen[-1][1]:
            self._seen = []
        # The last look before that time stays: it says how many there were when it began.
        while len(self._seen) > 1 and self._seen[1][0] <= now - WITHIN:
            del self._seen[0]
        self._seen.append((now, times))
        again = times - self._seen[0][1] >= TOO_MANY
        return times if times and (state in LOOPS or not begun or again) else None
