"""What looked after a pair before Failback, and who else configures its addresses: found on the node."""
