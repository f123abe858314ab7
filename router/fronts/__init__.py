"""Fronts: processes that a source runs in beside the engine, so that accepting, checking and decoding use other cores.

    front process                                   the daemon
    Source.run_on --messages--> decode --+          Crew: starts fronts, replaces those that die
      ^                                  |
      |                                  +--batch--> Exchange --events--> Intake.store
      +-- 204, delete <-- emit returns <--- done <------+       <--- returned ----+

Each front has a socket of its own to the daemon, and ends when that does. Events are decoded and encoded for sinks
in the front, so that the engine pays as little for one as it can. A front that dies loses its connections, and
nothing that was answered; what it had sent and was not told of may be stored or not, as nobody was answered for it.
"""
