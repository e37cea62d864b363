"""
The storage that both hosts share: its mark, and the locks of virtlockd on it.

The mark tells whether two hosts mean the same storage; virtlockd keeps a disk from being written to by two.
"""

import json
import os
import secrets

from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import system

#: Seconds for a look at the shared storage: a file server that is gone answers never.
STORAGE_ANSWER = 5
#: What marks the shared storage, so that two hosts can tell whether it is the same.
MARK = ".failback-storage"
#: Folder in it in which virtlockd keeps a file for each disk.
LOCKSPACE = ".failback-locks"
#: The configuration of libvirt's driver of virtlockd.
LOCK_CONFIG = "etc/libvirt/qemu-lockd.conf"


def storage_mark(member):
    """
    The mark of the shared storage as ``(mark, None)``, or ``(None, sentence)`` when it cannot be used here.

    A folder on the node's own file system is no shared storage: it is what is left when it is not mounted.
    """
    storage = member.config["virtualization"]["storage"]
    folder = member.paths.root / storage.lstrip("/")
    node = member.node
    try:
        if not mounted(folder, member.paths):
            return None, f"{storage} is not mounted on {node}, so no guest can run there."
        found = json.loads((folder / MARK).read_text())
        return found["mark"], None
    except FileNotFoundError:
        return None, (
            f"{storage} on {node} is missing, or bears no mark ({MARK}). Is the right storage mounted? "
            f"Highstate marks a new one: salt {node} state.apply pair.virtual_machines"
        )
    except (OSError, ValueError, KeyError, TypeError, Unavailable) as error:
        return None, f"{storage} on {node} cannot be read: {str(error).rstrip('.')}."


def mounted(folder, paths):
    """
    Whether a folder lies on another file system than the node's own.

    Raises ``OSError``, and ``Unavailable`` when there is no answer.
    """
    # By a process that can be killed: a look at the storage of a file server that is gone does not come back.
    system.exit_status(["stat", str(folder)], STORAGE_ANSWER, f"look at {folder}")
    return os.stat(folder).st_dev != os.stat(paths.root).st_dev


def missing_marks(member):
    """What ``mark_storage`` would make, a list of paths. Raises ``Refused`` as it does."""
    folder = _require_storage(member)
    return [str(folder / name) for name in (LOCKSPACE, MARK) if not (folder / name).exists()]


def storage_gone(member):
    """Why the storage that both hosts share is not to be had on this one, as a sentence, or None."""
    storage = member.config["virtualization"]["storage"]
    try:
        if mounted(member.paths.root / storage.lstrip("/"), member.paths):
            return None
        why = "is not mounted"
    except FileNotFoundError:
        why = "is missing"
    except (OSError, Unavailable) as error:
        why = f"cannot be read ({str(error).rstrip('.')})"
    return (
        f"{storage} {why} on {member.node}, so no guest can run there. Mount the storage that both hosts "
        "share, then run highstate again."
    )


def _require_storage(member):
    gone = storage_gone(member)
    if gone:
        raise Refused(gone)
    return member.paths.root / member.config["virtualization"]["storage"].lstrip("/")


def mark_storage(member):
    """
    Mark the shared storage, once for all hosts, and make the folder of the locks.

    Returns what was made, a list of paths. Raises ``Refused`` when it is not mounted here: what is made on
    the node's own disk in its stead would guard nothing.
    """
    folder = _require_storage(member)
    made = []
    if not (folder / LOCKSPACE).is_dir():
        (folder / LOCKSPACE).mkdir(mode=0o700, exist_ok=True)
        made.append(str(folder / LOCKSPACE))
    try:
        # "x": of two hosts that come here at once one makes it, and both read it.
        with open(folder / MARK, "x") as handle:
            handle.write(json.dumps({"version": 1, "mark": secrets.token_hex(8)}) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
        made.append(str(folder / MARK))
    except FileExistsError:
        pass
    return made


def lockspace(config):
    """The folder in which virtlockd of all hosts keeps its locks."""
    return os.path.join(config["virtualization"]["storage"], LOCKSPACE)


def lock_config(config):
    """The text of libvirt's configuration of virtlockd (qemu-lockd.conf)."""
    return (
        "# Managed by Salt (pair.virtual_machines): a disk is written to by one host at a time.\n"
        "auto_disk_leases = 1\n"
        "require_lease_for_disks = 1\n"
        f'file_lockspace_dir = "{lockspace(config)}"\n'
    )


def locks_error(member):
    """Why virtlockd would not guard a disk here, as a sentence, or None."""
    node = member.node
    mend = f"Run: salt {node} state.apply pair.virtual_machines"
    try:
        set_up = (member.paths.root / LOCK_CONFIG).read_text().strip() == lock_config(member.config).strip()
        lines = (member.paths.root / "etc/libvirt/qemu.conf").read_text().splitlines()
    except OSError as error:
        return f"virtlockd is not set up on {node}: {error}. {mend}"
    settings = [line.split("#")[0].replace(" ", "") for line in lines]
    if not set_up or 'lock_manager="lockd"' not in settings:
        return f"virtlockd is not set up on {node}, so nothing but this program guards the disks. {mend}"
    if not (member.paths.root / lockspace(member.config).lstrip("/")).is_dir():
        return f"{lockspace(member.config)} is missing on {node}, so virtlockd can lock nothing. {mend}"
    return None
