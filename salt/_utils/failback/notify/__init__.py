"""What happens to a pair is told to the programs in ``/etc/failback/hooks.d``, by the node itself."""
