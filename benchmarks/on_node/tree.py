"""Make a tree, or change a few files of it: tree.py make FOLDER FILES BYTES | tree.py change FOLDER COUNT."""

import os
import sys

A_FOLDER = 500


def make(folder, files, size):
    block = os.urandom(1 << 16)
    for number in range(files):
        if number % A_FOLDER == 0:
            os.makedirs(f"{folder}/{number // A_FOLDER:05d}", exist_ok=True)
        with open(f"{folder}/{number // A_FOLDER:05d}/{number:07d}", "wb") as handle:
            at = number * 7 % 50000
            written = 0
            while written < size:
                piece = block[at : at + min(size - written, 10000)]
                handle.write(piece)
                written += len(piece)


def change(folder, count):
    """As many files, spread over the tree: rewritten, one created, one deleted."""
    folders = sorted(os.listdir(folder))
    for number in range(count - 2):
        inside = f"{folder}/{folders[number * len(folders) // count]}"
        there = sorted(os.listdir(inside))
        with open(f"{inside}/{there[number % len(there)]}", "ab") as handle:
            handle.write(b"changed")
    inside = f"{folder}/{folders[-1]}"
    os.unlink(f"{inside}/{sorted(os.listdir(inside))[-1]}")
    with open(f"{inside}/new-{os.urandom(4).hex()}", "w") as handle:
        handle.write("new")


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    else:
        change(sys.argv[2], int(sys.argv[3]))
