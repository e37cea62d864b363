"""The client of etcd, against a server that answers what a test wants; functional tests ask a real one."""

import base64
import contextlib
import http.server
import json
import threading
import time

import pytest

from failback.errors import Refused
from failback.errors import Unavailable
from failback.lease import etcd
from failback.lease.etcd import Client


@contextlib.contextmanager
def server(answer):
    """An endpoint; ``answer`` is called with path and request, and returns a status and a body."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, body = answer(self.path, request)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with contextlib.suppress(OSError):
                self.wfile.write(body)

        def log_message(self, *_):
            pass

    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}"
    finally:
        made.shutdown()
        made.server_close()


def coded(value):
    return base64.b64encode(json.dumps(value).encode()).decode()


def found(value, revision="7"):
    return json.dumps({"header": {}, "kvs": [{"mod_revision": revision, "value": value}]}).encode()


def test_an_endpoint_that_fails_is_passed_over_and_the_good_one_is_asked_first_from_then_on():
    asked = []

    def bad(path, request):
        asked.append("bad")
        return 503, b'{"error": "etcdserver: no leader"}'

    def good(path, request):
        asked.append("good")
        return 200, found(coded({"holder": "salt1"}))

    with server(bad) as one, server(good) as two:
        client = Client([one, two])
        assert client.read("/failback/salt", 2) == (7, {"holder": "salt1"})
        assert client.read("/failback/salt", 2) == (7, {"holder": "salt1"})
    assert asked == ["bad", "good", "good"]


def test_why_no_endpoint_answers_is_said_of_each():
    refused = pytest.raises(Unavailable, match=r"no leader.*; http://127.0.0.1:1: Connection refused")
    with server(lambda *_: (503, b'{"error": "etcdserver: no leader"}')) as one, refused:
        Client([one, "http://127.0.0.1:1"]).read("/x", 2)


def test_the_whole_question_has_one_limit_however_many_endpoints_are_silent():
    silent = threading.Event()

    def answer(*_):
        silent.wait(5)
        return 200, b"{}"

    with server(answer) as one, server(answer) as two, server(answer) as three:
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="no answer in time"):
            Client([one, two, three]).read("/x", 0.6)
        assert time.monotonic() - begun < 2
        silent.set()


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'"x"'])
def test_what_is_no_answer_of_etcd_is_none(body):
    with server(lambda *_: (200, body)) as one, pytest.raises(Unavailable, match="etcd does not answer"):
        Client([one]).read("/x", 2)


@pytest.mark.parametrize("value", ["!", coded([1]), base64.b64encode(b"text").decode()])
def test_a_key_that_somebody_else_has_written_is_refused(value):
    with server(lambda *_: (200, found(value))) as one, pytest.raises(Refused, match="has not written"):
        Client([one]).read("/x", 2)


def test_numbers_that_are_0_are_left_out_by_the_gateway():
    with server(lambda *_: (200, b'{"header": {}}')) as one:
        assert Client([one]).read("/x", 2) == (0, None)


def test_what_is_compared_is_the_revision():
    asked = []

    def answer(path, request):
        asked.append((path, request))
        return 200, b'{"header": {"revision": "9"}, "succeeded": true}'

    with server(answer) as one:
        assert Client([one]).replace("/x", 7, {"holder": "salt1"}, 2) == (True, 9)
    ((path, request),) = asked
    assert path == "/v3/kv/txn"
    (compared,) = request["compare"]
    assert (compared["target"], compared["result"], compared["mod_revision"]) == ("MOD", "EQUAL", "7")


def test_a_write_that_was_too_late_says_what_is_there_instead():
    value = {"kvs": [{"mod_revision": "9", "value": coded({"holder": "salt2"})}]}
    bodies = [
        {"responses": [{"response_range": value}]},
        {"succeeded": False},
        {"responses": []},
        {"responses": [{}]},
    ]
    with server(lambda *_: (200, json.dumps(bodies.pop(0)).encode())) as one:
        client = Client([one])
        assert client.replace("/x", 7, {}, 2) == (False, (9, {"holder": "salt2"}))
        for _ in range(3):
            assert client.replace("/x", 7, {}, 2) == (False, (0, None))


def test_a_first_write_asks_that_there_is_none_and_writes_what_it_is_given():
    asked = []

    def answer(path, request):
        asked.append(request)
        return 200, b'{"header": {}, "succeeded": true}'

    with server(answer) as one:
        assert Client([one]).replace("/x", 0, {"holder": "salt1"}, 2) == (True, 0)
    ((compared,), (put,), (other,)) = (asked[0][one] for one in ("compare", "success", "failure"))
    key = base64.b64encode(b"/x").decode()
    assert compared["mod_revision"] == "0" and compared["key"] == put["request_put"]["key"] == key
    assert json.loads(base64.b64decode(put["request_put"]["value"])) == {"holder": "salt1"}
    assert other == {"request_range": {"key": key}}


def test_a_clock_that_has_run_out_leaves_the_others_out():
    """The first one takes all the time; the sentence says that the others were not asked."""
    asked, now = [], [0.0]

    def answer(*_):
        asked.append(1)
        now[0] += 5
        return 503, b"{}"

    with server(answer) as one, pytest.raises(Unavailable, match="HTTP status 503.*no time was left"):
        Client([one, one], clock=lambda: now[0]).read("/x", 5)
    assert len(asked) == 1


def test_each_endpoint_gets_its_share_of_the_time_and_the_last_one_what_is_left(monkeypatch):
    given, now = [], [0.0]

    def post(client, endpoint, path, body, timeout):
        given.append((endpoint, timeout))
        now[0] += 1
        raise OSError("no")

    monkeypatch.setattr(Client, "_post", post)
    with pytest.raises(Unavailable):
        Client(["a", "b", "c"], clock=lambda: now[0]).read("/x", 9)
    assert given == [("a", 3.0), ("b", 4.0), ("c", 7.0)]


@pytest.mark.parametrize(
    ("endpoint", "tls", "host", "port", "context"),
    [
        ("http://10.0.0.91:2379", None, "10.0.0.91", 2379, False),
        ("http://10.0.0.91", None, "10.0.0.91", 2379, False),
        ("https://10.0.0.91:4001", {}, "10.0.0.91", 4001, True),
        ("https://[fd00::91]", {"ca": "ca", "cert": "cert", "key": "key"}, "fd00::91", 2379, True),
    ],
)
def test_where_and_how_an_endpoint_is_asked(monkeypatch, endpoint, tls, host, port, context):
    made, closed = [], []

    class Context:
        def __init__(self):
            self.chain = None

        def load_cert_chain(self, *words):
            self.chain = words

    class Connection:
        secure = False

        def __init__(self, *where, timeout, **more):
            made.append((self.secure, where, timeout, more))

        def request(self, *words):
            raise OSError("no")

        def close(self):
            closed.append(self)

    class Secure(Connection):
        secure = True

    files, contexts = [], []
    monkeypatch.setattr(etcd.http.client, "HTTPConnection", Connection)
    monkeypatch.setattr(etcd.http.client, "HTTPSConnection", Secure)
    monkeypatch.setattr(
        etcd.ssl,
        "create_default_context",
        lambda cafile: files.append(cafile) or contexts.append(Context()) or contexts[-1],
    )
    client = Client([endpoint], tls)
    for within in (2, 0.01):
        with pytest.raises(Unavailable):
            client.read("/x", within)
    (secure, where, timeout, more), (_, _, short, _) = made
    assert (secure, where) == (context, (host, port)) and timeout == pytest.approx(2, abs=0.5)
    # A connection that is given no time at all would not even be tried.
    assert short == 0.05 and len(closed) == 2
    # The files are read once.
    assert files == ([tls.get("ca")] if context else [])
    if context:
        assert more == {"context": contexts[0]}
        assert contexts[0].chain == (("cert", "key") if tls else None)


DEEP = b"[" * 50_000


@pytest.mark.parametrize("status", [200, 503])
def test_an_answer_that_is_too_deep_or_too_long_is_none(status):
    with server(lambda *_: (status, DEEP)) as one, pytest.raises(Unavailable, match="etcd does not answer"):
        Client([one]).read("/x", 5)
    long = b" " * etcd.MOST_BYTES + b"{}"
    with server(lambda *_: (200, long)) as one, pytest.raises(Unavailable, match="etcd does not answer"):
        Client([one]).read("/x", 5)
    with server(lambda *_: (200, long[2:])) as one:
        assert Client([one]).read("/x", 5) == (0, None)


def test_a_key_that_is_too_deep_is_refused():
    value = base64.b64encode(DEEP[:40_000]).decode()
    with server(lambda *_: (200, found(value))) as one, pytest.raises(Refused, match="has not written"):
        Client([one]).read("/x", 5)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "no leader"}', "HTTP status 503: no leader"),
        (b'{"message": "no leader"}', "HTTP status 503: no leader"),
        (b'{"code": 14}', "HTTP status 503: {'code': 14}"),
        (b" [14] \xff", "HTTP status 503: [14] "),
        (b"x" * 300, f"503: {'x' * 200}."),
        (b'{"error": "%s"}' % (b"x" * 300), f"503: {'x' * 200}."),
    ],
)
def test_what_an_endpoint_says_of_its_failure_is_said_in_one_sentence(body, said):
    with server(lambda *_: (503, body)) as one, pytest.raises(Unavailable) as raised:
        Client([one]).read("/x", 5)
    assert said in str(raised.value).replace(").", ".")
