"""A claim of the watch: checked again before the address is taken, heard, withdrawn, renounced."""

import json
import os
import types

import pytest
import samples
from two_nodes import MACS
from two_nodes import Killed
from two_nodes import World

from failback import peer_requests
from failback.decisions import gate
from failback.decisions import hearing
from failback.decisions import verdict
from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import claims
from failback.handover import phases
from failback.handover import takeover
from failback.host import files
from failback.host import system
from failback.peer import ssh
from failback.replication import incoming
from failback.state import ledger

GATEWAY = "10.0.0.5/24"
OTHER = {"salt1": "salt2", "salt2": "salt1"}


@pytest.fixture
def world(tmp_path, monkeypatch):
    """salt1 serves in generation 5, salt2 stands by, and SSH between them works unless it is cut."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # nothing here loses its cache
    world = World(tmp_path, monkeypatch)
    world.bring_home()
    with world.on("salt2") as member:
        member.ledger.write(ledger.Entry(5, "salt1", samples.RUN, "recovered"))
    world.units["salt1"].add("lsyncd.service")
    world.knows = hearing.REQUESTS
    world.asked = []
    world.carries = None

    def ask(member, *words, timeout=None):
        node = OTHER[world.node.name]
        if world.cut or not world.power[node]:
            raise Unavailable("no answer")
        world.asked.append(words)
        with world.on(node) as there:
            return requested(world, there, *words)

    def drain(member, limit):
        if world.carries:
            raise Unavailable(world.carries)

    monkeypatch.setattr(ssh, "ask", ask)
    monkeypatch.setattr(claims.lsyncd_status, "first_pass", drain)
    monkeypatch.setattr(claims.lsyncd_status, "drain", drain)
    return world


def requested(world, member, verb, *words):
    if verb in hearing.REQUESTS and verb not in world.knows:
        raise Unavailable(f"'{verb}' is not something that the other node may ask for.")
    if verb == "report":
        return json.dumps(report(world, member.node))
    if verb == "serve-on":
        return json.dumps({"generation": claims.serve_on(member, int(*words))})
    if verb == "carried":
        return claims.carried(member, int(*words)) or ""
    assert verb == "yield"
    return takeover.yield_to(member, int(*words), member.peer["id"])


def report(world, node):
    with world.on(node) as member:
        held = [one for one, holders in world.holders.items() if node in holders]
        found = samples.report(node, member.ledger.read(), held)
        return {**found, "boot_id": system.boot_id(), "requests": list(world.knows)}


def take_over(world, node="salt2", run=None):
    with world.on(node) as member:
        return takeover.take_over(member, "silence", run)


def meet(world, node="salt2"):
    with world.on(node) as member:
        return takeover.conflict(member, [MACS[OTHER[node]]])


def own(world, node="salt2"):
    return world.members[node].ledger.read()


def admitted(world, node="salt2"):
    with world.on(node) as member:
        return ledger.is_admitted(member.ledger.read())


def judged(world):
    return verdict.judge(samples.pair(), report(world, "salt1"), report(world, "salt2"))


def cut_off_claim(world):
    """salt2 is cut off, claims the pair, and the network heals: both have the address."""
    world.cut = True
    take_over(world)
    world.cut = False
    assert world.serving() == "salt1+salt2"


# --- between the ledger and the address ----------------------------------------------------------


def at_the_ledger(world, monkeypatch, do):
    """Let something happen after salt2 has written its ledger, before it looks again."""

    def stop(member):
        if own(world)["heard"] is False and world.serving() != "salt2":
            do()
        return []

    monkeypatch.setattr(incoming, "stop", stop)


def test_a_claim_says_that_nobody_has_heard_it(world):
    world.lose_power("salt1")
    take_over(world)
    assert own(world)["heard"] is False and "withdrawn" not in own(world)


def test_a_takeover_by_a_persons_word_needs_nobody_to_hear_it(world):
    world.lose_power("salt1")
    take_over(world, run=samples.RUN)
    assert "heard" not in own(world)


@pytest.mark.parametrize(
    ("settled", "unsynced"),
    [([True, True], None), ([False], True), ([True, False], True)],
    ids=["nothing comes", "something had come", "something comes while the ledger is written"],
)
def test_a_claim_says_what_may_not_be_on_the_disk(world, monkeypatch, settled, unsynced):
    world.lose_power("salt1")
    monkeypatch.setattr(claims.on_disk, "is_settled", lambda member: settled.pop(0))
    take_over(world)
    assert own(world).get("unsynced") is unsynced and own(world)["heard"] is False and settled == []


def come_back(world):
    world.holders[GATEWAY] = {"salt1"}


def test_whoever_answers_after_the_ledger_was_written_serves_on(world, monkeypatch):
    world.holders[GATEWAY] = set()
    at_the_ledger(world, monkeypatch, lambda: come_back(world))
    with pytest.raises(Refused, match="answers since salt2 has written its ledger"):
        take_over(world)
    assert world.serving() == "salt1"
    # It would take over with the data of this moment when salt1 dies.
    assert not admitted(world) and own(world)["generation"] == 6
    assert world.detached[-1] == ("salt2", ["renounce", "salt"])


def test_the_standby_of_a_claim_that_never_had_the_address_stands_by_again(world, monkeypatch):
    world.holders[GATEWAY] = set()
    at_the_ledger(world, monkeypatch, lambda: come_back(world))
    with pytest.raises(Refused):
        take_over(world)
    with world.on("salt2") as member:
        assert gate.write_refusal(member.config, own(world)), "salt1's lsyncd is refused meanwhile"
    assert "stands by" in meet(world)
    assert world.asked == [("report",), ("serve-on", "6"), ("carried", "7")]
    assert world.ledgers() == [(7, "salt1"), (7, "salt1")]
    assert judged(world).name == verdict.NORMAL
    # Without a takeover: lsyncd runs on, and salt1 has served since it came home.
    assert world.units["salt1"] == {"lsyncd.service"}
    assert own(world, "salt1")["run"] == samples.RUN


def test_it_does_not_if_not_all_was_carried_that_was_refused_meanwhile(world, monkeypatch):
    world.holders[GATEWAY] = set()
    at_the_ledger(world, monkeypatch, lambda: come_back(world))
    with pytest.raises(Refused):
        take_over(world)
    world.carries = "lsyncd is behind"
    with pytest.raises(FailbackError, match="lsyncd is behind"):
        meet(world)
    found = judged(world)
    assert (found.name, found.unsaved) == (verdict.STANDBY_RETURNED, False)
    assert not admitted(world)
    with world.on("salt2") as member:
        assert gate.write_refusal(member.config, own(world)) is None, "it may carry now"


def pause(world):
    world.members["salt2"].pause.set(60, "a test")


def stand_still(world):
    world.now += 10


@pytest.mark.parametrize(
    ("between", "told"),
    [
        (lambda world: pause(world), "was paused meanwhile"),
        (
            lambda world: files.write_json(world.members["salt2"].ledger.path, {**own(world), "why": "x"}),
            "has changed meanwhile",
        ),
    ],
    ids=["paused", "another ledger"],
)
def test_what_spoke_for_the_takeover_is_looked_at_again(world, monkeypatch, between, told):
    world.lose_power("salt1")
    at_the_ledger(world, monkeypatch, lambda: between(world))
    with pytest.raises(Refused, match=told):
        take_over(world)
    assert world.serving() == "nobody"


def test_a_node_that_stood_still_before_the_address_looks_again_and_may_claim_again(world, monkeypatch):
    world.lose_power("salt1")
    real = claims.about_to_take
    monkeypatch.setattr(claims, "about_to_take", lambda *words: (real(*words), stand_still(world)))
    with pytest.raises(Unavailable, match="stood still"):
        take_over(world)
    assert world.serving() == "nobody"
    monkeypatch.setattr(claims, "about_to_take", real)
    assert take_over(world)["generation"] == 7
    assert world.serving() == "salt2"


def test_a_node_that_stood_still_while_it_took_the_address_gives_it_to_whoever_serves(world):
    world.holders[GATEWAY] = set()

    def stopped():
        stand_still(world)
        world.holders[GATEWAY].add("salt1")

    world.hooks[("salt2", "taken")] = stopped
    with pytest.raises(Refused, match=r"stood still.*02:00:00:00:00:01 answers"):
        take_over(world)
    assert world.serving() == "salt1"
    assert own(world)["unsaved"] is True, "it had the address for a moment"


def test_a_slow_disk_alone_stops_no_takeover(world, monkeypatch):
    world.lose_power("salt1")
    at_the_ledger(world, monkeypatch, lambda: stand_still(world))
    take_over(world)
    assert world.serving() == "salt2"


def test_a_kernel_that_says_no_leaves_a_claim_that_may_be_made_again(world):
    world.lose_power("salt1")

    def no():
        raise Unavailable("eth0 is gone")

    world.hooks[("salt2", "take")] = no
    with pytest.raises(Unavailable, match="eth0 is gone"):
        take_over(world)
    assert own(world)["withdrawn"] is True and admitted(world)
    assert take_over(world)["generation"] == 7


def test_a_watch_that_was_killed_between_the_two_renounces_when_it_is_back(world):
    """Else salt1's lsyncd is refused for ever, and when salt1 dies salt2 serves with old data."""
    world.holders[GATEWAY] = set()

    def killed():
        raise Killed

    world.hooks[("salt2", "take")] = killed
    with pytest.raises(Killed):
        take_over(world)
    come_back(world)
    assert world.ledgers() == [(5, "salt1"), (6, "salt2")]
    meet(world)
    assert world.ledgers() == [(7, "salt1"), (7, "salt1")]
    # Killed in the very moment, it may have had the address for all that is known.
    assert own(world)["unsaved"] is True
    assert judged(world).name == verdict.STANDBY_RETURNED


