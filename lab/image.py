"""The image that the hosts of a lab are copies of: Debian 12, and Salt in /opt/saltstack/salt.

There is one for each kind of ``lab/kinds.py``. It is made with mmdebstrap (25 s; 100 s with all services)
and pip (10 s, and 25 s for the wheels), and cached under a key of the kind, the suite, the Salt release,
the files in ``lab/files/image`` and this file.
"""

import dataclasses
import os
import pathlib
import shutil

from lab import cache
from lab import environments
from lab.kinds import KINDS

SUITE = "bookworm"
SALT = environments.RELEASE
FILES = pathlib.Path(__file__).resolve().parent / "files" / "image"
PROGRAMS = ["salt", "salt-call", "salt-cp", "salt-key", "salt-master", "salt-minion", "salt-run"]


def ready(kind="base"):
    """The folder of an image (a name of ``KINDS``); made first if it is not there. Never write to it."""
    return cache.made(f"image-{kind}", ingredients(kind), lambda root: make(root, KINDS[kind]))


def is_ready(kind):
    """Whether an image is in the cache."""
    return cache.has(f"image-{kind}", ingredients(kind))


def ingredients(kind):
    """All that an image is made from."""
    return {
        "suite": SUITE,
        "kind": dataclasses.asdict(KINDS[kind]),
        "salt": environments.RELEASES[SALT],
        "mirror": environments.mirror(),
        "files": {
            str(path.relative_to(FILES)): path.read_text()
            for path in sorted(FILES.rglob("*"))
            if path.is_file()
        },
        "recipe": pathlib.Path(__file__).read_text(),
    }


def make(root, kind):
    """Fill ``root`` with the image of a ``Kind``."""
    wheels = environments.wheels(SALT)
    debootstrap(root, kind.packages)
    install_salt(root, wheels)
    shutil.copytree(FILES, root, dirs_exist_ok=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    # The machine's name servers cannot be reached from the lab; asking them would hang for 10 s.
    (root / "etc/resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    cache.call(["chroot", root, "systemctl", "enable", *kind.at_boot])
    cache.call(["chroot", root, "systemctl", "disable", *kind.not_at_boot])
    # Nothing here has hardware, a console of its own, or a clock to set.
    cache.call(
        ["chroot", root, "systemctl", "mask", "getty.target", "console-getty.service"]
        + ["apt-daily.timer", "apt-daily-upgrade.timer", "e2scrub_all.timer", "fstrim.timer"]
        + ["ifupdown-wait-online.service"]
    )
    for path in [*(root / "etc/ssh").glob("ssh_host_*"), root / "etc/machine-id"]:
        path.unlink(missing_ok=True)  # each host gets its own


def debootstrap(root, packages):
    cache.say(f"Debian {SUITE} with {len(packages)} packages (mmdebstrap)")
    cache.call(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *cache.apt_options()]
        + [f"--include={','.join(packages)}", SUITE, root]
        + ([environments.mirror()] if environments.mirror() else []),
        env=dict(os.environ, TMPDIR=str(root.parent)),
    )


def install_salt(root, wheels):
    """Salt where upstream's packages have it, with the programs in /usr/bin."""
    cache.say(f"Salt {SALT} into /opt/saltstack/salt of the image (pip)")
    shutil.copytree(wheels, root / "wheels")
    try:
        cache.call(["chroot", root, "python3", "-m", "venv", "/opt/saltstack/salt"])
        cache.call(
            ["chroot", root, "/opt/saltstack/salt/bin/pip", "--isolated", "install", "--quiet"]
            + ["--no-index", "--find-links", "/wheels", "salt"],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"},
        )
    finally:
        shutil.rmtree(root / "wheels")
    for program in PROGRAMS:
        (root / "usr/bin" / program).symlink_to(f"/opt/saltstack/salt/bin/{program}")
    for place in ("etc/salt/master.d", "etc/salt/minion.d", "var/log/salt", "var/cache/salt"):
        (root / place).mkdir(parents=True, exist_ok=True)
