"""Writing to the disk of a host that has never run."""

import os
import pathlib
import shutil

from lab import cache


def write(host, path, text, mode=0o644, owner=None):
    """
    Write a file.

    path
        Without a leading slash. Its folder is made.

    text
        str or bytes.

    owner
        A user that the image knows, whose group it gets as well; root if it is not given.
    """
    # The host has never run, so no link on its disk can lead astray.
    target = host.root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(text.encode() if isinstance(text, str) else text)
    target.chmod(mode)
    if owner:
        os.chown(target, *account(host.root, owner))


def folder(host, path, mode=0o755, owner=None):
    """Make a folder, with those above it."""
    target = host.root / path
    target.mkdir(parents=True, exist_ok=True)
    target.chmod(mode)
    if owner:
        os.chown(target, *account(host.root, owner))


def copy(host, source):
    """Copy what lies below a folder of the checkout to where it belongs."""
    shutil.copytree(source, host.root, dirs_exist_ok=True)


def account(root, name):
    """A user's id and group id as the image has them."""
    for line in pathlib.Path(root, "etc/passwd").read_text().splitlines():
        fields = line.split(":")
        if fields[0] == name:
            return int(fields[2]), int(fields[3])
    raise LookupError(f"The image has no user {name!r}.")


def enable(host, *units):
    """Start units at boot."""
    cache.call(["chroot", host.root, "systemctl", "--quiet", "enable", *units])
