"""Changes of a tree, by chance: folders and files made, filled, linked, renamed, removed and made again."""

import contextlib
import os
import shutil
import subprocess

#: Few, so that a name is used again soon after it has gone.
NAMES = ("a", "b", "c")


def operations(chance, root):
    """
    Yield after each change that was made below a folder, for ever.

    chance
        ``random.Random``.
    """
    while True:
        path = root.joinpath(*chance.choices(NAMES, k=chance.randint(1, 3)))
        # Whatever is there: what does not fit is no change.
        with contextlib.suppress(OSError):
            chance.choice((_folder, _file, _file, _moved, _linked, _removed, _attributes, _acl))(
                chance, root, path
            )
        yield


def some(operations, count):
    """Make so many of them."""
    for _ in range(count):
        next(operations)


def _folder(chance, _root, path):
    path.mkdir(parents=True)
    if chance.random() < 0.3:
        (path / chance.choice(NAMES)).mkdir()


def _file(chance, _root, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(str(chance.random()))


def _moved(chance, root, path):
    path.rename(root.joinpath(*chance.choices(NAMES, k=chance.randint(1, 2))))


def _linked(chance, root, path):
    os.link(root / chance.choice(NAMES), path)


def _removed(_chance, _root, path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def _attributes(chance, _root, path):
    os.chmod(path, chance.choice((0o700, 0o750, 0o755)))
    os.setxattr(path, "user.churn", str(chance.random()).encode())


def _acl(chance, _root, path):
    # The folder's default too: what is made in it later has one of its own.
    entry = f"u:{chance.randint(1, 9)}:rwx"
    subprocess.run(
        ["setfacl", "-m", entry, *(["-m", f"d:{entry}"] if path.is_dir() else []), "--", path],
        stderr=subprocess.DEVNULL,
    )


def described(root):
    """Each name below a folder, with its kind, permissions, attributes, and what is in it."""
    found = {}
    for path in root.rglob("*"):
        attributes = {name: os.getxattr(path, name) for name in os.listxattr(path)}
        content = path.read_text() if path.is_file() else None
        found[str(path.relative_to(root))] = (oct(path.stat().st_mode), attributes, content)
    return found
