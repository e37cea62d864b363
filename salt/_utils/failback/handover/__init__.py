"""Addresses change hands, planned or after a failure, so that one node serves and never two."""
