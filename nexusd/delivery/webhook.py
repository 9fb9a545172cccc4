"""The webhook receiver: one POST a message (product.md, section 4, Receivers). Used by `worker`."""

from __future__ import annotations

from dataclasses import dataclass, field

from nexusd.delivery.beside import about_bytes
from nexusd.delivery.http import HttpOptions, HttpTarget
from nexusd.delivery.signing import Signer
from nexusd.ports import Clock, Delivery, OutboxMessage


@dataclass(frozen=True, slots=True)
class WebhookOptions:
    """`secrets` sign, newest first."""

    name: str
    http: HttpOptions
    secrets: tuple[str, ...] = field(default=(), repr=False)


class WebhookReceiver:
    """`ports.Receiver`. Raises `InputError` or `ConfigError` for options that can never work."""

    def __init__(self, options: WebhookOptions, clock: Clock) -> None:
        self._name = options.name
        self._signer = Signer(options.secrets)
        self._target = HttpTarget(options.name, options.http, clock)

    @property
    def name(self) -> str:
        return self._name

    async def send(self, message: OutboxMessage) -> Delivery:
        """One POST, the body as it is."""
        signed = await about_bytes(len(message.body), self._signer.headers, message, self._target.utc())
        return await self._target.request("POST", message.body, {"webhook-id": message.id, **signed})

    async def close(self) -> None:
        await self._target.close()
