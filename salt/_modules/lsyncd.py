"""
Run lsyncd on the primary of a pair: its configuration, its start behind the gate, and what it has
still to do.

.. code-block:: bash

    salt salt1 lsyncd.managed salt test=True
    salt salt1 lsyncd.start salt
    salt salt1 lsyncd.status salt
    salt salt1 lsyncd.drain salt limit=120

Everything comes from ``/etc/failback/pairs/<pair>.json``, which highstate renders from pillar. The
unit ``lsyncd.service`` is that of ``salt/pair``; it asks the same gate as ``lsyncd.start``.
"""

import difflib
import json
import os
import secrets
import subprocess
import tempfile
import time

from salt.exceptions import CommandExecutionError

import salt_errors
from failback.decisions import roles
from failback.host import files
from failback.pair import Member
from failback.replication import gate
from failback.replication import in_step
from failback.replication import lsyncd_config
from failback.replication import lsyncd_status
from failback.replication import replicated
from salt_node import member as _member
from salt_node import paths as _paths

__virtualname__ = "lsyncd"

LSYNCD = "/usr/bin/lsyncd"

SERVICE = "lsyncd"

# Evaluates a configuration in lsyncd itself, with its checks of every key, and ends before lsyncd
# starts to watch or to copy anything. A folder may still be missing: the first sync of a new disk
# comes after highstate.
CHECK = """\
local count, real_settings = 0, settings
local real_sync = sync
sync = function(options)
	count = count + 1
	if type(options) == "table" and options.source then
		options.source = {folder}
	end
	return real_sync(options)
end
local checked = loadfile({path})
if not checked then
	io.stderr:write(select(2, loadfile({path})), "\\n")
	os.exit(3)
end
local good, problem = pcall(checked)
if not good then
	io.stderr:write(tostring(problem), "\\n")
	os.exit(3)
end
if settings ~= real_settings then
	io.stderr:write("settings is overwritten\\n")
	os.exit(3)
end
io.stdout:write({token}, " ", count, "\\n")
os.exit(0)
"""


def __virtual__():
    return __virtualname__


def _unit():
    return __salt__["service.show"](SERVICE)


@salt_errors.translated
def config(pair, rendered=None):
    """
    The configuration of lsyncd as it should be on this node now.

    CLI Example:

    .. code-block:: bash

        salt salt1 lsyncd.config salt

    pair
        Name of the pair.

    rendered
        The pair as ``pair.rendered`` gives it, the text of ``/etc/failback/pairs/<pair>.json``.
        Without it, the pair as this file has it.

    Returns the text, or None on a node that lsyncd has nothing to carry from: the secondary, and a
    pair without replicated paths. A path that does not exist yet is taken for a folder.
    """
    pair_config = _member(pair).config if rendered is None else json.loads(rendered)
    if roles.role(pair_config) != "primary" or not pair_config["replicate"]:
        return None
    paths = _paths()
    items = [
        replicated.items_on_disk(entry["path"], str(paths.root))[0] for entry in pair_config["replicate"]
    ]
    return lsyncd_config.render(Member.of(pair_config, paths), items)


def check(text):
    """
    Let lsyncd itself read a configuration. Nothing is watched and nothing is copied.

    CLI Example:

    .. code-block:: bash

        salt salt1 lsyncd.check 'settings{ insist = true }'

    text
        The configuration, a program in Lua.

    Returns the number of syncs in it. Raises ``CommandExecutionError`` with what lsyncd says
    against it.
    """
    token = secrets.token_hex(8)
    with tempfile.TemporaryDirectory(prefix="lsyncd-check-") as folder:
        candidate = os.path.join(folder, "candidate.lua")
        wrapper = os.path.join(folder, "check.lua")
        files.write_atomically(candidate, text)
        files.write_atomically(
            wrapper,
            CHECK.format(
                path=lsyncd_config.quote(candidate),
                folder=lsyncd_config.quote(folder),
                token=lsyncd_config.quote(token),
            ),
        )
        try:
            done = subprocess.run(
                [LSYNCD, "-nodaemon", wrapper],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=20,
                check=False,
            )
        except OSError as error:
            raise CommandExecutionError(f"The configuration of lsyncd cannot be checked: {error}") from error
        except subprocess.TimeoutExpired as error:
            raise CommandExecutionError(
                "The configuration of lsyncd cannot be checked: reading it does not end within 20 seconds."
            ) from error
        said = (done.stdout + done.stderr).replace(folder + "/candidate.lua", "the configuration")
    words = done.stdout.split()
    if done.returncode or words[-2:-1] != [token]:
        raise CommandExecutionError(f"lsyncd refuses the configuration: {said.strip() or 'it ended early.'}")
    if words[-1] == "0":
        raise CommandExecutionError("lsyncd refuses the configuration: it has nothing to watch.")
    return int(words[-1])


