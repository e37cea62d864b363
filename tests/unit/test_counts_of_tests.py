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


def test_tests_that_failed_are_named(tmp_path):
    outcome = tmp_path / "outcome.xml"
    outcome.write_text(
        """<testsuites><testsuite>
        <testcase classname="lab.test_1" name="test_well"/>
        <testcase classname="lab.test_1" name="test_bad[a]"><failure message="no">1 == 2</failure></testcase>
        <testcase classname="lab.test_1" name="test_bad[a]"><error message="and its teardown"/></testcase>
        <testcase classname="lab.test_1" name="test_not_begun"><error message="no hosts"/></testcase>
        <testcase classname="lab.test_1" name="test_not_here"><skipped/></testcase>
        </testsuite></testsuites>"""
    )
    assert test_runner.failed(outcome) == ("lab.test_1::test_bad[a]", "lab.test_1::test_not_begun")


def test_a_suite_that_left_no_report_has_no_counts(tmp_path):
    outcome = tmp_path / "none.xml"
    assert test_runner.counted(outcome) == {}
    assert test_runner.failed(outcome) == ()
