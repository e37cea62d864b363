"""Certificates of etcd's members and of the nodes: by openssl itself, in folders of a test."""

import shutil
import ssl
import subprocess

import pytest

from failback.errors import Refused
from failback.host.paths import Paths
from failback.lease import certificates
from failback.lease.certificates import CLIENT
from failback.lease.certificates import MEMBER

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="this machine: openssl is not installed")


@pytest.fixture
def hosts(tmp_path):
    """A member and a node with their certificates, and the folder of the authority."""
    authority = tmp_path / "authority"
    member, node = Paths(tmp_path / "member"), Paths(tmp_path / "node")
    own = certificates.authority(authority)
    for paths, part, addresses in ((member, MEMBER, ["10.0.0.91", "fd00::91"]), (node, CLIENT, [])):
        signed = certificates.sign(authority, part, certificates.request(paths, part), addresses)
        assert certificates.install(paths, part, signed, own) is True
    return authority, member, node


def shown(path, *words):
    command = ["openssl", "x509", "-in", str(path), "-noout", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_member_is_good_for_its_addresses_as_server_and_as_client(hosts):
    _, member, _ = hosts
    text = shown(certificates.place(member, MEMBER) / "member.crt", "-text")
    assert "IP Address:10.0.0.91, IP Address:FD00:0:0:0:0:0:0:91" in text
    assert "TLS Web Server Authentication, TLS Web Client Authentication" in text
    assert "CN = failback-lease-member" in text
    assert "CA:FALSE" in text


def test_a_node_is_a_client_alone(hosts):
    _, _, node = hosts
    text = shown(certificates.place(node, CLIENT) / "client.crt", "-text")
    assert "TLS Web Client Authentication" in text
    assert "Server" not in text


def test_the_keys_are_for_root_alone_and_python_takes_all_of_it(hosts):
    _, member, node = hosts
    for paths, part in ((member, MEMBER), (node, CLIENT)):
        folder = certificates.place(paths, part)
        assert (folder / f"{part}.key").stat().st_mode & 0o777 == 0o600
        context = ssl.create_default_context(cafile=folder / "ca.crt")
        context.load_cert_chain(folder / f"{part}.crt", folder / f"{part}.key")


def test_there_is_a_certificate_for_each_part_and_no_other(tmp_path):
    with pytest.raises(Refused, match="for member or client, not for 'etcd'"):
        certificates.request(Paths(tmp_path), "etcd")
    with pytest.raises(Refused, match="for member or client, not for 'etcd'"):
        certificates.install(Paths(tmp_path), "etcd", "", "")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_and_good_stays(hosts):
    authority, member, _ = hosts
    key = (certificates.place(member, MEMBER) / "member.key").read_text()
    assert certificates.request(member, MEMBER) is None
    again = certificates.request(member, MEMBER, anew=True)
    assert "BEGIN CERTIFICATE REQUEST" in again
    assert (certificates.place(member, MEMBER) / "member.key").read_text() == key
    text = certificates.authority(authority)
    assert text == certificates.authority(authority)
    signed = (certificates.place(member, MEMBER) / "member.crt").read_text()
    assert certificates.install(member, MEMBER, signed, text) is False


def test_one_that_runs_out_is_asked_for_anew(hosts, monkeypatch):
    _, member, _ = hosts
    monkeypatch.setattr(certificates, "RENEW_BEFORE", certificates.DAYS + 1)
    assert "BEGIN CERTIFICATE REQUEST" in certificates.request(member, MEMBER)


def test_a_node_does_not_become_a_member(hosts):
    authority, _, node = hosts
    wanted = certificates.request(node, CLIENT, anew=True)
    with pytest.raises(Refused, match="A request for failback-lease-member was expected"):
        certificates.sign(authority, MEMBER, wanted, ["10.0.0.1"])


def test_what_is_no_request_and_no_certificate_is_refused(hosts):
    authority, member, _ = hosts
    with pytest.raises(Refused, match="not a request"):
        certificates.sign(authority, CLIENT, "-----BEGIN x", [])
    with pytest.raises(Refused, match="not a certificate"):
        certificates.install(member, MEMBER, "text", "text")