# --- heard, withdrawn ----------------------------------------------------------------------------


def test_a_claim_that_was_heard_says_so_and_keeps_the_rest(world):
    world.lose_power("salt1")
    take_over(world)
    before = own(world)
    with world.on("salt2") as member:
        assert claims.heard(member) is True
        assert claims.heard(member) is False
    assert own(world) == {**before, "heard": True}


def test_that_a_claim_was_heard_counts_before_the_disk_has_it(world, monkeypatch):
    world.cut = True
    take_over(world)
    met = []

    def slow(member, own, **changes):
        world.cut = False
        meet(world, "salt1")
        met.append(world.serving())

    with monkeypatch.context() as patched:
        patched.setattr(claims, "_rewrite", slow)
        with world.on("salt2") as member:
            claims.heard(member)
    assert met == ["salt2"], "the other node, which served all the time, gives way"


def test_a_ledger_that_the_disk_has_refused_says_later_that_the_claim_was_heard(world, monkeypatch):
    world.lose_power("salt1")
    take_over(world)
    before = own(world)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    with world.on("salt2") as member:
        assert claims.catch_up(member) is False, "nobody has heard it"
        with monkeypatch.context() as patched, pytest.raises(OSError):
            patched.setattr(claims, "_rewrite", full)
            claims.heard(member)
        # The watch has nothing more to do: the claim counts as heard until the node boots.
        assert claims.heard(member) is False and member.ledger.is_behind()
        assert claims.catch_up(member) is True
        assert claims.catch_up(member) is False
        world.boots["salt2"] += 1
    assert own(world) == {**before, "heard": True}


