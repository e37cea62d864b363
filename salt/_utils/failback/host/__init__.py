"""The node itself, without any pair: its files, programs, services and clocks, and how names are written."""
