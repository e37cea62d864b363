"""The small file service of lab/load.py, and the tools that look at the lab from inside a host."""

import pathlib

from lab import disk

LAB = pathlib.Path(__file__).resolve().parent.parent
TOOLS = "usr/local/lib/failback-lab"


def provide(site, host):
    """The tools on every host; the service on those with the role ``writer``."""
    for name in ("load.py", "probe.py"):
        disk.write(host, f"{TOOLS}/{name}", (LAB / name).read_text(), 0o755)
    disk.copy(host, LAB / "files" / "host")
    if "writer" in host.machine.roles:
        disk.folder(host, "srv/salt/files")
        disk.enable(host, "lab-writer.service")
