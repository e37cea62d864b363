"""What a node shows of its pairs to whoever looks, root or not: noted facts, a plug-in, figures."""
