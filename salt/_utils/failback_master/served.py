"""
What this master serves, compared with what the release has, file by file.

A root that is listed earlier replaces files of the same name, and Salt says nothing. The release knows its
files by ``failback.sha256`` beside them, which ``make release`` writes. In a checkout there is none: there
the folder in ``file_roots`` that has this package is what must be served. A GitFS of a checkout has neither,
and is not compared.
"""

import hashlib
import pathlib

import salt.fileserver

from failback.decisions import served
from failback.version import VERSION

DIGESTS = "failback.sha256"
#: By these a folder is recognised as this tree.
OURS = ("_utils/failback_master/served.py", "_utils/failback/version.py")


def problems(opts):
    """
    What is wrong with the files that this master serves, as sentences.

    opts
        The master's configuration.
    """
    saltenv = opts.get("saltenv") or "base"
    # The digests of a release are of this kind, whatever the master uses for its own.
    files = salt.fileserver.Fileserver({**opts, "hash_type": "sha256"})
    expected = _of_release(files, saltenv) or _of_checkout(opts, saltenv)
    digests, places = {}, {}
    for path in expected:
        load = {"path": path, "saltenv": saltenv}
        digests[path] = (files.file_hash(load) or {}).get("hsum")
        places[path] = files.find_file(path, saltenv).get("path")
    return served.problems(VERSION, expected, digests, places)


def _of_release(files, saltenv):
    """The digests that the release has of its files, by path; empty where there are none."""
    found = files.find_file(DIGESTS, saltenv).get("path")
    if not found:
        return {}
    load = {"path": DIGESTS, "saltenv": saltenv, "loc": 0}
    text = files.serve_file(load).get("data", b"")
    text = text.decode() if isinstance(text, bytes) else text
    lines = (line.split("  ", 1) for line in text.splitlines())
    return {words[1]: words[0] for words in lines if len(words) == 2}


def _of_checkout(opts, saltenv):
    """The same of the folder in ``file_roots`` that is this tree."""
    for root in opts.get("file_roots", {}).get(saltenv, []):
        tree = pathlib.Path(root)
        if all((tree / name).is_file() for name in OURS):
            return {
                str(path.relative_to(tree)): hashlib.sha256(path.read_bytes()).hexdigest()
                for path in sorted(tree.rglob("*"))
                if path.is_file() and "__pycache__" not in path.parts
            }
    return {}
