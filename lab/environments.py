"""Virtual environments for the tests, and the wheels of Salt that the image is made from."""

import configparser

from lab import cache

#: The newest of each release that pip can install is taken; pip goes back by itself.
RELEASES = {"3008": "salt==3008.*", "3006": "salt==3006.*"}
PYTHON = "/usr/bin/python3"


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


def tests(release):
    """The virtual environment in which the tests run on one Salt release."""
    wanted = requirements()

    def make(place):
        cache.call([PYTHON, "-m", "venv", place])
        cache.call(
            [place / "bin" / "pip", "install", "--quiet", "--find-links", wheels(release)]
            + [f"salt=={salt_version(release)}", *wanted]
        )

    ingredients = [RELEASES[release], wanted, python_version()]
    return cache.made(f"tests-{release}", ingredients, make, relocatable=False)


def python_version():
    """The version of the machine's Python, e.g. ``Python 3.11.2``."""
    return cache.call([PYTHON, "--version"]).strip()
