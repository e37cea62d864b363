"""
Where the simulation takes the place of the machine: a few low places, and none of the code's own rules.

The standard library is replaced in every module that touches the system, by name, so a module that begins to
use ``time`` finds the simulated one. Above that stand the kernel's sockets (netlink, ARP, echo, TCP), a few
facts of ``host.system``, and what would look at the real machine's file systems.
"""

import contextlib
import importlib
import sys

from failback.errors import Unavailable
from simulation import here
from simulation import segment
from simulation import system as simulated

#: What must be there before it is replaced: the commands import it only when they run.
MODULES = (
    "failback.cli",
    "failback.peer_requests",
    "failback.report",
    "failback.watch.loop",
    "failback.watch.keeper",
    "failback.watch.slow",
    "failback.watch.trials",
    "failback.handover.claims",
    "failback.handover.put_back",
    "failback.lease.right",
    "failback.handover.takeover",
    "failback.handover.taker",
    "failback.handover.way_back",
    "failback.handover.giver",
    "failback.journal.service",
    "failback.guard.loop",
)
#: Wings whose modules see the simulated standard library; the pure ones need none, others do not run here.
WINGS = ("watch", "handover", "state", "network", "peer", "host", "lease", "guard")
SINGLE = ("failback.cli", "failback.peer_requests", "failback.report", "failback.replication.on_disk")
#: They speak to the kernel by the real library, and are replaced as a whole.
LEFT_ALONE = (
    "failback.network.netlink",
    "failback.network.tcp",
    "failback.host.release",
    "failback.host.nagios",
)


#: Modules of the standard library that make up the simulated disk.
DISK = ("os", "fcntl", "tempfile", "pathlib")


def install(patch, disk=True):
    """
    Replace what has to be, until the patch is undone.

    patch
        pytest's ``MonkeyPatch``.

    disk
        False: files are this machine's. Nothing is lost with the power then, and no write is a step.
    """
    for name in MODULES:
        importlib.import_module(name)
    for name, module in list(sys.modules.items()):
        wing = name.split(".")[1] if name.startswith("failback.") else None
        if name in LEFT_ALONE or not (name in SINGLE or wing in WINGS):
            continue
        for attribute, stand_in in simulated.STANDS_FOR.items():
            if attribute in DISK and not disk:
                continue
            if getattr(module, attribute, None) is sys.modules.get(attribute):
                patch.setattr(module, attribute, stand_in)
        if disk:
            patch.setattr(module, "open", simulated.sim_open, raising=False)
        patch.setattr(module, "print", simulated.sim_print, raising=False)
    _sockets(patch)
    _facts(patch)
    if disk:
        _files(patch)


def _sockets(patch):
    from failback.network import neighbours
    from failback.network import netlink
    from failback.network import reachable
    from failback.network import rivals
    from failback.network import tcp
    from failback.watch import slow

    patch.setattr(netlink, "Netlink", segment.Netlink)
    patch.setattr(neighbours, "Prober", segment.Prober)
    patch.setattr(rivals, "Rivals", segment.Rivals)
    patch.setattr(reachable, "Echo", segment.Echo)
    patch.setattr(tcp, "Connections", segment.Connections)
    patch.setattr(slow, "Bell", segment.Bell)


def _facts(patch):
    from failback.guard import loop
    from failback.host import system
    from failback.journal import service
    from failback.lease import right
    from failback.replication import on_disk
    from failback.watch import resident

    patch.setattr(system, "boot_id", lambda: here.world.node.boot_id)
    patch.setattr(system, "machine_id", lambda: here.world.node.name)
    patch.setattr(system, "process_started", lambda pid: here.world.process_started(pid))
    patch.setattr(system, "sync_file_systems", lambda folders: here.world.sync_file_systems())
    patch.setattr(system, "run", lambda argv, *rest, **more: here.world.run(argv, *rest, **more))
    patch.setattr(system, "start_detached", lambda argv: here.world.start_detached(argv))
    # Programs that are started go on by themselves here.
    patch.setattr(system, "wait_for_started", lambda: None)
    patch.setattr(system, "log", lambda sentence, *_: here.world.log(sentence))
    patch.setattr(on_disk, "roots", lambda member: [])
    patch.setattr(service, "Client", _no_journal)
    patch.setattr(right, "client", lambda member: here.world.cluster)
    # Nobody installs a release here.
    patch.setattr(resident.Changes, "settled", lambda changes: False)
    patch.setattr(resident.Changes, "_fingerprint", lambda changes: None)
    patch.setattr(loop, "_mark", lambda member: None)


def _files(patch):
    from failback.replication import incoming
    from failback.replication import sources

    patch.setattr(incoming, "stop", lambda member: here.world.stop_incoming())
    patch.setattr(incoming, "end", lambda member: len(here.world.stop_incoming()))
    patch.setattr(incoming, "writing", lambda member: bool(here.world.node.incoming))
    patch.setattr(incoming, "mark", lambda member: here.world.node.incoming_mark)
    patch.setattr(sources, "facts", lambda paths, *_: {path: {**LIES, "below": []} for path in paths})


#: What a node says of a replicated path: it is there, and where it was.
LIES = {
    "exists": True,
    "empty": False,
    "kind": "directory",
    "file_system": {"mount": "/", "type": "ext4", "source": "/dev/vda1", "root": "/", "uuid": "1"},
}


def _no_journal(member):
    raise Unavailable("There is no journal of changes here.")


@contextlib.contextmanager
def inhabited(world):
    """The world is the present one, and its processes end with it."""
    before, here.world = here.world, world
    try:
        yield world
    finally:
        try:
            world.engine.close()
        finally:
            here.world = before
