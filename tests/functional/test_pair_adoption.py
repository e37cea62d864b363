"""The steps of ``orch.adopt``, with nodes that answer from a table."""

import importlib.util
import pathlib

import pytest
import samples

from failback_master import minions
from failback_master.surface import live

STATES = pathlib.Path(__file__).parents[2] / "salt/_states"

SPLIT = {"salt1": (7, "salt1"), "salt2": (7, "salt2")}


def predecessors_facts(node):
    """What a node says on which nothing looked after the pair before."""
    lists = ("set_up", "programs", "keepalived", "cluster", "lsyncd", "replaced", "enabled", "unread")
    return {"node": node, "begun": False, "units": {}, **{one: [] for one in lists}}


class Nodes:
    """Their reports; whatever else they are asked has been done, and is noted."""

    def __init__(self, ledgers):
        self.asked = []
        self.before = {}
        self._reports = {
            node: samples.report(
                node,
                samples.ledger(*one) if one[0] else None,
                # Each node that thinks itself active holds the address.
                holds=["10.0.0.5/24"] if one[1] == node else [],
                misplaced={},
                sources={},
                lock=None,
            )
            for node, one in ledgers.items()
        }

    def all(self, ids, function, *args, **kwargs):
        if function == "pair.report":
            return {node: self._reports[node] for node in ids}
        if function == "pair.predecessors":
            return {node: {**predecessors_facts(node), **self.before.get(node, {})} for node in ids}
        if function == "pair.keep_replaced":
            self.asked += [(node, function) for node in ids]
            return {node: ["/kept"] if self.before.get(node, {}).get("replaced") else [] for node in ids}
        self.asked += [(node, function) for node in ids]
        return {node: {"taken_over": None} for node in ids}

    def one(self, node, function, *args, **kwargs):
        return self.all([node], function)[node]

    def try_all(self, ids, function, *args, **kwargs):
        return self.all(ids, function), {}


