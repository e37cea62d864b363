"""``pair.check`` and ``pair.new``: the files of the pillar, and the site around them. Nothing is changed."""

import hashlib
import pathlib
import shutil

import asked_minions
import pytest
import yaml

from failback.pillar import check
from failback_master import minions as asking
from failback_master import served
from failback_master import site

pytestmark = pytest.mark.one_release(but="the first case")

BOTH = ["salt1", "salt2"]


def facts(node, number, **of_pair):
    """What a minion says of itself; with a pair, what that pair finds there."""
    own = {
        "units": {},
        "programs": [],
        "paths": {"/srv/salt": True},
        "repositories": {},
        "hosts": {one: [f"10.0.0.{of}"] for one, of in (("salt1", 11), ("salt2", 12))},
        "configured": [],
        "dropped": {},
        "asks": {"asks": [], "problem": None},
    }
    return {
        "node": node,
        "interfaces": {"eth0": [f"10.0.0.{number}/24"]},
        "gateways": [{"address": "10.0.0.1", "interface": "eth0"}],
        "pairs": {"salt": {**own, **of_pair}},
    }


SURROUNDINGS = {"salt1": facts("salt1", 11), "salt2": facts("salt2", 12)}


def surroundings(node, pairs):
    return SURROUNDINGS[node]


@pytest.fixture
def keys(master_opts):
    """``keys(accepted, waiting)``: the ids whose keys this master has."""
    pki = pathlib.Path(master_opts["pki_dir"])

    def have(accepted=(), waiting=()):
        for folder, ids in (("minions", accepted), ("minions_pre", waiting)):
            shutil.rmtree(pki / folder, ignore_errors=True)
            (pki / folder).mkdir(parents=True)
            for one in ids:
                (pki / folder / one).write_text("a key")

    yield have
    shutil.rmtree(pki, ignore_errors=True)


@pytest.fixture
def alone(run, write_pillar, keys):
    """The pillar has the pair salt alone, and its nodes are known."""
    write_pillar({"salt": asked_minions.SALT})
    keys(BOTH)
    return run


@pytest.mark.parametrize("ask", [0, 1, None, "no", "False"])
def test_whether_to_ask_is_yes_or_no(run, minions, ask):
    answer = run("pair.check", ask=ask)
    assert answer["retcode"] == 1 and "ask must be True or False" in answer["error"]
    assert minions.asked == []


@pytest.mark.parametrize("number", [1, 2])
def test_files_that_are_right_are_counted_and_with_ask_false_nobody_is_asked(
    run, minions, write_pillar, number
):
    pairs = {"salt": asked_minions.SALT, "web": asked_minions.WEB}
    write_pillar(dict(list(pairs.items())[:number]))
    said = "1 pair: the pillar is right." if number == 1 else "2 pairs: the pillar is right."
    assert run("pair.check", ask=False) == {"comment": said}
    assert minions.asked == []


def test_a_site_that_fits_has_no_warning_and_is_only_looked_at(alone, minions):
    minions.answers = {"pair.surroundings": surroundings}
    assert alone("pair.check") == {"comment": "1 pair: the pillar is right."}
    (asked,) = minions.asked
    assert (asked.nodes, asked.function, asked.look) == (BOTH, "pair.surroundings", 10)
    assert [one["name"] for one in asked.kwargs["pairs"]] == ["salt"]


def test_what_the_site_lacks_is_a_warning_and_no_failure(alone, minions):
    lacks = facts("salt1", 11, paths={"/srv/salt": False})
    minions.answers = {"pair.surroundings": asked_minions.of_node(salt1=lacks, salt2=SURROUNDINGS["salt2"])}
    answer = alone("pair.check")
    assert answer["checked"] == "1 pair: the pillar is right." and "retcode" not in answer
    (warning,) = answer["warnings"]
    assert warning.startswith("pillar/pairs/salt.sls, line 1: pair salt, replicate.0: found ")
    assert "a path that is there on salt1" in warning


