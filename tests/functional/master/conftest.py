"""The runner ``pair``, loaded as a salt-master loads it; its minions answer from a table."""

import json
import shutil
import socketserver
import threading

import asked_minions
import pytest


@pytest.fixture(scope="session")
def port():
    """Where this machine's salt-master takes connections: that somebody does is all that is asked of it."""
    with socketserver.TCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as taking:
        thread = threading.Thread(target=taking.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield taking.server_address[1]
        taking.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def master_opts(tree, tmp_path_factory, port):
    root = tmp_path_factory.mktemp("master")
    yield asked_minions.master_opts(tree, root, port)
    shutil.rmtree(root, ignore_errors=True)


@pytest.fixture(scope="session")
def loaded(master_opts):
    """Salt's loader with the runners of this tree, as the salt-master has it for salt-api."""
    import salt.loader

    from failback_master.surface import command

    # That it is loaded here must not be known to other tests of this process.
    before, command.CALLER = command.CALLER, command.Caller()
    try:
        found = salt.loader.runner(master_opts, utils=salt.loader.utils(master_opts), context={})
        assert "pair.nodes" in found
    finally:
        command.CALLER = before
    return found


@pytest.fixture
def write_pillar(master_opts):
    """``write_pillar(pairs)``: the master's pillar has these pairs, each in a file of its own."""

    def write(pairs, **more):
        from pathlib import Path

        (root,) = map(Path, master_opts["pillar_roots"]["base"])
        shutil.rmtree(root, ignore_errors=True)
        (root / "pairs").mkdir(parents=True)
        names = [f"pairs.{name}" for name in pairs]
        (root / "top.sls").write_text(json.dumps({"base": {"*": names}}))
        for name, pair in pairs.items():
            (root / "pairs" / f"{name}.sls").write_text(
                pair if isinstance(pair, str) else json.dumps({"pairs": {name: pair}, **more})
            )
        return root

    return write


@pytest.fixture
def minions(master_opts, monkeypatch):
    """The minions of this master; a test says what they answer."""
    from failback_master import minions

    client = asked_minions.Client(master_opts)

    def made(conf_file):
        assert conf_file == master_opts["conf_file"]
        return client

    monkeypatch.setattr(minions, "_Client", made)
    return client


@pytest.fixture
def run(loaded, write_pillar, minions, monkeypatch):
    """``run("pair.status", "salt")``: the answer, of which Salt was told whether it is a bad one."""
    from failback_master.surface import command

    # Nobody has typed anything in this process: answers are bare, as for salt-api.
    monkeypatch.setattr(command, "CALLER", command.Caller())
    command.CALLER.loaded({})
    write_pillar({"salt": asked_minions.SALT, "web": asked_minions.WEB})

    def call(function, *args, **kwargs):
        loaded.pack["__context__"].pop("retcode", None)
        answer = loaded[function](*args, **kwargs)
        assert loaded.pack["__context__"].get("retcode", 0) == answer.get("retcode", 0)
        return answer

    call.loader = loaded
    return call
