# The base is an argument so that the image can be built on any Debian with python3 (>= 3.11) and python3-venv.
ARG BASE=docker.io/library/python:3.11-slim-bookworm

FROM ${BASE} AS build
WORKDIR /src
RUN python3 -m venv /opt/nexusd && python3 -m venv /opt/build
COPY requirements.lock requirements-build.lock ./
RUN /opt/nexusd/bin/pip install --no-cache-dir --require-hashes -r requirements.lock \
 && /opt/build/bin/pip install --no-cache-dir --require-hashes -r requirements-build.lock
COPY pyproject.toml README.md LICENSE ./
COPY nexusd nexusd
RUN /opt/build/bin/pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/nexusd/bin/pip install --no-cache-dir --no-deps --no-index /dist/*.whl \
 && /opt/nexusd/bin/pip check \
 && /opt/nexusd/bin/pip uninstall --yes --quiet setuptools pip

FROM ${BASE}
LABEL org.opencontainers.image.title="nexusd" \
      org.opencontainers.image.description="Region-aware scheduler and monitoring daemon for the CloudNexus cloud" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /opt/nexusd /opt/nexusd
# Inside a container loopback is nobody's: the default file listens everywhere. Mount your own over it.
RUN install -d -m 0755 /etc/nexusd \
 && install -d -m 0700 -o 65532 -g 65532 /var/lib/nexusd \
 && printf 'server:\n  listen: 0.0.0.0:9650\n' > /etc/nexusd/nexusd.yaml
ENV PATH=/opt/nexusd/bin:/usr/local/bin:/usr/bin:/bin \
    STATE_DIRECTORY=/var/lib/nexusd \
    PYTHONDONTWRITEBYTECODE=1
WORKDIR /
USER 65532:65532
VOLUME ["/var/lib/nexusd"]
EXPOSE 9650
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/nexusd/bin/python", "-I", "-m", "nexusd.runtime.probe"]
ENTRYPOINT ["nexusd"]
CMD ["run"]
