"""``salt/pair/map.yaml`` is the only place that knows distributions."""

import pathlib

import pytest
import yaml

from failback.errors import Unreadable
from failback.host import distribution
from failback.host.paths import Paths

TREE = pathlib.Path(__file__).resolve().parents[2]
MAP = TREE / "salt/pair/map.yaml"
#: What would be one distribution's own. `Debian` may stand in a comment about a program that is Debian's.
FOREIGN = (
    *("nagios4", "/etc/default/", "/etc/sysconfig/", "apt-get", "zypper", "cronie", "virtqemud", "libvirtd."),
    *("openssh-server", "qemu-system-x86", "python3.11", "etcd-server", "fence-agents-all"),
)


def test_nothing_else_in_the_tree_names_what_one_distribution_has():
    found = []
    for path in sorted((TREE / "salt").rglob("*")):
        if not path.is_file() or path == MAP or path.suffix == ".pyc" or path.name == "distribution.py":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found += [f"{path.relative_to(TREE)}:{number}: {word}" for word in FOREIGN if word in line]
    assert found == []


def test_every_entry_is_given_for_every_release_that_is_listed():
    """An entry that a family lacks is refused on its nodes: here it is seen before."""
    tables = yaml.safe_load(MAP.read_text())
    for release, own in tables["os_major"].items():
        family = tables["os_family"][release.partition("-")[0]]
        names = {**tables["defaults"], **family, **own}
        missing = {"python", "node_packages", "guest_packages", "guest_defaults"} - set(names)
        assert not missing, (release, missing)
        assert str(names["python"]).startswith("/usr/bin/python3")


def test_a_node_of_an_earlier_release_goes_by_what_it_was(tmp_path):
    assert distribution.names(Paths(tmp_path)) == distribution.BEFORE


def test_a_node_goes_by_what_highstate_has_written(tmp_path):
    paths = Paths(tmp_path)
    paths.distribution.parent.mkdir(parents=True)
    written = '{"libvirt_unit": "a", "nagios_configuration": "/b", "nagios_unit": "c", "later": 1}'
    paths.distribution.write_text(written)
    assert distribution.names(paths) == {
        "libvirt_unit": "a",
        "nagios_configuration": "/b",
        "nagios_unit": "c",
    }


@pytest.mark.parametrize("text", ["{}", '{"libvirt_unit": 1, "nagios_configuration": "", "nagios_unit": ""}'])
def test_a_file_that_says_something_else_is_refused_with_the_command_that_writes_it(tmp_path, text):
    paths = Paths(tmp_path)
    paths.distribution.parent.mkdir(parents=True)
    paths.distribution.write_text(text)
    with pytest.raises(Unreadable, match="salt-call state.apply pair.distribution"):
        distribution.names(paths)