@pytest.mark.parametrize("waiting", [(), ("salt2",)])
def test_a_node_whose_key_is_not_accepted_is_not_asked_and_is_named(alone, minions, keys, waiting):
    keys(["salt1", "stranger"], waiting)
    minions.answers = {"pair.surroundings": surroundings}
    answer = alone("pair.check")
    assert minions.asked[0].nodes == ["salt1"]
    assert any('secondary: found "salt2"' in one for one in answer["warnings"]), answer
    assert ("salt-key --accept=salt2" in str(answer["warnings"])) is bool(waiting)


def test_a_witness_is_asked_as_well(alone, minions, keys, write_pillar):
    write_pillar({"salt": {**asked_minions.SALT, "witnesses": ["client"]}})
    keys([*BOTH, "client", "another"])
    minions.answers = {
        "pair.surroundings": lambda node, pairs: SURROUNDINGS.get(node) or {**facts("client", 9), "pairs": {}}
    }
    alone("pair.check")
    assert minions.asked[0].nodes == ["client", *BOTH]


def test_a_minion_that_has_no_modules_gets_them_and_is_asked_once_more(alone, minions):
    synced = []

    def said(node, pairs):
        if node == "salt2" and not synced:
            raise RuntimeError("'pair.surroundings' is not available.")
        return SURROUNDINGS[node]

    minions.answers = {"pair.surroundings": said, "saltutil.sync_all": lambda node: synced.append(node) or {}}
    assert alone("pair.check") == {"comment": "1 pair: the pillar is right."}
    assert synced == ["salt2"]
    assert [(one.function, one.nodes) for one in minions.asked] == [
        ("pair.surroundings", BOTH),
        ("saltutil.sync_all", ["salt2"]),
        ("pair.surroundings", ["salt2"]),
    ]
    first, _, again = minions.asked
    assert (again.kwargs, again.look) == (first.kwargs, first.look)


@pytest.mark.parametrize("error", [asked_minions.SILENT, RuntimeError("it is broken")])
def test_a_minion_that_fails_otherwise_gets_nothing(alone, minions, error):
    minions.answers = {"pair.surroundings": asked_minions.of_node(salt1=SURROUNDINGS["salt1"], salt2=error)}
    answer = alone("pair.check")
    assert len(minions.asked) == 1 and "retcode" not in answer
    said = "it is broken" if error is not asked_minions.SILENT else "salt2 does not answer"
    assert any(said in one for one in answer["warnings"])


def test_without_a_master_the_files_are_checked_all_the_same(alone, minions, no_master):
    answer = alone("pair.check")
    (warning,) = answer["warnings"]
    assert warning.startswith("The site was not asked. The salt-master of this machine takes no connections")
    assert answer["checked"] == "1 pair: the pillar is right." and "retcode" not in answer


def test_what_is_wrong_is_the_exit_status_and_the_pairs_that_are_right_are_looked_at(
    alone, minions, write_pillar
):
    write_pillar({"salt": asked_minions.SALT, "web": {"primary": "web1"}})
    lacks = facts("salt1", 11, paths={"/srv/salt": False})
    minions.answers = {"pair.surroundings": asked_minions.of_node(salt1=lacks, salt2=SURROUNDINGS["salt2"])}
    answer = alone("pair.check")
    assert answer["retcode"] == 1 and "checked" not in answer and "comment" not in answer
    (problem,) = answer["problems"]
    assert problem.startswith("pillar/pairs/web.sls, line 1: pair web, secondary: ")
    assert "pair salt, replicate.0" in answer["warnings"][0]
    assert [one["name"] for one in minions.asked[0].kwargs["pairs"]] == ["salt"]


