"""Faults on purpose: the command line is killed, starved and lied to, and must lose nothing.

    forking     the command line in a child that can be killed, in a process that has all libraries
    scenes      workspaces on the eve of an ingest, a training, a night and a backfill
    content     what a workspace holds, without what differs from run to run
    kills       kill -9, then one more run: the content of an undisturbed one
    disks       that are full
    breakages   damaged parts and adapters, servers that are gone, clocks set back
    mutations   exports as they should not be
    fuzzing     every row of thousands of mutated exports is accounted for

`python -m faults --help` in this folder's parent says how to run them; `make faults` runs them all.
"""
