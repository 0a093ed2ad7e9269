"""The edge serves the OpenAPI document and its page, and does what the document says."""

import http.client
import json
import re
import subprocess
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from scripts.contract import ROOT
from tests.fuzz.runs import UNLIMITED, run
from tests.fuzz.seed import seed
from tests.harness.edge import Edge
from tests.harness.suite import RunningSuite
from tests.harness.tools import tool

COMMITTED = ROOT / "services" / "gateway" / "edge"
DOCUMENT = json.loads((COMMITTED / "openapi.json").read_text())


@pytest.fixture(scope="module")
def own_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Edge]:
    """An edge that lets one caller call as often as it likes, before a suite of its own."""
    suite = RunningSuite(tmp_path_factory.mktemp("openapi"))
    suite.start()
    with Edge(suite, UNLIMITED) as started:
        yield started
    suite.stop()


@pytest.fixture(scope="module")
def ids(own_edge: Edge) -> dict[str, str]:
    """The ids of what `seed` made and a service named."""
    with own_edge.client() as client:
        return seed(client)


def get(edge: Edge, path: str, **headers: str) -> tuple[http.client.HTTPResponse, str]:
    connection = http.client.HTTPConnection(edge.address, timeout=30)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read().decode()
    finally:
        connection.close()


def test_the_edge_does_what_the_document_says(own_edge: Edge, ids: dict[str, str]) -> None:
    report = run(own_edge, ids, examples=3, seed=7)
    assert report.failures == ""
    assert report.operations == sum(map(len, DOCUMENT["paths"].values())) - 1
    assert report.cases > 3000
    assert max(report.answers) < HTTPStatus.INTERNAL_SERVER_ERROR
    assert report.answers[HTTPStatus.OK] > 100


@pytest.mark.parametrize(
    ("path", "file", "content_type"),
    [
        ("/openapi.json", "openapi.json", "application/json"),
        ("/docs", "docs.html", "text/html; charset=utf-8"),
    ],
)
def test_anybody_may_read_the_document_and_its_page(
    own_edge: Edge, path: str, file: str, content_type: str
) -> None:
    answer, body = get(own_edge, path)
    assert answer.status == HTTPStatus.OK
    assert answer.headers["content-type"] == content_type
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert body == (COMMITTED / file).read_text()


def test_a_feed_that_is_followed_is_lines_of_json(own_edge: Edge, ids: dict[str, str]) -> None:
    operation = DOCUMENT["paths"]["/v1/feeds/{service}/events:stream"]["get"]
    schema: dict[str, Any] = operation["responses"]["200"]["content"]["application/json"]["schema"]
    connection = http.client.HTTPConnection(own_edge.address, timeout=30)
    token = own_edge.suite.token()
    try:
        connection.request(
            "GET",
            "/v1/feeds/contacts/events:stream",
            headers={"authorization": f"Bearer {token}"},
        )
        answer = connection.getresponse()
        assert answer.status == HTTPStatus.OK
        message = json.loads(answer.readline())
    finally:
        connection.close()
    assert jsonschema_rs.is_valid({**schema, "components": DOCUMENT["components"]}, message)
    assert "contacts/shirin" in [event["subject"] for event in message["events"]]


def test_the_page_shows_every_method_under_its_own_policy(own_edge: Edge, tmp_path: Path) -> None:
    command = [tool("chromium", "chromium-browser", "google-chrome"), "--headless", "--dump-dom"]
    command += ["--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}"]
    command += ["--virtual-time-budget=10000", "--enable-logging=stderr"]
    done = subprocess.run(
        [*command, f"{own_edge.url}/docs"],
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert re.findall(r"CONSOLE.*", done.stderr) == []
    drawn = set(re.findall(r'<article id="([^"]+)"', done.stdout))
    methods = {one["operationId"] for item in DOCUMENT["paths"].values() for one in item.values()}
    schemas = {f"schema-{name}" for name in DOCUMENT["components"]["schemas"]}
    assert drawn == methods | schemas
    linked = set(re.findall(r'href="#([^"]+)"', done.stdout)) - {"content"}
    assert linked == drawn
    commands = re.findall(r"<code>(curl [^<]+)</code>", done.stdout)
    assert len(commands) == len(methods)
    assert any("شیرین" in command for command in commands)
