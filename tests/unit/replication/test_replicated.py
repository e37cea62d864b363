"""One description of a path for lsyncd, the reverse rsync and the rsync daemon."""

import os
import re
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies

from failback import errors
from failback.host.paths import Paths
from failback.replication import replicated


@pytest.mark.parametrize(
    ("path", "is_directory", "root", "pattern"),
    [
        ("/srv/salt", True, "/srv/salt", None),
        ("/srv/salt/", True, "/srv/salt", None),
        ("//srv///salt", True, "/srv/salt", None),
        ("/etc/hosts--warewulf", False, "/etc", "hosts--warewulf"),
        ("/etc/libvirt/qemu/shared-*", False, "/etc/libvirt/qemu", "shared-*"),
        ("/etc/qemu/[ab]?.xml", False, "/etc/qemu", "[ab]?.xml"),
        ("/srv/[*]", False, "/srv", "[*]"),
        ("/srv/a*", True, "/srv/a*", None),
        ("/file", False, "/", "file"),
        ("/srv/back\\slash", False, "/srv", "back[\\\\]slash"),
    ],
)
def test_item(path, is_directory, root, pattern):
    found = replicated.item(path, is_directory)
    assert (found.root, found.pattern) == (root, pattern)


@pytest.mark.parametrize(
    "path",
    [
        "srv/salt",
        "/",
        "//",
        "",
        "/srv/../etc",
        "/srv/./salt",
        "/srv/line\nbreak",
        "/srv/\r",
        "/srv/%HOME%/x",
        "/srv/%RSYNC_MODULE_PATH%",
        "/srv/a**",
        "/srv/[a",
        "/srv/[a b]*",
        "/srv/[]x",
        "/srv/[!]x",
    ],
)
def test_paths_that_rsync_would_misread_are_refused(path):
    with pytest.raises(errors.Refused, match=r"pair\.check"):
        replicated.item(path, is_directory=False)


def test_module_names_are_valid_and_different():
    items = [
        replicated.item("/srv/salt", True),
        replicated.item("/srv/salt", False),
        replicated.item("/srv-salt", True),
        replicated.item("/srv salt", True),
        replicated.item("/srv#salt", True),
        replicated.item("/" + "long " * 40 + "1", True),
        replicated.item("/" + "long " * 40 + "2", True),
        replicated.item("/Ünïcödé", True),
        replicated.item("/\udcff", True),
    ]
    names = [item.module for item in items]
    assert len(set(names)) == len(names)
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9._-]{1,60}", name), name
        assert not name.startswith(("-", "."))


@given(strategies.text(min_size=1, max_size=40))
def test_any_path_is_refused_or_described_in_one_line(text):
    for is_directory in (True, False):
        try:
            found = replicated.item("/srv/" + text, is_directory)
        except errors.Refused:
            continue
        config = replicated.daemon_config([found], writable=False)
        assert config.count("\n[") == 1
        assert re.search(rf"^\[{re.escape(found.module)}\]$", config, re.MULTILINE)
        assert found.root in config


def test_daemon_config_says_who_may_write():
    items = [replicated.item("/srv/salt", True), replicated.item("/etc/a b*", False)]
    reader = replicated.daemon_config(items, writable=False)
    writer = replicated.daemon_config(items, writable=True)
    assert "read only = yes" in reader
    assert "read only = no" in writer
    for text in (reader, writer):
        assert "use chroot = yes" in text
        assert "munge symlinks = no" in text
        assert "path = /srv/salt/\n" in text
        assert "include = /a[[:blank:]]b* /a[[:blank:]]b*/**\nexclude = *\n" in text
        refused = re.search(r"^refuse options = (.*)$", text, re.MULTILINE)[1].split()
        assert refused[0] == "*"
        assert "!remove-source-files" not in refused
    assert "!backup-dir" not in writer


def test_a_path_that_is_no_text_becomes_its_bytes():
    config = replicated.daemon_config([replicated.item("/srv/\udcff", True)], writable=False)
    assert b"path = /srv/\xff/\n" in os.fsencode(config)


def test_filters_are_of_the_pattern_alone():
    assert replicated.filters(replicated.item("/srv/salt", True)) == []
    assert replicated.filters(replicated.item("/etc/a b", False)) == [
        "--include=/a b",
        "--include=/a b/**",
        "--exclude=*",
    ]


def test_nanoseconds_are_compared():
    assert "--modify-window=-1" in replicated.OPTIONS


def test_names_that_vanish_keep_no_pass_waiting():
    """With incremental recursion hard links can; see also tests/functional/library/replication."""
    assert {"--hard-links", "--no-inc-recursive"} <= set(replicated.CARRYING)


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("shared-*", ["shared-", "shared-a"], ["unshared-a", "share"]),
        ("[[:digit:]]x", ["1x"], ["ax"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("back\\slash", ["back\\slash"], ["backslash"]),
        ("a?c", ["abc"], ["ac"]),
    ],
)
def test_matching(pattern, matching, others):
    matches = replicated.matching(replicated.item("/srv/" + pattern, False))
    assert [name for name in matching + others if matches(name)] == matching


def test_items_on_disk(tmp_path):
    (tmp_path / "srv/folder").mkdir(parents=True)
    (tmp_path / "srv/file").write_text("")
    os.symlink("folder", tmp_path / "srv/link")

    def kinds(path):
        return [each.pattern is None for each in replicated.items_on_disk(path, str(tmp_path))]

    assert kinds("/srv/folder") == [True]
    assert kinds("/srv/file") == [False]
    assert kinds("/srv/link") == [True]
    assert kinds("/srv/fil*") == [False]
    assert kinds("/srv/missing") == [True, False]


def test_ssh_command_survives_blanks(tmp_path):
    paths = Paths(tmp_path / "with 'blank")
    command = replicated.ssh_command(paths, control=tmp_path / "a socket")
    assert command.startswith("ssh -F '")
    assert "with ''blank" in command
    assert command.endswith(f"-S '{tmp_path}/a socket'")


def test_the_lasting_connection_notices_within_six_seconds_that_nobody_answers(tmp_path):
    command = shlex.split(replicated.lasting_ssh_command(Paths(tmp_path), tmp_path / "socket"))
    options = dict(word.split("=") for word in command if "=" in word)
    seconds, times = int(options["ServerAliveInterval"]), int(options["ServerAliveCountMax"])
    # ssh(1) sends so many, one an interval, and ends when the next one is due.
    assert seconds * (times + 1) <= 6
    assert options["ControlMaster"] == "auto" and options["ControlPersist"] == "yes"
    assert command[command.index("-S") + 1] == str(tmp_path / "socket")
