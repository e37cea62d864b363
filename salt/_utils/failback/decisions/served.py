"""Whether a master serves the files of this release, and not others of the same names."""

#: Files that a site has of its own: Salt reads one ``top.sls``; docs/install.md says what has to be in it.
OWN = ("top.sls",)
#: How many names a sentence has.
NAMED = 5


def problems(version, expected, served, places):
    """
    What is wrong with the files that a master serves, as sentences; empty if nothing is.

    version
        Of this release.

    expected
        The digests of its files, by their paths below ``salt/``.

    served
        Those of what the master serves under the same paths; None for a file that it does not serve.

    places
        Where it has them, by the same paths; as far as that is known.
    """
    other = sorted(
        path for path in expected if path not in OWN and served.get(path) not in (None, expected[path])
    )
    missing = sorted(path for path in expected if path not in OWN and served.get(path) is None)
    found = []
    if other:
        where = [f"{path} ({places[path]})" if places.get(path) else path for path in other]
        found.append(
            f"The master serves another file than Failback {version} has for {_some(where)}. It "
            f"replaces ours silently: a step of highstate or of a run is then not done, or done otherwise. "
            f"Rename it if it is your own, or put Failback's folder first in file_roots; restore it if it is "
            f"a changed file of ours. Then run `salt-run fileserver.clear_file_list_cache` and this again."
        )
    if missing:
        found.append(
            f"The master does not serve {_some(missing)}, which Failback {version} has: part of an "
            f"update is missing. Install the whole release, then run "
            f"`salt-run fileserver.clear_file_list_cache` and `salt-run saltutil.sync_all`."
        )
    return found


def _some(names):
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
