"""The engine in virtual time against a simulated cloud that kills, lies and loses: `nexusd simulate`.

The intake, the worker, the cycle and the store are the daemon's own; the cloud, the network, the clock and
the disk's failures are made here. Every choice comes from the seed, so a seed tells a whole run again.
docs/simulator.md says what is checked and what is not.
"""
