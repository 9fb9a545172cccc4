"""Standard Webhooks signatures (standardwebhooks.com, specification 1.0). Used by `webhook`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from datetime import UTC, datetime

from standardwebhooks import Webhook

from nexusd.core.errors import InputError
from nexusd.ports import OutboxMessage

PREFIX = "whsec_"


class Signer:
    """Signs with every secret, so that receivers can change from one to the next.

    A secret is `whsec_` and base64, as the specification writes it, or any other text, whose UTF-8 bytes are
    the key. Raises `InputError`, without the secret in it.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        self._webhooks = [Webhook(_key(secret)) for secret in secrets]

    def headers(self, message: OutboxMessage, utc: float) -> dict[str, str]:
        """`webhook-timestamp` and `webhook-signature`; none without secrets. `utc`: the time to be shown."""
        if not self._webhooks:
            return {}
        signed_at = datetime.fromtimestamp(int(utc), UTC)
        body = message.body.decode()
        signatures = [w.sign(msg_id=message.id, timestamp=signed_at, data=body) for w in self._webhooks]
        return {"webhook-timestamp": str(int(utc)), "webhook-signature": " ".join(signatures)}


def _key(secret: str) -> bytes:
    if not secret.startswith(PREFIX):
        key = secret.encode()
    else:
        try:
            encoded = secret.removeprefix(PREFIX)
            key = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
        except (binascii.Error, ValueError):
            raise InputError(f"a secret that begins with {PREFIX} goes on in base64", "secret") from None
    if not key:
        raise InputError("the secret is empty", "secret")
    return key
