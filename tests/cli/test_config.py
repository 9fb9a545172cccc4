"""`nexusd config check`, `show` and `schema`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from tests.cli.conftest import Run
from tests.cli.daemon import Answer, FakeDaemon, error

Write = Callable[[str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_one(text: str) -> str:
        path = tmp_path / "nexusd.yaml"
        path.write_text(text)
        return str(path)

    return write_one


def test_check_says_ok_and_which_file(run: Run, write: Write) -> None:
    path = write("cloudnexus: {api_key: k}")
    assert run("config", "check", "--config", path)[:2] == (0, f"OK: {path}, 1 warning\n")


def test_check_prints_warnings_and_still_exits_0(run: Run, write: Write) -> None:
    path = write("cloudnexus: {api_key: k}\nserver: {listen: ':9650'}")
    ran = run("config", "check", "--config", path)
    assert ran.code == 0
    assert ran.out == f"OK: {path}, 2 warnings\n"
    [no_receiver, exposed] = ran.err.splitlines()
    assert no_receiver.startswith("warning: receivers: none is configured")
    assert exposed.startswith("warning: server.listen: :9650 is reachable from other machines")


def test_check_exits_2_with_a_line_for_each_mistake(run: Run, write: Write) -> None:
    path = write("cloudnexus: {api_key: k}\nlog: {levle: info}\nstore: {url: x}")
    ran = run("config", "check", "--config", path)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.splitlines() == [
        f'nexusd: {path}:2: log.levle: unknown key, did you mean "level"?',
        f"nexusd: {path}:3: store.url: expected sqlite:////path/to/file.db or postgresql://user@host/database",
    ]


@pytest.mark.parametrize(
    ("receiver", "said"),
    [
        (
            "type: webhook, url: 'http://169.254.169.254/'",
            "the URL's address is link-local, reserved or a metadata",
        ),
        (
            "type: webhook, url: 'https://x.example', secret: 'whsec_no!'",
            "a secret that begins with whsec_ goes on",
        ),
        ("type: webhook, url: 'https://x.example', tls: {ca_file: nexusd.yaml}", "tls: cannot use"),
        ("type: alertmanager, urls: 'http://[fe80::1]:9093'", "the URL's address is link-local"),
        ("type: heartbeat, url: 'http://169.254.169.254/'", "the URL's address is link-local"),
    ],
)
def test_check_finds_receivers_that_can_never_work(receiver: str, said: str, run: Run, write: Write) -> None:
    path = write(f"cloudnexus: {{api_key: k}}\nreceivers: [{{name: a, {receiver}}}]")
    ran = run("config", "check", "--config", path)
    assert ran.code == 2
    assert ran.err.startswith(f"nexusd: receivers: a: {said}")
    assert len(ran.err.splitlines()) == 1


def test_check_finds_the_file_in_the_environment(
    run: Run, write: Write, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("NEXUSD_CONFIG", write("cloudnexus: {api_key: k}"))
    assert run("config", "check").code == 0


def test_check_answers_in_json(run: Run, write: Write) -> None:
    path = write("cloudnexus: {api_key: k}")
    ran = run("config", "check", "--config", path, "-o", "json")
    assert json.loads(ran.out) == {
        "ok": True,
        "file": path,
        "warnings": ["receivers: none is configured, so alerts are shown on the page and sent to no one"],
    }


@pytest.fixture
def cloud() -> Iterator[FakeDaemon]:
    """CloudNexus as far as its regions go (reference: GET /regions)."""
    fake = FakeDaemon()
    fake.start()
    yield fake
    fake.stop()


def test_check_live_says_how_many_regions_answered(run: Run, write: Write, cloud: FakeDaemon) -> None:
    region = {"name": "R", "status": "healthy", "avg_latency_ms": 12, "capacity": True}
    regions = [{**region, "slug": "us-east-1"}, {**region, "slug": "eu-west-2"}]
    cloud.on("GET", "/v1/regions", Answer({"regions": regions}, headers={"Content-Type": "application/json"}))
    path = write(f"cloudnexus: {{api_key: k, base_url: '{cloud.url}/v1'}}")
    ran = run("config", "check", "--live", "--config", path)
    assert ran.out.splitlines()[1:] == [f"OK: {cloud.url}/v1 answered with 2 regions"]
    assert ran.code == 0
    assert cloud.requests[0].headers["Authorization"] == "Bearer k"


LISTED = "it lists eu-west-2, us-east-1"
LIVE = """
cloudnexus: {{api_key: k, base_url: '{url}/v1'}}
fleets:
  - {{name: web, count: 1, plan: pro, regions: [us-east-1, mars], avoid_regions: [eu-west-2]}}
receivers: [{{name: a, type: webhook, url: 'http://127.0.0.1:1/'}}]
routes:
  - {{matchers: ['region="us-eats-1"', 'region!~"ap-.*"'], receivers: [a]}}
  - {{matchers: ['region=~"eu-.*"', 'region!=""', 'severity="mars"'], receivers: [a]}}
  - {{matchers: ['{{severity="critical",region="us-eats-1"}}', '{{region=~"eu-.*"}}'], receivers: [a]}}
