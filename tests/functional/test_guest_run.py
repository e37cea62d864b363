"""What a master does for virtual machines: a host that is gone is waited for once."""

from failback_master import guest_run
from failback_master import minions

CONFIG = {"name": "mgmt", "primary": {"id": "mgmt1"}, "secondary": {"id": "mgmt2"}}


class Nodes:
    """``answers``: what a host says, or the error of one that does not."""

    def __init__(self, **answers):
        self._answers = answers
        self.asked = []

    def try_all(self, nodes, function, *args):
        assert (function, args) == ("shared_vm.report", ("mgmt",))
        self.asked.append(list(nodes))
        said = {node: self._answers[node] for node in nodes}
        errors = {node: one for node, one in said.items() if isinstance(one, str)}
        return {node: one for node, one in said.items() if node not in errors}, errors


def test_a_host_that_is_gone_is_asked_once():
    nodes, silent = Nodes(mgmt1={"guests": {}}, mgmt2=minions.NoAnswer("mgmt2 does not answer")), {}
    first, second = (guest_run.look(nodes, CONFIG, silent) for _ in range(2))
    assert first == second == {"mgmt1": {"guests": {}}, "mgmt2": {"error": "mgmt2 does not answer"}}
    assert nodes.asked == [["mgmt1", "mgmt2"], ["mgmt1"]]


def test_a_host_that_answers_with_an_error_is_asked_again():
    nodes, silent = Nodes(mgmt1={"guests": {}}, mgmt2="libvirt is gone"), {}
    for _ in range(2):
        assert guest_run.look(nodes, CONFIG, silent)["mgmt2"] == {"error": "libvirt is gone"}
    assert nodes.asked == [["mgmt1", "mgmt2"]] * 2 and silent == {}
