"""
The verbs by which a node begins and ends to serve, for the run that owns the pair.

The modules are those of Salt's loader. Below them are the two nodes and the segment of ``two_nodes``, with
their addresses, systemd, SSH and clocks.
"""

import dataclasses
import os
import shutil

import pytest
import samples
from leased_world import TTL
from leased_world import leased_world
from salt.exceptions import CommandExecutionError
from two_nodes import World

from failback.errors import Unavailable
from failback.host import files
from failback.host import services
from failback.host import system
from failback.network import netlink
from failback.recovery import handover_sync
from failback.replication import sources
from failback.state import fencing
from failback.state import ledger

RUN = samples.RUN
OWNER = {"user": "anna", "boot_id": "elsewhere"}
GATEWAY = "10.0.0.5/24"
ACTIVE = [{"name": one, "proof": None, "status": None} for one in ("first.service", "second.service")]

pytestmark = pytest.mark.one_release


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("nodes")


@pytest.fixture(scope="module")
def minion_opts(minion_opts, folder):
    return {**minion_opts, "failback_root": str(folder / "salt1")}


@pytest.fixture(scope="module")
def loaders_of(loaders, minion_opts, folder):
    """The modules of each node."""
    from saltfactories.utils.functional import Loaders

    there = Loaders({**minion_opts, "id": "salt2", "failback_root": str(folder / "salt2")})
    return {"salt1": loaders.modules, "salt2": there.modules}


class Pair:
    """
    Both nodes: salt2 serves in generation 4, salt1 knows generation 3 and is not admitted.

    world
        A :py:class:`two_nodes.World`. What it has no systemd for is started here, or fails: ``fails``.
    """

    def __init__(self, world, loaders, monkeypatch):
        self.world, self.loaders = world, loaders
        #: What was started, stopped or read again by systemd, and the programs that were left behind.
        self.done, self.left = [], []
        #: Names of units that do not start or reload.
        self.fails = set()
        world.popen, self._popen = self._started, world.popen
        monkeypatch.setattr(system, "run", self._run)
        monkeypatch.setattr(fencing, "answers", self._answers)
        monkeypatch.setattr(services, "STAYS_UP", 0.0)

    def _run(self, argv, timeout=60, what="run", **more):
        verb, name = argv[1], argv[-1]
        if argv[0] == "systemd-run" and "observe" in argv:
            return self._knocks()
        if argv == ["systemctl", "stop", fencing.unit("salt")]:
            return ""
        if argv[0] != "systemctl" or verb == "show" or "--no-block" in argv or "--" not in argv:
            return self.world.run(argv, timeout, what, **more)
        self.done.append((self.world.node.name, verb, *argv[argv.index("--") + 1 :]))
        if name in self.fails:
            raise Unavailable(f"Cannot {what}: exit status 1.")
        units = self.world.node.units
        (units.discard if verb == "stop" else units.add)(name)
        return ""

    def _knocks(self):
        """The process that knocks at the node which is said to be off."""
        node = self.world.node
        process = self.world.start("knocks", node, lambda: self.world.run_for(1e6))
        member = self.world.members[node.name]
        word = files.read_json(member.fencing.path, "the word")
        files.write_json(
            member.fencing.path, {**word, "observer": {"pid": process.pid, "started": process.pid}}
        )
        return ""

    def _started(self, argv):
        if not argv[0].endswith("/ssh"):
            self.left.append((self.world.node.name, argv[1]))
        return self._popen(argv)

    def _answers(self, host):
        (there,) = [one for name, one in self.world.nodes.items() if host.endswith(name[-1])]
        return f"{host} accepts connections on port 22" if there.power else None

    def call(self, node, verb, *arguments, **words):
        with self.world.on(node):
            return self.loaders[node][f"pair.{verb}"]("salt", *arguments, **words)

    def write(self, node, *entry, **words):
        with self.world.on(node) as member:
            member.ledger.write(ledger.Entry(*entry, **words))

    def own(self, node):
        found = self.world.members[node].ledger.read()
        return found["generation"], found["active"]


