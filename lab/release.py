"""
What a site installs: a tarball, a Debian package and a wheel of one commit, and their checksums.

    python3 -m lab.release [FOLDER]      (make release; the folder is artifacts/release unless it is given)

All three have the same ``salt/`` and ``pillar/``, and in ``salt/failback.sha256`` the digest of every file of
``salt/``, by which ``salt-run pair.check`` sees whether a master serves them. The version is that of
``salt/_utils/failback/version.py``.
"""

import argparse
import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import sys
import tarfile
import tempfile

from lab import cache
from lab import environments

#: In ``salt/``; see ``failback_master.served``.
DIGESTS = "failback.sha256"
CONTROL = """\
Package: failback
Version: {version}
Architecture: all
Maintainer: The authors of Failback <root@localhost>
Section: admin
Priority: optional
Suggests: salt-master
Description: brings an active/standby pair home after its primary has failed
 A Salt tree, in /usr/share/failback: salt is for file_roots, pillar an example for
 pillar_roots. It changes nothing by itself: see /usr/share/doc/failback/install.md.
"""


def version(tree):
    """The version that a tree says it has."""
    text = (tree / "salt/_utils/failback/version.py").read_text()
    return re.search(r'^VERSION = "([^"]+)"$', text, re.MULTILINE).group(1)


def make(folder, commit="HEAD"):
    """
    Make all of a release.

    folder
        Where it goes; made if it is not there.

    commit
        Of this repository. What is not committed is in no release.

    Returns the paths of the tarball, the Debian package, the wheel and their checksums. RuntimeError if a
    program fails.
    """
    folder = pathlib.Path(folder).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # Of the commit and not of now: the same commit makes the same tarball.
    when = int(cache.call(["git", "show", "--no-patch", "--format=%ct", commit], cwd=cache.CHECKOUT))
    with tempfile.TemporaryDirectory(prefix="failback-release-") as temporary:
        tree = pathlib.Path(temporary, "tree")
        _export(commit, tree)
        digests = _digests(tree / "salt")
        (tree / "salt" / DIGESTS).write_text(digests)
        name = version(tree)
        made = [
            _tarball(tree, folder / f"failback-{name}.tar.gz", f"failback-{name}", when),
            _deb(tree, folder / f"failback_{name}_all.deb", pathlib.Path(temporary, "deb"), name, when),
            _wheel(tree, folder, name),
        ]
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(f"{_sha256(path)}  {path.name}\n" for path in made))
    return [*made, sums]


def _export(commit, tree):
    archive = tree.with_suffix(".tar")
    cache.call(["git", "archive", "--format=tar", f"--output={archive}", commit], cwd=cache.CHECKOUT)
    tree.mkdir()
    with tarfile.open(archive) as packed:
        packed.extractall(tree)


def _digests(salt):
    """A line a file, as ``sha256sum`` writes and checks them."""
    files = sorted(path for path in salt.rglob("*") if path.is_file())
    return "".join(f"{_sha256(path)}  {path.relative_to(salt)}\n" for path in files)


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _tarball(tree, target, prefix, when):
    def plain(member):
        member.uid = member.gid = 0
        member.uname = member.gname = "root"
        member.mtime = when
        return member

    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(tree.rglob("*")):
            archive.add(path, f"{prefix}/{path.relative_to(tree)}", recursive=False, filter=plain)
    with open(target, "wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=when) as handle:
        handle.write(packed.getvalue())
    return target


def _deb(tree, target, root, name, when):
    share, documents = root / "usr/share/failback", root / "usr/share/doc/failback"
    for top in ("salt", "pillar"):
        shutil.copytree(tree / top, share / top)
    documents.mkdir(parents=True)
    for page in [*(tree / "docs").glob("*.md"), *(tree / each for each in ("README.md", "CHANGELOG.md"))]:
        shutil.copy(page, documents)
    shutil.copy(tree / "LICENSE", documents / "copyright")
    (root / "DEBIAN").mkdir()
    (root / "DEBIAN/control").write_text(CONTROL.format(version=name))
    environment = dict(os.environ, SOURCE_DATE_EPOCH=str(when))
    cache.call(["dpkg-deb", "--root-owner-group", "-Zxz", "--build", root, target], env=environment)
    return target


def _wheel(tree, folder, name):
    pip = environments.tools() / "bin" / "pip"
    cache.call(
        [pip, "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", folder]
        + [tree]
    )
    return folder / f"failback-{name}-py3-none-any.whl"


def main(argv=None):
    """The program."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__.strip().splitlines()[0])
    parser.add_argument("folder", nargs="?", default=cache.CHECKOUT / "artifacts/release")
    folder = parser.parse_args(argv).folder
    left = cache.call(["git", "status", "--porcelain"], cwd=cache.CHECKOUT)
    if left.strip():
        print(
            f"What is not committed would be in no release, and the release not what you see:\n{left}"
            f"Commit it or put it aside, then run make release again. Nothing was made.",
            file=sys.stderr,
        )
        return 1
    for path in make(folder):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
