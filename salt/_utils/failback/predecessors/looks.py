"""
What looked after a pair on this node before Failback: cron, units, keepalived, Pacemaker, lsyncd.

Nothing is changed but for :func:`keep`, which copies what is going to be replaced.

:py:mod:`failback.decisions.predecessors` judges it.
"""

import contextlib
import ipaddress
import os
import pathlib

from failback.decisions import clusters
from failback.decisions import predecessors
from failback.decisions import roles
from failback.decisions import scripts
from failback.errors import FailbackError
from failback.host import files
from failback.host import system
from failback.predecessors import set_up
from failback.replication import lsyncd_config

#: Seconds for systemd to say something of a unit.
ASKED_WITHIN = 10
CRON = (("etc", "crontab"), ("etc/cron.d", "*"), ("var/spool/cron/crontabs", "*"), ("var/spool/cron", "*"))
#: Scripts that run when an interface comes up.
HOOKS = (
    ("etc/network/if-pre-up.d", "*"),
    ("etc/network/if-up.d", "*"),
    ("etc/NetworkManager/dispatcher.d", "*"),
    ("etc/networkd-dispatcher", "*/*"),
    ("etc", "rc.local"),
)
UNITS = "etc/systemd/system"
KEEPALIVED = "etc/keepalived/keepalived.conf"
CIB = "var/lib/pacemaker/cib/cib.xml"
LSYNCD_UNIT = "etc/systemd/system/lsyncd.service"
LSYNCD_CONFIGURATION = "etc/lsyncd/lsyncd.conf.lua"
#: With this in it, a file of cron is one that highstate has written.
OURS = "Managed by Salt (pair."
#: Folder of the copies, below the pair's state.
KEPT = "replaced"


def facts(member):
    """
    Look at what is there.

    member
        :py:class:`failback.pair.Member`, of the configuration that the pillar has.

    Returns a dict of JSON types: ``node``; ``begun``, whether it has a ledger; ``set_up``, as
    ``set_up.configured``; ``programs``, a list of ``{"file", "line", "script", "does", "what", "by",
    "off"}``;
    ``keepalived``, as ``clusters.keepalived`` with the ``file``; ``cluster``, as ``clusters.resources``, both
    of what is the pair's; ``units``, by name ``{"active", "enabled"}``; ``lsyncd``, its processes as
    ``{"pid", "unit"}``; ``replaced``, as :func:`replaced`; ``enabled``, the pair's services that a boot
    starts; ``unread``, sentences.
    """
    config, root = member.config, member.paths.root
    addresses = [one["address"] for one in config["floating_ips"]]
    bare = {str(ipaddress.ip_interface(one).ip) for one in addresses}
    services = {
        one["name"].removesuffix(".service") for one in (*config["services"], *config["active_services"])
    }
    unread = []
    begun = member.ledger.path.exists()
    return {
        "node": member.node,
        "begun": begun,
        "set_up": set_up.configured(addresses, root),
        "programs": _programs(config, root, bare),
        "keepalived": [one for one in _keepalived(root) if one["address"] in bare],
        "cluster": [
            one
            for one in _cluster(root, unread)
            if one["address"] in bare or one["unit"] in {*services, "lsyncd"}
        ],
        "units": {one: _unit(f"{one}.service") for one in ("keepalived", "pacemaker", "corosync")},
        # Those of an adopted pair are its own.
        "lsyncd": [] if begun else processes(root / "proc"),
        "replaced": replaced(member),
        "enabled": []
        if begun
        else sorted(one for one in services if _unit(f"{one}.service")["enabled"] == "enabled"),
        "unread": unread,
    }


def _unit(name):
    """What systemd says of a unit: whether it runs, and whether a boot starts it."""
    said = {}
    for word, key in (("is-active", "active"), ("is-enabled", "enabled")):
        with contextlib.suppress(FailbackError):
            found = system.run(
                ["systemctl", word, name],
                ASKED_WITHIN,
                f"ask systemd about {name}",
                accept=tuple(range(256)),
            )
            said[key] = found.strip().splitlines()[-1] if found.strip() else ""
    return {"active": said.get("active", ""), "enabled": said.get("enabled", "")}


def _programs(config, root, addresses):
    """Lines of cron, units, hooks, and of the scripts that these start, which have to do with the pair."""
    found = []
    for by, path, lines in _starters(root):
        for number, line in lines:
            found += _of_line(config, root, addresses, (by, path, number), line)
    for one in found:
        name = one["file"].rpartition("/")[2]
        if one["by"] == "systemd":
            units = [_unit(name), _unit(f"{name.removesuffix('.service')}.timer")]
            one["off"] = not any(predecessors.at_work(unit) for unit in units)
    unique = {(one["file"], one["script"], one["does"], one["what"]): one for one in reversed(found)}
    return list(reversed(unique.values()))