@pytest.fixture
def made(folder, loaders_of, monkeypatch):
    """Makes a :py:class:`Pair`, with changes of its configuration. It has no paths unless it is told to."""

    def make(world=World, **changes):
        return Pair(world(folder, monkeypatch, **{"replicate": [], **changes}), loaders_of, monkeypatch)

    yield make
    for node in loaders_of:
        shutil.rmtree(folder / node, ignore_errors=True)


# --- an active node takes its addresses ---------------------------------------------------------------

TWO = [samples.PAIR["floating_ips"][0], {**samples.SECOND, "interface": "eth1", "label": "eth1:0"}]


def test_the_active_node_takes_what_it_does_not_hold_and_nothing_else(made):
    pair = made(floating_ips=TWO)
    pair.world.holders[GATEWAY].discard("salt2")
    assert pair.call("salt2", "take", RUN) == [GATEWAY]
    assert pair.world.serving() == "salt2" and pair.left == [("salt2", "announce")]
    # What is held is left alone, and announced no second time.
    assert pair.call("salt2", "take", RUN) == [] and len(pair.left) == 1


@pytest.mark.parametrize("dead", [1, 2])
def test_an_address_without_a_link_is_taken_beside_one_that_was_asked_for(made, dead):
    """It is of no use yet, and keeps no other from being of use; with no link at all nobody can be asked."""
    pair = made(floating_ips=TWO)
    node, wanted = pair.world.nodes["salt2"], [one["address"] for one in TWO]
    for address in wanted:
        pair.world.holders[address].discard("salt2")
    links = node.links()
    for name in ("eth0", "eth1")[:dead]:
        links[name] = dataclasses.replace(links[name], flags=netlink.UP)
    node.links = lambda: links
    pair.world.unlinked["salt2"] = set(wanted[:dead])
    if dead == 1:
        assert pair.call("salt2", "take", RUN) == wanted
    else:
        with pytest.raises(CommandExecutionError, match="eth0"):
            pair.call("salt2", "take", RUN)
        assert pair.world.serving() == "nobody"


def test_no_address_is_taken_for_which_another_host_answers(made):
    pair = made()
    pair.world.holders[GATEWAY].discard("salt2")
    pair.world.strangers = ["02:00:00:00:00:99"]
    with pytest.raises(CommandExecutionError, match="02:00:00:00:00:99"):
        pair.call("salt2", "take", RUN)
    assert pair.world.serving() == "nobody" and pair.left == []


@pytest.mark.parametrize(
    "entry", [None, (5, "salt2"), (5, "salt1")], ids=["not for this node", "not admitted", "the other one"]
)
def test_a_node_that_is_not_the_active_one_takes_no_address(made, entry):
    pair = made()
    pair.world.holders[GATEWAY].discard("salt2")
    node = "salt2" if entry else "salt1"
    if entry:
        pair.write("salt2", *entry, None, "a test", admitted=entry[1] == "salt1")
    with pytest.raises(CommandExecutionError, match=f"{node} is not admitted as the active node of salt"):
        pair.call(node, "take", RUN)
    assert pair.world.serving() == "nobody"


def test_addresses_are_taken_with_the_lease_of_the_pair_or_not_at_all(made):
    pair = made(leased_world)
    world = pair.world
    world.holders[GATEWAY].discard("salt2")
    world.cluster.gone = True
    world.now += TTL + 1
    with pytest.raises(CommandExecutionError, match="etcd does not answer"):
        pair.call("salt2", "take", RUN)
    assert world.serving() == "nobody"
    world.cluster.gone = False
    assert pair.call("salt2", "take", RUN) == [GATEWAY]
    assert world.serving() == "salt2" and world.cluster.holder == ("salt2", 4)


# --- a node takes over from one that is off -----------------------------------------------------------


@pytest.fixture
def over(made):
    """salt2 has lost its power, and salt1 was admitted as its standby. Returns the pair."""

    def make(*entry, **changes):
        pair = made(**changes)
        pair.write("salt1", *(entry or (4, "salt2")), None, "a test")
        pair.world.lose_power("salt2")
        return pair

    return make


