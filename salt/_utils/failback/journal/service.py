"""
The journals of a pair's paths on this node, kept by a process of its own while a run lasts.

It is a transient unit of systemd, ``failback-journal-<pair>``, started before the last pass of the
pre-sync by the node that pulls: here directly, on the other node over SSH. It ends by itself when the
run does not own the lock any more. Questions come over a socket below ``/run/failback/<pair>``, one
JSON object a line::

    {"do": "mark", "module": "srv-salt-0d0c1b52"}
    {"ok": true}
    {"do": "changes", "also": {"srv-salt-0d0c1b52": ["top.sls"]}}
    {"ok": true, "run": "20261122T183000-recover-salt-4f2a",
     "items": {"srv-salt-0d0c1b52": {"names": ["pki"], "folders": [], "why": null}}}

Names are in the notation of :py:mod:`failback.host.notation`.
"""

import contextlib
import itertools
import json
import os
import selectors
import socket
import subprocess
import threading
import time

from failback.errors import FailbackError
from failback.errors import Refused
from failback.errors import Unavailable
from failback.host import files
from failback.host import notation
from failback.host import system
from failback.journal import changes
from failback.journal import held
from failback.peer import answers
from failback.peer import ssh
from failback.replication import replicated

#: Seconds between two looks at whether the run still owns the lock.
LOOK = 5.0
#: Seconds until all folders are watched; a million files take some ten.
READY_WITHIN = 900
#: Seconds for an answer. The names of a path are there in milliseconds.
ANSWER_WITHIN = 10.0


def unit(pair):
    """The name of the unit that keeps the journals of a pair."""
    return f"failback-journal-{pair}"


def _socket(member):
    return member.volatile / "journal"


def start(member, run):
    """
    Begin the journals of a pair on this node; returns when every folder is watched.

    Raises ``Refused`` unless the run owns the lock here, ``Unavailable`` when the unit does not start.
    """
    pair = member.pair
    member.lock.require(run)
    stop(member)
    system.run(
        [
            "systemd-run",
            "--quiet",
            "--collect",
            f"--unit={unit(pair)}",
            # systemd-run returns when the process has said that it is ready.
            "--property=Type=notify",
            f"--property=TimeoutStartSec={READY_WITHIN}",
            "--property=TimeoutStopSec=5",
            f"--description=Notes which files of {pair} change while {run} lasts",
            str(member.paths.program),
            "journal",
            pair,
            run,
        ],
        READY_WITHIN + 10,
        f"begin the journal of changes of {pair}",
    )


