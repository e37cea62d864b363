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


def folder():
    """The cache's folder: ``FAILBACK_CACHE``, else /var/cache/failback; it exists afterwards."""
    path = pathlib.Path(os.environ.get("FAILBACK_CACHE") or "/var/cache/failback")
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(*ingredients):
    """A short key of everything that something is made from (anything JSON can hold)."""
    text = json.dumps(ingredients, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