@pytest.fixture
def adoption(tmp_path, monkeypatch):
    """The state module as the master's loader has it, and a function that sets what is found."""
    spec = importlib.util.spec_from_file_location("pair_adoption", STATES / "pair_adoption.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    pair = {"primary": "salt1", "secondary": "salt2", "replicate": ["/srv/salt"]}
    module.__opts__ = {"test": False, "id": "salt2_master", "conf_file": str(tmp_path / "master")}
    module.__pillar__ = {"pairs": {"salt": pair}}

    def found(ledgers):
        nodes = Nodes(ledgers)
        monkeypatch.setattr(minions, "Nodes", lambda opts: nodes)
        return nodes

    return module, found


@pytest.mark.parametrize("moved", [None, True])
def test_a_split_is_refused_and_the_winner_asked_for(adoption, moved):
    module, found = adoption
    nodes = found(SPLIT)
    said = module.begun("The ledgers begin", "salt", moved)
    assert said["result"] is False and said["changes"] == {}
    assert said["comment"].startswith("salt is split-brain: ")
    assert "name the node whose data count" in said["comment"]
    assert "orch.recover pillar='{pair: salt, winner: salt2" in said["comment"]
    assert nodes.asked == []


def test_a_pair_in_order_has_its_sources_recorded(adoption):
    module, found = adoption
    nodes = found({"salt1": (7, "salt1"), "salt2": (7, "salt1")})
    said = module.begun("The ledgers begin", "salt")
    assert said["result"] is True, said
    asked = [function for _, function in nodes.asked if function == "pair.record_sources"]
    assert asked == ["pair.record_sources"] * 2


@pytest.mark.parametrize(
    ("reachable", "result", "words"),
    [
        (None, True, "Nobody watches salt."),
        ({"asks": ["10.0.0.1"], "problem": None}, True, "Before it takes over, salt2 asks 10.0.0.1."),
        ({"asks": None, "problem": None}, True, "without asking anybody"),
        ({"asks": [], "problem": "There is nobody to ask. Write this."}, False, "Write this."),
        ({"error": "The routes cannot be read."}, False, "cannot be read"),
    ],
)
def test_the_last_step_says_whom_the_nodes_ask_or_what_to_write(adoption, reachable, result, words):
    module, found = adoption
    nodes = found({"salt1": (1, "salt1"), "salt2": (1, "salt1")})
    nodes._reports["salt2"]["reachable"] = reachable
    done = module.heard("A node that watches can tell whether it is itself cut off", "salt")
    assert (done["result"], words in done["comment"]) == (result, True), done


SERVES = {"salt1": (0, "salt1"), "salt2": (0, "salt2")}
LSYNCD = {"file": "/etc/lsyncd/lsyncd.conf.lua", "what": "why", "kept": "/kept"}


def test_a_primary_that_serves_already_goes_on_serving(adoption):
    module, found = adoption
    module.__pillar__["pairs"]["salt"]["floating_ips"] = {
        "salt-gw": {"address": "10.0.0.5/24", "interface": "eth0"}
    }
    nodes = found(SERVES)
    nodes._reports["salt2"]["addresses"] = samples.report("salt2", None, [])["addresses"]
    said = module.begun("The ledgers begin", "salt")
    assert said["result"] is True, said
    assert "salt1 goes on serving" in said["comment"] and "orch.recover pillar=" in said["comment"]
    wrote = [one for one in nodes.asked if one[1] in ("pair.adopt", "pair.admit")]
    assert wrote == [("salt1", "pair.adopt"), ("salt2", "pair.adopt"), ("salt1", "pair.admit")]


def test_nothing_is_changed_beside_what_looks_after_the_pair(adoption):
    module, found = adoption
    nodes = found(SERVES)
    nodes.before["salt2"] = {"lsyncd": [{"pid": 7, "unit": "lsyncd.service"}], "replaced": [LSYNCD]}
    said = module.preceded("Nothing else looks after the pair", "salt")
    assert said["result"] is False and said["changes"] == {} and nodes.asked == []
    assert said["comment"].startswith("Refused, nothing was changed. On salt2: lsyncd runs there")


def test_a_script_that_somebody_has_read_stops_nothing(adoption):
    module, found = adoption
    script = {"file": "/etc/cron.d/gw", "line": 4, "script": "/usr/local/sbin/gw.sh", "does": "lsyncd",
              "what": "lsyncd", "by": "cron", "off": False}  # fmt: skip
    nodes = found(SERVES)
    nodes.before["salt2"] = {"programs": [script]}
    said = module.preceded("Nothing else looks after the pair", "salt")
    assert said["result"] is False and "harmless: [" in said["comment"]
    said = module.preceded("Nothing else looks after the pair", "salt", harmless=["/usr/local/sbin/gw.sh"])
    assert said["result"] is True, said
    said = module.preceded("Nothing else looks after the pair", "salt", harmless="/usr/local/sbin/gw.sh")
    assert said["result"] is False and "must be a list" in said["comment"]
    assert nodes.asked == []


@pytest.mark.parametrize("test", [False, True])
def test_what_is_replaced_is_said_and_kept_before(adoption, test):
    module, found = adoption
    module.__opts__["test"] = test
    nodes = found(SERVES)
    nodes.before["salt1"] = {"replaced": [LSYNCD]}
    said = module.preceded("Nothing else looks after the pair", "salt")
    assert said["result"] is (None if test else True)
    assert said["comment"] == "salt1: /etc/lsyncd/lsyncd.conf.lua is replaced (why). A copy is kept as /kept."
    assert said["changes"] == {"salt1": {"kept": ["/kept"]}}
    assert nodes.asked == ([] if test else [(node, "pair.keep_replaced") for node in ("salt1", "salt2")])


# --- the other steps ----------------------------------------------------------------------------------


class Answers(Nodes):
    """Both nodes of a new pair; ``says`` has by function what each answers, or what it raises."""

    def __init__(self, **says):
        super().__init__({"salt1": (0, "salt1"), "salt2": (0, None)})
        self.says, self.calls = {one.replace("_", ".", 1): said for one, said in says.items()}, []

    def all(self, ids, function, *args, **kwargs):
        ids = list(ids)
        self.calls += [(node, function, args, kwargs) for node in ids]
        if function not in self.says:
            return super().all(ids, function, *args, **kwargs)
        self.asked += [(node, function) for node in ids]
        for node in ids:
            if isinstance(self.says[function][node], Exception):
                raise self.says[function][node]
        return {node: self.says[function][node] for node in ids}

    def one(self, node, function, *args, **kwargs):
        return self.all([node], function, *args, **kwargs)[node]

    def try_all(self, ids, function, *args, **kwargs):
        return self.all(ids, function, *args, **kwargs), {}

    def told(self, function):
        return [(node, args) for node, name, args, _ in self.calls if name == function]


@pytest.fixture
def answering(adoption, monkeypatch):
    """A function of what both nodes say; returns the module and the nodes."""

    def make(test=False, **says):
        nodes = Answers(**says)
        monkeypatch.setattr(minions, "Nodes", lambda opts: nodes)
        adoption[0].__opts__["test"] = test
        return adoption[0], nodes

    return make


def identity(node):
    return {"public_key": f"key of {node}", "host_keys": [f"host key of {node}"], "addresses": [f"at {node}"]}


def both(function, **changes):
    return {node: changes.get(node, function(node)) for node in ("salt1", "salt2")}


NO_ANSWER = minions.NodesFailed("salt2 does not answer")


@pytest.mark.one_release
def test_a_pair_begins_when_both_nodes_answer(answering):
    module, nodes = answering(test_ping=both(lambda node: True))
    said = module.possible("Both nodes answer", "salt")
    assert (said["result"], said["changes"]) == (True, {})
    assert said["comment"] == "salt1 and salt2 answer, and the pillar is right."
    assert [one[0] for one in nodes.told("test.ping")] == ["salt1", "salt2"]
    module, _ = answering(test_ping=both(lambda node: True, salt2=NO_ANSWER))
    said = module.possible("Both nodes answer", "salt")
    assert said["result"] is False and said["comment"] == "salt2 does not answer"


@pytest.mark.one_release
def test_each_node_is_told_how_to_recognise_the_other_one_and_from_where_it_comes(answering):
    module, nodes = answering(pair_identity=both(identity), pair_trust={"salt1": True, "salt2": False})
    said = module.acquainted("Each node knows the other", "salt")
    assert said["result"] is True and said["changes"] == {"salt1": "knows the keys of salt2"}
    assert nodes.told("pair.trust") == [
        (node, ("salt", f"key of {other}", [f"host key of {other}"], [f"at {other}"]))
        for node, other in (("salt1", "salt2"), ("salt2", "salt1"))
    ]
    module, nodes = answering(pair_identity=both(identity, salt2=NO_ANSWER))
    assert module.acquainted("Each node knows the other", "salt")["result"] is False
    assert nodes.told("pair.trust") == []


@pytest.mark.one_release
@pytest.mark.parametrize(
    "answers, result",
    [(("salt2", "salt1"), True), (("salt2", "web1"), False), (("salt1", "salt1"), False)],
)
def test_a_stranger_at_the_other_nodes_address_is_found_out(answering, answers, result):
    module, _ = answering(pair_reaches_peer=dict(zip(("salt1", "salt2"), answers)))
    said = module.reachable("Each node reaches the other", "salt")
    assert (said["result"], said["changes"]) == (result, {})
    if not result:
        assert (
            f"was answered by {'web1 where salt1' if 'web1' in answers else 'salt1 where salt2'} should"
            in (said["comment"])
        )


@pytest.mark.one_release
@pytest.mark.parametrize("sls", [None, "pair.access"])
def test_highstate_or_a_part_of_it_must_succeed_on_both_nodes(answering, sls):
    one = {"a": {"__id__": "A key", "result": True, "changes": {"key": "made"}, "comment": ""}}
    none = {"a": {"__id__": "A key", "result": True, "changes": {}, "comment": ""}}
    module, nodes = answering(state_apply={"salt1": one, "salt2": none})
    said = module.configured("Both nodes are configured", "salt", sls)
    assert said["result"] is True and said["changes"] == {"salt1": ["A key"]}
    assert (sls or "their static configuration") in said["comment"]
    assert nodes.told("state.apply") == [(node, (sls,) if sls else ()) for node in ("salt1", "salt2")]
    wrong = {"a": {"__id__": "A key", "result": False, "changes": {}, "comment": "no disk"}}
    module, _ = answering(state_apply={"salt1": one, "salt2": wrong})
    said = module.configured("Both nodes are configured", "salt", sls)
    assert said["result"] is False and said["changes"] == {} and "salt2: A key: no disk" in said["comment"]


MOVED = {"/srv/salt": "lies on another file system"}


@pytest.mark.one_release
@pytest.mark.parametrize(
    "misplaced, running, stops", [(MOVED, True, True), (MOVED, False, False), ({}, True, False)]
)
def test_of_data_that_were_moved_nothing_is_carried_before_a_comparison(answering, misplaced, running, stops):
    module, nodes = answering()
    report = nodes._reports["salt1"]
    report.update(misplaced=misplaced, lsyncd={"running": running}, ledger=samples.ledger(7, "salt1"))
    report["addresses"] = samples.report("salt1", None, ["10.0.0.5/24"])["addresses"]
    nodes._reports["salt2"].update(ledger=samples.ledger(7, "salt1"), addresses=[])
    nodes._reports["salt2"]["sources"] = {"/srv/salt": "of salt2"}
    if misplaced:
        refused = module.begun("The ledgers begin", "salt")
        assert refused["result"] is False and "/srv/salt" in refused["comment"] and nodes.asked == []
    said = module.begun("The ledgers begin", "salt", moved=True)
    assert said["result"] is True, said
    assert (("salt1", "lsyncd.stop") in nodes.asked) is stops
    recorded = {node: (args[2], more) for node, name, args, more in nodes.calls if "sources" in name}
    assert recorded["salt1"] == ({"/srv/salt": "of salt2"}, {"moved": bool(misplaced)})
    # Nobody is admitted anew: the ledgers have begun long ago.
    assert not {"pair.adopt", "pair.admit"} & {function for _, function in nodes.asked}
    assert nodes.asked[-2:] == [(node, "pair.unlock") for node in ("salt1", "salt2")]


@pytest.mark.one_release
def test_who_serves_already_is_admitted_to_the_first_generation_alone(answering):
    module, nodes = answering()
    module.__pillar__["pairs"]["salt"]["floating_ips"] = {
        "salt-gw": {"address": "10.0.0.5/24", "interface": "eth0"}
    }
    nodes._reports["salt2"]["addresses"] = samples.report("salt2", None, [])["addresses"]
    assert module.begun("The ledgers begin", "salt")["result"] is True
    (run,) = {args[1] for _, args in nodes.told("pair.record_sources")}
    assert nodes.told("pair.adopt") == [(node, ("salt", "salt1", run)) for node in ("salt1", "salt2")]
    ((node, words),) = nodes.told("pair.admit")
    assert (node, words[:4]) == ("salt1", ("salt", 1, "salt1", run))


@pytest.mark.one_release
def test_what_is_going_to_be_replaced_is_on_the_screen_before(adoption, monkeypatch):
    module, found = adoption
    shown = []
    monkeypatch.setattr(live.SCREEN, "line", lambda text, *_: shown.append(text.strip()))
    found(SERVES).before["salt1"] = {"replaced": [LSYNCD]}
    said = module.preceded("Nothing else looks after the pair", "salt")
    assert said["comment"] in shown


@pytest.mark.one_release
def test_a_ledger_that_cannot_begin_gives_the_lock_back(answering):
    module, nodes = answering(pair_adopt=both(lambda node: True, salt2=minions.NodesFailed("salt2: no disk")))
    said = module.begun("The ledgers begin", "salt")
    assert said["result"] is False and said["comment"] == "salt2: no disk"
    assert nodes.asked[-2:] == [(node, "pair.unlock") for node in ("salt1", "salt2")]
    assert [one for one in nodes.asked if one[1] == "pair.lock"] == nodes.asked[:2]


@pytest.mark.one_release
@pytest.mark.parametrize("step", ["configured", "acquainted", "reachable", "begun"])
def test_in_test_mode_no_node_is_asked_for_anything(answering, step):
    module, nodes = answering(test=True)
    would = getattr(module, step)("A step", "salt")
    assert would["result"] is None and would["comment"].startswith("Would ") and would["changes"]
    assert nodes.calls == []
