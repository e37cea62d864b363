"""
What a node of each distribution gets: every SLS, compiled by Salt's own compiler with its grains.

The table says what is expected, and knows nothing of ``salt/pair/map.yaml``. Nothing is applied.
"""

import json
import shutil

import pytest
import salt.state
from test_highstate import Compiled
from test_highstate import compiled as compiled  # the fixture

#: A pair with something of everything that distributions call differently.
PAIR = {
    "primary": {"id": "salt1", "host": "10.0.0.11"},
    "secondary": {"id": "salt2", "host": "10.0.0.12"},
    "floating_ips": {"salt-gw": {"address": "10.0.0.5/24", "interface": "eth0"}},
    "active_services": ["nagios-notifications"],
    "vms": ["idm"],
    "virtualization": {"storage": "/srv/guests"},
    "fence": {"nodes": {"salt2": {"agent": "fence_dummy"}}},
    "lease": {"members": [{"id": f"m{n}", "host": f"10.0.0.9{n}"} for n in (1, 2, 3)]},
}

DEBIAN = {
    "grains": ("Debian", 12, "Debian-12"),
    "python": "/usr/bin/python3",
    "node": "cron git iproute2 lsyncd openssh-client openssh-server python3 rsync",
    "guests": "libvirt-clients libvirt-daemon-driver-qemu libvirt-daemon-system qemu-system-x86 qemu-utils",
    "fence": "fence-agents",
    "etcd": "etcd-server",
    "started": [],
    "libvirt": "libvirtd",
    "defaults": "/etc/default/libvirt-guests",
    "nagios": ("nagios4", "/etc/nagios4/nagios.cfg"),
}
LIBVIRT_11 = (
    "libvirt-clients libvirt-daemon-driver-qemu libvirt-daemon-lock libvirt-daemon-plugin-lockd "
    "libvirt-daemon-system qemu-system-x86 qemu-utils"
)
UBUNTU = {**DEBIAN, "fence": "fence-agents-base fence-agents-extra"}
REDHAT = {
    "python": "/usr/bin/python3",
    "node": "cronie git-core iproute lsyncd openssh-clients openssh-server python3 rsync",
    "guests": (
        "libvirt-client libvirt-daemon-kvm libvirt-daemon-lock libvirt-daemon-plugin-lockd qemu-img qemu-kvm"
    ),
    "fence": "fence-agents-all",
    "etcd": None,
    "started": ["crond.service", "sshd.service"],
    "libvirt": "virtqemud",
    "defaults": "/etc/sysconfig/libvirt-guests",
    "nagios": ("nagios", "/etc/nagios/nagios.cfg"),
}
REDHAT_8 = {
    **REDHAT,
    "python": "/usr/bin/python3.11",
    "node": "cronie git-core iproute lsyncd openssh-clients openssh-server python3.11 rsync",
    "guests": "libvirt-client libvirt-daemon-kvm qemu-img qemu-kvm",
    "libvirt": "libvirtd",
}
SUSE = {
    **REDHAT,
    "node": "cronie git-core iproute2 lsyncd openssh-clients openssh-server python3 rsync",
    "guests": (
        "libvirt-client libvirt-daemon-lock libvirt-daemon-plugin-lockd libvirt-daemon-qemu "
        "qemu-tools qemu-x86"
    ),
    "fence": "fence-agents",
    "etcd": "etcd",
    "started": ["cron.service", "sshd.service"],
}
SUSE_15 = {
    **SUSE,
    "python": "/usr/bin/python3.11",
    "node": "cronie git-core iproute2 lsyncd openssh-clients openssh-server python311 rsync",
    "libvirt": "libvirtd",
}

TABLE = {
    "Debian 12": DEBIAN,
    "Debian 13": {**DEBIAN, "grains": ("Debian", 13, "Debian-13"), "guests": LIBVIRT_11},
    "Ubuntu 22.04": {**UBUNTU, "grains": ("Debian", 22, "Ubuntu-22.04")},
    "Ubuntu 24.04": {**UBUNTU, "grains": ("Debian", 24, "Ubuntu-24.04")},
    "Ubuntu 26.04": {**UBUNTU, "grains": ("Debian", 26, "Ubuntu-26.04"), "guests": LIBVIRT_11},
    "RHEL 8": {**REDHAT_8, "grains": ("RedHat", 8, "Red Hat Enterprise Linux-8")},
    "Rocky 8": {**REDHAT_8, "grains": ("RedHat", 8, "Rocky Linux-8")},
    "AlmaLinux 9": {**REDHAT, "grains": ("RedHat", 9, "AlmaLinux-9")},
    "Rocky 9": {**REDHAT, "grains": ("RedHat", 9, "Rocky Linux-9")},
    "RHEL 10": {**REDHAT, "grains": ("RedHat", 10, "Red Hat Enterprise Linux-10")},
    "SLES 15": {**SUSE_15, "grains": ("Suse", 15, "SLES-15")},
    "openSUSE Leap 15": {**SUSE_15, "grains": ("Suse", 15, "Leap-15")},
    "openSUSE Leap 16": {**SUSE, "grains": ("Suse", 16, "Leap-16")},
}


