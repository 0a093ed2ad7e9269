"""Where Envoy has the keys of the issuers from.

Envoy reads a file of keys once and for all, and shows no token to an address. But it asks an
address again and again; so listeners of its own, on no port, give the files as they are now,
and pass on the question with a token where one is wanted.
"""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from services.gateway.edge.envoy import (
    Config,
    cluster,
    extension,
    inline,
    inner_listener,
    socket,
    typed,
)
from services.gateway.edge.issuers import FETCH_SECONDS, IN_FILES, Trusted
from services.gateway.edge.settings import EdgeSettings, host_and_port, is_ip

SYSTEM_CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")


def keys_listeners(settings: EdgeSettings, issuers: Sequence[Trusted]) -> list[Config]:
    """Return the listeners that give keys."""
    files = [_file(one.name, one.jwks_file) for one in issuers if one.jwks_file is not None]
    return [
        inner_listener(IN_FILES, {"internal_listener": {}}, files),
        *(
            _with_token(settings, one, one.bearer_token_file)
            for one in issuers
            if one.bearer_token_file is not None
        ),
    ]


def keys_clusters(settings: EdgeSettings, issuers: Sequence[Trusted]) -> list[Config]:
    """Return those listeners as clusters, and the clusters of the keys that are elsewhere."""
    internal = {"envoy_internal_address": {"server_listener_name": IN_FILES}}
    return [
        cluster(IN_FILES, "STATIC", FETCH_SECONDS, internal),
        *(_elsewhere(one) for one in issuers if one.issuer.jwks_url is not None),
        *(
            cluster(one.asked, "STATIC", FETCH_SECONDS, _pipe(settings, one))
            for one in issuers
            if one.bearer_token_file is not None
        ),
    ]


def internal_listeners() -> Config:
    """Return the extension by which Envoy has internal listeners."""
    return extension(
        "envoy.bootstrap.internal_listener",
        "envoy.extensions.bootstrap.internal_listener.v3.InternalListener",
    )


def _file(name: str, file: Path) -> Config:
    body = {"filename": str(file), "watched_directory": {"path": str(file.parent)}}
    return {
        "match": {"path": f"/{name}"},
        "direct_response": {"status": 200, "body": body},
    }


def _with_token(settings: EdgeSettings, trusted: Trusted, token_file: Path) -> Config:
    """Return the listener that passes a question on with the token of a file, as it is then: the
    file holds the token and no end of line, as Kubernetes writes it.
    """
    content = extension(
        "envoy.formatter.file_content", "envoy.extensions.formatter.file_content.v3.FileContent"
    )
    bearer = f"Bearer %FILE_CONTENT({token_file}:{token_file.parent})%"
    read = extension(
        "envoy.filters.http.set_filter_state",
        "envoy.extensions.filters.http.set_filter_state.v3.Config",
        on_request_headers=[
            {
                "object_key": "bearer",
                "factory_key": "envoy.string",
                "format_string": {"text_format_source": inline(bearer), "formatters": [content]},
            }
        ],
    )
    route = {
        # Whoever is on this machine reaches the pipe: the token gets them the keys and no more.
        "match": {"path": urlsplit(trusted.issuer.jwks_url or "").path or "/"},
        "route": {"cluster": trusted.name},
        "request_headers_to_add": [
            {"header": {"key": "authorization", "value": "%FILTER_STATE(bearer:PLAIN)%"}}
        ],
    }
    return inner_listener(trusted.asked, {"address": _pipe(settings, trusted)}, [route], [read])


def _pipe(settings: EdgeSettings, trusted: Trusted) -> Config:
    # Only the workers of Envoy reach its internal listeners, and the thread above them asks.
    _, port = host_and_port(settings.listen)
    return {"pipe": {"path": f"@vafa-edge-{port}-{trusted.asked}"}}


def _elsewhere(trusted: Trusted) -> Config:
    url = urlsplit(trusted.issuer.jwks_url or "")
    host = url.hostname or ""
    port = url.port or (443 if url.scheme == "https" else 80)
    type_ = "STATIC" if is_ip(host) else "STRICT_DNS"
    found = cluster(trusted.name, type_, FETCH_SECONDS, socket(host, port))
    return found | {"transport_socket": _tls(trusted, host)} if url.scheme == "https" else found


def _tls(trusted: Trusted, host: str) -> Config:
    name = {"san_type": "IP_ADDRESS" if is_ip(host) else "DNS", "matcher": {"exact": host}}
    validation = {
        "trusted_ca": {"filename": str(trusted.ca_file or SYSTEM_CERTIFICATES)},
        "match_typed_subject_alt_names": [name],
    }
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": typed(
            "envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
            common_tls_context={
                "tls_params": {"tls_minimum_protocol_version": "TLSv1_2"},
                "validation_context": validation,
            },
            **({} if is_ip(host) else {"sni": host}),
        ),
    }