@salt_errors.translated
def managed(pair, rendered=None, test=False):
    """
    Put lsyncd's configuration in place, after lsyncd itself has read it without complaint.

    CLI Example:

    .. code-block:: bash

        salt salt1 lsyncd.managed salt test=True

    pair
        Name of the pair.

    rendered
        The pair as ``pair.rendered`` gives it. Highstate names it, because in test mode the file on
        the node is still the old one, or is not there yet.

    test
        Only say what would change. Where lsyncd is not installed yet, it is not asked.

    Returns the difference as text; empty when nothing is to be changed. On a node that lsyncd
    carries nothing from, a configuration of ours is removed. A configuration that lsyncd refuses
    raises ``CommandExecutionError`` and leaves the file as it was.
    """
    wanted = config(pair, rendered)
    path = lsyncd_config.places(Member(pair, _paths())).config
    try:
        present = path.read_text(errors="surrogateescape")
    except FileNotFoundError:
        present = None
    except OSError as error:
        raise CommandExecutionError(f"{path} cannot be read: {error}") from error
    if wanted is None and present is not None and not present.startswith(lsyncd_config.MARK):
        return ""
    if wanted == present:
        return ""
    if wanted is not None and not (test and not os.path.exists(LSYNCD)):
        check(wanted)
    difference = "".join(
        difflib.unified_diff(
            (present or "").splitlines(True),
            (wanted or "").splitlines(True),
            str(path),
            "as in pillar",
        )
    )
    if test:
        return difference
    try:
        if wanted is None:
            path.unlink()
        else:
            path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            files.write_atomically(path, wanted)
    except OSError as error:
        raise CommandExecutionError(f"{path} cannot be written: {error}") from error
    return difference


@salt_errors.translated
def status(pair):
    """
    Whether lsyncd runs here and what it has still to do, in a way that no dead daemon's file can
    fool.

    CLI Example:

    .. code-block:: bash

        salt salt1 lsyncd.status salt

    pair
        Name of the pair.

    Returns ``running``, ``pid``, ``since`` (seconds since 1970), ``waiting`` (number of changed
    names, None when not known), ``waiting_for`` (the first of them), ``watched`` (number of
    folders), ``status_age`` (seconds), ``trustworthy`` and ``why``; see
    ``failback.replication.lsyncd_status.observe``.
    """
    return lsyncd_status.observe(_member(pair), _unit())


@salt_errors.translated
def drain(pair, limit=60):
    """
    Wait until everything changed before this call is on the standby.

    Others may go on writing, but a file that is changed all the time may keep this from ending.

    CLI Example:

    .. code-block:: bash

        salt salt1 lsyncd.drain salt limit=120

    pair
        Name of the pair.

    limit
        Seconds to wait at most.

    Returns ``{"seconds": …, "carried": …}``. Raises ``CommandExecutionError`` with what still
    waits.
    """
    return lsyncd_status.drain(_member(pair), float(limit), _unit)


@salt_errors.translated
def first_pass(pair, limit=600):
    """
    Wait until the first pass of lsyncd has ended: the standby then has what this node has.

    CLI Example:

    .. code-block:: bash

        salt salt1 lsyncd.first_pass salt limit=3600

    pair
        Name of the pair.

    limit
        Seconds to wait at most.

    Returns ``{"seconds": …}``. Raises ``CommandExecutionError`` when it does not end in time, or cannot end
    because rsync fails again and again.
    """
    return lsyncd_status.first_pass(_member(pair), float(limit), _unit)


