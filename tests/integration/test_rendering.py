"""What the master gives to whom: pillar and highstate of a node, and the SLS of this tree."""

import json
import subprocess

import pair_site
import pytest

WEB = {"primary": "web1", "secondary": "web2", "replicate": ["/srv/web"]}
FULL = {
    **pair_site.ADDRESS,
    "replicate": ["/srv/salt", "/etc/salt/pki/master"],
    "services": ["scribe"],
    "active_services": ["reporter"],
}


@pytest.fixture
def full(site):
    """A pair with a bit of everything, beside another pair."""
    site.begin(**FULL)
    site.pillar.list_pair("web web1 web2")
    site.pillar.write(WEB, "web")
    return site


def salt_call(site, node, *words):
    """salt-call on that node, through the master."""
    done = subprocess.run(
        [
            *(site.program("salt-call"), "-c", node.minion.config_dir),
            *("--no-color", "--log-level=error", "--out=json", "--retcode-passthrough"),
            *words,
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
        env=node.minion.environ,
    )
    assert done.returncode == 0, (words, done.stdout, done.stderr)
    return json.loads(done.stdout)["local"]


def test_a_node_sees_its_own_pair_and_the_master_all(full):
    for node in full.nodes:
        text = json.dumps(salt_call(full, node, "pillar.items"))
        assert '"salt"' in text
        assert "web" not in text
    full.run("pair.check").good("2 pairs: the pillar is right.")
    full.run("pair.status", "nope").refused("(pairs: salt, web)")


def test_the_configuration_of_a_node_is_rendered_from_its_pillar(full):
    # Outside of an SLS Salt 3008 shows the values of pillar.get as asterisks.
    for node in full.nodes:
        found = json.loads(salt_call(full, node, "pair.rendered", "salt"))
        assert found == json.loads(node.paths.pair_config("salt").read_text())
        assert found["node"] == node.id


@pytest.mark.parametrize("role", ["primary", "secondary"])
def test_the_highstate_of_a_node_renders_and_starts_nothing(full, role):
    node = getattr(full, role)
    chunks = salt_call(full, node, "state.show_lowstate")
    assert all(isinstance(one, dict) for one in chunks), chunks
    names = {f"{one['state']}.{one['fun']}": [] for one in chunks}
    for one in chunks:
        names[f"{one['state']}.{one['fun']}"].append(one["name"])
    assert "/etc/failback/pairs/salt.json" in names["file.managed"]
    watched = "/etc/cron.d/gateway-ip" in names["file.managed"]
    assert watched == (role == "secondary")
    assert set(names["service.disabled"]) == {"scribe", "reporter"}
    keys = {f"/etc/salt/pki/master/{one.id}.{kind}" for one in full.nodes for kind in ("pem", "pub")}
    assert keys <= set(names["file.managed"])
    watch = ["failback-watch@gateway-ip.service"] if role == "secondary" else []
    assert sorted(names["service.running"]) == ["failback-look@salt.service", *watch]
    assert "lsyncd.running" not in names
    assert "floating_ip.present" not in names


@pytest.mark.one_release
def test_a_host_of_virtual_machines_gets_its_locks_and_starts_no_guest(site):
    site.begin(**FULL)
    without = {one["__sls__"] for one in salt_call(site, site.primary, "state.show_lowstate")}
    assert "pair.virtual_machines" not in without
    site.begin(**FULL, vms=["idm"], virtualization={"storage": "/srv/guests"})
    chunks = salt_call(site, site.primary, "state.show_lowstate")
    assert all(isinstance(one, dict) for one in chunks), chunks
    mine = [one for one in chunks if one["__sls__"] == "pair.virtual_machines"]
    texts = {one["name"]: one.get("contents") for one in mine if one["fun"] == "managed"}
    assert 'file_lockspace_dir = "/srv/guests/.failback-locks"' in texts["/etc/libvirt/qemu-lockd.conf"]
    assert "require_lease_for_disks = 1" in texts["/etc/libvirt/qemu-lockd.conf"]
    replaced = {one["repl"] for one in mine if one["fun"] == "replace"}
    assert replaced == {'lock_manager = "lockd"', "ON_BOOT=ignore", "ON_SHUTDOWN=shutdown"}
    functions = {f"{one['state']}.{one['fun']}" for one in mine}
    assert {"shared_vm.storage_marked", "shared_vm.not_at_boot"} <= functions
    assert not {"shared_vm.running_on", "shared_vm.absent_on"} & functions


def test_a_minion_without_a_pair_gets_what_every_minion_gets(full):
    node = full.primary
    folders = [f"--file-root={full.tree / 'salt'}", f"--pillar-root={full.pillar.root}"]
    done = subprocess.run(
        [
            *(full.program("salt-call"), "-c", node.minion.config_dir, "--local", "--id=client"),
            *(*folders, "--no-color", "--log-level=error", "--out=json", "state.show_top"),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["local"] == {"base": ["minion"]}
