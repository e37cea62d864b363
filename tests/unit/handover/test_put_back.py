"""An active node puts its own missing address back, and nothing that may be another's."""

import types

import pytest
import samples
import two_nodes
from handover_cases import GATEWAY
from two_nodes import World

from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import phases
from failback.handover import put_back
from failback.network import address_holder
from failback.peer import ssh
from failback.state import ledger

IP = "10.0.0.5"


@pytest.fixture(autouse=True)
def announced(monkeypatch):
    """By which nodes the addresses are announced again, in the seconds after."""
    found = []
    monkeypatch.setattr(address_holder, "announce_later", lambda member: found.append(member.node))
    return found


@pytest.fixture
def lacking(world):
    """The address has gone from salt2, which serves."""
    world.holders[GATEWAY].discard("salt2")
    assert world.serving() == "nobody"
    return world


def puts_back(world, had=(IP,), ask_first=False, node="salt2"):
    with world.on(node) as member:
        return put_back.put_back(member, frozenset(had), ask_first)


def test_it_serves_again_in_the_same_generation(lacking, announced):
    before = lacking.ledgers()
    said = puts_back(lacking)
    assert "salt2 has put salt-gw back" in said and "salt-run pair.pause salt" in said
    assert lacking.serving() == "salt2" and lacking.ledgers() == before
    # Whoever has learnt another host's address hears of it more than once.
    assert announced == ["salt2"]


def test_nothing_is_missing_any_more(world, announced):
    assert puts_back(world) is None
    assert world.serving() == "salt2" and announced == []


@pytest.mark.parametrize("why", ["it never had it", "there is no link"])
def test_what_is_not_to_be_put_back_is_left(lacking, why):
    if why == "there is no link":
        lacking.nodes["salt2"].carrier = False
    assert puts_back(lacking, had=() if why == "it never had it" else (IP,)) is None
    assert lacking.serving() == "nobody"


def test_only_what_is_missing_is_put_back(tmp_path, monkeypatch):
    world = World(tmp_path, monkeypatch, floating_ips=[samples.PAIR["floating_ips"][0], samples.SECOND])
    world.holders[GATEWAY].discard("salt2")
    said = puts_back(world, had=(IP, "10.0.0.6"))
    assert "put salt-gw back" in said and "salt-v6" not in said
    assert world.serving() == "salt2"


def is_the_standby(world, member):
    member.ledger.write(ledger.Entry(5, "salt1", None, "a handover"))


def is_not_admitted(world, member):
    member.ledger.write(ledger.Entry(5, "salt2", None, "stepped down", admitted=False))


def has_no_ledger(world, member):
    member.ledger.path.unlink()


def has_a_torn_ledger(world, member):
    member.ledger.path.write_text("torn")


def is_paused(world, member):
    member.pause.set(60, "work on the switch")


def has_a_torn_pause(world, member):
    member.pause.set(60, "work on the switch")
    member.pause.path.write_text("torn")


def hands_over(world, member):
    phases.write_state(member, run=samples.RUN, phase=phases.RELEASED, deadline=world.now + 10)


def has_a_torn_handover(world, member):
    phases.write_state(member, phase=phases.DONE)
    phases._state_file(member).write_text("torn")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (is_the_standby, "does not name it active"),
        (is_not_admitted, "does not name it active"),
        (has_no_ledger, "no ledger of salt"),
        (has_a_torn_ledger, "the ledger of salt.*damaged"),
        (is_paused, "paused .work on the switch"),
        (has_a_torn_pause, "its pause cannot be read.*damaged"),
        (hands_over, f"handover is under way .run {samples.RUN}"),
        (has_a_torn_handover, "the state of a handover.*damaged"),
    ],
)
def test_a_node_that_is_not_to_serve_puts_nothing_back(lacking, change, words):
    with lacking.on("salt2") as member:
        change(lacking, member)
    with pytest.raises(Refused, match=words):
        puts_back(lacking)
    assert lacking.serving() == "nobody"


def test_a_handover_of_before_does_not_keep_it_from_that(lacking):
    with lacking.on("salt2") as member:
        hands_over(lacking, member)
    lacking.now += 10 + phases.COMMIT_MARGIN
    puts_back(lacking)
    assert lacking.serving() == "salt2"


def test_a_pair_with_a_lease_is_left_to_the_guard(lacking):
    lacking.members["salt2"].config["lease"] = {"endpoints": []}
    with pytest.raises(Refused, match="has a lease"):
        puts_back(lacking)
    assert lacking.serving() == "nobody"


def test_what_another_host_answers_for_is_left_to_it(lacking):
    lacking.holders[GATEWAY].add("salt1")
    with pytest.raises(Refused, match=f"answered by {two_nodes.MACS['salt1']}"):
        puts_back(lacking)
    assert lacking.serving() == "salt1"


def test_what_another_host_takes_in_that_moment_is_released_again(lacking, announced):
    lacking.hooks[("salt2", "taken")] = lambda: lacking.holders[GATEWAY].add("salt1")
    with pytest.raises(Refused, match=f"{two_nodes.MACS['salt1']} has taken them in the same moment"):
        puts_back(lacking)
    assert lacking.serving() == "salt1" and announced == []


# --- when the other node may have taken over since ----------------------------------------------------


@pytest.fixture
def asked(monkeypatch):
    """What the other node is asked for, and its answer."""
    found = types.SimpleNamespace(times=0, answer={})

    def report(member, timeout):
        assert timeout <= put_back.ANSWERS_WITHIN
        found.times += 1
        if found.answer is None:
            raise Unavailable("no answer")
        return found.answer

    monkeypatch.setattr(ssh, "report", report)
    return found


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(None, id="it does not answer"),
        pytest.param({}, id="it has no ledger"),
        pytest.param({"ledger": samples.ledger(3, "salt1")}, id="older"),
        pytest.param({"ledger": samples.ledger(4, "salt2")}, id="the same"),
    ],
)
def test_who_knows_nothing_newer_does_not_keep_it_from_serving(lacking, asked, answer):
    asked.answer = answer
    puts_back(lacking, ask_first=True)
    assert asked.times == 1 and lacking.serving() == "salt2"


def test_a_newer_generation_is_left_alone_whoever_answers(lacking, asked):
    asked.answer = {"ledger": samples.ledger(5, "salt1")}
    with pytest.raises(Refused, match="salt1 knows generation 5 and salt2 only 4: salt1 may have served"):
        puts_back(lacking, ask_first=True)
    assert lacking.serving() == "nobody"


def test_nobody_is_asked_while_nobody_can_have_followed(lacking, asked):
    asked.answer = {"ledger": samples.ledger(5, "salt1")}
    puts_back(lacking)
    assert asked.times == 0 and lacking.serving() == "salt2"
