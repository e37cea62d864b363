"""How two nodes recognise each other, and what the other one is allowed."""

import os
import subprocess

import pytest

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import files
from failback.host.paths import Paths
from failback.pair import Member
from failback.peer import ssh
from failback.peer import trust

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHx1q0c2F5nq8Z3yqk0l3n0v8c2yq7W2mS8pUu0cJ1aB"
HOST_KEY = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAA="
PEERS = {"salt": {"id": "salt1", "host": "10.0.0.11"}}


@pytest.fixture
def node(tmp_path):
    return Paths(tmp_path)


@pytest.fixture
def member(node):
    return Member("salt", node)


@pytest.mark.parametrize(
    "line",
    [KEY, HOST_KEY, f"{KEY}\n", f"{KEY} root@salt1", f"  {KEY}  a comment of words ", "ssh-rsa AAAAB3Nz"],
)
def test_a_key_loses_its_comment(line):
    assert trust.require_key(line) == " ".join(line.split()[:2])


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("", id="nothing"),
        pytest.param(None, id="none"),
        pytest.param([KEY], id="a list"),
        pytest.param("ssh-ed25519", id="no key"),
        pytest.param(f"{KEY}\n{KEY}", id="two keys"),
        pytest.param(f"{KEY} salt1\nssh-ed25519 AAAA evil", id="a second key behind the comment"),
        pytest.param(f"{KEY}\nrestrict", id="a line behind it"),
        pytest.param(f'command="/bin/sh" {KEY}', id="options before it"),
        pytest.param(f"no-pty {KEY}", id="one option before it"),
        pytest.param("ssh-ed25519 AAAA;reboot", id="a command in it"),
        pytest.param('ssh-ed25519 AAAA"', id="a quote in it"),
        pytest.param("ssh-ed25519 =AAAA", id="padding in front"),
        pytest.param("ssh-dss AAAA", id="a kind that nobody should use"),
        pytest.param("-----BEGIN OPENSSH PRIVATE KEY-----", id="a private key"),
        pytest.param("@cert-authority * ssh-ed25519 AAAA", id="an authority"),
    ],
)
def test_what_is_not_one_public_key_is_refused(line, member, node):
    with pytest.raises(Refused, match="is not an OpenSSH public key"):
        trust.require_key(line)
    with pytest.raises(Refused):
        trust.remember(member, line, [HOST_KEY])
    with pytest.raises(Refused):
        trust.remember(member, KEY, [HOST_KEY, line])
    assert trust.known(node) == {}


def test_the_other_node_is_allowed_its_far_end_and_nothing_else(member, node):
    trust.remember(member, f"{KEY} root@evil", [HOST_KEY])
    assert trust.authorized_keys(PEERS, trust.known(node), trust.program(Paths())) == (
        f'restrict,command="/usr/local/sbin/failback far-end salt" {KEY} salt1'
    )


def test_the_other_node_is_let_in_from_its_own_addresses_alone(member, node):
    """From any of them, and from those of the pair: which one its kernel takes, depends on its routes."""
    trust.remember(member, KEY, [HOST_KEY], ["fd00::11", "10.1.0.11"])
    given = trust.authorized_keys(
        PEERS, trust.known(node), trust.program(Paths()), {"salt": ["10.0.0.5/24", "fd00::5/64"]}
    )
    assert given.startswith('from="10.1.0.11,fd00::11,10.0.0.11,10.0.0.5,fd00::5",restrict,command="')


def test_an_address_that_has_changed_is_news(member, node):
    assert trust.remember(member, KEY, [HOST_KEY], ["10.1.0.11"])
    assert not trust.remember(member, KEY, [HOST_KEY], ["10.1.0.11"])
    assert trust.remember(member, KEY, [HOST_KEY], ["10.1.0.12"])


@pytest.mark.parametrize("host", ["10.0.0.11", "salt1.example.org"])
def test_nobody_is_kept_out_before_the_addresses_were_exchanged(member, node, host):
    trust.remember(member, KEY, [HOST_KEY])
    peers = {"salt": {"id": "salt1", "host": host}}
    assert trust.authorized_keys(peers, trust.known(node), trust.program(Paths())).startswith("restrict,")


def test_a_name_is_left_to_the_addresses(member, node):
    trust.remember(member, KEY, [HOST_KEY], ["10.1.0.11"])
    peers = {"salt": {"id": "salt1", "host": "salt1.example.org"}}
    assert 'from="10.1.0.11",' in trust.authorized_keys(peers, trust.known(node), trust.program(Paths()))


@pytest.mark.parametrize("address", ['10.0.0.1",command="/bin/sh', "*", "10.0.0.0/8", "", None, "!10.0.0.1"])
def test_what_is_no_address_lets_nobody_in(member, node, address):
    with pytest.raises(Refused, match="is not an IP address"):
        trust.remember(member, KEY, [HOST_KEY], [address])
    assert trust.known(node) == {}


def test_the_addresses_of_this_node_are_its_kernel_s():
    found = trust._own_addresses()
    assert not [one for one in found if one.startswith(("127.", "::1", "fe80:"))]


def test_a_hostile_comment_never_reaches_authorized_keys(member, node):
    trust.remember(member, f'{KEY} x" no-restrict,command="/bin/sh', [HOST_KEY])
    text = trust.authorized_keys(PEERS, trust.known(node), trust.program(Paths()))
    assert text.count("command=") == 1 and "/bin/sh" not in text and "\n" not in text