def test_what_is_wrong_without_a_warning_has_no_warnings(alone, write_pillar, minions):
    write_pillar({"web": {"primary": "web1"}})
    assert set(alone("pair.check", ask=False)) == {"problems", "retcode"}
    assert minions.asked == []


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("pairs:\n  salt: {primary: a\n", ["line 3: found wrong YAML", "cannot be rendered"]),
        (
            "pairs:\n  salt:\n\tprimary: a\n",
            ["line 3: found a tab", "line 3: found wrong YAML", "cannot be rendered"],
        ),
        ("pairs: [salt]\n", ["pillar/top.sls: pairs: found "]),
    ],
)
def test_a_pillar_that_cannot_be_read_is_named_with_its_line_and_nobody_is_asked(
    alone, write_pillar, minions, text, problems
):
    write_pillar({"salt": text})
    answer = alone("pair.check")
    assert answer["retcode"] == 1 and len(answer["problems"]) == len(problems)
    for said, problem in zip(problems, answer["problems"]):
        assert said in problem
    assert minions.asked == []


def test_a_pillar_without_pairs_names_the_command_that_makes_one(alone, write_pillar):
    write_pillar({"salt": "users: {}\n"})
    answer = alone("pair.check")
    assert answer["retcode"] == 1 and "salt-run pair.new <pair> <primary> <secondary>" in answer["error"]


def test_a_pillar_without_pairs_that_has_a_slip_names_the_slip(alone, write_pillar):
    """It may be why there are none."""
    write_pillar({"salt": "users:\n  a: b\u00a0c\n"})
    answer = alone("pair.check", ask=False)
    assert answer["retcode"] == 1 and "pillar/pairs/salt.sls, line 2: found " in answer["problems"][0]


def test_a_pair_of_which_no_line_is_known_is_named_by_where_its_file_is_looked_for(alone, write_pillar):
    write_pillar({"own": "pairs:\n  {{ 'salt' }}: {primary: salt1}\n"})
    (problem,) = alone("pair.check", ask=False)["problems"]
    assert problem.startswith("pillar/pairs/salt.sls: pair salt, secondary")


# --- what top.sls and the files say of each other --------------------------------------------------


