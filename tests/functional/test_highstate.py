"""
What each node of each shipped pair gets: its pillar, and its highstate down to the low data.

Compiled by Salt's own compilers, for every node in its role, for a minion in no pair and for the
orchestrations. Nothing is applied.
"""

import json
import pathlib
import shutil

import pillar_tree
import pytest
import salt.config
import salt.loader
import salt.state
import yaml

from failback.host import nagios
from failback.host.paths import Paths
from failback.pillar import check
from failback.pillar import normalise
from failback.state import configuration

#: What is done only when somebody has looked at both nodes: no highstate contains it.
NEVER = {"lsyncd.running", "floating_ip.present", "cmd.run"}


def shipped(tree):
    """The shipped pairs by name, as they are written."""
    found = {}
    for path in sorted((tree / "pillar/pairs").glob("*.sls")):
        found.update(yaml.safe_load(path.read_text())["pairs"])
    return found


def nodes():
    for name, content in shipped(pathlib.Path(__file__).resolve().parents[2]).items():
        pair = normalise.normalise(name, content)
        for role in ("primary", "secondary"):
            yield pytest.param(name, role, id=f"{name}-{role}-{pair[role]['id']}")


@pytest.fixture(scope="module")
def pairs(tree):
    return {name: normalise.normalise(name, content) for name, content in shipped(tree).items()}


@pytest.fixture(scope="module")
def compiled(tree, tmp_path_factory):
    """``compiled(minion)``: what Salt makes of the tree for a minion of that id."""
    root = tmp_path_factory.mktemp("highstate")
    base = salt.config.DEFAULT_MINION_OPTS.copy()
    base.update(
        {
            "root_dir": str(root),
            "pki_dir": str(root / "pki"),
            "sock_dir": str(root / "sock"),
            "conf_file": str(root / "minion"),
            "file_client": "local",
            "file_roots": {"base": [str(tree / "salt")]},
            "pillar_roots": {"base": [str(pillar_tree.copy(tree, root / "pillar"))]},
            "module_dirs": [str(tree / "salt" / "_modules")],
            "states_dirs": [str(tree / "salt" / "_states")],
            "utils_dirs": [str(tree / "salt" / "_utils")],
            "fileserver_backend": ["roots"],
            "renderer": "jinja|yaml",
            "test": True,
        }
    )
    base["grains"] = salt.loader.grains(
        {**base, "id": "any", "cachedir": str(root), "extension_modules": str(root)}
    )
    made = {}

    def call(minion):
        if minion not in made:
            opts = {
                **base,
                "id": minion,
                "grains": {**base["grains"], "id": minion},
                "cachedir": str(root / minion / "cache"),
                "extension_modules": str(root / minion / "extmods"),
                "failback_root": str(root / minion / "node"),
            }
            made[minion] = Compiled(opts)
        return made[minion]

    yield call
    shutil.rmtree(root, ignore_errors=True)


class Compiled:
    """A minion's pillar and highstate."""

    def __init__(self, opts):
        self.opts = opts
        high = salt.state.HighState(opts)
        self.pillar = high.opts["pillar"]
        top = high.get_top()
        self.matches = high.top_matches(top)
        self.chunks = high.compile_low_chunks()
        self.modules = high.state.functions

    def names(self, *functions):
        """The names of the chunks of these state functions, such as ``file.managed``."""
        return [one["name"] for one in self.chunks if f"{one['state']}.{one['fun']}" in functions]

    def functions(self):
        return {f"{one['state']}.{one['fun']}" for one in self.chunks}


def of(compiled, pairs, pair, role):
    return compiled(pairs[pair][role]["id"])


@pytest.mark.parametrize("pair, role", nodes())
def test_a_node_sees_its_own_pair_and_nothing_of_others(compiled, pairs, tree, pair, role):
    found = of(compiled, pairs, pair, role)
    assert found.pillar == {"pairs": {pair: shipped(tree)[pair]}}
    text = json.dumps(found.pillar)
    foreign = [
        one[side][key]
        for name, one in pairs.items()
        if name != pair
        for side in ("primary", "secondary")
        for key in ("id", "host")
    ]
    foreign += [ip["address"] for name, one in pairs.items() if name != pair for ip in one["floating_ips"]]
    assert [word for word in foreign if f'"{word}"' in text] == []


