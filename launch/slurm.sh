#!/bin/bash
# sbatch launch/slurm.sh /shared/kept 100: the same script on the machines of a Slurm cluster, for 100 steps.
# EACH=4 starts four processes on a machine. /shared is a disk that all machines see.
#SBATCH --job-name=train-many
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --time=01:00:00
#SBATCH --requeue
# one task a machine: torchrun, which starts the processes; a job that is put back goes on from the last step that was kept
set -euo pipefail
each=${EACH:-2}
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# with a shared store a restart may read the addresses of processes that are gone (pytorch issue 135712)
export OMP_NUM_THREADS=1 TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
srun torchrun --nnodes="$SLURM_NNODES" --nproc-per-node="$each" --max-restarts=3 \
  --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$first:29500" \
  -m course_utils.train_many "$1" --processes "$((SLURM_NNODES * each))" --steps "$2"