def write(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def checked(alone, minions):
    minions.answers = {"pair.surroundings": surroundings}
    return alone("pair.check").get("warnings", [])


@pytest.mark.parametrize(
    ("top", "listed"),
    [
        ("", False),
        ("# spare a b\n", True),
        ("# spare-1 a b\n", False),
        ("# my-spare\n", False),
        ("# spares\n", False),
    ],
)
def test_a_file_that_the_list_does_not_name_is_a_warning(alone, minions, write_pillar, top, listed):
    root = write_pillar({"salt": asked_minions.SALT})
    write(root, "pairs/spare.sls", "pairs: {spare: {primary: a, secondary: b}}\n")
    (root / "top.sls").write_text(top + (root / "top.sls").read_text())
    warnings = checked(alone, minions)
    assert warnings == [] if listed else "pair spare, the file: found pillar/pairs/spare.sls" in warnings[0]
    assert len(warnings) == (not listed)


def test_a_file_by_another_name_than_its_pair_is_a_warning(alone, minions, write_pillar):
    write_pillar({"other": {"pairs": {}}, "salt": "{}"})
    root = write_pillar({"salt": "include: [own.gateway]\npairs: {}\n"})
    write(root, "own/gateway.sls", yaml.safe_dump({"pairs": {"salt": asked_minions.SALT}}))
    (warning,) = checked(alone, minions)
    assert (
        "pair salt, the file: found pillar/own/gateway.sls, wanted the pair's own name, salt.sls" in warning
    )


def test_a_file_of_several_pairs_has_the_name_of_none(alone, minions, write_pillar, keys):
    keys(BOTH)
    pairs = {"pairs": {"salt": asked_minions.SALT, "web": asked_minions.WEB}}
    write_pillar({"all": yaml.safe_dump(pairs)})
    warnings = checked(alone, minions)
    assert warnings and not [one for one in warnings if "the file" in one]


def test_a_node_that_does_not_get_its_own_pair_is_a_warning(alone, minions, pillar):
    pillar.write({"salt": asked_minions.SALT}, top="*[!2]")
    (warning,) = checked(alone, minions)
    assert 'pair salt, secondary: found "salt2", wanted its id in pillar/top.sls beside salt' in warning


# --- what the master serves -----------------------------------------------------------------------


@pytest.fixture
def release(master_opts, tmp_path):
    """``release(own, text)``: the options of a master with a checkout of two files, and a root before it."""
    tree = tmp_path / "tree"
    for name in served.OURS:
        write(tree, name, f"# {name}\n")
    write(tree, "orch/boot.sls", "{}\n")
    write(tree, "__pycache__/x.pyc", "x")
    write(tree, "top.sls", "{}\n")
    own = tmp_path / "own"
    own.mkdir()
    roots = {"base": [str(own), str(tree)]}
    return (
        own,
        tree,
        {**master_opts, "file_roots": roots, "cachedir": str(tmp_path / "cache"), "hash_type": "md5"},
    )


def digests(tree):
    found = {str(one.relative_to(tree)): one for one in tree.rglob("*.sls")}
    return "".join(f"{hashlib.sha256(one.read_bytes()).hexdigest()}  {name}\n" for name, one in found.items())


@pytest.mark.parametrize("is_release", [False, True])
def test_a_master_that_serves_this_release_has_no_problem(release, is_release):
    own, tree, opts = release
    if is_release:
        (tree / served.OURS[0]).unlink()
        write(tree, served.DIGESTS, f"{digests(tree)}a line of another form\n")
    write(own, "top.sls", "base: {}\n")
    write(own, "webserver/init.sls", "{}\n")
    assert served.problems(opts) == []


@pytest.mark.parametrize("is_release", [False, True])
def test_a_file_that_replaces_one_of_ours_is_named_with_its_place(release, is_release):
    own, tree, opts = release
    if is_release:
        write(tree, served.DIGESTS, digests(tree))
    write(own, "orch/boot.sls", "own: {}\n")
    (problem,) = served.problems(opts)
    assert f"for orch/boot.sls ({own}/orch/boot.sls)" in problem


def test_a_file_that_the_release_has_and_the_master_does_not_is_named(release):
    _, tree, opts = release
    write(tree, served.DIGESTS, f"{digests(tree)}{'0' * 64}  orch/recover.sls\n")
    (problem,) = served.problems(opts)
    assert "does not serve orch/recover.sls" in problem


def test_a_site_without_our_tree_is_not_compared(release):
    _, tree, opts = release
    (tree / served.OURS[1]).unlink()
    assert served.problems(opts) == []
    assert served.problems({**opts, "file_roots": {"base": [], "dev": [str(tree)]}}) == []


def test_another_environment_is_compared_with_its_own_root(release):
    own, tree, opts = release
    write(own, "orch/boot.sls", "own: {}\n")
    roots = {"base": [], "dev": [str(own), str(tree)]}
    assert len(served.problems({**opts, "file_roots": roots, "saltenv": "dev"})) == 1


def test_what_is_served_otherwise_is_a_problem_of_the_check(alone, minions, master_opts):
    own, tree = map(pathlib.Path, master_opts["file_roots"]["base"])
    for name in (*served.OURS, "orch/boot.sls"):
        write(tree, name, "{}\n")
    write(own, "orch/boot.sls", "own: {}\n")
    try:
        answer = alone("pair.check", ask=False)
    finally:
        shutil.rmtree(own)
        shutil.rmtree(tree / "_utils")
    assert answer["retcode"] == 1 and "orch/boot.sls" in answer["problems"][0]


# --- pair.new -------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [None, "10.0.0.5"])
def test_the_file_of_a_new_pair_is_printed_and_is_right(run, minions, keys, address):
    keys([*BOTH, "web1"])
    minions.answers = {"pair.surroundings": surroundings}
    answer = run("pair.new", "salt", "salt1", "salt2", address)
    assert set(answer) == {"file"}
    found = yaml.safe_load(answer["file"])["pairs"]
    assert check.problems(found) == []
    assert [found["salt"][role]["id"] for role in ("primary", "secondary")] == BOTH
    assert ("floating_ips" in found["salt"]) is bool(address)
    (asked,) = minions.asked
    assert (asked.function, asked.nodes, asked.kwargs) == ("pair.surroundings", BOTH, {"pairs": []})


def test_the_primary_is_the_one_that_is_named_first(run, minions, keys):
    keys(BOTH)
    minions.answers = {"pair.surroundings": surroundings}
    found = yaml.safe_load(run("pair.new", "salt", "salt2", "salt1")["file"])["pairs"]["salt"]
    assert found["primary"] == {"id": "salt2", "host": "10.0.0.12"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "A name for the pair and the ids of two minions are needed."),
        (("web", "web1"), "A name for the pair and the ids of two minions are needed."),
        (("web", "web1", ""), "A name for the pair and the ids of two minions are needed."),
        (("", "web1", "web2"), "A name for the pair and the ids of two minions are needed."),
        (("web", "web1", "web1"), "A name for the pair and the ids of two minions are needed."),
        (("web", "web1", 7), "A name for the pair and the ids of two minions are needed."),
        (("web", "web1", "web 2"), "secondary: found 'web 2', wanted "),
    ],
)
def test_a_new_pair_of_no_two_minions_is_refused_before_anybody_is_asked(run, minions, keys, words, said):
    keys(["web1", "web 2"])
    answer = run("pair.new", *words)
    assert answer["retcode"] == 1 and said in answer["error"]
    assert "Usage: salt-run pair.new <pair> <primary> <secondary>" in answer["error"]
    assert minions.asked == []


