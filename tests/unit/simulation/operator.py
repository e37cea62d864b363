"""stub"""
def start(world, operation): pass
