"""Salt: a minion on every host, a master on the nodes of the salt pair, with the checkout's tree."""

import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import tarfile
import tempfile

from lab import cache
from lab import disk
from lab.host import HostOff

PKI = "etc/salt/pki"
#: An example in the list of pillar/top.sls: a pair's name, its primary and its secondary.
EXAMPLE = re.compile(r"# ([\w-]+ ([\w.-]+) ([\w.-]+)\n?)")

#: What has Salt leave out what a test's lab can do without.
TRUSTING = pathlib.Path(__file__).resolve().parent.parent / "files" / "salt"
#: A lab's minions boot before there is a master; Salt's own pause between two attempts is 10 s.
PATIENCE = {"acceptance_wait_time": 1, "acceptance_wait_time_max": 2}
#: What a host is does not change while it stands. Each salt-run, salt-call and minion would find it out anew,
#: with some twenty programs: a third of what a short command costs.
KEPT_GRAINS = {"grains_cache": True, "grains_cache_expiration": 24 * 60 * 60}
#: Is there from a host's first boot on.
HAS_BOOTED = "/var/lib/lab-has-booted"
BEFORE_MINION = f"""\
#!/bin/sh
setting=/etc/salt/minion.d/startup.conf
if [ ! -e {HAS_BOOTED} ] || [ -e /run/lab-minion-has-run ]; then
    rm -f "$setting"
else
    echo 'startup_states: highstate' > "$setting"
fi
touch {HAS_BOOTED} /run/lab-minion-has-run
"""
BEFORE_MINION_UNIT = """\
[Service]
ExecStartPre=/usr/local/lib/failback-lab/before-minion
"""
#: Where a minion is told that its modules are the tree's.
KEPT = "/etc/salt/minion.d/lab-modules.conf"
MASTER = {
    "user": "root",
    "interface": "0.0.0.0",
    "timeout": 10,
    "gather_job_timeout": 5,
    "worker_threads": 3,
    "ping_on_rotate": True,
    # Salt 3008 warns on each command of objects of its own that nobody has closed.
    "log_level": "error",
    "file_roots": {"base": ["/srv/salt/salt"]},
    "pillar_roots": {"base": ["/srv/salt/pillar"]},
}


def provide(site, host):
    """Salt's configuration and keys; on a master also the tree and a bare repository."""
    roles = host.machine.roles
    keys = _keys(site, host.root)
    if site.is_for_tests:
        (packages,) = host.root.glob("opt/saltstack/salt/lib/python3.*/site-packages")
        shutil.copytree(TRUSTING, packages, dirs_exist_ok=True)
    if "minion" in roles:
        _minion(site, host, keys)
    if "master" in roles:
        _master(site, host, keys)
        shutil.copytree(_repository(site), host.root / "srv/git/site.git", symlinks=True)
        _unpack(tree(site), host.root / "srv/salt")


def forget_boots(host):
    """The next boot is the first one: that of a lab which begins with the host's disk."""
    host.run(["rm", "-f", HAS_BOOTED])


def _grains(site):
    return {"enable_fqdns_grains": False} | (KEPT_GRAINS if site.is_for_tests else {})


def tree(site, checkout=None):
    """
    A tar of a checkout's salt/ and pillar/, as bytes: what git tracks or would track. The site's by default.

    Its pillar/top.sls lists those examples whose hosts the lab has.
    """
    checkout = checkout or site.checkout
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name in names(checkout):
            entry = archive.gettarinfo(checkout / name, name)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = "root"
            content = (checkout / name).read_bytes() if entry.isreg() else b""
            if name == "pillar/top.sls":
                content = pairs_of(site, content.decode()).encode()
                entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def names(checkout=cache.CHECKOUT):
    """The files of the checkout's salt/ and pillar/ that git tracks or would track, as sorted names."""
    listed = subprocess.run(
        ["git", "-C", str(checkout), "-c", f"safe.directory={checkout}", "ls-files", "-z"]
        + ["--cached", "--others", "--exclude-standard", "salt", "pillar"],
        capture_output=True,
    )
    if listed.returncode == 0:
        found = [os.fsdecode(name) for name in listed.stdout.split(b"\0") if name]
    else:  # not a git checkout: an unpacked archive
        found = [
            str(path.relative_to(checkout))
            for top in ("salt", "pillar")
            for path in (checkout / top).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        ]
    # What is tracked may be deleted in the work tree.
    return sorted(name for name in found if (checkout / name).exists())


def pairs_of(site, top):
    """The text of pillar/top.sls with those of its examples chosen whose hosts the lab has."""
    there = {machine.name for machine in site.description.machines}
    return with_examples(top, there.issuperset)


def with_examples(top, chosen=lambda nodes: True):
    """
    The text of pillar/top.sls with its examples as pairs, as a site makes it.

    chosen
        Function of the two nodes of an example; those that it says no to stay examples. All by default.
    """
    lines = []
    for line in top.splitlines(True):
        example = EXAMPLE.fullmatch(line)
        lines.append(example[1] if example and chosen(example.groups()[1:]) else line)
    return "".join(lines)