def stop(member):
    """End the journals of a pair on this node, if there are any."""
    subprocess.run(
        ["systemctl", "stop", "--", f"{unit(member.pair)}.service"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=20,
        check=False,
    )


def keep(member, run, ready=None, holds=None):
    """
    Keep the journals until the run ends: the process of the unit.

    ready
        Called without arguments when every folder is watched; tells systemd by default.

    holds
        Function without arguments: does the run still own the lock? Tests give another one.
    """
    items = [
        item
        for one in member.config["replicate"]
        for item in replicated.items_on_disk(one["path"], str(member.paths.root))
    ]
    path = _socket(member)
    files.make_folder(path.parent)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
    with contextlib.ExitStack() as stack:
        journals = {
            item.module: stack.enter_context(changes.Journal(item, str(member.paths.root))) for item in items
        }
        listener = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        listener.bind(str(path))
        os.chmod(path, 0o600)
        listener.listen(8)
        stack.callback(lambda: path.unlink(missing_ok=True))
        (ready or _tell_systemd)()
        _Service(listener, run, journals, holds or (lambda: _holds(member, run))).serve()


class _Service:
    def __init__(self, listener, run, journals, holds):
        self._listener = listener
        self._run = run
        self._journals = journals
        self._holds = holds
        self._buffers = {}
        self._ended = False

    def serve(self):
        with selectors.DefaultSelector() as selector:
            self._selector = selector
            selector.register(self._listener, selectors.EVENT_READ, self._accept)
            for one in self._journals.values():
                self._attend(one)
            look_at = time.monotonic() + LOOK
            while not self._ended:
                for key, _mask in selector.select(max(0.0, look_at - time.monotonic())):
                    key.data(key.fileobj)
                # By the clock: where files change all the time there is always something to read.
                if time.monotonic() >= look_at:
                    if not self._holds():
                        return
                    look_at = time.monotonic() + LOOK

    def _attend(self, one):
        self._selector.register(one.fileno(), selectors.EVENT_READ, lambda _fd: one.drain())

    def _accept(self, listener):
        connection, _address = listener.accept()
        self._buffers[connection] = b""
        self._selector.register(connection, selectors.EVENT_READ, self._read)

    def _read(self, connection):
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._selector.unregister(connection)
            connection.close()
            del self._buffers[connection]
            return
        *lines, self._buffers[connection] = (self._buffers[connection] + data).split(b"\n")
        for line in lines:
            with contextlib.suppress(OSError):
                connection.settimeout(ANSWER_WITHIN)
                connection.sendall(json.dumps(self._answer(line)).encode() + b"\n")

    def _answer(self, line):
        try:
            request = json.loads(line)
            if request["do"] == "mark":
                self._mark(request["module"])
                return {"ok": True}
            if request["do"] == "changes":
                closely = all(one.looks_closely for one in self._journals.values())
                mapped = None if closely else held.mapped_files()
                also = request.get("also") or {}
                return {
                    "ok": True,
                    "run": self._run,
                    "items": {
                        module: written(one.changes(map(notation.raw, also.get(module, ())), mapped))
                        for module, one in self._journals.items()
                    },
                }
            if request["do"] == "look_closely":
                changes.look_closely(list(self._journals.values()))
                return {"ok": True}
            if request["do"] == "note":
                self._journals[request["module"]].note(map(notation.raw, request["names"]))
                return {"ok": True}
            if request["do"] == "end":
                self._ended = True
                return {"ok": True}
            raise ValueError(f"nothing is known of {request['do']!r}")
        except (FailbackError, ValueError, LookupError, TypeError, OSError) as error:
            return {"ok": False, "error": str(error) or repr(error)}

    def _mark(self, module):
        one = self._journals[module]
        # It may begin anew, with another queue.
        self._selector.unregister(one.fileno())
        one.mark()
        self._attend(one)


def written(changes):
    """:py:class:`failback.journal.changes.Changes` as JSON can hold it."""
    return {
        "names": sorted(notation.readable(name) for name in changes.names),
        "folders": sorted(notation.readable(name) for name in changes.folders),
        "why": changes.why,
    }


def read(item):
    """The reverse of :py:func:`written`."""
    return changes.Changes(
        frozenset(notation.raw(name) for name in item["names"]),
        frozenset(notation.raw(name) for name in item["folders"]),
        item["why"],
    )


class Client:
    """
    A connection to the journals on this node.

    Raises ``Unavailable`` when there are none.
    """

    def __init__(self, member):
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(ANSWER_WITHIN)
        try:
            self._socket.connect(str(_socket(member)))
        except OSError as error:
            self._socket.close()
            raise Unavailable(f"no journal of changes was kept ({error.strerror})") from error
        self._lines = self._socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the connection; the journals go on."""
        self._lines.close()
        self._socket.close()

    def changes(self, run, also=None):
        """
        What has changed in each path since its mark, as :py:func:`written`, by module.

        also
            Names to be compared anyway, by module.

        Raises ``Unavailable`` unless it is this run's journals that answer.
        """
        answer = self.ask("changes", also=also)
        if answer["run"] != run:
            raise Unavailable(f"the journal of changes is that of run {answer['run']}")
        return answer["items"]

    def ask(self, do, **request):
        """One request and its answer, a dict. Raises ``Unavailable``."""
        try:
            self._socket.sendall(json.dumps({"do": do, **request}).encode() + b"\n")
            return _checked(json.loads(self._lines.readline()))
        except (OSError, ValueError) as error:
            raise Unavailable(f"the journal of changes does not answer: {error}") from error


class Remote:
    """
    A connection to the journals on the other node, which are begun anew by it.

    ``ready`` waits until they are. A context manager.
    """

    def __init__(self, member, run):
        self._name = member.peer["id"]
        self._process = subprocess.Popen(
            [*ssh.command(member), "--", "journal", run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ready(self):
        """Wait until every folder there is watched. Raises ``Unavailable``."""
        self._answer()

    def close(self):
        """Close the connection; the journals go on."""
        ssh.hang_up(self._process)

    def ask(self, do, **request):
        """One request and its answer, a dict. Raises ``Unavailable``."""
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise Unavailable(f"the connection to {self._name} has ended: {error}") from error
        return self._answer()

    def _answer(self):
        for line in self._process.stdout:
            answer = answers.object_in(line, "ok")
            # What root's shell prints there comes before the first answer.
            if answer is not None:
                return _checked(answer)
        said = self._process.stderr.read(2000).decode(errors="replace").strip()
        raise Unavailable(f"{self._name} keeps no journal of changes: {said or 'it said nothing'}")


class Both:
    """
    The journals of both nodes, begun beside the first look at the paths and marked before each pass.

    This node's own is kept because what was changed here by mistake has to be compared as well.

    ``why`` is None, or why there are none: the final sync looks at everything then, which is no reason
    to stop. A context manager.
    """

    def __init__(self, member, run):
        self.why = None
        self._member, self._run = member, run
        self._lock = threading.Lock()
        self._stack = contextlib.ExitStack()
        self._starting = None
        self._clients = []

    def __enter__(self):
        self._starting = threading.Thread(target=self._start, daemon=True)
        self._starting.start()
        return self

    def __exit__(self, *_):
        self._starting.join()
        self._stack.close()

    def mark(self, item):
        """A pass of this item begins. Returns when both nodes note what changes from now on."""
        self._starting.join()
        with self._lock:
            try:
                for client in self._clients:
                    client.ask("mark", module=item.module)
            except FailbackError as error:
                self._give_up(error)

    def note(self, item, names):
        """What is known to differ counts as changed; ``names`` as :py:func:`written` has them."""
        with self._lock:
            if not self._clients:
                return
            # One too many is enough to make it incomplete.
            some = itertools.islice(names, changes.MANY + 1)
            try:
                self._clients[0].ask("note", module=item.module, names=list(some))
            except FailbackError as error:
                self._give_up(error)

    def _start(self):
        try:
            remote = self._stack.enter_context(Remote(self._member, self._run))
            start(self._member, self._run)
            own = self._stack.enter_context(Client(self._member))
            remote.ready()
            self._clients = [own, remote]
        except (FailbackError, OSError) as error:
            self._give_up(error)

    def _give_up(self, error):
        self.why = str(error)
        self._clients = []
        # One that was not marked would leave out what an earlier pass has missed.
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            stop(self._member)


def relay(member, run, requests, answers):
    """The other node's part: begin the journals here, and pass questions and answers on until they end."""
    start(member, run)

    def say(answer):
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    with Client(member) as client:
        say({"ok": True})
        for line in requests:
            request = json.loads(line)
            if request.get("do") != "mark":
                raise Refused(f"{request.get('do')!r} is not something that the other node may ask for.")
            say(client.ask("mark", module=request["module"]))


def _checked(answer):
    if not answer.get("ok"):
        raise Unavailable(f"the journal of changes: {answer.get('error')}")
    return answer


def _holds(member, run):
    try:
        found = member.lock.read()
    except FailbackError:
        return False
    return found is not None and found["run"] == run and found["state"] == "held"


def _tell_systemd():
    """sd_notify(3): one datagram."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as opened:
        opened.connect("\0" + address[1:] if address.startswith("@") else address)
        opened.sendall(b"READY=1")
