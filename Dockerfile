# docker build -t salience .
#
# Two stages: the first installs what requirements.lock names, by hash, and the second has the result, Python and nothing
# else. The default model is one of those packages, so nothing is downloaded at run time. With the processor alone,
# --build-arg TORCH=<address of a torch wheel for the CPU> makes an image that is some GB smaller.
FROM python:3.11-slim AS build
ARG TORCH=torch==2.13.0
WORKDIR /src
RUN python -m venv /opt/salience
COPY requirements.lock ./
RUN /opt/salience/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements.lock \
    && /opt/salience/bin/pip install --no-cache-dir --only-binary :all: "$TORCH"
COPY . .
RUN /opt/salience/bin/pip install --no-cache-dir --no-deps --no-build-isolation .
# An image whose model does not load is none.
RUN HF_HUB_OFFLINE=1 /opt/salience/bin/salience models check default

FROM python:3.11-slim
LABEL org.opencontainers.image.title=salience \
      org.opencontainers.image.description="Semantic search that can be steered and explains its scores"
RUN groupadd --system --gid 10001 salience \
    && useradd --system --uid 10001 --gid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin salience \
    && install -d -o salience -g salience -m 0750 /data /backups
COPY --from=build /opt/salience /opt/salience
# With a read-only file system there is room in /tmp, which is memory, for what numba compiles; and in /data, which is a
# disk, for what SQLite puts aside while it sorts or vacuums.
ENV PATH=/opt/salience/bin:$PATH PYTHONUNBUFFERED=1 NUMBA_CACHE_DIR=/tmp/numba SQLITE_TMPDIR=/data \
    SALIENCE_DATA_DIR=/data SALIENCE_SERVER__HOST=0.0.0.0 SALIENCE_SERVER__PORT=8080
WORKDIR /data
USER 10001:10001
VOLUME /data
EXPOSE 8080
# SIGTERM drains: give it the time (docker stop --time 75).
STOPSIGNAL SIGTERM
# A server that listens elsewhere is told so by the variable, not by --port; a worker has no port (docker run
# --no-healthcheck salience worker).
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen('http://127.0.0.1:%s/readyz' % os.environ['SALIENCE_SERVER__PORT'], timeout=2)"]
ENTRYPOINT ["salience"]
# It listens to all addresses, and refuses to without authentication: set SALIENCE_AUTH__TOKENS, or make a key first
# (docker run ... key create), or say SALIENCE_SERVER__ALLOW_ANONYMOUS=true.
CMD ["serve"]
