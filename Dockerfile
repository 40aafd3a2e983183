# The program with the decoders of camera raw files and HEIC, and the metrics. For the engine of your own machine:
#   docker build --build-arg EXTRAS=formats,metrics,local -t smarty-async .
FROM python:3.13-slim AS build
ARG EXTRAS=formats,metrics
COPY . /source
RUN python -m venv /opt/smarty-async \
    && /opt/smarty-async/bin/pip install --no-cache-dir "/source[${EXTRAS}]"

FROM python:3.13-slim
COPY --from=build /opt/smarty-async /opt/smarty-async
ENV PATH=/opt/smarty-async/bin:$PATH PYTHONUNBUFFERED=1 XDG_CACHE_HOME=/tmp/cache
# No user of the host has this number: give --user to write as the owner of the output folder.
USER 65532:65532
WORKDIR /work
ENTRYPOINT ["smarty-async"]
CMD ["--help"]
