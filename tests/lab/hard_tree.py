"""Files that are hard to carry over: run in a host by ``lab_pair``.

hard_tree.py begin <folder>      what is there before the primary dies
hard_tree.py change <folder>     what becomes of it while the secondary serves
"""

import os
import struct
import sys

NAMES = (
    b"with a space",
    b" leading and trailing ",
    b"quotes ' and \" and `",
    b"two\nlines",
    b"-rf",
    b"--delete",
    b"not utf-8 \xff\xfe",
    b"umlaut \xc3\xa4 and \xe2\x82\xac",
    b"$(touch was-here)",
    b"; touch was-here",
    b"back\\slash",
    b"\\#040",
    b"*",
    b"[a-z]?",
    b"%d %s",
    b"#hash",
    b"tab\there",
    b"~",
    b"x" * 255,
)
#: Numbers that no user or group has on either node.
NOBODY_KNOWS = (54321, 54322)


def begin(folder):
    """Two folders of hard names, and some of everything that is not content."""
    for part in (b"kept", b"goes", b"changes", b"name-only"):
        os.makedirs(os.path.join(folder, part))
    for number, name in enumerate(NAMES):
        for part in (b"kept", b"goes", b"changes"):
            write(os.path.join(folder, part, name), b"%d %s" % (number, part))
        os.mkdir(os.path.join(folder, b"name-only", name))
        write(os.path.join(folder, b"name-only", name, name[:100]), b"below")
    write(os.path.join(folder, b"one name"), b"one file")
    os.link(os.path.join(folder, b"one name"), os.path.join(folder, b"another name"))
    os.symlink(b"one name", os.path.join(folder, b"link"))
    write(os.path.join(folder, b"same size"), b"AAAA")
    os.utime(os.path.join(folder, b"same size"), ns=(10**18, 10**18))
    write(os.path.join(folder, b"becomes a folder"), b"a file")
    os.makedirs(os.path.join(folder, b"becomes a file", b"with content"))
    write(os.path.join(folder, b"restricted"), b"before", 0o640)
    set_acl(os.path.join(folder, b"restricted"), 54321)
    os.setxattr(os.path.join(folder, b"restricted"), b"user.note", b"before")
    os.chown(os.path.join(folder, b"restricted"), 11111, 22222)
    os.utime(os.path.join(folder, b"goes"), ns=(10**18 + 7, 10**18 + 7))


def change(folder):
    """Overwrite, delete, create, and change what is not content."""
    for name in NAMES:
        os.unlink(os.path.join(folder, b"goes", name))
        write(os.path.join(folder, b"changes", name), b"changed: " + name)
        write(os.path.join(folder, b"new " + name[:200]), b"new")
    os.makedirs(os.path.join(folder, b"deep \xff", b"$(id)", b"- -"))
    write(os.path.join(folder, b"deep \xff", b"$(id)", b"- -", b"a\nb"), b"deep")
    # The other name of the same file, and a third one.
    write(os.path.join(folder, b"another name"), b"one file, rewritten", create=False)
    os.link(os.path.join(folder, b"another name"), os.path.join(folder, b"third\nname"))
    write(os.path.join(folder, b"pair 1"), b"pair")
    os.link(os.path.join(folder, b"pair 1"), os.path.join(folder, b"pair 2"))
    os.unlink(os.path.join(folder, b"link"))
    os.symlink(b"/nowhere/ \xff$(id)", os.path.join(folder, b"link"))
    os.symlink(b"kept", os.path.join(folder, b"link to a folder"))
    # Same size, same second, other content.
    write(os.path.join(folder, b"same size"), b"BBBB", create=False)
    os.utime(os.path.join(folder, b"same size"), ns=(10**18 + 5, 10**18 + 5))
    os.unlink(os.path.join(folder, b"becomes a folder"))
    os.mkdir(os.path.join(folder, b"becomes a folder"))
    write(os.path.join(folder, b"becomes a folder", b"x"), b"x")
    os.rmdir(os.path.join(folder, b"becomes a file", b"with content"))
    os.rmdir(os.path.join(folder, b"becomes a file"))
    write(os.path.join(folder, b"becomes a file"), b"a file")
    with open(os.path.join(folder, b"sparse"), "wb") as handle:
        handle.seek(64 * 1024 * 1024)
        handle.write(b"end")
    # Attributes alone.
    target = os.path.join(folder, b"restricted")
    os.chmod(target, 0o4750)
    os.chown(target, *NOBODY_KNOWS)
    os.chmod(target, 0o4750)
    set_acl(target, 54399)
    os.setxattr(target, b"user.note", b"after \xff\x00")
    os.setxattr(os.path.join(folder, b"kept"), b"user.folder", b"yes")
    set_acl(os.path.join(folder, b"kept"), 54399, b"system.posix_acl_default")
    os.mkfifo(os.path.join(folder, b"pipe"))
    os.chmod(os.path.join(folder, b"kept"), 0o1777)
    os.utime(os.path.join(folder, b"changes"), ns=(10**18 + 123456789, 10**18 + 123456789))


def write(path, content, mode=0o644, create=True):
    flags = os.O_WRONLY | os.O_TRUNC | (os.O_CREAT if create else 0)
    with open(os.open(path, flags, mode), "wb") as handle:
        handle.write(content)


def set_acl(path, user, attribute=b"system.posix_acl_access"):
    """One more user, by number: the format of the kernel's posix_acl_xattr.h."""
    undefined = 0xFFFFFFFF
    entries = [(1, 6, undefined), (2, 4, user), (4, 5, undefined), (16, 5, undefined), (32, 0, undefined)]
    packed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    os.setxattr(path, attribute, packed)


if __name__ == "__main__":
    {"begin": begin, "change": change}[sys.argv[1]](os.fsencode(sys.argv[2]))
