"""The release before this one: a lab that it has set up, and how masters get this one."""

import contextlib
import io
import pathlib
import re
import shutil
import tarfile
import tempfile

import fresh_lab
import lab_pair

from lab import cache
from lab import snapshots
from lab.roles import salt

#: ``salt/`` of 26 Nov 2026 (commit 5ca6c1a), when the library lay in one folder.
ARCHIVE = pathlib.Path(__file__).parent / "release-before.tar.xz"

FLAT = "/usr/local/lib/failback/failback"
RELEASES = "/usr/local/lib/failback/releases"
CURRENT = "/usr/local/lib/failback/current"


def checkout(folder):
    """Unpack it into a folder, with this one's pillar; returns the folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder)
    shutil.copytree(cache.CHECKOUT / "pillar", folder / "pillar")
    for place in (folder / "pillar/pairs").glob("*.sls"):
        # It knows a witness by its minion id alone.
        place.write_text(re.sub(r"\[{id: (\S+), host: \S+}\]", r"[\1]", place.read_text()))
    return folder


def snapshot():
    """The disks of a pair that it has adopted, and that was never booted."""
    with tempfile.TemporaryDirectory() as folder:
        return snapshots.ready("salt", lab_pair.set_up, checkout(pathlib.Path(folder)))


@contextlib.contextmanager
def standing(lab_name, folder):
    """A lab of the site ``salt`` with it, and this one's pillar; ``folder`` is for its tree."""
    tree = checkout(folder)
    with fresh_lab.standing(lab_name, "salt", snapshot=snapshot(), checkout=tree) as lab:
        yield lab


def exists(host, path):
    return host.run(["test", "-e", path], check=False).returncode == 0


def library(host):
    """The one folder of the program's library on a node."""
    found = host.run(["find", "/usr/local/lib/failback", "-name", "cli.py", "-not", "-path", "*/.new-*"])
    (file,) = found.stdout.split()
    return file.removesuffix("/cli.py")


def give_this_one(pair, masters):
    """Put this release in place of the other on masters, as docs/install.md says; nothing of that stays."""
    with tarfile.open(fileobj=io.BytesIO(salt.tree(pair.site, cache.CHECKOUT))) as archive:
        names = [name for name in archive.getnames() if name.startswith("salt/")]
        new = io.BytesIO()
        with tarfile.open(fileobj=new, mode="w") as part:
            for name in names:
                member = archive.getmember(name)
                part.addfile(member, archive.extractfile(member) if member.isreg() else None)
    for host in masters:
        host.run(["rm", "-rf", "/srv/salt/salt"])
        host.run(["tar", "-x", "-C", "/srv/salt"], input=new.getvalue())
        # For 20 s the master goes by the list of files that it has; see docs/install.md.
        host.run(["salt-run", "fileserver.clear_file_list_cache"], timeout=120)
        host.run(["salt-run", "saltutil.sync_all"], timeout=300)
        found = host.run(["find", "/var/cache/salt/master/extmods/utils", "-name", "*.py"]).stdout.split()
        synced = {path.removeprefix("/var/cache/salt/master/extmods/utils/") for path in found}
        wanted = {name.removeprefix("salt/_utils/") for name in names if name.startswith("salt/_utils/")}
        assert synced == {name for name in wanted if name.endswith(".py")}


def name_the_witness(pair):
    """The pillar names the address of the pair's witness, as this release wants it."""
    for host in pair.nodes:
        text = host.read(lab_pair.PILLAR)
        assert text.count("[client]") == 1
        host.write(
            lab_pair.PILLAR, text.replace("[client]", f"[{{id: client, host: {pair.client.address()}}}]")
        )