def take_over(pair, **more):
    return pair.call("salt1", "take_over", RUN, OWNER, "salt2", "its power is off", **more)


def test_a_node_takes_over_by_an_operators_word_which_the_ledger_keeps(over):
    pair = over()
    done = take_over(pair)
    assert (done["generation"], done["addresses"]) == (5, [GATEWAY])
    assert done["reason"] == "its power is off" and "salt2" in done["why"]
    assert pair.world.serving() == "salt1" and pair.own("salt1") == (5, "salt1")
    entry = pair.world.members["salt1"].ledger.read()
    assert entry["why"].startswith(done["why"]) and entry["run"] == RUN
    with pair.world.on("salt1") as member:
        word = member.fencing.read()
    assert (word["node"], word["reason"]) == ("salt2", "its power is off")


def test_without_a_reason_nothing_is_taken_over(over):
    pair = over()
    with pytest.raises(CommandExecutionError, match="needs a reason"):
        pair.call("salt1", "take_over", RUN, OWNER, "salt2", " ")
    assert pair.world.serving() == "nobody" and pair.own("salt1") == (4, "salt2")


@pytest.mark.parametrize("held", [(GATEWAY,), (GATEWAY, "10.0.0.6/24")], ids=["one address", "both"])
def test_who_serves_already_takes_what_is_missing_in_its_generation(over, held):
    """The run was begun again: no new generation for what has happened."""
    pair = over(5, "salt1", floating_ips=TWO)
    for address in held:
        pair.world.holders[address].add("salt1")
    done = take_over(pair)
    assert done["generation"] == 5 and pair.own("salt1") == (5, "salt1")
    assert done["addresses"] == [one["address"] for one in TWO if one["address"] not in held]
    assert done["reason"] == "its power is off" and pair.world.serving() == "salt1"


def test_in_a_pair_without_addresses_the_ledger_tells_that_it_serves(over):
    pair = over(5, "salt1", floating_ips=[])
    done = take_over(pair)
    assert (done["generation"], done["addresses"], done["already"]) == (5, [], True)
    assert pair.own("salt1") == (5, "salt1")


def test_a_takeover_of_a_pair_without_addresses_is_one(over):
    pair = over(floating_ips=[])
    done = take_over(pair)
    assert (done["generation"], done["addresses"], done["already"]) == (5, [], False)
    assert pair.own("salt1") == (5, "salt1")


def test_who_was_active_and_has_no_address_begins_a_new_generation(over):
    """Nobody knows who has served since."""
    pair = over(5, "salt1")
    assert take_over(pair)["generation"] == 6 and pair.world.serving() == "salt1"


def test_a_standby_that_bears_an_address_takes_over_all_the_same(over):
    pair = over(floating_ips=TWO)
    pair.world.holders[GATEWAY].add("salt1")
    assert take_over(pair)["generation"] == 5
    assert pair.own("salt1") == (5, "salt1") and pair.world.serving() == "salt1"


def test_data_that_lie_elsewhere_are_served_by_an_operators_word_alone(over):
    pair = over(replicate=[{"path": "/srv/salt", "then": None}])
    member = pair.world.members["salt1"]
    (member.paths.root / "srv/salt").mkdir(parents=True)
    samples.lies_elsewhere(member)
    with pytest.raises(CommandExecutionError, match="/srv/salt"):
        take_over(pair)
    assert pair.world.serving() == "nobody" and sources.misplaced(member)
    assert take_over(pair, moved=True)["generation"] == 5
    assert pair.world.serving() == "salt1" and sources.misplaced(member) == {}


# --- two that have served -----------------------------------------------------------------------------


def test_a_node_without_a_ledger_may_win(made):
    pair = made()
    pair.world.members["salt1"].paths.ledger("salt").unlink()
    written = pair.call("salt1", "win", RUN, "7", "named the winner")
    assert (written["generation"], written["active"], written["run"]) == (7, "salt1", RUN)
    assert pair.own("salt1") == (7, "salt1")


