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
