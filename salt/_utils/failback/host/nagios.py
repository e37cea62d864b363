"""
Two switches inside Nagios: does it notify people, and does it run event handlers?

Both nodes of a pair check; only the active one may notify and handle. Nagios keeps the switches itself and
can be told from elsewhere (its web pages, its command file, a restart that remembers), so the truth is
asked of Nagios: the units ``nagios-notifications`` and ``nagios-event_handlers`` only say who was told.

.. code-block:: bash

    failback nagios notifications status

Formats: nagios.cfg and the status file of Nagios Core 4 (``xdata/xsddefault.c``); its external commands
``ENABLE_NOTIFICATIONS``, ``DISABLE_NOTIFICATIONS``, ``START_…`` are named in ``base/commands.c``.
"""

import errno
import os
import pathlib
import stat
import time

from failback.errors import FailbackError
from failback.errors import Unavailable
from failback.errors import Unreadable

PROGRAM = "/usr/local/sbin/failback"

#: Name of a switch to its part of the external command; the status file has ``enable_<name>``.
SWITCHES = {"notifications": "NOTIFICATIONS", "event_handlers": "EVENT_HANDLERS"}

#: Exit statuses of ``status``, as an LSB init script's.
ON, OFF, UNKNOWN = 0, 3, 4

#: Seconds within which a command must show, beyond the time between two writings of the status file.
SHOWS_WITHIN = 10.0


def unit(switch):
    """The name of the unit that turns a switch on when started, and off when stopped."""
    return f"nagios-{switch}"


def status_command(switch, configuration=None):
    """The command that asks for a switch: the ``status`` of its unit in the pillar, if that names none."""
    option = ["--config", configuration] if configuration else []
    return [PROGRAM, "nagios", *option, switch, "status"]


def default_status(name):
    """What tells the truth about a service of that name, if it is one of the switches; else None."""
    known = {unit(switch): switch for switch in SWITCHES}
    bare = name[: -len(".service")] if name.endswith(".service") else name
    return status_command(known[bare]) if bare in known else None


def unit_commands(service):
    """
    The commands of the unit of a switch. Pure.

    service
        Normalised entry of ``active_services``.

    Returns ``{"name": unit, "on": words, "off": words}``, or None for a service that is no switch, or
    whose ``status`` is the site's own: then its unit is the site's as well.
    """
    words = list(service.get("status") or ())
    ours = words[:2] == [PROGRAM, "nagios"] and words[-1:] == ["status"]
    if not ours or default_status(service["name"]) is None:
        return None
    name = service["name"] if service["name"].endswith(".service") else f"{service['name']}.service"
    commands = {verb: " ".join(_quoted(word) for word in [*words[:-1], verb]) for verb in ("on", "off")}
    return {"name": name, **commands}


