"""The other node's name or address in every command and file that names it, with brackets or without."""

import re
import subprocess

import pytest
import samples

from failback.host.paths import Paths
from failback.pair import Member
from failback.peer import ssh
from failback.peer import trust
from failback.recovery import reverse_rsync
from failback.recovery import rsync
from failback.replication import lsyncd_config
from failback.replication import replicated

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHx1q0c2F5nq8Z3yqk0l3n0v8c2yq7W2mS8pUu0cJ1aB"
ITEM = replicated.item("/srv/data", is_directory=True)
#: As the pillar has it, and as it stands before rsync's two colons.
HOSTS = [
    ("salt2.example.org", "salt2.example.org"),
    ("10.0.0.12", "10.0.0.12"),
    ("fd00:0:0:1::12", "[fd00:0:0:1::12]"),
    ("FD00::12", "[FD00::12]"),
    ("2001:db8:1:2:3:4:5:6", "[2001:db8:1:2:3:4:5:6]"),
]
each_host = pytest.mark.parametrize(("host", "before_colons"), HOSTS, ids=[one for one, _ in HOSTS])


@pytest.fixture
def member(tmp_path, host):
    config = samples.pair("salt1", secondary={"id": "salt2", "host": host})
    return Member.of(config, Paths(tmp_path))


@each_host
def test_rsync_pulls_from_it(member, before_colons):
    peer = reverse_rsync.rsync_peer(member)
    for command in (
        rsync.pull_command(peer, ITEM),
        rsync.pull_command(peer, ITEM, dry_run=True, backup="/backup"),
        rsync.named_pull_command(peer, ITEM, "-"),
    ):
        assert command[-2] == f"{before_colons}::{ITEM.module}/"


@each_host
def test_lsyncd_pushes_to_it(member, before_colons):
    text = lsyncd_config.render(member, [ITEM])
    assert f'target = "{before_colons}::{ITEM.module}/"' in text


@each_host
def test_rsync_gives_ssh_the_bare_host(member, host, before_colons, tmp_path):
    """What rsync itself makes of the brackets."""
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > "$0.said"\nexit 1\n')
    shell.chmod(0o755)
    command = rsync.pull_command(
        reverse_rsync.rsync_peer(member, remote_shell=str(shell)), ITEM, dry_run=True
    )
    subprocess.run(command, capture_output=True, check=False, timeout=20)
    said = (tmp_path / "shell.said").read_text().splitlines()
    assert host in said


@each_host
def test_ssh_finds_its_own_section_and_host_key(member, host, before_colons, tmp_path):
    """What OpenSSH itself makes of the file, of both nodes of every pair."""
    peers = [member.peer, {"id": "other", "host": "fd00:0:0:1::13"}]
    config = tmp_path / "config"
    config.write_text(ssh.client_config(peers, member.paths))
    for one in peers:
        done = subprocess.run(
            ["ssh", "-G", "-F", str(config), one["host"]],
            capture_output=True,
            text=True,
            check=True,
            timeout=20,
        )
        options = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
        assert options["hostkeyalias"] == one["id"]
        assert options["hostname"].lower() == one["host"].lower()
    assert ssh.command(member)[-1] == host


@each_host
def test_it_is_known_by_its_id_and_let_in_from_its_address(member, host, before_colons):
    trusted = {"salt": {"public_key": KEY, "host_keys": [KEY], "addresses": ["fd00::99"]}}
    peers = {"salt": member.peer}
    assert f"salt2 {KEY}" in trust.known_hosts(peers, trusted).splitlines()
    text = trust.authorized_keys(peers, trusted, trust.program(member.paths), {"salt": ["fd00::5/64"]})
    places = re.match(r'from="([^"]*)"', text).group(1).split(",")
    # sshd(8) writes them the one canonical way: no brackets, no capitals.
    own = [] if "example" in host else [host.lower()]
    assert places == ["fd00::99", *own, "fd00::5"]
