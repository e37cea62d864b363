"""
A client of etcd's HTTP gateway (``/v3``), as much of it as one key with compare-and-set needs.

The standard library alone: a node must not need a package for the right to serve. All endpoints are tried
within the time that is given for the whole question, beginning with the one that answered last.
"""

import base64
import http.client
import json
import socket
import ssl
import time
import urllib.parse

from failback.errors import Refused
from failback.errors import Unavailable

#: Bytes of an answer that are read at most.
MOST_BYTES = 1 << 16


class Client:
    """
    A cluster.

    endpoints
        List of URLs, ``https://10.0.0.91:2379``. Names are looked up by the system, which may take its time:
        addresses are better.

    tls
        Dictionary with the files ``ca``, ``cert`` and ``key``; None for plain HTTP.

    clock
        Seconds that no wall clock moves.
    """

    def __init__(self, endpoints, tls=None, clock=time.monotonic):
        self._endpoints = list(endpoints)
        self._tls = tls
        self._context = None
        self._clock = clock

    def read(self, key, within):
        """
        A key as a majority has it at this moment.

        within
            Seconds for the whole question.

        Returns ``(revision, value)``: of its last write, and a dictionary; ``(0, None)`` if there is none.
        Raises ``Unavailable`` when no endpoint answers for a majority.
        """
        answer = self._ask("/v3/kv/range", {"key": _coded(key)}, within)
        return _found(answer.get("kvs"))

    def replace(self, key, revision, value, within):
        """
        Write a key if the given write is still its last one.

        revision
            Of that write; 0 if there must be none.

        value
            A dictionary.

        Returns ``(True, revision)`` of the new write, or ``(False, (revision, value))`` as ``read`` says it.
        Raises ``Unavailable``; then it may have been written all the same.
        """
        request = {
            "compare": [
                {"result": "EQUAL", "target": "MOD", "key": _coded(key), "mod_revision": str(revision)}
            ],
            "success": [{"request_put": {"key": _coded(key), "value": _coded(json.dumps(value))}}],
            "failure": [{"request_range": {"key": _coded(key)}}],
        }
        answer = self._ask("/v3/kv/txn", request, within)
        if answer.get("succeeded"):
            return True, _number(answer.get("header", {}).get("revision"))
        responses = answer.get("responses") or [{}]
        return False, _found(responses[0].get("response_range", {}).get("kvs"))

    def _ask(self, path, request, within):
        end = self._clock() + within
        body = json.dumps(request)
        problems = []
        for number, endpoint in enumerate(list(self._endpoints)):
            left = end - self._clock()
            if left <= 0:
                problems.append("no time was left for the others")
                break
            try:
                # The last one gets what is left, so that a dead first one costs no answer of the others.
                answer = self._post(endpoint, path, body, left / (len(self._endpoints) - number))
            except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
                problems.append(f"{endpoint}: {_words(error)}")
                continue
            self._endpoints.remove(endpoint)
            self._endpoints.insert(0, endpoint)
            return answer
        raise Unavailable(f"etcd does not answer ({'; '.join(problems)}).")

    def _post(self, endpoint, path, body, timeout):
        url = urllib.parse.urlsplit(endpoint)
        if url.scheme == "https":
            kind, more = http.client.HTTPSConnection, {"context": self._secure()}
        else:
            kind, more = http.client.HTTPConnection, {}
        connection = kind(url.hostname, url.port or 2379, timeout=max(0.05, timeout), **more)
        try:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            text = response.read(MOST_BYTES)
        finally:
            connection.close()
        if response.status != 200:
            raise ValueError(f"HTTP status {response.status}: {_message(text)}")
        answer = json.loads(text)
        if not isinstance(answer, dict):
            raise ValueError("it sent something that is not an answer of etcd")
        return answer

    def _secure(self):
        if self._context is None:
            tls = self._tls or {}
            context = ssl.create_default_context(cafile=tls.get("ca"))
            if tls.get("cert"):
                context.load_cert_chain(tls["cert"], tls.get("key"))
            self._context = context
        return self._context


def _coded(text):
    return base64.b64encode(text.encode()).decode()


def _found(keys):
    if not keys:
        return 0, None
    try:
        value = json.loads(base64.b64decode(keys[0]["value"]))
        if not isinstance(value, dict):
            raise ValueError("no JSON object")
        return _number(keys[0]["mod_revision"]), value
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise Refused(
            f"The lease's key in etcd holds something that Failback has not written ({error}). Look at it "
            f"with etcdctl get; deleted, the active node writes it anew."
        ) from error


def _number(text):
    # The gateway writes 64-bit numbers as text, and leaves out what is 0.
    return int(text or 0)


def _message(text):
    try:
        found = json.loads(text)
        return str(found.get("error") or found.get("message") or found)[:200]
    except (ValueError, AttributeError, RecursionError):
        return text[:200].decode(errors="replace").strip()


def _words(error):
    # Before Python 3.10 what a socket raises is no TimeoutError.
    if isinstance(error, (TimeoutError, socket.timeout)):  # noqa: UP041
        return "no answer in time"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
