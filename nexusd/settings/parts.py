"""From the settings to the plain values that each part takes. Used by `engine`.

Raises `ConfigError` or `InputError` for what only the part itself can judge.
"""

from __future__ import annotations

from nexusd import __version__
from nexusd.cloud.key import KeyFile, KeySource, LiteralKey
from nexusd.cloud.options import CloudOptions
from nexusd.cloud.refusals import ANY_STATUS, RefusalRule, only
from nexusd.core.alerting import Alerting
from nexusd.core.errors import ConfigError
from nexusd.core.fleets import Fleets, FleetSpec
from nexusd.core.placement import PlacementPolicy, Spread
from nexusd.core.polls import STALE_AFTER_INTERVALS
from nexusd.provisioning.following import FollowOptions
from nexusd.provisioning.worker import ProvisioningOptions
from nexusd.runtime.schedule import PollTiming
from nexusd.settings.model import Settings
from nexusd.settings.receiving import outbox_names, routing
from nexusd.settings.ruling import rules
from nexusd.web.options import TlsFiles, WebOptions

MILLISECONDS = 1000.0
SHORTEST_BUDGET_S = 30.0
TIMEOUTS_A_GET = 3
"""How often a GET may be tried in vain for as long as one request may take."""


def key_source(settings: Settings) -> KeySource:
    cloud = settings.cloudnexus
    if cloud.api_key_file is not None:
        return KeyFile(cloud.api_key_file, cloud.api_key.get_secret_value() if cloud.api_key else "")
    if cloud.api_key is None:
        raise ConfigError(
            "cloudnexus.api_key: is missing; set cloudnexus.api_key_file, $CN_API_KEY or a systemd credential"
        )
    return LiteralKey(cloud.api_key.get_secret_value())


def cloud_options(settings: Settings) -> CloudOptions:
    cloud = settings.cloudnexus
    return CloudOptions(
        base_url=cloud.base_url,
        proxy=cloud.proxy.get_secret_value() if cloud.proxy is not None else None,
        ca_file=cloud.ca_file,
        timeout_s=cloud.timeout_s,
        connect_timeout_s=min(5.0, cloud.timeout_s),
        get_budget_s=max(SHORTEST_BUDGET_S, TIMEOUTS_A_GET * cloud.timeout_s),
        max_concurrent_requests=cloud.max_concurrent_requests,
        max_requests_per_second=cloud.max_requests_per_second,
        refusals=tuple(
            RefusalRule(r.kind, r.scope, ANY_STATUS if r.status is None else only(r.status), r.code)
            for r in settings.placement.refusals
        ),
    )


def poll_timings(settings: Settings) -> dict[str, PollTiming]:
    polling = settings.polling
    return {
        "regions": PollTiming(polling.regions_s, min_gap_s=min(1.0, polling.regions_s)),
        "instances": PollTiming(polling.instances_s, min_gap_s=min(1.0, polling.instances_s)),
    }


def placement_policy(settings: Settings) -> PlacementPolicy:
    return PlacementPolicy(
        max_data_age_s=settings.max_data_age_s,
        max_inventory_age_s=STALE_AFTER_INTERVALS * settings.polling.instances_s,
        max_per_region=settings.placement.max_per_region,
        max_instances=settings.placement.max_instances,
        max_instances_per_plan=settings.placement.max_instances_per_plan,
        switch_margin_ms=(settings.placement.switch_margin_s or 0.0) * MILLISECONDS,
    )


def provisioning_options(settings: Settings) -> ProvisioningOptions:
    placement = settings.placement
    follow = FollowOptions(
        timeout_s=settings.cloudnexus.timeout_s,
        settle_s=placement.settle_s,
        provisioning_timeout_s=placement.provisioning_timeout_s,
        hold_after_s=placement.hold_after_s,
    )
    return ProvisioningOptions(
        policy=placement_policy(settings),
        follow=follow,
        max_creates_per_minute=placement.max_creates_per_minute,
        max_in_flight=settings.cloudnexus.max_concurrent_requests,
    )


def fleets(settings: Settings) -> Fleets:
    specs = tuple(
        FleetSpec(
            name=fleet.name,
            count=fleet.count,
            plan=fleet.plan,
            image=fleet.image,
            ssh_keys=fleet.ssh_keys,
            regions=fleet.regions,
            avoid_regions=fleet.avoid_regions,
            where=fleet.where,
            spread=Spread(fleet.spread.group, fleet.spread.max_skew) if fleet.spread is not None else None,
            replace_stopped=fleet.replace_stopped,
            max_replacements=fleet.max_replacements,
        )
        for fleet in settings.fleets
    )
    max_age_s = placement_policy(settings).max_inventory_age_s
    return Fleets(specs, max_age_s, recovery_s=settings.placement.settle_s)


def alerting(settings: Settings) -> Alerting:
    judged_by = rules(settings)
    failed_for_s = max((r.resolve_after_s or 0.0 for r in judged_by), default=0.0)
    return Alerting(judged_by, routing(settings), failed_for_s)


def web_options(settings: Settings) -> WebOptions:
    server = settings.server
    tls = server.tls
    return WebOptions(
        version=__version__,
        read_token=server.read_token.get_secret_value() if server.read_token is not None else None,
        write_token=server.write_token.get_secret_value() if server.write_token is not None else None,
        tls=TlsFiles(tls.cert_file, tls.key_file, tls.client_ca_file) if tls is not None else None,
        external_url=server.external_url,
        public_url=server.public_url,
        per_instance=settings.metrics.per_instance,
        max_instances=settings.metrics.max_instances,
        receivers=outbox_names(settings),
        alert_rules=tuple((r.name, r.severity) for r in alerting(settings).rules if r.enabled),
        routing=routing(settings),
    )