@pytest.mark.parametrize(
    ("accepted", "waiting", "said"),
    [
        (["salt1"], [], "salt2 is no minion whose key this master has accepted; see salt-key --list=all"),
        (
            ["salt1"],
            ["salt2"],
            "salt2 is no minion whose key this master has accepted; its key waits: salt-key",
        ),
        ([], BOTH, "salt1 is no minion whose key this master has accepted"),
    ],
)
def test_a_node_whose_key_is_not_accepted_makes_no_pair(run, minions, keys, accepted, waiting, said):
    keys(accepted, waiting)
    minions.answers = {"pair.surroundings": surroundings}
    answer = run("pair.new", "salt", "salt1", "salt2")
    assert answer["retcode"] == 1 and answer["error"].startswith(said)
    assert [one.nodes for one in minions.asked] == ([accepted] if accepted else [])


def test_a_node_that_does_not_answer_makes_no_pair(run, minions, keys):
    keys(BOTH)
    minions.answers = {"pair.surroundings": asked_minions.of_node(salt1=SURROUNDINGS["salt1"])}
    answer = run("pair.new", "salt", "salt1", "salt2")
    assert answer["retcode"] == 1 and answer["error"].startswith("salt2 does not answer pair.surroundings")


def test_two_nodes_that_cannot_be_a_pair_are_a_sentence_and_nothing_is_written(run, minions, keys):
    keys(BOTH)
    far = {**facts("salt2", 12), "interfaces": {"eth0": ["192.0.2.7/24"]}}
    minions.answers = {"pair.surroundings": asked_minions.of_node(salt1=SURROUNDINGS["salt1"], salt2=far)}
    answer = run("pair.new", "salt", "salt1", "salt2")
    assert answer["retcode"] == 1 and "have no network in common" in answer["error"]
    assert "Nothing was written. Usage: salt-run pair.new" in answer["error"]


# --- what is asked of those of whom none may fail ---------------------------------------------------


def test_answers_of_which_one_failed_are_none(master_opts, minions):
    minions.answers = {"pair.surroundings": asked_minions.of_node(salt1={"a": 1})}
    nodes = asking.Nodes(master_opts)
    with pytest.raises(asking.NodesFailed, match="^salt2 does not answer"):
        site.answers(nodes, BOTH, "pair.surroundings")
    assert site.answers(nodes, ["salt1"], "pair.surroundings") == {"salt1": {"a": 1}}