def _quoted(word):
    """A word of a command line in a unit file (systemd.service(5), systemd.syntax(7))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def settings(path, nagios_unit):
    """
    What this module needs to know of Nagios on this node.

    path
        Of nagios.cfg.

    nagios_unit
        The unit of Nagios, which the refusals name; see ``failback.host.distribution``.

    Returns ``{"command_file", "status_file", "interval", "unit"}``: two paths, the seconds between two
    writings of the status file, and the unit. Raises ``Unreadable`` when the file or one of the paths is
    missing.
    """
    try:
        text = pathlib.Path(path).read_text(errors="replace")
    except OSError as error:
        raise Unreadable(f"{path}, the configuration of Nagios, cannot be read: {error.strerror}.") from error
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.lstrip().startswith("#"):
            found[key.strip()] = value.strip()
    for key in ("command_file", "status_file"):
        if not found.get(key, "").startswith("/"):
            raise Unreadable(f"{path} does not say where Nagios has its {key}.")
    interval = found.get("status_update_interval", "")
    return {
        "command_file": found["command_file"],
        "status_file": found["status_file"],
        # Nagios' own default (base/config.c: DEFAULT_STATUS_UPDATE_INTERVAL).
        "interval": float(interval) if interval.isdigit() else 60.0,
        "unit": nagios_unit,
    }


def program_status(text):
    """
    The part of Nagios' status file that is about Nagios itself. Pure.

    text
        The beginning of the file, or all of it.

    Returns a dict of texts: the keys of the blocks ``info`` and ``programstatus``. Raises ``Unreadable``
    when there is no whole block ``programstatus``.
    """
    found, block = {}, None
    for line in text.splitlines():
        line = line.strip()
        if line.endswith("{"):
            block = line[:-1].strip()
        elif line == "}":
            if block == "programstatus":
                return found
            block = None
        elif block in ("info", "programstatus"):
            key, _, value = line.partition("=")
            found[key] = value
    raise Unreadable("Nagios' status file says nothing of Nagios itself.")


def look(settings):
    """
    Look at what Nagios says of itself.

    settings
        From :func:`settings`.

    Returns what :func:`program_status` returns. Raises ``Unavailable`` when Nagios does not run: what is
    in its files is then history.
    """
    path = settings["status_file"]
    try:
        with open(path, errors="replace") as handle:
            # It begins with these blocks; thousands of hosts and services follow.
            status = program_status(handle.read(65536))
    except OSError as error:
        raise Unavailable(
            f"Nagios does not run here: {path} cannot be read, {error.strerror}. Start it: systemctl start "
            f"{settings['unit']}"
        ) from error
    pid = status.get("nagios_pid", "")
    try:
        process = pathlib.Path(f"/proc/{int(pid)}")
        # One that has been killed and not yet waited for still has its name, but no command line.
        name = process.joinpath("comm").read_text() if process.joinpath("cmdline").read_bytes() else ""
    except (OSError, ValueError):
        name = ""
    if "nagios" not in name:
        raise Unavailable(
            f"Nagios does not run here: {path} was written by process {pid or 'unknown'}, which is not there "
            f"any more. Start it: systemctl start {settings['unit']}"
        )
    return status


def is_on(switch, settings):
    """
    Ask Nagios whether a switch is on.

    switch
        A name of ``SWITCHES``.

    Returns True or False. Raises ``Unavailable`` when Nagios does not run or does not say.
    """
    return _value(switch, look(settings))


def _value(switch, status):
    value = status.get(f"enable_{switch}")
    if value not in ("0", "1"):
        raise Unavailable(f"Nagios does not say whether its {switch} are on ({value!r}).")
    return value == "1"


def turn(switch, on, settings):
    """
    Turn a switch on or off, and wait until Nagios says so.

    Returns True when that changed something. Raises ``Unavailable`` when Nagios does not run, does not
    take commands, or does not follow.
    """
    before = is_on(switch, settings)
    verb = "ENABLE" if on else "DISABLE"
    sent = time.time()
    # Also when it is said to be so already: what the file says may be older than another's command.
    send(f"{verb}_{SWITCHES[switch]}", settings, sent)
    limit = settings["interval"] + SHOWS_WITHIN
    end = time.monotonic() + limit
    while True:
        try:
            status = look(settings)
            # Written in the second of the command it may not have seen the command yet.
            if int(status.get("created", "0") or 0) > int(sent) and _value(switch, status) is on:
                return before is not on
            why = f"check_external_commands is {status.get('check_external_commands', 'unknown')}"
        except FailbackError as error:
            why = str(error)
        if time.monotonic() >= end:
            raise Unavailable(
                f"Nagios was asked to turn its {switch} {'on' if on else 'off'} and has not done so within "
                f"{limit:.0f} s ({why})."
            )
        time.sleep(0.1)


def send(command, settings, now):
    """
    Write one external command into Nagios' command file.

    command
        Without its time: ``DISABLE_NOTIFICATIONS``.

    now
        Seconds since the epoch.

    Raises ``Unavailable`` when nobody reads it: then it would wait there for the Nagios of tomorrow.
    """
    path = settings["command_file"]
    try:
        # Without O_NONBLOCK this waits for a reader for ever.
        pipe = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        if error.errno in (errno.ENXIO, errno.ENOENT):
            raise Unavailable(
                f"Nagios does not run here: nobody reads its command file {path}. Start it: systemctl start "
                f"{settings['unit']}"
            ) from error
        raise Unavailable(f"Nagios cannot be told anything: {path}: {error.strerror}.") from error
    try:
        if not stat.S_ISFIFO(os.fstat(pipe).st_mode):
            raise Unavailable(f"{path} is no pipe, so it is not the command file of a Nagios that runs.")
        os.write(pipe, f"[{int(now)}] {command}\n".encode())
    except OSError as error:
        raise Unavailable(f"Nagios does not take commands: {path}: {error.strerror}.") from error
    finally:
        os.close(pipe)