def test_each_pair_has_its_own_line_and_an_unknown_peer_none(node):
    peers = {**PEERS, "mgmt": {"id": "mgmt2", "host": "mgmt2"}, "new": {"id": "new1", "host": "new1"}}
    for pair in ("salt", "mgmt"):
        trust.remember(Member(pair, node), KEY, [HOST_KEY])
    lines = trust.authorized_keys(peers, trust.known(node), trust.program(Paths())).split("\n")
    assert [line.split('"')[1].split()[-1] for line in lines] == ["mgmt", "salt"]


def test_nobody_known_gives_no_line(node):
    assert trust.authorized_keys(PEERS, {}, trust.program(Paths())) == ""


def test_host_keys_are_recorded_under_the_id(member, node):
    trust.remember(member, KEY, [HOST_KEY, KEY])
    lines = trust.known_hosts(PEERS, trust.known(node)).splitlines()
    assert lines[1:] == [f"salt1 {HOST_KEY}", f"salt1 {KEY}"]


def test_the_same_keys_again_are_no_news(member, node):
    assert trust.remember(member, KEY, [HOST_KEY]) is True
    before = files.read_json(node.state("salt") / "peer.json", "a test")
    assert trust.remember(member, f"{KEY} with a comment", [HOST_KEY]) is False
    assert files.read_json(node.state("salt") / "peer.json", "a test") == before
    assert trust.remember(member, KEY, [HOST_KEY, KEY]) is True


def test_a_torn_record_of_the_peer_is_an_error_and_no_unknown_peer(member, node):
    trust.remember(member, KEY, [HOST_KEY])
    (node.state("salt") / "peer.json").write_text("{")
    with pytest.raises(FailbackError, match="peer of salt"):
        trust.known(node)


def test_a_key_is_made_once_and_never_replaced(node):
    (node.root / "etc/ssh").mkdir(parents=True)
    (node.root / "etc/ssh/ssh_host_ed25519_key.pub").write_text(f"{KEY} root@salt1\n")
    assert not trust.has_key(node)
    first = trust.make_key(node, "salt1")
    assert trust.has_key(node) and trust.require_key(first) == first
    assert node.private_key.stat().st_mode & 0o777 == 0o600
    assert trust.make_key(node, "salt1") == first
    found = trust.identity(node)
    assert (found["public_key"], found["host_keys"]) == (first, [KEY])


def test_without_a_key_or_host_keys_it_says_what_is_missing(node):
    with pytest.raises(Unavailable, match="id_ed25519.pub is missing"):
        trust.identity(node)
    files.write_atomically(f"{node.private_key}.pub", KEY)
    with pytest.raises(Unavailable, match="no host keys"):
        trust.identity(node)


@pytest.mark.skipif(not os.path.exists("/usr/bin/ssh"), reason="ssh is not installed")
def test_ssh_understands_the_configuration_of_the_way_to_the_other_node(node):
    path = node.root / "config"
    path.write_text(ssh.client_config(PEERS.values(), node))
    asked = subprocess.run(
        ["/usr/bin/ssh", "-G", "-F", path, "10.0.0.11"], capture_output=True, text=True, check=True
    ).stdout
    options = dict(line.split(" ", 1) for line in asked.splitlines() if " " in line)
    assert options["stricthostkeychecking"] == "true"
    assert options["hostkeyalias"] == "salt1"
    assert options["userknownhostsfile"] == str(node.known_hosts)
    ciphers = options["ciphers"].split(",")
    assert ciphers[0] == "aes128-gcm@openssh.com"
    assert len(ciphers) > 2  # a peer that refuses these is reached with another one
    assert options["port"] == "22"


@pytest.mark.skipif(not os.path.exists("/usr/bin/ssh"), reason="ssh is not installed")
@pytest.mark.parametrize(("given", "user"), [({}, "root"), ({"ssh_user": "failback"}, "failback")])
def test_the_other_node_is_reached_as_the_account_that_it_names(node, given, user):
    path = node.root / "config"
    path.write_text(ssh.client_config([{"id": "salt1", "host": "10.1.0.11", **given}], node))
    asked = subprocess.run(
        ["/usr/bin/ssh", "-G", "-F", path, "10.1.0.11"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert f"user {user}" in asked


def test_an_account_that_is_not_root_becomes_root_for_the_verbs_alone(member, node):
    trust.remember(member, KEY, [HOST_KEY])
    paths = Paths()
    (line,) = trust.authorized_keys(PEERS, trust.known(node), trust.program(paths, "failback")).splitlines()
    assert 'restrict,command="/usr/bin/sudo -n /usr/local/sbin/failback far-end salt" ssh-ed25519 ' in line
    rules = trust.sudo_rules(PEERS, trust.program(paths), "failback")
    assert "Cmnd_Alias FAILBACK_PEER = /usr/local/sbin/failback far-end salt\n" in rules
    assert "\nfailback ALL=(root) NOPASSWD: FAILBACK_PEER\n" in rules
    assert trust.sudo_user(rules) == "failback"


@pytest.mark.parametrize("text", ["", "root ALL=(ALL:ALL) ALL\n", "%sudo ALL=(ALL) NOPASSWD: ALL\n"])
def test_rules_of_others_name_no_account_of_ours(text):
    assert trust.sudo_user(text) is None


@pytest.mark.skipif(not os.path.exists("/usr/bin/ssh"), reason="ssh is not installed")
def test_an_sshd_on_another_port_is_reached_there_and_known_by_the_same_key(node):
    path = node.root / "config"
    path.write_text(ssh.client_config([{"id": "salt1", "host": "10.1.0.11", "ssh_port": 2222}], node))
    asked = subprocess.run(
        ["/usr/bin/ssh", "-G", "-F", path, "10.1.0.11"], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert "port 2222" in asked and "hostkeyalias salt1" in asked
