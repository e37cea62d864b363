"""
What a line of a script, of cron or of a unit does with an address or a path. Pure, and a good guess.

    does(text, "10.0.0.5", ("/srv/www",), ("web2", "10.0.0.82"))  ->  [Deed("takes", 4, "10.0.0.5")]

A script may do anything in any way. What is found here are the words that administrators write: ``ip address
add``, ``ifconfig``, ``lsyncd``, ``rsync`` with a path and the other node.
"""

from __future__ import annotations

import dataclasses
import re

#: What carries files from one host to another.
CARRIERS = ("rsync", "unison", "scp", "csync2", "osync")
#: What a line does: it takes an address, starts lsyncd, carries a path to or from the other node; or it says
#: an address and nothing is known of what it does with it.
TAKES, STARTS_LSYNCD, CARRIES, MENTIONS = "takes", "lsyncd", "carries", "mentions"

#: Words before an address that is not the interface's own.
_OTHERS = ("netmask", "broadcast", "brd", "peer", "pointopoint", "via", "del")
_STARTING = {"start", "restart", "try-restart", "reload-or-restart", "--now"}
#: What starts a unit by its name; without one of them a line may only speak of lsyncd.
_STARTERS = {"systemctl", "service", "invoke-rc.d", "rc-service"}
#: An option of lsyncd's, or its configuration: no dash of a sentence.
_ARGUMENT = re.compile(r"--?[A-Za-z]|/")
_LOOKING = ("pgrep", "pidof", "pkill", "killall", "which", "command")
_ADDING = ("add", "replace", "change", "append", "a")
_ADDRESS = ("address", "addres", "addre", "addr", "add", "ad", "a")


@dataclasses.dataclass(frozen=True)
class Deed:
    """
    What a line does.

    does
        ``TAKES``, ``STARTS_LSYNCD``, ``CARRIES`` or ``MENTIONS``.

    line
        Its number, from 1.

    what
        The address or the path.
    """

    does: str
    line: int
    what: str


def words(line):
    """The words of a line, whatever quotes and brackets a language puts around them."""
    return re.sub(r"""["'`(){}\[\],;|&=]""", " ", line).split()


def _takes(found):
    """Whether words give an interface an address: ``ip -4 addr add``, ``ifconfig eth0:0 10.0.0.5``."""
    names = [one.rpartition("/")[2] for one in found]
    for position, name in enumerate(names):
        rest = names[position + 1 :]
        if name == "ip":
            rest = [one for one in rest if not one.startswith("-")]
            if len(rest) > 1 and rest[0] in _ADDRESS and rest[1] in _ADDING:
                return True
        if name == "ifconfig" and len(rest) > 1 and not {"down", "del", "-alias"} & set(rest):
            return True
    return False


def _starts_lsyncd(found):
    """Whether words start lsyncd: its unit, its script, or itself with arguments; not who looks for it."""
    names = [one.rpartition("/")[2] for one in found]
    for position, word in enumerate(found):
        if word not in ("lsyncd", "lsyncd.service") and not word.endswith(("bin/lsyncd", "init.d/lsyncd")):
            continue
        follows = found[position + 1] if position + 1 < len(found) else ""
        if word.endswith("init.d/lsyncd"):
            if follows in _STARTING:
                return True
        elif (
            (_STARTERS & set(names) and _STARTING & set(found))
            or _ARGUMENT.match(follows)
            and (not position or names[position - 1] not in _LOOKING)
        ):
            return True
    return False


def given(line):
    """The words of a line that may be addresses, if the line gives an interface one."""
    found = words(line)
    if not _takes(found):
        return []
    pairs = zip(["", *found], found)
    return [
        one for before, one in pairs if before not in _OTHERS and one[:1].isalnum() and set(".:") & set(one)
    ]


def does(text, address, carried=(), others=()):
    """
    What a text does with an address of a pair and its paths.

    text
        A script, or a line of cron.

    address
        Without its prefix length.

    carried
        The pair's paths.

    others
        Names and addresses of the other node.

    Returns a list of ``Deed``, at most one of each kind, the first of it. In a script that has the address
    in a variable, a line that takes a variable is enough.
    """
    found = {}
    lines = [(number, words(line)) for number, line in enumerate(text.splitlines(), 1) if _says(line)]
    mentioned = [number for number, line in lines if any(_bare(one) == address for one in line)]
    for number, line in lines:
        has = number in mentioned
        if mentioned and _takes(line) and (has or any("$" in one for one in line)):
            found.setdefault(TAKES, Deed(TAKES, number, address))
        names = [one.rpartition("/")[2] for one in line]
        if _starts_lsyncd(line):
            found.setdefault(STARTS_LSYNCD, Deed(STARTS_LSYNCD, number, "lsyncd"))
        for path in carried:
            if set(CARRIERS) & set(names) and _path_in(path, line) and _host_in(others, line):
                found.setdefault(CARRIES, Deed(CARRIES, number, path))
    if mentioned and TAKES not in found:
        found[MENTIONS] = Deed(MENTIONS, mentioned[0], address)
    return sorted(found.values(), key=lambda one: one.line)


def _says(line):
    return bool(line.strip()) and not line.lstrip().startswith(("#", ";"))


def _bare(word):
    return word.partition("/")[0].partition("%")[0].lower()


def _path_in(path, line):
    whole = path.rstrip("/")
    for word in line:
        place = word.rpartition(":")[2].rstrip("/")
        if (
            place == whole
            or place.startswith(f"{whole}/")
            or whole.startswith(f"{place}/")
            and len(place) > 1
        ):
            return True
    return False


def _host_in(others, line):
    hosts = {word.rpartition(":")[0].rpartition("@")[2] for word in line if ":" in word} | set(line)
    return bool(set(others) & hosts)


def programs(line):
    """The absolute paths in a line of cron or of a unit: a program may be one of them, or a word of one."""
    # What may stand before the program of a unit: systemd.service(5).
    found = [one.lstrip("-@+!:") for one in words(line)]
    return [one for one in found if one.startswith("/") and not one.startswith(("/dev/", "/proc/"))]
