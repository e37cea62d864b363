"""The two switches inside Nagios, with a real command pipe and a process that answers as Nagios does."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import threading
import time

import pytest

from failback import cli
from failback.errors import Unavailable
from failback.errors import Unreadable
from failback.host import nagios
from failback.pillar import normalise

STATUS = """\
########################################
#          NAGIOS STATUS FILE
########################################
info {{
	created={created}
	version=4.4.6
	}}

programstatus {{
	modified_host_attributes=0
	nagios_pid={pid}
	daemon_mode=1
	check_external_commands={commands}
	enable_notifications={notifications}
	enable_event_handlers={event_handlers}
	}}

hoststatus {{
	host_name=client
	enable_notifications=1
	}}
"""


class Nagios:
    """Reads its command pipe, and writes its status file a little later."""

    def __init__(self, folder):
        self.folder = folder
        self.configuration = folder / "nagios.cfg"
        self.pipe = folder / "nagios.cmd"
        self.status = folder / "status.dat"
        self.on = {"notifications": 1, "event_handlers": 1}
        self.obeys = True
        self.commands = []
        self.configuration.write_text(
            "# command_file=/nowhere\n"
            f"command_file={self.pipe}\n"
            f"status_file = {self.status}\n"
            "status_update_interval=1\n"
            "cfg_dir=/etc/nagios4/conf.d\n"
        )
        os.mkfifo(self.pipe)
        program = folder / "nagios4"
        shutil.copy("/bin/sleep", program)
        self.process = subprocess.Popen([str(program), "600"])
        # On a busy machine it has no command line yet, as one that is dead.
        while not pathlib.Path(f"/proc/{self.process.pid}/cmdline").read_bytes():
            time.sleep(0.01)
        self._reader = os.open(self.pipe, os.O_RDONLY | os.O_NONBLOCK)
        self._ends = threading.Event()
        self.write()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def write(self):
        text = STATUS.format(
            created=int(time.time()), pid=self.process.pid, commands=int(self.obeys), **self.on
        )
        new = self.folder / "status.new"
        new.write_text(text)
        new.rename(self.status)

    def _run(self):
        while not self._ends.wait(0.05):
            try:
                text = os.read(self._reader, 4096).decode()
            except BlockingIOError:
                text = ""
            for line in text.splitlines():
                self.commands.append(line)
                verb, _, what = line.partition("] ")[2].partition("_")
                if self.obeys:
                    self.on[what.lower()] = int(verb == "ENABLE")
            self.write()

    def dies(self):
        """Killed: its pipe and its last status file stay behind."""
        self.ends()

    def ends(self):
        self._ends.set()
        self._thread.join()
        if self._reader is not None:
            os.close(self._reader)
            self._reader = None
        self.process.kill()
        self.process.wait()


@pytest.fixture
def daemon(tmp_path, monkeypatch):
    monkeypatch.setattr(nagios, "SHOWS_WITHIN", 2.0)
    daemon = Nagios(tmp_path)
    yield daemon
    daemon.ends()


def known(daemon):
    return nagios.settings(daemon.configuration, "nagios4")


def failback(daemon, *words):
    """The program's exit status."""
    return cli.main(["nagios", "--config", str(daemon.configuration), *words])


def test_the_paths_come_from_the_configuration_of_nagios(daemon):
    assert known(daemon) == {
        "command_file": str(daemon.pipe),
        "status_file": str(daemon.status),
        "interval": 1.0,
        "unit": "nagios4",
    }


@pytest.mark.parametrize(
    "text", ["", "command_file=/a\n", "command_file=\nstatus_file=/a\n", "status_file=x\n"]
)
def test_a_configuration_without_the_paths_is_named(tmp_path, text):
    path = tmp_path / "nagios.cfg"
    path.write_text(text)
    with pytest.raises(Unreadable, match="does not say where"):
        nagios.settings(path, "nagios4")
    with pytest.raises(Unreadable, match="cannot be read"):
        nagios.settings(tmp_path / "absent.cfg", "nagios4")