@salt_errors.translated
def start(pair, limit=60, anew=False):
    """
    Start lsyncd, if the gate allows it, with the configuration that fits now.

    lsyncd's first pass makes the standby like this node, deletions included. That is why the gate
    is asked, here and once more by the unit itself.

    CLI Example:

    .. code-block:: bash

        salt salt1 lsyncd.start salt

    pair
        Name of the pair.

    limit
        Seconds to wait at most until it has begun to watch every folder.

    anew
        True: it is started again where it runs, so that its first pass compares everything. What it has
        carried to a standby that has lost power since may be lost there, and it would not know.

    Returns True when it was started, False when it already ran with this configuration. One that began with
    another is started again. Raises ``CommandExecutionError`` with the gate's reason, or when
    it did not stay up. ``first_pass`` then waits for its first pass.
    """
    member = _member(pair)
    gate.require_lsyncd(member)
    wanted = config(pair)
    if wanted is None:
        raise CommandExecutionError(
            f"The pair {pair} replicates no paths, so there is nothing for lsyncd to do."
        )
    _require_folders(member)
    changed = managed(pair)
    unit = _unit()
    observed = lsyncd_status.observe(member, unit)
    running = observed["running"]
    if running and not changed and not anew and in_step.beats(member, observed["pid"]):
        if not lsyncd_status.has_begun(member, unit):
            # One that systemd starts again and again runs as well, whenever it was just started.
            _wait_until_up(member, float(limit))
        return False
    place = lsyncd_config.places(member)
    files.make_folder(place.marker)
    for left_over in (place.status, place.seen, place.mounted, place.failed):
        left_over.unlink(missing_ok=True)
    if not running:
        # An earlier refusal may have used up the unit's attempts.
        __salt__["cmd.retcode"](
            ["systemctl", "reset-failed", SERVICE],
            python_shell=False,
            ignore_retcode=True,
            output_loglevel="quiet",
        )
    # Also where it does not run for us: one that an init script has started before is active to systemd.
    __salt__["service.restart"](SERVICE)
    _wait_until_up(member, float(limit))
    return True


def _wait_until_up(member, limit):
    # A program that has been started proves nothing; its first status file does.
    pair = member.pair
    deadline = time.monotonic() + limit
    while True:
        state = _unit()
        found = lsyncd_status.observe(member, state)
        if found["trustworthy"]:
            return
        if not found["running"]:
            raise CommandExecutionError(
                f"lsyncd of {pair} did not stay up: systemd says {state.get('ActiveState')}, "
                f"{state.get('Result')}. "
                f"`journalctl -u {SERVICE}` on {member.node} has its last words."
            )
        if time.monotonic() > deadline:
            raise CommandExecutionError(
                f"lsyncd of {pair} runs but watches nothing after {limit:g} seconds. "
                f"{found['why']} With very many folders it may need longer: "
                f"`salt {member.node} lsyncd.status {pair}` shows when it is ready."
            )
        time.sleep(0.05)


def _require_folders(member):
    # lsyncd would end at once, and say so only in the journal.
    missing = [
        entry["path"]
        for entry in member.config["replicate"]
        for item in replicated.items_on_disk(entry["path"], str(member.paths.root))[:1]
        if not os.path.isdir(f"{member.paths.root}/{item.root}")
    ]
    if missing:
        raise CommandExecutionError(
            f"lsyncd of {member.pair} must not start: {', '.join(missing)} is missing on "
            f"{member.node}, and lsyncd would have nothing to carry. Is a file system not "
            "mounted? Mount it, or take the path out of the pillar."
        )


@salt_errors.translated
def stop(pair):
    """
    Stop lsyncd.

    CLI Example:

    .. code-block:: bash

        salt salt1 lsyncd.stop salt

    pair
        Name of the pair.

    Returns True when it was stopped, False when it did not run. Raises ``CommandExecutionError``
    when it goes on.
    """
    _member(pair)
    state = _unit()
    if state.get("ActiveState") not in ("active", "activating", "reloading", "deactivating"):
        return False
    __salt__["service.stop"](SERVICE)
    state = _unit()
    if state.get("ActiveState") in ("active", "activating", "reloading"):
        raise CommandExecutionError(
            f"lsyncd of {pair} does not stop: systemd says {state.get('ActiveState')}. "
            f"See `systemctl status {SERVICE}`."
        )
    return True
