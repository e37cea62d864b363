"""What the tests run in: a virtual environment for each release of Salt, a Debian for each Python."""

import configparser
import os
import shutil

from lab import cache

#: The newest of each release that pip can install is taken; pip goes back by itself.
RELEASES = {"3008": "salt==3008.*", "3007": "salt==3007.*", "3006": "salt==3006.*"}
#: The one on which everything runs that runs on one release, and the lab.
RELEASE = "3008"
PYTHON = "/usr/bin/python3"
#: The oldest and the newest Python that the library runs on, and the Debian that has it.
PYTHONS = {"3.9": "bullseye", "3.13": "trixie"}
#: And the Debian of each that a machine can have.
DEBIANS = {**PYTHONS, "3.11": "bookworm"}
#: What the tests that need no Salt are made with, and call.
PACKAGES = (
    *("python3", "python3-pytest", "python3-hypothesis", "python3-jsonschema", "python3-yaml"),
    *("rsync", "git", "openssh-client", "lsyncd", "iproute2", "procps", "acl", "attr"),
)


def wheels(release):
    """A folder with the wheels of Salt and all it needs: the image has no network to pip."""

    def make(place):
        place.mkdir(parents=True)
        pip = tools() / "bin" / "pip"
        cache.call([pip, "wheel", "--quiet", "--wheel-dir", place, RELEASES[release]])

    return cache.made(f"wheels-{release}", [RELEASES[release], python_version()], make)


def gitpython():
    """A folder with the wheels of GitPython, with which a master reads its tree from Git."""

    def make(place):
        place.mkdir(parents=True)
        cache.call([tools() / "bin" / "pip", "wheel", "--quiet", "--wheel-dir", place, "GitPython"])

    return cache.made("wheels-gitpython", [python_version()], make)


def tools():
    """A virtual environment with nothing but pip, which makes the wheels."""

    def make(place):
        cache.call([PYTHON, "-m", "venv", place])
        cache.call([place / "bin" / "pip", "install", "--quiet", "wheel"])

    return cache.made("tools", [python_version()], make, relocatable=False)


def salt_version(release):
    """The exact version in the wheels, e.g. ``3008.3``."""
    (wheel,) = wheels(release).glob("salt-*.whl")
    return wheel.name.split("-")[1]


def requirements():
    """What the tests need beside Salt: ``test`` in setup.cfg."""
    parser = configparser.ConfigParser()
    parser.read(cache.CHECKOUT / "setup.cfg")
    return parser["options.extras_require"]["test"].split()


def tests(release=RELEASE):
    """The virtual environment in which the tests run on one Salt release."""
    wanted = requirements()

    def make(place):
        cache.call([PYTHON, "-m", "venv", place])
        cache.call(
            [place / "bin" / "pip", "install", "--quiet", "--find-links", wheels(release)]
            + [f"salt=={salt_version(release)}", *wanted]
        )

    return cache.made(f"tests-{release}", _of_tests(release), make, relocatable=False)


def is_ready(release):
    """Whether that environment is in the cache."""
    return cache.has(f"tests-{release}", _of_tests(release))


def _of_tests(release):
    return [RELEASES[release], requirements(), python_version()]


def python(version):
    """
    The root of a Debian with a Python of that version and what the tests need that need no Salt.

    version
        A name of ``PYTHONS``. Enter it with ``lab.testing.in_root``; never write to it.
    """
    suite = PYTHONS[version]

    def make(root):
        command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", *cache.apt_options()]
        command += [f"--include={','.join(PACKAGES)}", suite, root]
        cache.call(command + ([mirror()] if mirror() else []), env=dict(os.environ, TMPDIR=str(root.parent)))
        for name in ("checkout", "results"):
            (root / name).mkdir()
        shutil.rmtree(root / "var/cache/apt", ignore_errors=True)

    return cache.made(f"python-{version}", [suite, PACKAGES, mirror()], make)


def etcd():
    """
    The program ``etcd``: the machine's own, or Debian's, unpacked. Installed, it would run as a service.

    RuntimeError where it cannot be had.
    """
    own = shutil.which("etcd")
    if own:
        return own

    def make(place):
        place.mkdir(parents=True)
        cache.call(["apt-get", "--quiet", "download", "etcd-server"], cwd=place)
        (package,) = place.glob("etcd-server_*.deb")
        cache.call(["dpkg-deb", "--extract", package, place])

    return str(cache.made("etcd", [PYTHON, python_version()], make) / "usr/bin/etcd")


def prometheus():
    """
    The folder with Debian's ``prometheus``, ``promtool`` and ``prometheus-node-exporter``, unpacked.

    Installed, two of them would run as services. They need nothing but a C library. RuntimeError where they
    cannot be had.
    """
    packages = ("prometheus", "prometheus-node-exporter")

    def make(place):
        place.mkdir(parents=True)
        cache.call(["apt-get", "--quiet", "download", *packages], cwd=place)
        for package in sorted(place.glob("*.deb")):
            cache.call(["dpkg-deb", "--extract", package, place])
            package.unlink()

    return cache.made("prometheus", [packages, python_version()], make) / "usr/bin"


def mirror():
    """``FAILBACK_MIRROR`` if a nearer Debian mirror is wanted; else mmdebstrap's own default."""
    return os.environ.get("FAILBACK_MIRROR", "")


def python_name():
    """The machine's Python as Debian calls it, e.g. ``python3.11``."""
    return "python" + ".".join(python_version().split()[1].split(".")[:2])


def debian_of_python():
    """The Debian that has the machine's Python, e.g. ``bookworm``."""
    return DEBIANS[python_name().removeprefix("python")]


def python_version():
    """The version of the machine's Python, e.g. ``Python 3.11.2``."""
    return cache.call([PYTHON, "--version"]).strip()