def test_what_was_heard_before_a_reboot_or_in_another_generation_counts_for_nothing(world):
    world.lose_power("salt1")
    take_over(world)
    with world.on("salt2") as member:
        found = member.ledger.read()
        member.ledger.note_heard({**found, "generation": 5})
        assert member.ledger.read()["heard"] is False
        member.ledger.note_heard(found)
        assert member.ledger.read()["heard"] is True
        world.boots["salt2"] += 1
    with world.on("salt2") as member:
        assert member.ledger.read()["heard"] is False


def test_a_claim_that_is_withdrawn_is_not_heard_by_a_note(world):
    world.cut = True
    take_over(world)
    with world.on("salt2") as member:
        before = member.ledger.read()
        claims.withdraw(member, "Nobody has heard it.")
        member.ledger.note_heard(before)
        assert hearing.unheard(member.ledger.read())
        assert claims.heard(member) is False


def test_a_full_run_does_not_keep_a_claim_from_being_heard(world, monkeypatch):
    world.lose_power("salt1")
    take_over(world)
    written = files.write_json

    def full(path, *words, **more):
        if path.name == "heard.json":
            raise OSError(28, "No space left on device")
        return written(path, *words, **more)

    monkeypatch.setattr(files, "write_json", full)
    with world.on("salt2") as member:
        assert claims.heard(member) is True
        assert files.read_json(member.ledger.path, "the ledger")["heard"] is True


