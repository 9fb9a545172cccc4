"""Three replicas on one PostgreSQL under faults.

Processes, sockets and the database are real.

Every replica reaches PostgreSQL and CloudNexus through a proxy of its own. The proxy imitates a network that
drops packets: bytes stop, and no connection is reset. A driver places instances through random replicas,
stops others at the cloud, and refuses creates in a region now and then. Meanwhile replicas are killed, frozen
and partitioned, and one of them has a clock that is ten minutes ahead.

    python -m tests.replicas --minutes 30 --seed 1

The run ends with faults stopped and everything healed. What must hold then is in `report.py`.
"""