"""


def test_check_live_warns_of_regions_that_are_not_listed(run: Run, write: Write, cloud: FakeDaemon) -> None:
    region = {"name": "R", "status": "healthy", "avg_latency_ms": 12, "capacity": True}
    regions = [{**region, "slug": "us-east-1"}, {**region, "slug": "eu-west-2"}]
    cloud.on("GET", "/v1/regions", Answer({"regions": regions}, headers={"Content-Type": "application/json"}))
    ran = run("config", "check", "--live", "--config", write(LIVE.format(url=cloud.url)))
    assert ran.code == 0
    assert ran.err.splitlines() == [
        "warning: fleets[0].regions: CloudNexus does not list region mars; it lists eu-west-2, us-east-1",
        "warning: routes[0].matchers[0]: CloudNexus does not list region us-eats-1; did you mean us-east-1?",
        f"warning: routes[0].matchers[1]: CloudNexus does not list region ap-.*; {LISTED}",
        "warning: routes[2].matchers[0]: CloudNexus does not list region us-eats-1; did you mean us-east-1?",
    ]
    assert ran.out.splitlines()[0].endswith(", 4 warnings")


def test_check_live_exits_1_with_the_reason_when_the_key_is_refused(
    run: Run, write: Write, cloud: FakeDaemon
) -> None:
    cloud.on("GET", "/v1/regions", error(401, "UNAUTHORIZED", "no such key"))
    path = write(f"cloudnexus: {{api_key: canary, base_url: '{cloud.url}/v1'}}")
    ran = run("config", "check", "--live", "--config", path)
    assert ran.code == 1
    [said] = ran.err.splitlines()
    assert said.startswith(f"nexusd: {cloud.url}/v1: ")
    assert "canary" not in ran.out + ran.err


def test_show_prints_yaml_without_the_secret(run: Run, write: Write) -> None:
    ran = run("config", "show", "--config", write("cloudnexus: {api_key: canary}\nlog: {level: debug}"))
    shown = yaml.safe_load(ran.out)
    assert shown["log"] == {"level": "debug", "format": "auto"}
    assert shown["cloudnexus"]["api_key"] == "**********"
    assert "canary" not in ran.out + ran.err


def test_show_names_the_line_of_what_was_given_and_of_no_default(run: Run, write: Write) -> None:
    path = write("cloudnexus:\n  api_key: x\nplacement:\n  settle: 1m\n")
    lines = run("config", "show", "--config", str(path)).out.splitlines()
    [settle] = [line for line in lines if "settle:" in line]
    [hold_after] = [line for line in lines if "hold_after:" in line]
    assert settle.endswith(":4")
    assert "#" not in hold_after


def test_show_in_json_is_the_same(run: Run, write: Write) -> None:
    path = write("cloudnexus: {api_key: k}")
    as_json = json.loads(run("config", "show", "--config", path, "-o", "json").out)
    assert as_json == yaml.safe_load(run("config", "show", "--config", path).out)


def test_schema_is_json_schema_and_needs_no_configuration(run: Run) -> None:
    ran = run("config", "schema")
    assert ran.code == 0
    assert json.loads(ran.out)["$schema"].startswith("https://json-schema.org/")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server: {tls: {cert_file: nexusd.yaml, key_file: nexusd.yaml}}", "server.tls: cannot use "),
        ("store: {url: 'sqlite://host/x.db'}", "store.url: "),
        ("store: {url: 'postgresql://u@a..b/db'}", "store.url: expected postgresql://user@host/database"),
        ("store: {url: 'postgresql://u@[h/db'}", "store.url: expected postgresql://user@host/database"),
        ('store: {url: "sqlite:////tmp/\\0.db"}', "store.url: "),
        ("server: {listen: '127.0..1:9650'}", "server.listen: expected an address and port"),
    ],
)
def test_check_refuses_what_the_daemon_would_refuse(run: Run, write: Write, text: str, said: str) -> None:
    path = write(f"cloudnexus: {{api_key: k}}\n{text}\n")
    ran = run("config", "check", "--config", path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert said in ran.err


def test_check_refuses_a_ca_file_without_a_certificate(run: Run, write: Write) -> None:
    path = write("cloudnexus: {api_key: k, ca_file: nexusd.yaml}")
    ran = run("config", "check", "--config", path)
    assert (ran.code, ran.err) == (
        2,
        f"nexusd: cloudnexus: cannot use the CA file {path}: it holds no certificate in PEM format\n",
    )


def test_check_claims_no_store(run: Run, write: Write, tmp_path: Path) -> None:
    path = write(f"cloudnexus: {{api_key: k}}\nstore: {{url: 'sqlite:///{tmp_path}/x.db'}}")
    assert run("config", "check", "--config", path).code == 0
    assert not (tmp_path / "x.db").exists()
