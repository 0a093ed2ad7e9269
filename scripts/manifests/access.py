"""Whether the services know each other's tokens: issuers, subjects, roles, files."""

import json
from collections.abc import Iterator

from scripts.manifests.objects import (
    NAMESPACE,
    Manifest,
    Manifests,
    containers_of,
    environment_of,
    pod_of,
    title,
)
from scripts.manifests.references import files_of
from scripts.manifests.settings import settings_of
from services.chassis.issuers import Issuer, IssuersFile
from services.chassis.roles import RolesFile

# Roles that a service may be given for calls of its own accord.
ROLES_OF_SERVICES = {"service"}


def problems(manifests: Manifests) -> list[str]:
    """Return what would make a service refuse another, or let in more than the other services."""
    access = manifests.find("ConfigMap", "access")
    if access is None:
        return ["there is no ConfigMap access"]
    try:
        roles = RolesFile.model_validate(json.loads(access["data"]["roles.json"]))
        issuers = IssuersFile.model_validate(json.loads(access["data"]["issuers.json"]))
    except ValueError as error:
        return [f"the ConfigMap access cannot be read: {error}"]
    clusters = [one for one in issuers.issuers if one.issuer.startswith("https://kubernetes.")]
    if len(clusters) != 1:
        return [f"{len(clusters)} issuers are the cluster's"]
    found = list(_of_bindings(manifests, clusters[0], roles))
    for service, pod, _ in manifests.service_pods():
        found += [f"{service}: {one}" for one in _of_audience(pod, clusters[0], service)]
    for deployment in manifests.of_kind("Deployment"):
        files = files_of(manifests, pod_of(deployment), containers_of(deployment)[-1])
        found += [
            f"{title(deployment)}: {issuer.issuer} wants {path}, which is not mounted"
            for issuer in issuers.issuers
            for path in (issuer.ca_file, issuer.bearer_token_file, issuer.jwks_file)
            if path and str(path) not in files
        ]
    return found


def _of_bindings(manifests: Manifests, cluster: Issuer, roles: RolesFile) -> Iterator[str]:
    callers = {
        service: pod["serviceAccountName"]
        for service, pod, container in manifests.service_pods()
        if f"VAFA_{service.upper()}_TOKEN_FILE" in environment_of(container)
    }
    prefix = f"{cluster.prefix}system:serviceaccount:{NAMESPACE}:"
    bound = {one.subject: set(one.roles) for one in roles.bindings}
    for subject in sorted(bound):
        if subject.removeprefix(prefix) not in callers.values():
            yield f"{subject} is bound to roles, and is none of the services that call others"
    for service, account in callers.items():
        if bound.get(f"{prefix}{account}") != ROLES_OF_SERVICES:
            yield f"{service} calls others as {prefix}{account}, which has not the role of services"


def _of_audience(pod: Manifest, cluster: Issuer, service: str) -> Iterator[str]:
    audience = settings_of(service).model_fields["token_audience"].default
    if cluster.audiences != [audience]:
        yield f"tokens of the cluster are for {cluster.audiences}, not for {audience}"
    tokens = {
        source["serviceAccountToken"]["path"]: source["serviceAccountToken"]
        for volume in pod["volumes"]
        for source in volume.get("projected", {}).get("sources", ())
        if "serviceAccountToken" in source
    }
    own = tokens.get("token", {})
    if own.get("audience") != audience:
        yield f"its token is for {own.get('audience')}, not for {audience}"
    if own.get("expirationSeconds", 0) > cluster.max_lifetime_seconds:
        yield "its token lives longer than the services allow"
