"""What carries files and repositories from the active node to the standby, and the gate before it."""
