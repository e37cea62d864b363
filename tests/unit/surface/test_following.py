"""What is said of a run that somebody else has begun."""

import pytest
import samples

from failback_master.surface import following


def run(step, seconds=0, name=samples.RUN):
    said = {"run": name, "operation": "recover", "user": "root", "master": "salt2_master"}
    return {**said, "step": step, "seconds": seconds}


BEGINS = f"salt  recover of root on salt2_master, run {samples.RUN}"
GONE = f"salt  run {samples.RUN} is no longer at work"


@pytest.mark.parametrize(
    ("before", "now", "said"),
    [
        (None, None, []),
        (None, run(None, None), [BEGINS]),
        (None, run("static", 12), [BEGINS, "salt  step static, since 12 s"]),
        (run("static", 12), run("static", 13), []),
        (run("static", 13), run("services", 0), ["salt  step services"]),
        (run("static", 13), None, [GONE]),
        (
            run("static", 13),
            run("pause", 0, samples.OTHER_RUN),
            [GONE, BEGINS.replace(samples.RUN, samples.OTHER_RUN), "salt  step pause"],
        ),
    ],
)
def test_only_what_is_new_is_said(before, now, said):
    assert following.lines({"salt": before}, {"salt": now}) == said


@pytest.mark.parametrize(
    ("record", "text", "good"),
    [
        (
            {"run": samples.RUN, "result": "succeeded", "sentence": "salt1 serves."},
            f"Run {samples.RUN} succeeded. salt1 serves.",
            True,
        ),
        ({"run": samples.RUN, "result": "failed", "sentence": None}, f"Run {samples.RUN} failed.", False),
        ({"run": samples.OTHER_RUN}, f"Nothing is known of the end of run {samples.RUN}.", False),
    ],
)
def test_a_run_that_was_followed_ends_with_its_result(record, text, good):
    assert following.ended(samples.RUN, [record]) == (text, good)
