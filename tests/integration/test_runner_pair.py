"""salt-run pair.*: what an operator types, its answer and its exit status."""

import json
import re
import time

import pair_site
import pytest

#: What is typed wrongly, and words of the answer. All of it is tried at once, once.
MISTAKES = {
    ("pair.status", "nope"): ["There is no pair nope (pairs: salt)", "salt-run pair.status"],
    ("pair.status", "nothing=1"): ["'nothing'", "Usage: salt-run -d pair.status"],
    ("pair.status", "salt", "extra"): ["timeout must be from 1 to 60", "'extra'"],
    ("pair.status", "salt", "3", "extra"): ["too many", "Usage: salt-run -d pair.status"],
    ("pair.plan",): ["No pair was named", "salt-run pair.plan"],
    ("pair.plan", "nope"): ["There is no pair nope"],
    ("pair.plan", "salt", "operation=destroy"): ["recover, failover, boot", "destroy"],
    ("pair.plan", "salt", "names=many"): ["names must be", "many"],
    ("pair.undo", "../../etc"): ["is not the id of a run"],
    ("pair.undo", "20261122T183000-recover-nope-4f2a"): ["There is no pair nope"],
    ("pair.undo", "20261122T183000-recover-salt-4f2a"): ["keeps a backup", "pair.history salt"],
    ("pair.undo", "20261122T183000-recover-salt-4f2a", "test=True"): ["keeps a backup"],
    ("pair.pause", "salt"): ["minutes must be from 1 to 1440"],
    ("pair.pause", "salt", "x"): ["minutes must be from 1 to 1440", "'x'"],
    ("pair.pause", "salt", "-5"): ["-5"],
    ("pair.pause", "salt", "minutes=-5"): ["minutes must be from 1 to 1440"],
    ("pair.pause", "salt", "100000"): ["minutes must be from 1 to 1440"],
    ("pair.pause", "nope", "5"): ["There is no pair nope"],
    ("pair.resume", "nope"): ["There is no pair nope"],
    ("pair.history", "nope"): ["There is no pair nope"],
    ("pair.check", "salt"): ["too many"],
    ("state.orch", "orch.recover"): ["No pair was named", "orch.recover pillar='{pair: <pair>}'"],
    ("state.orch", "orch.recover", "pillar={pair: nope}"): ["There is no pair nope"],
    ("state.orch", "orch.recover", "pillar=<pair: salt>"): [
        "is not a mapping",
        "orch.recover pillar='{pair: <pair>}'",
    ],
    ("state.orch", "orch.recover", "pair=salt"): ["'pair'", "orch.recover pillar='{pair: <pair>}'"],
    ("state.orch", "orch.recover", "salt"): ["orch.recover", "salt"],
    ("state.orch", "orch.recover", "pillar={pair: {salt: 1}}"): ["pair must be a name, a list"],
    ("state.orch", "orch.recover", "pillar={pair: salt, max_delete: many}"): ["max_delete", "many"],
    ("state.orch", "orch.adopt"): ["No pair was named", "orch.adopt pillar='{pair: <pair>}'"],
}


@pytest.fixture(scope="module")
def mistaken(whole_site):
    """What each mistake was answered, and both nodes before and after all of them."""
    whole_site.begin()
    before = whole_site.trees()
    said = {}
    commands = list(MISTAKES)
    for position in range(0, len(commands), 4):
        some = commands[position : position + 4]
        said.update(zip(some, whole_site.run_together(*some)))
    return said, before, whole_site.trees()


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_answered_by_a_sentence(mistaken, words):
    mistaken[0][words].refused(*MISTAKES[words])


def test_no_mistake_changes_a_node(mistaken):
    _, before, after = mistaken
    assert before == after


# --- pair.check -----------------------------------------------------------------------------------


