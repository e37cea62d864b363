"""The right to serve as a lease in etcd: one key a pair, and the promise of the other node in its place."""
