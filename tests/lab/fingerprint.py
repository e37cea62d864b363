"""Everything that rsync must carry over of a tree, as JSON: run in a host by ``lab_pair.fingerprint``.

    fingerprint.py <folder>

An object of path (below the folder, ``.`` is the folder itself) to what is there. Names are not always
UTF-8: surrogates stand for their odd bytes.
"""

import hashlib
import json
import os
import stat
import sys


def fingerprint(folder):
    """A dict of path to a list: type, mode, owner, time, content, extended attributes, other names."""
    found, names = {}, {}
    for path in walk(folder):
        about = os.lstat(path)
        name = os.fsdecode(os.path.relpath(path, folder))
        kind = stat.S_IFMT(about.st_mode)
        content = None
        if stat.S_ISREG(about.st_mode):
            with open(path, "rb") as handle:
                content = hashlib.sha256(handle.read()).hexdigest()
            names.setdefault((about.st_dev, about.st_ino), []).append(name)
        elif stat.S_ISLNK(about.st_mode):
            content = os.fsdecode(os.readlink(path))
        elif stat.S_ISBLK(about.st_mode) or stat.S_ISCHR(about.st_mode):
            content = about.st_rdev
        found[name] = {
            "kind": kind,
            "mode": stat.S_IMODE(about.st_mode),
            "owner": [about.st_uid, about.st_gid],
            "mtime_ns": about.st_mtime_ns,
            "size": about.st_size if content is not None else None,
            "sparse": stat.S_ISREG(about.st_mode) and about.st_blocks * 512 < about.st_size // 2,
            "content": content,
            # ACLs are among them, as system.posix_acl_access and system.posix_acl_default.
            "attributes": {
                key: os.getxattr(path, key, follow_symlinks=False).hex()
                for key in sorted(os.listxattr(path, follow_symlinks=False))
            },
        }
    for group in names.values():
        for name in group:
            found[name]["names"] = sorted(group)
    return found


def walk(folder):
    """The folder and everything below it, as bytes."""
    yield folder
    for parent, folders, files in os.walk(folder):
        for name in folders + files:
            yield os.path.join(parent, name)


if __name__ == "__main__":
    print(json.dumps(fingerprint(os.fsencode(sys.argv[1]))))
