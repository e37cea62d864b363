"""The runner ``pair``, loaded as a salt-master loads it; its minions answer from a table."""

import copy
import json
import pathlib
import shutil
import socket
import socketserver
import threading

import asked_minions
import pytest
import samples


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


class Pillar:
    """
    The master's pillar. Salt compiles it, once for the same files: that takes longer than all that these
    tests are about.
    """

    def __init__(self, root):
        self.root, self._files, self._compiled = root, None, {}

    def write(self, pairs, top="*"):
        """Each pair in a file of its own, as a mapping or as text; the master's opts have them all."""
        files = {f"pairs/{name}.sls": _text(name, pair) for name, pair in pairs.items()}
        files["top.sls"] = json.dumps({"base": {top: [f"pairs.{name}" for name in pairs]}})
        shutil.rmtree(self.root, ignore_errors=True)
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self._files = json.dumps(files)
        return self.root

    def remembering(self, compiled):
        """A function that compiles, which does it once."""

        def show_pillar(minion):
            key = (self._files, minion)
            if key not in self._compiled:
                self._compiled[key] = compiled(minion)
            return copy.deepcopy(self._compiled[key])

        return show_pillar


def _text(name, pair):
    return pair if isinstance(pair, str) else json.dumps({"pairs": {name: pair}})


@pytest.fixture(scope="session")
def pillar(master_opts):
    return Pillar(pathlib.Path(master_opts["pillar_roots"]["base"][0]))


@pytest.fixture
def write_pillar(pillar):
    """``write_pillar(pairs)``: the master's pillar has these pairs, each in a file of its own."""
    return pillar.write


@pytest.fixture(scope="session")
def loaded(master_opts, pillar):
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
    found._dict["pillar.show_pillar"] = pillar.remembering(found["pillar.show_pillar"].func)
    return found


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


@pytest.fixture
def no_master(minions, monkeypatch):
    """The salt-master of this machine takes no connections, and whoever only looks does not wait for one."""
    from failback_master import minions as asking

    def waits(seconds):
        raise AssertionError("it waits for a restart of the salt-master")

    with socket.create_server(("127.0.0.1", 0)) as taken:
        minions.opts = {**minions.opts, "ret_port": taken.getsockname()[1]}
    samples.in_place_of_time(monkeypatch, asking, sleep=waits)
