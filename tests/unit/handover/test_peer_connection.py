"""The taker's connection to the giver: answers amid noise, late ones, none at all. A real process for ssh."""

import sys
import time

import pytest
import samples

from failback.errors import Refused
from failback.errors import Unavailable
from failback.handover import taker
from failback.host.paths import Paths
from failback.pair import Member
from failback.peer import ssh

PROGRAM = """#!{python} -S
import json, os, sys, time
assert sys.argv[1:] == ["-M", "-S", {control!r}, "--", "handover", {run!r}], sys.argv

def say(**answer):
    print(json.dumps(answer), flush=True)

def asked():
    line = sys.stdin.readline()
    return json.loads(line) if line else sys.exit()

{script}
"""


@pytest.fixture
def connected(tmp_path, monkeypatch):
    """A function that connects to a giver with a script of its own; the connections end with the test."""
    member = Member.of(samples.pair("salt1"), Paths(tmp_path))
    program, opened = tmp_path / "ssh", []
    monkeypatch.setattr(ssh, "command", lambda member, *options: [str(program), *options])

    def connect(script):
        terms = {"python": sys.executable, "control": str(member.volatile / "ssh"), "run": samples.RUN}
        program.write_text(PROGRAM.format(script=script, **terms))
        program.chmod(0o755)
        opened.append(taker.PeerConnection(member, samples.RUN))
        return opened[-1]

    yield connect
    for one in opened:
        one._process.kill()
        with one:
            pass


def test_a_request_has_a_number_and_gets_the_answer_to_that(connected):
    far = connected("one = asked(); say(number=one['number'], ok=True, said=one)\n" * 2)
    assert far.ask("arm", 20, seconds=10) == {"said": {"number": 1, "do": "arm", "seconds": 10}}
    assert far.ask("release") == {"said": {"number": 2, "do": "release"}}
    assert far.name == "salt2"


def test_what_a_shell_prints_there_is_no_answer(connected):
    far = connected(
        "print('good morning\\n{half an object\\n[1]', flush=True)\n"
        "os.write(1, b'{\"ready\"'); time.sleep(0.05); os.write(1, b': true}\\n')\n"
    )
    assert far.answer(20) == {"ready": True}


def test_two_answers_that_come_at_once_are_two(connected):
    far = connected('os.write(1, b\'{"number": 0}\\n{"ready": true}\\n\')\n')
    assert [far.answer(20), far.answer(20)] == [{"number": 0}, {"ready": True}]


def test_the_late_answer_to_a_request_that_was_given_up_is_passed_over(connected):
    far = connected(
        "asked(); two = asked(); say(number=1, ok=True, late=True); say(number=2, ok=True, late=False)\n"
    )
    with pytest.raises(Unavailable, match="salt2 gave no answer in 0.1 s"):
        far.ask("look_closely", 0.1)
    assert far.ask("release", 20) == {"late": False}


def test_passing_over_a_late_answer_gives_no_more_time(connected):
    far = connected("asked(); asked(); say(number=1, ok=True); sys.stdin.read()\n")
    with pytest.raises(Unavailable):
        far.ask("look_closely", 0.1)
    began = time.monotonic()
    with pytest.raises(Unavailable, match="gave no answer"):
        far.ask("release", 0.3)
    assert time.monotonic() - began < 10


def test_a_giver_that_says_no_is_quoted(connected):
    far = connected("say(number=asked()['number'], ok=False, error='It is not armed.')\nasked()\n")
    with pytest.raises(Refused, match="salt2: It is not armed."):
        far.ask("release", 20)


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("sys.exit('It has no lock.')", "The connection to salt2 ended. It has no lock."),
        ("sys.exit()", "The connection to salt2 ended."),
    ],
)
def test_a_connection_that_ends_is_said_with_its_last_words(connected, script, said):
    far = connected(script)
    with pytest.raises(Unavailable) as ended:
        far.answer(20)
    assert str(ended.value) == said


def test_nothing_is_asked_over_a_connection_that_has_ended(connected):
    far = connected("sys.exit()")
    far._process.wait()
    with pytest.raises(Unavailable, match="The connection to salt2 has ended: .*Broken pipe"):
        far.ask("release")


def test_its_own_socket_takes_the_place_of_one_that_was_left(connected, tmp_path):
    """ssh would not become the master connection where there is one."""
    place = Member.of(samples.pair("salt1"), Paths(tmp_path)).volatile / "ssh"
    place.parent.mkdir(parents=True)
    place.write_text("left")
    assert connected("asked()").control == str(place) and not place.exists()


def test_it_ends_with_its_block(connected):
    with connected("asked(); open(sys.argv[0] + '.ended', 'w')") as far:
        assert far._process.poll() is None
    assert far._process.poll() == 0
