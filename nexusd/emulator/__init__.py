"""The CloudNexus double behind `nexusd emulate`, `nexusd demo` and the tests.

`Cloud` (cloud.py) is the state: regions, instances, faults; it does no I/O and takes its clock from outside.
`EmulatorServer` (server.py) serves it over HTTP as the reference describes. `load_scenario` (scenario.py)
reads faults from a YAML file. It shares no record and no code with the daemon's client, so that a
misreading of the reference cannot hide on both sides.
"""
