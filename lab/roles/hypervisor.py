"""
A host of virtual machines: libvirt and qemu as they run in a container, and guests on a shared folder.

The guests have no operating system, only the boot sector below: they start in half a second, write a beat to
their disk about twice a second, and shut down when libvirt presses their power button.
"""

import os
import pathlib

from lab import disk

#: Where the shared folder is in a host; the default of the pillar.
STORAGE = "/srv/vms"
GUESTS = ("idm", "monitor-db", "repo", "syslog", "warewulf")
#: Whether a processor of KVM's runs, the kernel says; those of the other guests are emulated. Where the
#: machine is itself a virtual one, KVM makes a boot sector twenty times as slow: 5 s of a processor to start.
BY_KVM = "idm"
#: 512 bytes a sector. The second holds how often the guest has beaten, and booted: two numbers of 4 bytes.
BEATS = 512
SIZE = 1 << 20

#: For a processor in real mode; addresses of the power button are those of SeaBIOS (PM base 0x600).
BOOT_SECTOR = bytes.fromhex(
    "fa31c08ed88ec08ed0bc007c"  # cli; ds, es, ss = 0; sp = 0x7c00
    "8816fa7d"  # keep the number of the disk
    "b80001ba0206ef"  # have the power button noted: 0x100 to port 0x602
    "b80102e82f00"  # read sector 2 to 0x8000
    "66ff060480"  # one boot more
    "fb"  # sti
    "f4"  # again: hlt until the clock ticks, 18 times a second
    "fe06fb7df606fb7d07750b"  # at each eighth tick:
    "66ff060080"  # one beat more
    "b80103e81200"  # write sector 2
    "ba0006edf6c40174e0"  # the power button (bit 8 of port 0x600)? if not, again
    "ba0406b80020efebd7"  # off: 0x2000 to port 0x604
    "bb0080b90200b6008a16fa7dcd13c3"  # one sector between disk and 0x8000 (int 0x13)
)

DOMAIN = """\
<domain type='{kind}'>
  <name>shared-{name}</name>
  <uuid>{uuid}</uuid>
  <memory unit='MiB'>16</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type></os>
  <features><acpi/></features>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{emulator}</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='raw' cache='none'/>
      <source file='{storage}/{name}.img'/>
      <target dev='hda' bus='ide'/>
    </disk>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
  </devices>
</domain>
"""

#: An emulator that takes no lock of its own on its disks, so that virtlockd alone guards them.
UNLOCKED = "/usr/local/bin/qemu-without-locks"
UNLOCKED_TEXT = """\
#!/bin/sh
# qemu-system-x86_64 whose files are opened without qemu's own locks.
first=yes
for word; do
    [ $first = yes ] && set -- && first=no
    case "$word" in
    '{"driver":"file",'*) word='{"driver":"file","locking":"off",'"${word#'{"driver":"file",'}" ;;
    esac
    set -- "$@" "$word"
done
exec /usr/bin/qemu-system-x86_64 "$@"
"""


def provide(site, host):
    """Libvirt's configuration, and the guests' disks and definitions; nothing is started."""
    if "hypervisor" not in host.machine.roles:
        return
    qemu_conf = (host.root / "etc/libvirt/qemu.conf").read_text()
    # No control groups of its own and no other user: the container has neither to give.
    settings = ("cgroup_controllers = []", 'user = "root"', 'group = "root"')
    disk.write(host, "etc/libvirt/qemu.conf", qemu_conf + "".join(f"{line}\n" for line in settings), 0o600)
    # All hosts have the machine's firmware, and so its identity; libvirt would migrate to "the same host".
    libvirtd_conf = (host.root / "etc/libvirt/libvirtd.conf").read_text()
    identity = (host.root / "etc/machine-id").read_text().strip()
    disk.write(host, "etc/libvirt/libvirtd.conf", libvirtd_conf + f'host_uuid = "{identity}"\n')
    disk.write(host, UNLOCKED.lstrip("/"), UNLOCKED_TEXT, 0o755)
    shared = host.shared_folders()[STORAGE]
    shared.mkdir(parents=True, exist_ok=True)
    first = next(each.name for each in site.description.machines if "hypervisor" in each.roles)
    for name in GUESTS:
        make_disk(shared / f"{name}.img")
        if host.name == first:
            # The other one gets them as it does at a real site: lsyncd carries them.
            disk.write(host, f"etc/libvirt/qemu/shared-{name}.xml", definition(name), 0o600)


def make_disk(path):
    """A guest's disk, once for all hosts."""
    if not path.exists():
        path.write_bytes(BOOT_SECTOR.ljust(510, b"\0") + b"\x55\xaa" + bytes(SIZE - 512))


def definition(name, emulator="/usr/bin/qemu-system-x86_64"):
    """The domain of a guest as XML: of the one named ``BY_KVM`` by KVM, where the machine has it."""
    kind = "kvm" if name == BY_KVM and os.path.exists("/dev/kvm") else "qemu"
    uuid = f"6b8ac1a0-0000-4000-8000-{name.encode().hex()[:12].ljust(12, '0')}"
    return DOMAIN.format(kind=kind, name=name, uuid=uuid, storage=STORAGE, emulator=emulator)


def beats(path):
    """How often a guest has beaten and booted, by its disk: ``(beats, boots)``."""
    with open(path, "rb") as handle:
        handle.seek(BEATS)
        found = handle.read(8)
    return int.from_bytes(found[:4], "little"), int.from_bytes(found[4:], "little")


def emulators(pids):
    """Of some processes of the machine, those of guests: ``{pid: guest}``; a look from outside all hosts."""
    found = {}
    for pid in pids:
        try:
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        for before, word in zip(words, words[1:]):
            if before == b"-name" and word.startswith(b"guest="):
                found[pid] = word[len(b"guest=") :].split(b",")[0].decode()
    return found