@pytest.fixture(scope="module")
def node(compiled, tree, tmp_path_factory):
    """``node(grains, lookup)``: the compiled highstate of the primary on such a distribution."""
    root = tmp_path_factory.mktemp("distributions")
    base = compiled("client").opts

    def call(grains, lookup=None, **more):
        shutil.rmtree(root / "pillar", ignore_errors=True)
        (root / "pillar").mkdir()
        (root / "pillar/top.sls").write_text("base: {'*': [all]}\n")
        pillar = {"pairs": {"salt": PAIR}, "lease_members": {"salt1": "10.0.0.91"}}
        pillar.update({"failback": {"lookup": lookup}} if lookup is not None else {})
        (root / "pillar/all.sls").write_text(json.dumps(pillar))
        family, major, finger = grains
        told = {"os_family": family, "osmajorrelease": major, "osfinger": finger, **more}
        opts = {**base, "id": "salt1", "pillar": {}, "pillar_roots": {"base": [str(root / "pillar")]}}
        opts.update(
            grains={**base["grains"], "id": "salt1", **told},
            # Salt gives the same folder to all; a mapping that is cached there is the tree's in each case.
            failback_root=str(root / "node"),
        )
        return opts

    yield call
    shutil.rmtree(root, ignore_errors=True)


def named(found, identifier):
    (one,) = [each for each in found.chunks if each["__id__"] == identifier]
    return one


@pytest.mark.parametrize("name", sorted(TABLE))
@pytest.mark.one_release(but="the first case")
def test_a_node_gets_what_its_distribution_calls_things(node, tree, name):
    expected = TABLE[name]
    opts = node(expected["grains"])
    found = Compiled(opts)
    assert all(isinstance(one, dict) for one in found.chunks), found.chunks
    assert named(found, "The packages of a pair's node are installed")["pkgs"] == expected["node"].split()
    guests = named(found, "The packages of a host of salt are installed")
    assert guests["pkgs"] == expected["guests"].split()
    assert named(found, "The fence agents for salt are installed")["pkgs"] == expected["fence"].split()
    assert set(found.names("service.running")) == {
        *expected["started"],
        *("virtlockd.socket", f"{expected['libvirt']}.socket", "libvirt-guests.service"),
        *("failback-guests-salt.path", "failback-lease@salt.service", "failback-look@salt.service"),
    }
    assert found.names("service.enabled") == [f"{expected['libvirt']}.service"]
    assert set(found.names("file.replace")) == {"/etc/libvirt/qemu.conf", expected["defaults"]}
    program = named(found, "The program failback is in place")["contents"]
    assert program.startswith(f"#!{expected['python']} -IS\n")
    unit, configuration = expected["nagios"]
    switch = named(found, "The unit nagios-notifications.service of salt is current")
    assert switch["context"]["after"] == unit
    assert named(found, "The node knows what its distribution calls things")["dataset"] == {
        "libvirt_unit": expected["libvirt"],
        "nagios_configuration": configuration,
        "nagios_unit": unit,
    }
    # Every SLS of a node has been compiled; `removed` and `retired` are for one that has left its pair.
    texts = {f"pair.{path.stem}" for path in (tree / "salt/pair").glob("*.sls")}
    silent = {
        "pair.init",
        "pair.removed",
        "pair.retired",
        "pair.git",
        "pair.master_keys",
        "pair.watch",
        "pair.security",
    }
    assert not [one for one in found.chunks if one["state"] in ("selinux", "firewalld")]
    assert texts - silent <= {one["__sls__"] for one in found.chunks}


