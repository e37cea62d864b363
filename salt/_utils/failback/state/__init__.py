"""What a node remembers of its pairs: configuration, ledger, lock, pause, runs, and who was declared off."""