def push_tree(site, host):
    """Replace the tree on a running host."""
    # Unpacked beside it: lsyncd deletes on a standby what the active node has just deleted, also below a tar.
    script = (
        "rm -rf /srv/.pushed && mkdir -p /srv/.pushed /srv/salt && tar -x -C /srv/.pushed && "
        "for name in salt pillar; do rm -rf /srv/salt/$name && "
        "mv -T /srv/.pushed/$name /srv/salt/$name || exit; done && rmdir /srv/.pushed"
    )
    host.run(["/bin/sh", "-c", script], input=tree(site))


def keep_modules(host):
    """
    From its next start on a minion's highstate does not ask for the modules of the tree: they are there.

    It asks the master for the digest of each of their files, one by one: half of what a highstate costs.
    Only where the tree does not change; tests/lab/serving and tests/lab/masters see what highstate brings.

    host
        On, or off with its disk made.
    """
    host.write(KEPT, "autoload_dynamic_modules: False\n")


def had_highstate(host):
    """
    Whether the highstate at boot has run on a host since it booted; not, while it reboots.

    The minion keeps the result of its last one; that of this boot is newer than the boot.
    """
    find = ["find", "/var/cache/salt/minion/highstate.cache.p", "-newer", "/proc/1"]
    try:
        return bool(host.run(find, check=False).stdout.strip())
    except HostOff:
        return False


def _unpack(packed, folder):
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder)


def _minion(site, host, keys):
    roles = host.machine.roles
    # How it finds a master that has moved is highstate's to say: salt/minion/init.sls.
    config = {"id": host.name} | _grains(site) | PATIENCE
    if "master" in roles:
        config["startup_states"] = "highstate"
    elif host.machine.pair:
        _highstate_at_boot(host)
    if "master" in roles or "witness" in roles:
        # Not by the address that moves: an orchestration on the one must go on reaching the other.
        config |= {"master": site.description.masters(), "master_type": "str"}
    else:
        config["master"] = site.description.master_address or site.description.masters()[0]
    disk.write(host, "etc/salt/minion.d/lab.conf", _yaml(config))
    disk.write(host, f"{PKI}/minion/minion.pem", keys[host.name][0], 0o400)
    disk.write(host, f"{PKI}/minion/minion.pub", keys[host.name][1])


def _highstate_at_boot(host):
    """
    Highstate when the host boots, from its second boot on.

    Not in the first one: nothing can have changed while it was down, and all hosts of a new cluster would
    do it in the moment in which their master appears. Nor when the minion alone is restarted.
    """
    disk.write(host, "usr/local/lib/failback-lab/before-minion", BEFORE_MINION, 0o755)
    disk.write(host, "etc/systemd/system/salt-minion.service.d/lab.conf", BEFORE_MINION_UNIT)


def _master(site, host, keys):
    disk.write(host, "etc/salt/master.d/lab.conf", _yaml(MASTER | _grains(site)))
    disk.write(host, f"{PKI}/master/master.pem", keys["master"][0], 0o400)
    disk.write(host, f"{PKI}/master/master.pub", keys["master"][1])
    for name, (_, public) in keys.items():
        if name != "master":
            disk.write(host, f"{PKI}/master/minions/{name}", public)
    (host.root / PKI / "master").chmod(0o700)


def _keys(site, root):
    """One key pair for both masters and one for each minion: {name: (private, public)}.

    Made once a lab, so that a host which is added later fits in.
    """
    kept = site.state / "keys.json"
    if kept.exists():
        return json.loads(kept.read_text())
    everyone = (*site.description.machines, *site.description.absent)
    names = ["master", *(each.name for each in everyone if "minion" in each.roles)]
    program = (
        "import json, sys\n"
        "from cryptography.hazmat.primitives.asymmetric import rsa\n"
        "from cryptography.hazmat.primitives import serialization as s\n"
        "def pair():\n"
        "    key = rsa.generate_private_key(65537, 2048)\n"
        "    private = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL,"
        " s.NoEncryption())\n"
        "    public = key.public_key().public_bytes(s.Encoding.PEM,"
        " s.PublicFormat.SubjectPublicKeyInfo)\n"
        "    return private.decode(), public.decode()\n"
        "print(json.dumps({name: pair() for name in sys.argv[1:]}))\n"
    )
    python = "/opt/saltstack/salt/bin/python"
    made = cache.call(["chroot", root, python, "-c", program, *names])
    with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as handle:
        handle.write(made)
    return json.loads(made)


def _repository(site):
    """A bare repository with one commit, the same on all hosts."""
    bare = site.state / "site.git"
    if bare.exists():
        return bare
    author = {"GIT_AUTHOR_NAME": "lab", "GIT_AUTHOR_EMAIL": "lab@localhost"}
    author |= {"GIT_COMMITTER_NAME": "lab", "GIT_COMMITTER_EMAIL": "lab@localhost"}
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    environment |= author
    with tempfile.TemporaryDirectory() as work:
        cache.call(["git", "init", "--quiet", "--initial-branch=main", work])
        pathlib.Path(work, "README").write_text("The site's own files.\n")
        cache.call(["git", "-C", work, "add", "README"])
        cache.call(["git", "-C", work, "commit", "--quiet", "-m", "Begin"], env=environment)
        cache.call(["git", "clone", "--quiet", "--bare", work, bare])
    return bare


def _yaml(settings):
    """JSON is YAML; one setting a line."""
    return "".join(f"{name}: {json.dumps(value)}\n" for name, value in settings.items())
