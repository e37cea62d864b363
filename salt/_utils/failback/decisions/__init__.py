"""What decides. Pure: facts go in, a judgement or a sentence comes out; no I/O and no clock."""
