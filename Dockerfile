# One image for every role: `steward serve`, `steward migrate`, `steward sandbox`, …
#
#   docker build -t steward .
#
# The first stage compiles dependencies alone, from the manifests and empty crates, so that a change
# of the source compiles nothing but Steward.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY actors/Cargo.toml actors/
COPY bench/Cargo.toml bench/
RUN mkdir -p src actors/src bench/src \
    && touch src/lib.rs actors/src/lib.rs \
    && echo 'fn main() {}' | tee src/main.rs bench/src/main.rs \
    && cargo build --profile dist --locked --package steward \
    && rm -r src actors/src
COPY config config
COPY actors actors
COPY src src
# The empty crates are younger than the files that replace them.
RUN find src actors/src -name '*.rs' -exec touch {} + \
    && cargo build --profile dist --locked --package steward --bin steward \
    && strip --strip-debug target/dist/steward

# What it runs on: no compiler, no shell of ours, nobody but an unprivileged user.
FROM debian:bookworm-slim AS base
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/* \
    && useradd --system --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin steward \
    && install --directory --owner=steward --group=steward --mode=0700 /data
ENV STEWARD__HTTP__BIND=0.0.0.0:8080 \
    STEWARD__DATA__DIR=/data \
    STEWARD__LOG__FORMAT=json
EXPOSE 8080
USER 10001:10001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=90s --retries=3 CMD ["steward", "health"]
ENTRYPOINT ["steward"]
CMD ["serve"]

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="steward" \
      org.opencontainers.image.description="Users, sessions, linked accounts, catalogue, stock and orders behind one API" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=build /build/target/dist/steward /usr/local/bin/steward
