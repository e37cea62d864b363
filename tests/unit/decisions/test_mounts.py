"""Which mounts below a replicated path count, in the judgement and in the program that lsyncd runs."""

import shutil
import subprocess

import pytest
import samples

from failback.decisions import mounts
from failback.decisions import places
from failback.host.paths import Paths
from failback.pair import Member
from failback.replication import lsyncd_config
from failback.replication import replicated
from failback.replication import sources

LUA = shutil.which("lua5.3") or shutil.which("lua")
needs_lua = pytest.mark.skipif(not LUA, reason="lua5.3 comes with lsyncd")

#: Of the path itself; each table mounts one thing more below it.
ABOVE = "20 1 0:26 / / rw - ext4 /dev/vda1 rw\n90 20 0:50 / {top}/srv rw - zfs tank/srv rw\n"


def mount(kind, source, root="/", more="", parent=90, options="rw", point="{top}/srv/salt/home"):
    return f"{more}91 {parent} 0:51 {root} {point} rw shared:7 - {kind} {source} {options}\n"


AUTOFS = "85 90 0:49 / {top}/srv/salt/home rw - autofs systemd-1 rw\n"
EXPORT = "85 90 0:49 / {top}/srv/salt rw - nfs4 nas:/export/ rw\n"
TWICE = "92 90 0:51 /x {top}/srv/salt/home rw - zfs tank/srv rw\n"

COUNT = {
    "a disk": mount("xfs", "/dev/vdb1"),
    "a dataset": mount("zfs", "tank/srv/home"),
    "a dataset with a blank in its name": mount("zfs", r"tank/s\040rv/home"),
    "nfs": mount("nfs4", "nas:/home"),
    "ceph": mount("ceph", "10.0.0.1:6789:/home"),
    "virtiofs": mount("virtiofs", "home"),
    "fuse of root": mount("fuse.glusterfs", "gluster:/home", options="rw,user_id=0,group_id=0"),
    "ntfs": mount("fuseblk", "/dev/vdb1", options="rw,user_id=1000"),
    "a folder of another place": mount("zfs", "tank/srv", "/elsewhere"),
    "a folder of a disk": mount("ext4", "/dev/vda1", "/data/home"),
    "a subvolume": mount("btrfs", "/dev/vdb1", "/@home"),
    "a disk on demand": mount("xfs", "/dev/vdb1", more=AUTOFS, parent=85),
    "an export on another one of another server": mount("nfs4", "nas2:/export/home", more=EXPORT, parent=85),
    "an export of another place": mount("nfs4", "nas:/home", more=EXPORT, parent=85),
    "one whose parent is not to be seen": mount("zfs", "tank/srv/home", parent=7),
    "a dataset that is called like a snapshot's folder": mount("zfs", "tank/.zfs/snapshot/x"),
}
DO_NOT_COUNT = {
    "memory": mount("tmpfs", "tmpfs"),
    "memory without a source": mount("tmpfs", ""),
    "a trigger": mount("autofs", "systemd-1"),
    "a namespace": mount("nsfs", "nsfs", "net:[4026532177]"),
    "a container": mount("overlay", "overlay"),
    "a container of podman": mount("fuse.fuse-overlayfs", "fuse-overlayfs", options="rw,user_id=0"),
    "fuse of a user": mount("fuse.sshfs", "user_id=0", options="rw,nosuid,user_id=1000,group_id=1000"),
    "fuse of a user without a type": mount("fuse", "x", options="user_id=1000"),
    "nfs on demand": mount("nfs4", "nas:/home", more=AUTOFS, parent=85),
    "an export in another one": mount("nfs4", "nas:/export/home", more=EXPORT, parent=85),
    "a snapshot": mount("zfs", "tank/srv@daily", point="{top}/srv/salt/.zfs/snapshot/daily"),
    "a folder on itself": mount("zfs", "tank/srv", "/salt/home"),
    "the same once more": mount(
        "zfs", "tank/srv", point="{top}/srv/salt/home", parent=92, root="/x", more=TWICE
    ),
}


def tables():
    for counted, all_of_them in ((True, COUNT), (False, DO_NOT_COUNT)):
        for name, text in all_of_them.items():
            yield pytest.param(text, counted, id=name)