def test_check_says_that_the_shipped_pillar_is_right(site):
    """And that this site has little of what it names; the examples that nobody chose are no pairs."""
    site.pillar.reset()
    site.run("pair.check", "ask=False").good("1 pair: the pillar is right.")
    said = site.run("pair.check").good(
        "1 pair: the pillar is right.",
        "warnings:",
        'pair salt, witnesses.0: found "client", wanted the id of a minion whose key is accepted here',
        'pair salt, replicate.0: found "/srv/salt", wanted a path that is there on salt1.',
        'pair salt, services.0: found "salt-master", wanted a unit of systemd on salt1 and salt2',
    )
    assert "pair mgmt" not in said.flat


@pytest.mark.one_release
def test_check_finds_what_top_and_the_files_say_of_each_other(site):
    site.pillar.write({"primary": "salt1", "secondary": "salt2"}, "spare")
    site.pillar.write_text(site.pillar.shipped().replace("  salt:", "  tlas:"), "other")
    site.pillar.list_pair("other salt1 salt22")
    site.pillar.write_text("pairs: {}\n")
    said = site.run("pair.check", "--log-level=quiet").good(
        "pair spare, the file: found pillar/pairs/spare.sls, wanted a line in the list of pillar/top.sls: "
        "spare <primary> <secondary>.",
        "pair tlas, the file: found pillar/pairs/other.sls, wanted the pair's own name, tlas.sls",
        'pair tlas, secondary: found "salt2", wanted its id in pillar/top.sls beside tlas',
    )
    assert 'pair tlas, primary: found "salt1", wanted its id' not in said.flat


def test_check_names_file_key_found_and_wanted_of_every_mistake_at_once(site):
    """Each pair has one mistake; none of them hides another."""
    shipped = site.pillar.shipped()
    site.pillar.write_text(shipped.replace("witnesses:", "witneses:"))
    pairs = {
        "type": {"primary": "a1", "secondary": "a2", "recovery": {"max_delete": "lots"}},
        "folder": {"primary": "b1", "secondary": "b2", "replicate": ["/srv/b", "/etc"]},
        "one": {"primary": "c1", "secondary": "c2", **pair_site.ADDRESS},
        "two": {"primary": "d1", "secondary": "d2", **pair_site.ADDRESS},
        "shared": {"primary": "c1", "secondary": "e2"},
        "empty": None,
    }
    for name, pair in pairs.items():
        site.pillar.list_pair(f"{name} {name}1 {name}2")
        site.pillar.write(pair, name)
    said = site.run("pair.check").refused(
        "pillar/pairs/salt.sls, line 21: pair salt, witneses:",
        "wanted the key 'witnesses' instead",
        'pillar/pairs/type.sls, line 1: pair type, recovery.max_delete: found "lots", wanted',
        'pillar/pairs/folder.sls, line 1: pair folder, replicate.1: found "/etc", wanted',
        'pillar/pairs/one.sls, line 1: pair one, floating_ips.salt-gw.address: found "192.0.2.5/24", '
        "wanted each address once; two: floating_ips.salt-gw.address is the same",
        'pillar/pairs/one.sls, line 1: pair one, primary: found "c1", wanted each node in one pair',
        "pillar/pairs/empty.sls, line 1: pair empty",
    )
    assert "folder, replicate.0" not in said.flat


@pytest.mark.one_release
@pytest.mark.parametrize(("most", "said"), [(7, None), ("lots", 'recovery.max_delete: found "lots", wanted')])
def test_a_pair_that_two_files_give_is_what_both_say(site, most, said):
    """Salt merges them, as it does with any two sources of a pillar."""
    site.pillar.reset()
    of_all = {"pairs": {"salt": {"recovery": {"max_delete": most}}}}
    (site.pillar.root / "of_all_pairs.sls").write_text(json.dumps(of_all))
    site.pillar.write_text(f"include:\n  - of_all_pairs\n\n{site.pillar.shipped()}")
    checked = site.run("pair.check", "ask=False")
    if said:
        checked.refused(f"pair salt, {said}")
    else:
        checked.good("1 pair: the pillar is right.")
    shown = json.loads(site.run("pillar.show_pillar", "salt1", "--out=json").text)
    assert shown["pairs"]["salt"]["recovery"] == {"boot_timeout": 300, "max_delete": most}


