"""Who is asked before a takeover, and which of two nodes that meet serves on."""

import pytest
import samples

from failback.decisions import hearing

WITNESSES = {"witnesses": ["client"], "witness_hosts": {"client": "10.0.0.100"}}


@pytest.mark.parametrize(
    ("reachable", "more", "asked", "gateways"),
    [
        (hearing.ORDINARY, {}, [], True),
        (hearing.ORDINARY, WITNESSES, ["10.0.0.100"], True),
        (["10.0.0.1"], WITNESSES, ["10.0.0.1"], False),
        (hearing.NOBODY, WITNESSES, hearing.NOBODY, False),
        # What an earlier release has written where the pillar named nobody.
        ([], WITNESSES, ["10.0.0.100"], True),
    ],
)
def test_who_is_asked(reachable, more, asked, gateways):
    config = samples.pair(watch={"reachable": reachable}, **more)
    assert hearing.asked(config) == asked
    assert hearing.asks_gateways(config) is gateways


def test_a_configuration_of_an_earlier_release_has_no_addresses_of_witnesses():
    config = samples.pair(watch={"reachable": []}, witnesses=["client"])
    del config["witness_hosts"]
    assert hearing.asked(config) == []


@pytest.mark.parametrize(
    ("node", "on", "watches"),
    [
        ("salt1", "secondary", False),
        ("salt2", "secondary", True),
        ("salt1", "both", True),
        ("salt2", "nobody", False),
    ],
)
def test_whose_problem_it_is_that_there_is_nobody_to_ask(node, on, watches):
    address = {**samples.PAIR["floating_ips"][0], "watch": {"on": on, "cron": "gateway-ip"}}
    assert hearing.watches(samples.pair(node, floating_ips=[address])) is watches


def test_the_sentence_names_what_to_write():
    said = hearing.nobody_to_ask("salt", "salt2")
    for word in (
        "salt2",
        "reachable: [<the router>]",
        "host: <its address>",
        "reachable: nobody",
        "highstate",
    ):
        assert word in said


# --- two that meet -------------------------------------------------------------------------------


def own(generation, heard=None, active="salt2"):
    entry = samples.ledger(generation, active)
    return entry if heard is None else {**entry, "heard": heard}


def of_the_other(generation, heard=None, active="salt1", holds=("10.0.0.5/24",), **changes):
    """What salt1 reports."""
    return {**samples.report("salt1", own(generation, heard, active), holds), **changes}


@pytest.mark.parametrize(
    ("mine", "holds", "report", "wanted"),
    [
        # The number decides among those that were heard, and among those that were not.
        (own(5), True, of_the_other(6), hearing.STEP_DOWN),
        (own(7), True, of_the_other(6), hearing.ASK),
        (own(7, True), True, of_the_other(6, True), hearing.ASK),
        (own(7, False), True, of_the_other(6, False), hearing.ASK),
        (own(6, False), True, of_the_other(7, False), hearing.STEP_DOWN),
        # A claim that nobody has heard yields to one that somebody has, whatever its number.
        (own(7, False), True, of_the_other(6), hearing.RENOUNCE),
        (own(7, False), False, of_the_other(6), hearing.RENOUNCE),
        (own(7, False), True, of_the_other(6, True), hearing.RENOUNCE),
        (own(5), True, of_the_other(6, False), hearing.SERVE_ON),
        (own(5, True), True, of_the_other(6, False), hearing.SERVE_ON),
        # Not to a node that does not serve: its boot, its address or its ledger says so.
        (own(7, False), True, of_the_other(6, holds=()), hearing.ASK),
        (own(7, False), True, of_the_other(6, boot_id="another"), hearing.ASK),
        (own(7, False), True, of_the_other(6, active="salt2"), hearing.ASK),
        (own(7, False), False, of_the_other(6, holds=()), hearing.LEAVE),
        # Nor does a node serve on that has no address, or that was told by the other one who is active.
        (own(5), False, of_the_other(6, False), hearing.STEP_DOWN),
        (own(5), True, of_the_other(6, False, active="salt2"), hearing.STEP_DOWN),
        # A release that does not know the key has been heard.
        (own(5, False), False, of_the_other(6), hearing.STEP_DOWN),
        # Nothing is known.
        (None, True, of_the_other(6), hearing.ASK),
        (own(5), True, {"node": "salt1", "ledger": None}, hearing.ASK),
        (own(5), False, {}, hearing.LEAVE),
        # Without the address and with the newer data: a person says which counts.
        (own(7), False, of_the_other(6), hearing.LEAVE),
    ],
)
def test_which_of_two_serves_on(mine, holds, report, wanted):
    assert hearing.meeting(mine, holds, report) == wanted


@pytest.mark.parametrize("mine", [own(5), own(5, True), own(5, False), own(7), own(7, True), own(7, False)])
@pytest.mark.parametrize("theirs", [(6, None), (6, True), (6, False)])
def test_never_do_both_step_down_nor_both_serve_on(mine, theirs):
    """Each looks at the other one; they hold the same address."""
    other = of_the_other(*theirs)
    me = {**samples.report("salt2", mine, ["10.0.0.5/24"]), "node": "salt2"}
    here = hearing.meeting(mine, True, other)
    there = hearing.meeting(other["ledger"], True, me)
    gives = {hearing.STEP_DOWN, hearing.RENOUNCE}
    assert (here in gives) != (there in gives), (here, there)
