"""What setup.cfg cannot say: a wheel brings the whole tree as data, folder by folder."""

import pathlib

import setuptools

HERE = pathlib.Path(__file__).resolve().parent


def tree():
    """``data_files`` of all of ``salt/`` and ``pillar/``, to ``share/failback``."""
    found = {}
    for top in ("salt", "pillar"):
        for path in sorted((HERE / top).rglob("*")):
            place = path.relative_to(HERE)
            if path.is_file() and "__pycache__" not in place.parts and path.suffix != ".pyc":
                found.setdefault(f"share/failback/{place.parent}", []).append(str(place))
    return sorted(found.items())


# Not beside the library, where a master that serves this folder would give it to its minions.
(HERE / "build").mkdir(exist_ok=True)
setuptools.setup(data_files=tree(), options={"egg_info": {"egg_base": "build"}})
