# The packages are resolved by requirements.lock, as in a checkout. The default model is one of them, so nothing is
# downloaded at run time.
FROM python:3.11-slim AS build
ARG TORCH=torch==2.13.0
WORKDIR /src
RUN python -m venv /opt/salience
COPY requirements.lock ./
RUN /opt/salience/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements.lock \
    && /opt/salience/bin/pip install --no-cache-dir --only-binary :all: "$TORCH"
COPY . .
RUN /opt/salience/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.11-slim
RUN useradd --system --uid 10001 salience && install -d -o salience /data
COPY --from=build /opt/salience /opt/salience
ENV PATH=/opt/salience/bin:$PATH SALIENCE_DATA_DIR=/data SALIENCE_SERVER__HOST=0.0.0.0 SALIENCE_SERVER__PORT=8080
USER salience
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD \
    ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=2)"]
ENTRYPOINT ["salience"]
CMD ["serve"]