def test_a_withdrawn_claim_has_no_address_and_is_not_active_and_may_be_made_again(world):
    world.cut = True
    take_over(world)
    with world.on("salt2") as member:
        assert "withdrawn" in claims.withdraw(member, "Nobody has heard it.")
        assert not member.is_active()
    assert world.serving() == "salt1"
    assert (own(world)["generation"], own(world)["withdrawn"]) == (6, True)
    world.lose_power("salt1")
    assert take_over(world)["generation"] == 7
    assert "withdrawn" not in own(world)


def test_what_a_withdrawn_claim_has_started_is_stopped(world):
    world.cut = True
    take_over(world)
    with world.on("salt2") as member:
        member.config["active_services"] = [{"name": "nagios", "proof": None, "status": None}]
        claims.withdraw(member, "Nobody has heard it.")
    assert world.detached[-1] == ("salt2", ["stop-active", "salt"])
    world.units["salt2"] = {"nagios", "sshd.service"}
    with world.on("salt2") as member:
        claims.stop_active(member)
    assert world.units["salt2"] == {"sshd.service"}


def test_nothing_is_stopped_on_the_active_node(world):
    with world.on("salt1") as member:
        assert "nothing is stopped" in " ".join(claims.stop_active(member))
    assert world.units["salt1"] == {"lsyncd.service"}


@pytest.mark.parametrize("heard", [None, True])
def test_a_claim_that_was_heard_is_not_withdrawn(world, heard):
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(6, "salt1", None, "a test", heard=heard))
        claims.withdraw(member, "Nobody has heard it.")
    assert world.serving() == "salt1" and own(world, "salt1")["generation"] == 6


# --- two that meet -------------------------------------------------------------------------------


def test_a_node_that_was_cut_off_does_not_take_the_service_from_the_one_that_served(world):
    cut_off_claim(world)
    assert "salt2 stepped down to salt1" in meet(world)
    assert world.serving() == "salt1"
    assert world.ledgers() == [(7, "salt1"), (7, "salt1")]
    found = judged(world)
    assert (found.name, found.active, found.unsaved) == (verdict.STANDBY_RETURNED, "salt1", True)
    assert world.units["salt1"] == {"lsyncd.service"}


def test_nor_when_it_had_just_begun_to_tell_the_other_one_to_step_down(world):
    """The network heals within the seconds in which SSH tries."""
    cut_off_claim(world)
    with world.on("salt2") as member:
        takeover.ask_to_yield(member)
    assert world.serving() == "salt1"
    assert not [words for words in world.asked if words[0] == "yield"]


def test_a_node_whose_address_nobody_answers_for_is_told_to_step_down_as_before(world):
    """It may be cut off on that network alone, and reached on another."""
    world.unlinked["salt1"] = {GATEWAY}
    world.holders[GATEWAY] = set()
    take_over(world)
    world.cut = False
    with world.on("salt2") as member:
        assert "salt1 stepped down" in takeover.ask_to_yield(member)
    assert own(world)["heard"] is True, "the other node has answered"
    assert world.ledgers() == [(6, "salt2"), (6, "salt2")]


