# The course in a container, for a CPU:
#   docker build -t finetune-course .
#   docker run --rm -it -p 127.0.0.1:8888:8888 finetune-course
# then open the address with the token that it prints. A dev container and Codespaces start from the same image.
ARG BASE=python:3.11-slim
FROM ${BASE}

RUN apt-get update && apt-get install -y --no-install-recommends git libgomp1 make && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 learner && mkdir /course /venv && chown learner /course /venv
USER learner
WORKDIR /course
ENV VIRTUAL_ENV=/venv PATH=/venv/bin:$PATH

# uv knows where torch's CPU build lies; pip would take the one with CUDA, several GB
ARG FROM_WHERE="--torch-backend cpu"
COPY --chown=learner . .
RUN python3 -m venv /venv && pip install --no-cache-dir "$(grep '^uv==' constraints.txt)" \
    && uv pip install --no-cache --compile-bytecode ${FROM_WHERE} -c constraints.txt -e ".[$(sed -n 's/^ALL := //p' Makefile)]" \
    && touch /venv/.core /venv/.installed && ln -s /venv .venv

# all addresses of the container, which has none but those that `-p` gives it; the token stays
EXPOSE 8888
CMD ["python", "-m", "jupyterlab", "--ip=0.0.0.0", "--no-browser", "notebooks/00_start_here.ipynb"]
