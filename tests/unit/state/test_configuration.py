"""The configuration of a pair on a node, and the places it is kept in."""

import json

import pytest
import samples

from failback.decisions import roles
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host.paths import Paths
from failback.state import configuration


@pytest.fixture
def node(tmp_path):
    node = Paths(tmp_path)
    files.write_json(node.pair_config("salt"), samples.pair("salt2"))
    return node


def test_a_pair_is_read_as_it_was_written(node):
    assert configuration.load("salt", node) == samples.pair("salt2")
    assert configuration.names(node) == ["salt"]


@pytest.mark.parametrize(
    ("node", "role", "peer"), [("salt1", "primary", "salt2"), ("salt2", "secondary", "salt1")]
)
def test_each_node_knows_its_role_and_the_other_one(node, role, peer):
    assert roles.role(samples.pair(node)) == role
    assert roles.peer(samples.pair(node))["id"] == peer


def test_an_unknown_pair_is_refused_and_the_known_ones_named(node):
    with pytest.raises(Refused, match=r"no pair mgmt.*known here: salt.*state\.apply"):
        configuration.load("mgmt", node)


def test_a_node_without_pairs_says_so(tmp_path):
    with pytest.raises(Refused, match="known here: none"):
        configuration.load("salt", Paths(tmp_path))


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../salt", "a/b", "/etc/passwd", "-x", ".hidden", None, 7, {"salt": 1}, "sa\0lt"],
)
def test_what_is_no_name_is_never_a_path(node, name):
    with pytest.raises(Refused):
        configuration.load(name, node)


def test_a_configuration_of_somebody_else_is_unreadable(node):
    files.write_json(node.pair_config("salt"), samples.pair("client1"))
    with pytest.raises(Unreadable, match="this node is 'client1'"):
        configuration.load("salt", node)


def test_a_configuration_of_a_newer_release_is_unreadable(node):
    files.write_json(node.pair_config("salt"), {**samples.pair("salt2"), "version": 2})
    with pytest.raises(Unreadable, match="newer Failback"):
        configuration.load("salt", node)


@pytest.mark.parametrize("missing", ["primary", "secondary", "node"])
def test_a_configuration_without_its_nodes_is_unreadable(node, missing):
    config = samples.pair("salt2")
    del config[missing]
    node.pair_config("salt").write_text(json.dumps(config))
    with pytest.raises(FailbackError):
        configuration.load("salt", node)