def test_a_claim_that_was_heard_takes_the_service_from_a_node_that_was_cut_off(world):
    cut_off_claim(world)
    with world.on("salt2") as member:
        claims.heard(member)
    meet(world)
    assert world.serving() == "salt2"
    assert own(world, "salt1")["unsaved"] is True


def test_seen_from_the_other_side_it_is_the_same(world):
    """Where both nodes watch, the one that served may see it first."""
    cut_off_claim(world)
    meet(world, "salt1")
    assert (world.serving(), world.ledgers()) == ("salt1", [(7, "salt1"), (7, "salt1")])


def test_the_other_node_is_told_first_so_that_there_is_one_history_whatever_ends(world, monkeypatch):
    cut_off_claim(world)

    def killed(*_):
        raise Killed

    monkeypatch.setattr(takeover, "yield_to", killed)
    with pytest.raises(Killed):
        meet(world)
    monkeypatch.undo()
    assert world.ledgers() == [(7, "salt1"), (6, "salt2")]


def test_a_release_that_does_not_know_the_request_is_told_to_step_down_as_before(world):
    world.knows = ()
    cut_off_claim(world)
    meet(world)
    assert (world.serving(), world.ledgers()[0]) == ("salt2", (6, "salt2"))


def test_a_node_that_nobody_has_heard_does_not_keep_what_another_host_has_if_the_peer_cannot_be_asked(
    world, monkeypatch
):
    cut_off_claim(world)

    def silent(*_, **__):
        raise Unavailable("no answer")

    monkeypatch.setattr(ssh, "ask", silent)
    meet(world)
    assert world.serving() == "salt1" and own(world)["withdrawn"] is True


def test_a_request_that_is_refused_leaves_one_holder(world):
    """A handover is under way on the other node, for instance."""
    cut_off_claim(world)
    with world.on("salt1") as member:
        phases.write_state(member, run=samples.RUN, phase=phases.ARMED, deadline=world.now + 60)
    with pytest.raises(Refused, match="A handover of salt is under way"):
        meet(world)
    assert own(world)["withdrawn"] is True
    assert (world.serving(), world.ledgers()[0]) == ("salt1", (5, "salt1"))


# --- serving on ----------------------------------------------------------------------------------


def serve_on(world, generation, node="salt1"):
    with world.on(node) as member:
        return claims.serve_on(member, generation)


def test_serving_on_raises_the_generation_and_nothing_else(world):
    before = own(world, "salt1")
    assert serve_on(world, 6) == 7
    after = own(world, "salt1")
    assert {key for key in after if after[key] != before.get(key)} == {"generation", "why"}
    assert world.serving() == "salt1" and world.units["salt1"] == {"lsyncd.service"}


def test_asked_once_more_it_says_the_same(world):
    assert serve_on(world, 6) == 7
    assert serve_on(world, 6) == 7
    assert serve_on(world, 3) == 7


@pytest.mark.parametrize(
    "but",
    [
        lambda world: world.holders.update({GATEWAY: set()}),
        lambda world: world.boots.update(salt1=9),
        lambda world: world.members["salt1"].ledger.path.unlink(),
        lambda world: world.members["salt1"].ledger.path.write_text("{"),
        lambda world: files.write_json(
            world.members["salt1"].ledger.path, {**own(world, "salt1"), "heard": False}
        ),
        lambda world: files.write_json(
            world.members["salt1"].volatile / "handover.json",
            {"run": samples.RUN, "phase": phases.RELEASED, "deadline": world.now + 5},
        ),
    ],
    ids=["no address", "rebooted", "no ledger", "torn ledger", "unheard itself", "in a handover"],
)
def test_a_node_that_does_not_serve_undisputed_does_not_serve_on(world, but):
    but(world)
    with pytest.raises(FailbackError):
        serve_on(world, 6)