@pytest.mark.parametrize("pair, role", nodes())
def test_the_highstate_of_a_node_compiles(compiled, pairs, pair, role):
    found = of(compiled, pairs, pair, role)
    assert found.matches == {"base": ["minion", "pair"]}
    assert all(isinstance(one, dict) for one in found.chunks), found.chunks
    ids = [(one["state"], one["__id__"]) for one in found.chunks]
    assert len(ids) > 10
    assert not found.functions() & NEVER
    started = found.names("service.running", "service.enabled", "service.restart", "service.start")
    # A hypervisor is of use with no pair served: what guards the disks of guests starts with the host.
    own = [name for name in started if name.startswith(("failback-look@", "failback-watch@"))]
    # What looks, and takes over, is Failback's; it starts nothing of the pair by that.
    watched = [one["watch"] for one in pairs[pair]["floating_ips"] if one["watch"]["on"] in (role, "both")]
    crons = {one["cron"] for one in watched}
    watches = {f"failback-watch@{cron}.service" for cron in crons}
    assert set(own) == {f"failback-look@{pair}.service", *watches}
    assert (len(started) > len(own)) == bool(pairs[pair]["vms"])
    named = [one["name"] for one in pairs[pair]["services"] + pairs[pair]["active_services"]]
    assert not {"lsyncd", "lsyncd.service", *named} & set(started)
    # What is required is there: Salt notices only when it runs.
    known = {(one["state"], one["__id__"]) for one in found.chunks}
    for one in found.chunks:
        for word in ("require", "onchanges", "watch", "listen"):
            for entry in one.get(word, []):
                assert tuple(entry.items())[0] in known, (one["__id__"], entry)


@pytest.mark.parametrize("pair, role", nodes())
def test_the_node_is_told_what_its_pillar_says(compiled, pairs, pair, role):
    found = of(compiled, pairs, pair, role)
    (chunk,) = [one for one in found.chunks if one["name"] == f"/etc/failback/pairs/{pair}.json"]
    expected = {**pairs[pair], "node": pairs[pair][role]["id"], "version": configuration.VERSION}
    assert json.loads(chunk["contents"]) == expected
    others = [name for name in found.names("file.managed") if name.startswith("/etc/failback/pairs/")]
    assert others == [chunk["name"]]


@pytest.mark.parametrize("pair, role", nodes())
def test_the_watch_runs_where_the_pillar_wants_it(compiled, pairs, pair, role):
    found = of(compiled, pairs, pair, role)
    wanted = {
        f"/etc/cron.d/{one['watch']['cron']}"
        for one in pairs[pair]["floating_ips"]
        if one["watch"]["on"] in (role, "both")
    }
    if pairs[pair]["git"]:
        wanted.add(f"/etc/cron.d/failback-git-{pair}")
    wanted.add(f"/etc/cron.d/failback-keep-{pair}")
    crons = {name for name in found.names("file.managed") if name.startswith("/etc/cron.d/")}
    assert crons == wanted


def test_the_watches_of_dalma_are_on_the_nodes_that_it_names(compiled, pairs):
    """docs/dalma.md: the secondaries, and both monitoring servers for the public address."""
    found = {}
    for one in pairs.values():
        for side in ("primary", "secondary"):
            node = one[side]["id"]
            for name in compiled(node).names("file.managed"):
                if name.startswith("/etc/cron.d/gateway"):
                    found.setdefault(name.rpartition("/")[2], set()).add(node)
    assert found == {
        "gateway-ip": {"mgmt2", "monitor2", "slurm2", "salt2", "apps1", "archive4"},
        "gateway-ip-public": {"monitor1", "monitor2"},
    }


@pytest.mark.parametrize("pair, role", nodes())
def test_no_service_of_the_pair_starts_at_boot(compiled, pairs, pair, role):
    found = of(compiled, pairs, pair, role)
    named = [one["name"] for one in pairs[pair]["services"] + pairs[pair]["active_services"]]
    assert found.names("service.disabled") == named


@pytest.mark.parametrize("pair, role", nodes())
def test_the_switches_of_nagios_have_units_where_a_pair_names_them(compiled, pairs, pair, role):
    found = of(compiled, pairs, pair, role)
    named = [one["name"] for one in pairs[pair]["active_services"] if nagios.default_status(one["name"])]
    units = [name for name in found.names("file.managed") if "/nagios-" in name]
    assert units == [f"/etc/systemd/system/{name}.service" for name in named]
    assert bool(units) == (pair == "monitor")


