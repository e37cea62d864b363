"""
The place of the watch of one cron name on a node: one process has it at a time.

systemd's service waits for it. Cron's process leaves it to the service, and keeps it only where systemd does
not start the service.
"""

from failback.errors import FailbackError
from failback.host import notify
from failback.host import system
from failback.watch import resident

#: The unit of the watch, by its cron name.
UNIT = "failback-watch@{}.service"

#: Seconds for systemd to start it.
STARTS_WITHIN = 8


class Place:
    """
    cron
        Name of the file in ``/etc/cron.d``.

    paths
        ``Paths`` of the node.
    """

    def __init__(self, cron, paths):
        self.cron = cron
        self.paths = paths

    @property
    def lock_file(self):
        """The file that the watch has locked."""
        return self.paths.public / f"watch-{self.cron}.lock"

    @property
    def status_file(self):
        """Where the watch says how things stand: JSON, see ``failback.watch.loop.Watch.status``."""
        return self.paths.watch_status(self.cron)

    def single(self):
        """The lock, held while the returned file is open; None if another process has it."""
        return resident.single(self.lock_file)

    def for_service(self):
        """The lock for the service: waited for, while systemd is told that it lives."""
        notify.tell(notify.READY)
        return resident.awaited(self.lock_file, system.log, lambda: notify.tell(notify.ALIVE))

    def for_cron(self, foreground):
        """The lock for cron's process; None where it is not needed: the watch runs, or systemd starts it."""
        lock = self.single()
        if lock is None or foreground or not self.paths.unit(UNIT.format("")).exists():
            return lock
        lock.close()
        unit = UNIT.format(self.cron)
        try:
            system.run(["systemctl", "start", "--", unit], STARTS_WITHIN, f"start {unit}")
        except FailbackError as error:
            system.log(
                f"watch {self.cron}: it did not run, and runs without systemd now. {error}", system.ERR
            )
            return self.single()
        system.log(f"watch {self.cron}: it did not run; systemd has started {unit}", system.WARNING)
        return None

    def is_awaited(self):
        """Whether the service waits for this place."""
        return resident.is_awaited(self.lock_file)