@pytest.mark.parametrize("node", ["salt2", "salt1"])
def test_nobody_says_that_all_is_carried_who_does_not_serve_in_that_generation(world, node):
    with world.on(node) as member, pytest.raises(Refused):
        claims.carried(member, 5 if node == "salt2" else 6)


@pytest.mark.parametrize("verb", hearing.REQUESTS)
def test_what_a_report_names_may_be_asked_for(verb):
    assert peer_requests.parse(f"{verb} 7") == [verb, "7"]
    with pytest.raises(Refused):
        peer_requests.parse(f"{verb} 7; reboot")


def test_two_that_renounce_at_once_say_it_once(world, monkeypatch):
    """The watch, and the process that a failed takeover has left behind."""
    cut_off_claim(world)
    real = claims.renounce

    def renounce(member, entry):
        monkeypatch.setattr(claims, "renounce", real)
        meet(world)
        return real(member, entry)

    monkeypatch.setattr(claims, "renounce", renounce)
    meet(world)
    assert (world.serving(), world.ledgers()) == ("salt1", [(7, "salt1"), (7, "salt1")])


@pytest.mark.parametrize("answer", ["", "hello", "{}", '{"generation": 6}', '{"generation": "8"}', "[7]"])
def test_an_answer_that_proves_nothing_makes_nobody_step_down_to_it(world, monkeypatch, answer):
    cut_off_claim(world)
    real = ssh.ask

    def ask(member, *words, timeout=None):
        return answer if words[0] == "serve-on" else real(member, *words, timeout=timeout)

    monkeypatch.setattr(ssh, "ask", ask)
    with pytest.raises(Unavailable, match="no answer that can be read|not above"):
        meet(world)
    assert world.serving() == "salt1" and own(world)["generation"] == 6


def asks_to_yield(world, node="salt2"):
    with world.on(node) as member:
        return takeover.ask_to_yield(member)


@pytest.mark.parametrize("meets", [meet, asks_to_yield], ids=["the watch", "the takeover"])
def test_a_claim_that_is_heard_while_the_other_node_is_asked_is_not_renounced(world, monkeypatch, meets):
    """A cut of six seconds: what was asked in its first is answered when all clients are here."""
    world.holders[GATEWAY] = set()
    take_over(world)
    world.holders[GATEWAY].add("salt1")  # it is cut off no more
    real = ssh.ask

    def late(member, *words, timeout=None):
        if words == ("report",) and member.node == "salt2":
            assert claims.heard(member)
        return real(member, *words, timeout=timeout)

    monkeypatch.setattr(ssh, "ask", late)
    meets(world)
    assert world.serving() == "salt2"
    assert [own(world, node)["active"] for node in ("salt1", "salt2")] == ["salt2", "salt2"]


def test_an_answer_that_is_lost_leaves_no_two_nodes_in_one_generation(world, monkeypatch):
    """salt1 serves on in generation 7 and is cut off at that moment; salt2 claims again, and is heard."""
    world.holders[GATEWAY] = set()
    take_over(world)
    world.holders[GATEWAY].add("salt1")
    real = ssh.ask

    def lost(member, *words, timeout=None):
        answer = real(member, *words, timeout=timeout)
        if words[0] == "serve-on":
            raise Unavailable("no end within 10 seconds")
        return answer

    monkeypatch.setattr(ssh, "ask", lost)
    with pytest.raises(Unavailable, match="no end"):
        meet(world)
    assert (own(world, "salt1")["generation"], world.serving()) == (7, "salt1")
    world.holders[GATEWAY] = set()  # as salt2 sees it
    monkeypatch.setattr(ssh, "ask", real)
    assert take_over(world)["generation"] == 8
    world.holders[GATEWAY].add("salt1")
    with world.on("salt2") as member:
        assert claims.heard(member)
    meet(world, "salt1")
    assert world.serving() == "salt2"


# --- what a claim may have had ------------------------------------------------------------------------