def facts_of(tmp_path, text):
    (tmp_path / "mountinfo").write_text(text.format(top=tmp_path))
    return sources.facts(["/srv/salt"], str(tmp_path), str(tmp_path / "mountinfo"))


@pytest.fixture
def top(tmp_path):
    (tmp_path / "srv/salt/home/anna").mkdir(parents=True)
    (tmp_path / "srv/salt/file").write_text("1")
    return tmp_path


@pytest.mark.parametrize(("text", "counted"), tables())
def test_what_is_missed_when_it_is_not_mounted_any_more(top, text, counted):
    was = facts_of(top, ABOVE + text)
    now = facts_of(top, ABOVE + "".join(line for line in text.splitlines(True) if not line.startswith("91")))
    # A mount that nobody has recorded refuses nothing, whoever did not look at it.
    assert places.misplaced(was, now) == places.misplaced(was, was) == {}
    assert bool(places.misplaced(now, was)) is counted
    assert bool(places.own_source_problems(now, was)) is counted
    if counted:
        assert "which used to be mounted below it" in places.misplaced(now, was)["/srv/salt"]


def asked(top, question):
    """What the program that lsyncd runs answers."""
    pair = {**samples.pair(), "lsyncd": {"delay": 1, "max_processes": 2}}
    items = [replicated.item("/srv/salt", is_directory=True)]
    program = lsyncd_config.render(Member.of(pair, Paths(top)), items)
    stub = f"""
default = {{ rsync = {{ }} }}
function settings() end
function now() return 0 end
function alarm() end
function sync() end
local lines = io.lines
function io.lines() return lines({lsyncd_config.quote(str(top / "mountinfo"))}) end
"""
    text = f"{stub}{program}\nio.write(tostring({question}))"
    done = subprocess.run([LUA, "-"], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@needs_lua
@pytest.mark.parametrize(("text", "counted"), tables())
def test_lsyncd_counts_the_same(top, text, counted):
    (top / "mountinfo").write_text((ABOVE + text).format(top=top))
    own, below = asked(top, "mounted()").split(" / ")
    assert own == ("85" if EXPORT in text else "90")
    assert ("91" in below.split()) is counted


STORES = [
    ("/var/lib/docker", True),
    ("/var/lib/docker/volumes", True),
    ("/var/lib/docker/volumes/web/_data", False),
    ("/var/lib/containers/storage", True),
    ("/var/lib/containers/storage/overlay/1f/merged", False),
    ("/var/lib/kubelet/pods/1f/volumes/data/mount", False),
    ("/var/lib/kubelet2/pods/1f", True),
    ("/srv/var/lib/docker/volumes/web/_data", True),
]


@pytest.mark.parametrize(("point", "counted"), STORES)
def test_what_a_container_runtime_mounts_in_its_store(point, counted):
    assert mounts.counts({"mount": point, "type": "xfs", "source": "/dev/vdb1", "root": "/"}, None) is counted


@needs_lua
@pytest.mark.parametrize(("point", "counted"), STORES)
def test_lsyncd_knows_the_same_stores(tmp_path, point, counted):
    question = f'counts({{ kind = "xfs", point = "{point}/", source = "/dev/vdb1" }}, nil)'
    assert asked(tmp_path, question) == str(counted).lower()


#: Of an earlier release: each disk, and no other file system.
DISK = {"mount": "/srv/salt/home", "type": "xfs", "source": "/dev/vdb1", "root": "/", "uuid": None}
OWN = {"mount": "/", "type": "ext4", "source": "/dev/vda1", "root": "/", "uuid": None}


@pytest.mark.parametrize(
    ("was", "missed"),
    [
        (DISK, True),
        ({**DISK, "source": "/dev/vda1", "type": "ext4", "root": "/data"}, True),
        # What does not count now would be missed for ever.
        ({**DISK, "source": "/dev/vda1", "type": "ext4", "root": "/srv/salt/home"}, False),
        ({**DISK, "mount": "/var/lib/docker/volumes/web/_data"}, False),
    ],
)
def test_a_record_of_an_earlier_release(was, missed):
    before = {"exists": True, "empty": False, "file_system": OWN, "below": [was]}
    assert bool(places.misplaced({"/srv": {**before, "below": []}}, {"/srv": before})) is missed
