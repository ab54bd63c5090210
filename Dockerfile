# One image for all of Runyard: `runyard server`, `runyard recorder` and `runyard worker` are commands of it. docker-compose.yml runs them.

# Builds the wheel. Nothing else of this stage goes on: not Node.js, which the build takes from a Python package to fetch the browser code.
FROM python:3.12-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
COPY pyproject.toml build_backend.py package.json package-lock.json .npmrc constraints.txt README.md LICENSE ./
COPY runyard.py _runyard.py ./
COPY models/ models/
COPY worker/ worker/
COPY app/ app/
COPY templates/ templates/
COPY static/ static/
COPY bench/results/zoo.json bench/results/
RUN pip wheel --no-deps --wheel-dir /dist .


FROM python:3.12-slim-bookworm
ENV PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 PYTHONUNBUFFERED=1

# PyTorch's wheels for Linux on x86-64 carry CUDA: about 5 GB, so they are installed from these two files alone, and a change of Runyard's
# own code does not fetch them again. PostgreSQL, stores that speak S3 and sign-in by OpenID Connect are small beside them.
WORKDIR /srv/runyard
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; extras = p['optional-dependencies']; print(*p['dependencies'], *extras['postgres'], *extras['s3'], *extras['oidc'], sep='\n')" > /tmp/requirements.txt \
    && pip install -c constraints.txt -r /tmp/requirements.txt \
    && rm /tmp/requirements.txt

# The volume takes over the owner of the folder that it covers.
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin runyard \
    && install -d -o runyard -g runyard -m 0750 /data
VOLUME /data

COPY --from=build /dist/ /dist/
RUN pip install --no-deps /dist/*.whl

# utility: NVML, for the GPU's load and memory.
ENV RUNYARD_DATA_DIR=/data NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER runyard
EXPOSE 8000

# Of the server. docker-compose.yml replaces it for the recorder and the workers, which answer no HTTP.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]

# Everyone has to sign in, unless RUNYARD_BEHIND_LOOPBACK_PUBLISH=1 says that only this machine reaches it: see docker-compose.yml.
CMD ["runyard", "server", "--host", "0.0.0.0", "--port", "8000"]
