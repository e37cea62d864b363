"""What a row of the table is, how much is measured for it, and what its goal may be."""

import dataclasses
import statistics


@dataclasses.dataclass
class Row:
    """
    One row of the table.

    values
        What was compared to a list of figures, one a run.

    ours
        Which of them is Failback; ``against`` those the ratio is made to (all others by default).

    goal
        In words; ``met`` a function of the row to True, False, or None where nothing was promised.
    """

    title: str
    unit: str
    values: dict = dataclasses.field(default_factory=dict)
    ours: str = "Failback"
    against: "tuple | None" = None
    goal: str = ""
    met: object = None
    notes: list = dataclasses.field(default_factory=list)

    def add(self, what, value):
        """Note one figure."""
        self.values.setdefault(what, []).append(value)

    def median(self, what):
        """The median of what was noted, or None."""
        return statistics.median(self.values[what]) if self.values.get(what) else None


@dataclasses.dataclass(frozen=True)
class Size:
    """How much is measured: ``make bench``, or the quick look at whether it works."""

    runs: int = 5
    few_files: int = 5000
    many_files: int = 200_000
    pre_sync: tuple = (100_000, 10_000)  # files, bytes each
    preview: tuple = (10_000, 1_000_000)
    lag_seconds: float = 20
    lag_of_defaults: float = 35  # their delay is 15 s: twice, and a little more
    pairs: tuple = (10, 100, 1000)


FULL = Size()
QUICK = Size(1, 500, 2000, (2000, 10_000), (500, 2000), 5, 5, (10, 100))


def at_most(limit, what="Failback"):
    """A goal: the median of ours is not above a limit."""
    return lambda row: None if row.median(what) is None else row.median(what) <= limit


def at_most_times(factor, other, what="Failback"):
    """A goal: the median of ours is not above a multiple of another one's."""

    def met(row):
        if row.median(what) is None or row.median(other) is None:
            return None
        return row.median(what) <= factor * row.median(other)

    return met
