"""What a transaction function is given (`ports.Transaction`)."""

from __future__ import annotations

from nexusd.store.alerts import Alerts, NotificationLog
from nexusd.store.events import Events
from nexusd.store.instances import Instances
from nexusd.store.instants import Instants
from nexusd.store.outbox import Outbox
from nexusd.store.passes import Passes
from nexusd.store.placements import Placements
from nexusd.store.queue import Queue
from nexusd.store.region_history import RegionHistory
from nexusd.store.regions import Regions
from nexusd.store.silences import Silences
from nexusd.store.statements import Session


class SqlTransaction:
    """The tables over one session. Made once a connection; only valid while a transaction function runs."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.instances = Instances(session)
        self.regions = Regions(session)
        self.region_history = RegionHistory(session)
        self.placements = Placements(session)
        self.queue = Queue(session)
        self.alerts = Alerts(session)
        self.notification_log = NotificationLog(session)
        self.silences = Silences(session)
        self.outbox = Outbox(session)
        self.events = Events(session)
        self.passes = Passes(session)
        self.instants = Instants(session)
