#!/usr/bin/env python3
"""A file service and a client that remembers what it was promised. One file, standard library only.

    load.py serve --root /srv/salt/files --port 7000        in a pair's hosts (lab-writer.service)
    load.py write --to 10.0.0.5 --log /var/log/load.jsonl   in a third host
    load.py local --held 10.0.0.5 --root /srv/small --log local.jsonl   in the pair's hosts
    load.py check --log load.jsonl --tree salt1=… --tree salt2=…

The service answers an operation only after file and folder are on disk (fsync). So an answer that
the client has read is a promise: the operation must be found on every node after a recovery. An
operation without an answer may or may not have happened; both are right, and the log says so.

Each file's content follows from the operations alone (``Model``), so the check needs no copy of it.

A line of the client's log::

    {"sequence": 17, "operation": "create", "name": "f-000017",
     "sent": 1.0, "answered": 1.2, "node": "salt1"}

Times are those of CLOCK_REALTIME in seconds. ``answered`` is null if no answer came; ``refused``
says why nothing was done (the service's words, or no connection).
"""

import argparse
import hashlib
import json
import os
import pathlib
import random
import signal
import socket
import socketserver
import sys
import time
import typing

PORT = 7000
#: Seconds by which this host's clock is ahead of its kernel's (see lab/faults/clock.py), if it was set.
CLOCK = "/etc/lab-clock"
OPERATIONS = ("create", "overwrite", "append", "rename", "delete")


