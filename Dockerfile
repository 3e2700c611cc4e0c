# The image of one component. `k8s/images predictor` builds it from the root of the repository, or by hand:
#   docker build --build-arg COMPONENT=predictor --tag reprise-predictor .
ARG BASE=python:3.11-slim-bookworm
# 1 for a trainer that has Spark, whose jars for s3a:// are in build/hadoop-aws: `SPARK=1 k8s/images trainer` puts them there.
ARG SPARK=0

FROM ${BASE} AS tools
RUN apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends binutils >/dev/null \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml requirements.txt ./
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN --mount=type=cache,target=/root/.cache/pip --mount=type=cache,target=/root/.cache/uv \
    sed -n '/^uv==/,/[^\\]$/p' requirements.txt >/tmp/uv.txt \
    && python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --quiet --require-hashes --requirement /tmp/uv.txt \
    && /opt/tools/bin/uv pip install --quiet --python /opt/tools/bin/python --require-hashes --constraint requirements.txt --group build

# The component's extra, within the lock.
FROM tools AS packages
ARG COMPONENT
# 1 for an image that can export traces.
ARG OTEL=0
# gcs or azure for an image that reaches gs:// or abfs:// too.
ARG STORE=s3
ARG SPARK
COPY .ci/slim /tmp/slim
RUN --mount=type=cache,target=/root/.cache/uv \
    /opt/tools/bin/uv venv --quiet --python "$(command -v python3)" /opt/venv \
    && /opt/tools/bin/uv pip install --quiet --python /opt/venv/bin/python --require-hashes --constraint requirements.txt \
        --requirement pyproject.toml --extra "${COMPONENT:?is not set, see --build-arg}" $([ "$OTEL" = 0 ] || echo --extra otel) \
        $([ "$STORE" = s3 ] || echo --extra "$STORE") $([ "$SPARK" = 0 ] || echo --extra spark) \
    && /tmp/slim /opt/venv \
    && python3 -m compileall -q -j 0 /opt/venv/lib \
    && echo /opt/reprise > "$(echo /opt/venv/lib/python3.*/site-packages)/reprise.pth"

# Our own code: the libraries, the feature engine and the component; of the commands only the component's.
FROM packages AS code
COPY libs libs
COPY feature_repo/reprise feature_repo/reprise
COPY */reprise/${COMPONENT} services/reprise/${COMPONENT}/
RUN /opt/tools/bin/uv build --quiet --wheel --python /opt/tools/bin/python --no-build-isolation --out-dir /wheels \
    && /opt/tools/bin/uv pip install --quiet --python /opt/venv/bin/python --no-deps --no-cache --target /opt/reprise /wheels/*.whl \
    && cd /opt/reprise/bin \
    && rm $(grep --files-without-match "reprise\.${COMPONENT}\." *) \
    && if [ "${COMPONENT}" = feast ]; then \
        printf '#!/bin/sh\ncd /srv/reprise/feature_repo && exec /opt/venv/bin/feast "$@"\n' >feast && chmod +x feast; \
    fi \
    && ln -s * component \
    && python3 -m compileall -q -j 0 /opt/reprise
COPY .ci/try-imports /tmp/try-imports
RUN /opt/venv/bin/python -B /tmp/try-imports "${COMPONENT}" $([ "$OTEL" = 0 ] || echo reprise.http)

FROM packages AS packages-0
FROM packages AS packages-1
COPY build/hadoop-aws /tmp/hadoop-aws
RUN mv /tmp/hadoop-aws/*.jar /opt/venv/lib/python3.*/site-packages/pyspark/jars/
FROM packages-${SPARK} AS all-packages

FROM ${BASE} AS base-0
FROM ${BASE} AS base-1
RUN mkdir -p /usr/share/man/man1 \
    && apt-get update -qq \
    && apt-get install -qq -y --no-install-recommends openjdk-17-jre-headless >/dev/null \
    && rm -rf /var/lib/apt/lists/*

FROM base-${SPARK}
RUN rm -rf /usr/bin/pip* /usr/lib/python3*/ensurepip /usr/lib/python3/dist-packages/* /usr/share/python-wheels \
        /usr/local/bin/pip* /usr/local/lib/python3*/ensurepip /usr/local/lib/python3*/site-packages/* \
    && echo 'reprise:x:10001:10001::/tmp:/usr/sbin/nologin' >> /etc/passwd
ENV PATH=/opt/reprise/bin:/opt/venv/bin:$PATH HOME=/tmp PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
WORKDIR /srv/reprise
COPY --from=all-packages /opt/venv /opt/venv
COPY feature_repo/plan feature_repo/plan
COPY feature_repo/.feastignore feature_repo/feature_store.yaml feature_repo/features.py feature_repo/
# 10001 in images for development, whose code is overwritten while it runs.
ARG OWNER=0
COPY --from=code --chown=${OWNER}:${OWNER} /opt/reprise /opt/reprise
USER 10001:10001
STOPSIGNAL SIGTERM
ENTRYPOINT ["component"]
ARG COMPONENT
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG SOURCE=unknown
LABEL org.opencontainers.image.title="reprise-${COMPONENT}" \
      org.opencontainers.image.description="Reprise predicts whether a user will buy a product again: ${COMPONENT}." \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="MIT"