def test_a_claim_has_had_an_address_unless_it_is_noted_that_it_has_not(world):
    world.lose_power("salt1")
    with world.on("salt2") as member:
        claims.begin(member, 6, "silence", None)
        entry = member.ledger.read()
        assert not claims.had_an_address(member, entry) and not claims.may_have_served(member, entry)
        assert claims.had_an_address(member, {**entry, "generation": 7}), "the note is another claim's"
        assert claims.had_an_address(member, {**entry, "unsaved": True})
        assert claims.may_have_served(member, {**entry, "heard": True})
        claims._note(member).write_text("torn")
        assert claims.had_an_address(member, entry)
        claims._note(member).unlink()
        assert claims.had_an_address(member, entry)
        claims.begin(member, 7, "silence", None)
        claims.about_to_take(member, member.ledger.read())
        assert claims.had_an_address(member, member.ledger.read())


def test_a_claim_of_before_a_reboot_may_have_had_an_address(world, monkeypatch):
    with world.on("salt2") as member:
        claims.begin(member, 6, "silence", None)
        monkeypatch.setattr(system, "boot_id", lambda: "the next boot")
        assert claims.had_an_address(member, member.ledger.read())


@pytest.mark.parametrize("gone", [True, False], ids=["no ledger", "another ledger"])
def test_who_is_heard_when_the_pair_has_changed_hands_meanwhile_says_nothing(world, monkeypatch, gone):
    """Between the look at the ledger and its lock."""
    cut_off_claim(world)
    with world.on("salt2") as member:
        real = member.ledger.changing_hands

        def changing_hands():
            if gone:
                member.ledger.path.unlink()
            else:
                member.ledger.write(ledger.Entry(7, "salt1", None, "a test"))
            return real()

        monkeypatch.setattr(member.ledger, "changing_hands", changing_hands)
        assert claims.heard(member) is False
        assert member.ledger.read() is None if gone else member.ledger.read()["generation"] == 7


def test_a_generation_that_nobody_can_have_reached_is_not_served_on_above(world):
    before = world.ledgers()
    with pytest.raises(Refused, match="salt1 does not serve salt on above 900000000: "):
        serve_on(world, 900_000_000)
    assert world.ledgers() == before


# --- what has been carried ----------------------------------------------------------------------------


@pytest.fixture
def lsyncd(world, monkeypatch):
    """What lsyncd's passes say, one after the other; which were asked for, and with which limit."""
    found = types.SimpleNamespace(says=[], asked=[], state="active")

    def wait(what):
        def done(member, limit):
            found.asked.append((what, limit))
            if found.says and found.says.pop(0):
                raise Unavailable(f"{what} has not ended")

        return done

    monkeypatch.setattr(claims.lsyncd_status, "first_pass", wait("first pass"))
    monkeypatch.setattr(claims.lsyncd_status, "drain", wait("drain"))
    monkeypatch.setattr(claims.services, "states", lambda units: {one["name"]: found.state for one in units})
    return found


def carried(world):
    with world.on("salt1") as member:
        claims.carried(member, 5)


def names(lsyncd):
    return [what for what, _ in lsyncd.asked]


def test_all_is_carried_when_the_first_pass_and_what_came_since_are(world, lsyncd):
    carried(world)
    assert names(lsyncd) == ["first pass", "drain"]
    assert {limit for _, limit in lsyncd.asked} == {claims.CARRIED_WITHIN}


def test_an_lsyncd_that_comes_again_is_waited_for(world, lsyncd):
    """Refused by the other node it has ended, and systemd starts it again."""
    lsyncd.says, lsyncd.state = [True, True, False, True], "activating"
    began = world.now
    carried(world)
    assert names(lsyncd) == ["first pass", "first pass", "first pass", "drain", "first pass", "drain"]
    assert world.now - began == 1.5
    assert [limit for _, limit in lsyncd.asked][-1] == claims.CARRIED_WITHIN - 1.5


