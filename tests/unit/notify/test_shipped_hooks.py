"""The hooks that are shipped, as the programs that they are."""

import email
import email.policy
import http.server
import json
import pathlib
import subprocess
import sys
import threading

import pytest
import yaml

from failback.decisions import events

HOOKS = pathlib.Path(__file__).parents[3] / "salt/pair/files/hooks"
EVENT = {
    "version": 1,
    "event": "takeover",
    "severity": "critical",
    "pair": "salt",
    "node": "salt2",
    "sentence": "salt2 is active in salt: line one\nBcc: everybody@example.org",
}


def test_each_hook_that_the_pillar_may_name_is_there():
    assert sorted(path.name for path in HOOKS.iterdir()) == sorted(events.HOOKS)
    assert all(path.read_text().startswith("#!/usr/bin/python3 -I\n") for path in HOOKS.iterdir())


@pytest.fixture
def hook(tmp_path):
    """Runs a hook whose text has been changed so that it touches nothing of this machine."""

    def run(name, changes, environment=None, event=EVENT):
        text = (HOOKS / name).read_text()
        for before, after in changes.items():
            assert before in text
            text = text.replace(before, after)
        program = tmp_path / name
        program.write_text(text)
        return subprocess.run(
            [sys.executable, "-I", program],
            input=json.dumps(event),
            capture_output=True,
            text=True,
            env=environment or {},
            timeout=60,
        )

    return run


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


class TestMail:
    def sendmail(self, tmp_path, status=0):
        text = f'#!/bin/sh\necho "$@" > {tmp_path}/words\ncat > {tmp_path}/mail\nexit {status}\n'
        return {"/usr/sbin/sendmail": executable(tmp_path / "sendmail", text)}

    def test_a_mail_has_one_line_as_its_subject_and_only_those_who_are_named_as_its_readers(
        self, hook, tmp_path
    ):
        done = hook("mail", self.sendmail(tmp_path), {"FAILBACK_MAIL": "ops@example.org root"})
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "words").read_text() == "-i -t\n"
        mail = email.message_from_bytes((tmp_path / "mail").read_bytes(), policy=email.policy.default)
        assert mail["To"] == "ops@example.org, root"
        assert mail["Subject"].startswith("[failback] salt takeover: salt2 is active in salt: line one Bcc")
        assert mail["Bcc"] is None and mail["X-Priority"] == "1"
        assert "node: salt2" in mail.get_content()

    def test_what_sendmail_ends_with_is_what_the_hook_ends_with(self, hook, tmp_path):
        assert hook("mail", self.sendmail(tmp_path, 75), {"FAILBACK_MAIL": "root"}).returncode == 75

    def test_without_readers_or_a_mail_server_it_says_so(self, hook, tmp_path):
        done = hook("mail", self.sendmail(tmp_path))
        assert done.returncode == 1 and "notify.mail" in done.stderr
        done = hook("mail", {"/usr/sbin/sendmail": "/nowhere/sendmail"}, {"FAILBACK_MAIL": "root"})
        assert done.returncode == 1 and "/nowhere/sendmail: No such file" in done.stderr


class TestWebhook:
    @pytest.fixture
    def server(self):
        got = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                got.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
                self.send_response(500 if "busy" in self.path and len(got) == 1 else 204)
                self.end_headers()

            def log_message(self, *words):
                pass

        serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}", got
        serving.shutdown()
        serving.server_close()

    def changes(self, tmp_path, *lines):
        (tmp_path / "webhook.url").write_text("# where to\n\n" + "".join(f"{line}\n" for line in lines))
        return {"/etc/failback/webhook": str(tmp_path / "webhook.url"), "3, 2.0, 10.0": "2, 0.01, 5.0"}

    def test_each_address_gets_the_event_also_one_that_is_busy_at_first(self, hook, tmp_path, server):
        url, got = server
        done = hook("webhook", self.changes(tmp_path, f"{url}/busy", f"{url}/other"))
        assert done.returncode == 0, done.stderr
        assert [path for path, _ in got] == ["/busy", "/busy", "/other"]
        assert got[-1][1] == EVENT

    def test_an_address_that_fails_keeps_no_other_waiting_and_is_not_printed(self, hook, tmp_path, server):
        url, got = server
        done = hook("webhook", self.changes(tmp_path, "http://127.0.0.1:1/token", "no address", f"{url}/a"))
        assert done.returncode == 1
        assert "address 1 of" in done.stderr and "address 2 of" in done.stderr
        assert "token" not in done.stderr
        assert [path for path, _ in got] == ["/a"]

    def test_without_a_file_it_says_what_to_write(self, hook, tmp_path):
        done = hook("webhook", {"/etc/failback/webhook": str(tmp_path / "none")})
        assert done.returncode == 1 and "chmod 600" in done.stderr


class TestSaltEvent:
    def test_the_event_goes_to_the_bus_under_a_tag_of_the_pair(self, hook, tmp_path):
        executable(tmp_path / "salt-call", f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\n')
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        assert hook("salt-event", {path: str(tmp_path)}).returncode == 0
        words = (tmp_path / "words").read_text().splitlines()
        assert "failback/salt/event/takeover" in words
        assert json.loads(words[-1]) == EVENT

    @pytest.mark.parametrize(
        "said", ["\U0001f525 burnt", "a \"q\" 'p' # c\n\\ {x: 1}", "é\x7f\x9b\u2028\U000e0041"]
    )
    def test_whatever_is_said_comes_out_of_the_yaml_that_salt_reads(self, hook, tmp_path, said):
        executable(tmp_path / "salt-call", f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/words\n')
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        event = {**EVENT, "sentence": said}
        assert hook("salt-event", {path: str(tmp_path)}, event=event).returncode == 0
        word = (tmp_path / "words").read_text().splitlines()[-1]
        assert word.isascii() and word.isprintable()
        assert yaml.load(word, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)) == event

    def test_without_salt_it_says_so(self, hook, tmp_path):
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        done = hook("salt-event", {path: str(tmp_path / "nowhere")})
        assert done.returncode == 1 and "salt-call is not installed" in done.stderr
