"""What no single key can tell: names that must be unique or known, expressions that must compile."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from nexusd.core import expressions
from nexusd.core.errors import InputError
from nexusd.core.identifiers import fleet_of
from nexusd.core.matchers import parse_matchers
from nexusd.core.names import canonical
from nexusd.core.spelling import nearest
from nexusd.settings.alerting import (
    RULE_NAMES,
    AlertmanagerReceiver,
    AppriseReceiver,
    Authorization,
    CustomRule,
    HeartbeatReceiver,
    ReceiverTls,
    Rule,
    WebhookReceiver,
    looked_at,
)
from nexusd.settings.model import Settings
from nexusd.settings.problems import Problem
from nexusd.settings.values import why_unread
from nexusd.settings.yamlfile import KeyPath


def problems(settings: Settings) -> Iterator[Problem]:
    """Everything wrong between the keys of a configuration whose single values are right."""
    yield from _api(settings)
    yield from _fleets(settings)
    yield from _unique("receivers", [receiver.name for receiver in settings.receivers])
    yield from _rules(settings)
    yield from _templates(settings)
    yield from _receivers(settings)
    yield from _routes(settings)
    yield from _expressions(settings)
    yield from _tls_files(settings)


def _api(settings: Settings) -> Iterator[Problem]:
    if settings.cloudnexus.api_key is None:
        ways = "set cloudnexus.api_key_file, CN_API_KEY, or a systemd credential of that name"
        yield Problem(("cloudnexus", "api_key"), f"is missing: {ways}")
    elif not re.fullmatch(r"[!-~]{1,4096}", settings.cloudnexus.api_key.get_secret_value()):
        yield Problem(("cloudnexus", "api_key"), "is not a key: one word of visible ASCII is expected")
    yield from _readable({"ca_file": settings.cloudnexus.ca_file}, ("cloudnexus",))
    for key in ("write_token", "read_token"):
        token = getattr(settings.server, key)
        if token is not None and not re.fullmatch(r"[!-~]{1,4096}", token.get_secret_value()):
            yield Problem(("server", key), "is not a token: one word of visible ASCII is expected")
    for number, refusal in enumerate(settings.placement.refusals):
        if refusal.status is None and refusal.code.strip("*") == "":
            yield Problem(("placement", "refusals", number), "needs status, code, or both")


def _unique(key: str, names: Iterable[str], field: str = "name") -> Iterator[Problem]:
    seen: set[str] = set()
    for number, name in enumerate(names):
        if name in seen:
            yield Problem((*key.split("."), number, field), f"{name!r} is taken by an earlier entry")
        seen.add(name)


def _fleets(settings: Settings) -> Iterator[Problem]:
    names = [fleet.name for fleet in settings.fleets]
    yield from _unique("fleets", names)
    forms: dict[str, str] = {}
    for number, name in enumerate(names):
        earlier = forms.setdefault(canonical(name), name)
        if earlier != name:
            text = f"{name!r} differs only in case from {earlier!r}, and CloudNexus may store both as one"
            yield Problem(("fleets", number, "name"), text)
        other = fleet_of(name)
        if other in names:
            yield Problem(("fleets", number, "name"), f"{name!r} is the name of a member of {other!r}")


def _rules(settings: Settings) -> Iterator[Problem]:
    for name in settings.alerts.rules:
        if name not in RULE_NAMES:
            hint = nearest(name, RULE_NAMES, 0.0)
            yield Problem(("alerts", "rules", name), f'unknown rule, did you mean "{hint}"?')
    yield from _unique("alerts.custom", [rule.name for rule in settings.alerts.custom])
    for number, rule in enumerate(settings.alerts.custom):
        if rule.name in RULE_NAMES:
            yield Problem(("alerts", "custom", number, "name"), f"{rule.name} is a built-in rule")


_TEMPLATE = re.compile(r"\{\{|\{%|\{#|\$(labels|value|externalLabels|externalURL)\b")


def _templates(settings: Settings) -> Iterator[Problem]:
    """Report templates in labels and annotations, which would be sent unexpanded."""
    rules: dict[KeyPath, Rule | CustomRule] = {
        **{("alerts", "rules", name): rule for name, rule in settings.alerts.rules.items()},
        **{("alerts", "custom", number): rule for number, rule in enumerate(settings.alerts.custom)},
    }
    for path, rule in rules.items():
        texts: dict[KeyPath, str] = {
            (*path, "severity"): rule.severity or "",
            **{(*path, "labels", name): text for name, text in rule.labels.items()},
            **{(*path, "annotations", name): text for name, text in rule.annotations.items()},
        }
        for key, text in texts.items():
            if found := _TEMPLATE.search(text):
                yield Problem(key, _NO_TEMPLATES.format(found=found[0]))


_NO_TEMPLATES = (
    "templates are not supported yet, and {found} would be sent as it is; write fixed text. "
    'A later version reads "{{{{ labels.region }}}}", without $'
)


def _receivers(settings: Settings) -> Iterator[Problem]:
    for number, receiver in enumerate(settings.receivers):
        path: KeyPath = ("receivers", number)
        if isinstance(receiver, WebhookReceiver | HeartbeatReceiver) and receiver.url is None:
            yield Problem((*path, "url"), "is missing (or url_file)")
        if isinstance(receiver, AlertmanagerReceiver | AppriseReceiver) and not receiver.urls:
            yield Problem((*path, "urls"), "is missing (or urls_file)")
        authorization = getattr(receiver, "authorization", None)
        if isinstance(authorization, Authorization):
            yield from _authorization(authorization, (*path, "authorization"))
        tls = getattr(receiver, "tls", None)
        if isinstance(tls, ReceiverTls):
            yield from _receiver_tls(tls, (*path, "tls"))


def _receiver_tls(tls: ReceiverTls, path: KeyPath) -> Iterator[Problem]:
    if tls.key_file is not None and tls.cert_file is None:
        yield Problem((*path, "key_file"), "goes with cert_file")
    files = {"ca_file": tls.ca_file, "cert_file": tls.cert_file, "key_file": tls.key_file}
    yield from _readable(files, path)


def _authorization(authorization: Authorization, path: KeyPath) -> Iterator[Problem]:
    bearer = authorization.credentials is not None
    basic = authorization.username is not None and authorization.password is not None
    if authorization.type == "Bearer" and not bearer:
        yield Problem(path, "Bearer needs credentials or credentials_file")
    if authorization.type == "Basic" and not basic:
        yield Problem(path, "Basic needs username, and password or password_file")
    if authorization.type == "Bearer" and (authorization.username or authorization.password):
        yield Problem(path, "username and password go with type: Basic")
    if authorization.type == "Basic" and bearer:
        yield Problem(path, "credentials go with type: Bearer")


def _routes(settings: Settings) -> Iterator[Problem]:
    names = [receiver.name for receiver in settings.receivers]
    beating = {r.name for r in settings.receivers if isinstance(r, HeartbeatReceiver)}
    for number, route in enumerate(settings.routes):
        for position, matcher in enumerate(route.matchers):
            try:
                parse_matchers(matcher)
            except InputError as error:
                yield Problem(("routes", number, "matchers", position), str(error))
        for position, name in enumerate(route.receivers):
            if name not in names:
                hint = nearest(name, names, 0.0)
                asked = f'did you mean "{hint}"?' if hint else "receivers has none"
                yield Problem(("routes", number, "receivers", position), f"no receiver {name!r}, {asked}")
            elif name in beating:
                yield Problem(
                    ("routes", number, "receivers", position),
                    f"{name!r} is a heartbeat: it is told of no alert and needs no route",
                )


def _expressions(settings: Settings) -> Iterator[Problem]:
    for number, fleet in enumerate(settings.fleets):
        yield from _compiled(fleet.where, "region", ("fleets", number, "where"))
    for name, rule in settings.alerts.rules.items():
        if name in RULE_NAMES:
            yield from _compiled(rule.where, looked_at(name), ("alerts", "rules", name, "where"))
    for number, custom in enumerate(settings.alerts.custom):
        for key in ("when", "where"):
            yield from _compiled(getattr(custom, key), custom.each, ("alerts", "custom", number, key))


def _compiled(text: str | None, record: str | None, path: KeyPath) -> Iterator[Problem]:
    """What is wrong with an expression over a record."""
    if text is None or record is None:
        return
    try:
        expressions.compile_where(text, (record,), str(path[-1]))
    except expressions.ExpressionError as error:
        yield Problem(path, str(error))


def _tls_files(settings: Settings) -> Iterator[Problem]:
    tls = settings.server.tls
    files = (
        {"cert_file": tls.cert_file, "key_file": tls.key_file, "client_ca_file": tls.client_ca_file}
        if tls
        else {}
    )
    yield from _readable(files, ("server", "tls"))


def _readable(files: Mapping[str, Path | None], path: KeyPath) -> Iterator[Problem]:
    for key, file in files.items():
        problem = _unreadable(file) if file else None
        if problem:
            yield Problem((*path, key), problem)


def _unreadable(path: Path) -> str | None:
    if path == Path():
        return "expected the path of a file"
    try:
        path.open("rb").close()
    except (OSError, ValueError) as error:
        return f"{path} cannot be read: {why_unread(error)}"
    return None