def test_an_lsyncd_that_does_not_come_is_not_waited_for(world, lsyncd):
    lsyncd.says, lsyncd.state = [True], "failed"
    with pytest.raises(Unavailable, match="first pass has not ended"):
        carried(world)
    assert names(lsyncd) == ["first pass"]


def test_an_lsyncd_that_comes_and_goes_is_waited_for_so_long(world, lsyncd):
    lsyncd.says = [True] * 10_000
    began = world.now
    with pytest.raises(Unavailable):
        carried(world)
    assert 0 <= world.now - began - claims.CARRIED_WITHIN < 1
    assert min(limit for _, limit in lsyncd.asked) == 1.0


def test_a_pair_without_paths_has_nothing_to_carry(world, lsyncd):
    world.members["salt1"].config["replicate"] = []
    carried(world)
    assert lsyncd.asked == []


# --- who stands by again ------------------------------------------------------------------------------


def stands_by_again(world, **changes):
    with world.on("salt2") as member:
        return claims.admit_again(member, {"requests": list(hearing.REQUESTS), **changes})


def stepped_down(world, **changes):
    with world.on("salt2") as member:
        entry = ledger.Entry(6, "salt1", None, "stepped down", **{"admitted": False, **changes})
        member.ledger.write(entry)
    with world.on("salt1") as member:
        member.ledger.write(ledger.Entry(6, "salt1", None, "served on"))


def test_all_is_carried_before_a_node_stands_by_again(world):
    stepped_down(world)
    assert stands_by_again(world) == "salt2 stands by in salt again, in generation 6"
    assert world.asked == [("carried", "6")] and admitted(world)


@pytest.mark.parametrize("why", ["it has data of its own", "it serves", "an older release there"])
def test_what_an_orchestration_has_to_do_is_left_to_one(world, why):
    stepped_down(world, unsaved=why == "it has data of its own")
    if why == "it serves":
        with world.on("salt2") as member:
            member.ledger.write(ledger.Entry(7, "salt2", None, "a test", admitted=False))
    changes = {"requests": ["yield"]} if "release" in why else {}
    assert stands_by_again(world, **changes) == "salt2 is not admitted to salt: orch.recover does that."
    assert world.asked == [] and not admitted(world)


def test_a_node_that_has_changed_hands_meanwhile_does_not_stand_by(world, monkeypatch):
    stepped_down(world)
    real = ssh.ask

    def ask(member, *words, **more):
        member.ledger.write(ledger.Entry(7, "salt1", None, "a handover", admitted=False))
        return real(member, *words, **more)

    monkeypatch.setattr(ssh, "ask", ask)
    with pytest.raises(Refused, match="salt2 has changed hands since it asked salt1 what it has carried"):
        stands_by_again(world)
    assert not admitted(world) and own(world)["generation"] == 7


def test_a_node_whose_path_lies_elsewhere_does_not_stand_by(world):
    stepped_down(world)
    samples.lies_elsewhere(world.members["salt2"])
    with pytest.raises(Refused, match="salt2 is not admitted to salt"):
        stands_by_again(world)
    assert world.asked == [] and not admitted(world)


# --- two that meet ------------------------------------------------------------------------------------


def test_what_nobody_can_judge_is_left_to_a_person(world):
    """A third host has the address, and the other node has no ledger that says anything."""
    cut_off_claim(world)
    world.holders[GATEWAY].discard("salt2")
    world.members["salt1"].ledger.path.unlink()
    world.asked.clear()
    assert meet(world) == ""
    assert world.asked == [("report",)] and world.serving() == "salt1"


def test_a_claim_that_is_heard_at_the_last_moment_is_not_withdrawn(world, monkeypatch):
    cut_off_claim(world)
    real = claims.withdraw

    def withdraw(member, why):
        claims.heard(member)
        return real(member, why)

    monkeypatch.setattr(claims, "withdraw", withdraw)
    world.asked.clear()
    meet(world)
    assert world.asked == [("report",), ("yield", "6")]
    assert (world.serving(), world.ledgers()) == ("salt2", [(6, "salt2"), (6, "salt2")])
