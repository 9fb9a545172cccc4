"""The whole configuration: `Settings`, as frozen as its sections."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from nexusd.settings.alerting import Alerts, Receiver, Route
from nexusd.settings.sections import (
    CloudNexus,
    Fleet,
    History,
    Log,
    Metrics,
    Placement,
    Polling,
    Server,
    Store,
)

REGION_POLLS_OF_DATA = 3


class Settings(BaseSettings):
    """Every option. Made by `loading.load`, which knows where each value came from."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, hide_input_in_errors=True, case_sensitive=True
    )

    cloudnexus: CloudNexus = Field(default=CloudNexus(), description="The CloudNexus API.")
    polling: Polling = Field(default=Polling(), description="How often each listing is read.")
    placement: Placement = Field(default=Placement(), description="Where and how instances are created.")
    fleets: tuple[Fleet, ...] = Field(default=(), description="Instances that are kept alive.")
    alerts: Alerts = Field(default=Alerts(), description="Which conditions are told, and when.")
    receivers: tuple[Receiver, ...] = Field(default=(), description="Who is told.")
    routes: tuple[Route, ...] = Field(
        default=(), description="Which alert goes to whom; without routes, all to all."
    )
    server: Server = Field(default=Server(), description="The daemon's own HTTP server.")
    store: Store = Field(default=Store(), description="The durable memory.")
    log: Log = Field(default=Log(), description="What is logged, and how.")
    history: History = Field(default=History(), description="What is remembered of the past.")
    metrics: Metrics = Field(default=Metrics(), description="What `/metrics` holds.")

    @property
    def max_data_age_s(self) -> float:
        """`placement.max_data_age`, or its default of 3 polls."""
        if self.placement.max_data_age_s is not None:
            return self.placement.max_data_age_s
        return REGION_POLLS_OF_DATA * self.polling.regions_s

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - likewise
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed: `loading` reads the other sources, so that an error can name the place."""
        return (init_settings,)
