"""Keeps one host running: started by lab/host.py for each host, in the lab's network.

    python3 -m lab.keeper <lab> <host>

A reboot inside ends systemd-nspawn with exit status 133: the host is started again. Any other end
(``poweroff`` inside, a killed init) leaves it off, and this program ends too.
"""

import os
import subprocess
import sys

from lab import cgroups
from lab import host as hosts
from lab import network

REBOOT = 133


def main(lab, name):
    host = hosts.find(lab, name)
    links = network.Links()
    while True:
        status = life(host, links)
        print(f"{name}: systemd-nspawn ended with {status}", flush=True)
        if status != REBOOT:
            host.mark_off()
            return


def life(host, links):
    """One life of the host, from power-on to its end; returns nspawn's exit status."""
    arguments = ["systemd-nspawn", "--quiet", "--directory", str(host.root), "--keep-unit"]
    arguments += ["--register=no", f"--machine={host.machine_name}", f"--hostname={host.name}"]
    arguments += ["--boot", "--console=pipe"]
    arguments += ["--resolv-conf=off", "--timezone=off", "--link-journal=no"]
    arguments += ["--capability=CAP_NET_ADMIN,CAP_NET_RAW,CAP_SYS_NICE"]
    for interface, _ in host.machine.interfaces:
        network.discard(host.lab, host.name, interface)
        outer = network.outer_name(host.name, interface)
        arguments.append(f"--network-veth-extra={outer}:{interface}")
    for place, folder in host.shared_folders().items():
        folder.mkdir(parents=True, exist_ok=True)
        arguments.append(f"--bind={folder}:{place}")
    for device in host.machine.devices:
        if os.path.exists(device):
            arguments.append(f"--bind={device}")
    arguments += [f"--bind={folder}:{place}" for folder, place in host.volumes().items()]
    # Its own control group, before nspawn starts: else all hosts' systemds share one tree.
    command = cgroups.entering(cgroups.entrance(host.group), arguments)
    with (host.state / "console.log").open("ab") as console:
        nspawn = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT)
        outers = [network.outer_name(host.name, name) for name, _ in host.machine.interfaces]
        if links.wait(outers, gone=lambda: nspawn.poll() is not None, limit=30):
            host.plug_in()
        return nspawn.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