def test_a_winner_that_did_not_serve_serves_from_now_on(made):
    """What the loser has written is compared with what the winner has since then."""
    pair = made()
    before = pair.world.members["salt2"].ledger.read()["since"]
    member = pair.world.members["salt1"]
    member.ledger.path.write_text(member.ledger.path.read_text().replace(before[:4], "1999"))
    written = pair.call("salt2", "win", RUN, 6, "named the winner")
    assert written["since"] == before
    pair.write("salt1", 5, "salt2", None, "a test")
    member.ledger.path.write_text(member.ledger.path.read_text().replace(before[:4], "1999"))
    written = pair.call("salt1", "win", RUN, 7, "named the winner")
    assert not written["since"].startswith("1999")


@pytest.mark.parametrize("verb", ["step_down", "give_way"])
def test_a_node_steps_down_once(made, verb):
    pair = made(active_services=ACTIVE)
    pair.world.units["salt2"] |= {one["name"] for one in ACTIVE}
    assert pair.call("salt2", verb, RUN, "5") == "salt2 stepped down to salt1 in salt, generation 5"
    assert pair.world.serving() == "nobody" and pair.world.units["salt2"] == set()
    entry = pair.world.members["salt2"].ledger.read()
    assert (entry["generation"], entry["active"], entry["run"]) == (5, "salt1", RUN)
    assert entry["boot_id"] == "" and entry["unsaved"] is True
    done = list(pair.done)
    assert pair.call("salt2", verb, RUN, "5") == "salt2 has stepped down to salt1 already."
    assert pair.done == done


@pytest.mark.parametrize("generation", [3, 4, 10**9])
def test_a_node_steps_down_for_a_newer_generation_alone(made, generation):
    pair = made()
    with pytest.raises(CommandExecutionError, match="does not step down"):
        pair.call("salt2", "step_down", RUN, generation)
    assert pair.world.serving() == "salt2" and pair.own("salt2") == (4, "salt2")


def test_a_node_without_a_ledger_does_not_step_down(made):
    pair = made()
    pair.world.members["salt2"].paths.ledger("salt").unlink()
    with pytest.raises(CommandExecutionError, match="knows no generation of salt"):
        pair.call("salt2", "step_down", RUN, 5)
    assert pair.world.serving() == "salt2"


# --- a handover ---------------------------------------------------------------------------------------


class Files:
    """In place of rsync and the other node's: what the final sync brings."""

    def __init__(self, reverse, then):
        self.reverse, self.then = reverse, then

    def expect(self):
        return {}

    def name(self, changes, why):
        pass

    def run(self, limit=None):
        return {"paths": [], "changed": [], "then": self.then, "seconds": 0.0}

    def close(self):
        pass


@pytest.fixture
def handed(made, monkeypatch):
    """Makes a pair whose final sync is noted in ``syncs``, and brings what ``then`` names."""

    def make(then=(), **changes):
        pair = made(active_services=ACTIVE, **changes)
        pair.syncs = []

        def final_sync(reverse):
            pair.syncs.append(Files(reverse, list(then)))
            return pair.syncs[-1]

        monkeypatch.setattr(handover_sync, "FinalSync", final_sync)
        return pair

    return make


PATHS = [{"path": "/srv/salt", "then": "salt-master.service"}, {"path": "/srv/more", "then": None}]


def test_a_node_becomes_active_with_the_last_changes_and_starts_what_runs_there_alone(handed):
    pair = handed(then=["salt-master.service"], replicate=PATHS)
    done = pair.call("salt1", "handover", RUN, max_delete=7)
    assert done["generation"] == 5 and pair.world.serving() == "salt1"
    assert pair.own("salt1") == pair.own("salt2") == (5, "salt1")
    assert done["started"] == ["first.service", "second.service"] and done["problems"] == []
    (sync,) = pair.syncs
    assert sync.reverse.run == RUN and sync.reverse.limits.max_delete == 7
    # What came over is read before anything is started that may read it.
    assert [one for one in pair.done if one[0] == "salt1"] == [
        ("salt1", "try-reload-or-restart", "salt-master.service"),
        ("salt1", "start", "first.service"),
        ("salt1", "start", "second.service"),
    ]


