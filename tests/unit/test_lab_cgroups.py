"""lab/cgroups.py: whose processes are in a group, and what they have used, on both kinds of machine."""

import pytest

from lab import cgroups

pytestmark = pytest.mark.one_release

OLD = ("cpuacct", "pids", "systemd", "unified")


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Makes the hierarchies of a machine; ``machine(names)`` returns a function that fills a group."""

    def made(names):
        places = [tmp_path / name for name in names]
        monkeypatch.setattr(cgroups, "hierarchies", lambda: places)

        def fill(hierarchy, group, *pids, **files):
            folder = tmp_path / hierarchy / cgroups.TOP / group
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "cgroup.procs").write_text("".join(f"{pid}\n" for pid in pids))
            for name, text in files.items():
                (folder / name.replace("_", ".", 1)).write_text(text)

        return fill

    return made


def test_a_look_reads_one_hierarchy_of_a_controller_and_what_lies_below_the_group(machine):
    fill = machine(reversed(OLD))
    fill("unified", "mine/hosts/salt1/init.scope", 1)
    fill("pids", "mine/hosts/salt1", 1, 0)
    fill("pids", "mine/hosts/salt1/system.slice", 7)
    fill("pids", "mine/hosts/salt2", 9)
    fill("cpuacct", "mine/hosts/salt1", 1, 8)
    assert cgroups.seen("mine/hosts/salt1") == {1, 7}
    # Whoever kills asks all of them: what is moving from one group to another is in one of them.
    assert cgroups.members("mine/hosts/salt1") == {1, 7, 8}


def test_a_unified_machine_has_one_hierarchy_and_that_is_read(machine):
    fill = machine(["unified"])
    fill("unified", "mine/hosts/salt1", 5)
    assert cgroups.seen("mine/hosts/salt1") == cgroups.members("mine/hosts/salt1") == {5}


def test_what_the_labs_have_used_in_the_older_kind(machine):
    fill = machine(OLD)
    fill("cpuacct", "mine", cpuacct_usage="2500000000\n")
    fill("cpuacct", "other", cpuacct_usage="1\n")
    fill("unified", "mine", cpu_stat="usage_usec 77\n")
    assert cgroups.used() == {"mine": 2.5, "other": 1e-9}


def test_what_the_labs_have_used_in_the_unified_kind(machine):
    fill = machine(["unified"])
    fill("unified", "mine", cpu_stat="usage_usec 2500000\nuser_usec 1\n")
    fill("unified", "empty", cpu_stat="")
    assert cgroups.used() == {"mine": 2.5}


@pytest.mark.parametrize(
    "names, given, wanted",
    [(("cpu", "pids"), {"cpu": {"cpu.shares": "1024"}}, "cpu"),
     (("unified",), {"unified": {"cgroup.subtree_control": "cpu io memory\n"}}, "unified"),
     (("unified",), {"unified": {"cgroup.subtree_control": "cpuset memory\n"}}, None),
     (("pids",), {}, None)],
    ids=["older", "unified", "unified, without", "none"],
)  # fmt: skip
def test_programs_beside_the_labs_share_the_processors_and_nothing_else(
    machine, tmp_path, names, given, wanted
):
    machine(names)
    for hierarchy in names:
        (tmp_path / hierarchy).mkdir()
        for name, text in given.get(hierarchy, {}).items():
            (tmp_path / hierarchy / name).write_text(text)
    files = cgroups.beside_labs("mine")
    assert files == ([str(tmp_path / wanted / cgroups.TOP / "mine/cgroup.procs")] if wanted else [])
    assert all((tmp_path / each / cgroups.TOP).exists() == (each == wanted) for each in names)


@pytest.mark.parametrize(
    "kind, name, four",
    [("cpu", "cpu_shares", 1024), ("unified", "cpu_weight", 100)],
)  # fmt: skip
def test_a_lab_has_a_share_for_each_of_its_hosts(machine, tmp_path, kind, name, four):
    fill = machine([kind])
    for lab, hosts in (("pair", 4), ("many", 20)):
        fill(kind, lab, **{name: "1"})
        cgroups.share_by_hosts(lab, hosts)
    file = name.replace("_", ".")
    shares = [(tmp_path / kind / cgroups.TOP / lab / file).read_text() for lab in ("pair", "many")]
    assert shares == [f"{four}\n", f"{5 * four}\n"]
