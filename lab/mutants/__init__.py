"""
What the suite does not see: one thing in the code is made wrong at a time, and the tests that execute it run.

    make mutants N=300 SEED=7
    make mutants SINCE=v0.1.0       # only what has changed since then

============  ======================================================================================
``sites``     where a source can be made wrong, and how. Pure
``sample``    which of them a run tries; rates; the list of those that change nothing. Pure
``covering``  which tests execute a line, and how long each takes; kept by the content of the tree
``plugin``    of pytest: writes that down, and later runs the chosen tests in order
``trial``     one mutant in a copy of the tree
============  ======================================================================================
"""