@pytest.mark.parametrize("pair, role", nodes())
def test_lsyncd_has_the_gate_before_its_package_and_carries_from_the_primary_only(
    compiled, pairs, pair, role
):
    found = of(compiled, pairs, pair, role)
    order = [one["__id__"] for one in sorted(found.chunks, key=lambda one: one["order"])]
    gate = order.index("The unit of lsyncd asks the gate before it starts")
    assert gate < order.index("The packages of a pair's node are installed")
    assert found.names("lsyncd.managed") == [pair]
    # What that state writes: nothing on the secondary, and nothing for a pair that replicates nothing.
    (chunk,) = [one for one in found.chunks if one["name"] == f"/etc/failback/pairs/{pair}.json"]
    path = Paths(found.opts["failback_root"]).pair_config(pair)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(chunk["contents"])
    config = found.modules["lsyncd.config"](pair)
    assert bool(config) == (role == "primary" and bool(pairs[pair]["replicate"]))
    for one in pairs[pair]["replicate"] if config else ():
        assert one["path"].rpartition("/")[0] in config


def test_a_minion_in_no_pair_gets_what_every_minion_gets(compiled):
    found = compiled("client")
    assert found.pillar == {}
    assert found.matches == {"base": ["minion"]}
    assert found.functions() == {"salt_minion.configured"}


@pytest.mark.parametrize("pair, role", nodes())
def test_every_minion_finds_a_master_that_has_moved(compiled, pairs, pair, role):
    found = of(compiled, pairs, pair, role)
    assert found.names("salt_minion.configured") == ["failback-reconnect"]


def test_the_orchestrations_see_all_pairs(compiled, tree):
    found = compiled("salt1_master").pillar
    assert found == {"pairs": shipped(tree)}
    assert check.problems(found["pairs"]) == []


def test_all_shipped_pairs_are_listed_for_their_two_nodes(pairs, tree):
    """A pair whose line is missing, or names others, would never be rendered."""
    listed = {}
    for line in (tree / "pillar/top.sls").read_text().splitlines():
        words = line.removeprefix("# ").split()
        if len(words) == 3 and words[0] in pairs:
            listed[words[0]] = words[1:]
    assert listed == {name: [one["primary"]["id"], one["secondary"]["id"]] for name, one in pairs.items()}


def test_a_pair_with_a_lease_has_its_guard_and_one_without_it_loses_it(compiled, pairs, tree, tmp_path):
    unit = "failback-lease@salt.service"
    without = of(compiled, pairs, "salt", "primary")
    assert [name for name in without.names("service.running", "service.dead") if "lease" in name] == []

    pillar_tree.copy(tree, tmp_path / "pillar")
    place = tmp_path / "pillar/pairs/salt.sls"
    lease = "    lease: {endpoints: ['http://10.0.0.91:2379']}\n"
    place.write_text(place.read_text().replace("    mode: manual\n", f"    mode: manual\n{lease}", 1))
    opts = {**without.opts, "pillar": {}, "failback_root": str(tmp_path / "node")}
    found = Compiled({**opts, "pillar_roots": {"base": [str(tmp_path / "pillar")]}})
    assert unit in found.names("service.running")
    assert "/etc/systemd/system/failback-lease@.service" in found.names("file.managed")

    # As it is enabled there.
    wants = tmp_path / "node/etc/systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True)
    (wants / unit).write_text("")
    assert Compiled(opts).names("service.dead") == [unit]


def test_root_writes_nothing_by_its_name_into_the_home_of_an_account(compiled, pairs, tree, tmp_path):
    """Whose it is could put a link there: only what goes through no link may write."""
    base = of(compiled, pairs, "salt", "primary").opts
    pillar_tree.copy(tree, tmp_path / "pillar")
    place = tmp_path / "pillar/pairs/salt.sls"
    text = place.read_text()
    place.write_text(text.replace("host: 10.0.0.11}", "host: 10.0.0.11, ssh_user: anna}", 1))
    more = {"failback_root": str(tmp_path / "node"), "pillar_roots": {"base": [str(tmp_path / "pillar")]}}
    found = Compiled({**base, "pillar": {}, **more})
    assert found.modules["pair.ssh_user"]() == "anna"
    by_name = {one["name"] for one in found.chunks if one["state"] == "file"}
    assert [name for name in by_name if "/.ssh" in name or name.startswith("/home")] == []
    (allowed,) = [one for one in found.chunks if one["fun"] == "keys_allowed"]
    assert (allowed["file"], allowed["account"]) == ("/home/anna/.ssh/authorized_keys", "anna")
