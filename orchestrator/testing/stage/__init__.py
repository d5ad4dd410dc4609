"""Behind the ``sagas`` fixture: the whole program in one thread under virtual time, with nothing left to chance.

Kernel, coordinator, executor and barrier are the real ones. What goes wrong is what the test says.
"""
