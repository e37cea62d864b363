"""Failback beside what people use instead, in one run on one machine: ``make bench``."""
