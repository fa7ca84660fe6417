# docker build -t cuecard .
# docker run --init --stop-timeout 40 -p 127.0.0.1:8080:8080 -v cuecard-data:/data -e OPENAI_API_KEY -e CUECARD_KEY cuecard
#
# Set OPENAI_API_KEY (the key that pays) and CUECARD_KEY (what your apps send as their API key, 8 characters or more):
# without CUECARD_KEY it refuses to start, because anyone who reaches the port could spend OPENAI_API_KEY.
# CUECARD_ADMIN_TOKEN opens /admin. A configuration file goes to /data/cuecard.yaml; it then must hold `auth.keys`,
# and the store stays in /data/.cuecard unless it says otherwise. A folder mounted on /data must be writable for 10001.

FROM python:3.12-slim

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    TIKTOKEN_CACHE_DIR=/opt/tiktoken

WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY compiler compiler
COPY proxy proxy
RUN pip install --constraint constraints.txt .

# Token counting works without a network: the vocabularies are part of the image.
WORKDIR /data
RUN rm -rf /src \
    && python -c "from pathlib import Path; from compiler.tokens import install_vocabularies; install_vocabularies(Path('/opt/tiktoken'))" \
    && chmod -R a+rX /opt/tiktoken \
    && useradd --uid 10001 --no-create-home --home-dir /data --shell /usr/sbin/nologin cuecard \
    && chown cuecard:cuecard /data

USER cuecard
VOLUME /data
EXPOSE 8080

HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health/ready', timeout=4)"]

CMD ["cuecard", "serve", "--host", "0.0.0.0"]
