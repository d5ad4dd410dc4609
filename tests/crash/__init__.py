"""A crash at every point of the coordinator and of the participant wrapper, on real processes and databases.

    python -m tests.crash                  everything; `make crashes`
    python -m tests.crash --scene orders   one scene of it

One schedule is one run of a saga: a coordinator and a worker, each a process of its own, forked from a warm one. The
stage knows which points they pass and has one of them stand still at the point where it is to die by SIGKILL. Nobody
counts points by hand: a run without a crash passes them, and each passing gets its crash.
"""