def block(sequence, size=None):
    """The bytes that operation ``sequence`` writes: 64 to 4159 of them, different for each."""
    seed = hashlib.sha256(str(sequence).encode()).digest()
    size = 64 + int.from_bytes(seed[:2], "big") % 4096 if size is None else size
    return (seed * (size // len(seed) + 1))[:size]


# --- the service


class Service(socketserver.ThreadingTCPServer):
    """Does operations below ``root``, one after the other over all connections."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, root, port):
        self.root = pathlib.Path(root)
        super().__init__(("0.0.0.0", port), Conversation)


class Conversation(socketserver.StreamRequestHandler):
    """A client's connection: one JSON object a line, one answer a line."""

    def handle(self):
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for line in self.rfile:
            request = json.loads(line)
            answer = {"sequence": request["sequence"], "node": socket.gethostname()}
            try:
                perform(self.server.root, request)
            except (OSError, ValueError) as problem:
                answer["refused"] = str(problem)
            try:
                self.wfile.write(json.dumps(answer).encode() + b"\n")
            except OSError:
                return


def perform(root, request):
    """One operation, on disk when this returns."""
    operation = request["operation"]
    path = _inside(root, request["name"])
    if operation in ("create", "overwrite", "append"):
        flags = {"create": os.O_EXCL, "overwrite": os.O_TRUNC, "append": os.O_APPEND}[operation]
        create = os.O_CREAT if operation == "create" else 0
        handle = os.open(path, os.O_WRONLY | create | flags, 0o644)
        try:
            content = memoryview(block(request["sequence"]))
            while content:
                content = content[os.write(handle, content) :]
            _stamp(handle)
            os.fsync(handle)
        finally:
            os.close(handle)
    elif operation == "rename":
        path.rename(_inside(root, request["new_name"]))
    elif operation == "delete":
        path.unlink()
    else:
        raise ValueError(f"unknown operation {operation!r}")
    folder = os.open(root, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _stamp(handle):
    """Give a file the time of this host's clock."""
    try:
        with open(CLOCK) as file:
            ahead = float(file.read())
    except (FileNotFoundError, ValueError):
        return
    os.utime(handle, (os.fstat(handle).st_mtime + ahead,) * 2)


def _inside(root, name):
    if "/" in name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} is not a plain file name")
    return root / name


# --- the client


class Begun(typing.NamedTuple):
    """The block of an operation of which nobody knows how far it came: a full disk takes a part of it."""

    number: int


class Model:
    """What the files hold after a list of operations, each known to have happened or doubtful.

    ``files`` maps a name to the list of contents that are right for it. A content is a tuple of
    sequence numbers (the blocks that it is made of, in order) and of ``Begun`` (a block of which any
    beginning may be there, nothing or all of it too); None stands for "no such file". Without doubtful
    operations each list has one entry.
    """

    def __init__(self):
        self.files = {}

    def apply(self, entry, certain=True):
        """Follow one line of the log. Not certain: it may not have survived, though answered."""
        if entry.get("refused"):
            return
        certain = certain and entry["answered"] is not None
        name, number = entry["name"], entry["sequence"]
        before = self.files.get(name, [None])
        operation = entry["operation"]
        written = number if certain else Begun(number)
        if operation in ("create", "overwrite"):
            after = [(written,)]
        elif operation == "append":
            after = [(*content, written) for content in before if content is not None]
            before = [content for content in before if content is None]  # nothing of it: a beginning as well
        elif operation == "delete":
            after = [None]
        elif operation == "rename":
            other = self.files.get(entry["new_name"], [None])
            moved = [content for content in before if content is not None]
            self._set(entry["new_name"], moved if certain else moved + other)
            after = [None]
        else:
            raise ValueError(f"unknown operation {operation!r}")
        self._set(name, after if certain else after + before)

    def _set(self, name, contents):
        self.files[name] = list(dict.fromkeys(contents))

    def certain(self):
        """Names of the files that surely exist, in order: what the client works on."""
        return sorted(name for name, contents in self.files.items() if None not in contents)

    def matches(self, name, content):
        """Whether these bytes (None: no file) are right for the file."""
        return any(_fits(wanted, content) for wanted in self.files.get(name, [None]))


def _fits(wanted, content):
    if wanted is None or content is None:
        return wanted is None and content is None
    ends = {0}  # where what was looked at so far may end
    for part in wanted:
        if isinstance(part, Begun):
            written = block(part.number)
            ends = {
                end
                for begin in ends
                for end in range(begin, begin + _common(written, content[begin : begin + len(written)]) + 1)
            }
        else:
            written = block(part)
            ends = {begin + len(written) for begin in ends if content.startswith(written, begin)}
    return len(content) in ends


def _common(one, other):
    return len(os.path.commonprefix([one, other]))


class Client:
    """Writes through an address, one operation at a time, and logs what became of each.

    changes
        False: only creates and appends. True: also overwrites, renames and deletes. While it runs,
        the existence of the file ``<log>.changes`` switches it on.

    seed
        Of what it chooses to do. Default: the prefix, which may have the time in it.
    """

    def __init__(self, address, log, port=PORT, rate=20.0, timeout=1.0, changes=False, prefix="f", seed=None):
        self.address = address
        self.port = port
        self.log = pathlib.Path(log)
        self.pause = 1 / rate
        self.timeout = timeout
        self.changes = changes
        self.prefix = prefix
        self.model = Model()
        self.connection = None
        self.stopped = False
        self.create_only = False
        self.choice = random.Random(prefix if seed is None else seed)
        self.gone = set()  # lost with a node, and found missing: not tried again

    def run(self, stop_file=None, count=None):
        """Until SIGTERM, the stop file, or ``count`` operations; what is begun is waited for."""
        sequence = self._resume()
        end = None if count is None else sequence + count
        with self.log.open("a", buffering=1) as log:
            while not self.stopped and sequence != end:
                if stop_file and os.path.exists(stop_file):
                    break
                sequence += 1
                entry = self._next(sequence)
                entry |= self._ask(entry)
                if entry.get("refused") and entry["answered"]:
                    self.gone.add(entry["name"])
                self.model.apply(entry)
                log.write(json.dumps(entry) + "\n")
                time.sleep(max(0, entry["sent"] + self.pause - time.time()))

    def _resume(self):
        """Go on after what the log already holds."""
        last = 0
        if self.log.exists():
            for entry in entries(self.log):
                self.model.apply(entry)
                last = max(last, entry["sequence"])
        return last

    def _next(self, sequence):
        names = [name for name in self.model.certain() if name not in self.gone]
        operation = "create"
        if len(names) >= 5:
            operations = ("create",) if self.create_only else ("create", "append")
            if self.changes or os.path.exists(f"{self.log}.changes"):
                operations = OPERATIONS
            operation = self.choice.choice(operations)
        entry = {"sequence": sequence, "operation": operation}
        if operation == "create":
            return entry | {"name": f"{self.prefix}-{sequence:06}"}
        entry["name"] = self.choice.choice(names)
        if operation == "rename":
            entry["new_name"] = f"{self.prefix}-{sequence:06}-renamed"
        return entry

    def _ask(self, entry):
        """Send it, wait for the answer. Never sent twice: the first may have been done."""
        result = {"sent": time.time(), "answered": None}
        try:
            if self.connection is None:
                self.connection = socket.create_connection((self.address, self.port), self.timeout)
                self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.reader = self.connection.makefile("rb")
        except OSError as problem:
            # Nothing was sent, so nothing has happened: that is known.
            return result | {"refused": f"no connection: {problem}"}
        try:
            self.connection.settimeout(self.timeout)
            self.connection.sendall(json.dumps(entry).encode() + b"\n")
            line = self.reader.readline()
            if not line.endswith(b"\n"):
                raise OSError("the connection was closed")
            answer = json.loads(line)
        except OSError as problem:
            self.reader.close()
            self.connection.close()
            self.connection = None
            return result | {"problem": str(problem)}
        result |= {"answered": time.time(), "node": answer["node"]}
        return result | ({"refused": answer["refused"]} if "refused" in answer else {})


class LocalWriter(Client):
    """Writes files of the node itself, as a daemon of the service would, while the node holds an address.

    An operation counts as acknowledged only if the address was held before it and after it: a node that
    gave it up meanwhile promises nothing.
    """

    def __init__(self, address, root, log, **options):
        super().__init__(address, log, **options)
        self.root = pathlib.Path(root)

    def _ask(self, entry):
        while not self._held() and not self.stopped and not os.path.exists(f"{self.log}.stop"):
            time.sleep(0.05)
        result = {"sent": time.time(), "answered": None, "node": socket.gethostname()}
        if not self._held():
            return result | {"refused": "this node does not serve"}
        try:
            perform(self.root, entry)
        except (FileNotFoundError, FileExistsError) as problem:
            return result | {"answered": time.time(), "refused": str(problem)}
        except OSError as problem:
            # Part of it may be there: a full disk takes what fits.
            return result | {"problem": str(problem)}
        return result | ({"answered": time.time()} if self._held() else {"problem": "it serves no more"})

    def _held(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as trial:
            try:
                trial.bind((self.address, 0))
            except OSError:
                return False
        return True


# --- the check


def entries(log):
    """The lines of a client's log; a last line that is cut off is left out."""
    with open(log) as handle:
        for line in handle:
            if line.endswith("\n"):
                yield json.loads(line)


def model_of(log, doubtful=None):
    """The Model after all operations of a log (a path, or a list of entries)."""
    model = Model()
    for entry in entries(log) if isinstance(log, (str, os.PathLike)) else log:
        model.apply(entry, certain=not (doubtful and doubtful(entry)))
    return model


def lost_with(node, moment, seconds):
    """A ``doubtful`` for ``compare``: what ``node`` answered in its last seconds before it died.

    Replication runs behind (lsyncd's delay), so those operations may be on the dead node alone.
    ``moment`` is the time of death (``time.time()``).
    """

    def doubtful(entry):
        answered = entry["answered"]
        return entry.get("node") == node and moment - seconds <= answered <= moment + 1

    return doubtful


def summary(log):
    """Counts of operations by outcome and node, and the longest time between two answers."""
    counts = {"operations": 0, "acknowledged": 0, "unknown": 0, "refused": 0, "nodes": {}}
    counts["longest_gap"] = 0.0
    last = None
    for entry in entries(log) if isinstance(log, (str, os.PathLike)) else log:
        counts["operations"] += 1
        if entry.get("refused"):
            counts["refused"] += 1
        elif entry["answered"] is None:
            counts["unknown"] += 1
        else:
            counts["acknowledged"] += 1
            node = entry["node"]
            counts["nodes"][node] = counts["nodes"].get(node, 0) + 1
            if last is not None:
                counts["longest_gap"] = max(counts["longest_gap"], entry["answered"] - last)
            last = entry["answered"]
    return counts


def compare(log, tree, doubtful=None):
    """What is wrong with a tree, as a list of sentences; empty if every promise is kept.

    log
        Path of a client's log, or its entries.

    tree
        A folder, or a dict of name to bytes.

    doubtful
        Called with each answered entry; True if it may be missing all the same. See ``lost_with``.
    """
    model = model_of(log, doubtful)
    if not isinstance(tree, dict):
        folder = pathlib.Path(tree)
        tree = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    wrong = []
    for name, contents in sorted(model.files.items()):
        content = tree.get(name)
        if model.matches(name, content):
            continue
        if content is None:
            wrong.append(f"{name} is missing")
        elif contents == [None]:
            wrong.append(f"{name} is there, but its deletion (or renaming) was acknowledged")
        else:
            wrong.append(f"{name} has other content ({len(content)} bytes) than was acknowledged")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    serve = commands.add_parser("serve")
    serve.add_argument("--root", required=True)
    serve.add_argument("--port", type=int, default=PORT)
    write = commands.add_parser("write")
    write.add_argument("--to", required=True)
    write.add_argument("--log", required=True)
    write.add_argument("--port", type=int, default=PORT)
    write.add_argument("--rate", type=float, default=20.0, help="operations a second, at most")
    write.add_argument("--timeout", type=float, default=1.0)
    write.add_argument("--changes", action="store_true", help="overwrite, rename and delete as well")
    write.add_argument("--create-only", action="store_true", help="only new files, until changes are allowed")
    write.add_argument("--prefix", default="f", help="of the file names; one client, one prefix")
    write.add_argument("--seed", help="of what it chooses to do; default: the prefix")
    write.add_argument("--stop-file")
    write.add_argument("--count", type=int)
    local = commands.add_parser("local")
    local.add_argument("--held", required=True, metavar="ADDRESS")
    local.add_argument("--root", required=True)
    local.add_argument("--log", required=True)
    local.add_argument("--rate", type=float, default=5.0)
    local.add_argument("--prefix", required=True)
    local.add_argument("--seed", help="of what it chooses to do; default: the prefix")
    check = commands.add_parser("check")
    check.add_argument("--log", required=True)
    check.add_argument("--tree", action="append", default=[], metavar="NAME=FOLDER")
    options = parser.parse_args()
    if options.command == "serve":
        Service(options.root, options.port).serve_forever()
    elif options.command == "write":
        client = Client(
            options.to,
            options.log,
            options.port,
            options.rate,
            options.timeout,
            options.changes,
            options.prefix,
            options.seed,
        )
        client.create_only = options.create_only
        signal.signal(signal.SIGTERM, lambda *_: setattr(client, "stopped", True))
        client.run(options.stop_file, options.count)
    elif options.command == "local":
        writer = LocalWriter(
            options.held,
            options.root,
            options.log,
            rate=options.rate,
            prefix=options.prefix,
            seed=options.seed,
            changes=True,
        )
        signal.signal(signal.SIGTERM, lambda *_: setattr(writer, "stopped", True))
        writer.run(f"{options.log}.stop")
    else:
        print(json.dumps(summary(options.log)))
        wrong = [
            f"{name}: {sentence}"
            for name, _, folder in (each.partition("=") for each in options.tree)
            for sentence in compare(options.log, folder)
        ]
        print("\n".join(wrong) or "every acknowledged operation is there")
        sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
