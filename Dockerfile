# kdumpsim with all that its tests compare it with: the commands are README.md's, typed by .ci/run.
# docker build --tag kdumpsim . && docker run --interactive --tty --rm kdumpsim
FROM debian:bookworm
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates python3 python3-venv
WORKDIR /kdumpsim
COPY . .
RUN .ci/run debian install && rm -rf /var/lib/apt/lists/*
ENV PATH=/kdumpsim/.venv/bin:$PATH
CMD ["bash"]
