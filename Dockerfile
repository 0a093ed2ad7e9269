# One image for all services; what it runs is its argument, such as `services.contacts` or
# `services migrate`.
#
# The tests run on Python 3.11, and so does the image. Who builds it pins the base by its digest:
# --build-arg PYTHON_IMAGE=python:3.11-slim-bookworm@sha256:…
ARG PYTHON_IMAGE=python:3.11-slim-bookworm

FROM ${PYTHON_IMAGE} AS build
COPY requirements-run.lock /build/
RUN python -m venv --without-pip /opt/vafa \
    && python -m pip --python /opt/vafa/bin/python install --disable-pip-version-check \
        --no-cache-dir --no-compile --no-deps --only-binary :all: --require-hashes \
        -r /build/requirements-run.lock
COPY client/vafa /srv/vafa/vafa
COPY client/buf /srv/vafa/buf
COPY services /srv/vafa/services
# The image is read-only where it runs, so nothing can be compiled there; and hashes, unlike
# times, are the same in every build.
RUN python -m compileall -q --invalidation-mode unchecked-hash /opt/vafa/lib /srv/vafa

FROM ${PYTHON_IMAGE}
COPY --from=build /opt/vafa /opt/vafa
COPY --from=build /srv/vafa /srv/vafa
ENV PATH=/opt/vafa/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/srv/vafa \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
# Which service answers, and where, is the affair of who runs it: Kubernetes asks by gRPC.
HEALTHCHECK NONE
USER 65532:65532
ENTRYPOINT ["python", "-P", "-m"]
CMD ["services", "--help"]
