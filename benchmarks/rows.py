"""What is compared: one function a row of the table. Each returns a :py:class:`benchmarks.row.Row`."""

from benchmarks import crash
from benchmarks import proved
from benchmarks import rendering
from benchmarks import salt_rows
from benchmarks import sync
from benchmarks import window

#: Names that rows had in a benchmarks.json that was kept.
FORMER = {"warm": "pre_sync"}
#: In the order in which they are measured and shown.
ROWS = {
    each.__name__: each
    for each in (
        window.planned_without_paths,
        window.planned_few,
        window.planned_many,
        window.clients,
        crash.crash,
        crash.no_flip,
        proved.planned_leased,
        proved.crash_proved,
        sync.pre_sync,
        sync.preview,
        sync.lag,
        sync.lag_many,
        rendering.rendering,
        rendering.checking,
    )
} | salt_rows.ROWS
#: Which site's lab a row needs, if it is not that of the bench; None: no hosts at all.
SITES = {"rendering": None, "checking": None, "recovery": "salt", "statuses": "dalma", "recover_all": "dalma"}
#: What a quick look leaves out: these boot labs with Salt, which takes longer than all others together.
NOT_QUICK = tuple(salt_rows.ROWS)
