"""GitFS and git_pillar from a bare repository, with the very configuration that docs/install.md shows."""

import getpass
import json
import re
import subprocess
import sys

import pillar_tree
import pytest

pytest.importorskip("git", reason="GitPython is not installed")

REPOSITORY = "/srv/git/site.git"


@pytest.fixture(scope="module")
def master(tree, tmp_path_factory):
    """``master(words)``: salt-run on a master that has no tree but the repository."""
    # Short: Salt's sockets lie below it.
    root = tmp_path_factory.mktemp("g")
    bare = root / "site.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(bare)], check=True)
    work = root / "work"
    work.mkdir()
    git = ["git", "-C", str(work), "-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["cp", "-a", str(tree / "salt"), str(work / "salt")], check=True)
    pillar_tree.copy(tree, work / "pillar")
    for words in (
        ["init", "--quiet", "--initial-branch=main"],
        ["add", "--all"],
        ["commit", "--quiet", "-m", "The tree"],
        ["push", "--quiet", str(bare), "HEAD:main"],
    ):
        subprocess.run([*git, *words], check=True)
    page = (tree / "docs/install.md").read_text()
    (shown,) = [one for one in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL) if REPOSITORY in one]
    assert shown.count(REPOSITORY) == 2
    settings = {"id": "salt1_master", "root_dir": str(root), "user": getpass.getuser()}
    settings |= {f"{key}_dir": str(root / key) for key in ("pki", "sock")}
    settings |= {"cachedir": str(root / "cache"), "log_file": str(root / "log")}
    (root / "etc").mkdir()
    (root / "cache/proc").mkdir(parents=True)
    text = shown.replace(REPOSITORY, str(bare))
    (root / "etc/master").write_text(text + "".join(f"{k}: {json.dumps(v)}\n" for k, v in settings.items()))

    def call(*words):
        program = "import sys; from salt.scripts import salt_run; sys.exit(salt_run())"
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                program,
                "-c",
                str(root / "etc"),
                "--log-level=error",
                "--out=json",
                *words,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout)

    assert call("fileserver.update") is True
    call("git_pillar.update")
    call("saltutil.sync_all")
    return call


def test_the_states_come_from_the_repository(master, tree):
    served = set(master("fileserver.file_list"))
    there = {str(path.relative_to(tree / "salt")) for path in (tree / "salt").rglob("*.sls")}
    assert there <= served
    assert not [name for name in served if name.startswith(("pillar/", "salt/"))]


def test_a_node_sees_its_pair_and_the_orchestrations_all(master, tree):
    assert set(master("pillar.show_pillar", "salt1")["pairs"]) == {"salt"}
    assert master("pillar.show_pillar", "client") == {}
    shipped = {path.stem for path in (tree / "pillar/pairs").glob("*.sls")}
    assert set(master("pillar.show_pillar", "salt1_master")["pairs"]) == shipped


def test_the_runner_comes_from_the_repository_and_finds_the_pillar_right(master):
    assert "the pillar is right" in json.dumps(master("pair.check"))