def test_the_pairs_own_limit_counts_unless_the_run_has_another(handed):
    pair = handed(replicate=PATHS)
    pair.call("salt1", "handover", RUN)
    assert pair.syncs[0].reverse.limits.max_delete == samples.PAIR["recovery"]["max_delete"]
    assert not any(one[1] == "try-reload-or-restart" for one in pair.done)


def test_a_pair_without_paths_changes_hands_with_no_sync(handed):
    pair = handed()
    done = pair.call("salt1", "handover", RUN)
    assert pair.syncs == [] and done["final_sync"] is None and done["problems"] == []
    assert done["started"] == ["first.service", "second.service"] and pair.world.serving() == "salt1"


@pytest.mark.parametrize("failing", ["salt-master.service", "first.service"])
def test_what_does_not_start_after_a_handover_is_told_and_undoes_nothing(handed, failing):
    """The node serves: whoever asked must hear it, with what is wrong."""
    pair = handed(then=["salt-master.service"], replicate=PATHS)
    pair.fails.add(failing)
    done = pair.call("salt1", "handover", RUN)
    assert done["generation"] == 5 and pair.world.serving() == "salt1"
    (problem,) = done["problems"]
    assert failing in problem
    started = [one for one in ("first.service", "second.service") if failing != "first.service"]
    assert done["started"] == started


def test_a_handover_under_another_run_asks_nobody_for_anything(handed):
    pair = handed(replicate=PATHS)
    with pytest.raises(CommandExecutionError, match="does not own the lock"):
        pair.call("salt1", "handover", samples.OTHER_RUN)
    assert pair.world.serving() == "salt2" and pair.syncs == [] and pair.done == []


# --- what runs on the active node alone ---------------------------------------------------------------


@pytest.fixture
def lsyncd(loaders_of, monkeypatch):
    """``lsyncd.start`` is only noted, with its arguments; it says what is set."""
    asked = []

    def start(pair, **words):
        asked.append((pair, words))
        return start.says

    start.says, start.asked = True, asked
    for modules in loaders_of.values():
        monkeypatch.setitem(modules, "lsyncd.start", start)
    return start


def active(made, node="salt2", **changes):
    pair = made(active_services=ACTIVE, **changes)
    for one in ("salt1", "salt2"):
        pair.write(one, 5, node, None, "a test")
    return pair


def test_the_primary_carries_its_files_and_starts_its_services_in_their_order(made, lsyncd):
    pair = active(made, "salt1", replicate=PATHS)
    pair.world.units["salt1"].add("second.service")
    done = pair.call("salt1", "activate", RUN)
    assert done == {"started": ["lsyncd.service", "first.service"]}
    assert lsyncd.asked == [("salt", {"anew": False})]
    # Once more: all that runs is left alone.
    lsyncd.says = False
    assert pair.call("salt1", "activate", RUN, anew=True) == {"started": []}
    assert lsyncd.asked[-1] == ("salt", {"anew": True})
    assert pair.done == [("salt1", "start", "first.service")]


@pytest.mark.parametrize(
    "node, paths, carry",
    [("salt2", PATHS, True), ("salt1", [], True), ("salt1", PATHS, False)],
    ids=["on the secondary", "without paths", "before all is saved"],
)
def test_nothing_is_carried(made, lsyncd, node, paths, carry):
    pair = active(made, node, replicate=paths)
    done = pair.call(node, "activate", RUN, carry=carry)
    assert done == {"started": ["first.service", "second.service"]} and lsyncd.asked == []


def test_active_services_start_on_the_active_node_alone(made):
    pair = active(made, "salt2")
    with pytest.raises(CommandExecutionError, match="salt1 is not admitted as the active node of salt"):
        pair.call("salt1", "start_active_services", RUN)
    assert pair.done == []
    pair.world.units["salt2"].add("first.service")
    assert pair.call("salt2", "start_active_services", RUN) == ["second.service"]
    assert pair.call("salt2", "start_active_services", RUN) == []


