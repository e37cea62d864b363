"""
The management boards of hosts of the lab: OpenIPMI's simulator, which switches real hosts off and on.

On the host with the role ``bmc`` a simulator for each of the site's boards speaks IPMI. What it is told to do
with the power it writes into a folder that the machine sees as well; :class:`Boards` does it from there.
While nobody does, a board does not know its host's power, as if it were broken.
"""

import contextlib
import threading
import time

from lab import disk
from lab.host import until

#: Where the folder is in the host; on the machine see ``Host.shared_folders``.
FOLDER = "/srv/boards"
USER, PASSWORD = "failback", "b0ard-Secret"
#: Seconds between two looks for what a board was told.
EVERY = 0.05

LAN = """\
name "{name}"
set_working_mc 0x20
  startlan 1
    addr 0.0.0.0 {port}
    priv_limit admin
    allowed_auths_callback none md2 md5 straight
    allowed_auths_user none md2 md5 straight
    allowed_auths_operator none md2 md5 straight
    allowed_auths_admin none md2 md5 straight
    guid a123456789abcdefa1234567{port}abcd
  endlan
  chassis_control "/usr/local/sbin/board-power {name}"
  user 1 true "" "" callback 10 none md2 md5 straight
  user 2 true "{user}" "{password}" admin 10 none md2 md5 straight
"""
EMULATOR = """\
mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr
mc_enable 0x20
"""
#: Called by the simulator: ``board-power <host> get power`` and ``board-power <host> set power 0``.
POWER = """\
#!/bin/sh
is={folder}/$1.is
case $2 in
get)
    read -r power < "$is" || exit 1
    printf 'power:%s\\n' "$power" ;;
set)
    printf '%s\\n' "$4" > {folder}/$1.told
    tries=0
    until [ "$(cat "$is" 2> /dev/null)" = "$4" ]; do
        tries=$((tries + 1))
        [ "$tries" -le 100 ] || exit 1
        sleep 0.1
    done ;;
esac
"""
UNIT = """\
[Unit]
Description=Management board of %i

[Service]
# A folder of its own: of two simulators that make one folder at once, one ends.
ExecStart=/usr/bin/ipmi_sim -n -c /etc/boards/%i.conf -f /etc/boards/%i.emu -s /var/lib/boards/%i
StateDirectory=boards/%i

[Install]
WantedBy=multi-user.target
"""


def provide(site, host):
    """For the role ``bmc``."""
    if "bmc" not in host.machine.roles:
        return
    for name, port in site.description.boards:
        text = LAN.format(name=name, port=port, user=USER, password=PASSWORD)
        disk.write(host, f"etc/boards/{name}.conf", text, mode=0o600)
        disk.write(host, f"etc/boards/{name}.emu", EMULATOR)
    disk.write(host, "usr/local/sbin/board-power", POWER.format(folder=FOLDER), mode=0o755)
    disk.write(host, "etc/systemd/system/board@.service", UNIT)


def fence(site):
    """What a pair has as ``fence`` in the pillar whose nodes are all that have boards."""
    (host,) = (one for one in site.hosts if "bmc" in one.machine.roles)
    login = {"username": USER, "password": PASSWORD, "lanplus": True, "cipher": 3}
    return {
        "nodes": {
            node: {"agent": "fence_ipmilan", "options": {"ip": host.address(), "ipport": port, **login}}
            for node, port in site.description.boards
        }
    }


class Boards(contextlib.AbstractContextManager):
    """
    Does what the boards are told, as long as the context lasts.

    site
        ``lab.site.Site``.

    host
        The host with the role ``bmc``; it runs.

    tell
        Called with the name of a host that was switched and ``off`` or ``on``, before its board shows it.
    """

    def __init__(self, site, host, tell=lambda name, what: None):
        self._hosts = {name: site.host(name) for name, _ in site.description.boards}
        self._site, self._tell = site, tell
        self._board_host = host
        self._folder = host.shared_folders()[FOLDER]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        #: What was done: ``(seconds of the monotonic clock, host, "off" or "on")``.
        self.done = []

    def __enter__(self):
        for name in self._hosts:
            (self._folder / f"{name}.told").unlink(missing_ok=True)
            self._show(name)
        self._thread.start()
        with contextlib.ExitStack() as undo:
            undo.callback(self._end)
            self._board_host.run(["systemctl", "start", *self._units()])
            for name, port in self._site.description.boards:
                self._wait_answers(name, port)
            undo.pop_all()
        return self

    def __exit__(self, *_):
        self._end()

    def _end(self):
        self._ended.set()
        self._thread.join()
        self._board_host.run(["systemctl", "stop", *self._units()])
        for name in self._hosts:
            (self._folder / f"{name}.is").unlink(missing_ok=True)

    def _units(self):
        return [f"board@{name}.service" for name in self._hosts]

    def _wait_answers(self, name, port):
        asked = ["ipmitool", "-I", "lanplus", "-H", self._board_host.address(), "-p", str(port), "-C", "3"]
        asked += ["-U", USER, "-P", PASSWORD, "chassis", "power", "status"]
        until(
            lambda: " is o" in self._board_host.run(asked, check=False).stdout,
            60,
            lambda: f"the board of {name} to know its host's power: {self._said_by(name)}",
        )

    def _said_by(self, name):
        journal = ["journalctl", "--lines=5", "--output=cat", f"--unit=board@{name}.service"]
        return self._board_host.run(journal).stdout.strip()

    def _work(self):
        while not self._ended.wait(EVERY):
            for name, host in self._hosts.items():
                with contextlib.suppress(FileNotFoundError):
                    told = (self._folder / f"{name}.told").read_text().strip()
                    (self._folder / f"{name}.told").unlink()
                    if told == "0" and host.running:
                        host.power_off()
                        self._was_switched(name, "off")
                    elif told == "1" and not host.running:
                        host.power_on(wait=False)
                        self._was_switched(name, "on")
                self._show(name)

    def _was_switched(self, name, what):
        self.done.append((time.monotonic(), name, what))
        self._tell(name, what)

    def _show(self, name):
        place = self._folder / f"{name}.is"
        new = place.with_suffix(".new")
        new.write_text(f"{int(self._hosts[name].running)}\n")
        new.replace(place)
