"""The states as Salt loads them, in test mode and not; changes are looked for from outside."""

import pytest
import salt.loader
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


# --- what the module says, in place of a network ------------------------------------------------------

THERE = {
    "held": True, "held_on": ["eth0"], "held_as_wanted": True, "interface_has_it": True, "prefix": 24,
    "found_label": "eth0", "dad_failed": False, "tentative": False,
}  # fmt: skip
GONE = {**THERE, "held": False, "held_on": [], "held_as_wanted": False, "interface_has_it": False,
        "prefix": None, "found_label": None}  # fmt: skip


class Said:
    """The module, of which ``status`` says one thing after the other; what was asked for is in ``asked``."""

    def __init__(self, *statuses, obstacle=None):
        self._statuses, self._obstacle, self.asked = list(statuses), obstacle, []

    def functions(self):
        return {
            f"floating_ip.{name}": getattr(self, name) for name in ("status", "obstacle", "present", "absent")
        }

    def status(self, address, interface, label=None):
        return self._statuses.pop(0)

    def obstacle(self, address, interface, label=None, check=True):
        self.asked.append(("obstacle", check))
        return self._obstacle

    def present(self, address, interface, label=None, check=True):
        self.asked.append(("present", check))

    def absent(self, address, interface):
        self.asked.append(("absent",))


@pytest.fixture
def said(minion_opts):
    """Calls a state of a module that only says what it is given to say."""

    def call(function, module, test=False, **words):
        loader = salt.loader.states({**minion_opts, "test": test}, module.functions(), {}, None, context={})
        return loader[f"floating_ip.{function}"](name=ADDRESS, interface="eth0", **words)

    return call


@pytest.mark.one_release
def test_an_address_that_was_taken_and_is_not_there_is_a_failure(said):
    ret = said("present", Said(GONE, {**THERE, "held_as_wanted": False, "tentative": True}))
    assert (ret["result"], ret["changes"]) == (False, {})
    assert "was taken, but eth0 does not bear it as it should" in ret["comment"]
    ret = said("present", Said(GONE, GONE))
    assert ret["result"] is False and ret["comment"].endswith("not at all")


@pytest.mark.one_release
def test_an_address_that_was_released_and_is_still_there_is_a_failure(said):
    ret = said("absent", Said(THERE, THERE))
    assert (ret["result"], ret["changes"]) == (False, {}) and "still has it" in ret["comment"]


@pytest.mark.one_release
@pytest.mark.parametrize("wrong", ["dad_failed", "tentative"])
def test_an_address_that_the_kernel_does_not_answer_for_is_seen_in_the_changes(said, wrong):
    ret = said("present", Said({**THERE, "held_as_wanted": False, wrong: True}, THERE))
    assert ret["result"] is True
    old = {"interface": "eth0", "prefix": 24, "label": "eth0", "answered_for": False}
    assert ret["changes"] == {"old": old, "new": {"interface": "eth0", "prefix": 24, "label": "eth0"}}


@pytest.mark.one_release
@pytest.mark.parametrize("test", [True, False])
@pytest.mark.parametrize("words, check", [({}, True), ({"check": True}, True), ({"check": False}, False)])
def test_others_are_asked_for_the_address_unless_the_caller_knows_better(said, test, words, check):
    module = Said(GONE, THERE)
    ret = said("present", module, test, **words)
    assert ret["result"] is (None if test else True)
    assert module.asked == [("obstacle" if test else "present", check)]


@pytest.mark.one_release
def test_an_ipv6_address_has_no_label(said):
    ret = said("present", Said({**GONE}), True, address="fd99::5/64")
    assert ret["changes"] == {"old": None, "new": {"interface": "eth0", "prefix": 64}}