@pytest.mark.parametrize("switch", sorted(nagios.SWITCHES))
def test_a_switch_is_turned_and_proved_by_nagios_itself(daemon, switch):
    other = next(one for one in nagios.SWITCHES if one != switch)
    assert failback(daemon, switch, "status") == 0
    assert failback(daemon, switch, "off") == 0
    assert daemon.on == {switch: 0, other: 1}
    assert failback(daemon, switch, "status") == 3
    assert failback(daemon, other, "status") == 0
    assert nagios.turn(switch, True, known(daemon)) is True
    assert nagios.turn(switch, True, known(daemon)) is False
    assert daemon.on == {switch: 1, other: 1}
    assert [line.partition("] ")[2] for line in daemon.commands] == [
        f"DISABLE_{switch.upper()}",
        f"ENABLE_{switch.upper()}",
        f"ENABLE_{switch.upper()}",
    ]
    for line in daemon.commands:
        assert abs(int(line[1:].partition("]")[0]) - time.time()) < 60


def test_a_nagios_that_does_not_follow_is_named(daemon, capsys):
    daemon.obeys = False
    assert failback(daemon, "notifications", "off") == 1
    assert "has not done so within 3 s (check_external_commands is 0)" in capsys.readouterr().err


def test_what_is_said_to_be_so_already_is_proved_anew(daemon):
    """Its status file may be older than the command of somebody else."""
    daemon.on["notifications"] = 0
    assert nagios.turn("notifications", False, known(daemon)) in (True, False)
    assert daemon.commands and daemon.on["notifications"] == 0


@pytest.mark.parametrize("do, status", [("status", 4), ("on", 1), ("off", 1)])
def test_a_nagios_that_was_killed_is_not_believed(daemon, capsys, do, status):
    daemon.dies()
    assert failback(daemon, "notifications", do) == status
    said = capsys.readouterr().err
    assert "Nagios does not run here" in said and "systemctl start nagios4" in said
    assert daemon.commands == []


def test_a_nagios_that_was_killed_and_not_waited_for_is_dead(daemon):
    daemon.process.kill()
    os.waitid(os.P_PID, daemon.process.pid, os.WEXITED | os.WNOWAIT)
    assert failback(daemon, "notifications", "status") == 4


def test_nothing_is_left_in_the_pipe_for_a_nagios_of_tomorrow(daemon):
    daemon.dies()
    with pytest.raises(Unavailable, match="nobody reads"):
        nagios.send("ENABLE_NOTIFICATIONS", known(daemon), time.time())
    daemon.pipe.unlink()
    with pytest.raises(Unavailable, match="nobody reads"):
        nagios.send("ENABLE_NOTIFICATIONS", known(daemon), time.time())


def test_an_ordinary_file_in_the_place_of_the_pipe_is_not_written(daemon):
    daemon.dies()
    daemon.pipe.unlink()
    daemon.pipe.write_text("kept\n")
    with pytest.raises(Unavailable, match="no pipe"):
        nagios.send("ENABLE_NOTIFICATIONS", known(daemon), time.time())
    assert daemon.pipe.read_text() == "kept\n"


def test_another_process_with_the_number_of_nagios_is_not_nagios(daemon):
    daemon.status.write_text(
        STATUS.format(created=1, pid=os.getpid(), commands=1, notifications=1, event_handlers=1)
    )
    daemon._ends.set()
    daemon._thread.join()
    daemon.status.write_text(
        STATUS.format(created=1, pid=os.getpid(), commands=1, notifications=1, event_handlers=1)
    )
    assert failback(daemon, "notifications", "status") == 4


@pytest.mark.parametrize(
    "text",
    [
        "",
        "info {\n created=1\n }\n",
        "programstatus {\n nagios_pid=1\n",
        "hoststatus {\n enable_notifications=1\n }\n",
    ],
)
def test_half_a_status_file_says_nothing(text):
    with pytest.raises(Unreadable):
        nagios.program_status(text)


def test_the_switches_of_single_hosts_are_not_taken_for_those_of_nagios():
    text = STATUS.format(created=1, pid=1, commands=1, notifications=0, event_handlers=1)
    assert nagios.program_status(text)["enable_notifications"] == "0"


# --- their units -------------------------------------------------------------------------------


