"""Each way to install a release, into a folder of its own, and `salt-run pair.check` from it."""

import os
import pathlib
import re
import subprocess
import sys
import tarfile
import zipfile

import pytest

from failback.version import VERSION
from lab import cache
from lab import release

BIN = pathlib.Path(sys.executable).parent
PILLAR = {
    "top.sls": "base: {'*_master': [pairs]}\n",
    "pairs.sls": "pairs: {web: {primary: web1, secondary: web2, replicate: [/srv/web]}}\n",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return release.make(tmp_path_factory.mktemp("release"))


@pytest.fixture(params=["wheel", "tarball"])
def installed(request, made, tmp_path):
    """``(folder of the tree, what Python must find it by)``."""
    tarball, _, wheel, _ = made
    target = tmp_path / "target"
    if request.param == "tarball":
        with tarfile.open(tarball) as packed:
            packed.extractall(target)
        return target / f"failback-{VERSION}", None
    # As salt-pip does it.
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", target]
    subprocess.run([*pip, wheel], check=True)
    return target / "share/failback", target


@pytest.mark.one_release
def test_the_debian_package_has_the_tree_of_the_wheel(made, tmp_path):
    _, deb, wheel, _ = made
    subprocess.run(["dpkg-deb", "--extract", deb, tmp_path / "deb"], check=True)
    zipfile.ZipFile(wheel).extractall(tmp_path / "wheel")
    trees = [*tmp_path.glob("*/usr/share/failback"), *tmp_path.glob("*/*.data/data/share/failback")]
    done = subprocess.run(["diff", "--recursive", "--brief", *trees], capture_output=True, text=True)
    assert (len(trees), done.returncode) == (2, 0), done.stdout


@pytest.mark.one_release(but="the first case")
def test_pair_check_runs_from_it(installed, tmp_path):
    tree, path = installed
    pillar = tmp_path / "pillar"
    pillar.mkdir()
    for name, text in PILLAR.items():
        (pillar / name).write_text(text)
    (tmp_path / "etc").mkdir()
    # A master makes it when it starts; none runs here.
    (tmp_path / "root/var/cache/salt/master/proc").mkdir(parents=True)
    (tmp_path / "etc/master").write_text(
        f"root_dir: {tmp_path / 'root'}\nid: own_master\nuser: root\nlog_level: error\n"
        f"file_roots: {{base: [{tree / 'salt'}]}}\npillar_roots: {{base: [{pillar}]}}\n"
    )
    environment = {**os.environ, **({"PYTHONPATH": str(path)} if path else {})}

    def run(*words):
        return subprocess.run(
            [BIN / "salt-run", "-c", tmp_path / "etc", "--no-color", *words],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            stdin=subprocess.DEVNULL,
        )

    if path is None:
        # The orchestration says what to do, before the master has the modules.
        early = run("state.orch", "orch.boot", "pillar={pair: web}")
        assert early.returncode != 0
        assert "salt-run saltutil.sync_all" in early.stdout + early.stderr
        assert "was not found in SLS" not in early.stdout + early.stderr
        assert run("saltutil.sync_all").returncode == 0
    done = run("pair.check")
    assert done.returncode == 0 and "1 pair: the pillar is right." in done.stdout, done.stdout + done.stderr
    # A site's own file, in a root that is read earlier, is named.
    own = tmp_path / "own/orch"
    own.mkdir(parents=True)
    (own / "boot.sls").write_text("{}\n")
    config = tmp_path / "etc/master"
    config.write_text(config.read_text().replace("{base: [", f"{{base: [{own.parent}, ", 1))
    done = run("pair.check")
    assert done.returncode == 1
    assert "orch/boot.sls" in done.stdout and "another file" in done.stdout


@pytest.mark.one_release
def test_a_release_has_one_version_and_checksums_that_are_right(made):
    names = [path.name for path in made]
    assert names == [
        f"failback-{VERSION}.tar.gz",
        f"failback_{VERSION}_all.deb",
        f"failback-{VERSION}-py3-none-any.whl",
        "SHA256SUMS",
    ]
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=made[0].parent, check=True)
    control = subprocess.run(["dpkg-deb", "--field", made[1], "Version"], capture_output=True, text=True)
    assert control.stdout.strip() == VERSION


@pytest.mark.one_release
def test_the_version_is_that_of_the_changelog():
    text = (cache.CHECKOUT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[(.+?)\]", text, re.MULTILINE).group(1) == VERSION
