"""
The other host of a pair: what it says of the guests, and a live migration to it over the pair's SSH.
"""

import contextlib
import os
import socket
import subprocess
import threading

from failback.errors import Refused
from failback.errors import Unavailable
from failback.guests import virsh
from failback.host import files
from failback.peer import answers
from failback.peer import ssh

#: Connects a process's standard input and output to libvirt's socket; ships with libvirt.
HELPER = "/usr/bin/virt-ssh-helper"


def ask_peer(member):
    """What the other host says of the guests now, over SSH. Raises ``FailbackError``."""
    other = member.peer["id"]
    text = ssh.ask(member, "guests", timeout=30)
    try:
        found = answers.object_in(text, "node", "guests")
        if found is None:
            raise ValueError(answers.unreadable(text, other))
        if found["node"] != other or set(found["guests"]) != set(member.config["vms"]):
            raise ValueError("it is not about the guests of this pair")
    except (ValueError, KeyError, TypeError) as error:
        raise Unavailable(f"{other} gave no answer about the guests: {error}.") from error
    return found


def migrate(member, name, run, limit):
    """
    Migrate a running domain live to the other host, through the pair's own SSH connection.

    limit
        Seconds; then it is aborted, and the guest runs on here.

    Raises ``Unavailable``; where the guest runs then must be looked at.
    """
    other = member.peer["id"]
    with _tunnel(member, run) as place:
        words = ["migrate", "--live", "--p2p", "--tunnelled", "--auto-converge"]
        # libvirt cannot tell whether a folder is shared unless it knows the kind of its file system. Both
        # hosts have shown the same mark on it, which is better than knowing the kind.
        words += ["--unsafe", "--domain", name, "--desturi", f"qemu+unix:///system?socket={place}"]
        try:
            virsh.call(*words, limit=limit, what=f"migrate {name} to {other}")
        except Unavailable:
            # A job that goes on would move it after we have said that we failed. With none there is
            # nothing to abort.
            with contextlib.suppress(Unavailable):
                virsh.call("domjobabort", "--domain", name)
            raise


@contextlib.contextmanager
def _tunnel(member, run):
    """A socket on this host behind which the other host's libvirt answers, over SSH."""
    folder = member.volatile
    files.make_folder(folder)
    place = folder / f"libvirt-{run[-4:]}.sock"
    place.unlink(missing_ok=True)
    command = [*ssh.command(member, "-T"), "--", "libvirt", run]
    children = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(place))
        server.listen()

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    children.append(
                        subprocess.Popen(
                            command, stdin=connection, stdout=connection, stderr=subprocess.DEVNULL
                        )
                    )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield place
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            place.unlink(missing_ok=True)
            for child in children:
                child.terminate()
                child.wait()


def serve_libvirt(config):
    """Become a connection to this host's libvirt, on standard input and output, for the other node."""
    if not config["vms"]:
        raise Refused(f"{config['name']} has no virtual machines.")
    os.execv(HELPER, [HELPER, virsh.URI])
