"""A node's half of a pair: what its name may be, where its configuration comes from, where its files lie."""

import pytest
import samples

from failback.errors import Refused
from failback.errors import Unreadable
from failback.host import files
from failback.host import system
from failback.host.paths import Paths
from failback.pair import Member
from failback.state import configuration
from failback.state import ledger


class Untouchable:
    """``Paths`` that nobody may look at."""

    def __getattr__(self, name):
        raise AssertionError(f"{name} was asked for")


@pytest.fixture
def paths(tmp_path):
    """salt2 as highstate left it: with a configuration, and nothing else."""
    paths = Paths(tmp_path)
    files.write_json(paths.pair_config("salt"), samples.pair("salt2"))
    return paths


@pytest.fixture
def member(paths):
    return Member("salt", paths)


# --- its name ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Member, Member.load], ids=["made", "loaded"])
@pytest.mark.parametrize(
    "pair",
    [
        "..",
        ".",
        "a/b",
        "/",
        "",
        None,
        "x" * 65,
        "salt\n",
        "\nsalt",
        "sa lt",
        "-x",
        "sält",
        7,
        ["salt"],
        b"salt",
    ],
    ids=lambda pair: ascii(pair)[:12],
)
def test_what_cannot_be_a_pair_is_refused_before_any_path_is_made(make, pair):
    with pytest.raises(Refused, match="is not the name of a pair"):
        make(pair, Untouchable())


def test_nor_is_it_taken_from_a_configuration():
    with pytest.raises(Refused, match="is not the name of a pair"):
        Member.of({**samples.pair(), "name": "../salt"}, Untouchable())


@pytest.mark.parametrize("pair", ["salt", "x" * 64, "0", "dalma_a-2"])
def test_what_can_be_one_is_kept_as_it_is(tmp_path, pair):
    assert Member(pair, Paths(tmp_path)).pair == pair
    assert list(tmp_path.iterdir()) == [], "to be made leaves nothing behind"


def test_its_paths_are_those_of_the_machine_unless_somebody_says_otherwise():
    assert str(Member("salt").paths.root) == "/"


# --- its configuration ---------------------------------------------------------------------------


def test_to_load_it_refuses_at_the_door(paths):
    with pytest.raises(Refused, match=r"no pair mgmt.*known here: salt"):
        Member.load("mgmt", paths)


def test_to_load_what_is_damaged_says_so_at_the_door(paths):
    paths.pair_config("salt").write_text('{"version": 1, "name"')
    with pytest.raises(Unreadable, match="configuration of salt"):
        Member.load("salt", paths)


def test_what_was_loaded_is_what_is_on_the_disk(paths):
    assert Member.load("salt", paths).config == samples.pair("salt2")


def test_without_a_configuration_its_files_can_be_read_and_its_role_cannot(tmp_path):
    member = Member("salt", Paths(tmp_path))
    assert (member.ledger.read(), member.lock.read(), member.pause.read()) == (None, None, None)
    for name in ("config", "node", "role", "peer"):
        with pytest.raises(Refused, match="knows no pair salt"):
            getattr(member, name)


@pytest.mark.parametrize("first", ["config", "node", "peer", "role"])
def test_the_configuration_is_read_once_by_whoever_asks_first(member, monkeypatch, first):
    read = []
    real = configuration.load

    def load(pair, paths):
        read.append(pair)
        return real(pair, paths)

    monkeypatch.setattr(configuration, "load", load)
    for name in (first, "node", "peer", "role", "config"):
        getattr(member, name)
    member.ledger.is_active()
    assert read == ["salt"]


def test_a_highstate_in_between_does_not_change_what_a_member_is(member, paths):
    before = member.config
    files.write_json(paths.pair_config("salt"), samples.pair("salt1"))
    assert member.config is before and member.node == "salt2"
    assert Member.load("salt", paths).node == "salt1"


def test_of_a_configuration_it_is_what_that_says_whatever_is_on_the_disk(paths):
    config = samples.pair("salt1", mode="manual")
    member = Member.of(config, paths)
    assert member.config is config
    assert (member.pair, member.node, member.role) == ("salt", "salt1", "primary")
    files.write_json(paths.pair_config("salt"), {"version": 99})
    assert member.config["mode"] == "manual"


@pytest.mark.parametrize(
    ("node", "role", "peer"),
    [
        ("salt1", "primary", {"id": "salt2", "host": "10.0.0.12"}),
        ("salt2", "secondary", {"id": "salt1", "host": "10.0.0.11"}),
    ],
)
def test_it_knows_which_node_it_is_and_the_other_one(tmp_path, node, role, peer):
    member = Member.of(samples.pair(node), Paths(tmp_path))
    assert (member.node, member.role, member.peer) == (node, role, peer)


# --- its files -----------------------------------------------------------------------------------


def test_its_files_are_where_the_paths_of_the_node_say(member, paths):
    assert member.state == paths.state("salt")
    assert member.volatile == paths.volatile("salt")
    assert member.run_folder(samples.RUN) == paths.run_folder("salt", samples.RUN)
    assert member.ledger.path == paths.ledger("salt")
    assert member.lock.path == paths.lock("salt")
    assert member.pause.path == paths.pause("salt")
    assert member.fencing.path == paths.fenced("salt")
    assert member.runs.folder == paths.runs("salt")


def test_what_it_remembers_is_written_there(member, paths, tmp_path):
    member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    member.lock.acquire(samples.RUN, "recover", {"boot_id": "elsewhere"}, 60)
    member.pause.set(60, "a test")
    member.runs.write(samples.RUN, {"operation": "recover"})
    written = {paths.ledger("salt"), paths.lock("salt"), paths.pause("salt")}
    written.add(paths.run_folder("salt", samples.RUN) / "run.json")
    found = {file for file in tmp_path.rglob("*") if file.is_file() and not file.name.startswith(".")}
    assert found - {paths.pair_config("salt")} == written


def test_two_pairs_of_one_node_share_nothing(member, paths):
    other = Member("mgmt", paths)
    member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    member.lock.acquire(samples.RUN, "recover", {"boot_id": "elsewhere"}, 60)
    assert other.ledger.read() is None and other.lock.read() is None


@pytest.mark.parametrize(
    ("active", "admitted", "expected"),
    [("salt2", True, True), ("salt2", False, False), ("salt1", True, False), (None, None, False)],
)
def test_it_is_active_when_its_ledger_names_it_and_it_was_admitted(member, active, admitted, expected):
    if active:
        member.ledger.write(ledger.Entry(4, active, None, "a test", admitted=admitted))
    assert member.is_active() is expected


def test_it_is_not_active_any_more_after_a_boot(member, monkeypatch):
    member.ledger.write(ledger.Entry(4, "salt2", None, "a test"))
    monkeypatch.setattr(system, "boot_id", lambda: "another boot")
    assert member.is_active() is False