def _starters(root):
    """What is started without a person: ``(by, path, [(line number, text)])``."""
    for place, pattern in CRON:
        for path in sorted((root / place).glob(pattern)):
            text = set_up.text_of(path)
            if text is not None and OURS not in text:
                yield "cron", path, _lines(text)
    for path in sorted((root / UNITS).glob("*.service")):
        # A link into the distribution's folder is an enabled unit of a package.
        text = None if path.is_symlink() else set_up.text_of(path)
        if text is not None and "usr/local/sbin/failback" not in text and path.name != "lsyncd.service":
            yield "systemd", path, [one for one in _lines(text) if one[1].startswith("Exec")]
    for place, pattern in HOOKS:
        for path in sorted((root / place).glob(pattern)):
            text = set_up.text_of(path)
            if text is not None and os.access(path, os.X_OK):
                yield "when an interface comes up", path, [(0, f"/{path.relative_to(root)}")]


def _lines(text):
    return [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if not line.lstrip().startswith("#")
    ]


def _of_line(config, root, addresses, where, line):
    by, path, number = where
    other = roles.peer(config)
    others = {other["id"], other["host"]}
    paths = [one["path"] for one in config["replicate"]]
    texts = [(None, number, line)] if number else []
    for program in scripts.programs(line):
        script = root / program.lstrip("/")
        text = set_up.text_of(script)
        if text is not None and "\0" not in text and program != "/usr/local/sbin/failback":
            texts.append((program, None, text))
    for script, at, text in texts:
        for address in sorted(addresses) or [""]:
            for deed in scripts.does(text, address, paths, others):
                yield {
                    "file": f"/{path.relative_to(root)}",
                    "line": at or deed.line,
                    "script": script if script != f"/{path.relative_to(root)}" else None,
                    "does": deed.does,
                    "what": deed.what,
                    "by": by,
                    "off": False,
                }


def _keepalived(root):
    """What keepalived has, its included files as well."""
    left, seen = [root / KEEPALIVED], set()
    while left:
        path = left.pop(0)
        text = set_up.text_of(path)
        if text is None or path in seen:
            continue
        seen.add(path)
        for one in clusters.keepalived(text):
            yield {**one, "file": f"/{path.relative_to(root)}"}
        for pattern in clusters.included(text):
            pattern = pattern.lstrip("/") if pattern.startswith("/") else f"etc/keepalived/{pattern}"
            left += sorted(root.glob(pattern))


def _cluster(root, unread):
    text = set_up.text_of(root / CIB)
    if text is None:
        return []
    try:
        return clusters.resources(text)
    except FailbackError as error:
        unread.append(f"/{CIB}: {error}")
        return []


def processes(proc):
    """
    The processes of lsyncd that are no children of another one: a list of ``{"pid", "unit"}``.

    Those in a container of this host carry the files of that one.

    proc
        Where proc(5) is.
    """
    found = {}
    for folder in pathlib.Path(proc).glob("[0-9]*"):
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if (folder / "comm").read_text().strip() != "lsyncd":
                continue
            if _in_container((folder / "status").read_text()):
                continue
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
            groups = (folder / "cgroup").read_text().split()
            units = [one.rpartition("/")[2] for one in groups if one.endswith((".service", ".scope"))]
            found[folder.name] = (parent, units[0] if units else None)
    return [
        {"pid": int(pid), "unit": unit}
        for pid, (parent, unit) in sorted(found.items())
        if parent not in found
    ]


def _in_container(status):
    """Whether a process has an id of its own in a namespace below that of ``/proc`` (proc_pid_status(5))."""
    ids = next((line.split()[1:] for line in status.splitlines() if line.startswith("NSpid:")), [])
    return len(ids) > 1


def replaced(member):
    """
    The site's own files in whose place highstate puts its own.

    Returns a list of ``{"file", "what", "kept"}``, the last one where :func:`keep` has its copy.
    """
    config, root = member.config, member.paths.root
    mine = roles.role(config)
    candidates = [(LSYNCD_UNIT, "/usr/local/sbin/failback", "the unit of lsyncd asks the gate")]
    if mine == "primary" and config["replicate"]:
        candidates.append((LSYNCD_CONFIGURATION, lsyncd_config.MARK, "what lsyncd carries is the pair's"))
    crons = {one["watch"]["cron"] for one in config["floating_ips"] if one["watch"]["on"] in ("both", mine)}
    candidates += [(f"etc/cron.d/{one}", OURS, "it starts the watch") for one in sorted(crons)]
    found = []
    for place, mark, what in candidates:
        path = root / place
        text = set_up.text_of(path)
        if text is not None and mark not in text:
            found.append({"file": f"/{place}", "what": what, "kept": str(_copy(member, place))})
    return found


def _copy(member, place):
    return member.state / KEPT / place.replace("/", "-")


def keep(member):
    """
    Copy the files that highstate is going to replace; a copy that is there already stays.

    Returns the copies that were made, as paths.
    """
    made = []
    for one in replaced(member):
        copy = _copy(member, one["file"].lstrip("/"))
        if not copy.exists():
            files.write_atomically(copy, (member.paths.root / one["file"].lstrip("/")).read_bytes())
            made.append(str(copy))
    return made