@pytest.mark.parametrize(
    "text, words",
    [
        (
            "pairs:\n  salt: {primary: salt1\n",
            ["pairs/salt.sls, line 3: found wrong YAML (", "'pairs.salt' failed"],
        ),
        (
            "pairs:\n  salt:\n    mode: manual\n    mode: manual\n",
            ["pairs/salt.sls, line 4: found wrong YAML (", "conflicting ID 'mode'"],
        ),
        (
            "pairs:\n  salt:\n\tprimary: salt1\n    mode:manual\n",
            [
                "pairs/salt.sls, line 3: found a tab",
                "pairs/salt.sls, line 4: found mode: with nothing between",
            ],
        ),
        ("pairs: [salt]\n", ["pairs", "wanted a mapping of pairs by name"]),
        ("{% set a = %}\n", ["pairs/salt.sls, line 1: found wrong Jinja (", "'pairs.salt' failed"]),
        ("", ["no pairs"]),
    ],
    ids=["YAML cut off", "a key twice", "a tab", "a list", "wrong Jinja", "empty"],
)
@pytest.mark.one_release(but="the first case")
def test_a_pillar_that_cannot_be_read_is_a_sentence(site, text, words):
    site.pillar.write_text(text)
    # What Salt itself logs of it is for the log.
    site.run("pair.check", "--log-level=quiet").refused(*words)


@pytest.mark.one_release
def test_the_file_of_a_first_pair_is_printed_and_is_right(site):
    """Both minions are this one machine, so they have no network between them; that is said."""
    site.run("pair.new", "web", "salt1", "salt3").refused(
        "salt3 is no minion whose key this master has accepted"
    )
    site.run("pair.new", "web", "salt1", "salt2").refused(
        "salt1 and salt2 have no network in common", "Nothing was written."
    )


@pytest.mark.one_release
def test_a_wrong_pillar_stops_what_would_use_it(site):
    site.begin()
    site.ledgers((1, "salt1", False), (1, "salt1", False))
    site.pillar.write({**pair_site.PLAIN, "replicate": ["/etc"]})
    before = site.trees()
    for said in site.run_together(
        ("pair.status",),
        ("pair.plan", "salt"),
        ("pair.pause", "salt", "5"),
        ("state.orch", "orch.boot", "pillar={pair: salt}"),
    ):
        said.refused("The pillar is wrong, nothing was done", "replicate.0", '"/etc"')
    assert site.trees() == before


# --- verdicts from real reports ---------------------------------------------------------------------

# The tests have more patience than a person: a machine under load is no node that is off.
STATUS = ("pair.status", "salt", "timeout=60")
PLAN = ("pair.plan", "salt")
RECOVER = ("state.orch", "orch.recover", "pillar={pair: salt}")
BOOT = ("state.orch", "orch.boot", "pillar={pair: salt}")


def refuse_all(site, *commands):
    """What each of these says when it refuses; none of them may change a node."""
    before = site.trees()
    said = site.run_together(*commands)
    assert site.trees() == before
    for one in said:
        one.refused()
    return said


def test_no_ledger_is_unknown_and_names_the_command_that_adopts(site):
    adopt = "salt-run state.orch orch.adopt pillar='{pair: salt}'"
    status, recover = refuse_all(site, STATUS, RECOVER)
    status.refused("unknown", "salt1 and salt2 have no ledger of salt", adopt)
    recover.refused("Refused, nothing was changed", adopt)


@pytest.mark.one_release
def test_one_lost_ledger_is_unknown_where_nobody_serves(site):
    site.secondary.set_ledger(3, "salt2", admitted=False)
    status, boot = refuse_all(site, STATUS, BOOT)
    status.refused("unknown", "salt1 has no ledger", "generation 3: salt2 active since")
    boot.refused("Refused, nothing was changed", "salt1 has no ledger")


@pytest.mark.one_release
def test_a_node_that_has_lost_its_ledger_is_behind_the_one_that_serves(site):
    site.secondary.set_ledger(3, "salt2")
    status, boot = refuse_all(site, STATUS, BOOT)
    status.refused("failed_over", "salt1 has no ledger", "orch.recover pillar='{pair: salt}'")
    boot.refused("Refused, nothing was changed", "orch.recover")