def test_selinux_and_firewalld_allow_what_is_needed_where_they_are_on(node, monkeypatch):
    # It has no package of etcd by itself.
    grains = TABLE["Rocky 9"]["grains"]
    monkeypatch.setitem(PAIR["primary"], "ssh_port", 2222)
    opts = node(
        grains,
        {"firewalld_zone": "internal", "lease_packages": ["etcd"]},
        selinux={"enabled": True, "enforced": "Enforcing"},
    )
    found = Compiled(opts)
    assert all(isinstance(one, dict) for one in found.chunks), found.chunks
    assert named(found, "The tools of SELinux are installed")["pkgs"] == ["policycoreutils-python-utils"]
    port = named(found, "SELinux lets sshd listen on port 2222")
    assert (port["name"], port["sel_type"]) == ("tcp/2222", "ssh_port_t")
    assert found.names("selinux.boolean") == ["virt_use_nfs"]
    zone = named(found, "firewalld lets the other node in")
    assert (zone["name"], zone["ports"]) == ("internal", ["2222/tcp"])
    # A member of etcd, too; and with the usual port SELinux needs nothing of us for sshd.
    state = salt.state.HighState(opts)
    high, _ = state.render_highstate({"base": ["lease.member"]})
    opens = high["firewalld lets the nodes and the other members in"]
    assert {"ports": ["2379/tcp", "2380/tcp"]} in opens["firewalld"]
    monkeypatch.delitem(PAIR["primary"], "ssh_port")
    usual = Compiled(node(grains, None, selinux={"enabled": True, "enforced": "Permissive"}))
    assert usual.names("selinux.boolean") == ["virt_use_nfs"]
    assert usual.names("selinux.port_policy_present", "firewalld.present") == []


@pytest.mark.parametrize("name", ["Debian 12", "Rocky 9", "SLES 15"])
@pytest.mark.one_release(but="the first case")
def test_a_member_of_etcd_gets_the_package_of_its_distribution_or_is_told_that_there_is_none(node, name):
    expected = TABLE[name]
    state = salt.state.HighState(node(expected["grains"]))
    high, errors = state.render_highstate({"base": ["lease.member"]})
    if expected["etcd"] is None:
        (error,) = errors
        assert "has no package of etcd" in error and "failback:lookup: lease_packages" in error
    else:
        assert errors == []
        packages = high["The package of etcd is installed"]["pkg"]
        assert {"pkgs": [expected["etcd"]]} in packages


def test_a_site_overrides_any_entry(node):
    lookup = {
        "python": "/opt/python/bin/python3",
        "node_packages": ["one", "two"],
        "started": ["three.service"],
        "guest_packages": ["four"],
        "guest_defaults": "/etc/conf.d/libvirt-guests",
        "authorized_keys": "/etc/ssh/keys/root",
        "fence_packages": ["five"],
        "libvirt_unit": "virtqemud",
        "nagios_unit": "naemon",
        "nagios_configuration": "/etc/naemon/naemon.cfg",
    }
    found = Compiled(node(("Gentoo", 2, "Gentoo-2"), lookup))
    assert all(isinstance(one, dict) for one in found.chunks), found.chunks
    assert named(found, "The packages of a pair's node are installed")["pkgs"] == ["one", "two"]
    assert named(found, "The packages of a host of salt are installed")["pkgs"] == ["four"]
    assert named(found, "The fence agents for salt are installed")["pkgs"] == ["five"]
    assert named(found, "The peer's key may ask for the verbs of a peer")["file"] == "/etc/ssh/keys/root"
    assert "three.service" in found.names("service.running")
    assert "/etc/conf.d/libvirt-guests" in found.names("file.replace")
    program = named(found, "The program failback is in place")["contents"]
    assert program.startswith("#!/opt/python/bin/python3 -IS\n")
    names = named(found, "The node knows what its distribution calls things")["dataset"]
    assert names == {key: lookup[key] for key in ("libvirt_unit", "nagios_unit", "nagios_configuration")}


@pytest.mark.parametrize(
    ("grains", "lookup", "said"),
    [
        (
            ("Gentoo", 2, "Gentoo-2"),
            None,
            "Failback does not know the distribution of salt1 (Gentoo-2, os_family Gentoo), and "
            "installs nothing by guessing. Give these entries in its pillar, in failback:lookup: python, "
            "node_packages, guest_packages, guest_defaults.",
        ),
        # A family that is known does not make its oldest Python new enough.
        (("RedHat", 7, "CentOS Linux-7"), None, "in failback:lookup: python. Then run highstate again."),
        (("RedHat", 42, "Fedora Linux-42"), {"started": []}, "in failback:lookup: python. Then"),
        (("Debian", 12, "Debian-12"), {"pyhton": "/x"}, "Failback does not know pyhton in failback:lookup"),
    ],
)
def test_what_is_not_known_is_refused_with_the_entries_to_give(node, grains, lookup, said):
    found = Compiled(node(grains, lookup))
    text = " ".join(str(one) for one in found.chunks)
    assert said in " ".join(text.split())
    # Nothing of the node is changed by half: all of its highstate ends there.
    assert not any(isinstance(one, dict) for one in found.chunks)
