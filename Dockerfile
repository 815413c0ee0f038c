# Two stages: Rust builds, a small Debian runs.
#
#   docker build --tag plenum .
#   docker run --rm --network host plenum            # loopback only, as without a container
#
# Media are UDP from many addresses to one port; `--network host` keeps Docker's port forwarding
# (and its copy of every packet) out of their way.

FROM rust:1-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --package plenum && cp target/release/plenum /plenum

FROM debian:bookworm-slim
# No home, no shell, no rights: the server needs none of them, and only ports above 1024.
RUN useradd --system --no-create-home --shell /usr/sbin/nologin plenum
COPY --from=build /plenum /usr/local/bin/plenum
# Webhooks go out by HTTPS.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/plenum/
USER plenum
# Bash speaks enough HTTP to ask the operator's listener, and spares the image a client.
HEALTHCHECK --interval=10s --timeout=3s --start-period=3s --retries=3 \
    CMD ["bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/9080 && printf 'GET /livez HTTP/1.0\\r\\n\\r\\n' >&3 && head -n 1 <&3 | grep -q ' 200 '"]
# SIGTERM tells every participant before the process goes.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/plenum"]