@pytest.mark.one_release
def test_cold_is_for_boot_and_not_for_recover(site):
    site.ledgers((6, "salt1", False), (7, "salt2", False))
    status, plan, recover = refuse_all(site, STATUS, PLAN, RECOVER)
    status.refused("cold", "salt2 was active last (generation 7")
    for one in (plan, recover):
        one.refused("salt-run state.orch orch.boot pillar='{pair: salt}'")


@pytest.mark.one_release
def test_a_split_is_refused_by_all_and_shows_both_histories(site):
    site.ledgers((7, "salt1"), (7, "salt2"))
    histories = (
        f"salt1: generation 7, salt1 active since {pair_site.SINCE} (a test)",
        f"salt2: generation 7, salt2 active since {pair_site.SINCE} (a test)",
    )
    for one in refuse_all(site, STATUS, PLAN, RECOVER, BOOT):
        one.refused("split-brain", *histories)


@pytest.mark.one_release
def test_a_damaged_ledger_proves_nothing(site):
    site.ledgers((7, "salt1"), (7, "salt1"))
    whole = site.secondary.member.ledger.path.read_text()
    site.secondary.damage_ledger(whole[: len(whole) // 2])
    status, boot = refuse_all(site, STATUS, BOOT)
    for one in (status, boot):
        one.refused("unknown", str(site.secondary.member.ledger.path), "is damaged", "bytes")


@pytest.mark.one_release
def test_a_ledger_of_a_newer_release_is_left_alone(site):
    site.ledgers((7, "salt1"), (7, "salt1"))
    site.primary.set_ledger(7, "salt1", version=2)
    status, recover = refuse_all(site, STATUS, RECOVER)
    for one in (status, recover):
        one.refused("has format version 2", "A newer Failback wrote it")


def test_normal_is_good_and_nothing_to_recover(site):
    site.ledgers((7, "salt1"), (7, "salt1"))
    before = site.trees()
    status, plan, recover = site.run_together(STATUS, PLAN, RECOVER)
    status.good("normal", "salt1 serves (generation 7")
    plan.good("Nothing to do.")
    recover.good("Nothing to do: salt is normal.")
    assert site.trees() == before


@pytest.mark.one_release
def test_status_shows_what_is_not_as_it_should_be(site):
    """The verdict stays normal; the exit status does not."""
    site.begin(services=["scribe"])
    site.ledgers((7, "salt1"), (7, "salt1"))
    site.primary.set_unit("scribe", "active")
    site.secondary.set_unit("scribe", "failed")
    site.secondary.set_unit("lsyncd.service", "active")
    site.run(*STATUS).refused(
        "normal", "scribe is failed on salt2.", "lsyncd runs on the standby salt2.", "orch.recover"
    )


@pytest.mark.one_release
def test_an_address_on_an_interface_that_is_missing_is_said(site):
    site.begin(**pair_site.ADDRESS)
    site.ledgers((7, "salt1"), (7, "salt1"))
    site.run(*STATUS).refused("192.0.2.5/24 no interface absent0", "cold")


# --- pause and resume ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pair.pause", "pair.hold"], ids=["pause", "its former name"])
@pytest.mark.one_release(but="the first case")
def test_a_pause_is_shown_until_it_is_resumed(site, name):
    site.run(name, "salt", "30", "reason=switch maintenance").good("switch maintenance")
    for node in site.nodes:
        assert node.member.pause.path.exists()
    assert re.search(r"paused until [0-9: -]+ by \w+: switch maintenance", site.run(*STATUS).text)
    site.run("pair.resume", "salt").good("The pause of salt is over.")
    for node in site.nodes:
        assert not node.member.pause.path.exists()


@pytest.mark.one_release
def test_a_pause_ends_by_itself(site):
    site.run("pair.pause", "salt", "0.01").good("paused by an operator")
    time.sleep(0.6)  # what is waited for is time itself
    status, resume = site.run_together(STATUS, ("pair.resume", "salt"))
    assert "paused by an operator" not in status.text
    resume.good("The watch of salt was not paused.")
