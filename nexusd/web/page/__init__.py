"""The status page: server-rendered and complete without scripts; a small script of its own keeps it live.

`routes` serves it. `reading` gathers what it is made from; `overview` puts the parts together, each of which
is a pure function from that to HTML (`alerts`, `regions`, `instances`, `fleets`, `placements`, `placement`,
`happened`, `daemon`). `verdict` says whether all is well. Nothing comes from another host.
"""
