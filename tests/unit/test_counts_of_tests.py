"""What ``make test`` says at its end."""

import pytest

from lab import test_runner

OUTCOME = """<testsuites><testsuite errors="1" failures="2" skipped="3" tests="10"/></testsuites>"""


@pytest.mark.parametrize(
    ("text", "spoken"),
    [
        (OUTCOME, "4 passed, 3 failed, 3 skipped"),
        (OUTCOME.replace('"1"', '"0"').replace('"2"', '"0"'), "7 passed, 3 skipped"),
        ("", ""),
    ],
)
def test_tests_are_counted(tmp_path, text, spoken):
    outcome = tmp_path / "outcome.xml"
    outcome.write_text(text)
    assert test_runner.spoken(test_runner.counted(outcome)) == spoken
