"""Several paths at the same time."""

import concurrent.futures


def each(function, items, parallel):
    """Call a function for each item, several at a time; the first error is raised at the end."""
    items = list(items)
    if len(items) < 2 or parallel < 2:
        return [function(item) for item in items]
    with concurrent.futures.ThreadPoolExecutor(min(parallel, len(items))) as pool:
        futures = [pool.submit(function, item) for item in items]
        concurrent.futures.wait(futures)
        return [future.result() for future in futures]
