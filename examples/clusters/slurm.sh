#!/bin/bash
# A Ray cluster in a Slurm allocation, and a run in it. Untried here.
#   sbatch --nodes 4 --gpus-per-node 8 slurm.sh my.yaml
#SBATCH --job-name=dasd
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
set -euo pipefail

recipe=$1
port=6379
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${hosts[0]}
address="$(srun --nodes=1 --ntasks=1 -w "$head" hostname --ip-address | cut -d' ' -f1):$port"

# In the background: each ends with the job.
srun --overlap --nodes=1 --ntasks=1 -w "$head" ray start --head --port "$port" --block &
sleep 20
if ((${#hosts[@]} > 1)); then
    srun --overlap --nodes=$((${#hosts[@]} - 1)) --ntasks=$((${#hosts[@]} - 1)) --exclude="$head" \
        ray start --address "$address" --block &
fi

# A job that is queued again goes on with the run.
srun --overlap --nodes=1 --ntasks=1 -w "$head" dasd pipeline "$recipe" --plugins vllm,ray \
    -o executor.executor=ray -o executor.options.address="$address"
