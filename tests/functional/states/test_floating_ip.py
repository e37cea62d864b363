"""The states as Salt loads them, in test mode and not; changes are looked for from outside."""

import pytest
import segment
from salt.exceptions import CommandExecutionError

pytestmark = pytest.mark.needs("network")

ADDRESS = "10.99.0.5/24"


@pytest.fixture(scope="module")
def segment_of_two():
    with segment.Segment("salt1", "salt2") as made:
        yield made


@pytest.fixture
def network(segment_of_two):
    yield segment_of_two
    for host in ("salt1", "salt2"):
        if segment_of_two.address(host, "10.99.0.5"):
            segment_of_two.ip(host, "addr", "del", ADDRESS, "dev", "eth0")


@pytest.fixture
def floating_ip(states):
    return states.floating_ip


@pytest.fixture(params=[True, False], ids=["test mode", "for real"])
def test_mode(request):
    return request.param


def test_present(network, floating_ip, test_mode):
    before = network.addresses("salt1")
    with network.inside("salt1"):
        ret = floating_ip.present(name=ADDRESS, interface="eth0", label="eth0:0", test=test_mode)
    assert ret.changes == {
        "old": None,
        "new": {"interface": "eth0", "prefix": 24, "label": "eth0:0"},
    }
    if test_mode:
        assert ret.result is None
        assert "Would have" in ret.comment
        assert network.addresses("salt1") == before
    else:
        assert ret.result is True
        assert network.address("salt1", "10.99.0.5")["label"] == "eth0:0"


def test_present_already(network, floating_ip, test_mode):
    network.ip("salt1", "addr", "add", ADDRESS, "dev", "eth0", "label", "eth0:0")
    before = network.addresses("salt1")
    with network.inside("salt1"):
        ret = floating_ip.present(
            name="salt-gw", interface="eth0", address=ADDRESS, label="eth0:0", test=test_mode
        )
    assert (ret.result, ret.changes) == (True, {})
    assert "already" in ret.comment
    assert network.addresses("salt1") == before


def test_present_with_another_label(network, floating_ip, test_mode):
    network.ip("salt1", "addr", "add", ADDRESS, "dev", "eth0")
    with network.inside("salt1"):
        ret = floating_ip.present(name=ADDRESS, interface="eth0", label="eth0:0", test=test_mode)
    assert ret.changes["old"]["label"] == "eth0"
    assert ret.changes["new"]["label"] == "eth0:0"
    assert ret.result is (None if test_mode else True)
    label = network.address("salt1", "10.99.0.5")["label"]
    assert label == ("eth0" if test_mode else "eth0:0")


def test_present_with_another_prefix_length_is_left_to_a_person(network, floating_ip, test_mode):
    network.ip("salt1", "addr", "add", "10.99.0.5/32", "dev", "eth0")
    try:
        with network.inside("salt1"):
            ret = floating_ip.present(name=ADDRESS, interface="eth0", test=test_mode)
        assert (ret.result, ret.changes) == (False, {})
        assert network.address("salt1", "10.99.0.5")["prefixlen"] == 32
    finally:
        network.ip("salt1", "addr", "del", "10.99.0.5/32", "dev", "eth0")


def test_present_fails_where_another_host_answers(network, floating_ip, test_mode):
    network.ip("salt2", "addr", "add", ADDRESS, "dev", "eth0")
    before = network.addresses("salt1")
    with network.inside("salt1"):
        ret = floating_ip.present(name=ADDRESS, interface="eth0", test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert network.mac("salt2") in ret.comment
    assert network.addresses("salt1") == before


def test_an_interface_that_is_down_is_no_success_where_the_address_is(
    network, floating_ip, modules, test_mode
):
    network.ip("salt1", "addr", "add", ADDRESS, "dev", "eth0")
    network.ip("salt1", "link", "set", "eth0", "down")
    try:
        with network.inside("salt1"):
            ret = floating_ip.present(name=ADDRESS, interface="eth0", test=test_mode)
            with pytest.raises(CommandExecutionError) as refused:
                modules.floating_ip.present(ADDRESS, "eth0")
        assert (ret.result, ret.changes, ret.comment) == (False, {}, str(refused.value))
    finally:
        network.ip("salt1", "link", "set", "eth0", "up")
        segment.eventually(lambda: network.ready("salt1"), 10, "its IPv6 address is back")


def test_an_interface_by_its_alternative_name(network, floating_ip, test_mode):
    network.ip("salt1", "link", "property", "add", "dev", "eth0", "altname", "enp0s31f6")
    try:
        with network.inside("salt1"):
            ret = floating_ip.present(name=ADDRESS, interface="enp0s31f6", test=test_mode)
            assert ret.result is (None if test_mode else True) and ret.changes["old"] is None
        network.ip("salt1", "addr", "replace", ADDRESS, "dev", "eth0")
        with network.inside("salt1"):
            ret = floating_ip.present(name=ADDRESS, interface="enp0s31f6", test=test_mode)
            assert (ret.result, ret.changes) == (True, {})
            ret = floating_ip.absent(name=ADDRESS, interface="enp0s31f6", test=test_mode)
            assert ret.changes["old"] == {"interface": "eth0", "prefix": 24, "label": "eth0"}
    finally:
        network.ip("salt1", "link", "property", "del", "dev", "eth0", "altname", "enp0s31f6")


@pytest.mark.parametrize(
    "address, interface",
    [(ADDRESS, "ib7"), ("10.99.0.5", "eth0"), ("10.99.0.5/255.255.255.0", "eth0"), ("10.99.0.5/0", "eth0")],
)
def test_present_fails_for_what_cannot_be(network, floating_ip, test_mode, address, interface):
    with network.inside("salt1"):
        ret = floating_ip.present(name=address, interface=interface, test=test_mode)
    assert (ret.result, ret.changes) == (False, {})
    assert "10.99.0.5" in ret.comment
    assert network.address("salt1", "10.99.0.5") is None


def test_absent(network, floating_ip, test_mode):
    network.ip("salt1", "addr", "add", ADDRESS, "dev", "eth0", "label", "eth0:0")
    with network.inside("salt1"):
        ret = floating_ip.absent(name="salt-gw", interface="eth0", address=ADDRESS, test=test_mode)
    assert ret.changes == {
        "old": {"interface": "eth0", "prefix": 24, "label": "eth0:0"},
        "new": None,
    }
    if test_mode:
        assert ret.result is None
        assert "Would have" in ret.comment
        assert network.address("salt1", "10.99.0.5")
    else:
        assert ret.result is True
        assert network.address("salt1", "10.99.0.5") is None


def test_absent_already(network, floating_ip, test_mode):
    before = network.addresses("salt1")
    with network.inside("salt1"):
        ret = floating_ip.absent(name=ADDRESS, interface="eth0", test=test_mode)
    assert (ret.result, ret.changes) == (True, {})
    assert "already" in ret.comment
    assert network.addresses("salt1") == before
