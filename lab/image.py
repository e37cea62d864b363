"""The image that the hosts of a lab are copies of: a Debian, and Salt in /opt/saltstack/salt.

There is one for each kind and each Debian of ``lab/kinds.py``. It is made with mmdebstrap (25 s; 100 s with
all services) and pip (10 s, and 25 s for the wheels), and cached under a key of the kind, the suite, the Salt
release, the files in ``lab/files/image`` and this file.

Salt's Python is the machine's, for which pip has made the wheels: on another Debian it is another one than
the system's, as with Salt's own packages.
"""

import dataclasses
import os
import pathlib
import shutil

from lab import cache
from lab import environments
from lab.kinds import IMAGES
from lab.kinds import KINDS

SALT = environments.RELEASE
FILES = pathlib.Path(__file__).resolve().parent / "files" / "image"
PROGRAMS = ["salt", "salt-call", "salt-cp", "salt-key", "salt-master", "salt-minion", "salt-run"]


def ready(name):
    """The folder of an image, by its name; made first if it is not there. Never write to it."""
    kind, debian = IMAGES[name]
    return cache.made(f"image-{name}", ingredients(name), lambda root: make(root, KINDS[kind], debian))


def is_ready(name):
    """Whether an image is in the cache."""
    return cache.has(f"image-{name}", ingredients(name))


def ingredients(name):
    """All that an image is made from."""
    kind, debian = IMAGES[name]
    return {
        "suite": debian,
        "kind": dataclasses.asdict(KINDS[kind]),
        "packages": KINDS[kind].packages_of(debian),
        "python": environments.python_name(),
        "salt": environments.RELEASES[SALT],
        "mirror": environments.mirror(),
        "files": {
            str(path.relative_to(FILES)): path.read_text()
            for path in sorted(FILES.rglob("*"))
            if path.is_file()
        },
        "recipe": pathlib.Path(__file__).read_text(),
    }


def make(root, kind, debian):
    """Fill ``root`` with the image of a ``Kind`` with that Debian."""
    debootstrap(root, (*kind.packages_of(debian), environments.python_name()), debian)
    install_salt(root, environments.wheels(SALT))
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


def debootstrap(root, packages, debian):
    cache.say(f"Debian {debian} with {len(packages)} packages (mmdebstrap)")
    cache.call(
        ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *cache.apt_options()]
        + [f"--include={','.join(packages)}", debian, root, *_sources(debian)],
        env=dict(os.environ, TMPDIR=str(root.parent)),
    )


def _sources(debian):
    """Where its packages are; and those of the machine's Debian, which alone has that Python."""
    own = environments.debian_of_python()
    if debian == own:
        return [environments.mirror()] if environments.mirror() else []
    mirror = environments.mirror() or "http://deb.debian.org/debian"
    return [f"deb {mirror} {each} main" for each in (debian, own)]


def install_salt(root, wheels):
    """Salt where upstream's packages have it, with the programs in /usr/bin."""
    cache.say(f"Salt {SALT} into /opt/saltstack/salt of the image (pip)")
    own, python = "opt/saltstack/salt", environments.python_name()
    shutil.copytree(wheels, root / "wheels")
    try:
        # Of another Debian's Python there is no pip for ``ensurepip``: the machine's goes with it.
        cache.call(["chroot", root, python, "-m", "venv", "--without-pip", f"/{own}"])
        packages = f"lib/{python}/site-packages/pip"
        shutil.copytree(environments.tools() / packages, root / own / packages)
        cache.call(
            ["chroot", root, f"/{own}/bin/python", "-m", "pip", "--isolated", "install", "--quiet"]
            + ["--no-index", "--find-links", "/wheels", "salt"],
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"},
        )
    finally:
        shutil.rmtree(root / "wheels")
    for program in PROGRAMS:
        (root / "usr/bin" / program).symlink_to(f"/opt/saltstack/salt/bin/{program}")
    for place in ("etc/salt/master.d", "etc/salt/minion.d", "var/log/salt", "var/cache/salt"):
        (root / place).mkdir(parents=True, exist_ok=True)