# --- the standby --------------------------------------------------------------------------------------


def test_the_standby_stops_what_the_active_node_runs_last_first(made):
    pair = active(made, "salt2", replicate=PATHS)
    pair.world.units["salt1"] |= {"first.service", "second.service", services.LSYNCD}
    assert pair.call("salt1", "stand_by", RUN) == {
        "stopped": [services.LSYNCD, "second.service", "first.service"],
        "made": [],
        "absent": [],
        "admitted": True,
        "unsaved": False,
    }
    pair.world.units["salt1"].add("first.service")
    assert pair.call("salt1", "stand_by", RUN)["stopped"] == ["first.service"]


def test_nothing_is_stopped_on_the_active_node(made):
    pair = active(made, "salt2")
    pair.world.units["salt2"].add("first.service")
    with pytest.raises(CommandExecutionError, match="salt2 is the active node of salt by its ledger"):
        pair.call("salt2", "stand_by", RUN)
    assert pair.done == [] and pair.world.units["salt2"] == {"first.service"}


@pytest.mark.parametrize(
    "admitted, unsaved",
    [(True, False), (False, False), (False, True)],
    ids=["admitted", "not yet", "unsaved"],
)
def test_the_standby_tells_what_its_ledger_says_of_it(made, admitted, unsaved):
    pair = made()
    pair.write("salt1", 5, "salt2", None, "a test", admitted=admitted, unsaved=unsaved)
    found = pair.call("salt1", "stand_by", RUN)
    assert (found["admitted"], found["unsaved"]) == (admitted, unsaved)
    pair.world.members["salt1"].paths.ledger("salt").unlink()
    found = pair.call("salt1", "stand_by", RUN)
    assert (found["admitted"], found["unsaved"]) == (False, False)


def test_a_service_of_which_nobody_knows_whether_it_is_off_is_no_stopped_one(made, monkeypatch):
    pair = made(active_services=[{"name": "first.service", "proof": None, "status": ["ask", "it"]}])
    monkeypatch.setattr(system, "exit_status", lambda *_: (4, "no answer"))
    with pytest.raises(CommandExecutionError, match=r"cannot tell whether first\.service.*Run: ask it"):
        pair.call("salt1", "stand_by", RUN)


def sent(kind="directory"):
    """What the active node reports of a path."""
    return {"kind": kind, "exists": True, "empty": False, "file_system": None, "below": []}


def test_room_is_made_for_what_is_sent_and_a_path_that_is_gone_is_named(made, tmp_path):
    """A folder that was here is missing because its file system is: nothing may be written in its place."""
    here, not_sent, gone, folder, file = (
        str(tmp_path / one) for one in ("a-here", "b-not-sent", "c-gone", "d/folder", "e/of/file")
    )
    pair = made(replicate=[{"path": one, "then": None} for one in (file, folder, gone, not_sent, here)])
    pair.write("salt1", 5, "salt2", None, "a test")
    samples.lies_elsewhere(pair.world.members["salt1"], gone)
    (tmp_path / "a-here").mkdir()
    told = {here: sent(), gone: sent(), folder: sent(), file: sent("file")}
    before = os.umask(0)
    try:
        found = pair.call("salt1", "stand_by", RUN, sources=told)
    finally:
        os.umask(before)
    assert found["made"] == [folder, str(tmp_path / "e/of")]
    assert (tmp_path / "d/folder").stat().st_mode & 0o777 == 0o755
    missing, elsewhere = found["absent"]
    assert missing.startswith(f"{gone} was on salt1 and is missing now.") and gone in elsewhere
    assert sorted(one.name for one in tmp_path.iterdir()) == ["a-here", "d", "e"]
    # Nothing is made twice, and nothing at all of what nobody has told about.
    assert pair.call("salt1", "stand_by", RUN, sources=told)["made"] == []
    shutil.rmtree(tmp_path / "d")
    assert pair.call("salt1", "stand_by", RUN)["made"] == [] and not (tmp_path / "d").exists()
