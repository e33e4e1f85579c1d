# waymail in a container:
#   docker build -t waymail .
#   docker run -v waymail:/var/lib/waymail -v ./waymail.toml:/etc/waymail/waymail.toml:ro -p 25:2525 -p 587:2587 waymail
# The process has no rights of root's: let the configuration listen on ports above 1024 ("0.0.0.0:2525") and set
# data_dir = "/var/lib/waymail".

FROM python:3.13-slim-bookworm AS build
WORKDIR /build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
# What a server needs goes into the environment that is kept; hatchling and all else into one that is not.
COPY constraints.txt constraints-server.txt ./
RUN python -m venv /opt/waymail && /opt/waymail/bin/pip install --require-hashes -r constraints-server.txt \
    && python -m venv tools && tools/bin/pip install --require-hashes -r constraints.txt
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN tools/bin/python -m hatchling build -t wheel && /opt/waymail/bin/pip install --no-deps dist/waymail-*.whl

FROM python:3.13-slim-bookworm
RUN useradd --system --uid 25025 --home-dir /var/lib/waymail --create-home --shell /usr/sbin/nologin waymail
COPY --from=build /opt/waymail /opt/waymail
ENV PATH=/opt/waymail/bin:$PATH PYTHONUNBUFFERED=1
USER waymail
WORKDIR /var/lib/waymail
VOLUME /var/lib/waymail
EXPOSE 2525 2465 2587
# The port of a listener that starts in clear (25 or 587 outside): its greeting is the sign of life.
ENV WAYMAIL_HEALTH_PORT=2525
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import os, socket, sys; s = socket.create_connection(('127.0.0.1', int(os.environ['WAYMAIL_HEALTH_PORT'])), 4); sys.exit(s.recv(4) != b'220 ')"]
STOPSIGNAL SIGTERM
CMD ["waymail", "serve", "--config", "/etc/waymail/waymail.toml"]
