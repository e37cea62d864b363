"""What is expensive is made once, kept outside the checkout, and keyed by what it is made from."""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import time

CHECKOUT = pathlib.Path(__file__).resolve().parent.parent


def place():
    """Where the cache is: ``FAILBACK_CACHE``, else /var/cache/failback, or for a user ~/.cache/failback."""
    if os.environ.get("FAILBACK_CACHE"):
        return pathlib.Path(os.environ["FAILBACK_CACHE"])
    if os.geteuid() == 0:
        return pathlib.Path("/var/cache/failback")
    return pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "failback"


def folder():
    """The cache's folder; it exists afterwards."""
    path = place()
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(*ingredients):
    """A short key of everything that something is made from (anything JSON can hold)."""
    text = json.dumps(ingredients, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def has(name, ingredients):
    """Whether that has been made; see ``made``."""
    target = place() / f"{name}-{key(ingredients)}"
    # What this user may not see is not there for him.
    return os.path.exists(f"{target}.made") and os.path.isdir(target)


def made(name, ingredients, make, relocatable=True):
    """The path of a cached folder, made first if it is not there.

    name
        What it is, e.g. ``image``.

    ingredients
        Whatever it is made from; another value gives another folder.

    make
        Called with the path to fill. A virtual environment knows its own path, so it is made in its
        final place (``relocatable=False``) and counts only once its mark is written.
    """
    target = folder() / f"{name}-{key(ingredients)}"
    mark = target.with_name(target.name + ".made")
    if mark.exists() and target.is_dir():
        mark.touch()  # for ``forget``
        return target
    with locked(target.name):
        if mark.exists() and target.is_dir():
            return target
        say(f"making {name} in {target}")
        started = time.monotonic()
        place = target.with_name(target.name + ".partial") if relocatable else target
        for leftover in (place, target):
            if leftover.exists():
                shutil.rmtree(leftover)
        make(place)
        if relocatable:
            place.rename(target)
        mark.write_text(json.dumps(ingredients, indent=2, sort_keys=True) + "\n")
        say(f"{name} made in {time.monotonic() - started:.0f} s")
    return target


def forget(name, days):
    """Remove what was made under a name and has not been used for so many days."""
    for mark in folder().glob(f"{name}-*.made"):
        if mark.stat().st_mtime < time.time() - days * 86400:
            mark.unlink()
            shutil.rmtree(mark.with_suffix(""), ignore_errors=True)


@contextlib.contextmanager
def locked(name):
    """One maker at a time, over all processes of this machine."""
    with (folder() / f"{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"waiting for another process that is making {name}")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def say(text):
    """Progress, as one line on standard output."""
    print(f"==> {text}", flush=True)


def apt_options():
    """The machine's proxies for Debian's packages, as options of mmdebstrap."""
    options = []
    for name in ("Acquire::http::Proxy", "Acquire::https::Proxy"):
        setting = call(["apt-config", "dump", name]).strip()
        if setting:
            options.append(f"--aptopt={setting}")
    return options


def call(arguments, **options):
    """Run a program to its end; its output is shown only if it fails."""
    done = subprocess.run(
        [str(argument) for argument in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        **options,
    )
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(str(argument) for argument in arguments)}: exit code {done.returncode}\n"
            f"{done.stdout[-8000:]}"
        )
    return done.stdout
