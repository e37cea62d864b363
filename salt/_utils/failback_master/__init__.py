"""
What a master does: ask the nodes of pairs, and carry orchestrations through. Needs Salt, unlike ``failback``.
"""