def active_service(entry):
    data = {"primary": "monitor1", "secondary": "monitor2", "active_services": [entry]}
    return normalise.normalise("monitor", data)["active_services"][0]


@pytest.mark.parametrize("name", ["nagios-notifications", "nagios-notifications.service"])
def test_the_pillar_needs_only_the_name(name):
    found = active_service(name)
    assert found["status"] == ["/usr/local/sbin/failback", "nagios", "notifications", "status"]
    assert nagios.unit_commands(found) == {
        "name": "nagios-notifications.service",
        "on": '"/usr/local/sbin/failback" "nagios" "notifications" "on"',
        "off": '"/usr/local/sbin/failback" "nagios" "notifications" "off"',
    }


def test_a_nagios_elsewhere_is_named_once_in_the_pillar():
    status = nagios.status_command("event_handlers", '/opt/100%/na"gios$.cfg')
    found = nagios.unit_commands(active_service({"name": "nagios-event_handlers", "status": status}))
    assert found["on"] == (
        '"/usr/local/sbin/failback" "nagios" "--config" "/opt/100%%/na\\"gios$$.cfg" "event_handlers" "on"'
    )


@pytest.mark.parametrize(
    "entry",
    [
        "nginx",
        "nagios4",
        {"name": "nginx", "status": ["true"]},
        {"name": "nagios-notifications", "status": ["x"]},
    ],
)
def test_other_units_are_the_sites_own(entry):
    assert nagios.unit_commands(active_service(entry)) is None


# --- one that is half there ---------------------------------------------------------------------------


@pytest.fixture
def half(tmp_path):
    """A folder with what Nagios has written; nobody reads its commands. Its settings."""
    (tmp_path / "nagios.cmd").mkdir()
    return {
        "command_file": str(tmp_path / "nagios.cmd"),
        "status_file": str(tmp_path / "status.dat"),
        "interval": 0.0,
        "unit": "nagios4",
    }


def written(half, **changes):
    given = {"created": 1, "pid": 1, "commands": 1, "notifications": 1, "event_handlers": 1, **changes}
    with open(half["status_file"], "w") as handle:
        handle.write(STATUS.format(**given))


def test_a_nagios_without_a_status_file_does_not_run(half):
    with pytest.raises(Unavailable, match="does not run here: .*status.dat cannot be read, No such file"):
        nagios.look(half)


@pytest.mark.parametrize("pid", ["", "none", "0", "-1", str(2**22 + 1)])
def test_a_nagios_without_a_process_does_not_run(half, pid):
    written(half, pid=pid)
    with pytest.raises(Unavailable, match=f"written by process {pid or 'unknown'}, which is not there"):
        nagios.look(half)


@pytest.mark.parametrize("value", ["", "2", "yes"])
def test_a_switch_that_nagios_does_not_name_is_neither_on_nor_off(daemon, value):
    daemon._ends.set()
    daemon._thread.join()
    daemon.on["notifications"] = value
    daemon.write()
    with pytest.raises(Unavailable, match="does not say whether its notifications are on"):
        nagios.is_on("notifications", known(daemon))
    assert nagios.is_on("event_handlers", known(daemon)) is True


def test_a_command_file_that_is_no_file_is_named(half):
    with pytest.raises(Unavailable, match="Nagios cannot be told anything: .*nagios.cmd: Is a directory"):
        nagios.send("ENABLE_NOTIFICATIONS", half, 1)


def test_a_nagios_that_reads_nothing_any_more_keeps_nobody_waiting(half, tmp_path):
    (tmp_path / "nagios.cmd").rmdir()
    os.mkfifo(half["command_file"])
    reader = os.open(half["command_file"], os.O_RDONLY | os.O_NONBLOCK)
    try:
        writer = os.open(half["command_file"], os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while os.write(writer, b"\0" * 4096):
                continue
        os.close(writer)
        open_before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(Unavailable, match="Nagios does not take commands: .*temporarily unavailable"):
            nagios.send("ENABLE_NOTIFICATIONS", half, 1)
        assert len(os.listdir("/proc/self/fd")) == open_before
    finally:
        os.close(reader)
